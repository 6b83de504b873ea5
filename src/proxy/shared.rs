//! What the workers share: the snapshot, the limits, TLS, the way to report, and counts. Read by all, locked by none.
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use tokio::sync::{mpsc, watch};

use super::edge::{ConnectFailure, Refusals};
use super::limits::Limits;
use super::proxies::Trust;
use super::said::Said;
use super::snapshot::Snapshot;
use super::sources::Sources;

pub(super) struct Shared {
    pub(super) snapshot: Arc<ArcSwap<Snapshot>>,
    /// Ticks after each publication; only requests that are held listen.
    pub(super) published: watch::Sender<u64>,
    /// Replaced whole when the settings are edited; read by each request anew.
    pub(super) limits: ArcSwap<Limits>,
    pub(super) trust: Trust,
    pub(super) failures: mpsc::Sender<ConnectFailure>,
    /// What `Worker::ms` counts from.
    pub(super) born: Instant,
    /// Under it cookies name targets; of this process alone.
    pub(super) marks: aws_lc_rs::hmac::Key,
    pub(super) tls: Arc<ServerConfig>,
    /// Where the first door for https stands.
    pub(super) https_port: u16,
    pub(super) refused: Refused,
    /// Open client connections, in all and by worker.
    pub(super) connections: AtomicUsize,
    pub(super) loads: Box<[AtomicUsize]>,
    /// Those of them that proxies have, which stand for many clients.
    pub(super) of_proxies: AtomicUsize,
    pub(super) sources: Sources,
    /// That a proxy sends no header of the PROXY protocol.
    pub(super) said_no_header: Said,
}

#[derive(Default)]
pub(super) struct Refused {
    pub(super) too_many_connections: AtomicU64,
    pub(super) too_many_of_proxies: AtomicU64,
    pub(super) too_many_of_address: AtomicU64,
    pub(super) too_fast_of_address: AtomicU64,
    pub(super) no_descriptors: AtomicU64,
    pub(super) unknown_names: AtomicU64,
    pub(super) failed_handshakes: AtomicU64,
    pub(super) proxy_headers: AtomicU64,
    pub(super) bad_requests: AtomicU64,
    pub(super) rate_limited: AtomicU64,
    pub(super) denied: AtomicU64,
    pub(super) panics: AtomicU64,
}

impl Refused {
    pub(super) fn read(&self) -> Refusals {
        Refusals {
            too_many_connections: self.too_many_connections.load(Relaxed),
            too_many_of_proxies: self.too_many_of_proxies.load(Relaxed),
            too_many_of_address: self.too_many_of_address.load(Relaxed),
            too_fast_of_address: self.too_fast_of_address.load(Relaxed),
            no_descriptors: self.no_descriptors.load(Relaxed),
            unknown_names: self.unknown_names.load(Relaxed),
            failed_handshakes: self.failed_handshakes.load(Relaxed),
            proxy_headers: self.proxy_headers.load(Relaxed),
            bad_requests: self.bad_requests.load(Relaxed),
            rate_limited: self.rate_limited.load(Relaxed),
            denied: self.denied.load(Relaxed),
            panics: self.panics.load(Relaxed),
        }
    }
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}
