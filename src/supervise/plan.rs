//! What to do next, decided purely from what should be and what is.
//!
//! Invariants: a container whose spec is unchanged is never recreated; a
//! container that the engine may be about to bring back is left to it for a
//! moment; a job that was started is never started again; what carries our
//! label but has no row is removed, unless the rows were brought back from a copy
//! and nobody has confirmed that it is whole.

use std::collections::HashSet;
use std::time::Duration;

use crate::base::mono::Mono;
use crate::docker::{Phase, Restart};

use super::spec::Kind;

/// What a row wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Desired {
    /// To run (a job: to run once).
    Running,
    /// In a caller's hand: made, started and ended by it.
    Held,
    /// A job whose result is kept; its container is not.
    Ended,
    /// To be stopped and removed.
    Gone,
}

/// A row with what this daemon knows about its past.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) row: i64,
    pub(super) kind: Kind,
    pub(super) desired: Desired,
    pub(super) spec_hash: String,
    /// Whether it is brought back when it ends.
    pub(super) restart: bool,
    /// When it is to be gone, or replaced.
    pub(super) grace: Duration,
    /// Not made or started before this.
    pub(super) not_before: Option<Mono>,
    /// Who should bring it back.
    pub(super) keeper: Restart,
    /// A job that was started.
    pub(super) started: bool,
}

/// A container of ours at the engine.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) id: String,
    /// Its row label; `None` when it cannot be read.
    pub(super) row: Option<i64>,
    pub(super) spec_hash: String,
    pub(super) phase: Phase,
    /// Since when this daemon knows that it ended.
    pub(super) ended: Option<Mono>,
    pub(super) keeper: Restart,
}

/// One deed of the executor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Make the container, and start it.
    Create { row: i64 },
    /// Start what is made or has ended.
    Start { row: i64, id: String },
    /// Stop and start: it runs, and is of no use.
    Restart {
        row: i64,
        id: String,
        grace: Duration,
    },
    /// Stop and remove; what should be there is made in the next round.
    Remove {
        row: Option<i64>,
        id: String,
        grace: Duration,
    },
    /// Change who brings it back.
    Keep {
        row: i64,
        id: String,
        keeper: Restart,
    },
    /// A job ended and nobody asks for it, or its container is lost.
    End { row: i64 },
    /// Nothing is left of a row that is to be gone.
    Forget { row: i64 },
}

impl Action {
    pub(super) fn row(&self) -> Option<i64> {
        match self {
            Self::Create { row }
            | Self::Start { row, .. }
            | Self::Restart { row, .. }
            | Self::Keep { row, .. }
            | Self::End { row }
            | Self::Forget { row } => Some(*row),
            Self::Remove { row, .. } => *row,
        }
    }
}

/// Deeds, and when to think again even if nothing happens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) actions: Vec<Action>,
    pub(super) wake: Option<Mono>,
}

impl Plan {
    fn wake_at(&mut self, at: Mono) {
        self.wake = Some(self.wake.map_or(at, |w| w.min(at)));
    }
}

/// The engine brings its own back within a tenth of a second; until then a
/// container that ended is left to it.
const ENGINES_TURN: Duration = Duration::from_secs(3);
/// A job's end is kept this long for the one who started it.
const UNCLAIMED: Duration = Duration::from_secs(3600);
/// Something of ours that no row knows.
const ORPHANS_GRACE: Duration = Duration::from_secs(10);

/// What becomes of a container of ours that no row knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Orphans {
    /// It is removed.
    Go,
    /// It runs on: the state was made anew, and may have forgotten it.
    Stay,
}

/// Compares; rows in `busy` are being worked on and left out.
pub(super) fn plan(
    wanted: &[Wanted],
    found: &[Found],
    busy: &HashSet<i64>,
    orphans: Orphans,
    now: Mono,
) -> Plan {
    let mut plan = Plan::default();
    let mut claimed: HashSet<&str> = HashSet::new();
    for want in wanted {
        let mut mine = found.iter().filter(|f| f.row == Some(want.row));
        let first = mine.next();
        if let Some(first) = first {
            claimed.insert(&first.id);
        }
        if busy.contains(&want.row) {
            mine.for_each(|other| {
                claimed.insert(&other.id);
            });
            continue;
        }
        match (want.desired, first) {
            (Desired::Held, _) => {}
            (Desired::Running, None) => absent(want, now, &mut plan),
            (Desired::Running, Some(found)) => present(want, found, now, &mut plan),
            (Desired::Gone, None) => plan.actions.push(Action::Forget { row: want.row }),
            (Desired::Ended, None) => {}
            (Desired::Gone | Desired::Ended, Some(found)) => plan.actions.push(Action::Remove {
                row: Some(want.row),
                id: found.id.clone(),
                grace: want.grace,
            }),
        }
    }
    for orphan in found.iter().filter(|f| !claimed.contains(f.id.as_str())) {
        if orphans == Orphans::Stay {
            break;
        }
        if orphan.row.is_some_and(|row| busy.contains(&row)) {
            continue;
        }
        plan.actions.push(Action::Remove {
            row: None,
            id: orphan.id.clone(),
            grace: ORPHANS_GRACE,
        });
    }
    plan
}

fn absent(want: &Wanted, now: Mono, plan: &mut Plan) {
    if want.kind == Kind::Job && want.started {
        plan.actions.push(Action::End { row: want.row });
    } else if let Some(at) = want.not_before.filter(|at| *at > now) {
        plan.wake_at(at);
    } else {
        plan.actions.push(Action::Create { row: want.row });
    }
}

fn present(want: &Wanted, found: &Found, now: Mono, plan: &mut Plan) {
    if found.spec_hash != want.spec_hash {
        plan.actions.push(Action::Remove {
            row: Some(want.row),
            id: found.id.clone(),
            grace: want.grace,
        });
        return;
    }
    let start = Action::Start {
        row: want.row,
        id: found.id.clone(),
    };
    let not_before = want.not_before.unwrap_or(Mono(0));
    match found.phase {
        Phase::Created => match not_before > now {
            true => plan.wake_at(not_before),
            false => plan.actions.push(start),
        },
        Phase::Exited if want.kind == Kind::Job => {
            let end = found.ended.unwrap_or(now).plus(UNCLAIMED);
            match end > now {
                true => plan.wake_at(end),
                false => plan.actions.push(Action::End { row: want.row }),
            }
        }
        Phase::Exited if want.restart => {
            let engines_turn = match found.keeper {
                Restart::UnlessStopped => found.ended.unwrap_or(now).plus(ENGINES_TURN),
                Restart::No => Mono(0),
            };
            let at = not_before.max(engines_turn);
            match at > now {
                true => plan.wake_at(at),
                false => plan.actions.push(start),
            }
        }
        Phase::Running | Phase::Restarting if found.keeper != want.keeper => {
            plan.actions.push(Action::Keep {
                row: want.row,
                id: found.id.clone(),
                keeper: want.keeper,
            });
        }
        Phase::Dying => plan.actions.push(Action::Remove {
            row: Some(want.row),
            id: found.id.clone(),
            grace: Duration::ZERO,
        }),
        Phase::Exited | Phase::Running | Phase::Restarting | Phase::Paused => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Mono = Mono(10_000_000);

    fn want(row: i64) -> Wanted {
        Wanted {
            row,
            kind: Kind::Replica,
            desired: Desired::Running,
            spec_hash: "h".into(),
            restart: true,
            grace: Duration::from_secs(10),
            not_before: None,
            keeper: Restart::No,
            started: false,
        }
    }

    fn found(row: i64, phase: Phase) -> Found {
        Found {
            id: format!("c{row}"),
            row: Some(row),
            spec_hash: "h".into(),
            phase,
            ended: Some(Mono(NOW.0 - 1_000)),
            keeper: Restart::No,
        }
    }

    fn decide(wanted: &[Wanted], found: &[Found]) -> Plan {
        plan(wanted, found, &HashSet::new(), Orphans::Go, NOW)
    }

    fn start(row: i64) -> Action {
        Action::Start {
            row,
            id: format!("c{row}"),
        }
    }

    #[test]
    fn f8_a_running_container_with_its_spec_is_left_alone() {
        let plan = decide(&[want(1)], &[found(1, Phase::Running)]);
        assert_eq!(plan, Plan::default());
    }

    #[test]
    fn f4_what_is_missing_is_made_when_its_time_has_come() {
        assert_eq!(decide(&[want(1)], &[]).actions, [Action::Create { row: 1 }]);
        let later = NOW.plus(Duration::from_secs(4));
        let waiting = Wanted {
            not_before: Some(later),
            ..want(1)
        };
        let plan = decide(&[waiting], &[]);
        assert_eq!((plan.actions.len(), plan.wake), (0, Some(later)));
    }

    #[test]
    fn a_changed_spec_replaces_the_container() {
        let changed = Wanted {
            spec_hash: "other".into(),
            ..want(1)
        };
        let plan = decide(&[changed], &[found(1, Phase::Running)]);
        assert!(
            matches!(&plan.actions[..], [Action::Remove { row: Some(1), grace, .. }] if grace.as_secs() == 10)
        );
    }

    #[test]
    fn f8_a_dead_replica_is_started_again() {
        assert_eq!(
            decide(&[want(1)], &[found(1, Phase::Exited)]).actions,
            [start(1)]
        );
        assert_eq!(
            decide(&[want(1)], &[found(1, Phase::Created)]).actions,
            [start(1)]
        );
    }

    #[test]
    fn f8_what_the_engine_brings_back_is_left_to_it_for_a_moment() {
        let mut kept = found(1, Phase::Exited);
        kept.keeper = Restart::UnlessStopped;
        let plan = decide(&[want(1)], &[kept.clone()]);
        assert!(plan.actions.is_empty());
        assert_eq!(plan.wake, Some(NOW.plus(Duration::from_secs(2))));
        kept.ended = Some(Mono(NOW.0 - 5_000));
        assert_eq!(decide(&[want(1)], &[kept]).actions, [start(1)]);
        let restarting = found(1, Phase::Restarting);
        assert!(decide(&[want(1)], &[restarting]).actions.is_empty());
    }

    #[test]
    fn f4_a_job_runs_once() {
        let job = Wanted {
            kind: Kind::Job,
            restart: false,
            started: true,
            ..want(1)
        };
        assert!(
            decide(std::slice::from_ref(&job), &[found(1, Phase::Exited)])
                .actions
                .is_empty(),
            "its end waits for the one who asked"
        );
        assert_eq!(
            decide(std::slice::from_ref(&job), &[]).actions,
            [Action::End { row: 1 }],
            "its container is lost"
        );
        let unclaimed = Found {
            ended: Some(Mono(NOW.0 - 3_601_000)),
            ..found(1, Phase::Exited)
        };
        assert_eq!(
            decide(&[job], &[unclaimed]).actions,
            [Action::End { row: 1 }]
        );
    }

    #[test]
    fn f9_what_is_to_be_gone_is_removed_and_then_forgotten() {
        let gone = Wanted {
            desired: Desired::Gone,
            ..want(1)
        };
        assert!(matches!(
            &decide(std::slice::from_ref(&gone), &[found(1, Phase::Running)]).actions[..],
            [Action::Remove { row: Some(1), .. }]
        ));
        assert_eq!(decide(&[gone], &[]).actions, [Action::Forget { row: 1 }]);
    }

    #[test]
    fn f9_our_orphans_and_doubles_are_removed() {
        let double = Found {
            id: "double".into(),
            ..found(1, Phase::Running)
        };
        let unreadable = Found {
            id: "odd".into(),
            row: None,
            ..found(1, Phase::Exited)
        };
        let plan = decide(
            &[want(1)],
            &[
                found(1, Phase::Running),
                double,
                found(9, Phase::Running),
                unreadable,
            ],
        );
        let removed: Vec<&str> = plan
            .actions
            .iter()
            .map(|a| match a {
                Action::Remove { row: None, id, .. } => id.as_str(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(removed, ["double", "c9", "odd"]);
    }

    #[test]
    fn n7_after_a_recovery_what_no_row_knows_runs_on_and_what_a_row_knows_is_kept_as_ever() {
        let sights = [
            found(1, Phase::Running),
            found(2, Phase::Exited),
            found(9, Phase::Running),
        ];
        let decide = |orphans| {
            let rows = [want(1), want(2)];
            plan(&rows, &sights, &HashSet::new(), orphans, NOW).actions
        };
        assert_eq!(decide(Orphans::Stay), [start(2)]);
        // Without it the one that serves would be removed.
        assert!(matches!(
            &decide(Orphans::Go)[..],
            [_, Action::Remove { row: None, id, .. }] if id == "c9"
        ));
    }

    #[test]
    fn a_row_that_is_worked_on_is_left_alone() {
        let busy = HashSet::from([1, 2]);
        let plan = plan(
            &[want(1)],
            &[found(2, Phase::Running)],
            &busy,
            Orphans::Go,
            NOW,
        );
        assert_eq!(plan, Plan::default());
    }

    #[test]
    fn the_keeper_is_changed_only_when_it_differs() {
        let kept = Wanted {
            keeper: Restart::UnlessStopped,
            ..want(1)
        };
        assert!(matches!(
            &decide(&[kept], &[found(1, Phase::Running)]).actions[..],
            [Action::Keep { row: 1, .. }]
        ));
    }
}
