//! What is to be done: a typed queue in the table.
//!
//! Jobs of one key run one after another, in the order they were queued;
//! different keys run beside each other. A job that was begun and waits for its
//! next try keeps its key meanwhile: what it left half done is not for a later
//! one to meet. It lets go when its kind says so ([`Handlers::on_yielding`]),
//! or after [`HELD_TRIES`] tries, so that one that never gets anywhere does not
//! stop the rest for ever. A job that was never begun keeps nothing before its
//! time. A job found running at start was cut
//! by a crash: it is run again, and its handler goes on from the state in its
//! own row. Handlers are dropped, not awaited, when the daemon stops.
//! Where the table was made anew and something is missing in it, work that
//! destroys or overwrites waits for a person's word ([`Handlers::destroys`]), and
//! keeps its key from nothing meanwhile.
//!
//! Nothing goes on for ever: each kind has a limit of time, at which its work is
//! stopped and has failed. What the rows of a domain say is going on though no
//! open job works on it, its reaper ends: after each failure, and by the clock.

mod limit;
mod owed;
mod points;
mod store;

use std::collections::{HashMap, HashSet};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::base::clock::UnixMs;
use crate::base::crash_point;
use crate::base::shutdown::{Shutdown, Tasks};
use crate::db::{self, Db, DbError};

pub use limit::Limit;
pub use owed::{Owed, REMOVAL, queue_removal, requeue_removal};
pub use points::crash_points;
pub use store::{
    JobRow, NewJob, State, Told, by_id, clock_set, done, enqueue, forget_list, hasten, is_key_open,
    listed, newest, newest_about, note_deploy, take_back, worked_on,
};

/// How a run of a job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing left to do.
    Done,
    /// To be run again.
    Again {
        /// Not before.
        at: UnixMs,
        /// Why, as a sentence.
        why: String,
    },
    /// Given up.
    Failed(String),
    /// Taken back by somebody: nothing of it is left.
    Cancelled,
}

/// What a handler is told beside its payload.
#[derive(Clone, Debug)]
pub struct JobContext {
    /// The row.
    pub id: i64,
    /// The row's key.
    pub key: String,
    /// 1 at the first run; higher after `Again` or a crash.
    pub attempt: u32,
    /// Cancelled when somebody cancels this job.
    pub cancel: CancellationToken,
}

type Running = Pin<Box<dyn Future<Output = Outcome> + Send>>;
type Reaping = Pin<Box<dyn Future<Output = ()> + Send>>;
type Reaper = Arc<dyn Fn() -> Reaping + Send + Sync>;
type Destroys = Arc<dyn Fn(&Connection, &serde_json::Value) -> Result<bool, DbError> + Send + Sync>;
type Handler = Arc<dyn Fn(JobContext, serde_json::Value) -> Running + Send + Sync>;

/// The queue and its handlers.
#[derive(Clone)]
pub struct Jobs {
    db: Db,
    handlers: Arc<Handlers>,
    running: Arc<Mutex<HashMap<i64, CancellationToken>>>,
    /// A job failed: what it left is to be ended.
    reap: Arc<Notify>,
    /// Jobs that say why they wait for a word.
    waiting: Arc<Mutex<HashSet<i64>>>,
}

/// Handlers, gathered before the queue starts.
pub struct Handlers {
    of: HashMap<&'static str, Kind>,
    yielding: HashSet<&'static str>,
    destroying: HashMap<&'static str, Destroys>,
    reapers: Vec<Reaper>,
    reap_every: Duration,
}

/// A kind of work.
#[derive(Clone)]
struct Kind {
    handler: Handler,
    limit: Limit,
}

impl Default for Handlers {
    fn default() -> Self {
        Self {
            of: HashMap::new(),
            yielding: HashSet::new(),
            destroying: HashMap::new(),
            reapers: Vec::new(),
            reap_every: REAP_EVERY,
        }
    }
}

impl Handlers {
    /// `kind` is done by `handler`, each run of it within `limit`: then it is dropped where it stands, as by a crash,
    /// and has failed. Above all that its own steps are bounded by, for it is what ends a step that is not.
    pub fn on<F, Fut>(&mut self, kind: &'static str, limit: impl Into<Limit>, handler: F)
    where
        F: Fn(JobContext, serde_json::Value) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Outcome> + Send + 'static,
    {
        let kind_of = Kind {
            handler: Arc::new(move |context, payload| Box::pin(handler(context, payload))),
            limit: limit.into(),
        };
        self.of.insert(kind, kind_of);
    }

    /// [`Self::on`], for work that lets others of its key go ahead while it
    /// waits for its next try: each run looks at its row anew, and bears what
    /// others did meanwhile.
    pub fn on_yielding<F, Fut>(&mut self, kind: &'static str, limit: impl Into<Limit>, handler: F)
    where
        F: Fn(JobContext, serde_json::Value) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Outcome> + Send + 'static,
    {
        self.on(kind, limit, handler);
        self.yielding.insert(kind);
    }

    /// Work of this kind destroys or overwrites what was. After a recovery in which something is missing it may have
    /// been done already, or be meant for what was there before: it is not begun until somebody confirms.
    pub fn destroys(&mut self, kind: &'static str) {
        self.destroys_when(kind, |_, _| Ok(true));
    }

    /// [`Self::destroys`], for a kind of which only some does: by its payload, and by what its row says before it begins.
    pub fn destroys_when<F>(&mut self, kind: &'static str, does: F)
    where
        F: Fn(&Connection, &serde_json::Value) -> Result<bool, DbError> + Send + Sync + 'static,
    {
        self.destroying.insert(kind, Arc::new(does));
    }

    /// `reaper` ends what a domain's rows say is going on though no open job
    /// works on it. Called at the start, after every job that failed, a panic
    /// included, and once a minute; never two at once. A row and its job are
    /// written by one transaction, so that it never meets the one alone.
    pub fn reap<F, Fut>(&mut self, reaper: F)
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.reapers
            .push(Arc::new(move || Box::pin(reaper()) as Reaping));
    }
}

/// Why a job waits for a word.
pub const WAITS: &str = "it destroys or overwrites, and the state was made anew with something missing: `freehold doctor` says what, and after `freehold doctor --confirm` it goes on";
/// The longest the queue sleeps without looking.
const LOOK: Duration = Duration::from_secs(30);
/// A job that was begun keeps its key while it waits, until its tries are this many.
const HELD_TRIES: u32 = 20;
/// Between looks for what nothing works on.
const REAP_EVERY: Duration = Duration::from_secs(60);
/// Doubled while the table cannot be written, up to the longest.
const TROUBLE: Duration = Duration::from_millis(500);
const LONGEST_TROUBLE: Duration = Duration::from_secs(8);

impl Jobs {
    /// Takes up what a crash cut off and starts to work. On a full disk that
    /// waits until there is space: the daemon serves meanwhile.
    ///
    /// # Errors
    /// When the table cannot be written for any other reason.
    pub async fn start(db: Db, handlers: Handlers, tasks: &Tasks) -> Result<Self, DbError> {
        let jobs = Self {
            db,
            handlers: Arc::new(handlers),
            running: Arc::default(),
            reap: Arc::new(Notify::new()),
            waiting: Arc::default(),
        };
        let taken_up = match jobs.take_up().await {
            Ok(()) => true,
            Err(error) if error.is_disk_full() => false,
            Err(error) => return Err(error),
        };
        let worker = jobs.clone();
        let group = tasks.clone();
        tasks.spawn_core("jobs", async move { worker.run(group, taken_up).await });
        Ok(jobs)
    }

    async fn take_up(&self) -> Result<(), DbError> {
        let cut = self.db.write(store::requeue_running).await?;
        if cut > 0 {
            tracing::info!(jobs = cut, "work that was cut off is taken up again");
        }
        Ok(())
    }

    /// Cancels a job: a queued one never runs, a running one has its token
    /// cancelled and ends by its handler.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn cancel(&self, id: i64) -> Result<(), DbError> {
        self.db
            .write(move |tx| store::cancel_queued(tx, id, UnixMs::now()))
            .await?;
        if let Some(token) = self.lock().get(&id) {
            token.cancel();
        }
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<i64, CancellationToken>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(self, tasks: Tasks, mut taken_up: bool) {
        let shutdown = tasks.shutdown().clone();
        let mut commits = self.db.commits();
        let mut trouble = TROUBLE;
        let mut reaping = false;
        loop {
            commits.mark_unchanged();
            let turn = async {
                if !taken_up {
                    // Before any job of ours runs: those that are running are not ours.
                    self.take_up().await?;
                    taken_up = true;
                }
                if !reaping {
                    // Not before what a crash cut off is open again.
                    reaping = true;
                    self.reap.notify_one();
                    let reaper = self.clone();
                    let shutdown = tasks.shutdown().clone();
                    tasks.spawn(
                        "ends of failed work",
                        async move { reaper.reap(shutdown).await },
                    );
                }
                self.start_due(&tasks).await
            };
            let wait = match turn.await {
                Ok(next) => {
                    trouble = TROUBLE;
                    next.map(|at| at.since(UnixMs::now()))
                        .unwrap_or(LOOK)
                        .clamp(Duration::from_millis(5), LOOK)
                }
                Err(error) => {
                    tracing::warn!(%error, "the job queue could not be worked on; trying again");
                    trouble = (trouble * 2).min(LONGEST_TROUBLE);
                    trouble
                }
            };
            tokio::select! {
                () = shutdown.begun() => return,
                () = tokio::time::sleep(wait) => {}
                changed = commits.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Ends what failed jobs left unsettled: at the start, after each that failed, and by the clock.
    async fn reap(self, shutdown: Shutdown) {
        loop {
            tokio::select! {
                () = shutdown.begun() => return,
                () = self.reap.notified() => {}
                () = tokio::time::sleep(self.handlers.reap_every) => {}
            }
            for reaper in &self.handlers.reapers {
                let work = tokio::spawn(reaper());
                let stop = work.abort_handle();
                tokio::select! {
                    biased;
                    () = shutdown.begun() => { stop.abort(); return }
                    ended = work => if ended.is_err() {
                        tracing::error!("ending what a failed job left panicked; it is tried again after the next one");
                    }
                }
            }
        }
    }

    /// Starts every job that may run now; says when the next one is due.
    async fn start_due(&self, tasks: &Tasks) -> Result<Option<UnixMs>, DbError> {
        let now = UnixMs::now();
        let open = self.db.read(store::open).await?;
        let waiting = self.waiting_for_a_word(&open).await?;
        let (due, next) = choose(&open, &self.handlers.yielding, &waiting, now);
        for row in due {
            let id = row.id;
            // Before anybody can read that it runs, and cancel it.
            let cancel = tasks.shutdown().child();
            self.lock().insert(id, cancel.clone());
            crash_point::hit("jobs.running.before");
            let attempt = self
                .db
                .write(move |tx| store::mark_running(tx, id, now))
                .await;
            crash_point::hit("jobs.running.after");
            let attempt = match attempt {
                Ok(Some(attempt)) => attempt,
                not => {
                    self.lock().remove(&id);
                    not?;
                    continue;
                }
            };
            let context = JobContext {
                id,
                key: row.key.clone(),
                attempt,
                cancel,
            };
            let kind = self.handlers.of.get(row.kind.as_str()).cloned();
            let jobs = self.clone();
            let shutdown = tasks.shutdown().clone();
            tasks.spawn("job", async move {
                let outcome = match kind {
                    None => Outcome::Failed(format!(
                        "this Freehold does not know the work \"{}\"",
                        row.kind
                    )),
                    Some(Kind { handler, limit }) => {
                        let limit = limit.now();
                        let mut work = tokio::spawn(handler(context, row.payload.clone()));
                        let stop = work.abort_handle();
                        let ended = tokio::select! {
                            biased;
                            () = shutdown.begun() => { stop.abort(); return }
                            ended = tokio::time::timeout(limit, &mut work) => ended,
                        };
                        match ended {
                            Ok(Ok(outcome)) => outcome,
                            Ok(Err(error)) if error.is_panic() => {
                                Outcome::Failed("the work panicked; see the daemon's log".into())
                            }
                            Ok(Err(_)) => Outcome::Failed("the work was stopped".into()),
                            Err(_) => {
                                stop.abort();
                                // Said when it is over; how it ended in this moment does not count any more.
                                drop(work.await);
                                Outcome::Failed(limit::over(limit))
                            }
                        }
                    }
                };
                jobs.finish(&row, outcome).await;
            });
        }
        Ok(next)
    }

    /// The jobs that are not begun before a person has confirmed the state they stand in; each says so.
    async fn waiting_for_a_word(&self, open: &[JobRow]) -> Result<HashSet<i64>, DbError> {
        let handlers = Arc::clone(&self.handlers);
        let queued = open.iter().filter(|j| j.state == State::Queued);
        let queued: Vec<JobRow> = queued
            .filter(|j| handlers.destroying.contains_key(j.kind.as_str()))
            .cloned()
            .collect();
        if queued.is_empty() || !self.db.read(db::is_short).await? {
            return Ok(HashSet::new());
        }
        let destroying = move |c: &Connection| {
            let mut waiting = HashSet::new();
            for job in &queued {
                let does = handlers.destroying.get(job.kind.as_str());
                if does.is_some_and(|does| does(c, &job.payload).unwrap_or(true)) {
                    waiting.insert(job.id);
                }
            }
            Ok::<_, DbError>(waiting)
        };
        let waiting = self.db.read(destroying).await?;
        let untold: Vec<i64> = {
            let told = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.difference(&told).copied().collect()
        };
        for id in untold {
            self.db
                .write(move |tx| store::note_waiting(tx, id, WAITS))
                .await?;
            tracing::warn!(job = id, "a job is not begun: {WAITS}");
            let mut told = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            told.insert(id);
        }
        Ok(waiting)
    }

    async fn finish(&self, row: &JobRow, outcome: Outcome) {
        let id = row.id;
        if let Outcome::Failed(why) = &outcome {
            tracing::warn!(
                job = id,
                kind = row.kind,
                key = row.key,
                why,
                "a job failed"
            );
        }
        // Before it may be begun anew, with another.
        self.lock().remove(&id);
        let mut wait = Duration::from_millis(200);
        points::before(&outcome);
        loop {
            let wanted = outcome.clone();
            let written = self
                .db
                .write(move |tx| store::finish(tx, id, &wanted, UnixMs::now()))
                .await;
            match written {
                Ok(()) => break,
                Err(error) => {
                    tracing::error!(job = id, %error, "a job's outcome could not be written; trying again");
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(Duration::from_secs(30));
                }
            }
        }
        points::after(&outcome);
        if matches!(outcome, Outcome::Failed(_)) {
            self.reap.notify_one();
        }
    }
}

/// Which of the open jobs may start now, and when the next waiting one is due.
/// A key with a running job waits, and so does one whose begun job waits for
/// its next try: but that job itself goes on when its time has come. Those that
/// are `waiting` for a word do not start, and keep others from nothing: a person
/// may take days, and what destroys besides them waits as well.
fn choose(
    open: &[JobRow],
    yielding: &HashSet<&'static str>,
    waiting: &HashSet<i64>,
    now: UnixMs,
) -> (Vec<JobRow>, Option<UnixMs>) {
    let holds = |job: &JobRow| match job.state {
        State::Running => true,
        State::Queued => {
            (1..HELD_TRIES).contains(&job.attempts) && !yielding.contains(job.kind.as_str())
        }
    };
    // The job that has each key, if one has.
    let mut held: HashMap<&str, i64> = HashMap::new();
    for job in open.iter().filter(|j| holds(j) && !waiting.contains(&j.id)) {
        let holder = held.entry(job.key.as_str()).or_insert(job.id);
        if job.state == State::Running {
            *holder = job.id;
        }
    }
    let mut due = Vec::new();
    let mut next: Option<UnixMs> = None;
    let queued = open.iter().filter(|j| j.state == State::Queued);
    for job in queued.filter(|j| !waiting.contains(&j.id)) {
        if job.run_at > now {
            next = Some(next.map_or(job.run_at, |n| n.min(job.run_at)));
            continue;
        }
        let holder = held.entry(job.key.as_str()).or_insert(job.id);
        if *holder == job.id {
            due.push(job.clone());
        }
    }
    (due, next)
}

#[cfg(test)]
mod tests;
