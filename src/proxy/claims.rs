//! Claims: how many requests use a target, and whether it is being retired, ordered by one atomic word.
//!
//! Invariant: the count lies in the low bits, RETIRING in the highest, so a request either is counted before the drain
//! looks or is refused. Who claims what, and what happens to a drained target, is left to `target`.
//! `tests/loom` takes this very file, with loom's atomics, through every order of the threads; it needs nothing else of
//! the crate, and must stay so.
#[cfg(freehold_loom)]
use crate::stand_in::{AtomicU64, Notify};
#[cfg(not(freehold_loom))]
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
#[cfg(not(freehold_loom))]
use tokio::sync::Notify;

const RETIRING: u64 = 1 << 63;
const COUNT: u64 = RETIRING - 1;

pub(super) struct Claims {
    word: AtomicU64,
    released: Notify,
}

impl Claims {
    pub(super) fn new() -> Claims {
        Claims {
            word: AtomicU64::new(0),
            released: Notify::new(),
        }
    }

    pub(super) fn in_flight(&self) -> u64 {
        self.word.load(SeqCst) & COUNT
    }

    pub(super) fn is_retiring(&self) -> bool {
        self.word.load(SeqCst) & RETIRING != 0
    }

    /// Counts first and asks afterwards: a retirement in between is seen, and the count given back.
    /// Whoever gets `true` owes a `give_back`.
    pub(super) fn take(&self) -> bool {
        let before = self.word.fetch_add(1, SeqCst);
        if before & RETIRING == 0 {
            return true;
        }
        self.give_back();
        false
    }

    /// As `take`, unless `cap` are counted already. Looks and counts in one step: so that nobody is refused because of another
    /// who is about to be.
    pub(super) fn take_below(&self, cap: u64) -> bool {
        let mut word = self.word.load(SeqCst);
        while word < cap.min(COUNT) {
            match self.word.compare_exchange(word, word + 1, SeqCst, SeqCst) {
                Ok(_) => return true,
                Err(meanwhile) => word = meanwhile,
            }
        }
        false
    }

    pub(super) fn give_back(&self) {
        if self.word.fetch_sub(1, SeqCst) == RETIRING | 1 {
            self.released.notify_waiters();
        }
    }

    /// No claim succeeds after this; those already taken run on.
    pub(super) fn retire(&self) {
        self.word.fetch_or(RETIRING, SeqCst);
        self.released.notify_waiters();
    }

    /// Resolves when it is retired and no claim is left.
    pub(super) async fn drained(&self) {
        loop {
            // Listens before it looks: a release in between wakes it.
            let released = self.released.notified();
            if self.word.load(SeqCst) == RETIRING {
                return;
            }
            released.await;
        }
    }
}
