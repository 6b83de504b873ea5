//! What routing is told.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::sign::CertifiedKey;

use crate::base::clock::UnixMs;
use crate::base::log_share::LogShare;
use crate::base::policies::{Policies, VerifierKey};
use crate::proxy::{StaticSite, Traits};

/// Everything that decides a snapshot.
#[derive(Default)]
pub struct Input {
    /// Wanted routes, the more important first: of two with the same host and
    /// path the first is served and the other reported.
    pub routes: Vec<Route>,
    /// For requests to the box's address instead of a name: the dashboard.
    pub default_route: Option<Route>,
    /// By name.
    pub certificates: HashMap<Arc<str>, Arc<CertifiedKey>>,
    /// For clients that name no host.
    pub default_certificate: Option<Arc<CertifiedKey>>,
    /// ACME HTTP-01: token to key authorization.
    pub challenges: HashMap<String, String>,
    /// What the verifiers of basic authentication were made under.
    pub verifiers: VerifierKey,
}

/// One wanted route.
#[derive(Clone, Debug)]
pub struct Route {
    /// Stable name in figures: `route:7`, `config:legacy.example.com/`.
    pub key: String,
    /// Routes of one group share the limit of held requests: `app:3`.
    pub group: String,
    /// The app's name, in figures and logs; empty for what is no app's.
    pub app: String,
    /// The process that answers; empty for what is no process of an app.
    pub process: String,
    /// Lower case, or `*.example.com`.
    pub host: String,
    /// `/` or `/api`.
    pub path: String,
    /// What answers.
    pub answer: Answer,
    /// Instead of the edge's own body limit.
    pub body_bytes: Option<u64>,
    /// Instead of the edge's own time a request may be held.
    pub held_for: Option<Duration>,
    /// What is known of its targets beside their addresses.
    pub traits: Traits,
    /// Which of its requests are written to the access log.
    pub access_log: LogShare,
    /// What it asks of requests and does to answers, passwords taken in.
    pub policies: Policies,
    /// Its name's certificate is one that browsers know.
    pub public_certificate: bool,
}

/// What answers a route.
#[derive(Clone, Debug)]
pub enum Answer {
    /// The replicas of an app's process; none that may answer means held.
    Replicas(Vec<Replica>),
    /// Fixed addresses.
    Addresses {
        /// Those that get traffic.
        well: Vec<SocketAddr>,
        /// Those that get none, because their check fails.
        ill: Vec<SocketAddr>,
    },
    /// The dashboard's socket.
    Socket(PathBuf),
    /// A folder of files, answered by the edge itself.
    Files(Arc<StaticSite>),
    /// Held on purpose, at most until the deadline.
    Paused {
        /// Since when.
        since: UnixMs,
        /// Until when.
        until: UnixMs,
    },
}

/// One running replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    /// Its row.
    pub row: i64,
    /// Where it listens, if it runs.
    pub address: Option<SocketAddr>,
    /// Its check succeeds.
    pub healthy: bool,
    /// Its check failed, yet it runs: better than nobody.
    pub doubtful: bool,
}
