//! Gate: how many requests of one group wait for a target, and that there are never too many.
//!
//! One gate belongs to a group of routes (an app) and lives on over snapshots. What they wait for is a newer
//! snapshot; the waiting itself is in `hold`.
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

#[derive(Default)]
pub struct Gate {
    held: AtomicU32,
}

impl Gate {
    pub fn held(&self) -> u32 {
        self.held.load(Relaxed)
    }

    /// A place among the waiting, unless all `limit` are taken.
    pub(super) fn enter(self: &Arc<Self>, limit: u32) -> Option<Place> {
        let place = Place { gate: self.clone() };
        (self.held.fetch_add(1, Relaxed) < limit).then_some(place)
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
