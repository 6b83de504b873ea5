//! More or fewer replicas of what is live, and none when the app is stopped.
//!
//! Up: make, wait until healthy, then serve with it. Down: stop serving with
//! it, drain, stop. Also takes away what is left over from anything before.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use crate::base::clock::UnixMs;
use crate::base::secret::Secret;
use crate::db::DbError;
use crate::events::{self, Level, NewEvent};
use crate::jobs::{self, JobContext, NewJob, Outcome, Owed};
use crate::supervise::{Cause, EngineState, NotReady, Spec};

use super::error::{DeployError, Stop};
use super::plan::Making;
use super::ports::AppFacts;
use super::row::{Release, Serving};
use super::start::STOP_GRACE;
use super::steps::Scaling;
use super::store;
use super::{Deploys, REPLICAS_JOB, app_in, job_key};

/// What a payload has that was queued because the work before failed.
const ONCE_MORE: &str = "once_more";

impl Deploys {
    /// Brings the number of running replicas to what the app's scale says now.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn apply_counts(&self, app: i64, now: UnixMs) -> Result<(), DeployError> {
        Scaling::Unasked.passed();
        self.0.db.write(move |tx| enqueue(tx, app, now)).await?;
        Scaling::Asked.passed();
        Ok(())
    }

    /// Stops the app: it gets no traffic, finishes what it began, and ends.
    ///
    /// # Errors
    /// [`DeployError::Conflict`] when nothing was deployed yet.
    pub async fn stop(&self, app: i64, by: &str, now: UnixMs) -> Result<(), DeployError> {
        self.live_or_refuse(app).await?;
        self.stop_unswitched(app, by).await?;
        let message = format!("The app was stopped by {by}.");
        self.0
            .db
            .write(move |tx| {
                if store::stop(tx, app)? {
                    let event = NewEvent::new("app.stopped", Level::Info, job_key(app), message);
                    events::record(tx, now, &event)?;
                }
                enqueue(tx, app, now)
            })
            .await?;
        Ok(())
    }

    /// Starts a stopped app: its live release, or, where settings were changed meanwhile, a new one of
    /// the same image.
    ///
    /// # Errors
    /// [`DeployError::Conflict`] when nothing was deployed yet.
    pub async fn start_app(
        &self,
        app: i64,
        by: &str,
        now: UnixMs,
    ) -> Result<Option<i64>, DeployError> {
        let live = self.live_or_refuse(app).await?;
        if !live.stopped {
            return Ok(None);
        }
        self.restart(app, by, now).await.map(Some)
    }

    /// A one-off container with the live release's image, env, databases and volumes.
    ///
    /// # Errors
    /// [`DeployError::Conflict`] when nothing was deployed yet.
    pub async fn one_off(&self, app: i64, command: Vec<String>) -> Result<Spec, DeployError> {
        let serving = self.live_or_refuse(app).await?;
        let facts = self.facts(app).await?;
        let told = |stop: Stop| match stop {
            Stop::Failed(why) | Stop::Again(why) => DeployError::Unavailable(why),
            Stop::Cancelled => DeployError::Conflict("the app is gone".into()),
        };
        let release = self.release_row(serving.release_id).await.map_err(told)?;
        if serving.files.is_some() {
            return Err(DeployError::Conflict(
                "the app is a folder of files: there is no image to run a command in. Deploy it with a Dockerfile to have one".into(),
            ));
        }
        let env = self.release_env(&release).await?;
        let networks = self.networks(app, &release).await.map_err(told)?;
        let attached = self.0.ports.attachments.env_for(app).await;
        let attached = attached.map_err(DeployError::Unavailable)?;
        let id = crate::base::secret::random_id(8).map_err(DbError::from)?;
        let making = self.making_of(&serving, &facts, &release, &env, &attached, &networks);
        Ok(making.one_off(&id, command))
    }

    pub(super) async fn adjust(&self, context: JobContext, payload: serde_json::Value) -> Outcome {
        let app = app_in(&payload);
        match self.adjust_app(app).await {
            Ok(()) => Outcome::Done,
            Err(Stop::Failed(why)) => {
                let message = format!("The number of replicas could not be changed: {why}");
                let event = NewEvent::new("app.scale_failed", Level::Error, job_key(app), message);
                let noted = self
                    .0
                    .db
                    .write(move |tx| events::record(tx, UnixMs::now(), &event))
                    .await;
                if let Err(error) = noted {
                    tracing::warn!(app, %error, "an event could not be recorded");
                }
                Outcome::Failed(why)
            }
            Err(Stop::Cancelled) => Outcome::Done,
            Err(Stop::Again(why)) => Outcome::Again {
                at: UnixMs::now().plus(Duration::from_secs(u64::from(context.attempt.min(10)) * 2)),
                why,
            },
        }
    }

    async fn adjust_app(&self, app: i64) -> Result<(), Stop> {
        let Some(serving) = self.0.db.read(move |c| store::live(c, app)).await? else {
            return Ok(());
        };
        let wanted = match serving.stopped {
            true => Vec::new(),
            false => self.wanted_now(&serving).await?,
        };
        let grown = match self.grow(&serving, &wanted).await {
            // What nothing serves with goes all the same: as long as it is there, this is tried again.
            Err(Stop::Failed(why)) => {
                self.take_left_over(app, &serving).await?;
                return Err(Stop::Failed(why));
            }
            grown => grown?,
        };
        let names = by_process(&wanted);
        if grown || names != serving.replicas {
            Scaling::Unlisted.passed();
            self.0
                .db
                .write(move |tx| store::set_replicas(tx, app, &names))
                .await?;
            Scaling::Listed.passed();
        }
        self.wait_published(app).await?;
        Scaling::Published.passed();
        self.take_left_over(app, &serving).await
    }

    /// Drains and stops what runs and gets no traffic.
    async fn take_left_over(&self, app: i64, serving: &Serving) -> Result<(), Stop> {
        let old = self.replicas_left_over(app).await?;
        let drain = self.drain_of(serving).await?;
        self.retire_drained(app, &old, drain).await?;
        if !old.is_empty() {
            Scaling::Drained.passed();
        }
        for container in old {
            let limit = STOP_GRACE * 3;
            let gone = self
                .0
                .ports
                .containers
                .wait_gone(container.row, limit)
                .await;
            gone.map_err(|e| Stop::Again(e.to_string()))?;
            Scaling::Gone.passed();
        }
        Ok(())
    }

    /// How long requests of what is or was live may take to end: its own freehold.toml's word.
    pub(super) async fn drain_of(&self, serving: &Serving) -> Result<Duration, Stop> {
        let release = self.release_row(serving.release_id).await?;
        Ok(release.settings.drain(self.0.limits().drain))
    }

    async fn wanted_now(&self, serving: &Serving) -> Result<Vec<Spec>, Stop> {
        let app = serving.app;
        let facts = self.0.ports.apps.facts(app).await?;
        let facts = facts.ok_or(Stop::Cancelled)?;
        let release = self.release_row(serving.release_id).await?;
        let env = self.release_env(&release).await?;
        let networks = self.networks(app, &release).await?;
        let attached = self.0.ports.attachments.env_for(app).await?;
        let making = self.making_of(serving, &facts, &release, &env, &attached, &networks);
        Ok(making.replicas())
    }

    fn making_of<'a>(
        &self,
        serving: &Serving,
        facts: &'a AppFacts,
        release: &'a Release,
        env: &'a BTreeMap<String, Secret>,
        attached: &'a BTreeMap<String, Secret>,
        networks: &'a [String],
    ) -> Making<'a> {
        Making {
            app: serving.app,
            app_name: &facts.name,
            deploy: serving.deploy,
            number: release.number,
            image: &release.image,
            settings: &release.settings,
            scale: &facts.scale,
            env,
            attached,
            networks,
            start_deadline: self.0.limits().start_deadline,
            stop_grace: STOP_GRACE,
            pids: self.0.limits().pids,
        }
    }

    /// Starts those that do not serve yet and waits until they are healthy.
    async fn grow(&self, serving: &Serving, wanted: &[Spec]) -> Result<bool, Stop> {
        let live = self.0.ports.containers.live();
        let there = live.borrow().clone();
        let is_there = |spec: &Spec| there.iter().any(|l| l.name == spec.name);
        let more: Vec<Spec> = wanted
            .iter()
            .filter(|spec| !serving.has(&spec.name) || !is_there(spec))
            .cloned()
            .collect();
        if more.is_empty() {
            return Ok(false);
        }
        let deadlines: Vec<Duration> = more.iter().map(|s| s.start_deadline * 2).collect();
        let rows = self.want_all(more).await?;
        Scaling::Made.passed();
        for (row, deadline) in rows.iter().zip(deadlines) {
            if let Err(not_ready) = self.0.ports.containers.wait_ready(*row, deadline).await {
                // What is made stays: the next try finds it.
                if let Some(why) = self.passing(&not_ready) {
                    return Err(Stop::Again(why));
                }
                for row in &rows {
                    let retired = self.0.ports.containers.retire(*row, STOP_GRACE).await;
                    retired.map_err(|e| Stop::Again(e.to_string()))?;
                }
                return Err(Stop::Failed(not_ready.to_string()));
            }
        }
        Scaling::Ready.passed();
        Ok(true)
    }

    /// Why a container is not ready, where that is no fault of the release's and passes.
    pub(super) fn passing(&self, not_ready: &NotReady) -> Option<String> {
        match &not_ready.cause {
            Cause::Broken(why) => Some(why.clone()),
            Cause::Deadline(_) => match &*self.0.ports.containers.engine().borrow() {
                EngineState::Unreachable { why, .. } => Some(why.clone()),
                EngineState::Unknown | EngineState::Reachable { .. } => None,
            },
            Cause::Exited(_) | Cause::Refused(_) | Cause::Gone => None,
        }
    }
}

pub(super) fn enqueue(
    tx: &rusqlite::Transaction<'_>,
    app: i64,
    now: UnixMs,
) -> Result<(), DbError> {
    queue(tx, json!({ "app": app }), app, now)
}

/// [`enqueue`], for work that nobody asked for: [`is_once_more`] says of it that it is that.
pub(super) fn enqueue_once_more(
    tx: &rusqlite::Transaction<'_>,
    app: i64,
    now: UnixMs,
) -> Result<(), DbError> {
    queue(tx, json!({ "app": app, ONCE_MORE: true }), app, now)
}

pub(super) fn is_once_more(payload: &serde_json::Value) -> bool {
    payload[ONCE_MORE].as_bool().unwrap_or(false)
}

fn queue(
    tx: &rusqlite::Transaction<'_>,
    payload: serde_json::Value,
    app: i64,
    now: UnixMs,
) -> Result<(), DbError> {
    let job = NewJob {
        kind: REPLICAS_JOB,
        key: job_key(app),
        payload,
        run_at: now,
    };
    jobs::enqueue(tx, now, &job)?;
    Owed::Counts.settle(tx, app, now)
}

fn by_process(specs: &[Spec]) -> BTreeMap<String, Vec<String>> {
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for spec in specs {
        let process = spec.process.clone().unwrap_or_default();
        all.entry(process).or_default().push(spec.name.clone());
    }
    all
}
