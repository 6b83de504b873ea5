//! Floods over HTTP/2, frame by frame: each is ended with the code it deserves while a bystander is served, and whoever
//! only does much is not taken for one.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use freehold::proxy::{Limits, Refusal};
use http::Request;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::client::TlsStream;

use crate::app::{App, app, raw, read_head};
use crate::client::{Body, Http1, Http2, empty, get, tls, whole};
use crate::frames::{
    CONTINUATION, DATA, HEADERS, Heard, PING, PRIORITY, RESET, SETTINGS, WINDOW_UPDATE, frame,
    preface, request,
};
use crate::rig::{Rig, World, route, target, within};

const PATIENCE: Duration = Duration::from_secs(30);

async fn rig() -> (App, Rig) {
    let app = app("one").await;
    let limits = Limits {
        workers: Some(1),
        ..Limits::default()
    };
    let world = World::of([route("tasks.test", &[&target(app.address)])]);
    (app, Rig::with_limits(world, limits))
}

/// Somebody who asks in both protocols all the time, on the same worker, and minds every answer.
struct Bystander {
    over: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
    asking: JoinHandle<()>,
}

impl Bystander {
    async fn of(rig: &Rig) -> Bystander {
        let (over, served) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let mut http1 = Http1::tls(rig, "tasks.test").await;
        let mut http2 = Http2::tls(rig, "tasks.test").await;
        let asking = tokio::spawn({
            let (over, served) = (over.clone(), served.clone());
            async move {
                while !over.load(Ordering::SeqCst) {
                    let ask = || get("https://tasks.test/");
                    let (one, other) = tokio::join!(http1.ask(ask()), http2.ask(ask()));
                    assert_eq!(one.unwrap().status, 200);
                    assert_eq!(other.unwrap().status, 200);
                    served.fetch_add(2, Ordering::SeqCst);
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
        });
        Bystander {
            over,
            served,
            asking,
        }
    }

    fn served(&self) -> usize {
        self.served.load(Ordering::SeqCst)
    }

    async fn ends_well(self) {
        self.over.store(true, Ordering::SeqCst);
        self.asking.await.unwrap();
    }
}

/// A connection of frames by hand.
struct ByHand {
    from: ReadHalf<TlsStream<TcpStream>>,
    to: WriteHalf<TlsStream<TcpStream>>,
    heard: Heard,
}

impl ByHand {
    async fn of(rig: &Rig) -> ByHand {
        let stream = tls(rig, "tasks.test", "h2").await.unwrap();
        let (from, to) = tokio::io::split(stream);
        let mut by_hand = ByHand {
            from,
            to,
            heard: Heard::default(),
        };
        by_hand.send(&preface()).await;
        by_hand
    }

    /// What ends the connection may not be taken to its end.
    async fn send(&mut self, bytes: &[u8]) -> bool {
        self.to.write_all(bytes).await.is_ok() && self.to.flush().await.is_ok()
    }

    /// Sends `one` again and again, up to `most` times, and says how the connection ended.
    async fn flood(mut self, one: &[u8], most: usize) -> Option<String> {
        let (to, heard) = (&mut self.to, &mut self.heard);
        let sending = async {
            for _ in 0..most {
                if to.write_all(one).await.is_err() || to.flush().await.is_err() {
                    return;
                }
            }
            std::future::pending::<()>().await;
        };
        let hearing = async {
            while !heard.closed && heard.goaway.is_none() {
                heard.read(&mut self.from).await;
            }
        };
        within(PATIENCE, "the end of a flood", async {
            tokio::select! {
                () = hearing => {}
                // What was said before the end may still have to be read.
                () = sending => {}
            }
        })
        .await;
        let last_words = async {
            while !self.heard.closed && self.heard.goaway.is_none() {
                self.heard.read(&mut self.from).await;
            }
        };
        within(PATIENCE, "the last words", last_words).await;
        self.heard.goaway
    }

    /// Waits until all that was sent has been understood.
    async fn settle(&mut self) {
        self.send(&frame(PING, 0, 0, &[7; 8])).await;
        let pongs = self.heard.pongs;
        let ponged = async {
            while self.heard.pongs == pongs && !self.heard.closed && self.heard.goaway.is_none() {
                self.heard.read(&mut self.from).await;
            }
        };
        within(PATIENCE, "an answer to a PING", ponged).await;
    }
}

#[tokio::test]
async fn e4_floods_of_frames_are_ended_and_a_bystander_is_served() {
    let (_app, rig) = rig().await;
    let window = 1_u32.to_be_bytes();
    let floods = [
        ("PING", vec![], frame(PING, 0, 0, &[0; 8])),
        ("answers to no PING", vec![], frame(PING, 1, 0, &[0; 8])),
        ("SETTINGS", vec![], frame(SETTINGS, 0, 0, &[])),
        ("WINDOW_UPDATE", vec![], frame(WINDOW_UPDATE, 0, 0, &window)),
        ("PRIORITY", vec![], frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 1])),
        ("unknown", vec![], frame(0xfa, 0, 0, &[0; 64])),
        (
            "RST_STREAM",
            request(1, "GET", "/", true),
            frame(RESET, 0, 1, &8_u32.to_be_bytes()),
        ),
        (
            "empty DATA",
            request(1, "POST", "/slow?ms=60000", false),
            frame(DATA, 0, 1, &[]),
        ),
        (
            "padding",
            request(1, "POST", "/slow?ms=60000", false),
            frame(DATA, 8, 1, &[1, 0]),
        ),
        (
            "empty CONTINUATION",
            frame(HEADERS, 0, 1, &[]),
            frame(CONTINUATION, 0, 1, &[]),
        ),
    ];
    let count = floods.len() as u64;
    let bystander = Bystander::of(&rig).await;
    for (what, before, one) in floods {
        let served = bystander.served();
        let mut flooding = ByHand::of(&rig).await;
        flooding.send(&before).await;
        let end = flooding.flood(&one.repeat(10), 1_000).await;
        assert_eq!(end.as_deref(), Some("ENHANCE_YOUR_CALM"), "{what}");
        crate::rig::until("the bystander is served", || bystander.served() > served).await;
    }
    bystander.ends_well().await;
    assert_eq!(rig.edge.stats().refusals.of(Refusal::Flood), count);
}

#[tokio::test]
async fn e4_paced_rapid_resets_are_cut_and_cost_an_app_next_to_nothing() {
    let (app, rig) = rig().await;
    let bystander = Bystander::of(&rig).await;
    let before = app.requests();
    let mut attacker = ByHand::of(&rig).await;
    let mut sent = 0_u32;
    while attacker.heard.goaway.is_none() && !attacker.heard.closed && sent < 400 {
        let stream = sent * 2 + 1;
        let head = request(stream, "GET", "/slow?ms=60000", true);
        attacker.send(&head).await;
        // hyper has taken it by then, so that h2 does not count its reset.
        attacker.settle().await;
        attacker
            .send(&frame(RESET, 0, stream, &8_u32.to_be_bytes()))
            .await;
        attacker.settle().await;
        sent += 1;
    }
    assert_eq!(attacker.heard.goaway.as_deref(), Some("ENHANCE_YOUR_CALM"));
    assert!((101..=103).contains(&sent), "cut after {sent}");
    let served = bystander.served();
    bystander.ends_well().await;
    let cost = app.requests() - before - served;
    assert!(cost < 40, "{cost} requests of {sent} reached the app");
    let refusals = rig.edge.stats().refusals;
    assert_eq!(
        (refusals.of(Refusal::Abandoned), refusals.of(Refusal::Flood)),
        (1, 0)
    );
}

/// What the edge answers by itself costs it nothing, and excuses no reset.
#[tokio::test]
async fn e4_rapid_resets_between_cheap_requests_are_cut_as_well() {
    let app = app("one").await;
    let route = route("tasks.test/slow", &[&target(app.address)]);
    let rig = Rig::start(World::of([route]));
    let mut attacker = ByHand::of(&rig).await;
    let mut sent = 0_u32;
    while attacker.heard.goaway.is_none() && !attacker.heard.closed && sent < 200 {
        let (cheap, stream) = (sent * 4 + 1, sent * 4 + 3);
        let mut bytes = request(cheap, "GET", "/nothing", true);
        bytes.extend(request(stream, "GET", "/slow?ms=60000", true));
        attacker.send(&bytes).await;
        attacker.settle().await;
        attacker
            .send(&frame(RESET, 0, stream, &8_u32.to_be_bytes()))
            .await;
        attacker.settle().await;
        sent += 1;
    }
    assert_eq!(attacker.heard.goaway.as_deref(), Some("ENHANCE_YOUR_CALM"));
    assert!((101..=103).contains(&sent), "cut after {sent}");
    assert_eq!(attacker.heard.streams[&1].answer, "404");
    assert_eq!(rig.edge.stats().refusals.of(Refusal::Abandoned), 1);
}

#[tokio::test]
async fn e4_rapid_resets_all_at_once_are_cut_before_an_app_sees_one() {
    let (app, rig) = rig().await;
    let bystander = Bystander::of(&rig).await;
    let before = app.requests();
    let attacker = ByHand::of(&rig).await;
    let mut all = Vec::new();
    for stream in (1..400).step_by(2) {
        all.extend(request(stream, "GET", "/slow?ms=60000", true));
        all.extend(frame(RESET, 0, stream, &8_u32.to_be_bytes()));
    }
    let end = attacker.flood(&all, 1).await;
    assert_eq!(end.as_deref(), Some("ENHANCE_YOUR_CALM"));
    let served = bystander.served();
    bystander.ends_well().await;
    let cost = app.requests() - before - served;
    assert!(cost < 30, "{cost} requests reached the app");
}

#[tokio::test]
async fn e4_whoever_resets_no_more_than_it_takes_is_not_cut() {
    let (_app, rig) = rig().await;
    let mut client = ByHand::of(&rig).await;
    for turn in 0..150 {
        let (taken, reset) = (turn * 4 + 1, turn * 4 + 3);
        client.send(&request(taken, "GET", "/", true)).await;
        while !client
            .heard
            .streams
            .get(&taken)
            .is_some_and(|told| told.ended)
        {
            client.heard.read(&mut client.from).await;
            assert!(!client.heard.closed, "cut in turn {turn}");
        }
        client
            .send(&request(reset, "GET", "/slow?ms=60000", true))
            .await;
        client.settle().await;
        client
            .send(&frame(RESET, 0, reset, &8_u32.to_be_bytes()))
            .await;
    }
    client.settle().await;
    assert_eq!((client.heard.goaway, client.heard.closed), (None, false));
    assert_eq!(rig.edge.stats().refusals.sum(), 0);
}

#[tokio::test]
async fn e4_a_client_that_leaves_with_much_unanswered_is_no_attacker() {
    let (app, rig) = rig().await;
    let mut client = ByHand::of(&rig).await;
    for number in 0..120 {
        let head = request(number * 2 + 1, "GET", "/slow?ms=60000", true);
        client.send(&head).await;
    }
    crate::rig::until("all are asked", || app.requests() == 120).await;
    drop(client);
    crate::rig::until("all are over", || {
        let route = rig.route_reading("tasks.test");
        route.in_flight == 0 && rig.edge.stats().connections == 0
    })
    .await;
    assert_eq!(rig.edge.stats().refusals.sum(), 0);
}

/// A connection of a client with windows as small as the standard's, that also asks all the time whether we are there.
async fn eager(rig: &Rig, adaptive: bool) -> http2::SendRequest<Body> {
    let stream = tls(rig, "tasks.test", "h2").await.unwrap();
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_millis(50))
        .keep_alive_while_idle(true);
    if adaptive {
        builder.adaptive_window(true);
    } else {
        builder
            .initial_stream_window_size(65_535)
            .initial_connection_window_size(65_535);
    }
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn asking(path: &str) -> Request<Body> {
    let uri = format!("https://tasks.test{path}");
    Request::get(uri).body(empty()).unwrap()
}

#[tokio::test]
async fn e4_a_large_download_through_small_windows_is_no_flood() {
    // Some 12,000 window updates; a gigabyte takes minutes without optimization.
    const SIZE: usize = 200_000_000;
    let large = raw(|mut stream, _| async move {
        while read_head(&mut stream).await.is_some() {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            let piece = vec![b'x'; 1_000_000];
            for _ in 0..SIZE / piece.len() {
                stream.write_all(&piece).await.unwrap();
            }
        }
    })
    .await;
    let rig = Rig::start(World::of([route("tasks.test", &[&target(large.address)])]));
    let mut sender = eager(&rig, false).await;
    let mut body = sender.send_request(asking("/")).await.unwrap().into_body();
    let mut got = 0;
    while let Some(frame) = body.frame().await {
        got += frame.unwrap().data_ref().map_or(0, Bytes::len);
    }
    assert_eq!(got, SIZE);
    assert_eq!(rig.edge.stats().refusals.sum(), 0);
}

#[tokio::test]
async fn e4_many_requests_many_streams_and_small_messages_are_no_flood() {
    let (_app, rig) = rig().await;
    let sender = eager(&rig, false).await;
    // A hundred at a time, fifty times.
    let mut asked = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let mut sender = sender.clone();
        asked.spawn(async move {
            for _ in 0..50 {
                sender.ready().await.unwrap();
                let answer = sender.send_request(asking("/")).await.unwrap();
                assert_eq!(whole(answer).await.unwrap().status, 200);
            }
        });
    }
    asked.join_all().await;
    // A conversation, a few bytes at a time, by a client that measures the line as gRPC's do.
    let mut sender = eager(&rig, true).await;
    let (say, said) = tokio::sync::mpsc::channel::<Bytes>(1);
    let said = futures_util::stream::unfold(said, |mut said| async move {
        let word = said.recv().await?;
        Some((Ok(Frame::data(word)), said))
    });
    let body = BodyExt::boxed(StreamBody::new(Box::pin(said)));
    let talking = Request::post("https://tasks.test/echo")
        .header("content-type", "application/grpc")
        .body(body)
        .unwrap();
    say.send(Bytes::from_static(b"hello")).await.unwrap();
    let mut answers = sender.send_request(talking).await.unwrap().into_body();
    for _ in 0..3_000 {
        let answer = answers.frame().await.unwrap().unwrap();
        assert_eq!(answer.into_data().unwrap(), "hello");
        say.send(Bytes::from_static(b"hello")).await.unwrap();
    }
    drop(say);
    assert_eq!(rig.edge.stats().refusals.sum(), 0);
}
