//! The rig itself, against a server that lies: each lie is found, counted and named; an honest one has none.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use crate::rig::ask::expected;
use crate::rig::door::Door;
use crate::rig::ledger::{Kind, Ledger, Outcome, Record, StreamEnd, StreamKind};
use crate::rig::load::{Load, Plan};
use crate::rig::report::Report;

/// What is done to one request of all; the others are answered well.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Lie {
    None,
    /// Another byte in the middle.
    OtherByte,
    /// A whole body that is a byte shorter, as its length says.
    OneLess,
    /// The connection ends inside a body of a known length.
    Cut,
    /// The same in chunks.
    CutChunks,
    /// The connection ends instead of an answer.
    Gone,
    /// It is reset instead of an answer.
    Reset,
    /// The answer to another request.
    Others,
    Status,
    /// An answer that is late, but well.
    Late,
}

/// Lies about the request with the number 20.
const WHICH: u64 = 20;
const LATE: Duration = Duration::from_millis(1_500);

fn server(lie: Lie) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || serve(stream, lie));
        }
    });
    address
}

fn serve(stream: TcpStream, lie: Lie) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut stream = stream;
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).unwrap_or(0) == 0 {
                return;
            }
        }
        let path = head.split(' ').nth(1).unwrap();
        let number = path.split('?').next().unwrap().rsplit('/').next().unwrap();
        let number: u64 = number.parse().unwrap();
        let lie = if number == WHICH { lie } else { Lie::None };
        let mut body = expected(Kind::KeepAlive, number);
        match lie {
            Lie::OtherByte => body[500] = b'!',
            Lie::Others => body = expected(Kind::KeepAlive, number + 1),
            Lie::OneLess => {
                body.pop();
            }
            Lie::Late => std::thread::sleep(LATE),
            Lie::Gone => return,
            Lie::Reset => {
                rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
                return;
            }
            _ => {}
        }
        let status = if lie == Lie::Status {
            "503 Away"
        } else {
            "200 OK"
        };
        let mut answer = format!("HTTP/1.1 {status}\r\nX-Instance: liar\r\n").into_bytes();
        if lie == Lie::CutChunks {
            answer.extend(b"Transfer-Encoding: chunked\r\n\r\n3e8\r\n");
        } else {
            answer.extend(format!("Content-Length: {}\r\n\r\n", body.len()).bytes());
        }
        if matches!(lie, Lie::Cut | Lie::CutChunks) {
            body.truncate(400);
        }
        answer.extend(body);
        stream.write_all(&answer).unwrap();
        if matches!(lie, Lie::Cut | Lie::CutChunks) {
            return;
        }
    }
}

fn door(address: SocketAddr) -> Door {
    Door {
        address,
        name: "liar.test".to_owned(),
        tls: None,
    }
}

fn run(address: SocketAddr, mix: &'static [Kind]) -> Ledger {
    let load = Load::start(Plan {
        door: door(address),
        rate: 200,
        mix,
        streams: 0,
    });
    while load.over() < 60 {
        std::thread::sleep(Duration::from_millis(10));
    }
    load.finish()
}

fn the_failure(lie: Lie, mix: &'static [Kind]) -> Record {
    let ledger = run(server(lie), mix);
    let report = Report::of("lies", &ledger, None);
    let failed: Vec<&Record> = ledger.records.iter().filter(|r| !r.is_good()).collect();
    assert_eq!(failed.len(), 1, "{lie:?}: {failed:?}");
    assert_eq!(failed[0].number, WHICH, "{lie:?}");
    let named = report.first_failure.clone().unwrap();
    assert!(named.contains("/ok/20?"), "{named}");
    let flawless = std::panic::catch_unwind(|| report.assert_flawless(1));
    assert!(flawless.is_err(), "{lie:?} passes for flawless");
    failed[0].clone()
}

#[test]
fn n1_each_lie_about_an_answer_is_found_and_named() {
    for mix in [&[Kind::KeepAlive][..], &[Kind::Fresh]] {
        for (lie, wanted) in [
            (Lie::OtherByte, "wrong"),
            (Lie::OneLess, "wrong"),
            (Lie::Others, "wrong"),
            (Lie::Cut, "short"),
            (Lie::CutChunks, "short"),
            (Lie::Gone, "eof"),
            (Lie::Reset, "reset"),
            (Lie::Status, "status 503"),
        ] {
            let record = the_failure(lie, mix);
            assert_eq!(record.outcome.word(), wanted, "{lie:?}: {record:?}");
            if wanted == "short" {
                assert_eq!(record.outcome, Outcome::Short(400));
            }
        }
    }
}

#[test]
fn n1_an_honest_server_has_no_failure() {
    let report = Report::of("honest", &run(server(Lie::None), &[Kind::KeepAlive]), None);
    report.assert_flawless(60);
    assert_eq!(report.instances.keys().collect::<Vec<_>>(), ["liar"]);
}

/// Those behind a request that waits leave at their time, and how long it waited is told.
#[test]
fn n1_a_late_answer_delays_nobody_else_and_is_told() {
    let ledger = run(server(Lie::Late), &[Kind::KeepAlive]);
    let report = Report::of("late", &ledger, None);
    report.assert_flawless(60);
    assert!(report.waited_ms.longest >= 1_500, "{report}");
    assert!(report.longest.contains("/ok/20?"), "{report}");
    let sent_meanwhile = ledger.records.iter().filter(|r| {
        let late = ledger.records.iter().find(|r| r.number == WHICH).unwrap();
        r.number > WHICH && r.sent.is_some_and(|sent| sent < late.end)
    });
    assert!(sent_meanwhile.count() > 20, "closed loop");
}

#[test]
fn n1_nobody_there_is_a_failure_of_each_request() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let report = Report::of("nobody", &run(address, &[Kind::KeepAlive]), None);
    assert_eq!(report.good, 0);
    assert_eq!(
        report.failures.keys().collect::<Vec<_>>(),
        ["KeepAlive refused"]
    );
}

/// Ends a stream of events in one of three ways.
fn events(end: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut head = [0; 2_048];
            let read = stream.read(&mut head).unwrap_or(0);
            let head = String::from_utf8_lossy(&head[..read]).into_owned();
            let path = head.split(' ').nth(1).unwrap_or("/0?");
            let number = path.split('?').next().unwrap().rsplit('/').next().unwrap();
            let event = format!("id: 0\ndata: {number}\n\n");
            let length = event.len();
            let answer = format!(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n{event}\r\n{end}"
            );
            stream.write_all(answer.as_bytes()).ok();
        }
    });
    address
}

#[test]
fn n1_a_stream_that_breaks_off_is_told_from_one_that_ends() {
    for (end, clean) in [
        ("0\r\n\r\n", true),
        ("", false),
        // A last chunk, but inside an event.
        ("6\r\nid: 1\n\r\n0\r\n\r\n", false),
    ] {
        let load = Load::start(Plan {
            door: door(events(end)),
            rate: 1,
            mix: &[Kind::KeepAlive],
            // The second of them is one of events over HTTP/1.1.
            streams: 2,
        });
        while load.streams_ended(StreamKind::Events) < 2 {
            std::thread::sleep(Duration::from_millis(10));
        }
        let ledger = load.finish();
        let streams = ledger
            .streams
            .iter()
            .filter(|s| s.kind == StreamKind::Events);
        let ended: Vec<_> = streams.filter(|s| s.end != StreamEnd::Ours).collect();
        let as_wanted = |end: &StreamEnd| matches!(end, StreamEnd::Clean(_)) == clean;
        assert!(
            ended.iter().all(|s| as_wanted(&s.end)),
            "{end:?}: {ended:?}"
        );
    }
}
