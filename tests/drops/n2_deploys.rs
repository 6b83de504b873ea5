//! Deploys, rollbacks, changes of scale and reloads of the config under load: no request fails, no answer is wrong, and
//! what is open for longer than the drain ends as its protocol has it. With the drain switched off the same run fails.

use crate::place::{PLAIN, Place, Shape};
use crate::rig::ledger::StreamKind;
use crate::rig::load::EVERYTHING;
use crate::rig::report::Report;

/// Before anything is changed, so that every kind of request was there and streams are open.
const WARM: usize = 100;

/// Streams that end cleanly at the drain's limit.
const WHOLE: &[StreamKind] = &[
    StreamKind::WebSocket,
    StreamKind::Events,
    StreamKind::EventsHttp2,
];

/// A run with these changes, one after another.
fn run(
    place: &mut Place,
    name: &str,
    deploys: u32,
    rollbacks: u32,
    scales: u32,
    reloads: u32,
) -> Report {
    let replicas = u32::try_from(place.containers().len()).unwrap();
    let load = place.load(EVERYTHING, place.scale.streams);
    place.goes_on(&load, WARM);
    for turn in 0..deploys.max(rollbacks).max(scales).max(reloads) {
        if turn < deploys {
            load.mark(format!("deploy {turn} begins"));
            place.deploy();
            load.mark(format!("deploy {turn} is over"));
        }
        if turn < reloads {
            load.mark(format!("reload {turn} begins"));
            place.reload(turn, "");
        }
        if turn < scales {
            let to = replicas + (turn + 1) % 2;
            load.mark(format!("scale {turn} to {to} begins"));
            place.scale_to(to);
            load.mark(format!("scale {turn} is over"));
        }
        if turn < rollbacks {
            load.mark(format!("rollback {turn} begins"));
            place.rollback();
            load.mark(format!("rollback {turn} is over"));
        }
    }
    let ledger = load.finish();
    place.report(name, &ledger)
}

#[test]
fn n2_no_request_of_three_replicas_fails_while_all_is_changed() {
    let mut place = Place::new(PLAIN);
    let control = place.load(EVERYTHING, place.scale.streams);
    place.goes_on(&control, 4 * WARM);
    let control = place.report("n2-control", &control.finish());
    control.assert_flawless(place.scale.requests(4 * WARM));
    control.assert_streams_whole(WHOLE);

    let scale = place.scale;
    let report = run(
        &mut place,
        "n2-three-replicas",
        scale.deploys,
        scale.rollbacks,
        scale.scales,
        scale.reloads,
    );
    report.assert_flawless(scale.requests(WARM));
    report.assert_streams_whole(WHOLE);
    report.assert_streams_told(WHOLE);
    assert!(report.instances.len() > 6, "{report}");
}

#[test]
fn n2_no_request_of_one_replica_fails() {
    let mut place = Place::new(Shape {
        replicas: 1,
        ..PLAIN
    });
    let scale = place.scale;
    let report = run(
        &mut place,
        "n2-one-replica",
        scale.deploys,
        scale.rollbacks,
        scale.scales,
        scale.only_large(scale.reloads),
    );
    report.assert_flawless(scale.requests(WARM));
    report.assert_streams_whole(WHOLE);
    report.assert_streams_told(WHOLE);
}

#[test]
fn n2_no_request_of_an_app_that_starts_and_stops_slowly_fails() {
    let mut place = Place::new(Shape {
        replicas: 1,
        start_ms: 5_000,
        stop_ms: 5_000,
        ..PLAIN
    });
    // Each takes a good ten seconds.
    let scale = place.scale;
    let report = run(
        &mut place,
        "n2-slow-app",
        scale.only_large(scale.deploys).max(1),
        scale.only_large(scale.rollbacks),
        scale.only_large(scale.scales),
        scale.only_large(scale.reloads),
    );
    report.assert_flawless(scale.requests(WARM));
    report.assert_streams_whole(WHOLE);
    report.assert_streams_told(WHOLE);
}

/// The saboteur of each kind of change: whoever gives replicas no time to end what they began loses requests, and the rig says
/// which. Whether one is under way when its replica is told to stop is chance, and so the change is made until one was.
fn without_a_drain(
    name: &str,
    replicas: u32,
    releases: u32,
    mut change: impl FnMut(&mut Place, u32),
) {
    let mut place = Place::new(Shape {
        replicas,
        drain: "0s",
        ..PLAIN
    });
    for _ in 1..releases {
        place.deploy();
        place.until_serving(replicas);
    }
    let load = place.load(EVERYTHING, 0);
    place.goes_on(&load, WARM);
    assert!(load.failed().is_empty(), "{:?}", load.failed());
    for turn in 0..20 {
        if !load.failed().is_empty() {
            break;
        }
        load.mark(format!("change {turn} begins"));
        change(&mut place, turn);
        load.mark(format!("change {turn} is over"));
    }
    let report = place.report(name, &load.finish());
    assert!(report.good < report.sent, "nothing was lost\n{report}");
    let named = report.first_failure.clone().unwrap();
    assert!(
        named.contains("target replica:"),
        "the edge did not say which: {report}"
    );
}

#[test]
fn n2_without_a_drain_the_rig_names_what_a_deploy_lost() {
    without_a_drain("n2-saboteur-no-drain", 1, 1, |place, _| place.deploy());
}

#[test]
fn n2_without_a_drain_the_rig_names_what_a_rollback_lost() {
    // Each goes back to the release that was live before.
    without_a_drain("n2-saboteur-rollback", 1, 2, |place, _| place.rollback());
}

#[test]
fn n2_without_a_drain_the_rig_names_what_a_change_of_scale_lost() {
    // Down and up again, from three: whoever is left is asked for everything.
    without_a_drain("n2-saboteur-scale", 3, 1, |place, turn| {
        place.scale_to(if turn % 2 == 0 { 1 } else { 3 });
    });
}

/// The same of reloads: what an edit does to requests is noticed.
#[test]
fn n2_a_reload_that_forbids_uploads_is_noticed() {
    let place = Place::new(Shape {
        replicas: 1,
        ..PLAIN
    });
    let load = place.load(EVERYTHING, 0);
    place.goes_on(&load, WARM);
    load.mark("the reload begins");
    place.reload(1, "body = \"2KB\"\n");
    place.goes_on(&load, WARM);
    let report = place.report("n2-saboteur-reload", &load.finish());
    let failed: Vec<_> = report.failures.keys().collect();
    assert_eq!(failed, ["Upload status 413"], "{report}");
}
