//! Handshakes: whose turn it is on a worker. Local to its thread.
//!
//! What costs is answering the first message, a signature and a key agreement of some 300 microseconds, during which
//! the thread does nothing else. So only [`AT_ONCE`] is worked on before all else that is ready has had its turn, a look at
//! the sockets that costs some microseconds; the rest wait in order. A place there is held while we work, never while a client thinks: silent clients would
//! otherwise keep everybody out. Those that wait for their client are bounded by source.
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::yield_now;

use super::sources::Source;

/// Answers of handshakes between two rounds of everything else: with eight a request waited some 2 ms.
const AT_ONCE: usize = 1;
/// Handshakes of one source that are between the client's first message and their end, over all workers.
const OF_SOURCE: usize = 32;

pub(super) struct Handshakes {
    working: Semaphore,
    /// Only of sources that have some now.
    by_source: RefCell<HashMap<Source, Arc<Semaphore>>>,
    share: usize,
}

/// A handshake of a source, until dropped.
pub(super) struct Begun<'a> {
    all: &'a Handshakes,
    source: Source,
    place: Option<OwnedSemaphorePermit>,
}

impl Handshakes {
    /// The share of one of so many workers, each of which gets its part of a source's connections.
    pub(super) fn new(workers: usize) -> Handshakes {
        Handshakes {
            working: Semaphore::new(AT_ONCE),
            by_source: RefCell::default(),
            share: (OF_SOURCE / workers.max(1)).max(1),
        }
    }

    /// Waits until fewer of this source's handshakes than its share are going on.
    pub(super) async fn begin(&self, source: Source) -> Begun<'_> {
        let places = {
            let mut by_source = self.by_source.borrow_mut();
            let places = by_source
                .entry(source)
                .or_insert_with(|| Arc::new(Semaphore::new(self.share)));
            places.clone()
        };
        // Made before the wait, so that one that is given up leaves no entry.
        let mut begun = Begun {
            all: self,
            source,
            place: None,
        };
        // Never closed.
        begun.place = places.acquire_owned().await.ok();
        begun
    }

    /// Runs the work when it is its turn. Everything else that is ready comes before whoever waits behind it.
    pub(super) async fn work<T>(&self, work: impl AsyncFnOnce() -> T) -> T {
        // Never closed.
        let _turn = self.working.acquire().await.ok();
        let done = work().await;
        yield_now().await;
        done
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        self.place = None;
        let mut by_source = self.all.by_source.borrow_mut();
        // Whoever waits has a share in it too.
        let unused = by_source
            .get(&self.source)
            .is_some_and(|places| Arc::strong_count(places) == 1);
        if unused {
            by_source.remove(&self.source);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::future::pending;
    use std::rc::Rc;
    use std::time::Duration;

    use tokio::task::{LocalSet, spawn_local};

    use super::*;

    const ONE: Source = Source::V4(1);
    const OTHER: Source = Source::V4(2);

    #[tokio::test]
    async fn e4_handshakes_of_a_source_wait_in_order_and_leave_nothing() {
        LocalSet::new()
            .run_until(async {
                let all = Rc::new(Handshakes::new(16));
                let (first, second) = (all.begin(ONE).await, all.begin(ONE).await);
                let done = Rc::new(RefCell::new(Vec::new()));
                let waiting: Vec<_> = (0..3)
                    .map(|number| {
                        let (all, done) = (all.clone(), done.clone());
                        spawn_local(async move {
                            let _begun = all.begin(ONE).await;
                            done.borrow_mut().push(number);
                        })
                    })
                    .collect();
                // One that gives up meanwhile is passed over.
                waiting[1].abort();
                drop(all.begin(OTHER).await);
                yield_now().await;
                assert_eq!(*done.borrow(), [0; 0]);
                drop(first);
                for one in waiting {
                    drop(one.await);
                }
                assert_eq!(*done.borrow(), [0, 2]);
                drop(second);
                assert!(all.by_source.borrow().is_empty());
            })
            .await;
    }

    #[tokio::test]
    async fn e4_between_a_few_handshakes_everything_else_has_its_turn() {
        LocalSet::new()
            .run_until(async {
                let all = Rc::new(Handshakes::new(1));
                let worked = Rc::new(Cell::new(0));
                for _ in 0..100 {
                    let (all, worked) = (all.clone(), worked.clone());
                    spawn_local(async move {
                        all.work(async || worked.set(worked.get() + 1)).await;
                    });
                }
                let mut seen = vec![0];
                while worked.get() < 100 {
                    yield_now().await;
                    seen.push(worked.get());
                }
                let most = seen.windows(2).map(|pair| pair[1] - pair[0]).max();
                assert!(most.is_some_and(|most| most <= AT_ONCE), "{seen:?}");
            })
            .await;
    }

    /// The reason for two bounds: who answers nothing holds a place of its own source alone.
    #[tokio::test]
    async fn e4_a_client_that_says_nothing_more_keeps_nobody_elses_place() {
        LocalSet::new()
            .run_until(async {
                let all = Rc::new(Handshakes::new(1));
                for _ in 0..OF_SOURCE * 2 {
                    let all = all.clone();
                    spawn_local(async move {
                        let _begun = all.begin(ONE).await;
                        all.work(async || ()).await;
                        pending::<()>().await;
                    });
                }
                let long = Duration::from_secs(60);
                let other = async {
                    let _begun = all.begin(OTHER).await;
                    all.work(async || ()).await;
                };
                assert!(tokio::time::timeout(long, other).await.is_ok());
                // The saboteur: for the source itself there is no place left.
                let own = tokio::time::timeout(Duration::from_millis(50), all.begin(ONE));
                assert!(own.await.is_err());
            })
            .await;
    }
}
