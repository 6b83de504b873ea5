//! Streams: events as they are written, bodies of any size in the same memory, trailers, and bodies that wait to be asked.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use freehold::proxy::{Limits, RouteSpec, Target};
use http::{Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::app::{App, app, raw, read_head};
use crate::client::{Body, Http1, Http2, bytes, get, whole};
use crate::h2c::frames;
use crate::rig::{Rig, World, h2c_target, route, target, until, within};

const PATIENCE: Duration = Duration::from_secs(40);

/// The promise: the first byte of an event is at the client 50 ms after the app wrote it. Half of them have to keep it, over
/// all that were written: the machine of a test has other work, which makes some late and not the most; what holds events
/// back until a buffer is full or a while is over makes all of them late, each time they are measured.
#[tokio::test]
async fn e2_each_event_is_at_the_client_50_ms_after_the_app_wrote_it() {
    const EVENTS: usize = 500;
    let (writing, mut written) = unbounded_channel();
    let app = raw(move |mut stream, _| {
        let writing = writing.clone();
        async move {
            while read_head(&mut stream).await.is_some() {
                let head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
                stream.write_all(head).await.unwrap();
                for event in 0..EVENTS {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    let event = format!("data: {event:03}\n\n");
                    let chunk = format!("{:x}\r\n{event}\r\n", event.len());
                    writing.send(Instant::now()).unwrap();
                    stream.write_all(chunk.as_bytes()).await.unwrap();
                }
                stream.write_all(b"0\r\n\r\n").await.unwrap();
            }
        }
    })
    .await;
    let rig = Rig::start(World::of([route("tasks.test", &[&target(app.address)])]));
    for http2 in [false, true] {
        let mut late = Vec::new();
        loop {
            let request = get("https://tasks.test/events");
            let response = match http2 {
                true => Http2::tls(&rig, "tasks.test").await.send(request).await,
                false => Http1::tls(&rig, "tasks.test").await.send(request).await,
            };
            let mut took = took(response.unwrap(), EVENTS, &mut written).await;
            took.sort();
            let [half, most, all] = [50, 95, 100].map(|part| took[EVENTS * part / 100 - 1]);
            println!(
                "HTTP/2 {http2}: half within {half:?}, 95 of 100 within {most:?}, all within {all:?}"
            );
            if half < Duration::from_millis(50) {
                break;
            }
            late.push(half);
            assert!(late.len() < 3, "HTTP/2 {http2}: {late:?}");
        }
    }
}

/// How long after it was written the last byte of each event came, all of them in their order and none twice.
pub async fn took(
    response: Response<Incoming>,
    events: usize,
    written: &mut UnboundedReceiver<Instant>,
) -> Vec<Duration> {
    let mut body = response.into_body();
    let (mut took, mut rest) = (Vec::new(), Vec::new());
    while let Some(frame) = within(PATIENCE, "an event", body.frame()).await {
        let came = Instant::now();
        rest.extend(frame.unwrap().into_data().unwrap());
        // Two that came together are two.
        while let Some(end) = rest.windows(2).position(|two| two == b"\n\n") {
            let event: Vec<u8> = rest.drain(..end + 2).collect();
            assert_eq!(event, format!("data: {:03}\n\n", took.len()).as_bytes());
            took.push(came - written.recv().await.unwrap());
        }
    }
    assert_eq!((took.len(), rest.len()), (events, 0), "not whole");
    took
}

/// How large the bodies are: each of them many times what may be kept of it.
const SIZE: u64 = 256 << 20;
/// As large as shows the same: frames cost more than bytes in a test that is not optimised.
const H2C_SIZE: u64 = 96 << 20;
const WARM: u64 = 16 << 20;
/// What the process may grow by, client and app included, which keep nothing.
const GROWTH: u64 = 32 << 20;
/// Bytes are told from their neighbours by a pattern of this length, a prime.
const PERIOD: usize = 65_521;
const PIECE: usize = 65_536;

/// The pattern, long enough for a piece from anywhere in it.
fn pattern() -> Bytes {
    let byte = |at: usize| ((at % PERIOD).wrapping_mul(2_654_435_761) >> 16) as u8;
    (0..PERIOD + PIECE).map(byte).collect::<Vec<_>>().into()
}

/// Whether this is what the pattern has at this place, which moves on.
fn goes_on(pattern: &[u8], at: &mut u64, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        let (piece, rest) = bytes.split_at(bytes.len().min(PIECE));
        let begin = (*at % PERIOD as u64) as usize;
        if piece != &pattern[begin..begin + piece.len()] {
            return false;
        }
        *at += piece.len() as u64;
        bytes = rest;
    }
    true
}

/// Takes a body and says how long it was, or gives one of the length that is asked for.
async fn endless() -> App {
    let pattern = pattern();
    raw(move |mut stream: TcpStream, _| {
        let pattern = pattern.clone();
        async move {
            while let Some(head) = read_head(&mut stream).await {
                let length = |name: &str| {
                    let line = head.lines().find_map(|line| line.strip_prefix(name));
                    line.map_or(0, |length| length.trim().parse::<u64>().unwrap())
                };
                let (takes, gives) = (length("content-length: "), length("x-give: "));
                let (mut at, mut buffer) = (0, vec![0; PIECE]);
                while at < takes {
                    let room = (takes - at).min(PIECE as u64) as usize;
                    let count = stream.read(&mut buffer[..room]).await.unwrap();
                    assert!(
                        count > 0 && goes_on(&pattern, &mut at, &buffer[..count]),
                        "at {at}"
                    );
                }
                let answer =
                    format!("HTTP/1.1 200 OK\r\nContent-Length: {gives}\r\nX-Took: {at}\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.unwrap();
                let mut given = 0;
                while given < gives {
                    let begin = (given % PERIOD as u64) as usize;
                    let count = (gives - given).min(PIECE as u64);
                    let piece = &pattern[begin..begin + count as usize];
                    stream.write_all(piece).await.unwrap();
                    given += count;
                }
            }
        }
    })
    .await
}

/// The same over HTTP/2.
async fn endless_h2c() -> App {
    let pattern = pattern();
    frames(move |mut connection, _| {
        let pattern = pattern.clone();
        async move {
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                let pattern = pattern.clone();
                tokio::spawn(async move {
                    let gives = request.headers()["x-give"].to_str().unwrap();
                    let gives: u64 = gives.parse().unwrap();
                    let (mut at, mut body) = (0, request.into_body());
                    while let Some(data) = body.data().await {
                        let data = data.unwrap();
                        assert!(goes_on(&pattern, &mut at, &data), "at {at}");
                        body.flow_control().release_capacity(data.len()).unwrap();
                    }
                    let answer = Response::builder()
                        .header("x-took", at)
                        .header("content-length", gives);
                    let answer = answer.body(()).unwrap();
                    let mut stream = respond.send_response(answer, gives == 0).unwrap();
                    let mut given = 0;
                    while given < gives {
                        stream.reserve_capacity((gives - given).min(PIECE as u64) as usize);
                        let room = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await;
                        let begin = (given % PERIOD as u64) as usize;
                        let count = (gives - given).min(room.unwrap().unwrap() as u64);
                        let piece = pattern.slice(begin..begin + count as usize);
                        given += count;
                        stream.send_data(piece, given == gives).unwrap();
                    }
                });
            }
        }
    })
    .await
}

/// A request with this much of a body, for this much of one.
fn ask(pattern: &Bytes, takes: u64, gives: u64) -> Request<Body> {
    let pattern = pattern.clone();
    let mut at = 0;
    let pieces = std::iter::from_fn(move || {
        let begin = (at % PERIOD as u64) as usize;
        let count = (takes - at).min(PIECE as u64);
        at += count;
        let piece = pattern.slice(begin..begin + count as usize);
        (count > 0).then_some(Ok(Frame::data(piece)))
    });
    Request::post("https://tasks.test/")
        .header("content-length", takes)
        .header("x-give", gives)
        .body(BodyExt::boxed(StreamBody::new(futures_util::stream::iter(
            pieces,
        ))))
        .unwrap()
}

async fn read(pattern: &Bytes, response: Response<Incoming>) -> u64 {
    let (mut at, mut body) = (0, response.into_body());
    while let Some(frame) = body.frame().await {
        let data = frame.unwrap().into_data().unwrap();
        assert!(goes_on(pattern, &mut at, &data), "at {at}");
    }
    at
}

/// Bytes of memory that this process holds now.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.unwrap().trim().strip_suffix(" kB").unwrap();
    number.parse::<u64>().unwrap() << 10
}

/// The most that the process held while this went on.
struct Peak {
    most: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
}

impl Peak {
    fn watch() -> Peak {
        let (most, over) = (
            Arc::new(AtomicU64::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let (noted, ended) = (most.clone(), over.clone());
        std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                noted.fetch_max(resident(), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        Peak { most, over }
    }

    fn end(self) -> u64 {
        self.over.store(true, Ordering::Relaxed);
        self.most.load(Ordering::Relaxed)
    }
}

/// Runs a test of this file in a process of its own: what the others hold must not count.
fn runs_alone(name: &str) -> bool {
    const ALONE: &str = "FREEHOLD_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let out = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(ALONE, "1")
        .output()
        .unwrap();
    let said = [out.stdout, out.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    println!("{said}");
    assert!(out.status.success() && said.contains("1 passed"), "{said}");
    false
}

/// Bodies both ways, from clients of both protocols: small ones, which fill buffers and caches that stay, then of this size.
async fn pass_in_the_same_memory(target: &Arc<Target>, size: u64) {
    let limits = Limits {
        workers: Some(1),
        body_bytes: u64::MAX,
        ..Limits::default()
    };
    let rig = Rig::with_limits(World::of([route("tasks.test", &[target])]), limits);
    let pattern = pattern();
    for over_http2 in [false, true] {
        let (mut http1, mut http2) = (
            Http1::tls(&rig, "tasks.test").await,
            Http2::tls(&rig, "tasks.test").await,
        );
        for size in [WARM, size] {
            for (takes, gives) in [(size, 0), (0, size)] {
                let request = ask(&pattern, takes, gives);
                let (before, begun, peak) = (resident(), Instant::now(), Peak::watch());
                let response = match over_http2 {
                    true => http2.send(request).await,
                    false => http1.send(request).await,
                };
                let response = response.unwrap();
                assert_eq!(response.status(), 200);
                assert_eq!(response.headers()["x-took"], takes.to_string().as_str());
                assert_eq!(read(&pattern, response).await, gives);
                let grown = peak.end().saturating_sub(before);
                println!(
                    "HTTP/2 {over_http2}: {takes} up, {gives} down in {:?}, {} KB more at most",
                    begun.elapsed(),
                    grown >> 10
                );
                assert!(size == WARM || grown < GROWTH, "grown by {grown}");
            }
        }
    }
}

#[tokio::test]
async fn e2_bodies_of_any_size_pass_in_the_same_memory() {
    if runs_alone("streams::e2_bodies_of_any_size_pass_in_the_same_memory") {
        pass_in_the_same_memory(&target(endless().await.address), SIZE).await;
    }
}

#[tokio::test]
async fn e2_bodies_of_any_size_pass_in_the_same_memory_to_and_from_an_h2c_app() {
    let name = "streams::e2_bodies_of_any_size_pass_in_the_same_memory_to_and_from_an_h2c_app";
    if runs_alone(name) {
        pass_in_the_same_memory(&h2c_target(endless_h2c().await.address), H2C_SIZE).await;
    }
}

/// The saboteur: with a client that takes nothing of what was read for it, the same look finds the growth.
#[tokio::test]
async fn e2_a_body_that_is_kept_is_found_by_the_look_at_memory() {
    if !runs_alone("streams::e2_a_body_that_is_kept_is_found_by_the_look_at_memory") {
        return;
    }
    let app = endless().await;
    let rig = Rig::start(World::of([route("tasks.test", &[&target(app.address)])]));
    let mut http1 = Http1::tls(&rig, "tasks.test").await;
    let (before, peak) = (resident(), Peak::watch());
    let request = ask(&pattern(), 0, 2 * GROWTH);
    let kept = whole(http1.send(request).await.unwrap()).await.unwrap();
    assert_eq!(kept.body.len() as u64, 2 * GROWTH);
    // As long as the look takes to come by.
    until("it is found", || {
        peak.most.load(Ordering::Relaxed).saturating_sub(before) > GROWTH
    })
    .await;
    peak.end();
    drop(kept);
}

#[tokio::test]
async fn e2_trailers_reach_an_http1_client_that_takes_them() {
    let app = app("one").await;
    let spec = RouteSpec {
        redirect_http: false,
        ..route("tasks.test", &[&target(app.address)])
    };
    let rig = Rig::start(World::of([spec]));
    let ask = |fields: &str| format!("GET /trailers HTTP/1.1\r\nHost: tasks.test\r\n{fields}\r\n");
    let taken = bytes(
        &rig,
        "tasks.test",
        ask("TE: trailers\r\nConnection: close, TE\r\n"),
    )
    .await;
    let (head, body) = taken.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("trailer: x-sum"), "{taken}");
    assert_eq!(body, "D\r\nwith trailers\r\n0\r\nx-sum: 42\r\n\r\n");
    // One that does not say so gets the body alone.
    let alone = bytes(&rig, "tasks.test", ask("Connection: close\r\n")).await;
    assert!(
        alone.ends_with("D\r\nwith trailers\r\n0\r\n\r\n"),
        "{alone}"
    );
    // And back: those of a request reach the app.
    let request = "POST /count HTTP/1.1\r\nHost: tasks.test\r\nConnection: close\r\nTransfer-Encoding: chunked\r\nTrailer: x-check\r\n\r\n5\r\nhello\r\n0\r\nX-Check: 7\r\nContent-Length: 3\r\n\r\n";
    let counted = bytes(&rig, "tasks.test", request).await;
    assert!(counted.ends_with("5 {\"x-check\": \"7\"}"), "{counted}");
}

/// Over HTTP/2 no interim answer is passed on: a client that waits for one sends when its patience is over.
#[tokio::test]
async fn e2_a_body_that_waits_to_be_asked_for_over_http2_comes_when_it_comes() {
    let app = app("one").await;
    let target = target(app.address);
    let rig = Rig::start(World::of([route("tasks.test", &[&target])]));
    let mut http2 = Http2::tls(&rig, "tasks.test").await;
    let late = |path: &str, patience: Duration| {
        let piece = futures_util::stream::once(async move {
            tokio::time::sleep(patience).await;
            Ok(Frame::data(Bytes::from_static(b"hello")))
        });
        Request::post(format!("https://tasks.test{path}"))
            .header("expect", "100-continue")
            .header("content-length", 5)
            .body(BodyExt::boxed(StreamBody::new(piece)))
            .unwrap()
    };
    let answer = http2
        .ask(late("/count", Duration::from_millis(300)))
        .await
        .unwrap();
    assert_eq!(answer.text(), "5 {}");
    // An app that decides without the body answers, and the connection serves on.
    let answer = http2.ask(late("/early", Duration::from_secs(60)));
    let answer = within(PATIENCE, "an answer without the body", answer)
        .await
        .unwrap();
    assert_eq!(answer.status, 409);
    until("its claim is released", || target.in_flight() == 0).await;
    let answer = http2.ask(get("https://tasks.test/")).await.unwrap();
    assert_eq!(answer.text(), "hello from one\n");
}
