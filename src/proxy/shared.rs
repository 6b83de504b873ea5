//! What the workers share: the snapshot, the limits, TLS, the way to report, and counts. Read by all, locked by none.
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use tokio::sync::{mpsc, watch};

use super::compressor::Compressor;
use super::edge::{ConnectFailure, Refusals};
use super::limits::Limits;
use super::proxies::Trust;
use super::snapshot::Snapshot;

pub(super) struct Shared {
    pub(super) snapshot: Arc<ArcSwap<Snapshot>>,
    /// Ticks after each publication; only requests that are held listen.
    pub(super) published: watch::Sender<u64>,
    /// Replaced whole when the settings are edited; read by each request anew.
    pub(super) limits: ArcSwap<Limits>,
    pub(super) trust: Trust,
    pub(super) failures: mpsc::Sender<ConnectFailure>,
    pub(super) tls: Arc<ServerConfig>,
    /// Where the first door for https stands.
    pub(super) https_port: u16,
    pub(super) refused: Refused,
    pub(super) compressor: Compressor,
    /// Open client connections, in all and by worker.
    pub(super) connections: AtomicUsize,
    pub(super) loads: Box<[AtomicUsize]>,
}

#[derive(Default)]
pub(super) struct Refused {
    pub(super) too_many_connections: AtomicU64,
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
