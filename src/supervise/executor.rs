//! The one hand: holds what should be against what is, and acts.
//!
//! A single task owns all knowledge. Deeds, looks and checks run beside it, at
//! most one deed a row, and report back as notes. Nothing is planned before
//! everything of ours was looked at once since the engine (re)appeared.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::base::clock::UnixMs;
use crate::base::mono::Mono;
use crate::docker::{ContainerEvent, EngineError, EngineEvent};

use super::act::{self, Outcome, Subject};
use super::deaths;
use super::errands::report;
use super::link::News;
use super::live::EngineState;
use super::names::ROW;
use super::note::Note;
use super::plan::{Action, Found, Orphans, plan};
use super::replace::to_replace;
use super::shared::Shared;
use super::store;
use super::survey::Sight;
use super::tell;
use super::unit::{Happening, Seen, Unit};

/// Everything is looked at this often, whatever the events say.
const SURVEY: Duration = Duration::from_secs(10);
/// After a deed that the engine could not do now.
const LATER: Duration = Duration::from_secs(1);
/// After a deed, until it is seen what became of it; a survey sees it too, should the look fail.
const UNSEEN: Duration = Duration::from_secs(30);
/// After a removal that the engine refused.
const STUCK: Duration = Duration::from_secs(15);
/// Thinks again at least this often, for thresholds of time in `unit`.
const THINK: Duration = Duration::from_secs(5);

pub(super) struct Executor {
    pub(super) shared: Arc<Shared>,
    pub(super) units: BTreeMap<i64, Unit>,
    /// Rows whose spec cannot be opened: their containers are not orphans.
    unreadable: HashSet<i64>,
    /// The rows were read, and what is known of them is how they are. Before that, and while they cannot be read, every
    /// container of ours would look like an orphan.
    loaded: bool,
    /// Whether what no row knows runs on, because the rows were made anew.
    orphans: Orphans,
    /// Containers of ours beside those of the units.
    strays: Vec<Found>,
    busy: HashSet<i64>,
    busy_strays: HashSet<String>,
    /// Rows and strays left alone until then.
    blocked: HashMap<String, Mono>,
    pub(super) checkers: HashMap<i64, CancellationToken>,
    applied: HashMap<i64, u64>,
    pub(super) surveyed: bool,
    pub(super) surveying: bool,
    /// The engine's version, once it was told.
    version: String,
    /// When it answered after it had not, or had broken off.
    connected: UnixMs,
}

impl Executor {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            units: BTreeMap::new(),
            unreadable: HashSet::new(),
            loaded: false,
            orphans: Orphans::Stay,
            strays: Vec::new(),
            busy: HashSet::new(),
            busy_strays: HashSet::new(),
            blocked: HashMap::new(),
            checkers: HashMap::new(),
            applied: HashMap::new(),
            surveyed: false,
            surveying: false,
            version: String::new(),
            connected: UnixMs(0),
        }
    }

    pub(super) async fn run(
        mut self,
        mut notes: mpsc::Receiver<Note>,
        mut news: mpsc::Receiver<News>,
    ) {
        let shutdown = self.shared.tasks.shutdown().clone();
        let mut survey = tokio::time::interval(SURVEY);
        survey.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut wake = Duration::ZERO;
        loop {
            let mut answers = Vec::new();
            tokio::select! {
                () = shutdown.begun() => break,
                note = notes.recv() => match note {
                    Some(note) => {
                        answers.extend(self.note(note).await);
                        while let Ok(more) = notes.try_recv() {
                            answers.extend(self.note(more).await);
                        }
                    }
                    None => break,
                },
                told = news.recv() => match told {
                    Some(told) => self.news(told),
                    None => break,
                },
                _ = survey.tick() => self.start_survey(),
                () = tokio::time::sleep(wake) => {}
            }
            wake = self.think().await;
            self.publish();
            for answer in answers {
                if answer.send(()).is_err() {
                    tracing::trace!("the asker has gone");
                }
            }
        }
        for checker in self.checkers.values() {
            checker.cancel();
        }
    }

    async fn note(&mut self, note: Note) -> Option<oneshot::Sender<()>> {
        let now = Mono::now();
        match note {
            Note::Rows(done) => {
                self.reload().await;
                return done;
            }
            Note::Checked {
                row,
                id,
                started,
                result,
            } => {
                if let Some(unit) = self.units.get_mut(&row) {
                    let happenings = unit.checked(&id, started, result, now);
                    let settled = unit.settled();
                    self.happened(row, happenings);
                    if settled {
                        self.start_checker(row);
                    }
                }
            }
            Note::Heard { row, id, started } => {
                if let Some(unit) = self.units.get_mut(&row) {
                    unit.heard(&id, started);
                }
            }
            Note::Looked {
                row,
                id,
                number,
                seen,
                done,
            } => {
                self.looked(row, &id, number, seen, now);
                return done;
            }
            Note::Surveyed { number, sights } => self.surveyed(number, sights, now),
            Note::Acted { action, outcome } => self.acted(action, outcome, now).await,
            Note::Recheck { address, done } => {
                let found = self.units.iter().find_map(|(row, unit)| {
                    let network = self.network_of(unit);
                    let here = unit.address(network.as_deref()) == Some(address);
                    Some((*row, unit.seen.as_ref().filter(|_| here)?.id.clone()))
                });
                match found {
                    Some((row, id)) => self.look(row, id, Some(done)),
                    None => return Some(done),
                }
            }
            Note::Doubt { address, protocol } => self.doubt(address, protocol),
            Note::Story { row, reply } => {
                let story = self.units.get(&row).map(|unit| self.story(unit));
                if reply.send(story).is_err() {
                    tracing::trace!("the asker has gone");
                }
            }
        }
        None
    }

    fn news(&mut self, news: News) {
        match news {
            News::Here(version) => {
                tracing::info!(
                    version = version.engine,
                    api = version.api,
                    "the Docker engine answers"
                );
                self.version = version.engine;
                self.connected = UnixMs::now();
                self.here();
                self.surveyed = false;
                self.surveying = false;
                self.start_survey();
            }
            News::Away(why) => self.away(why),
            News::Event(event) => self.event(event),
        }
    }

    fn here(&self) {
        let present = EngineState::Reachable {
            version: self.version.clone(),
            since: self.connected,
        };
        self.shared.state.send_if_modified(|state| {
            let changed = *state != present;
            *state = present;
            changed
        });
    }

    /// The engine does not answer: what was known stands.
    fn away(&mut self, why: String) {
        self.surveyed = false;
        self.shared.state.send_if_modified(|state| match state {
            EngineState::Unreachable { .. } => false,
            _ => {
                tracing::warn!(why, "the Docker engine does not answer; what runs goes on");
                *state = EngineState::Unreachable {
                    since: UnixMs::now(),
                    why,
                };
                true
            }
        });
    }

    fn event(&mut self, event: EngineEvent) {
        let row = event.attributes.get(ROW).and_then(|r| r.parse().ok());
        let Some(row) = row.filter(|row| self.units.contains_key(row)) else {
            if event.what != ContainerEvent::Destroyed {
                self.start_survey();
            }
            return;
        };
        if event.what == ContainerEvent::OutOfMemory {
            // It may be told before the end that it brings about, or after, when the engine has put that down to nothing.
            let at = UnixMs(event.at_ms);
            if let Some(unit) = self.units.get_mut(&row) {
                unit.ran_out_of_memory(at);
            }
            self.shared.deaths.ran_out_of_memory(row, at);
        }
        self.look(row, event.container_id, None);
    }

    /// Reads the rows again.
    async fn reload(&mut self) {
        let read = self.shared.read(store::all).await;
        self.loaded = read.is_ok();
        let store::Rows { rows, unreadable } = match read {
            Ok(rows) => rows,
            Err(error) => {
                tracing::error!(%error, "the rows of containers could not be read; nothing is done to any container until they can");
                return;
            }
        };
        let read = rows.iter().map(|r| r.row.id);
        let present: HashSet<i64> = read.chain(unreadable.iter().copied()).collect();
        let settings = self.shared.settings();
        for unit in self.units.values_mut() {
            unit.judge_by(settings.backoff, settings.turns);
        }
        self.unreadable = unreadable;
        for sealed in rows {
            let id = sealed.row.id;
            let known = self.units.get(&id);
            if known.is_some_and(|unit| unit.row == sealed.row) {
                continue;
            }
            match store::open(&self.shared.key, &sealed) {
                Ok(spec) => match self.units.get_mut(&id) {
                    Some(unit) => unit.update(sealed.row, spec),
                    None => {
                        let unit = Unit::new(sealed.row, spec, settings.backoff, settings.turns);
                        self.units.insert(id, unit);
                        self.claim(id);
                    }
                },
                Err(error) => {
                    tracing::error!(name = sealed.name, %error, "a container's row cannot be opened; it is left alone");
                    self.unreadable.insert(id);
                }
            }
        }
        let gone: Vec<i64> = self
            .units
            .keys()
            .filter(|id| !present.contains(id))
            .copied()
            .collect();
        for row in gone {
            self.stop_checker(row);
            self.units.remove(&row);
            self.applied.remove(&row);
            self.shared.deaths.forget(row);
        }
    }

    /// A row that appears takes a stray of its own, should there be one.
    fn claim(&mut self, row: i64) {
        if let Some(stray) = self.strays.iter().find(|s| s.row == Some(row)) {
            let id = stray.id.clone();
            self.strays.retain(|s| s.id != id);
            self.look(row, id, None);
        }
    }

    fn looked(
        &mut self,
        row: i64,
        id: &str,
        number: u64,
        seen: Result<Option<Seen>, EngineError>,
        now: Mono,
    ) {
        let seen = match seen {
            Ok(seen) => seen,
            Err(error) => {
                if error.is_unreachable() {
                    self.away(error.to_string());
                }
                return;
            }
        };
        let Some(unit) = self.units.get_mut(&row) else {
            return;
        };
        let other = unit.seen.as_ref().is_some_and(|s| s.id != id);
        let applied = self.applied.entry(row).or_default();
        if other || number <= *applied {
            return;
        }
        *applied = number;
        let ours = self.busy.contains(&row);
        let happenings = unit.see(seen, ours, now);
        self.happened(row, happenings);
    }

    fn surveyed(&mut self, number: u64, sights: Result<Vec<Sight>, EngineError>, now: Mono) {
        self.surveying = false;
        let sights = match sights {
            Ok(sights) => sights,
            Err(error) => {
                if error.is_unreachable() {
                    self.away(error.to_string());
                } else {
                    tracing::warn!(%error, "our containers could not be listed");
                }
                return;
            }
        };
        self.here();
        self.surveyed = true;
        self.strays.clear();
        let mut of_row: HashMap<i64, Vec<Sight>> = HashMap::new();
        for sight in sights {
            match sight.row.filter(|row| self.units.contains_key(row)) {
                Some(row) => of_row.entry(row).or_default().push(sight),
                None => self.strays.push(sight.found),
            }
        }
        let rows: Vec<i64> = self.units.keys().copied().collect();
        for row in rows {
            let mut mine = of_row.remove(&row).unwrap_or_default();
            let Some(unit) = self.units.get_mut(&row) else {
                continue;
            };
            let known = unit.seen.as_ref().map(|s| s.id.clone());
            let at = mine
                .iter()
                .position(|s| Some(&s.id) == known.as_ref())
                .unwrap_or(0);
            let chosen = (!mine.is_empty()).then(|| mine.swap_remove(at));
            self.strays.extend(mine.into_iter().map(|s| s.found));
            let applied = self.applied.entry(row).or_default();
            if number <= *applied || self.busy.contains(&row) {
                continue;
            }
            *applied = number;
            let happenings = match chosen {
                Some(Sight {
                    seen: Some(seen), ..
                }) => unit.see(Some(seen), false, now),
                Some(_) => continue,
                None => unit.see(None, false, now),
            };
            self.happened(row, happenings);
        }
    }

    async fn acted(&mut self, action: Action, outcome: Outcome, now: Mono) {
        let row = action.row();
        if let Some(row) = row {
            self.busy.remove(&row);
        }
        if let Action::Remove { id, .. } = &action {
            self.busy_strays.remove(id);
        }
        match outcome {
            Outcome::Done(None) => {
                if let Action::Remove { id, .. } = &action {
                    self.strays.retain(|s| s.id != *id);
                }
                if let Some(unit) = row.and_then(|row| self.units.get_mut(&row)) {
                    let happenings = unit.see(None, true, now);
                    let row = unit.row.id;
                    self.applied.insert(row, self.shared.tick());
                    self.happened(row, happenings);
                }
            }
            Outcome::Done(Some(id)) => {
                if let Some(row) = row {
                    // Nothing is decided about it until it was looked at, however slow the engine is: what was seen before
                    // the deed would have a job started twice.
                    self.applied.insert(row, self.shared.tick());
                    self.block(row.to_string(), UNSEEN, now);
                    self.look(row, id, None);
                }
            }
            Outcome::Forgotten => self.reload().await,
            Outcome::Refused(why) => self.refused(&action, why, now),
            Outcome::Later(why) => {
                tracing::debug!(?action, why, "a deed has to wait");
                let key = blocked_key(&action);
                self.block(key, LATER, now);
            }
        }
    }

    fn refused(&mut self, action: &Action, why: String, now: Mono) {
        let makes = matches!(action, Action::Create { .. } | Action::Start { .. });
        let unit = action.row().and_then(|row| self.units.get_mut(&row));
        match unit.filter(|_| makes) {
            Some(unit) => {
                if unit.refused.as_ref() != Some(&why) {
                    tell::tell(&self.shared, tell::refused(&unit.spec, &why));
                }
                unit.refused(why, now);
            }
            None => {
                tracing::warn!(?action, why, "the engine refused a deed; tried again soon");
                self.block(blocked_key(action), STUCK, now);
            }
        }
    }

    fn block(&mut self, key: String, by: Duration, now: Mono) {
        self.blocked.insert(key, now.plus(by));
    }

    pub(super) fn happened(&mut self, row: i64, happenings: Vec<Happening>) {
        for happening in happenings {
            let Some(unit) = self.units.get(&row) else {
                return;
            };
            if let Some(event) = tell::event(&unit.spec, &happening) {
                tell::tell(&self.shared, event);
            }
            if let Some(death) = tell::death(&happening, UnixMs::now()) {
                let container = unit.seen.as_ref().filter(|s| s.keeps_log);
                let container = container.map(|s| s.id.clone());
                deaths::remember(&self.shared, row, container, death);
            }
            match happening {
                Happening::Began => self.start_checker(row),
                Happening::Over => self.stop_checker(row),
                _ => {}
            }
        }
        // A new sighting lifts the wait for it.
        self.blocked.remove(&row.to_string());
    }

    /// Plans, and starts what is planned. Says when to think again.
    async fn think(&mut self) -> Duration {
        if !self.loaded && self.surveyed {
            self.reload().await;
        }
        if !self.surveyed || !self.loaded {
            return THINK;
        }
        if self.orphans == Orphans::Stay {
            self.orphans = self.shared.orphans().await;
        }
        let now = Mono::now();
        self.blocked.retain(|_, until| *until > now);
        let wanted: Vec<_> = self.units.values().map(|u| u.wanted(now)).collect();
        let found: Vec<Found> = self
            .units
            .values()
            .filter_map(|unit| unit.found())
            .chain(self.strays.iter().cloned())
            .collect();
        let mut busy = self.busy.clone();
        busy.extend(&self.unreadable);
        busy.extend(self.blocked.keys().filter_map(|k| k.parse::<i64>().ok()));
        let plan = plan(&wanted, &found, &busy, self.orphans, now);
        busy.extend(plan.actions.iter().filter_map(Action::row));
        let members: Vec<_> = self.units.values().filter_map(Unit::member).collect();
        let patience = self.shared.settings().patience;
        let (ill, next_ill) = to_replace(&members, &busy, patience, now);
        for action in plan.actions {
            self.begin(action);
        }
        for (row, because) in ill {
            self.replace(row, because, now);
        }
        let next_block = self.blocked.values().min().copied();
        [plan.wake, next_block, next_ill]
            .into_iter()
            .flatten()
            .map(|at| at.since(now) + Duration::from_millis(1))
            .min()
            .unwrap_or(THINK)
            .min(THINK)
    }

    pub(super) fn begin(&mut self, action: Action) {
        let subject = match (action.row(), &action) {
            (Some(row), _) => {
                self.busy.insert(row);
                self.units.get(&row).map(|unit| Subject {
                    row: unit.row.clone(),
                    spec: unit.spec.clone(),
                    container: unit.seen.clone(),
                })
            }
            (None, Action::Remove { id, .. }) => {
                if self.blocked.contains_key(id) || !self.busy_strays.insert(id.clone()) {
                    return;
                }
                None
            }
            (None, _) => None,
        };
        tracing::debug!(?action, "a deed begins");
        let shared = Arc::clone(&self.shared);
        self.shared.tasks.spawn("container deed", async move {
            // A panic stays in this deed, and the row is not busy for ever.
            let deed = AssertUnwindSafe(act::act(&shared, &action, subject));
            let outcome = deed.catch_unwind().await.unwrap_or_else(|_| {
                Outcome::Refused("it broke off unexpectedly; the daemon's log says where".into())
            });
            report(&shared, Note::Acted { action, outcome }).await;
        });
    }
}

fn blocked_key(action: &Action) -> String {
    match action {
        Action::Remove { row: None, id, .. } => id.clone(),
        other => other.row().map(|r| r.to_string()).unwrap_or_default(),
    }
}
