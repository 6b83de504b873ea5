//! Draining: the old containers end what they answer, and are stopped.
//!
//! It is a job of its own, so that one long stream keeps neither the next
//! deploy nor a rollback waiting. Which containers are its own was written
//! down with the switch: it ends these and no others, and whoever else takes
//! containers of the app away that serve nothing leaves them to it
//! ([`Deploys::replicas_left_over`]).
//!
//! Each container is stopped when its own last request has ended. Drains of
//! several deploys run beside each other; streams would let them pile up, so
//! the oldest of too many ends what is left at once.

use std::collections::{BTreeMap, HashSet};
use std::sync::PoisonError;
use std::time::Duration;

use futures_util::future::join_all;
use rusqlite::{Connection, Transaction};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::base::clock::UnixMs;
use crate::base::mono::Mono;
use crate::db::DbError;
use crate::jobs::{self, JobContext, NewJob, Outcome};
use crate::supervise::{Kind, Live, State as Container};

use super::error::Stop;
use super::mask::Mask;
use super::row::Deploy;
use super::run::{Next, PATIENCE, Work, mask};
use super::start::STOP_GRACE;
use super::state::State;
use super::{DRAIN_JOB, Deploys, deploy_in, plan, replicas, store};

/// Tries of a drain before its containers are left to the job that counts replicas.
const MOST_TRIES: u32 = 5;
/// The longest that freehold.toml may ask for.
pub(super) const LONGEST: Duration = Duration::from_secs(15 * 60);
/// Drains of one app that may be open at once: a replica of each may be held by a stream.
const MOST_OPEN: usize = 3;
/// Between looks whether drains of an app that goes away are over.
const LOOK: Duration = Duration::from_millis(50);
/// Between looks whether there are too many.
const COUNT: Duration = Duration::from_secs(1);
/// What a payload has the rows of the containers under.
pub(super) const ROWS: &str = "rows";

/// Hands the old containers of a deploy on, in the transaction of its switch.
pub(super) fn enqueue(
    tx: &Transaction<'_>,
    deploy: i64,
    rows: &[i64],
    now: UnixMs,
) -> Result<(), DbError> {
    let job = NewJob {
        kind: DRAIN_JOB,
        key: format!("drain:{deploy}"),
        payload: json!({ "deploy": deploy, ROWS: rows }),
        run_at: now,
    };
    jobs::enqueue(tx, now, &job).map(drop)
}

impl Deploys {
    /// The job that drains after one deploy.
    pub(super) async fn drain(&self, context: JobContext, payload: serde_json::Value) -> Outcome {
        let id = deploy_in(&payload);
        match self
            .drain_after(id, &payload, (context.id, context.attempt))
            .await
        {
            Ok(()) => {
                self.0.logs.close(id);
                Outcome::Done
            }
            Err(why) => Outcome::Again {
                at: UnixMs::now().plus(PATIENCE),
                why,
            },
        }
    }

    async fn drain_after(
        &self,
        id: i64,
        payload: &serde_json::Value,
        (job, attempt): (i64, u32),
    ) -> Result<(), String> {
        let told = |e: DbError| e.to_string();
        let found = self.0.db.read(move |c| store::by_id(c, id)).await;
        let deploy = found.map_err(told)?;
        // Whatever became of the deploy meanwhile, these containers are nobody else's to end.
        let Some(deploy) = deploy else {
            return Ok(());
        };
        // They were taken from this job at the deadline, and the deploy went on without it.
        if payload[ROWS].is_null() && deploy.state != State::Draining {
            return Ok(());
        }
        let Some(facts) = self.0.ports.apps.facts(deploy.app).await? else {
            return Ok(());
        };
        self.0.logs.open(id);
        let log = self.0.logs.writer(id, mask(&facts, &BTreeMap::new()));
        let work = Work {
            deploy: &deploy,
            attempt,
            facts: &facts,
            attached: &BTreeMap::new(),
            log: &log,
            cancel: &CancellationToken::new(),
        };
        if attempt > MOST_TRIES {
            log.line("The old containers could not be stopped so far; they are seen to apart.");
            let (app, now) = (deploy.app, UnixMs::now());
            let asked = self
                .0
                .db
                .write(move |tx| {
                    // Spoken for by this job they would be left to it, which is over.
                    jobs::forget_list(tx, job, ROWS)?;
                    replicas::enqueue(tx, app, now)
                })
                .await;
            asked.map_err(told)?;
        } else {
            match self.end_old(&work, &rows_in(payload)).await {
                Ok(()) => {}
                Err(Stop::Failed(why) | Stop::Again(why)) => {
                    log.line(&format!("{why}; trying again"));
                    return Err(why);
                }
                Err(Stop::Cancelled) => return Err("too late to cancel".into()),
            }
        }
        if deploy.state != State::Draining {
            return Ok(());
        }
        self.advance(&work, Next::to(State::Watching))
            .await
            .map_err(told)
    }

    /// Ends those of these containers that run still.
    async fn end_old(&self, work: &Work<'_>, rows: &HashSet<i64>) -> Result<(), Stop> {
        let (release, _) = work.deploy.release.unwrap_or_default();
        let release = self.release_row(release).await?;
        let limit = release.settings.drain(self.0.limits().drain);
        let mut old = self.not_serving(work.deploy.app).await?;
        old.retain(|l| rows.contains(&l.row));
        let app = work.deploy.app;
        let ended = {
            let drain = self.retire_drained(app, &old, limit);
            tokio::pin!(drain);
            tokio::select! {
                whole = &mut drain => Some(whole?),
                () = self.overtaken(app, work.deploy.id) => None,
            }
        };
        let whole = match ended {
            Some(whole) => whole,
            None => {
                work.log.line(&format!(
                    "{MOST_OPEN} newer deploys have replicas that end their requests, too: what is left here is ended now."
                ));
                let rows: HashSet<i64> = old.iter().map(|l| l.row).collect();
                let mut left = self.not_serving(app).await?;
                left.retain(|l| rows.contains(&l.row));
                self.retire_drained(app, &left, Duration::ZERO).await?;
                true
            }
        };
        for container in &old {
            work.log.line(&format!("{} is stopped", container.name));
        }
        if !whole {
            work.log.line(&format!(
                "Some requests took longer than the {} s of drain and were ended.",
                limit.as_secs()
            ));
        }
        Ok(())
    }

    /// Which of these drain for longer than that may take. By the clock that nobody sets: what drained before this daemon
    /// began counts anew, as its requests ended with the one before.
    pub(super) fn past_their_drain(&self, mut draining: Vec<Deploy>) -> Vec<Deploy> {
        let limits = self.0.limits();
        let limit = State::Draining.deadline(limits.build_deadline) + limits.drain.max(LONGEST);
        let limit = self.waited(State::Draining, limit);
        let now = Mono::now();
        let since = self.0.draining.lock();
        let mut since = since.unwrap_or_else(PoisonError::into_inner);
        since.retain(|id, _| draining.iter().any(|d| d.id == *id));
        draining.retain(|d| now.since(*since.entry(d.id).or_insert(now)) >= limit);
        draining
    }

    /// Ends the old containers of a deploy whose drain is past its deadline, with all that is in them. Its job works on
    /// none of them any more.
    pub(super) async fn cut_off(&self, deploy: &Deploy) -> Result<(), String> {
        let (id, told) = (deploy.id, |e: DbError| e.to_string());
        let job = move |c: &Connection| jobs::newest_about(c, DRAIN_JOB, "deploy", id);
        let job = self.0.db.read(job).await.map_err(told)?;
        if let Some(job) = job {
            let rows = rows_in(&job.payload);
            let mut old = self.not_serving(deploy.app).await.map_err(words)?;
            old.retain(|l| rows.contains(&l.row));
            for one in old {
                let retired = self.0.ports.containers.retire(one.row, STOP_GRACE).await;
                retired.map_err(|e| e.to_string())?;
            }
            let forgotten = self
                .0
                .db
                .write(move |tx| jobs::forget_list(tx, job.id, ROWS));
            forgotten.await.map_err(told)?;
        }
        let log = self.0.logs.writer(id, Mask::default());
        log.line("The old containers did not finish within the longest that may take: they are stopped as they are.");
        Ok(())
    }

    /// A deploy found in its drain has a job for it; one from before there was such a job gets it now.
    pub(super) async fn see_to_the_drain(&self, deploy: &Deploy) -> Result<(), String> {
        let old = self.replicas_left_over(deploy.app).await;
        let old = old.map_err(words)?;
        let rows: Vec<i64> = old.iter().map(|l| l.row).collect();
        let (id, now) = (deploy.id, UnixMs::now());
        let seen = self
            .0
            .db
            .write(
                move |tx| match jobs::newest_about(tx, DRAIN_JOB, "deploy", id)? {
                    Some(_) => Ok(()),
                    None => enqueue(tx, id, &rows, now),
                },
            )
            .await;
        seen.map_err(|e: DbError| e.to_string())
    }

    /// The app's replicas that run but get no traffic by what is live.
    pub(super) async fn not_serving(&self, app: i64) -> Result<Vec<Live>, Stop> {
        let serving = self.0.db.read(move |c| store::live(c, app)).await?;
        let owner = plan::owner(app);
        let live = self.0.ports.containers.live();
        let all = live.borrow().clone();
        Ok(all
            .iter()
            .filter(|l| l.kind == Kind::Replica && l.owner == owner)
            .filter(|l| l.state != Container::Retiring)
            .filter(|l| !serving.as_ref().is_some_and(|s| s.has(&l.name)))
            .cloned()
            .collect())
    }

    /// [`Self::not_serving`], but for those that a drain is there for. Asked for by work that has the app's key, so
    /// that none of them belongs to a deploy that has not switched yet.
    pub(super) async fn replicas_left_over(&self, app: i64) -> Result<Vec<Live>, Stop> {
        // In this order: one whose drain ends in between is seen to be retiring.
        let spoken_for = self.0.db.read(|c| jobs::listed(c, DRAIN_JOB, ROWS)).await?;
        let mut left = self.not_serving(app).await?;
        left.retain(|l| !spoken_for.contains(&l.row));
        Ok(left)
    }

    /// Waits until no drain of the app's is open: its lines and rows would come after those that are taken away.
    ///
    /// # Errors
    /// When one is after `limit`.
    pub(super) async fn drains_over(&self, app: i64, limit: Duration) -> Result<(), Stop> {
        let over = async {
            loop {
                let open: Result<bool, DbError> = self
                    .0
                    .db
                    .read(move |c| Ok(!self::open(c, app)?.is_empty()))
                    .await;
                if !open? {
                    return Ok(());
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        let over = tokio::time::timeout(limit, over).await;
        over.unwrap_or_else(|_| Err(Stop::Again("a drain of the app's is not over yet".into())))
    }

    /// Drains and stops, each as soon as nothing is left in it; says whether every request ended by itself.
    pub(super) async fn retire_drained(
        &self,
        app: i64,
        old: &[Live],
        limit: Duration,
    ) -> Result<bool, Stop> {
        if !old.is_empty() {
            self.0.ports.traffic.alone().await;
        }
        let each = old.iter().map(|one| async move {
            let draining = self.0.ports.traffic.drained(app, vec![one.row], limit);
            let whole = tokio::time::timeout(limit + Duration::from_secs(10), draining).await;
            let retired = self.0.ports.containers.retire(one.row, STOP_GRACE).await;
            retired.map_err(|e| Stop::Again(e.to_string()))?;
            Ok(whole.unwrap_or(false))
        });
        // All of them, though one could not be stopped.
        let ends: Vec<Result<bool, Stop>> = join_all(each).await;
        let mut whole = true;
        for end in ends {
            whole &= end?;
        }
        Ok(whole)
    }

    /// Resolves when so many newer deploys of the app drain that this one's containers are too many.
    async fn overtaken(&self, app: i64, deploy: i64) {
        loop {
            tokio::time::sleep(COUNT).await;
            let newer: Result<usize, DbError> = self
                .0
                .db
                .read(move |c| {
                    let open = self::open(c, app)?;
                    Ok(open.into_iter().filter(|id| *id > deploy).count())
                })
                .await;
            match newer {
                Ok(newer) if newer >= MOST_OPEN => return,
                Ok(_) => {}
                Err(error) => tracing::debug!(%error, "open drains could not be counted"),
            }
        }
    }
}

/// The containers that a drain is to end.
fn rows_in(payload: &serde_json::Value) -> HashSet<i64> {
    let rows = payload[ROWS].as_array().into_iter().flatten();
    rows.filter_map(serde_json::Value::as_i64).collect()
}

fn words(stop: Stop) -> String {
    match stop {
        Stop::Failed(why) | Stop::Again(why) => why,
        Stop::Cancelled => "too late to cancel".into(),
    }
}

/// The app's deploys that a drain is open of.
fn open(c: &Connection, app: i64) -> Result<Vec<i64>, DbError> {
    let mut open = Vec::new();
    for id in jobs::worked_on(c, DRAIN_JOB, "deploy")? {
        if store::by_id(c, id)?.is_some_and(|d| d.app == app) {
            open.push(id);
        }
    }
    Ok(open)
}
