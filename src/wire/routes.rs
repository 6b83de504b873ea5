//! `GET /api/v1/routes`: what passes through the edge, by route, process and replica.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::apps::LeftOut;

/// What the edge has counted since it started.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Routes {
    /// The edge as a whole; `null` for who sees single apps only.
    pub edge: Option<EdgeTotals>,
    /// By host and path.
    pub routes: Vec<RouteFigures>,
    /// What the routes of each process have together, by app and process.
    pub processes: Vec<ProcessFigures>,
}

impl Routes {
    /// What somebody may see who knows of these apps alone.
    #[must_use]
    pub fn of_apps(mut self, sees: impl Fn(&str) -> bool) -> Self {
        self.edge = None;
        self.routes
            .retain(|route| route.app.as_deref().is_some_and(&sees));
        self.processes.retain(|process| sees(&process.app));
        self
    }
}

/// The edge as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EdgeTotals {
    /// Connections of clients that are open.
    pub connections: u64,
    /// Requests that wait for their app: for the end of a pause, a replica that can be reached, or a place at one.
    #[serde(default)]
    pub held: u64,
    /// What was turned away before it reached an app.
    pub refused: Vec<RefusedCount>,
    /// Entries of the access log that were never written.
    pub log_dropped: u64,
}

/// A reason to turn something away.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RefusedCount {
    /// In a few words.
    pub reason: String,
    /// How often.
    pub count: u64,
}

/// A place that is served.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RouteFigures {
    /// Its name in the access log.
    pub key: String,
    /// The name it answers; empty for the box's own address.
    pub host: String,
    /// `/`, or the prefix it answers under.
    pub path: String,
    /// The app that answers; `null` for what is no app's.
    pub app: Option<String>,
    /// Its process.
    pub process: Option<String>,
    /// Whether requests are held: maintenance, or while something is done to the app.
    pub paused: bool,
    /// What it answered.
    pub figures: EdgeFigures,
    /// Where its requests go now, and the addresses of a configured route that get none because their check fails.
    pub targets: Vec<TargetFigures>,
}

/// A process of an app.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProcessFigures {
    /// The app.
    pub app: String,
    /// The process.
    pub process: String,
    /// What its routes answered, whichever replicas they had.
    pub figures: EdgeFigures,
}

/// A replica, or another address that answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TargetFigures {
    /// Its name in the access log.
    pub key: String,
    /// The container's name; `null` for what is no container.
    pub container: Option<String>,
    /// Where it listens.
    pub address: String,
    /// Whether it gets no requests for a while: because of what it did to earlier ones, or, an address of a configured
    /// route, because its check fails.
    pub left_out: bool,
    /// How often it got none because of what it did to earlier ones.
    pub times_left_out: u64,
    /// Why, the last time, and when that began, until it is forgotten a minute after.
    #[serde(default)]
    pub last_left_out: Option<LeftOut>,
    /// What it answered, over all routes that lead to it.
    pub figures: EdgeFigures,
}

/// What was counted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EdgeFigures {
    /// Requests that are over.
    pub requests: u64,
    /// Requests that are not.
    pub in_flight: u64,
    /// Of them answered 1xx (WebSockets), 2xx, 3xx, 4xx and 5xx; the rest left before an answer.
    pub classes: [u64; 5],
    /// That got no proper answer of the app.
    pub failed: u64,
    /// That the route's rate limit refused (429); none of a replica's.
    pub rate_limited: u64,
    /// That the route's policies let in no further (401, 403); none of a replica's.
    pub denied: u64,
    /// Bytes of bodies from clients.
    pub bytes_in: u64,
    /// Bytes of bodies to clients.
    pub bytes_out: u64,
    /// How quickly since the start.
    pub latency: LatencyFigures,
    /// The last minute; `null` for a replica, and while nothing was measured yet.
    pub minute: Option<MinuteFigures>,
}

/// Time from a request's head to its answer's, in milliseconds; `null` without an answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LatencyFigures {
    /// Half are as quick.
    pub p50_ms: Option<f64>,
    /// 95 of 100 are.
    pub p95_ms: Option<f64>,
    /// 99 of 100 are.
    pub p99_ms: Option<f64>,
}

/// The last minute, up to ten seconds ago.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MinuteFigures {
    /// Requests that ended, a second.
    pub per_second: f64,
    /// How quickly.
    pub latency: LatencyFigures,
}
