//! The rig itself, against a server that lies: each lie is found, counted and named, over each protocol and of each kind of
//! request and stream; an honest server has none.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::n1_liar::{End, LATE, Lie, WHICH, closing, events, events_h2, server, server_h2};
use crate::rig::ask::NEVER;
use crate::rig::door::Door;
use crate::rig::ledger::{Kind, Ledger, Outcome, Record, StreamEnd, StreamKind};
use crate::rig::load::{EVERYTHING, Load, Plan};
use crate::rig::report::Report;
use crate::support::port::free_port;
use crate::support::until::{secs, until_true};

/// Requests of a run; few, because there are many lies.
const MANY: usize = 40;
/// Who says nothing for so long never answers.
const PATIENCE: Duration = Duration::from_secs(3);

fn door(address: SocketAddr) -> Door {
    Door {
        address,
        name: "liar.test".to_owned(),
        tls: None,
    }
}

fn run(address: SocketAddr, mix: &'static [Kind], patience: Duration) -> Ledger {
    let load = Load::start(Plan {
        door: door(address),
        // Several run at a time, and a slow machine has a connection for each that waits.
        rate: 50,
        mix,
        streams: 0,
        patience,
    });
    until_true("the load", secs(300), || load.over() >= MANY);
    load.finish()
}

/// The record of the request that was lied about, once all is said that must be.
fn the_failure(lie: Lie, mix: &'static [Kind]) -> (Record, Report) {
    let over_http2 = matches!(mix, [Kind::Http2 | Kind::SlowHttp2]);
    let address = match over_http2 {
        true => server_h2(lie),
        false => server(lie),
    };
    let patience = if lie == Lie::Silence { PATIENCE } else { NEVER };
    let ledger = run(address, mix, patience);
    let report = Report::of("lies", &ledger, None);
    let failed: Vec<&Record> = ledger.records.iter().filter(|r| !r.is_good()).collect();
    let its = failed.iter().find(|r| r.number == WHICH);
    let its = its.unwrap_or_else(|| panic!("{lie:?} {mix:?}: {failed:?}"));
    // Where requests share a connection, some share its end; and a slow machine tries a short patience.
    if !over_http2 && lie != Lie::Silence {
        assert_eq!(failed.len(), 1, "{lie:?} {mix:?}: {failed:?}");
        let named = report.first_failure.clone().unwrap();
        assert!(named.contains("/20"), "{named}");
    }
    let what = format!("{:?} {}", its.kind, its.outcome.word());
    assert!(report.failures.contains_key(&what), "{report}");
    assert!(report.flaw(1).is_some(), "{lie:?} passes for flawless");
    ((*its).clone(), report)
}

/// Of each kind beside the others, because some take their time.
fn each(kinds: &'static [Kind], lies: &'static [(Lie, &'static str)]) {
    std::thread::scope(|all| {
        for kind in kinds {
            all.spawn(move || {
                for (lie, wanted) in lies {
                    let (record, report) = the_failure(*lie, std::slice::from_ref(kind));
                    assert_eq!(record.outcome.word(), *wanted, "{lie:?}: {record:?}");
                    assert_eq!(record.kind, *kind);
                    let cut = record.outcome.word() == "short" || record.bytes > 0;
                    if matches!(lie, Lie::Cut | Lie::CutChunks) && *kind != Kind::WebSocket {
                        assert!(cut, "{lie:?}: {record:?}");
                    }
                    if *lie == Lie::Nonsense && matches!(kind, Kind::Http2 | Kind::SlowHttp2) {
                        assert!(report.goaways.contains_key("code 2"), "{report}");
                    }
                }
            });
        }
    });
}

#[test]
fn n1_each_lie_about_an_answer_is_found_and_named() {
    each(
        &[
            Kind::KeepAlive,
            Kind::Fresh,
            Kind::Slow,
            Kind::Upload,
            Kind::Download,
            Kind::Events,
        ],
        &[
            (Lie::OtherByte, "wrong"),
            (Lie::OneLess, "wrong"),
            (Lie::Others, "wrong"),
            (Lie::Cut, "short"),
            (Lie::CutChunks, "short"),
            (Lie::Gone, "eof"),
            (Lie::Reset, "reset"),
            (Lie::Status, "status 503"),
            (Lie::Nonsense, "broken"),
            (Lie::Silence, "never"),
        ],
    );
}

#[test]
fn n1_each_lie_over_http2_is_found_and_named() {
    each(
        &[Kind::Http2, Kind::SlowHttp2],
        &[
            (Lie::OtherByte, "wrong"),
            (Lie::OneLess, "wrong"),
            (Lie::Others, "wrong"),
            (Lie::Cut, "short"),
            // Of a stream that is reset inside its body.
            (Lie::CutChunks, "reset"),
            (Lie::Gone, "eof"),
            (Lie::Reset, "reset"),
            (Lie::Status, "status 503"),
            // With a reproach, which is seen in any case.
            (Lie::Nonsense, "eof"),
            (Lie::Silence, "never"),
        ],
    );
}

#[test]
fn n1_each_lie_of_a_websocket_is_found_and_named() {
    each(
        &[Kind::WebSocket],
        &[
            (Lie::OtherByte, "wrong"),
            // Its close was answered with something else.
            (Lie::OneLess, "wrong"),
            // Another's handshake.
            (Lie::Others, "wrong"),
            (Lie::Cut, "eof"),
            (Lie::Gone, "eof"),
            (Lie::Reset, "reset"),
            (Lie::Status, "status 503"),
            (Lie::Silence, "never"),
        ],
    );
}

#[test]
fn n1_an_honest_server_has_no_failure() {
    let mix = &[
        Kind::KeepAlive,
        Kind::Fresh,
        Kind::Slow,
        Kind::Upload,
        Kind::Download,
        Kind::Events,
        Kind::WebSocket,
    ];
    let report = Report::of("honest", &run(server(Lie::None), mix, NEVER), None);
    report.assert_flawless(MANY);
    assert!(report.instances.contains_key("liar"), "{report}");
    let mix = &[Kind::Http2, Kind::SlowHttp2];
    let report = Report::of("honest", &run(server_h2(Lie::None), mix, NEVER), None);
    report.assert_flawless(MANY);
}

/// Those behind a request that waits leave at their time, and how long it waited is told.
#[test]
fn n1_a_late_answer_delays_nobody_else_and_is_told() {
    let ledger = run(server(Lie::Late), &[Kind::KeepAlive], NEVER);
    let report = Report::of("late", &ledger, None);
    report.assert_flawless(MANY);
    let late = u64::try_from(LATE.as_millis()).unwrap();
    assert!(report.waited_ms.longest >= late, "{report}");
    assert!(report.longest.contains("/ok/20?"), "{report}");
    let sent_meanwhile = ledger.records.iter().filter(|r| {
        let late = ledger.records.iter().find(|r| r.number == WHICH).unwrap();
        r.number > WHICH && r.sent.is_some_and(|sent| sent < late.end)
    });
    assert!(sent_meanwhile.count() > MANY / 4, "closed loop");
}

/// A generator that did not come to a request in time has shown nothing.
#[test]
fn n1_a_generator_that_is_late_is_no_proof() {
    let mut ledger = run(server(Lie::None), &[Kind::KeepAlive], NEVER);
    Report::of("in time", &ledger, None).assert_flawless(MANY);
    ledger.records[30].left += Duration::from_secs(30);
    let report = Report::of("late itself", &ledger, None);
    assert!(report.late_ms >= 30_000, "{report}");
    assert!(report.flaw(1).is_some(), "passes for flawless");
}

#[test]
fn n1_nobody_there_is_a_failure_of_each_request() {
    // One that the system gives to nobody, neither as a server's nor as a client's own.
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port(Ipv4Addr::LOCALHOST)));
    let report = Report::of("nobody", &run(address, EVERYTHING, NEVER), None);
    assert_eq!(report.good, 0);
    let refused = |what: &String| what.ends_with(" refused");
    assert!(report.failures.keys().all(refused), "{report}");
    assert_eq!(report.failures.len(), 9, "{report}");
}

/// How the other side ended streams of this kind, twice over.
fn ended(address: SocketAddr, kind: StreamKind) -> (Vec<StreamEnd>, Report) {
    let load = Load::start(Plan {
        door: door(address),
        rate: 1,
        mix: &[Kind::KeepAlive],
        // One of each kind.
        streams: 3,
        patience: NEVER,
    });
    until_true("streams to end", secs(300), || {
        load.streams_ended(kind) >= 2
    });
    let ledger = load.finish();
    let streams = ledger.streams.iter().filter(|s| s.kind == kind);
    let ends = streams.map(|s| s.end.clone());
    let ends = ends.filter(|end| *end != StreamEnd::Ours).collect();
    (ends, Report::of("streams", &ledger, None))
}

/// Each of them is what it is, and the report says so.
fn assert_ended(address: SocketAddr, kind: StreamKind, clean: bool, what: &str) {
    let (ends, report) = ended(address, kind);
    let as_wanted = |end: &StreamEnd| matches!(end, StreamEnd::Clean(_)) == clean;
    assert!(ends.iter().all(as_wanted), "{what}: {ends:?}");
    assert_eq!(report.streams_of(kind), (clean, clean), "{what}");
}

#[test]
fn n1_a_stream_that_breaks_off_is_told_from_one_that_ends() {
    for (end, clean) in [
        ("0\r\n\r\n", true),
        ("", false),
        // A last chunk, but inside an event.
        ("6\r\nid: 1\n\r\n0\r\n\r\n", false),
    ] {
        assert_ended(events(end), StreamKind::Events, clean, end);
    }
    for (end, clean) in [
        (End::Whole, true),
        (End::InsideAnEvent, false),
        (End::Reset, false),
        (End::Gone, false),
    ] {
        let what = format!("{end:?}");
        assert_ended(events_h2(end), StreamKind::EventsHttp2, clean, &what);
    }
}

/// "Service restart" is what the edge says; all else is the app's death, or somebody's mistake.
#[test]
fn n1_a_websocket_ends_cleanly_with_1012_alone() {
    for (end, clean) in [
        (&[0x88, 2, 0x03, 0xf4][..], true),
        (&[0x88, 2, 0x03, 0xe8], false),
        (&[0x88, 2, 0x03, 0xf3], false),
        (&[0x88, 0], false),
        // In the middle of a frame, and without a word.
        (&[0x81, 5, b'x'], false),
        (&[], false),
    ] {
        let what = format!("{end:?}");
        assert_ended(closing(end), StreamKind::WebSocket, clean, &what);
    }
}

/// What is counted as an answer of another, or a half one, is counted as such.
#[test]
fn n1_short_and_wrong_answers_are_counted_apart() {
    let ledger = run(server(Lie::Cut), &[Kind::KeepAlive], NEVER);
    let its = ledger.records.iter().find(|r| r.number == WHICH).unwrap();
    assert_eq!(its.outcome, Outcome::Short(500));
    assert_eq!(Report::of("cut", &ledger, None).wrong, 1);
}
