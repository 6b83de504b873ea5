//! Gate: how many requests of one group wait for a target, and that there are never too many.
//!
//! One gate belongs to a group of routes (an app) and lives on over snapshots. What they wait for is a newer
//! snapshot, or a place at a target that takes only so many at once; the waiting itself is in `hold`.
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed, Ordering::SeqCst};

use tokio::sync::Notify;

#[derive(Default)]
pub struct Gate {
    held: AtomicU32,
    /// Those of the held who wait for a place.
    queue: AtomicU32,
    free: Notify,
}

impl Gate {
    pub fn held(&self) -> u32 {
        self.held.load(Relaxed)
    }

    /// A place among the waiting, unless all `limit` are taken.
    pub(super) fn enter(self: &Arc<Self>, limit: u32) -> Option<Place> {
        let one_more = |held: u32| (held < limit).then(|| held + 1);
        let entered = self.held.fetch_update(Relaxed, Relaxed, one_more).is_ok();
        entered.then(|| Place { gate: self.clone() })
    }

    /// A place in the queue for a place at a target; who comes later does not take one before who waits.
    pub(super) fn queue(self: &Arc<Self>) -> Queued {
        self.queue.fetch_add(1, SeqCst);
        Queued { gate: self.clone() }
    }

    pub(super) fn has_queue(&self) -> bool {
        self.queue.load(SeqCst) > 0
    }

    /// Wakes the one who waits longest; if nobody does, the next who would.
    pub(super) fn place_is_free(&self) {
        self.free.notify_one();
    }
}

pub(super) struct Queued {
    gate: Arc<Gate>,
}

impl Queued {
    /// A place may have become free since the last time. One that was told of it and leaves tells the next.
    pub(super) async fn woken(&self) {
        self.gate.free.notified().await;
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        self.gate.queue.fetch_sub(1, SeqCst);
    }
}

pub(super) struct Place {
    gate: Arc<Gate>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.gate.held.fetch_sub(1, Relaxed);
    }
}
