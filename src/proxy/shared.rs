//! What the workers share: the snapshot, the limits, TLS, the way to report, and counts. Read by all, locked by none.
use std::net::IpAddr;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use tokio::sync::{mpsc, watch};

use super::access_log::AccessLog;
use super::compressor::Compressor;
use super::edge::Trouble;
use super::limits::Limits;
use super::proxies::Trust;
use super::refusal::Refused;
use super::snapshot::Snapshot;
use super::sources::Sources;
use crate::base::said::Said;

pub(super) struct Shared {
    pub(super) snapshot: Arc<ArcSwap<Snapshot>>,
    /// Ticks after each publication; only requests that are held listen.
    pub(super) published: watch::Sender<u64>,
    /// Replaced whole when the settings are edited; read by each request anew.
    pub(super) limits: ArcSwap<Limits>,
    pub(super) trust: Trust,
    pub(super) failures: mpsc::Sender<Trouble>,
    /// What `Worker::ms` counts from.
    pub(super) born: Instant,
    /// Under it cookies name targets.
    pub(super) marks: ArcSwap<aws_lc_rs::hmac::Key>,
    pub(super) tls: Arc<ServerConfig>,
    /// Where the first door for https stands.
    pub(super) https_port: u16,
    pub(super) access_log: AccessLog,
    pub(super) refused: Refused,
    pub(super) compressor: Compressor,
    /// Open client connections, in all and by worker.
    pub(super) connections: AtomicUsize,
    pub(super) loads: Box<[AtomicUsize]>,
    /// Those of them that proxies have, which stand for many clients.
    pub(super) of_proxies: AtomicUsize,
    pub(super) sources: Sources,
    /// Streams to targets that speak HTTP/2; made with the first.
    pub(super) streams: OnceLock<Sources>,
    /// That a proxy sends no header of the PROXY protocol.
    pub(super) said_no_header: Said,
    pub(super) said_panic: Said,
}

impl Shared {
    /// Whether many clients stand behind this address: a proxy that the settings list, which has not said for whom it asks.
    pub(super) fn stands_for_many(&self, address: IpAddr) -> bool {
        let proxies = self.trust.load();
        proxies.is_some_and(|proxies| proxies.stands_for_many(address))
    }
}
