//! Worker: one thread with a runtime of its own, and everything on it that is not shared.
//!
//! Connections, upstream pools and counts of a worker never leave its thread, so nothing on the way of a request waits
//! for another core. The edge talks to it by orders.
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::spawn_local;

use super::at_apps::AtApps;
use super::client::{Client, Phase};
use super::endings::Endings;
use super::h2_line::Line;
use super::handshakes::Handshakes;
use super::listener::Arrival;
use super::request_id::RequestIds;
use super::serve;
use super::shared::Shared;
use super::upstream::{Pool, Turns, h2c};

const SWEEP: Duration = Duration::from_millis(250);
/// Threads beside each worker that wait for the disk in its place; they go when there is nothing to read.
const DISK_THREADS: usize = 4;

pub(super) enum Order {
    Serve(Arrival),
    Enter(Phase),
}

/// What is the worker's own.
pub(super) struct Worker {
    pub(super) index: usize,
    pub(super) shared: Arc<Shared>,
    pub(super) pool: RefCell<Pool>,
    pub(super) h2c: RefCell<h2c::Connections>,
    pub(super) turns: Turns,
    pub(super) handshakes: Handshakes,
    pub(super) ids: RequestIds,
    pub(super) phase: Cell<Phase>,
    /// Whose turn it is of the streams of HTTP/2.
    pub(super) line: Line,
    /// Requests at apps that speak HTTP/1.1.
    pub(super) at_apps: AtApps,
    /// Answers that wait to be taken: streams of HTTP/2, and connections of HTTP/1.1.
    pub(super) waiting: Cell<u32>,
    /// Bytes that may be read far ahead of clients whose end is looked for (`client_io`).
    pub(super) read_far: Cell<usize>,
    /// Wakes those who wait where their connection's waker does not reach.
    pub(super) endings: Endings,
    clients: RefCell<HashMap<u64, Rc<Client>>>,
    next_client: Cell<u64>,
    /// Unix milliseconds at a known instant: times of ids without a second clock reading.
    epoch: (Instant, u64),
}

pub(super) struct Handle {
    pub(super) orders: UnboundedSender<Order>,
    pub(super) thread: JoinHandle<()>,
}

/// Starts the thread; it ends when phase `Cut` was ordered and the last connection is gone.
pub(super) fn start(index: usize, seed: u64, shared: Arc<Shared>) -> io::Result<Handle> {
    let (orders, inbox) = unbounded_channel();
    let runtime = move || {
        Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(DISK_THREADS)
            .build_local(LocalOptions::default())
    };
    let thread = std::thread::Builder::new().name(format!("edge-{index}")).spawn(move || match runtime() {
        Ok(runtime) => runtime.block_on(run(index, seed, shared, inbox)),
        Err(error) => tracing::error!(%error, worker = index, "a worker of the edge could not start its runtime"),
    })?;
    Ok(Handle { orders, thread })
}

async fn run(index: usize, seed: u64, shared: Arc<Shared>, mut inbox: UnboundedReceiver<Order>) {
    let unix = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_millis() as u64;
    let pool = Pool::new(shared.loads.len());
    let worker = Rc::new(Worker {
        index,
        handshakes: Handshakes::new(shared.loads.len()),
        shared,
        h2c: RefCell::new(h2c::Connections::new(pool.filled())),
        pool: RefCell::new(pool),
        turns: Turns::default(),
        ids: RequestIds::new(seed),
        phase: Cell::new(Phase::Serving),
        line: Line::default(),
        at_apps: AtApps::default(),
        waiting: Cell::new(0),
        read_far: Cell::new(0),
        endings: Endings::default(),
        clients: RefCell::default(),
        next_client: Cell::new(0),
        epoch: (Instant::now(), unix),
    });
    let sweeping = spawn_local(sweep(worker.clone()));
    let calling = {
        let worker = worker.clone();
        spawn_local(async move { worker.line.calls().await })
    };
    while let Some(order) = inbox.recv().await {
        match order {
            Order::Serve(arrival) => {
                spawn_local(serve::connection(worker.clone(), arrival));
            }
            Order::Enter(phase) => worker.enter(phase).await,
        }
        if worker.phase.get() == Phase::Cut {
            break;
        }
    }
    sweeping.abort();
    calling.abort();
}

/// Closes upstream connections that nobody will use again.
async fn sweep(worker: Rc<Worker>) {
    let filled = worker.pool.borrow().filled();
    loop {
        while worker.pool.borrow().is_empty() && worker.h2c.borrow().is_empty() {
            filled.notified().await;
        }
        tokio::time::sleep(SWEEP).await;
        let now = Instant::now();
        worker.pool.borrow_mut().sweep(now);
        worker.h2c.borrow_mut().sweep(now);
    }
}

impl Worker {
    pub(super) fn unix_ms(&self, now: Instant) -> u64 {
        self.epoch.1 + now.saturating_duration_since(self.epoch.0).as_millis() as u64
    }

    /// Milliseconds since the edge started, at this moment: for standings and budgets, which all workers share.
    pub(super) fn ms(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.shared.born).as_millis() as u64
    }

    /// The client is known to the worker until the guard is dropped.
    pub(super) fn register(self: &Rc<Self>, client: &Rc<Client>) -> Registered {
        let id = self.next_client.get();
        self.next_client.set(id + 1);
        self.clients.borrow_mut().insert(id, client.clone());
        Registered {
            worker: self.clone(),
            id,
        }
    }

    async fn enter(&self, phase: Phase) {
        self.phase.set(phase);
        let clients: Vec<_> = self.clients.borrow().values().cloned().collect();
        for client in clients {
            client.enter(phase);
        }
        self.endings.wake_all();
        if phase == Phase::Cut {
            self.pool.borrow_mut().clear();
            self.h2c.borrow_mut().clear();
            // Let the connections see it and close in their own way.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

pub(super) struct Registered {
    worker: Rc<Worker>,
    id: u64,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.worker.clients.borrow_mut().remove(&self.id);
    }
}
