//! When a trouble that lasts was last told, so that each is one line a minute however often it is met.
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// What lasts is said again after so long.
const AGAIN: Duration = Duration::from_secs(60);

/// Shared by whoever meets the trouble; only one of them is told to say it.
#[derive(Debug)]
pub struct Said {
    began: Instant,
    /// Milliseconds after `began` from which it is due again.
    due: AtomicU64,
}

impl Said {
    /// Nothing was said yet.
    pub fn new(now: Instant) -> Said {
        Said {
            began: now,
            due: AtomicU64::new(0),
        }
    }

    /// Whether it is to be said now; if so, not again for a minute.
    pub fn is_due(&self, now: Instant) -> bool {
        let now = now.saturating_duration_since(self.began).as_millis() as u64;
        let due = self.due.load(Relaxed);
        let next = now + AGAIN.as_millis() as u64;
        now >= due
            && self
                .due
                .compare_exchange(due, next, Relaxed, Relaxed)
                .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n7_a_trouble_that_lasts_is_said_once_a_minute() {
        let began = Instant::now();
        let said = Said::new(began);
        let due: Vec<u64> = (0..130)
            .filter(|second| said.is_due(began + Duration::from_secs(*second)))
            .collect();
        assert_eq!(due, [0, 60, 120]);
    }
}
