//! Server-sent events at once: also of apps that speak HTTP/2, and where their route compresses what else it has.
use std::time::{Duration, Instant};

use bytes::Bytes;
use freehold::proxy::Target;
use http::Response;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::app::{App, raw, read_head};
use crate::client::{Http1, Http2, Whole, get};
use crate::compress::compressing;
use crate::h2c::frames;
use crate::rig::{Rig, World, h2c_target, route, target, within};
use crate::streams::took;

const PATIENCE: Duration = Duration::from_secs(20);
/// The promise: so long after the app wrote it, an event's first byte is at the client.
const SOON: Duration = Duration::from_millis(50);
/// Streams of each kind, and events of each stream, so long apart.
const STREAMS: usize = 5;
const EVENTS: usize = 20;
const PAUSE: Duration = Duration::from_millis(10);
/// How late an app writes that says it has written.
const LATE: Duration = Duration::from_millis(60);

const PAGE: &str = "An ordinary page, which is long enough to be compressed. ";

fn page() -> String {
    PAGE.repeat(40)
}

fn event(number: usize) -> String {
    format!("data: {number:03}\n\n")
}

/// Tells when it writes each event, and writes it then, or so much later. `/page` is a page.
async fn http1_app(late: Duration, writing: UnboundedSender<Instant>) -> App {
    raw(move |mut stream, _| {
        let writing = writing.clone();
        async move {
            while let Some(head) = read_head(&mut stream).await {
                if head.starts_with("GET /page ") {
                    let (page, kind) = (page(), "Content-Type: text/html");
                    let length = page.len();
                    let answer = format!(
                        "HTTP/1.1 200 OK\r\n{kind}\r\nContent-Length: {length}\r\n\r\n{page}"
                    );
                    stream.write_all(answer.as_bytes()).await.unwrap();
                    continue;
                }
                let head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
                stream.write_all(head).await.unwrap();
                for number in 0..EVENTS {
                    tokio::time::sleep(PAUSE).await;
                    let event = event(number);
                    let chunk = format!("{:x}\r\n{event}\r\n", event.len());
                    writing.send(Instant::now()).unwrap();
                    tokio::time::sleep(late).await;
                    stream.write_all(chunk.as_bytes()).await.unwrap();
                }
                stream.write_all(b"0\r\n\r\n").await.unwrap();
            }
        }
    })
    .await
}

/// The same over HTTP/2.
async fn http2_app(late: Duration, writing: UnboundedSender<Instant>) -> App {
    frames(move |mut connection, _| {
        let writing = writing.clone();
        async move {
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                let writing = writing.clone();
                tokio::spawn(async move {
                    let answer = Response::builder();
                    if request.uri().path() == "/page" {
                        let page = Bytes::from(page());
                        let answer = answer
                            .header("content-type", "text/html")
                            .header("content-length", page.len());
                        let answer = answer.body(()).unwrap();
                        let mut stream = respond.send_response(answer, false).unwrap();
                        stream.send_data(page, true).unwrap();
                        return;
                    }
                    let answer = answer.header("content-type", "text/event-stream");
                    let answer = answer.body(()).unwrap();
                    let mut stream = respond.send_response(answer, false).unwrap();
                    for number in 0..EVENTS {
                        tokio::time::sleep(PAUSE).await;
                        writing.send(Instant::now()).unwrap();
                        tokio::time::sleep(late).await;
                        stream.send_data(event(number).into(), false).unwrap();
                    }
                    stream.send_data(Bytes::new(), true).unwrap();
                });
            }
        }
    })
    .await
}

/// What stands between the app and its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kind {
    app_speaks_http2: bool,
    compresses: bool,
    client_speaks_http2: bool,
}

/// All but the plainest, which `streams` looks at for longer.
fn kinds() -> impl Iterator<Item = Kind> {
    let both = [false, true];
    both.into_iter()
        .flat_map(move |app_speaks_http2| {
            both.into_iter().flat_map(move |compresses| {
                both.into_iter().map(move |client_speaks_http2| Kind {
                    app_speaks_http2,
                    compresses,
                    client_speaks_http2,
                })
            })
        })
        .filter(|kind| kind.app_speaks_http2 || kind.compresses)
}

/// Medians of how long the first event of a stream took, and of how long any did.
async fn medians(kind: Kind, late: Duration, streams: usize) -> [Duration; 2] {
    let (writing, mut written) = unbounded_channel();
    let (app, target): (App, fn(_) -> std::sync::Arc<Target>) = match kind.app_speaks_http2 {
        true => (http2_app(late, writing).await, h2c_target),
        false => (http1_app(late, writing).await, target),
    };
    let spec = route("tasks.test", &[&target(app.address)]);
    let spec = match kind.compresses {
        true => compressing(spec, "compress = true"),
        false => spec,
    };
    let rig = Rig::start(World::of([spec]));
    let (mut firsts, mut all) = (Vec::new(), Vec::new());
    for _ in 0..streams {
        let times = stream_of(&rig, kind, &mut written).await;
        firsts.push(times[0]);
        all.extend(times);
    }
    if kind.compresses {
        is_compressed(&rig, kind).await;
    }
    [firsts, all].map(|mut times| {
        times.sort();
        times[times.len() / 2]
    })
}

fn request(path: &str) -> http::Request<crate::client::Body> {
    let mut request = get(&format!("https://tasks.test{path}"));
    let taken = "gzip, br, zstd".parse().unwrap();
    request.headers_mut().insert("accept-encoding", taken);
    request
}

async fn stream_of(
    rig: &Rig,
    kind: Kind,
    written: &mut UnboundedReceiver<Instant>,
) -> Vec<Duration> {
    let response = match kind.client_speaks_http2 {
        true => Http2::tls(rig, "tasks.test").await.send(request("/")).await,
        false => Http1::tls(rig, "tasks.test").await.send(request("/")).await,
    };
    let response = response.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert!(!response.headers().contains_key("content-encoding"));
    took(response, EVENTS, written).await
}

/// The route does compress what may be. (On a busy machine some of it goes as it is.)
async fn is_compressed(rig: &Rig, kind: Kind) {
    for _ in 0..200 {
        let request = request("/page");
        let answer: Whole = match kind.client_speaks_http2 {
            true => Http2::tls(rig, "tasks.test").await.ask(request).await,
            false => Http1::tls(rig, "tasks.test").await.ask(request).await,
        }
        .unwrap();
        if answer.header("content-encoding") == "zstd" {
            return;
        }
    }
    panic!("{kind:?}: nothing is compressed");
}

/// Medians, and the whole measure again where they miss it: the machine of a test has other work, which makes some late.
/// What holds events back until a buffer is full or a while is over makes all of them late, each time.
async fn all_are_soon() -> Result<(), String> {
    let mut said = String::new();
    for _ in 0..8 {
        let measures =
            kinds().map(|kind| async move { (kind, medians(kind, Duration::ZERO, STREAMS).await) });
        let measured = futures_util::future::join_all(measures);
        let measured = within(6 * PATIENCE, "the measure", measured).await;
        said = format!("{measured:#?}");
        if measured
            .iter()
            .all(|(_, [first, any])| *first < SOON && *any < SOON)
        {
            println!("{said}");
            return Ok(());
        }
    }
    Err(said)
}

#[tokio::test]
async fn e2_events_are_soon_at_the_client_from_h2c_apps_and_where_a_route_compresses() {
    all_are_soon().await.unwrap();
}

/// The saboteur: where they come late, as from anybody who keeps them a while, each of the measures finds it.
#[tokio::test]
async fn e2_events_that_come_late_are_found_by_the_same_measure() {
    let measures = kinds().map(|kind| medians(kind, LATE, 1));
    for [first, any] in futures_util::future::join_all(measures).await {
        assert!(first >= SOON && any >= SOON, "{first:?}, {any:?}");
    }
}
