//! The rig behind the edge: what a replica answers wrongly is found over each protocol, and the first of it is told with
//! what the edge's access log says of the same request.

use crate::place::{PLAIN, Place, Shape};
use crate::rig::load::EVERYTHING;

#[test]
fn n1_a_lie_behind_the_edge_is_found_over_each_protocol_and_joined_with_its_log() {
    let place = Place::new(Shape {
        replicas: 1,
        ..PLAIN
    });
    let load = place.load(EVERYTHING, 0);
    place.goes_on(&load, 50);
    place.containers()[0].behave("lie");
    load.mark("the replica begins to lie");
    place.goes_on(&load, 100);
    let ledger = load.finish();
    let report = place.report("n1-lies", &ledger);
    for found in ["KeepAlive", "Fresh", "Http2", "SlowHttp2", "Download"] {
        let wrong = report.failures.get(&format!("{found} wrong"));
        assert!(wrong.is_some(), "{found}: {report}");
    }
    let first = ledger.records.iter().filter(|r| !r.is_good());
    let first = first.min_by_key(|r| (r.due, r.number)).unwrap();
    let (path, id) = (first.kind.path(first.number), first.id.clone().unwrap());
    let named = report.first_failure.clone().unwrap();
    // Once by the rig, once by the edge, whose line has the request's id and its target.
    assert!(named.contains(&path), "{named}");
    assert_eq!(named.matches(&id).count(), 2, "{named}");
    assert!(
        named.contains("ended \"whole\", target replica:"),
        "{named}"
    );
}
