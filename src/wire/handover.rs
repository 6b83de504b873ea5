//! `/api/v1/handover`: another Freehold takes this one's place.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::clock::UnixMs;

/// How the last handover stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum HandoverState {
    /// There was none since this daemon was started.
    None,
    /// Another Freehold is taking over.
    Running,
    /// The daemon that answers has taken over.
    Done,
    /// It did not come to that: the Freehold that ran before serves on.
    Failed,
}

/// The last handover, and who answers now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Handover {
    /// How it stands.
    pub state: HandoverState,
    /// When it began.
    pub began_ms: Option<UnixMs>,
    /// When it was over.
    pub ended_ms: Option<UnixMs>,
    /// Why it failed.
    pub why: Option<String>,
    /// The version of the daemon that answers.
    pub version: String,
    /// Its process.
    pub pid: u32,
}

/// `POST /api/v1/handover`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BeginHandover {
    /// The process whose place is to be taken, as `GET /api/v1/handover` tells it: so that one is not asked for twice.
    pub pid: u32,
}
