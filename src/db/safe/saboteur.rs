//! What the tests take out of the way to see that it is missed, and the power that they cut.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What is taken away from a database that is opened with it.
#[derive(Clone, Debug, Default)]
pub struct Saboteur {
    /// Nothing is written to the journal.
    pub no_journal: bool,
    /// SQLite tells of no statement.
    pub deaf: bool,
    /// Changes are acknowledged before the journal is synced.
    pub acknowledged_before_sync: bool,
    /// The power goes before the next sync: what was not synced is not in the journal.
    pub cut: Arc<AtomicBool>,
    /// It is gone.
    pub dark: Arc<AtomicBool>,
}

impl Saboteur {
    /// Whether this sync is the one that does not come about.
    pub(super) fn cuts_now(&self) -> bool {
        let cut = self.cut.load(Ordering::SeqCst);
        self.dark.fetch_or(cut, Ordering::SeqCst) || cut
    }

    /// Whether it is over.
    pub fn power_is_cut(&self) -> bool {
        self.dark.load(Ordering::SeqCst)
    }
}
