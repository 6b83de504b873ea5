//! `GET /api/v1/metrics/…`: figures over time, one entry a slot, `null` where nothing was measured.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::clock::UnixMs;

/// The box over time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BoxHistory {
    /// Start of the first slot.
    pub from_ms: UnixMs,
    /// Length of a slot.
    pub step_s: i64,
    /// Mean share of all cores.
    pub cpu: Vec<Option<f64>>,
    /// Mean bytes in use.
    pub memory_used: Vec<Option<u64>>,
    /// Highest bytes of swap in use.
    pub swap_used: Vec<Option<u64>>,
    /// Bytes of disk taken.
    pub disk_used: Vec<Option<u64>>,
    /// Mean load over a minute.
    pub load: Vec<Option<f64>>,
    /// Bytes received.
    pub received: Vec<Option<u64>>,
    /// Bytes sent.
    pub sent: Vec<Option<u64>>,
}

/// What an app answered over time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AppHistory {
    /// Start of the first slot.
    pub from_ms: UnixMs,
    /// Length of a slot.
    pub step_s: i64,
    /// Requests per second.
    pub rate: Vec<Option<f64>>,
    /// 95th percentile of the time to the answer's head; `null` also without requests.
    pub p95_ms: Vec<Option<f64>>,
    /// Share of 5xx; `null` also without requests.
    pub error_share: Vec<Option<f64>>,
    /// Requests of the whole time.
    pub requests: u64,
    /// 5xx of the whole time.
    pub server_errors: u64,
    /// 95th percentile of the whole time.
    pub p95_ms_whole: Option<f64>,
}
