//! A deploy's way from state to state.
//!
//! Each turn does the work of the state the row is in and then writes the next
//! one. All work may be done twice, so after a crash the same turn is simply
//! taken again. Before the switch an error ends the deploy; at it only
//! patience helps: the job comes again until the new release has the traffic,
//! or goes back to the checks where a replica is not seen any more.
//! With that it ends, and the app's next work may begin; the old containers
//! are the drain's (`drain.rs`), the new ones the watch's (`watch.rs`), both
//! from the switch on.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;
use tokio_util::sync::CancellationToken;

use rusqlite::Transaction;

use crate::base::clock::UnixMs;
use crate::base::secret::Secret;
use crate::db::DbError;
use crate::events::{self, Level, NewEvent};
use crate::jobs::{self, JobContext, Outcome};

use super::drain;
use super::error::Stop;
use super::log::Log;
use super::mask::Mask;
use super::ports::AppFacts;
use super::release;
use super::row::{Cause, Deploy, NewRelease, Release, Serving};
use super::source::Source;
use super::state::State;
use super::store::{self, Change};
use super::watch;
use super::{Deploys, WATCH_JOB, deploy_in, job_key};

/// Tries of one deploy before it is given up: starts of the daemon, and an engine that is away.
const MOST_ATTEMPTS: u32 = 20;
/// Between tries of what cannot fail any more.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);

/// What a turn leads to.
pub(super) struct Next {
    pub to: State,
    pub change: Change,
    /// A release to be made in the same transaction.
    pub release: Option<NewRelease>,
    /// The containers (rows) that the drain is to end, where it begins.
    pub old: Vec<i64>,
}

impl Next {
    pub(super) fn to(to: State) -> Self {
        Self {
            to,
            change: Change::default(),
            release: None,
            old: Vec::new(),
        }
    }
}

/// What every step is given.
pub(super) struct Work<'a> {
    pub deploy: &'a Deploy,
    /// 1 at the first run of the deploy's job; higher after a crash, or where it was to be tried again.
    pub attempt: u32,
    pub facts: &'a AppFacts,
    pub attached: &'a BTreeMap<String, Secret>,
    pub log: &'a Log,
    pub cancel: &'a CancellationToken,
}

impl Deploys {
    /// The job of one deploy.
    pub(super) async fn run(&self, context: JobContext, payload: serde_json::Value) -> Outcome {
        let id = deploy_in(&payload);
        match self.run_deploy(id, &context).await {
            Ok(end) => {
                self.forget_token(id);
                // The drain has lines of its own.
                if end != Some(State::Draining) {
                    self.0.logs.close(id);
                }
                Outcome::Done
            }
            Err(why) => Outcome::Again {
                at: UnixMs::now().plus(PATIENCE),
                why,
            },
        }
    }

    /// Says in which state it leaves the deploy, if there is one still.
    ///
    /// # Errors
    /// Why it has to be tried again.
    async fn run_deploy(&self, id: i64, context: &JobContext) -> Result<Option<State>, String> {
        let told = |e: DbError| e.to_string();
        let (job, attempt) = (context.id, context.attempt);
        let found = self.0.db.read(move |c| store::by_id(c, id)).await;
        let Some(mut deploy) = found.map_err(told)? else {
            return Ok(None);
        };
        let Some(facts) = self.0.ports.apps.facts(deploy.app).await? else {
            return Ok(None);
        };
        let attached = self.0.ports.attachments.env_for(deploy.app).await?;
        let log = self.0.logs.writer(id, mask(&facts, &attached));
        let cancel = self.token(id);
        // One that was asked for in the moment in which its app was marked as going away has no word on its row.
        if deploy.cancel || facts.removing {
            cancel.cancel();
        }
        if deploy.state == State::Draining {
            self.see_to_the_drain(&deploy).await?;
        }
        if !deploy.state.is_handed_on() {
            self.0.logs.open(id);
            if attempt > 1 && deploy.state != State::Queued {
                log.line("The deploy is taken up again where it was.");
            }
        }
        while !deploy.state.is_handed_on() {
            let work = Work {
                deploy: &deploy,
                attempt,
                facts: &facts,
                attached: &attached,
                log: &log,
                cancel: &cancel,
            };
            let given_up = attempt > MOST_ATTEMPTS && deploy.state.is_before_switch();
            let ended = match given_up {
                true => {
                    let last = self.0.db.read(move |c| jobs::by_id(c, job)).await;
                    let why = last.map_err(told)?.and_then(|job| job.error);
                    Err(Stop::Failed(format!(
                        "it was begun {attempt} times and could not go on: {}",
                        why.as_deref().unwrap_or("the daemon ended each time")
                    )))
                }
                false => self.turn(&work).await,
            };
            let next = match ended {
                Ok(next) => next,
                Err(Stop::Again(why)) => {
                    log.line(&format!("{why}; trying again"));
                    return Err(why);
                }
                Err(stop) if deploy.state.is_before_switch() => self.give_up(&work, stop).await?,
                Err(Stop::Failed(why)) => {
                    log.line(&format!("{why}; trying again"));
                    return Err(why);
                }
                Err(Stop::Cancelled) => return Err("too late to cancel".into()),
            };
            self.advance(&work, next).await.map_err(told)?;
            let again = self.0.db.read(move |c| store::by_id(c, id)).await;
            match again.map_err(told)? {
                Some(row) => deploy = row,
                None => return Ok(None),
            }
        }
        self.collect(&facts, deploy.id).await;
        Ok(Some(deploy.state))
    }

    /// Does the work of the state the deploy is in, within its deadline.
    async fn turn(&self, work: &Work<'_>) -> Result<Next, Stop> {
        let state = work.deploy.state;
        if state.is_before_switch() && work.cancel.is_cancelled() {
            return Err(Stop::Cancelled);
        }
        // Before the clock runs: others' builds are not this one's time.
        let place = match state {
            State::Building => Some(self.place_to_build(work).await?),
            _ => None,
        };
        let step = async {
            match state {
                State::Queued => Ok(self.begin(work).await?),
                State::Fetching => self.fetch(work).await,
                State::Building => self.build(work, place).await,
                State::Releasing => self.release_command(work).await,
                State::Starting => self.start(work).await,
                State::Checking => self.check(work).await,
                State::Switching => self.switch(work).await,
                handed_on => Ok(Next::to(handed_on)),
            }
        };
        // Steps that end others' work on a cancel see to it themselves.
        let own_end = matches!(state, State::Building | State::Releasing);
        let limit = state.deadline(self.0.limits().build_deadline) + Duration::from_secs(90);
        let bounded = tokio::time::timeout(self.waited(state, limit), step);
        let ended = if own_end || !state.is_before_switch() {
            bounded.await
        } else {
            tokio::select! {
                ended = bounded => ended,
                () = work.cancel.cancelled() => return Err(Stop::Cancelled),
            }
        };
        ended.unwrap_or_else(|_| {
            Err(Stop::Failed(format!(
                "{} did not end within {} minutes",
                state.headline().to_lowercase(),
                limit.as_secs() / 60
            )))
        })
    }

    /// How long a state's deadline takes.
    #[cfg(not(test))]
    pub(super) const fn waited(&self, _: State, limit: Duration) -> Duration {
        limit
    }

    /// Those of some minutes are over sooner where a test says so.
    #[cfg(test)]
    pub(super) fn waited(&self, state: State, limit: Duration) -> Duration {
        let hastened = self.0.hastened.lock().ok().and_then(|told| *told);
        hastened
            .filter(|(which, _)| *which == state)
            .map_or(limit, |(_, after)| after)
    }

    /// From the queue to the first state that has work.
    async fn begin(&self, work: &Work<'_>) -> Result<Next, Stop> {
        let deploy = work.deploy;
        work.log.line(&format!(
            "Deploy {} of {}: {}, asked for by {}.",
            deploy.id,
            work.facts.name,
            deploy.source.describe(),
            deploy.by
        ));
        match &deploy.source {
            Source::Git { .. } | Source::Upload { .. } | Source::Image { .. } => {
                Ok(Next::to(State::Fetching))
            }
            Source::Release { id, .. } => {
                let app = deploy.app;
                let live = self.0.db.read(move |c| store::live(c, app)).await?;
                let Some(id) = release_to_start(deploy, *id, live.as_ref()) else {
                    work.log.line(
                        "Another release is live meanwhile: there is nothing to come back from.",
                    );
                    let mut next = Next::to(State::Superseded);
                    next.change.error =
                        Some("another release went live before it began".to_owned());
                    return Ok(next);
                };
                let release = self.release_row(id).await?;
                // Looked at here, not when the start was asked for: what is set between would be lost.
                let changed = live.is_some_and(|l| l.settings_changed);
                if changed && deploy.cause == Cause::Restart {
                    work.log.line(&format!(
                        "Settings were changed since v{} began: its image starts as a new release.",
                        release.number
                    ));
                    return Ok(with_settings_of_now(work, release));
                }
                let mut next = Next::to(State::Starting);
                next.change.release = Some(id);
                next.change.title = release.title;
                next.change.commit = release.commit;
                Ok(next)
            }
            Source::Settings => {
                let app = deploy.app;
                let live = self.0.db.read(move |c| store::live(c, app)).await?;
                // Changed settings alone start nothing, and what they were to follow may not have gone live.
                let Some(live) = live.filter(|live| !live.stopped) else {
                    let note = move |tx: &Transaction<'_>| store::owe_settings(tx, app);
                    self.0.db.write(note).await?;
                    let why = "nothing is live to change: the settings come with the next deploy or start";
                    work.log.line(why);
                    let mut next = Next::to(State::Superseded);
                    next.change.error = Some(why.to_owned());
                    return Ok(next);
                };
                let old = self.release_row(live.release_id).await?;
                Ok(with_settings_of_now(work, old))
            }
        }
    }

    pub(super) async fn release_row(&self, id: i64) -> Result<super::row::Release, Stop> {
        let found = self.release(id).await?;
        found.ok_or_else(|| Stop::Failed("its release is not there any more".into()))
    }

    /// Writes the next state with all that belongs to it.
    pub(super) async fn advance(&self, work: &Work<'_>, next: Next) -> Result<(), DbError> {
        let (from, to) = (work.deploy.state, next.to);
        let (id, app) = (work.deploy.id, work.deploy.app);
        let now = UnixMs::now();
        let key = self.0.key.clone();
        let event = event_of(work, &next);
        to.crash_before();
        let moved = self
            .0
            .db
            .write(move |tx| {
                let mut change = next.change;
                if let Some(new) = &next.release {
                    let (release, _) = release::store::insert(tx, &key, app, new, now)?;
                    change.release = Some(release);
                    change.image.get_or_insert_with(|| new.image.clone());
                }
                if !store::enter(tx, id, from, to, &change, now)? {
                    return Ok(false);
                }
                if to == State::Draining {
                    drain::enqueue(tx, id, &next.old, now)?;
                    watch::enqueue(tx, id, now)?;
                }
                if to == State::Watching {
                    // It is watched, and told to be live, since its switch; but where an older daemon switched it.
                    if jobs::newest_about(tx, WATCH_JOB, "deploy", id)?.is_some() {
                        return Ok(true);
                    }
                    watch::enqueue(tx, id, now)?;
                }
                if let Some(event) = event {
                    events::record(tx, now, &event)?;
                }
                Ok::<_, DbError>(true)
            })
            .await?;
        to.crash_after();
        if moved {
            work.log.step(to.headline());
        }
        Ok(())
    }

    /// Undoes what an unsuccessful deploy began, and sees that it is gone: only then the deploy says how it
    /// ended. Nothing live was touched.
    async fn give_up(&self, work: &Work<'_>, stop: Stop) -> Result<Next, String> {
        let (to, why) = match stop {
            Stop::Cancelled => (State::Cancelled, "it was cancelled".to_owned()),
            Stop::Failed(why) | Stop::Again(why) => (State::Failed, why),
        };
        work.log.line(&why);
        self.remove_containers_of(work.deploy).await?;
        self.untag(&work.facts.name, work.deploy).await;
        let app = work.deploy.app;
        let live = self.0.db.read(move |c| store::live(c, app)).await;
        if let Some(live) = live.map_err(|e: DbError| e.to_string())?
            && !live.stopped
        {
            let serves = format!("v{} serves on; nothing of it was changed.", live.release);
            work.log.line(&serves);
        }
        let mut next = Next::to(to);
        next.change.error = Some(work.log.masked(&why));
        Ok(next)
    }
}

/// The release that a deploy of an existing one starts: a restart that of now, whichever was live when
/// it was asked for. None for a way back that another release has overtaken: what died is not live any more.
fn release_to_start(deploy: &Deploy, asked: i64, live: Option<&Serving>) -> Option<i64> {
    match (deploy.cause, live) {
        (Cause::Restart, Some(live)) => Some(live.release_id),
        (Cause::Return, Some(live)) if live.since > deploy.created => None,
        _ => Some(asked),
    }
}

/// A new release of an old one's image.
pub(super) fn with_settings_of_now(work: &Work<'_>, old: Release) -> Next {
    let mut next = Next::to(State::Starting);
    next.release = Some(NewRelease {
        image: old.image,
        image_tag: old.image_tag,
        settings: old.settings,
        env: work.facts.env.clone(),
        commit: old.commit,
        title: old.title,
    });
    next
}

/// Hides what must not stand in this app's logs.
pub(super) fn mask(facts: &AppFacts, attached: &BTreeMap<String, Secret>) -> Mask {
    let mut values: Vec<(&str, &Secret)> = Vec::new();
    for (name, value) in facts.env.iter().chain(attached) {
        values.push((name, value));
    }
    if let Some((remote, _)) = &facts.git {
        match &remote.credentials {
            crate::git::Credentials::Token(secret) | crate::git::Credentials::Key(secret) => {
                values.push(("git credentials", secret));
            }
            crate::git::Credentials::None => {}
        }
    }
    if let Some(login) = &facts.registry {
        values.push(("registry password", &login.password));
    }
    Mask::new(values)
}

/// The line on the app's activity, for states that deserve one.
fn event_of(work: &Work<'_>, next: &Next) -> Option<NewEvent> {
    let id = work.deploy.id;
    let number = work.deploy.release.map(|(_, number)| number);
    let version = number.map(|n| format!("v{n}")).unwrap_or_default();
    let (kind, level, message) = match next.to {
        State::Draining | State::Watching => (
            "deploy.live",
            Level::Info,
            format!(
                "{version} is live (deploy {id}, {}).",
                work.deploy.source.describe()
            ),
        ),
        State::Failed => (
            "deploy.failed",
            Level::Error,
            format!(
                "Deploy {id} failed: {}",
                next.change.error.as_deref().unwrap_or_default()
            ),
        ),
        State::Cancelled => (
            "deploy.cancelled",
            Level::Info,
            format!("Deploy {id} was cancelled."),
        ),
        _ => return None,
    };
    let data = json!({ "deploy": id, "release": number });
    Some(NewEvent::new(kind, level, job_key(work.deploy.app), message).with(data))
}
