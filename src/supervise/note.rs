//! What is reported to the executor, and what it tells of a row.

use std::net::SocketAddr;

use tokio::sync::oneshot;

use crate::base::clock::UnixMs;
use crate::base::protocol::Protocol;
use crate::docker::EngineError;

use super::act::Outcome;
use super::health::Miss;
use super::plan::Action;
use super::survey::Sight;
use super::unit::Seen;

/// What others report to the executor.
pub(super) enum Note {
    /// Rows changed; answered when `live` shows them.
    Rows(Option<oneshot::Sender<()>>),
    /// A check of one life of a container.
    Checked {
        row: i64,
        id: String,
        started: Option<UnixMs>,
        result: Result<String, Miss>,
    },
    /// One life of a container that was silent has said something, late.
    Heard {
        row: i64,
        id: String,
        started: Option<UnixMs>,
    },
    /// A container was looked at.
    Looked {
        row: i64,
        id: String,
        number: u64,
        seen: Result<Option<Seen>, EngineError>,
        done: Option<oneshot::Sender<()>>,
    },
    /// Everything was looked at.
    Surveyed {
        number: u64,
        sights: Result<Vec<Sight>, EngineError>,
    },
    /// A deed is done.
    Acted { action: Action, outcome: Outcome },
    /// Somebody could not connect to this address.
    Recheck {
        address: SocketAddr,
        done: oneshot::Sender<()>,
    },
    /// Somebody waits long for an answer of this address.
    Doubt {
        address: SocketAddr,
        protocol: Protocol,
    },
    /// Somebody wants to tell a person about this row.
    Story {
        row: i64,
        reply: oneshot::Sender<Option<Story>>,
    },
}

/// What the executor knows of a row beyond `live`.
#[derive(Clone, Debug)]
pub(super) struct Story {
    pub(super) name: String,
    pub(super) check: String,
    pub(super) last_answer: Option<String>,
    pub(super) port: Option<u16>,
    pub(super) container: Option<String>,
    pub(super) pid: Option<u32>,
    pub(super) keeps_log: bool,
}
