//! A run: requests leave at their time whether or not those before have come back, on a thread and runtime of their own.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::{JoinSet, LocalSet};

use super::ask::ask;
use super::door::{Connections, Door};
use super::ledger::{Kind, Ledger, Record, StreamEnd, StreamKind};
use super::schedule::Schedule;
use super::streams::follow;

/// Before a stream that ended is opened anew.
const PAUSE: Duration = Duration::from_millis(100);

/// What is to be asked.
pub struct Plan {
    pub door: Door,
    pub rate: u32,
    /// Taken in turn.
    pub mix: &'static [Kind],
    /// So many streams are kept open, each kind in turn.
    pub streams: usize,
    /// How long an answer is waited for; [`NEVER`](super::ask::NEVER) but where that is what is looked at.
    pub patience: Duration,
}

/// Everything there is, most of it small.
pub const EVERYTHING: &[Kind] = &[
    Kind::KeepAlive,
    Kind::Http2,
    Kind::Slow,
    Kind::KeepAlive,
    Kind::Upload,
    Kind::Http2,
    Kind::Fresh,
    Kind::KeepAlive,
    Kind::SlowHttp2,
    Kind::Download,
    Kind::KeepAlive,
    Kind::Http2,
    Kind::Events,
    Kind::KeepAlive,
    Kind::Slow,
    Kind::WebSocket,
];

/// What can be saved when its replica dies, and what cannot: no answer of these takes long to come whole.
pub const SHORT_ANSWERS: &[Kind] = &[
    Kind::KeepAlive,
    Kind::Slow,
    Kind::Http2,
    Kind::SlowHttp2,
    Kind::KeepAlive,
    Kind::Slow,
    Kind::Fresh,
    Kind::SlowHttp2,
    Kind::Upload,
];

/// A run that goes on until [`Load::finish`].
pub struct Load {
    start: Instant,
    /// The same moment by the clock on the wall, which the engine and the daemon go by.
    start_ms: i64,
    stop: Arc<AtomicBool>,
    ledger: Arc<Mutex<Ledger>>,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    pub fn start(plan: Plan) -> Self {
        let (start, stop) = (Instant::now(), Arc::new(AtomicBool::new(false)));
        let ledger: Arc<Mutex<Ledger>> = Arc::default();
        let (ended, noted) = (stop.clone(), ledger.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            LocalSet::new().block_on(&runtime, drive(plan, start, ended, noted));
        });
        Self {
            start,
            start_ms: freehold::base::clock::UnixMs::now().0,
            stop,
            ledger,
            thread: Some(thread),
        }
    }

    /// Notes what is done now, so that a failure is seen beside it.
    pub fn mark(&self, what: impl Into<String>) {
        let at = self.start.elapsed();
        self.ledger.lock().unwrap().marks.push((at, what.into()));
    }

    /// How many requests are over.
    pub fn over(&self) -> usize {
        self.ledger.lock().unwrap().records.len()
    }

    /// Those of them that failed.
    pub fn failed(&self) -> Vec<Record> {
        let ledger = self.ledger.lock().unwrap();
        let failed = ledger.records.iter().filter(|r| !r.is_good());
        failed.cloned().collect()
    }

    /// How many of this kind of stream were ended by the other side.
    pub fn streams_ended(&self, kind: StreamKind) -> usize {
        let ledger = self.ledger.lock().unwrap();
        let ended = ledger.streams.iter().filter(|s| s.kind == kind);
        ended.count()
    }

    /// Since it began.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// The moment of the run that the clock on the wall names.
    pub fn at(&self, unix_ms: i64) -> Duration {
        Duration::from_millis(u64::try_from(unix_ms - self.start_ms).unwrap_or(0))
    }

    /// Sends nothing more, waits for what is under way, and gives what was noted.
    pub fn finish(mut self) -> Ledger {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
        std::mem::take(&mut self.ledger.lock().unwrap())
    }
}

impl Drop for Load {
    /// A test that fails in between leaves no load behind.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

async fn drive(plan: Plan, start: Instant, stop: Arc<AtomicBool>, ledger: Arc<Mutex<Ledger>>) {
    let connections = Rc::new(Connections::new(plan.door));
    let (stopping, stopped) = watch::channel(false);
    // Requests and streams have their names from one row, so that each path is one thing.
    let next = Rc::new(Cell::new(0_u64));
    let take = |next: &Cell<u64>| next.replace(next.get() + 1);
    let mut streams = JoinSet::new();
    for place in 0..plan.streams {
        let kinds = [
            StreamKind::WebSocket,
            StreamKind::Events,
            StreamKind::EventsHttp2,
        ];
        let kind = kinds[place % kinds.len()];
        let (connections, next, ledger) = (connections.clone(), next.clone(), ledger.clone());
        let mut stopped = stopped.clone();
        streams.spawn_local(async move {
            loop {
                let number = take(&next);
                let stream = follow(&connections, start, kind, number, &mut stopped).await;
                let ours = stream.end == StreamEnd::Ours;
                ledger.lock().unwrap().streams.push(stream);
                if ours {
                    return;
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
    }
    let (schedule, run) = (Schedule { rate: plan.rate }, (start, plan.patience));
    let mut running = JoinSet::new();
    for place in 0.. {
        let due = schedule.due(place);
        tokio::time::sleep_until((start + due).into()).await;
        if stop.load(Ordering::Relaxed) {
            break;
        }
        while running.try_join_next().is_some() {}
        let kind = plan.mix[usize::try_from(place).unwrap_or(0) % plan.mix.len()];
        let (connections, ledger) = (connections.clone(), ledger.clone());
        let number = take(&next);
        running.spawn_local(async move {
            let record = ask(&connections, run, kind, number, due).await;
            ledger.lock().unwrap().records.push(record);
        });
    }
    while running.join_next().await.is_some() {}
    stopping.send_replace(true);
    while streams.join_next().await.is_some() {}
    let mut ledger = ledger.lock().unwrap();
    ledger.closed_while_idle = connections.closed_while_idle.get();
    ledger.moved = connections.moved.get();
    ledger.goaways = connections.goodbyes.counted();
}
