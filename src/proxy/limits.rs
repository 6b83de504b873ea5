//! Limits: how much of the outside world the edge takes, and for how long it waits.
//!
//! The values are PRODUCT's defaults; the daemon fills them from the config, and again after each edit of it. Everything is bounded here or not at all.
use std::time::Duration;

/// An upstream connection kept idle longer than this is not used again, until the upstream says what it allows.
pub(super) const FIRST_IDLE_LIMIT_MS: u32 = 1_500;

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub header_bytes: usize,
    pub uri_bytes: usize,
    pub body_bytes: u64,
    /// Open connections of one source: an IPv4 address, or an IPv6 /64.
    pub connections_per_address: u32,
    /// New connections of one source, a second; those of four seconds at once.
    pub new_connections_per_address: u32,
    pub connections: u32,
    pub client_header: Duration,
    pub client_idle: Duration,
    pub upstream_connect: Duration,
    pub upstream_answer: Duration,
    /// How long a request waits while its route is paused or no target of it can be reached.
    pub held_for: Duration,
    /// How many requests of one group (an app) wait so.
    pub held: u32,
    /// Threads that serve; `None`: one a core. Counts at the start only.
    pub workers: Option<usize>,
}

/// How long a request that is under way waits for its two sides.
#[derive(Clone, Copy)]
pub(super) struct Waits {
    pub(super) client_idle: Duration,
    pub(super) upstream_answer: Duration,
}

impl Limits {
    pub(super) fn waits(&self) -> Waits {
        Waits {
            client_idle: self.client_idle,
            upstream_answer: self.upstream_answer,
        }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            header_bytes: 32 * 1024,
            uri_bytes: 8 * 1024,
            body_bytes: 100 * 1024 * 1024,
            connections_per_address: 256,
            new_connections_per_address: 64,
            connections: 20_000,
            client_header: Duration::from_secs(10),
            client_idle: Duration::from_secs(60),
            upstream_connect: Duration::from_secs(2),
            upstream_answer: Duration::from_secs(60),
            held_for: Duration::from_secs(30),
            held: 1_000,
            workers: None,
        }
    }
}
