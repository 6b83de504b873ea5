//! Replicas that die or misbehave under load, one of three: requests that may be sent again do not fail, of the others
//! at most those that were on their way to it, and it is back or left out in time.

use std::time::Duration;

use crate::place::{Container, PLAIN, Place, Shape};
use crate::rig::ledger::{Ledger, Outcome, Record};
use crate::rig::load::{Load, SHORT_ANSWERS};
use crate::rig::report::Report;
use crate::support::until::{secs, until, until_true};

const WARM: usize = 100;
/// A hung replica gets nothing more after so long.
const EJECTED: Duration = Duration::from_secs(20);
/// Of a machine that does other things too.
const SLACK: Duration = Duration::from_secs(10);

fn begun(place: &Place) -> Load {
    let load = place.load(SHORT_ANSWERS, 0);
    until_true("the load", secs(60), || load.over() >= WARM);
    load
}

/// Goes on for as many requests more.
fn goes_on(load: &Load, more: usize) {
    let over = load.over();
    until_true("more of the load", secs(120), || load.over() >= over + more);
}

/// A time of the run in which a replica dies.
struct Death {
    begun: Duration,
    over: Duration,
}

impl Death {
    /// Has the replica die, and waits until the engine says so.
    fn of(place: &Place, load: &Load, way: &str, turn: usize) -> Self {
        let all = place.containers();
        let victim = &all[turn % all.len()];
        let started = victim.state()["StartedAt"].clone();
        load.mark(format!("{way} of {}", victim.id));
        let begun = load.elapsed();
        match way {
            "kill -9" => victim.docker(&["kill", "-s", "KILL"]),
            "docker stop" => victim.docker(&["stop", "-t", "5"]),
            _ => victim.behave("eat"),
        }
        let dead = || {
            let state = victim.state();
            state["Running"] == false || state["StartedAt"] != started
        };
        until_true("its death", secs(60), dead);
        let over = load.elapsed();
        load.mark(format!("{} is dead", victim.id));
        let why = match way {
            "kill -9" => "was killed by SIGKILL",
            "docker stop" => "ended with exit code 0",
            _ => "ran out of its memory limit",
        };
        until("why it died to be told", secs(60), || {
            let events = place.fh.cli(&["events", "shop"]);
            events.contains(why).then_some(()).ok_or(events)
        });
        Self { begun, over }
    }

    /// Whether this request was under way then.
    fn met(&self, record: &Record) -> bool {
        record.due <= self.over + Duration::from_millis(200) && record.end >= self.begun
    }
}

fn failed(ledger: &Ledger) -> impl Iterator<Item = &Record> {
    ledger.records.iter().filter(|r| !r.is_good())
}

/// No safe request failed; each other one that did was on its way when a replica died.
fn assert_saved(ledger: &Ledger, deaths: &[Death], report: &Report) {
    assert!(report.failed_safe == 0, "safe requests failed\n{report}");
    for record in failed(ledger) {
        let met = deaths.iter().any(|death| death.met(record));
        assert!(met, "{record:?} met no death\n{report}");
    }
}

#[test]
fn n3_no_safe_request_fails_when_one_of_three_replicas_dies() {
    let place = Place::new(Shape {
        // One that died often is waited for as long as one that died thrice.
        settings: "[container]\nrestart_longest = \"4s\"\n",
        ..PLAIN
    });
    let load = begun(&place);
    let mut deaths = Vec::new();
    for _ in 0..place.scale.kills {
        for way in ["kill -9", "docker stop", "out of memory"] {
            deaths.push(Death::of(&place, &load, way, deaths.len()));
            goes_on(&load, WARM);
            place.until_serving(3);
            load.mark("three replicas serve again");
        }
    }
    goes_on(&load, WARM);
    let ledger = load.finish();
    let report = place.report("n3-one-of-three-dies", &ledger);
    assert_saved(&ledger, &deaths, &report);
}

/// There is no other one: who comes meanwhile is held until it is back.
#[test]
fn n3_safe_requests_wait_for_the_only_replica_that_is_killed() {
    let place = Place::new(Shape {
        replicas: 1,
        // For a large run; the time is the default's.
        settings: "[hold]\nrequests = 100000\n",
        ..PLAIN
    });
    let load = begun(&place);
    let death = Death::of(&place, &load, "kill -9", 0);
    place.until_serving(1);
    load.mark("it serves again");
    goes_on(&load, WARM);
    let ledger = load.finish();
    let report = place.report("n3-the-only-one-dies", &ledger);
    assert_saved(&ledger, &[death], &report);
}

/// The saboteur: nobody holds them.
#[test]
fn n3_without_holding_the_rig_names_what_was_lost() {
    let place = Place::new(Shape {
        replicas: 1,
        settings: "[hold]\ntime = \"0s\"\n",
        ..PLAIN
    });
    let load = begun(&place);
    Death::of(&place, &load, "kill -9", 0);
    place.until_serving(1);
    goes_on(&load, WARM);
    let report = place.report("n3-saboteur-no-hold", &load.finish());
    assert!(report.failed_safe > 0, "nothing was lost\n{report}");
    assert!(
        report.first_failure.clone().unwrap().contains("error "),
        "{report}"
    );
}

fn misbehaves(place: &Place, load: &Load, mode: &str) -> Container {
    let one = place.containers().remove(0);
    load.mark(format!("{} behaves: {mode}", one.id));
    one.behave(mode);
    one
}

#[test]
fn n3_a_replica_that_closes_its_connections_at_once_costs_nothing() {
    let place = Place::new(PLAIN);
    let load = begun(&place);
    misbehaves(&place, &load, "close");
    goes_on(&load, 4 * WARM);
    let report = place.report("n3-closes-at-once", &load.finish());
    report.assert_flawless(5 * WARM);
}

/// Its errors are passed on; after five in a row others get its requests.
#[test]
fn n3_a_replica_that_answers_500_is_left_out() {
    let place = Place::new(PLAIN);
    let load = begun(&place);
    let one = misbehaves(&place, &load, "500");
    goes_on(&load, 4 * WARM);
    let ledger = load.finish();
    let report = place.report("n3-answers-500", &ledger);
    let errors: Vec<_> = failed(&ledger).collect();
    let its =
        |r: &&Record| r.outcome == Outcome::Status(500) && r.instance.as_deref() == Some(&one.id);
    assert!(errors.iter().all(its), "{report}");
    // A third of the requests would have been its; five, and those on their way, twice and again when it was let back.
    let (least, most) = (5, WARM / 2);
    assert!(
        (least..most).contains(&errors.len()),
        "{} errors\n{report}",
        errors.len()
    );
}

/// Accepts and never answers: whoever waits for it and may go elsewhere does when it is given up, and nobody is sent to it
/// after that.
#[test]
fn n3_a_hung_replica_is_left_out_and_whoever_waits_goes_elsewhere() {
    let place = Place::new(Shape {
        answer: "30s",
        ..PLAIN
    });
    let load = begun(&place);
    let hangs = load.elapsed();
    misbehaves(&place, &load, "hang");
    let given_up = || load.elapsed() > hangs + EJECTED + SLACK;
    until_true("it to be given up", secs(60), given_up);
    goes_on(&load, WARM);
    let ledger = load.finish();
    // It is replaced, too.
    place.until_serving(3);
    let report = place.report("n3-hangs", &ledger);
    assert!(report.failed_safe == 0, "safe requests failed\n{report}");
    let waited = Duration::from_millis(report.longest_safe_ms);
    println!("    the longest wait of a safe request is {waited:?}");
    assert!(waited <= EJECTED + SLACK, "{report}");
    for record in failed(&ledger) {
        let sent = record.due.saturating_sub(hangs);
        assert!(
            sent <= EJECTED + SLACK,
            "{record:?} was sent to it\n{report}"
        );
    }
}

/// The saboteur: an only replica is never left out, and nobody can go elsewhere.
#[test]
fn n3_a_hung_replica_without_others_is_noticed() {
    let place = Place::new(Shape {
        replicas: 1,
        answer: "2s",
        ..PLAIN
    });
    let load = begun(&place);
    misbehaves(&place, &load, "hang");
    goes_on(&load, WARM);
    let report = place.report("n3-saboteur-hangs-alone", &load.finish());
    assert!(report.failed_safe > 0, "nothing was lost\n{report}");
}
