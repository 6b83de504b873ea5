//! Protections that the tests switch off, to see that they would notice: what nothing is found of is shown to be
//! findable.
//!
//! With the cargo feature `crash-points` and `FREEHOLD_SABOTAGE=<word>` in the environment the daemon does the one
//! wrong that the word stands for. Without the feature nothing of it is in the binary.

/// A wrong that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// A change of variables is acknowledged a second before it is written.
    EarlyAnswer,
    /// Files that are over with stay where they are.
    LeftFile,
    /// Who hands over cuts what it serves instead of serving it to its end.
    AbruptHandover,
    /// Who hands over ends what it serves, and serves nobody, as soon as it lets go: before the other is known to serve.
    EarlyEnd,
    /// Who hands over hears nothing of where routes lead from then on, and tells nothing of what it counts.
    NoNews,
    /// Who takes over hangs once it has the lease.
    HangingStart,
    /// Connections to apps are used again however long they were idle, closed or not.
    OldConnections,
    /// A restore does not pause the apps of its database.
    NoPause,
    /// A request is sent once, to whom it was meant for, and on a kept connection without a look whether it still lives.
    NoRetries,
    /// No target of a route is left out, whatever it does to requests.
    NoEjection,
    /// The lease is taken from whoever holds it.
    StolenLease,
    /// What is stored for a later time stays as it is when the box's clock was set.
    UnseenClock,
    /// Work that is to be cancelled is told as cancelled, and goes on.
    EmptyCancel,
}

impl Sabotage {
    /// Whether it was asked for.
    #[cfg(not(feature = "crash-points"))]
    pub const fn is_on(self) -> bool {
        false
    }

    /// Whether it was asked for.
    #[cfg(feature = "crash-points")]
    pub fn is_on(self) -> bool {
        let word = match self {
            Self::EarlyAnswer => "early-answer",
            Self::LeftFile => "left-file",
            Self::AbruptHandover => "abrupt-handover",
            Self::EarlyEnd => "early-end",
            Self::NoNews => "no-news",
            Self::HangingStart => "hanging-start",
            Self::OldConnections => "old-connections",
            Self::NoPause => "no-pause",
            Self::NoRetries => "no-retries",
            Self::NoEjection => "no-ejection",
            Self::StolenLease => "stolen-lease",
            Self::UnseenClock => "unseen-clock",
            Self::EmptyCancel => "empty-cancel",
        };
        // Read once: some are asked for on a request's path.
        static ASKED: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
        let asked = ASKED.get_or_init(|| std::env::var("FREEHOLD_SABOTAGE").ok());
        asked.as_deref() == Some(word)
    }
}
