//! The life of a unit, told by sightings and checks.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::health::Miss;
use super::live::State;
use super::plan::{Action, Desired, Found, Orphans, plan};
use super::replace::{Because, Standing};
use super::spec::{Kind, Spec};
use super::store::Row;
use super::unit::{Happening, Seen, Turns, Unit};
use crate::base::clock::UnixMs;
use crate::base::mono::Mono;
use crate::base::retry::Backoff;
use crate::docker::{Phase, Restart};

fn unit() -> Unit {
    let mut spec = Spec::new(Kind::Replica, "tasks-web-v1-1", "app:1", "tasks:1");
    spec.port = Some(3000);
    let row = Row {
        id: 7,
        desired: Desired::Running,
        grace: Duration::from_secs(10),
        spec_hash: "h".into(),
        started: None,
    };
    let backoff = Backoff {
        first: Duration::from_secs(1),
        max: Duration::from_secs(300),
        factor: 2,
    };
    let turns = Turns {
        healthy_after: 1,
        unhealthy_after: 3,
    };
    Unit::new(row, spec, backoff, turns)
}

fn seen(phase: Phase, started: i64) -> Option<Seen> {
    Some(Seen {
        id: "c".into(),
        row: Some(7),
        spec_hash: "h".into(),
        phase,
        pid: Some(1),
        started: Some(UnixMs(started)),
        finished: (phase == Phase::Exited).then_some(UnixMs(started + 500)),
        exit_code: 137,
        oom: false,
        keeper: Restart::No,
        keeps_log: true,
        addresses: HashMap::from([("net".to_owned(), [10, 83, 0, 2].into())]),
    })
}

fn at(ms: i64) -> Mono {
    Mono(u64::try_from(ms).unwrap())
}

fn check(unit: &mut Unit, started: i64, result: Result<(), &str>, now: u64) -> Vec<Happening> {
    unit.checked(
        "c",
        Some(UnixMs(started)),
        result.map(|()| "200".into()).map_err(|why| Miss {
            why: why.into(),
            silent: why == SILENT,
        }),
        Mono(now),
    )
}

/// A check's failure that is none at all.
const SILENT: &str = "no answer within 5 s";

#[test]
fn f4_healthy_after_one_check_unhealthy_after_three_misses() {
    let mut unit = unit();
    assert_eq!(
        unit.see(seen(Phase::Running, 0), false, Mono(0)),
        [Happening::Began]
    );
    assert_eq!(unit.live(Some("net")).state, State::Starting);
    assert!(check(&mut unit, 0, Err("refused"), 100).is_empty());
    assert_eq!(unit.live(Some("net")).state, State::Starting);
    check(&mut unit, 0, Ok(()), 1_000);
    let live = unit.live(Some("net"));
    assert_eq!(live.state, State::Healthy);
    assert_eq!(live.address.unwrap().to_string(), "10.83.0.2:3000");
    for _ in 0..2 {
        assert!(check(&mut unit, 0, Err("503"), 2_000).is_empty());
    }
    assert_eq!(
        check(&mut unit, 0, Err("503"), 3_000),
        [Happening::TurnedUnhealthy("503".into())]
    );
    assert_eq!(
        check(&mut unit, 0, Ok(()), 4_000),
        [Happening::TurnedHealthy]
    );
}

#[test]
fn f4_as_many_checks_in_a_row_as_the_settings_say_make_healthy() {
    let mut unit = unit();
    let patient = Turns {
        healthy_after: 3,
        unhealthy_after: 3,
    };
    unit.judge_by(unit.backoff, patient);
    unit.see(seen(Phase::Running, 0), false, Mono(0));
    for result in [Ok(()), Ok(()), Err("503"), Ok(()), Ok(())] {
        check(&mut unit, 0, result, 1_000);
        assert_eq!(unit.live(Some("net")).state, State::Starting);
    }
    check(&mut unit, 0, Ok(()), 2_000);
    assert_eq!(unit.live(Some("net")).state, State::Healthy);
}

#[test]
fn f8_a_crash_loop_waits_longer_each_time_up_to_five_minutes() {
    let mut unit = unit();
    let mut now = 0;
    let mut waits = Vec::new();
    for _ in 0..12 {
        unit.see(seen(Phase::Running, now), false, at(now));
        now += 500;
        let happenings = unit.see(seen(Phase::Exited, now - 500), false, at(now));
        let Some(Happening::Died { again, .. }) = happenings.last() else {
            panic!("{happenings:?}");
        };
        let again = again.unwrap();
        waits.push(again.as_secs());
        now += i64::try_from(again.as_millis()).unwrap();
    }
    assert_eq!(waits[..5], [1, 2, 4, 8, 16]);
    assert_eq!(waits.last(), Some(&300));
    assert_eq!(unit.live(None).restarts, 11);
}

#[test]
fn f8_the_engine_keeps_what_is_proven_and_loses_it_after_two_failures() {
    let mut unit = unit();
    unit.see(seen(Phase::Running, 0), false, Mono(0));
    assert_eq!(unit.wanted(Mono(0)).keeper, Restart::No);
    check(&mut unit, 0, Ok(()), 1_000);
    assert_eq!(unit.wanted(Mono(2_000)).keeper, Restart::No);
    assert_eq!(unit.wanted(Mono(11_000)).keeper, Restart::UnlessStopped);
    let kept = |phase, started| {
        let mut seen = seen(phase, started);
        if let Some(seen) = &mut seen {
            seen.keeper = Restart::UnlessStopped;
        }
        seen
    };
    unit.see(kept(Phase::Running, 0), false, Mono(12_000));
    unit.see(kept(Phase::Exited, 0), false, Mono(13_000));
    unit.see(kept(Phase::Running, 13_100), false, Mono(13_200));
    assert_eq!(unit.wanted(Mono(13_200)).keeper, Restart::UnlessStopped);
    unit.see(kept(Phase::Exited, 13_100), false, Mono(14_000));
    assert_eq!(unit.wanted(Mono(14_000)).keeper, Restart::No);
    unit.see(kept(Phase::Running, 20_000), false, Mono(20_000));
    check(&mut unit, 20_000, Ok(()), 21_000);
    check(&mut unit, 20_000, Ok(()), 82_000);
    assert_eq!(unit.wanted(Mono(82_000)).keeper, Restart::UnlessStopped);
}

#[test]
fn f8_a_restart_that_nobody_saw_end_still_counts() {
    let mut unit = unit();
    unit.see(seen(Phase::Running, 0), false, Mono(0));
    let happenings = unit.see(seen(Phase::Running, 9_000), false, Mono(9_100));
    assert!(matches!(
        happenings[..],
        [Happening::Over, Happening::Died { .. }, Happening::Began]
    ));
}

#[test]
fn n7_waits_are_as_long_as_they_are_whatever_the_clock_was_set_to() {
    const HOUR: i64 = 3_600_000;
    // Died just after the clock was set back by an hour: the engine's times lie ahead of ours for that long.
    let mut unit = unit();
    let kept = |phase, started| {
        let mut seen = seen(phase, started);
        if let Some(seen) = &mut seen {
            seen.keeper = Restart::UnlessStopped;
        }
        seen
    };
    unit.see(kept(Phase::Running, HOUR), false, Mono(1_000));
    let happenings = unit.see(kept(Phase::Exited, HOUR), false, Mono(2_000));
    assert!(matches!(
        happenings[..],
        [Happening::Over, Happening::Died { .. }]
    ));
    let decide = |unit: &Unit, now: u64| {
        let found: Vec<_> = unit.found().into_iter().collect();
        plan(
            &[unit.wanted(Mono(now))],
            &found,
            &HashSet::new(),
            Orphans::Go,
            Mono(now),
        )
    };
    let waiting = decide(&unit, 2_000);
    assert!(waiting.actions.is_empty());
    assert_eq!(waiting.wake, Some(Mono(5_000)), "the engine's turn first");
    let due = decide(&unit, 5_000).actions;
    assert!(matches!(due[..], [Action::Start { row: 7, .. }]), "{due:?}");
    // The saboteur: by the engine's own time of that end it would wait for the hour.
    let by_the_clock: Vec<_> = unit
        .found()
        .into_iter()
        .map(|found| Found {
            ended: Some(Mono(HOUR.unsigned_abs())),
            ..found
        })
        .collect();
    let wanted = [unit.wanted(Mono(5_000))];
    let none = HashSet::new();
    let waits = plan(&wanted, &by_the_clock, &none, Orphans::Go, Mono(5_000));
    assert!(waits.actions.is_empty(), "{waits:?}");
    assert_eq!(waits.wake, Some(Mono(HOUR.unsigned_abs() + 3_000)));
    // Looking again at the same end does not begin the wait anew.
    unit.see(kept(Phase::Exited, HOUR), false, Mono(4_000));
    assert_eq!(decide(&unit, 4_500).wake, Some(Mono(5_000)));
}

#[test]
fn an_end_that_we_caused_is_no_failure() {
    let mut unit = unit();
    unit.see(seen(Phase::Running, 0), false, Mono(0));
    assert_eq!(
        unit.see(seen(Phase::Exited, 0), true, Mono(900)),
        [Happening::Over]
    );
    assert_eq!(unit.see(None, true, Mono(1_000)), []);
}

#[test]
fn a_check_of_an_earlier_life_says_nothing() {
    let mut unit = unit();
    unit.see(seen(Phase::Running, 0), false, Mono(0));
    unit.see(seen(Phase::Running, 5_000), true, Mono(5_000));
    check(&mut unit, 0, Ok(()), 5_100);
    assert_eq!(unit.live(None).state, State::Starting);
}

/// Each life has its own time to begin in, counted from when it was seen to.
#[test]
fn n3_one_that_begins_has_as_long_as_its_start_may_take() {
    let mut unit = unit();
    let until = |from: u64| Standing::Begins {
        until: Mono(from).plus(unit_start()),
    };
    unit.see(seen(Phase::Running, 0), false, Mono(50));
    assert_eq!(unit.member().unwrap().standing, until(50));
    unit.see(seen(Phase::Running, 0), false, Mono(9_000));
    assert_eq!(unit.member().unwrap().standing, until(50));
    unit.see(seen(Phase::Running, 10_000), false, Mono(10_050));
    assert_eq!(unit.member().unwrap().standing, until(10_050));
    check(&mut unit, 10_000, Ok(()), 10_060);
    let well = Standing::Well {
        since: Mono(10_060),
    };
    assert_eq!(unit.member().unwrap().standing, well);
}

fn unit_start() -> Duration {
    unit().spec.start_deadline
}

#[test]
fn n3_silence_is_unbroken_from_its_first_check_to_the_last() {
    let mut unit = unit();
    let silent = |unit: &Unit| match unit.member().unwrap().standing {
        Standing::Ill { silent, .. } => silent,
        standing => panic!("{standing:?}"),
    };
    unit.see(seen(Phase::Running, 0), false, Mono(0));
    check(&mut unit, 0, Ok(()), 1_000);
    for now in [6_000, 9_000] {
        check(&mut unit, 0, Err(SILENT), now);
    }
    let well = Standing::Well { since: Mono(1_000) };
    assert_eq!(unit.member().unwrap().standing, well);
    check(&mut unit, 0, Err(SILENT), 12_000);
    check(&mut unit, 0, Err(SILENT), 22_000);
    assert_eq!(silent(&unit), Some(Mono(6_000)));
    // A bad answer is one, and so is a late one, but not of another life.
    check(&mut unit, 0, Err("503"), 30_000);
    assert_eq!(silent(&unit), None);
    check(&mut unit, 0, Err(SILENT), 40_000);
    unit.heard("c", Some(UnixMs(5)));
    assert_eq!(silent(&unit), Some(Mono(40_000)));
    unit.heard("c", Some(UnixMs(0)));
    assert_eq!(silent(&unit), None);
    check(&mut unit, 0, Err(SILENT), 50_000);
    assert_eq!(silent(&unit), Some(Mono(50_000)));
    let replaced = unit.replaced(Because::Silent, Mono(190_000));
    assert!(matches!(
        replaced,
        Some(Happening::Replaced {
            because: Because::Silent,
            failures: 1,
            ..
        })
    ));
    // That end is no death, and the next life begins without a word said against it.
    let happenings = unit.see(seen(Phase::Running, 200_000), true, Mono(200_100));
    assert_eq!(happenings, [Happening::Over, Happening::Began]);
    for now in [201_000, 202_000, 203_000] {
        check(&mut unit, 200_000, Err(SILENT), now);
    }
    let begins = unit.member().unwrap().standing;
    assert!(matches!(begins, Standing::Begins { .. }), "{begins:?}");
}
