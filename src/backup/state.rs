//! The states of backups and restores, and the lines at which tests kill the daemon.

/// Where a backup stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BackupState {
    /// Waits for its time.
    Queued,
    /// Is being dumped and stored.
    Running,
    /// Is being read back and compared.
    Verifying,
    /// Whole in its store, seen to be so. Not yet proven by a restore.
    Stored,
    /// Not usable; nothing of it is left in the store.
    Failed,
    /// Past its time; its object is being removed.
    Expired,
}

impl BackupState {
    /// Every state.
    pub const ALL: [Self; 6] = [
        Self::Queued,
        Self::Running,
        Self::Verifying,
        Self::Stored,
        Self::Failed,
        Self::Expired,
    ];

    /// The stored word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Verifying => "verifying",
            Self::Stored => "stored",
            Self::Failed => "failed",
            Self::Expired => "expired",
        }
    }

    /// The state `word` stands for.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == word)
    }

    /// Whether nothing more happens to it by itself.
    pub fn is_ended(self) -> bool {
        matches!(self, Self::Stored | Self::Failed | Self::Expired)
    }
}

/// Where a restore stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RestoreState {
    /// Waits for its turn.
    Queued,
    /// Is being read into a database of its own.
    Loading,
    /// Is being compared with what the archive says it holds.
    Comparing,
    /// Takes the live one's name.
    Swapping,
    /// Live; the old one is kept beside.
    Done,
    /// Given up; the live one was not touched.
    Failed,
}

impl RestoreState {
    /// Every state.
    pub const ALL: [Self; 6] = [
        Self::Queued,
        Self::Loading,
        Self::Comparing,
        Self::Swapping,
        Self::Done,
        Self::Failed,
    ];

    /// The stored word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Loading => "loading",
            Self::Comparing => "comparing",
            Self::Swapping => "swapping",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }

    /// The state `word` stands for.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == word)
    }

    /// Whether nothing more happens to it by itself.
    pub fn is_ended(self) -> bool {
        matches!(self, Self::Done | Self::Failed)
    }
}

/// The names of the lines at which the tests kill the daemon: one before and
/// one after each write of a state, of a night that is due, and of what its plan
/// makes of it.
pub fn crash_points() -> Vec<String> {
    let backup = BackupState::ALL.map(|s| format!("backup.{}", s.as_str()));
    let restore = RestoreState::ALL.map(|s| format!("restore.{}", s.as_str()));
    let night = ["backup.due", "backup.plan"].map(str::to_owned);
    let writes = backup.iter().chain(&restore).chain(&night);
    writes
        .flat_map(|name| [format!("{name}.before"), format!("{name}.after")])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f8_crash_points_cover_every_state_and_words_come_back() {
        let points = crash_points();
        assert_eq!(points.len(), 28);
        for wanted in [
            "backup.verifying.before",
            "restore.swapping.after",
            "backup.due.before",
            "backup.plan.after",
        ] {
            assert!(points.iter().any(|p| p == wanted), "{wanted}");
        }
        for state in BackupState::ALL {
            assert_eq!(BackupState::parse(state.as_str()), Some(state));
        }
        for state in RestoreState::ALL {
            assert_eq!(RestoreState::parse(state.as_str()), Some(state));
        }
    }
}
