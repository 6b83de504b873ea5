//! Why the supervisor could not do what it was asked.

use std::time::Duration;

use crate::docker::EngineError;

/// A failure of the supervisor, worded for the log of the work that needed it.
#[derive(Debug, thiserror::Error)]
pub enum SuperviseError {
    /// The engine said no, or nothing.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The row could not be read or written.
    #[error("the state of containers could not be read or written: {0}")]
    State(String),
    /// The spec cannot become a container.
    #[error("the container {name} cannot be made: {why}")]
    BadSpec {
        /// Its name.
        name: String,
        /// What is wrong and what to do.
        why: String,
    },
    /// No row, or no container, for what was named.
    #[error("there is no container {0}")]
    NotFound(String),
    /// The work took longer than it was given, and was ended.
    #[error("{what} did not end within {} s and was stopped", .limit.as_secs())]
    Deadline {
        /// What.
        what: String,
        /// What it was given.
        limit: Duration,
    },
    /// The caller withdrew the work; it was seen dead.
    #[error("{0}: cancelled")]
    Cancelled(String),
    /// Every subnet of ours is taken.
    #[error(
        "no free subnet is left in {0}: remove apps or databases that are not used, or give another range under [docker] subnets"
    )]
    NoSubnet(String),
    /// The daemon is going down.
    #[error("the daemon is stopping; the work is taken up again after its start")]
    Stopping,
}
