//! `/api/v1/doctor`: what was examined on the box, how it stands, and what to do.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::clock::UnixMs;

/// How one thing stands; the better first.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Condition {
    /// As it should be.
    Ok,
    /// Works, and is less safe than it looks or will not work for long.
    Warn,
    /// Does not work.
    Fail,
}

/// What part of the box was examined.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Area {
    /// The daemon itself, as far as one can see from outside.
    Daemon,
    /// What monitoring tells of apps, checks, databases and settings.
    Monitoring,
    /// The container engine.
    Engine,
    /// Who listens on the ports of the web.
    Ports,
    /// Where names lead.
    Dns,
    /// The time.
    Clock,
    /// Room on the disk.
    Disk,
    /// Memory and swap.
    Memory,
    /// What refuses strangers before us.
    Firewall,
    /// Certificates.
    Certificates,
    /// Backups.
    Backups,
    /// Freehold's own database.
    Database,
    /// Who may read and use what.
    Permissions,
}

/// One thing that was examined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Examined {
    /// Which part of the box it belongs to.
    pub area: Area,
    /// What was examined, in a few words; the same every time.
    pub what: String,
    /// How it stands.
    pub state: Condition,
    /// What was seen.
    pub seen: String,
    /// Why it matters.
    pub why: String,
    /// What to do, with the command to type; empty when all is well.
    pub remedy: String,
}

/// All that was examined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// The worst of it.
    pub state: Condition,
    /// When it was looked at.
    pub checked_ms: UnixMs,
    /// How long that took.
    pub took_ms: u64,
    /// Everything, by area.
    pub checks: Vec<Examined>,
}
