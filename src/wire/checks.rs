//! `/api/v1/checks`: what is asked whether it answers, and when it did not.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::clock::UnixMs;

/// How a check stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CheckState {
    /// It never answered yet, and is too young to worry.
    Pending,
    /// It answers.
    Up,
    /// It does not.
    Down,
    /// Not asked for now: its app is stopped.
    Paused,
}

/// A check.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Check {
    /// Its row.
    pub id: i64,
    /// The app's name, or the one it was given.
    pub name: String,
    /// `app:7`, or `check` for one that was added by hand.
    pub subject: String,
    /// What is asked.
    pub url: String,
    /// Whether it was added by hand.
    pub by_hand: bool,
    /// How it stands.
    pub state: CheckState,
    /// Why it is down.
    pub why: Option<String>,
    /// When it was last asked.
    pub asked_ms: Option<UnixMs>,
    /// How long the last answer took.
    pub millis: Option<u64>,
    /// The last day, oldest first.
    pub day: Vec<Bar>,
    /// Share of the last day's checks that were answered.
    pub day_share: Option<f64>,
    /// Share of the last 30 days'.
    pub month_share: Option<f64>,
}

/// A stretch of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Bar {
    /// Its start.
    pub from_ms: UnixMs,
    /// Checks answered.
    pub up: u64,
    /// Checks not answered.
    pub down: u64,
}

/// A time a check was not answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Incident {
    /// Its row.
    pub id: i64,
    /// Of which check.
    pub check: i64,
    /// The check's name.
    pub name: String,
    /// What was asked.
    pub url: String,
    /// When it began.
    pub opened_ms: UnixMs,
    /// When it was over.
    pub closed_ms: Option<UnixMs>,
    /// Where it failed: `dns`, `tcp`, `tls`, `http`.
    pub stage: String,
    /// Why.
    pub why: String,
}

/// `POST /api/v1/checks`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCheck {
    /// What it is called.
    pub name: String,
    /// An http or https address.
    pub url: String,
}
