//! Deploys that say they go on though nothing works on them any more: their
//! job failed without a word, as one that panics does.
//!
//! And drains that go on for longer than any may.
//!
//! Before the switch such a deploy failed. After it the release is live, and
//! stays so: what was left of the deploy is to take the old containers away.
//! A removal that failed is queued again: nothing else can become of its app.
//! Replicas that a failed drain left running are taken away, and replicas that
//! a failed count did not make are tried once more.

use std::time::Duration;

use rusqlite::{Connection, Transaction};
use serde_json::json;

use super::drain::ROWS;
use super::plan;
use super::replicas;
use super::row::{Deploy, Serving};
use super::state::State;
use super::store::{self, Change};
use super::{DRAIN_JOB, Deploys, JOB, REPLICAS_JOB, WATCH_JOB, job_key};
use crate::base::clock::UnixMs;
use crate::db::DbError;
use crate::events::{self, Level, NewEvent};
use crate::jobs::{self, Owed};
use crate::supervise::{Kind, State as Container};

/// Between work on replicas, left or too few, that failed and the next.
const REST: Duration = Duration::from_secs(600);
const WHY: &str = "its work broke off unexpectedly; the daemon's log says where";

impl Deploys {
    /// Ends what no open job works on.
    pub(super) async fn reap(&self) {
        if let Err(error) = self.reap_removals().await {
            tracing::warn!(%error, "whether removals were left half done could not be seen");
        }
        self.reap_deploys().await;
        if let Err(error) = self.reap_drains().await {
            tracing::warn!(%error, "whether drains are past their deadline could not be seen");
        }
        if let Err(error) = self.reap_replicas().await {
            tracing::warn!(%error, "whether replicas were left over could not be seen");
        }
    }

    /// Drains that go on past the deadline of their state, whatever their job says of it: one that is tried again and
    /// again, or hangs where nothing else bounds it.
    async fn reap_drains(&self) -> Result<(), DbError> {
        let draining = |c: &Connection| {
            let mut all = store::unsettled(c)?;
            all.retain(|d| d.state == State::Draining);
            Ok::<_, DbError>((all, jobs::worked_on(c, WATCH_JOB, "deploy")?))
        };
        let (draining, watching) = self.0.db.read(draining).await?;
        for deploy in self.past_their_drain(draining) {
            let id = deploy.id;
            tracing::warn!(deploy = id, "a drain is past its deadline and is ended");
            let cut = self.cut_off(&deploy).await;
            let ended = match cut {
                Ok(()) => self.end(&deploy, watching.contains(&id)).await,
                Err(why) => Err(why),
            };
            if let Err(why) = ended {
                tracing::warn!(why, deploy = id, "a drain could not be ended yet");
            }
        }
        Ok(())
    }

    /// Replicas that run, serve nothing, and are no open work's: a drain or a count of replicas that failed left them.
    /// And those that are too few, because their count failed. Whoever has the app's key may be about to serve with them,
    /// or to make them.
    async fn reap_replicas(&self) -> Result<(), DbError> {
        let live = self.0.ports.containers.live().borrow().clone();
        let now = UnixMs::now();
        let serving = move |c: &Connection| {
            let spoken_for = jobs::listed(c, DRAIN_JOB, ROWS)?;
            // What dies in its watch is replaced by the release before, not completed.
            let watched = store::watching(c)?;
            let mut seen_to = Vec::new();
            for serving in store::all_live(c)? {
                let owner = plan::owner(serving.app);
                let left_over = live
                    .iter()
                    .filter(|l| l.kind == Kind::Replica && l.owner == owner)
                    .filter(|l| l.state != Container::Retiring && !serving.has(&l.name))
                    .any(|l| !spoken_for.contains(&l.row));
                let is_watched = watched.iter().any(|d| d.app == serving.app);
                if (left_over || !is_watched) && is_its_turn(c, serving.app, left_over, now)? {
                    seen_to.push((serving, left_over));
                }
            }
            Ok::<_, DbError>(seen_to)
        };
        for (serving, left_over) in self.0.db.read(serving).await? {
            if !left_over && !self.are_too_few(&serving).await {
                continue;
            }
            let app = serving.app;
            let queued = move |tx: &Transaction<'_>| {
                if !is_its_turn(tx, app, left_over, now)? {
                    return Ok(false);
                }
                replicas::enqueue_once_more(tx, app, now)?;
                Ok::<_, DbError>(true)
            };
            if self.0.db.write(queued).await? {
                tracing::warn!(app, left_over, "replicas that nothing works on are seen to");
            }
        }
        Ok(())
    }

    /// Whether fewer replicas serve than the app's scale says. What cannot be read is not known to be.
    async fn are_too_few(&self, serving: &Serving) -> bool {
        if serving.stopped || serving.files.is_some() {
            return false;
        }
        let facts = match self.0.ports.apps.facts(serving.app).await {
            Ok(Some(facts)) if !facts.removing => facts,
            _ => return false,
        };
        let Ok(release) = self.release_row(serving.release_id).await else {
            return false;
        };
        let has = |process: &str| serving.replicas.get(process).map_or(0, Vec::len);
        let wanted = plan::counts(&release.settings, &facts.scale);
        let fewer = |(process, n): (&String, &u32)| has(process) < *n as usize;
        wanted.iter().any(fewer)
    }

    async fn reap_removals(&self) -> Result<(), DbError> {
        let open = |c: &Connection| {
            let working = jobs::worked_on(c, jobs::REMOVAL, "app")?;
            let mut left = store::going_away(c)?;
            left.retain(|app| !working.contains(app));
            Ok::<_, DbError>(left)
        };
        for app in self.0.db.read(open).await? {
            let again = self
                .0
                .db
                .write(move |tx| jobs::requeue_removal(tx, app, UnixMs::now()))
                .await?;
            if again {
                tracing::warn!(app, "a removal that nothing works on is queued again");
            }
        }
        Ok(())
    }

    async fn reap_deploys(&self) {
        let left: Result<_, DbError> = self
            .0
            .db
            .read(|c| {
                let working = jobs::worked_on(c, JOB, "deploy")?;
                let draining = jobs::worked_on(c, DRAIN_JOB, "deploy")?;
                let watching = jobs::worked_on(c, WATCH_JOB, "deploy")?;
                let mut left = Vec::new();
                for deploy in store::unsettled(c)? {
                    // Handed on by its own job, which may have to clear up still; but for one of an older daemon.
                    let handed_on = deploy.state == State::Draining
                        && jobs::newest_about(c, DRAIN_JOB, "deploy", deploy.id)?.is_some();
                    let worked_on = match handed_on {
                        true => draining.contains(&deploy.id),
                        false => working.contains(&deploy.id),
                    };
                    if !worked_on {
                        left.push(deploy);
                    }
                }
                let watched = store::watching(c)?.into_iter();
                left.extend(watched.filter(|d| !watching.contains(&d.id)));
                let left = left.into_iter().map(|d| (watching.contains(&d.id), d));
                Ok(left.collect::<Vec<_>>())
            })
            .await;
        let left = match left {
            Ok(left) => left,
            Err(error) => {
                tracing::warn!(%error, "whether deploys were left half done could not be seen");
                return;
            }
        };
        for (is_watched, deploy) in left {
            tracing::warn!(
                deploy = deploy.id,
                "a deploy that nothing works on is ended"
            );
            if let Err(why) = self.end(&deploy, is_watched).await {
                tracing::warn!(
                    why,
                    deploy = deploy.id,
                    "a deploy that nothing works on could not be ended yet"
                );
            }
        }
    }

    /// One that is watched is left to its watch, which may have to bring the release before back.
    async fn end(&self, deploy: &Deploy, is_watched: bool) -> Result<(), String> {
        let told = |e: DbError| e.to_string();
        let app = deploy.app;
        let live = self.0.db.read(move |c| store::live(c, app)).await;
        let is_live = live.map_err(told)?.is_some_and(|l| l.deploy == deploy.id);
        let (id, from) = (deploy.id, deploy.state);
        // One that had the traffic had it, though a newer one may have it now.
        if matches!(from, State::Draining | State::Watching) || is_live {
            let settled = self
                .0
                .db
                .write(move |tx| {
                    let now = UnixMs::now();
                    let way = [
                        State::Switching,
                        State::Draining,
                        State::Watching,
                        State::Live,
                    ];
                    let way = match is_watched {
                        true => &way[..3],
                        false => &way[..],
                    };
                    let steps = way.iter().zip(way.iter().skip(1));
                    for (at, to) in steps.skip_while(|(at, _)| **at != from) {
                        store::enter(tx, id, *at, *to, &Change::default(), now)?;
                    }
                    replicas::enqueue(tx, app, now)
                })
                .await;
            settled.map_err(told)?;
        } else {
            self.retire_containers_of(deploy).await?;
            if let Some(facts) = self.0.ports.apps.facts(app).await? {
                self.untag(&facts.name, deploy).await;
            }
            let event = NewEvent::new(
                "deploy.failed",
                Level::Error,
                job_key(app),
                format!("Deploy {id} failed: {WHY}"),
            )
            .with(json!({ "deploy": id }));
            let change = Change {
                error: Some(WHY.into()),
                ..Change::default()
            };
            let failed = self
                .0
                .db
                .write(move |tx| {
                    let now = UnixMs::now();
                    if store::enter(tx, id, from, State::Failed, &change, now)? {
                        events::record(tx, now, &event)?;
                    }
                    Ok(())
                })
                .await;
            failed.map_err(told)?;
        }
        self.forget_token(id);
        self.0.logs.close(id);
        Ok(())
    }
}

/// Whether the replicas of `app` that are left over, or too few, would be seen to now. A look at those that would not is
/// all that an app costs each minute that stays as it is: no write, and none of its seals is opened.
fn is_its_turn(c: &Connection, app: i64, left_over: bool, now: UnixMs) -> Result<bool, DbError> {
    let last = jobs::newest_about(c, REPLICAS_JOB, "app", app)?;
    let failed = last.filter(|job| job.state == "failed");
    let turn = match failed {
        // Not at once; and a release that does not come up is tried once more, and no more.
        Some(job) => {
            let rested = job.finished <= Some(now.minus(REST));
            rested && (left_over || !replicas::is_once_more(&job.payload))
        }
        // They are too few where their count failed, and nowhere else.
        None => left_over,
    };
    // A change of scale that is yet to be queued does it.
    Ok(turn && !Owed::Counts.is_owed(c, app)? && !jobs::is_key_open(c, &job_key(app))?)
}
