//! What can go wrong between us and the engine, in words for the person who reads it.
//!
//! Only four cases are told apart, because only those are branched on; the
//! engine's own message is kept in all of them.

use std::time::Duration;

/// Why a call to the engine failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// Nothing answers at the engine's socket, or the answer broke off.
    #[error(
        "the Docker engine at {host} does not answer ({why}): look at `systemctl status docker`; apps that run go on meanwhile"
    )]
    Unreachable {
        /// Where we tried.
        host: String,
        /// What the connection said.
        why: String,
    },
    /// The engine took longer than this call is given.
    #[error("the Docker engine did not finish \"{what}\" within {} s: is the box out of memory or disk?", .limit.as_secs())]
    TimedOut {
        /// The call, such as "start container fh-x".
        what: String,
        /// What it was given.
        limit: Duration,
    },
    /// The thing named does not exist.
    #[error("{what}: not found ({message})")]
    NotFound {
        /// The call, with the thing's name.
        what: String,
        /// The engine's words.
        message: String,
    },
    /// The name is taken, or the thing is in use.
    #[error("{what}: in conflict with what is there ({message})")]
    Conflict {
        /// The call, with the thing's name.
        what: String,
        /// The engine's words.
        message: String,
    },
    /// The engine understood and said no.
    #[error("{what}: the Docker engine refused: {message}")]
    Refused {
        /// The call, with the thing's name.
        what: String,
        /// The engine's words.
        message: String,
    },
    /// A stream ended before its content did.
    #[error("{what}: the stream from the Docker engine broke off before its end ({message})")]
    CutShort {
        /// The call, with the thing's name.
        what: String,
        /// What was seen.
        message: String,
    },
    /// The caller withdrew the work, and it was seen dead.
    #[error("{what}: cancelled")]
    Cancelled {
        /// The call.
        what: String,
    },
}

impl EngineError {
    /// Whether the engine itself is away, as opposed to saying no.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::TimedOut { .. })
    }

    /// Whether the same may well be done a moment later: the engine is away, or found the machine's firewall in the midst
    /// of somebody else's change.
    pub fn is_passing(&self) -> bool {
        self.is_unreachable() || self.to_string().contains("iptables failed")
    }

    /// Whether the thing named does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    /// Whether the name is taken or the thing in use.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict { .. })
    }
}
