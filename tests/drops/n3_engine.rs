//! The engine is restarted under load: with live-restore nobody notices, without it requests are held until the app is
//! back, or for as long as the default says. Has an engine of its own, because it ends it.

use std::time::Duration;

use crate::deaths::{Death, assert_saved};
use crate::own_engine::OwnEngine;
use crate::place::{PLAIN, Place, Shape};
use crate::rig::ledger::{Outcome, Record};
use crate::rig::load::SHORT_ANSWERS;

const WARM: usize = 100;
/// The default of `[hold] time`.
const HELD: Duration = Duration::from_secs(30);
const IMAGES: &[&str] = &["freehold-rig/app:1"];

#[test]
fn n3_an_engine_that_is_restarted_costs_no_safe_request() {
    let mut own = OwnEngine::start(IMAGES, true);
    let mut place = Place::on(
        &own.host(),
        Shape {
            replicas: 2,
            // A slow machine takes its time to start an engine, and all who come meanwhile are held.
            settings: "[hold]\ntime = \"170s\"\nrequests = 100000\n",
            ..PLAIN
        },
    );

    let load = place.load(SHORT_ANSWERS, 0);
    place.goes_on(&load, WARM);
    load.mark("the engine ends, its containers live on");
    own.down();
    place.goes_on(&load, WARM);
    own.up();
    load.mark("the engine is back");
    place.until_serving(2);
    place.goes_on(&load, WARM);
    let report = place.report("n3-engine-live-restore", &load.finish());
    report.assert_flawless(place.scale.requests(3 * WARM));

    own.live_restore = false;
    own.down();
    own.up();
    place.until_serving(2);
    let load = place.load(SHORT_ANSWERS, 0);
    place.goes_on(&load, WARM);
    let replicas = place.containers();
    let targets: Vec<String> = replicas.iter().map(|c| place.target_of(c)).collect();
    load.mark("the engine ends, and its containers with it");
    let down = load.elapsed();
    own.down();
    own.up();
    load.mark("the engine is back");
    let deaths = replicas.iter().zip(targets);
    let deaths: Vec<Death> = deaths
        .map(|(c, t)| Death::seen(&load, c, t, down))
        .collect();
    place.until_serving(2);
    load.mark("two replicas serve");
    place.goes_on(&load, WARM);
    let ledger = load.finish();
    // Whoever came when it was gone was answered as soon as the app was back.
    let waited = ledger.records.iter().filter(|r| r.due > down);
    let waited = waited.map(Record::waited).max().unwrap();
    let recovered = u64::try_from(waited.as_millis()).unwrap();
    let report = place.report_with("n3-engine", &ledger, |r| r.recovered_ms = Some(recovered));
    assert_saved(&place, &ledger, &deaths, &report);

    // The saboteur: nobody is held.
    place.settle(1, "[hold]\ntime = \"0s\"\n");
    let load = place.load(SHORT_ANSWERS, 0);
    place.goes_on(&load, WARM);
    load.mark("the engine ends, and nobody is held");
    own.down();
    own.up();
    place.until_serving(2);
    let report = place.report("n3-saboteur-engine-no-hold", &load.finish());
    assert!(report.failed_safe > 0, "nothing was lost\n{report}");
}

/// As long as the default says, and not a moment less; who then still has nobody is told when to come back. Takes two
/// minutes, so only `tests/soak` asks for it.
#[test]
#[ignore = "slow: tests/soak runs it"]
fn n3_an_engine_that_is_gone_for_longer_than_the_default_costs_whom_it_held_so_long() {
    let own = OwnEngine::start(IMAGES, false);
    let mut place = Place::on(
        &own.host(),
        Shape {
            replicas: 2,
            // For a large run; the time is the default's.
            settings: "[hold]\nrequests = 100000\n",
            ..PLAIN
        },
    );
    // All who come wait, each with a connection.
    place.scale.rate = place.scale.rate.min(60);
    let load = place.load(SHORT_ANSWERS, 0);
    place.goes_on(&load, WARM);
    load.mark("the engine ends, and its containers with it");
    own.down();
    let gone = load.elapsed();
    let refused = place.ask("/ok/1?size=10");
    assert_eq!(refused.status, 503, "{}", refused.text());
    let after: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1..=120).contains(&after), "Retry-After: {after}");
    assert!(refused.took >= HELD, "refused after {:?}", refused.took);
    own.up();
    load.mark("the engine is back");
    place.until_serving(2);
    let back = load.elapsed();
    place.goes_on(&load, WARM);
    let ledger = load.finish();
    let recovered = u64::try_from((back - gone).as_millis()).unwrap();
    let report = place.report_with("n3-engine-too-long", &ledger, |r| {
        r.recovered_ms = Some(recovered);
    });
    let came = ledger.records.iter().filter(|r| r.due > gone);
    let refused: Vec<&Record> = came.clone().filter(|r| !r.is_good()).collect();
    assert!(!refused.is_empty(), "nobody was\n{report}");
    for record in refused {
        let held = record.outcome == Outcome::Status(503) && record.waited() >= HELD;
        assert!(held, "{record:?}\n{report}");
    }
    // Those who came late enough were answered, though they waited.
    let long = came.filter(|r| r.is_good()).map(Record::waited).max();
    assert!(long > Some(Duration::from_secs(5)), "{long:?}\n{report}");
}
