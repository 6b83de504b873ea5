//! Edge: the data plane as the daemon holds it. Started with listening sockets, fed with snapshots, read for figures, drained.
//!
//! The edge never makes, names or removes a target; it asks for nothing but newer snapshots.
use std::io;
use std::net::{Shutdown, TcpListener};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use tokio::sync::{mpsc, watch};

use super::access_log::{AccessLog, Entries};
use super::client::Phase;
use super::compressor::Compressor;
use super::descriptors;
use super::limits::Limits;
use super::listener::{self, Door};
use super::meter::Reading;
use super::proxies::{Proxies, Trust};
use super::refusal::{Refusals, Refused};
use super::shared::Shared;
use super::snapshot::Snapshot;
use super::sources::Sources;
use super::standing::Cause;
use super::target::{Address, Protocol, Target};
use super::tls;
use super::worker::{self, Order};
use crate::base::log_share::LogShare;
use crate::base::said::Said;

/// How long idle connections may wait for a last request when the edge drains.
const LEAVING: Duration = Duration::from_secs(1);
/// How much of the drain's limit is kept for streams to end in their own way.
const FAREWELL: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(10);

/// Sockets that already listen; the edge never binds.
#[derive(Default)]
pub struct Listeners {
    pub http: Vec<TcpListener>,
    pub https: Vec<TcpListener>,
}

/// What the control plane should look into, and publish what it finds.
#[derive(Clone, Debug)]
pub struct Trouble {
    pub target: Arc<str>,
    pub address: Address,
    pub what: What,
}

/// What a target did.
#[derive(Clone, Debug)]
pub enum What {
    /// It did not take a connection.
    Refused(String),
    /// A request waits long for its answer over this protocol, and nobody else had one meanwhile; or it waited in vain for
    /// an only target's.
    Silent(Protocol),
}

/// What the edge has done since it started.
#[derive(Clone, Debug, Default)]
pub struct EdgeStats {
    /// Open client connections.
    pub connections: u64,
    /// Requests that wait at a gate now: for a pause to end, a target to come back, or a place at one.
    pub held: u64,
    /// By route key and by target key, of the current snapshot.
    pub routes: Vec<(Arc<str>, Reading)>,
    pub targets: Vec<(Arc<str>, Reading)>,
    /// By target key, sorted by it.
    pub left_out: Vec<(Arc<str>, LeftOut)>,
    /// Who was turned away, by reason.
    pub refusals: Refusals,
    /// Entries of the access log that were never written.
    pub log_dropped: u64,
}

/// Whether and how often a target was left out because of what it did to requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    pub now: bool,
    pub times: u64,
    /// Why it was, the last time, and how long ago that began; nothing once that is forgotten.
    pub last: Option<(Cause, Duration)>,
}

pub struct Edge {
    handle: EdgeHandle,
    workers: Vec<worker::Handle>,
    doors: Arc<[(TcpListener, Door)]>,
    /// While connections are taken.
    acceptor: Option<Acceptor>,
    entries: Option<Entries>,
}

/// The thread that takes connections, until the other end of its wire is closed.
struct Acceptor {
    thread: JoinHandle<()>,
    wire: UnixStream,
}

impl Edge {
    /// Serves at once. Fails only where the machine refuses threads, descriptors or randomness.
    pub fn start(
        listeners: Listeners,
        first: Arc<Snapshot>,
        limits: Limits,
        failures: mpsc::Sender<Trouble>,
    ) -> io::Result<Edge> {
        let mut edge = Self::start_closed(listeners, first, limits, failures)?;
        edge.open()?;
        Ok(edge)
    }

    /// Takes no connection before [`Edge::open`]: they wait in the sockets until there is a snapshot worth serving.
    pub fn start_closed(
        listeners: Listeners,
        first: Arc<Snapshot>,
        limits: Limits,
        failures: mpsc::Sender<Trouble>,
    ) -> io::Result<Edge> {
        let count = limits
            .workers
            .or_else(|| std::thread::available_parallelism().ok().map(usize::from))
            .unwrap_or(1)
            .max(1);
        descriptors::make_room(limits.connections);
        let (generation, now) = (first.generation, Instant::now());
        let snapshot = Arc::new(ArcSwap::new(first));
        let tls = tls::server_config(snapshot.clone()).map_err(io::Error::other)?;
        let (access_log, entries) = AccessLog::new();
        let shared = Arc::new(Shared {
            snapshot,
            published: watch::Sender::new(generation),
            limits: ArcSwap::from_pointee(limits),
            trust: Trust::default(),
            failures,
            born: Instant::now(),
            marks: ArcSwap::from_pointee(marks()?),
            tls: Arc::new(tls),
            https_port: listeners
                .https
                .first()
                .and_then(|listener| listener.local_addr().ok())
                .map_or(443, |address| address.port()),
            access_log,
            refused: Refused::default(),
            compressor: Compressor::default(),
            connections: AtomicUsize::new(0),
            loads: (0..count).map(|_| AtomicUsize::new(0)).collect(),
            of_proxies: AtomicUsize::new(0),
            sources: Sources::new(now),
            streams: OnceLock::new(),
            said_no_header: Said::new(now),
            said_panic: Said::new(now),
        });
        let workers = (0..count)
            .map(|index| worker::start(index, seed()?, shared.clone()))
            .collect::<io::Result<Vec<_>>>()?;
        let http = listeners
            .http
            .into_iter()
            .map(|listener| (listener, Door::Http));
        let doors: Vec<_> = http
            .chain(
                listeners
                    .https
                    .into_iter()
                    .map(|listener| (listener, Door::Https)),
            )
            .collect();
        doors
            .iter()
            .try_for_each(|(listener, _)| listener::prepare(listener))?;
        Ok(Edge {
            handle: EdgeHandle { shared },
            workers,
            doors: doors.into(),
            acceptor: None,
            entries: Some(entries),
        })
    }

    /// Takes connections from now on; nothing new for an edge that does.
    ///
    /// # Errors
    /// That the machine refuses a thread or a descriptor: none is taken then.
    pub fn open(&mut self) -> io::Result<()> {
        // One whose thread has ended takes nothing.
        if self
            .acceptor
            .as_ref()
            .is_some_and(|a| !a.thread.is_finished())
        {
            return Ok(());
        }
        let (wire, stop) = UnixStream::pair()?;
        let (doors, shared) = (self.doors.clone(), self.handle.shared.clone());
        let orders = self.workers.iter().map(|w| w.orders.clone()).collect();
        let thread = std::thread::Builder::new()
            .name("edge-accept".into())
            .spawn(move || {
                if let Err(error) = listener::accept_all(&doors, shared, orders, &stop) {
                    tracing::error!(%error, "the edge stopped taking connections");
                }
            })?;
        self.acceptor = Some(Acceptor { thread, wire });
        Ok(())
    }

    /// Takes no further connection until it is opened again; those it has are served on. The listening sockets stay as they
    /// are: whoever comes waits in them, for this edge or another that shares them.
    pub async fn close(&mut self) {
        let Some(Acceptor { thread, wire }) = self.acceptor.take() else {
            return;
        };
        if let Err(error) = wire.shutdown(Shutdown::Both) {
            tracing::error!(%error, "the edge could not be told to stop taking connections");
        }
        let joined = tokio::task::spawn_blocking(move || thread.join()).await;
        if !matches!(joined, Ok(Ok(()))) {
            tracing::error!("the thread that takes the edge's connections had panicked");
        }
    }

    /// What is to be written to the access log, once: for whoever writes it. Without a writer the ring fills and entries are lost.
    pub fn entries(&mut self) -> Option<Entries> {
        self.entries.take()
    }

    /// The part that publishes and reads; cheap to clone, does not keep the edge alive.
    pub fn handle(&self) -> EdgeHandle {
        self.handle.clone()
    }

    /// Takes no further connection, lets what runs end within the limit, then closes the rest and the threads.
    ///
    /// The listening sockets stay open elsewhere (systemd), so those who wait in them lose nothing. First answers say that
    /// their connection ends; then idle connections and WebSockets are closed; a second before the limit other streams end
    /// in their own way, and downloads without a length are broken off; at the limit what is left is closed.
    pub async fn drain(mut self, limit: Duration) {
        let began = Instant::now();
        self.close().await;
        self.order(Phase::Leaving);
        self.wait_for_the_last(began + LEAVING.min(limit / 2)).await;
        self.end(began, limit, Phase::Ending, std::future::pending())
            .await;
    }

    /// As [`Edge::drain`], for an edge beside which another one takes connections from the same sockets by now: whoever is
    /// told to come back is served at once. So connections of HTTP/2 are told in the first moment, which costs them nothing.
    /// What can only be ended, an idle connection of HTTP/1.1 or a WebSocket, goes on for half of the limit: until then most
    /// have said what they were about to say. The held wait on until a second before the limit: what is published meanwhile
    /// releases them. The listening sockets are closed here: they are the other one's.
    ///
    /// `hurried` says that there is only so much time from then on.
    pub async fn leave_to_successor(
        mut self,
        limit: Duration,
        hurried: impl Future<Output = Duration>,
    ) {
        let (began, mut hurried) = (Instant::now(), std::pin::pin!(hurried));
        self.close().await;
        self.doors = Arc::default();
        self.order(Phase::Succeeded);
        tokio::select! {
            () = self.wait_for_the_last(began + limit / 2) => {
                self.end(began, limit, Phase::Parting, hurried).await;
            }
            left = &mut hurried => {
                let now = Instant::now();
                let left = left.min((began + limit).saturating_duration_since(now));
                // Where it has only just begun, idle connections have the same moment as anywhere.
                self.wait_for_the_last((began + LEAVING).min(now + left / 2)).await;
                self.end(now, left, Phase::Ending, std::future::pending()).await;
            }
        }
    }

    /// What is left of the drain that began then.
    async fn end(
        self,
        mut began: Instant,
        mut limit: Duration,
        first: Phase,
        hurried: impl Future<Output = Duration>,
    ) {
        self.order(first);
        let without_farewell = |limit: Duration| limit.saturating_sub(FAREWELL.min(limit / 4));
        tokio::select! {
            () = self.wait_for_the_last(began + without_farewell(limit)) => {}
            left = hurried => {
                let ends = began + limit;
                began = Instant::now();
                limit = left.min(ends.saturating_duration_since(began));
                self.order(Phase::Ending);
                self.wait_for_the_last(began + without_farewell(limit)).await;
            }
        }
        self.order(Phase::AtLimit);
        self.wait_for_the_last(began + limit).await;
        let left = self.shared.connections.load(Relaxed);
        if left > 0 {
            tracing::info!(
                left,
                "the drain's limit has passed; the connections left are closed"
            );
        }
        self.order(Phase::Cut);
        let threads = self.workers.into_iter().map(|worker| worker.thread);
        let joined = tokio::task::spawn_blocking(move || {
            threads.map(JoinHandle::join).filter(Result::is_err).count()
        })
        .await;
        if !matches!(joined, Ok(0)) {
            tracing::error!("a thread of the edge had panicked");
        }
    }

    fn order(&self, phase: Phase) {
        for (index, worker) in self.workers.iter().enumerate() {
            if worker.orders.send(Order::Enter(phase)).is_err() {
                tracing::error!(
                    worker = index,
                    "a worker of the edge is gone before its drain"
                );
            }
        }
    }

    async fn wait_for_the_last(&self, deadline: Instant) {
        while self.shared.connections.load(Relaxed) > 0 && Instant::now() < deadline {
            tokio::time::sleep(LOOK.min(deadline.saturating_duration_since(Instant::now()))).await;
        }
    }
}

impl std::ops::Deref for Edge {
    type Target = EdgeHandle;

    fn deref(&self) -> &EdgeHandle {
        &self.handle
    }
}

/// Publishes snapshots and reads figures of a running edge.
#[derive(Clone)]
pub struct EdgeHandle {
    shared: Arc<Shared>,
}

impl EdgeHandle {
    /// Serves from this snapshot from the next request on, and wakes those held.
    pub fn publish(&self, snapshot: Arc<Snapshot>) {
        let generation = snapshot.generation;
        self.shared.snapshot.store(snapshot);
        self.shared.published.send_replace(generation);
    }

    /// Takes other limits: for connections and requests from now on, and for how long those that run may still wait.
    pub fn limit(&self, limits: Limits) {
        descriptors::make_room(limits.connections);
        self.shared.limits.store(Arc::new(limits));
    }

    /// Believes these proxies, and none besides, about their clients: from the next connection and request on.
    pub fn trust(&self, proxies: Proxies) {
        self.shared.trust.store(proxies);
    }

    /// Cookies name targets under this key, so that another edge that has it knows them; before the first route that is `sticky`.
    pub fn mark_by(&self, key: &[u8]) {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        self.shared.marks.store(Arc::new(key));
    }

    /// Of requests that no route is found for, this share is written to the access log; of all, the query only if asked.
    pub fn log(&self, unrouted: LogShare, query: bool) {
        self.shared.access_log.set(unrouted, query);
    }

    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.shared.snapshot.load_full()
    }

    /// The generation of what is served, for whoever wants to hear of the next.
    pub fn published(&self) -> watch::Receiver<u64> {
        self.shared.published.subscribe()
    }

    pub fn stats(&self) -> EdgeStats {
        let snapshot = self.snapshot();
        let mut all: Vec<_> = snapshot.targets().collect();
        // Several routes may share a target.
        all.sort_by(|one, other| one.key().cmp(other.key()));
        all.dedup_by(|one, other| one.key() == other.key());
        let now = Instant::now().saturating_duration_since(self.shared.born);
        let left_out = |target: &Target| LeftOut {
            now: target.standing().is_out(now.as_millis() as u64),
            times: target.standing().ejections(),
            last: target.standing().last_out(now.as_millis() as u64),
        };
        EdgeStats {
            connections: self.shared.connections.load(Relaxed) as u64,
            held: snapshot.held(),
            routes: snapshot
                .all_routes()
                .map(|route| (route.spec.key.clone(), route.meter().read()))
                .collect(),
            targets: all
                .iter()
                .map(|target| (target.key().clone(), target.meter().read()))
                .collect(),
            left_out: all
                .iter()
                .map(|target| (target.key().clone(), left_out(target)))
                .collect(),
            refusals: self.shared.refused.read(),
            log_dropped: self.shared.access_log.dropped(),
        }
    }
}

/// The key under which cookies name targets until the edge is given one.
fn marks() -> io::Result<hmac::Key> {
    hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())
        .map_err(|_| io::Error::other("the system has no randomness to give"))
}

fn seed() -> io::Result<u64> {
    let mut bytes = [0; 8];
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|_| io::Error::other("the system has no randomness to give"))?;
    Ok(u64::from_ne_bytes(bytes))
}
