//! What is known of a container right now, for routing, pages and deploys.

use std::fmt;
use std::net::SocketAddr;

use crate::base::clock::UnixMs;

use super::spec::Kind;

/// The exit code of what SIGKILL ended.
const KILLED: i64 = 137;
/// The engine tells of want of memory and of the end that it brings about in either order, each when it comes to it.
const NEAR_MS: u64 = 5_000;

/// How a container's main process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Its exit code; 128 + n for signal n.
    pub code: i64,
    /// Whether the kernel ended it for want of memory.
    pub oom: bool,
    /// When.
    pub at: UnixMs,
}

impl Exit {
    /// The engine told of want of memory at that time: whether this is what came of it, though it does not say so.
    pub(super) fn is_for_want_of_memory(&self, told: UnixMs) -> bool {
        self.code == KILLED && self.at.0.abs_diff(told.0) <= NEAR_MS
    }

    /// The signal that ended it, if one did.
    pub fn signal(&self) -> Option<i64> {
        (129..160).contains(&self.code).then(|| self.code - 128)
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.oom {
            return write!(
                f,
                "ran out of its memory limit and was killed (exit code {})",
                self.code
            );
        }
        match self.code {
            137 => f.write_str("was killed by SIGKILL (exit code 137)"),
            139 => f.write_str("crashed with a segmentation fault (exit code 139)"),
            143 => f.write_str("was ended by SIGTERM (exit code 143)"),
            126 => f.write_str("ended with exit code 126: its command cannot be executed"),
            127 => f.write_str("ended with exit code 127: its command was not found"),
            code if code > 128 && code < 160 => {
                write!(f, "was ended by signal {} (exit code {code})", code - 128)
            }
            code => write!(f, "ended with exit code {code}"),
        }
    }
}

/// Where a desired container stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Not made or started yet, and what it waits for; empty while nothing is wrong.
    Waiting(String),
    /// The engine would not make or start it; tried again later.
    Refused(String),
    /// Runs; its check has not succeeded yet.
    Starting,
    /// Runs and its check succeeds.
    Healthy,
    /// Runs, and its check failed three times; the last reason.
    Unhealthy(String),
    /// Ended; will be started again if its spec says so.
    Exited(Exit),
    /// Being stopped for good.
    Retiring,
}

/// One container of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Live {
    /// Its row's id, as `want` gave it.
    pub row: i64,
    /// Its name, as in its spec.
    pub name: String,
    /// What it is for.
    pub kind: Kind,
    /// Whose it is.
    pub owner: String,
    /// The app's process.
    pub process: Option<String>,
    /// The app's release number.
    pub release: Option<i64>,
    /// Its address in its first network with its port, while it runs.
    pub address: Option<SocketAddr>,
    /// Where it stands.
    pub state: State,
    /// When its main process began.
    pub started: Option<UnixMs>,
    /// The engine's id of it.
    pub container_id: Option<String>,
    /// How often it was brought back since it was made.
    pub restarts: u32,
    /// How it last ended.
    pub last_exit: Option<Exit>,
}

impl Live {
    /// Whether traffic may be sent to it.
    pub fn is_healthy(&self) -> bool {
        self.state == State::Healthy
    }
}

/// Whether the engine answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineState {
    /// Not asked yet.
    Unknown,
    /// It answers.
    Reachable {
        /// Its version, such as `20.10.24`.
        version: String,
        /// Since when without a break: an engine that restarts fast is not seen to be away.
        since: UnixMs,
    },
    /// It does not; what was last known still stands.
    Unreachable {
        /// Since when.
        since: UnixMs,
        /// Why, as a sentence.
        why: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f4_an_exit_is_told_in_words() {
        let exit = |code, oom| {
            Exit {
                code,
                oom,
                at: UnixMs(0),
            }
            .to_string()
        };
        assert!(exit(137, true).contains("memory limit"));
        assert!(exit(127, false).contains("not found"));
        assert!(exit(134, false).contains("signal 6"));
        assert_eq!(exit(3, false), "ended with exit code 3");
    }

    #[test]
    fn n3_a_kill_beside_a_word_of_want_of_memory_is_for_that() {
        let is = |code, at, told| {
            let exit = Exit {
                code,
                oom: false,
                at: UnixMs(at),
            };
            exit.is_for_want_of_memory(UnixMs(told))
        };
        assert!(is(137, 10_000, 9_000) && is(137, 10_000, 14_000));
        assert!(!is(137, 10_000, 16_000), "another time");
        assert!(!is(3, 10_000, 10_000), "it went on and ended by itself");
    }
}
