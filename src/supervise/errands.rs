//! What the executor sends others to do, and what it shows: checks, looks,
//! surveys; `live` and the story of a row.

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::base::clock::UnixMs;
use crate::base::mono::Mono;
use crate::base::protocol::Protocol;
use crate::docker::{EngineError, Phase};

use super::act;
use super::executor::Executor;
use super::health::{Check, Standing};
use super::live::{EngineState, State};
use super::note::{Note, Story};
use super::plan::{Action, Desired};
use super::replace::Because;
use super::shared::Shared;
use super::spec::Kind;
use super::store;
use super::survey::{self, Known};
use super::unit::{Seen, Unit};

/// Results of jobs are kept this long.
const RESULTS: Duration = Duration::from_secs(7 * 24 * 3600);

impl Executor {
    pub(super) fn start_checker(&mut self, row: i64) {
        self.stop_checker(row);
        let Some(unit) = self.units.get(&row) else {
            return;
        };
        let Some(seen) = unit.seen.clone() else {
            return;
        };
        if unit.spec.kind == Kind::Job || unit.row.desired != Desired::Running {
            return;
        }
        let network = self.network_of(unit);
        let check = Check::of(&unit.spec, unit.address(network.as_deref()), &seen.id);
        let check = match unit.doubt() {
            Some(protocol) => check.of_doubt(protocol),
            None => check,
        };
        let (proven, doubted) = (unit.is_proven(), unit.doubt().is_some());
        let stop = self.shared.tasks.shutdown().child();
        self.checkers.insert(row, stop.clone());
        let shared = Arc::clone(&self.shared);
        self.shared.tasks.spawn("health check", async move {
            let asking = ask_for_ever(&shared, row, seen, check, (proven, doubted), &stop);
            tokio::select! {
                () = stop.cancelled() => {}
                () = asking => {}
            }
        });
    }

    pub(super) fn stop_checker(&mut self, row: i64) {
        if let Some(stop) = self.checkers.remove(&row) {
            stop.cancel();
        }
    }

    /// Stops and starts a replica that runs and is of no use.
    pub(super) fn replace(&mut self, row: i64, because: Because, now: Mono) {
        let Some(unit) = self.units.get_mut(&row) else {
            return;
        };
        let id = unit.seen.as_ref().map(|s| s.id.clone());
        let (Some(id), Some(happening)) = (id, unit.replaced(because, now)) else {
            return;
        };
        let grace = unit.spec.stop_grace;
        self.happened(row, vec![happening]);
        self.begin(Action::Restart { row, id, grace });
    }

    /// Requests wait long for an answer of this address: whether it hangs is asked at once.
    pub(super) fn doubt(&mut self, address: SocketAddr, protocol: Protocol) {
        let found = self.units.iter().find_map(|(row, unit)| {
            let network = self.network_of(unit);
            (unit.address(network.as_deref()) == Some(address)).then_some(*row)
        });
        let unit = found.and_then(|row| self.units.get_mut(&row));
        if let Some(unit) = unit
            && unit.doubted(protocol)
        {
            let row = unit.row.id;
            self.start_checker(row);
        }
    }

    pub(super) fn look(&self, row: i64, id: String, done: Option<oneshot::Sender<()>>) {
        let shared = Arc::clone(&self.shared);
        let number = shared.tick();
        self.shared.tasks.spawn("look at a container", async move {
            let seen = act::look(&shared, &id).await;
            let note = Note::Looked {
                row,
                id,
                number,
                seen,
                done,
            };
            report(&shared, note).await;
        });
    }

    pub(super) fn start_survey(&mut self) {
        let unasked = *self.shared.state.borrow() == EngineState::Unknown;
        if self.surveying || unasked {
            return;
        }
        self.surveying = true;
        let known: Known = match self.surveyed {
            false => Known::new(),
            true => self
                .units
                .values()
                .filter_map(|unit| unit.seen.as_ref())
                .map(|s| (s.id.clone(), (s.phase, s.addresses.clone())))
                .collect(),
        };
        let shared = Arc::clone(&self.shared);
        let number = shared.tick();
        self.shared.tasks.spawn("survey of containers", async move {
            let looking = AssertUnwindSafe(survey::survey(&shared, known));
            let sights = looking.catch_unwind().await.unwrap_or_else(|_| {
                Err(EngineError::CutShort {
                    what: "list our containers".into(),
                    message: "the look broke off".into(),
                })
            });
            report(&shared, Note::Surveyed { number, sights }).await;
        });
        self.forget_results();
    }

    pub(super) fn forget_results(&self) {
        let shared = Arc::clone(&self.shared);
        let old = self
            .units
            .values()
            .filter(|u| u.row.desired == Desired::Ended)
            .count();
        if old < 100 {
            return;
        }
        self.shared.tasks.spawn("forget job results", async move {
            let before = UnixMs::now().minus(RESULTS);
            if let Err(error) = shared
                .write(move |tx| store::forget_results(tx, before))
                .await
            {
                tracing::warn!(%error, "old job results could not be removed");
            }
        });
    }

    pub(super) fn network_of(&self, unit: &Unit) -> Option<String> {
        unit.spec.networks.first().map(|n| self.shared.names.of(n))
    }

    pub(super) fn story(&self, unit: &Unit) -> Story {
        let network = self.network_of(unit);
        let id = unit.seen.as_ref().map(|s| s.id.clone());
        let check = Check::of(
            &unit.spec,
            unit.address(network.as_deref()),
            id.as_deref().unwrap_or(""),
        );
        Story {
            name: unit.spec.name.clone(),
            check: check.describe(),
            last_answer: unit.last_answer.clone(),
            port: unit.spec.port,
            pid: unit
                .seen
                .as_ref()
                .filter(|s| s.phase == Phase::Running)
                .and_then(|s| s.pid),
            keeps_log: unit.seen.as_ref().is_some_and(|s| s.keeps_log),
            container: id,
        }
    }

    pub(super) fn publish(&self) {
        let away = match &*self.shared.state.borrow() {
            EngineState::Unreachable { .. } => "the Docker engine does not answer",
            _ => "",
        };
        let live: Vec<_> = self
            .units
            .values()
            .filter(|unit| unit.row.desired != Desired::Ended)
            .map(|unit| unit.live(self.network_of(unit).as_deref()))
            .map(|mut live| {
                if let State::Waiting(why) = &mut live.state {
                    *why = away.to_owned();
                }
                live
            })
            .collect();
        self.shared.live.send_if_modified(|present| {
            let changed = **present != live;
            if changed {
                *present = Arc::new(live);
            }
            changed
        });
    }
}

pub(super) async fn report(shared: &Shared, note: Note) {
    if shared.notes.send(note).await.is_err() {
        tracing::debug!("the executor has ended; a report is dropped");
    }
}

async fn ask_for_ever(
    shared: &Arc<Shared>,
    row: i64,
    seen: Seen,
    check: Check,
    (mut proven, doubted): (bool, bool),
    stop: &CancellationToken,
) {
    let mut asked = 0u32;
    let mut misses = 0u32;
    let mut patient_until = Mono::default();
    let mut standing = match (proven, doubted) {
        (false, _) => Standing::Unproven,
        (true, true) => Standing::Doubted,
        (true, false) => Standing::Proven,
    };
    // It was asked a moment ago, when a doubt was settled.
    if standing == Standing::Proven {
        tokio::time::sleep(shared.settings().rhythm.wait(standing, asked)).await;
    }
    loop {
        if let Some(result) = check.ask(&shared.engine, standing).await {
            proven |= result.is_ok();
            misses = match result.is_ok() {
                true => 0,
                false => misses.saturating_add(1),
            };
            let is_silent = result.as_ref().is_err_and(|miss| miss.silent);
            let now = Mono::now();
            if proven && is_silent && now >= patient_until {
                patient_until = now.plus(shared.settings().patience);
                ask_patiently(shared, row, &seen, &check, stop);
            }
            let note = Note::Checked {
                row,
                id: seen.id.clone(),
                started: seen.started,
                result,
            };
            report(shared, note).await;
        }
        let settings = shared.settings();
        standing = Standing::after(proven, misses, settings.turns.unhealthy_after);
        tokio::time::sleep(settings.rhythm.wait(standing, asked)).await;
        asked = asked.saturating_add(1);
    }
}

/// Beside the checks of one that says nothing: it may only be slower than they wait, as one with many requests before them.
fn ask_patiently(
    shared: &Arc<Shared>,
    row: i64,
    seen: &Seen,
    check: &Check,
    stop: &CancellationToken,
) {
    let (check, stop) = (check.clone(), stop.clone());
    let (id, started) = (seen.id.clone(), seen.started);
    let asker = Arc::clone(shared);
    shared.tasks.spawn("patient health check", async move {
        let patience = asker.settings().patience;
        let is_heard = tokio::select! {
            () = stop.cancelled() => false,
            is_heard = check.is_heard(&asker.engine, patience) => is_heard,
        };
        if is_heard {
            report(&asker, Note::Heard { row, id, started }).await;
        }
    });
}
