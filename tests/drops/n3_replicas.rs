//! Replicas that die or misbehave under load, one of three: requests that may be sent again do not fail, of the others
//! at most those that were on their way to it, and it is back or left out in time.

use std::time::Duration;

use freehold::base::clock::UnixMs;

use crate::deaths::{Death, assert_saved};
use crate::place::{Container, PLAIN, Place, Shape};
use crate::rig::edge_log;
use crate::rig::ledger::{Ledger, Outcome, Record};
use crate::rig::load::{Load, SHORT_ANSWERS};
use crate::support::until::{secs, until, until_true};

const WARM: usize = 100;
/// So often at most until a request was at the one that is killed: of those that come a third is at each.
const KILLS: usize = 10;
/// A hung replica gets nothing more after so long.
const EJECTED: Duration = Duration::from_secs(20);
/// Of a machine that does other things too: to come from the one that hangs to another, and be answered there.
const SLACK: Duration = Duration::from_secs(5);

fn begun(place: &Place) -> Load {
    let load = place.load(SHORT_ANSWERS, 0);
    place.goes_on(&load, WARM);
    load
}

/// Fewer errors than this of one that answers 500 to everybody, where a third of four times [`WARM`] would be its.
fn most_errors(place: &Place) -> usize {
    place.scale.requests(WARM) / 2
}

fn failed(ledger: &Ledger) -> impl Iterator<Item = &Record> {
    ledger.records.iter().filter(|r| !r.is_good())
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
            place.goes_on(&load, WARM);
            place.until_serving(3);
            load.mark("three replicas serve again");
        }
    }
    place.goes_on(&load, WARM);
    let ledger = load.finish();
    let report = place.report("n3-one-of-three-dies", &ledger);
    assert_saved(&place, &ledger, &deaths, &report);
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
    place.goes_on(&load, WARM);
    let ledger = load.finish();
    let report = place.report("n3-the-only-one-dies", &ledger);
    assert_saved(&place, &ledger, &[death], &report);
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
    place.goes_on(&load, WARM);
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
    place.goes_on(&load, 4 * WARM);
    let report = place.report("n3-closes-at-once", &load.finish());
    report.assert_flawless(place.scale.requests(5 * WARM));
}

/// Its errors are passed on; after five in a row others get its requests.
#[test]
fn n3_a_replica_that_answers_500_is_left_out() {
    let place = Place::new(PLAIN);
    let load = begun(&place);
    let one = misbehaves(&place, &load, "500");
    place.goes_on(&load, 4 * WARM);
    let ledger = load.finish();
    let report = place.report("n3-answers-500", &ledger);
    let errors: Vec<_> = failed(&ledger).collect();
    let its =
        |r: &&Record| r.outcome == Outcome::Status(500) && r.instance.as_deref() == Some(&one.id);
    assert!(errors.iter().all(its), "{report}");
    // Five, and those on their way, twice and again when it was let back.
    assert!(
        (5..most_errors(&place)).contains(&errors.len()),
        "{} errors\n{report}",
        errors.len()
    );
}

/// Accepts and never answers: whoever waits for it and may go elsewhere does when it is given up, and nobody is sent to it
/// after that.
#[test]
fn n3_a_hung_replica_is_left_out_and_whoever_waits_goes_elsewhere() {
    let place = Place::new(Shape {
        // So long one that hangs beside others keeps its place.
        answer: "30s",
        ..PLAIN
    });
    let load = begun(&place);
    let target = place.target_of(&place.containers()[0]);
    let hung = UnixMs::now().0;
    let one = misbehaves(&place, &load, "hang");
    let given_up = until("it to be given up", secs(120), || {
        given_up(&place, &one, &target)
    });
    let since = load.at(given_up);
    load.mark(format!("{} was given up at {since:?}", one.id));
    // It is replaced, too.
    let why = "gave no good answer";
    until("it to be replaced", secs(180), || {
        replaced(&place, &one, why)
    });
    place.until_serving(3);
    place.goes_on(&load, WARM);
    let ledger = load.finish();
    let after = u64::try_from(given_up - hung).unwrap();
    let report = place.report_with("n3-hangs", &ledger, |r| r.left_out_ms = Some(after));
    assert!(report.failed_safe == 0, "safe requests failed\n{report}");
    let after = Duration::from_millis(after);
    // On a machine that comes to nothing in time, the daemon and its checks do not either.
    let slow = match place.scale.soak {
        true => Duration::ZERO,
        false => 4 * Duration::from_millis(report.late_ms),
    };
    assert!(after < EJECTED + slow, "given up after {after:?}\n{report}");
    // Those who waited when it was given up went elsewhere then, and nobody came to it later.
    let waited = Duration::from_millis(report.longest_safe_ms);
    println!("    the longest wait of a safe request is {waited:?}");
    assert!(waited <= after + SLACK + slow, "{report}");
    for record in failed(&ledger) {
        let lines = edge_log::lines_of(&place.log(), record);
        let its = lines.iter().any(|line| line["target"] == target.as_str());
        let sent = record.sent.is_some_and(|sent| sent <= since + SLACK + slow);
        assert!(
            its && sent,
            "{record:?}\n{}\n{report}",
            edge_log::told(&lines)
        );
    }
}

/// When the edge gave it up by the daemon's log, or its check had failed by. The API tells of both for as long as they are so,
/// and of the first for no longer than until the second.
fn given_up(place: &Place, one: &Container, target: &str) -> Result<i64, String> {
    let log = place.fh.log_text();
    let target = format!("target={target} ");
    let its =
        |line: &&str| line.contains("left out for a while: it hangs") && line.contains(&target);
    if let Some(line) = log.lines().find(its) {
        let at = line.split(' ').next().unwrap();
        return Ok(at.parse::<jiff::Timestamp>().unwrap().as_millisecond());
    }
    let all = place.replicas();
    let its = all.iter().find(|r| r["name"] == one.name.as_str());
    let its = its.ok_or("no such replica")?;
    match its["state"]
        .as_str()
        .unwrap_or_default()
        .starts_with("unhealthy")
    {
        true => Ok(UnixMs::now().0),
        false => Err(its.to_string()),
    }
}

/// When it was stopped and started, for this reason.
fn replaced(place: &Place, one: &Container, because: &str) -> Result<i64, String> {
    let all = place.replicas();
    let its = all.iter().find(|r| r["name"] == one.name.as_str());
    let its = its.ok_or("no such replica")?;
    let death = &its["deaths"][0];
    let why = death["why"].as_str().unwrap_or_default();
    match why.contains(because) {
        true => Ok(death["at_ms"].as_i64().unwrap()),
        false => Err(its.to_string()),
    }
}

/// Whether a safe request that was at one of those that died is lost.
fn is_one_lost(place: &Place, load: &Load, deaths: &[Death]) -> bool {
    let failed = load.failed();
    let mut safe = failed.iter().filter(|record| record.kind.is_safe());
    safe.any(|record| deaths.iter().any(|death| death.had(place, record)))
}

/// Of a daemon that sends nothing again, one of three is killed. Whether a request is at it then is chance, and so one is
/// until one was.
fn a_death_costs_requests(place: &Place) {
    let load = begun(place);
    let mut deaths: Vec<Death> = Vec::new();
    while deaths.len() < KILLS && !is_one_lost(place, &load, &deaths) {
        deaths.push(Death::of(place, &load, "kill -9", deaths.len()));
        place.goes_on(&load, WARM);
        place.until_serving(3);
        load.mark("three replicas serve again");
    }
    let is_lost = is_one_lost(place, &load, &deaths);
    let report = place.report("n3-saboteur-one-of-three-dies", &load.finish());
    assert!(is_lost && report.failed_safe > 0, "none was lost\n{report}");
    let named = report.first_failure.clone().unwrap();
    assert!(named.contains("target replica:"), "{report}");
}

/// The saboteur: a daemon that sends nothing again, looks at no kept connection, and leaves nobody out.
#[test]
fn n3_without_retries_and_ejection_the_same_replicas_cost_requests() {
    let place = Place::new(Shape {
        // Longer than silence takes to speak against a replica.
        answer: "15s",
        // One that died often is waited for no longer than one that died thrice.
        settings: "[container]\nrestart_longest = \"4s\"\n",
        ..PLAIN
    });
    place.fh.sabotage(Some("no-retries"));
    place.until_serving(3);
    a_death_costs_requests(&place);

    let load = begun(&place);
    let one = misbehaves(&place, &load, "close");
    place.goes_on(&load, 2 * WARM);
    let report = place.report("n3-saboteur-closes", &load.finish());
    assert!(report.good < report.sent, "nothing was lost\n{report}");

    one.behave("well");
    let load = begun(&place);
    let one = misbehaves(&place, &load, "hang");
    let hung = load.elapsed();
    until_true("the limit of an answer", secs(60), || {
        load.elapsed() > hung + secs(17)
    });
    let report = place.report("n3-saboteur-hangs", &load.finish());
    assert!(report.failed_safe > 0, "nothing was lost\n{report}");
    one.behave("well");

    place.fh.sabotage(Some("no-ejection"));
    place.until_serving(3);
    let load = begun(&place);
    misbehaves(&place, &load, "500");
    place.goes_on(&load, 4 * WARM);
    let ledger = load.finish();
    let report = place.report("n3-saboteur-500", &ledger);
    let errors = failed(&ledger).filter(|r| r.outcome == Outcome::Status(500));
    assert!(
        errors.count() >= most_errors(&place),
        "few errors\n{report}"
    );
}

/// The saboteur: an only replica is never left out, and nobody can go elsewhere. It is replaced, once all who waited for it
/// were told.
#[test]
fn n3_a_hung_replica_without_others_is_noticed_and_replaced() {
    let place = Place::new(Shape {
        replicas: 1,
        answer: "2s",
        ..PLAIN
    });
    let load = begun(&place);
    let one = misbehaves(&place, &load, "hang");
    place.goes_on(&load, WARM);
    let report = place.report("n3-saboteur-hangs-alone", &load.finish());
    assert!(report.failed_safe > 0, "nothing was lost\n{report}");
    let why = "gave no answer at all";
    until("it to be replaced", secs(180), || {
        replaced(&place, &one, why)
    });
    place.until_serving(1);
    assert_eq!(place.ask("/healthz").status, 200);
    until("its event", secs(60), || {
        let events = place.fh.cli(&["events", "shop"]);
        let is_told = events.contains("gives no answer at all");
        is_told.then_some(()).ok_or(events)
    });
}
