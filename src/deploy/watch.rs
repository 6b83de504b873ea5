//! Watching: for a while after the switch a release that dies is replaced by
//! the one before. The next deploy need not wait for it, nor does it wait for the
//! drain: a release may die while old replicas end a long stream, and is replaced
//! then. One that lives is called so when the drain is over, too. How long is
//! measured by the clock that nobody sets; from rows comes only what was before
//! this look.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rusqlite::Transaction;
use serde_json::json;

use crate::base::clock::UnixMs;
use crate::base::mono::Mono;
use crate::db::DbError;
use crate::events::{self, Level, NewEvent};
use crate::jobs::{self, NewJob, Outcome};
use crate::supervise::{EngineState, Live, State as Container};

use super::create;
use super::log::Log;
use super::mask::Mask;
use super::row::{Cause, Deploy, NewDeploy, Serving};
use super::source::Source;
use super::state::State;
use super::store::{self, Change};
use super::{Deploys, WATCH_JOB, deploy_in, job_key};

/// A process without a healthy replica for this long is dead, not hiccuping.
const DEAD_AFTER: Duration = Duration::from_secs(8);
/// A release whose replicas ended by themselves this often is dead too.
const DEAD_CRASHES: usize = 3;
/// A release is not called well sooner than this after it crashed.
const CALM: Duration = Duration::from_secs(10);
/// How long a release is looked at again when the daemon was restarted.
const LOOK_AGAIN: Duration = Duration::from_secs(20);
/// How much longer than its window a release is watched while the engine is not there to tell of it.
pub(super) const EXCUSED: Duration = Duration::from_secs(3_600);
/// Between looks.
const LOOK: Duration = Duration::from_millis(500);

/// Whether what is seen of containers tells of the release, or of the engine: one that restarts ends
/// and begins them all, whatever is in them.
#[derive(Debug, Default)]
struct Engine {
    away: bool,
    /// Since when it was there at the last look.
    since: Option<UnixMs>,
    /// When it came back.
    back: Option<Mono>,
}

impl Engine {
    fn note(&mut self, state: &EngineState, now: Mono) {
        match state {
            EngineState::Unreachable { .. } => self.away = true,
            EngineState::Reachable { since, .. } => {
                let before = self.since.replace(*since);
                // One that was gone between two looks was not seen to be away.
                let anew = before.is_some_and(|before| before != *since);
                if std::mem::take(&mut self.away) || anew {
                    self.back = Some(now);
                }
            }
            // Before the first answer after a start of the daemon: nothing new is known.
            EngineState::Unknown => {}
        }
    }

    /// Whether containers that do not run are its doing: while it is away, and for as long as a
    /// container may take to start after it came back.
    fn excuses(&self, now: Mono, start: Duration) -> bool {
        self.away || self.back.is_some_and(|at| now.since(at) < start)
    }
}

/// How the containers of a release ended by themselves, while it was watched.
#[derive(Debug, Default)]
struct Crashes {
    /// Whose end at which time of the engine's, and when it was seen.
    seen: BTreeMap<(String, UnixMs), Mono>,
    excused: BTreeSet<(String, UnixMs)>,
    /// Ends were noted before: what is new now happened since.
    looked: bool,
    last: Option<String>,
}

impl Crashes {
    /// Takes in what is seen now. What somebody else ended (a signal of a person,
    /// an engine that restarts) is no crash; the kernel's want of memory is.
    fn note(&mut self, serving: &Serving, live: &[Live], excused: bool, now: Mono) {
        for one in live.iter().filter(|l| serving.has(&l.name)) {
            let Some(exit) = one.last_exit.as_ref() else {
                continue;
            };
            let by_itself = exit.oom || !matches!(exit.code, 130 | 137 | 143);
            let end = (one.name.clone(), exit.at);
            if self.seen.contains_key(&end) || self.excused.contains(&end) {
                continue;
            }
            // Times are compared at the first look only: the clock may be set back later.
            let before = !self.looked && exit.at < serving.since;
            if excused || before {
                // Containers that end well when they are told to look as if they had left by themselves.
                self.excused.insert(end);
            } else if by_itself {
                self.seen.insert(end, now);
                self.last = Some(format!("{} {exit}", one.name));
            }
        }
        self.looked = true;
    }

    fn are_deadly(&self) -> bool {
        self.seen.len() >= DEAD_CRASHES
    }

    fn is_calm(&self, now: Mono) -> bool {
        self.seen.values().all(|at| now.since(*at) >= CALM)
    }
}

/// Why a process of the release has no healthy replica, if one has not.
fn down(serving: &Serving, live: &[Live]) -> Option<String> {
    let mut down = None;
    for (process, names) in &serving.replicas {
        let mine: Vec<&Live> = live.iter().filter(|l| names.contains(&l.name)).collect();
        if names.is_empty() || mine.iter().any(|l| l.is_healthy()) {
            continue;
        }
        let why = mine.iter().map(|l| match &l.state {
            Container::Exited(exit) => format!("{} {exit}", l.name),
            Container::Unhealthy(why) => format!("{} is unhealthy: {why}", l.name),
            Container::Waiting(why) | Container::Refused(why) => {
                format!("{} does not run: {why}", l.name)
            }
            _ => format!("{} is not healthy", l.name),
        });
        let why: Vec<String> = why.collect();
        down.get_or_insert(match why.is_empty() {
            true => format!("no container of {process} is there"),
            false => why.join("; "),
        });
    }
    down
}

enum End {
    Lived,
    /// Whether it lives could not be seen.
    Unseen,
    Overtaken,
    Died(String),
}

/// Queues the watch of a deploy, in the transaction of its switch.
pub(super) fn enqueue(tx: &Transaction<'_>, deploy: i64, now: UnixMs) -> Result<(), DbError> {
    let job = NewJob {
        kind: WATCH_JOB,
        key: format!("watch:{deploy}"),
        payload: json!({ "deploy": deploy }),
        run_at: now,
    };
    jobs::enqueue(tx, now, &job).map(drop)
}

/// Whether a deploy in this state is to be watched.
fn is_watched(state: State) -> bool {
    matches!(state, State::Draining | State::Watching)
}

impl Deploys {
    pub(super) async fn watch(&self, payload: serde_json::Value) -> Outcome {
        match self.watch_deploy(deploy_in(&payload)).await {
            Ok(()) => Outcome::Done,
            Err(error) => Outcome::Again {
                at: UnixMs::now().plus(Duration::from_secs(2)),
                why: error.to_string(),
            },
        }
    }

    async fn watch_deploy(&self, id: i64) -> Result<(), DbError> {
        let Some(deploy) = self.0.db.read(move |c| store::by_id(c, id)).await? else {
            return Ok(());
        };
        if !is_watched(deploy.state) {
            return Ok(());
        }
        let end = self.watch_until_end(&deploy).await?;
        let log = self.0.logs.writer(id, Mask::default());
        if !matches!(end, End::Died(_)) {
            self.drain_is_over(id).await?;
        }
        match end {
            End::Lived | End::Overtaken => {
                self.finish(&deploy, State::Live, Change::default(), None)
                    .await
            }
            End::Unseen => {
                log.line(
                    "The engine was away, so the watch ended without a word on how it stands.",
                );
                self.finish(&deploy, State::Live, Change::default(), None)
                    .await
            }
            End::Died(why) => self.go_back(&deploy, why, &log).await,
        }
    }

    /// Returns when the deploy is not in its drain any more.
    async fn drain_is_over(&self, id: i64) -> Result<(), DbError> {
        loop {
            let deploy = self.0.db.read(move |c| store::by_id(c, id)).await?;
            if deploy.is_none_or(|d| d.state != State::Draining) {
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn watch_until_end(&self, deploy: &Deploy) -> Result<End, DbError> {
        let app = deploy.app;
        let window = self.0.limits().watch;
        let switched = deploy.switched.unwrap_or(deploy.state_since);
        // After a restart of the daemon nothing is known of what was seen before:
        // a release that keeps dying may just look well.
        let left = switched.plus(window).since(UnixMs::now());
        let until = Mono::now().plus(left.clamp(window.min(LOOK_AGAIN), window));
        let mut live = self.0.ports.containers.live();
        let engine_state = self.0.ports.containers.engine();
        let mut engine = Engine::default();
        let mut down_since: Option<Mono> = None;
        let mut crashes = Crashes::default();
        loop {
            let serving = self.0.db.read(move |c| store::live(c, app)).await?;
            let serving = match serving {
                Some(s) if s.deploy == deploy.id && !s.stopped => s,
                _ => return Ok(End::Overtaken),
            };
            let now = Mono::now();
            let seen = live.borrow_and_update().clone();
            engine.note(&engine_state.borrow(), now);
            let excused = engine.excuses(now, self.0.limits().start_deadline);
            crashes.note(&serving, &seen, excused, now);
            if crashes.are_deadly() {
                let last = crashes.last.unwrap_or_default();
                return Ok(End::Died(format!(
                    "its containers ended {DEAD_CRASHES} times, at last {last}"
                )));
            }
            if excused && now >= until.plus(EXCUSED) {
                return Ok(End::Unseen);
            }
            match down(&serving, &seen) {
                Some(_) if excused => down_since = None,
                Some(why) => {
                    let since = *down_since.get_or_insert(now);
                    if now.since(since) >= DEAD_AFTER {
                        return Ok(End::Died(why));
                    }
                }
                None => {
                    down_since = None;
                    if now >= until && crashes.is_calm(now) && !excused {
                        return Ok(End::Lived);
                    }
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn go_back(&self, deploy: &Deploy, why: String, log: &Log) -> Result<(), DbError> {
        // A way back is not gone twice: two releases that die in turn would change places for ever.
        let was_the_way_back = deploy.cause == Cause::Return;
        let returns_to = match deploy.returns_to {
            Some(id) if !was_the_way_back => self.release(id).await?,
            _ => None,
        };
        let target = returns_to.filter(|r| r.gone.is_none());
        let Some(target) = target else {
            let nowhere = match was_the_way_back {
                true => {
                    "the release after it died as well, so it stays and is started again and again"
                }
                false => "there is no release before it to return to",
            };
            let error = format!(
                "it died within {} s of becoming live, and {nowhere}: {why}",
                self.0.limits().watch.as_secs()
            );
            log.line(&error);
            let change = Change {
                error: Some(error),
                ..Change::default()
            };
            return self.finish(deploy, State::Failed, change, None).await;
        };
        let error = format!(
            "it died within {} s of becoming live, so v{} comes back: {why}",
            self.0.limits().watch.as_secs(),
            target.number
        );
        log.line(&error);
        let change = Change {
            error: Some(error),
            ..Change::default()
        };
        let back = NewDeploy {
            app: deploy.app,
            source: Source::Release {
                id: target.id,
                number: target.number,
            },
            cause: Cause::Return,
            by: "Freehold".into(),
            delivery: None,
            title: target.title,
        };
        self.finish(deploy, State::Returned, change, Some(back))
            .await
    }

    /// Writes how the watching ended, and the way back in the same transaction.
    async fn finish(
        &self,
        deploy: &Deploy,
        to: State,
        change: Change,
        back: Option<NewDeploy>,
    ) -> Result<(), DbError> {
        let (id, app) = (deploy.id, deploy.app);
        let number = deploy.release.map(|(_, n)| n);
        to.crash_before();
        let queued = self
            .0
            .db
            .write(move |tx| {
                let now = UnixMs::now();
                let from = store::by_id(tx, id)?.map(|d| d.state);
                let Some(from) = from.filter(|from| is_watched(*from)) else {
                    return Ok(None);
                };
                if !store::enter(tx, id, from, to, &change, now)? {
                    return Ok(None);
                }
                if let Some(error) = &change.error {
                    let kind = match to {
                        State::Returned => "deploy.returned",
                        _ => "deploy.failed",
                    };
                    let message = format!("Deploy {id} was live, but {error}");
                    let event = NewEvent::new(kind, Level::Error, job_key(app), message)
                        .with(json!({ "deploy": id, "release": number }));
                    events::record(tx, now, &event)?;
                }
                match back {
                    Some(back) => create::insert(tx, &back, now).map(Some),
                    None => Ok(None),
                }
            })
            .await?;
        to.crash_after();
        if let Some(queued) = queued {
            self.0.logs.open(queued);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervise::{Exit, Kind};

    fn live(name: &str, state: Container, restarts: u32) -> Live {
        Live {
            row: 1,
            name: name.into(),
            kind: Kind::Replica,
            owner: "app:1".into(),
            process: Some("web".into()),
            release: Some(1),
            address: None,
            state,
            started: None,
            container_id: None,
            restarts,
            last_exit: None,
        }
    }

    fn serving(names: &[&str]) -> Serving {
        let names = names.iter().map(|n| (*n).to_owned()).collect();
        Serving {
            files: None,
            app: 1,
            release_id: 1,
            release: 1,
            deploy: 1,
            replicas: BTreeMap::from([("web".to_owned(), names)]),
            facing: BTreeMap::new(),
            stopped: false,
            settings_changed: false,
            since: UnixMs(0),
            access_log: None,
        }
    }

    fn exit(code: i64, oom: bool, at: i64) -> Exit {
        let at = UnixMs(at);
        Exit { code, oom, at }
    }

    #[test]
    fn f8_one_replica_of_two_going_down_is_no_death() {
        let two = serving(&["a", "b"]);
        let dead = live("a", Container::Exited(exit(137, false, 1)), 0);
        let well = live("b", Container::Healthy, 0);
        assert_eq!(down(&two, &[dead.clone(), well]), None);
        let why = down(&serving(&["a"]), &[dead]).unwrap();
        assert!(why.contains("SIGKILL"), "{why}");
        assert!(down(&two, &[]).is_some());
        assert_eq!(down(&serving(&[]), &[]), None, "scaled to 0");
    }

    #[test]
    fn f8_what_an_engine_that_restarts_does_is_not_held_against_a_release() {
        let start = Duration::from_secs(60);
        let away = EngineState::Unreachable {
            since: UnixMs(1_000),
            why: "no answer".into(),
        };
        let reachable = |since| EngineState::Reachable {
            version: "28.5".into(),
            since: UnixMs(since),
        };
        let here = reachable(400);
        let mut engine = Engine::default();
        engine.note(&EngineState::Unknown, Mono(0));
        engine.note(&here, Mono(500));
        assert!(!engine.excuses(Mono(500), start), "the daemon started");
        engine.note(&away, Mono(1_000));
        assert!(engine.excuses(Mono(600_000), start));
        engine.note(&here, Mono(600_000));
        engine.note(&here, Mono(601_000));
        assert!(engine.excuses(Mono(659_999), start));
        assert!(!engine.excuses(Mono(660_000), start));
        engine.note(&reachable(700_000), Mono(700_100));
        assert!(
            engine.excuses(Mono(700_100), start),
            "gone between two looks"
        );

        // Three that ended well when they were told to, seen once the engine was back.
        let mut crashes = Crashes::default();
        let all = ["a", "b", "c"].map(|name| {
            let mut one = live(name, Container::Healthy, 1);
            one.last_exit = Some(exit(0, false, 2_000));
            one
        });
        crashes.note(&serving(&["a", "b", "c"]), &all, true, Mono(2_100));
        crashes.note(&serving(&["a", "b", "c"]), &all, false, Mono(2_200));
        assert!(!crashes.are_deadly());
        let mut again = live("a", Container::Healthy, 2);
        again.last_exit = Some(exit(1, false, 9_000));
        crashes.note(&serving(&["a"]), &[again], false, Mono(9_000));
        assert_eq!(crashes.seen.len(), 1, "what comes after counts");
    }

    #[test]
    fn f8_a_container_that_keeps_dying_is_dead_and_one_that_is_killed_is_not() {
        let see = |exits: &[Exit]| {
            let mut crashes = Crashes::default();
            for exit in exits {
                let mut one = live("a", Container::Healthy, 0);
                one.last_exit = Some(exit.clone());
                let at = Mono(exit.at.0.unsigned_abs());
                crashes.note(&serving(&["a"]), &[one.clone()], false, at);
                crashes.note(&serving(&["a"]), &[one], false, at);
            }
            crashes
        };
        let own = [exit(1, false, 5), exit(3, false, 9), exit(137, true, 20)];
        assert!(see(&own).are_deadly());
        assert!(!see(&own[..2]).are_deadly(), "each counts once");
        assert!(!see(&own[..2]).is_calm(Mono(5_000)));
        assert!(see(&own[..2]).is_calm(Mono(15_000)));
        let killed: Vec<Exit> = (0..9)
            .map(|at| exit(137 + 6 * (at % 2), false, at))
            .collect();
        assert!(!see(&killed).are_deadly() && see(&killed).is_calm(Mono(9)));
    }

    #[test]
    fn n7_a_watched_release_that_dies_after_the_clock_was_set_back_is_seen_to_die() {
        let mut of_release = serving(&["a"]);
        of_release.since = UnixMs(7_200_000);
        let mut crashes = Crashes::default();
        let mut note = |at: i64, seen: u64| {
            let mut one = live("a", Container::Healthy, 0);
            one.last_exit = Some(exit(1, false, at));
            crashes.note(&of_release, &[one], false, Mono(seen));
            crashes.are_deadly()
        };
        assert!(!note(7_100_000, 1), "before the switch");
        // An hour back.
        for (seen, at) in [(1_000, 3_601_000), (3_000, 3_603_000)] {
            assert!(!note(at, seen));
        }
        assert!(note(3_607_000, 7_000));
        assert!(!crashes.is_calm(Mono(16_000)) && crashes.is_calm(Mono(17_000)));
    }
}
