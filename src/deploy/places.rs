//! Places to build: as many builds at once as the settings say now.
//!
//! Fewer places than builds under way let those end; the next begins when there is a place again.

use std::time::Duration;

use tokio::sync::watch;

/// How long a deploy waits for one.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(6 * 3_600);

struct Count {
    taken: usize,
    all: usize,
}

pub(super) struct Places(watch::Sender<Count>);

/// A place, given back when it is dropped.
pub(super) struct Place<'a>(&'a Places);

impl Places {
    /// There is always one.
    pub(super) fn new(all: usize) -> Self {
        let all = all.max(1);
        Self(watch::Sender::new(Count { taken: 0, all }))
    }

    pub(super) fn set(&self, all: usize) {
        self.0.send_modify(|count| count.all = all.max(1));
    }

    pub(super) fn try_take(&self) -> Option<Place<'_>> {
        let taken = self.0.send_if_modified(|count| {
            let free = count.taken < count.all;
            count.taken += usize::from(free);
            free
        });
        taken.then(|| Place(self))
    }

    pub(super) async fn take(&self) -> Place<'_> {
        let mut seen = self.0.subscribe();
        loop {
            if let Some(place) = self.try_take() {
                return place;
            }
            // Never an error: the sender is ours.
            if seen.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.0.send_modify(|count| count.taken -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn f5_builds_at_once_follow_the_settings() {
        let places = Places::new(0);
        let first = places.try_take().unwrap();
        assert!(places.try_take().is_none());
        places.set(2);
        let second = places.take().await;
        places.set(1);
        drop(first);
        assert!(places.try_take().is_none(), "one still builds");
        let (third, ()) = tokio::join!(places.take(), async { drop(second) });
        assert!(places.try_take().is_none());
        drop(third);
    }
}
