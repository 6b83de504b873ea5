//! The engine is restarted under load: with live-restore nobody notices, without it requests are held until the app is
//! back. Has an engine of its own, because it ends it.

use std::time::Duration;

use crate::own_engine::OwnEngine;
use crate::place::{PLAIN, Place, Shape};
use crate::rig::ledger::Record;
use crate::rig::load::{Load, SHORT_ANSWERS};
use crate::support::until::{secs, until_true};

const WARM: usize = 100;
const IMAGES: &[&str] = &["freehold-rig/app:1"];

fn goes_on(load: &Load, more: usize) {
    let over = load.over();
    until_true("more of the load", secs(120), || load.over() >= over + more);
}

#[test]
fn n3_an_engine_that_is_restarted_costs_no_safe_request() {
    let mut own = OwnEngine::start(IMAGES, true);
    let place = Place::on(
        &own.host(),
        Shape {
            replicas: 2,
            // A slow machine takes its time to start an engine, and all who come meanwhile are held.
            settings: "[hold]\ntime = \"55s\"\nrequests = 100000\n",
            ..PLAIN
        },
    );

    let load = place.load(SHORT_ANSWERS, 0);
    goes_on(&load, WARM);
    load.mark("the engine ends, its containers live on");
    own.down();
    goes_on(&load, WARM);
    own.up();
    load.mark("the engine is back");
    place.until_serving(2);
    goes_on(&load, WARM);
    let report = place.report("n3-engine-live-restore", &load.finish());
    report.assert_flawless(3 * WARM);

    own.live_restore = false;
    own.down();
    own.up();
    place.until_serving(2);
    let load = place.load(SHORT_ANSWERS, 0);
    goes_on(&load, WARM);
    load.mark("the engine ends, and its containers with it");
    let down = load.elapsed();
    own.down();
    own.up();
    load.mark("the engine is back");
    place.until_serving(2);
    load.mark("two replicas serve");
    goes_on(&load, WARM);
    let ledger = load.finish();
    let report = place.report("n3-engine", &ledger);
    assert!(report.failed_safe == 0, "safe requests failed\n{report}");
    // Those that were under way when it went.
    let failed = ledger.records.iter().filter(|r| !r.is_good());
    let stop = down + Duration::from_secs(12);
    assert!(failed.clone().all(|r| r.due <= stop), "{report}");
    let waited = ledger
        .records
        .iter()
        .filter(|r| r.due > down)
        .map(Record::waited);
    println!(
        "    back {:?} after the engine was told to end",
        waited.max().unwrap()
    );
}
