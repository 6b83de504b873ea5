//! Streams at the limit of a drain: each ends in its own way, between two of its parts, and what is no stream is broken off.
//! Both are counted apart.
use std::sync::Arc;
use std::time::{Duration, Instant};

use freehold::proxy::{Reading, Target};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, mpsc};

use crate::app::{App, raw, read_head};
use crate::client::{Http1, Http2, get, tls};
use crate::rig::{Rig, World, route, target, until, within};

const PATIENCE: Duration = Duration::from_secs(20);

/// An app that answers with this type and no length, then writes what it is told to.
struct Teller {
    app: App,
    tell: mpsc::UnboundedSender<&'static str>,
}

async fn teller(content_type: &'static str) -> Teller {
    let (tell, told) = mpsc::unbounded_channel::<&'static str>();
    let told = Arc::new(Mutex::new(told));
    let app = raw(move |mut stream: TcpStream, _| {
        let told = told.clone();
        async move {
            while let Some(head) = read_head(&mut stream).await {
                if head.starts_with("GET /plain ") {
                    let plain = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nplain";
                    stream.write_all(plain).await.unwrap();
                    continue;
                }
                let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nTransfer-Encoding: chunked\r\n\r\n");
                stream.write_all(head.as_bytes()).await.unwrap();
                let mut told = told.lock().await;
                while let Some(piece) = told.recv().await {
                    let chunk = format!("{:x}\r\n{piece}\r\n", piece.len());
                    if stream.write_all(chunk.as_bytes()).await.is_err() {
                        return;
                    }
                }
            }
        }
    })
    .await;
    Teller { app, tell }
}

impl Teller {
    fn world(&self) -> (World, Arc<Target>) {
        let target = target(self.app.address);
        (World::of([route("tasks.test", &[&target])]), target)
    }
}

/// A client that asked over one protocol or the other; what came of the answer, and how it ended.
struct Reader {
    body: Incoming,
    /// Asks again, on the same connection.
    client: Client,
}

enum Client {
    Http1(Http1),
    Http2(Http2),
}

impl Reader {
    async fn ask(rig: &Rig, http2: bool) -> Reader {
        let request = get("https://tasks.test/events");
        if http2 {
            let mut client = Http2::tls(rig, "tasks.test").await;
            let body = client.send(request).await.unwrap().into_body();
            let client = Client::Http2(client);
            return Reader { body, client };
        }
        let mut client = Http1::tls(rig, "tasks.test").await;
        let body = client.send(request).await.unwrap().into_body();
        let client = Client::Http1(client);
        Reader { body, client }
    }

    /// What has come once it is this long.
    async fn read(&mut self, length: usize) -> String {
        let mut text = Vec::new();
        while text.len() < length {
            let frame = within(PATIENCE, "a piece", self.body.frame()).await;
            text.extend(frame.unwrap().unwrap().into_data().unwrap());
        }
        String::from_utf8(text).unwrap()
    }

    /// All the rest, and whether its end was a good one.
    async fn rest(&mut self) -> (String, bool) {
        let mut text = Vec::new();
        let good = loop {
            match within(PATIENCE, "the end", self.body.frame()).await {
                None => break true,
                Some(Err(_)) => break false,
                Some(Ok(frame)) => text.extend(frame.into_data().unwrap()),
            }
        };
        (String::from_utf8(text).unwrap(), good)
    }

    async fn asks_again(&mut self) -> String {
        let request = get("https://tasks.test/plain");
        let answer = match &mut self.client {
            Client::Http1(client) => client.ask(request).await,
            Client::Http2(client) => client.ask(request).await,
        };
        answer.unwrap().text().to_owned()
    }
}

/// Streams that ended in their own way, and answers that were broken off, of a route where all is over.
async fn at_limit(rig: &Rig, requests: u64) -> (u64, u64) {
    let read = || rig.route_reading("tasks.test");
    until("all is over", || read().requests == requests).await;
    let reading: Reading = read();
    assert_eq!(reading.failures, 0, "{reading:?}");
    (reading.ended_at_limit, reading.cut_at_limit)
}

/// What still comes of a stream of which half an event has come by the limit, and what the connection says next.
async fn half_an_event(http2: bool) -> (String, bool) {
    let teller = teller("text/event-stream").await;
    let (world, target) = teller.world();
    let rig = Rig::start(world);
    let mut reader = Reader::ask(&rig, http2).await;
    teller.tell.send("data: 1\n\ndata: ").unwrap();
    assert_eq!(reader.read(15).await, "data: 1\n\ndata: ");
    // Another replica is there, as in every deploy.
    let next = crate::app::always("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext").await;
    let world = World::of([route("tasks.test", &[&crate::rig::target(next.address)])]);
    rig.publish(world);
    target.retire();
    target.cut();
    teller.tell.send("2\n").unwrap();
    teller.tell.send("\ndata: 3\n\n").unwrap();
    let rest = reader.rest().await;
    within(PATIENCE, "drained", target.drained()).await;
    assert_eq!(reader.asks_again().await, "next");
    assert_eq!(at_limit(&rig, 2).await, (1, 0), "{http2}");
    rest
}

#[tokio::test]
async fn n2_e2_events_end_between_two_of_them_at_the_drains_limit_and_the_connection_serves_on() {
    for http2 in [false, true] {
        // The rest of the event that has begun, and nothing of the next; less only where the machine is so slow that it
        // did not come in half a second.
        let mut whole = false;
        for _ in 0..5 {
            let (rest, good) = half_an_event(http2).await;
            assert!("2\n\n".starts_with(&rest) && good, "{rest:?} {http2}");
            whole |= rest == "2\n\n";
            if whole {
                break;
            }
        }
        assert!(whole, "{http2}");
    }
}

#[tokio::test]
async fn n2_e2_quiet_events_and_one_that_never_ends_end_at_the_drains_limit() {
    for (begun, http2) in [
        ("data: 1\n\n", false),
        ("data: 1\n\n", true),
        ("data: 1", false),
    ] {
        let teller = teller("text/event-stream; charset=utf-8").await;
        let (world, target) = teller.world();
        let rig = Rig::start(world);
        let mut reader = Reader::ask(&rig, http2).await;
        teller.tell.send(begun).unwrap();
        reader.read(begun.len()).await;
        target.retire();
        target.cut();
        assert_eq!(reader.rest().await, (String::new(), true), "{begun}");
        assert_eq!(at_limit(&rig, 1).await, (1, 0));
    }
}

/// Reads until this has come, and what came before it.
async fn read_to(stream: &mut (impl AsyncRead + Unpin), end: &str) -> String {
    let mut text = Vec::new();
    while !text.ends_with(end.as_bytes()) {
        let byte = within(PATIENCE, "a byte", stream.read_u8()).await;
        text.push(byte.unwrap());
    }
    String::from_utf8(text).unwrap()
}

/// The last chunk as a client of HTTP/1.1 reads it, byte by byte.
#[tokio::test]
async fn n2_e2_events_end_with_the_last_chunk_of_http1() {
    let teller = teller("text/event-stream").await;
    let (world, target) = teller.world();
    let rig = Rig::start(world);
    teller.tell.send("data: 1\n\n").unwrap();
    let mut stream = tls(&rig, "tasks.test", "http/1.1").await.unwrap();
    let ask = b"GET /events HTTP/1.1\r\nHost: tasks.test\r\nConnection: close\r\n\r\n";
    stream.write_all(ask).await.unwrap();
    read_to(&mut stream, "\r\n\r\n9\r\ndata: 1\n\n\r\n").await;
    target.retire();
    target.cut();
    let mut rest = Vec::new();
    let end = within(PATIENCE, "the end", stream.read_to_end(&mut rest)).await;
    end.unwrap();
    assert_eq!(rest, b"0\r\n\r\n");
}

/// Without the limit's word to its body, the app's own end breaks a stream in the middle of its framing.
#[tokio::test]
async fn n2_e2_saboteur_events_that_are_not_told_of_the_limit_end_broken() {
    for http2 in [false, true] {
        let teller = teller("text/event-stream").await;
        let (world, target) = teller.world();
        let rig = Rig::start(world);
        let mut reader = Reader::ask(&rig, http2).await;
        teller.tell.send("data: 1\n\n").unwrap();
        reader.read(9).await;
        target.retire();
        teller.app.stop();
        assert_eq!(reader.rest().await, (String::new(), false), "{http2}");
    }
}

/// Half a file must not pass for a whole one, whoever asks for it and however fast it comes.
#[tokio::test]
async fn n2_e2_a_download_without_a_length_is_broken_off_at_the_drains_limit_never_ended() {
    for http2 in [false, true] {
        let teller = teller("text/csv").await;
        let (world, target) = teller.world();
        let rig = Rig::start(world);
        let mut reader = Reader::ask(&rig, http2).await;
        teller.tell.send("one,1\n").unwrap();
        reader.read(6).await;
        target.retire();
        target.cut();
        assert_eq!(reader.rest().await, (String::new(), false), "{http2}");
        assert_eq!(at_limit(&rig, 1).await, (0, 1), "{http2}");
    }
    // One that never waits for its app.
    let app = raw(|mut stream: TcpStream, _| async move {
        read_head(&mut stream).await.unwrap();
        let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        stream.write_all(head).await.unwrap();
        let chunk = [&b"8000\r\n"[..], &[b'x'; 0x8000], b"\r\n"].concat();
        while stream.write_all(&chunk).await.is_ok() {}
    })
    .await;
    let target = target(app.address);
    let rig = Rig::start(World::of([route("tasks.test", &[&target])]));
    let mut reader = Reader::ask(&rig, true).await;
    reader.read(1 << 20).await;
    target.retire();
    target.cut();
    assert!(!reader.rest().await.1);
    assert_eq!(at_limit(&rig, 1).await, (0, 1));
}

/// To HTTP/1.0 the end of such an answer is that of the connection, so that one must not look like an end.
#[tokio::test]
async fn n2_e2_a_download_to_http10_that_breaks_off_ends_in_a_reset() {
    const ASK: &[u8] = b"GET /file HTTP/1.0\r\nHost: tasks.test\r\n\r\n";
    for (content_type, by_the_app, good) in [
        ("text/csv", false, false),
        // As when its app dies.
        ("text/csv", true, false),
        ("text/event-stream", false, true),
    ] {
        for with_tls in [false, true] {
            let teller = teller(content_type).await;
            let target = target(teller.app.address);
            let mut spec = route("tasks.test", &[&target]);
            spec.redirect_http = false;
            let rig = Rig::start(World::of([spec]));
            teller.tell.send("data: 1\n\n").unwrap();
            let mut stream: Box<dyn Stream> = match with_tls {
                true => Box::new(tls(&rig, "tasks.test", "http/1.1").await.unwrap()),
                false => Box::new(TcpStream::connect(rig.http).await.unwrap()),
            };
            stream.write_all(ASK).await.unwrap();
            read_to(&mut stream, "\r\n\r\ndata: 1\n\n").await;
            target.retire();
            match by_the_app {
                true => teller.app.stop(),
                false => target.cut(),
            }
            let mut rest = Vec::new();
            let ended = within(PATIENCE, "the end", stream.read_to_end(&mut rest)).await;
            assert!(rest.is_empty(), "{rest:?}");
            assert_eq!(
                ended.is_ok(),
                good,
                "{content_type} {by_the_app} {with_tls}"
            );
        }
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

/// What has a length goes on until its app is stopped; then it is counted with what the limit broke off.
#[tokio::test]
async fn n2_e2_a_download_with_a_length_may_still_end_after_the_limit() {
    for whole in [true, false] {
        let go_on = Arc::new(tokio::sync::Notify::new());
        let goes_on = go_on.clone();
        let app = raw(move |mut stream: TcpStream, _| {
            let goes_on = goes_on.clone();
            async move {
                read_head(&mut stream).await.unwrap();
                let head = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf";
                stream.write_all(head).await.unwrap();
                goes_on.notified().await;
                stream.write_all(b"rest").await.unwrap();
            }
        })
        .await;
        let target = target(app.address);
        let rig = Rig::start(World::of([route("tasks.test", &[&target])]));
        let mut reader = Reader::ask(&rig, true).await;
        reader.read(4).await;
        target.retire();
        target.cut();
        match whole {
            true => go_on.notify_one(),
            false => app.stop(),
        }
        let (rest, good) = reader.rest().await;
        assert_eq!(
            (rest.as_str(), good),
            (if whole { "rest" } else { "" }, whole)
        );
        assert_eq!(at_limit(&rig, 1).await, (0, u64::from(!whole)));
    }
}

#[tokio::test]
async fn n2_e2_streams_end_well_with_the_edges_own_drain_and_downloads_broken() {
    for (content_type, http2, good) in [
        ("text/event-stream", false, true),
        ("text/event-stream", true, true),
        ("text/csv", false, false),
        ("text/csv", true, false),
    ] {
        let teller = teller(content_type).await;
        let (world, _target) = teller.world();
        let rig = Rig::start(world);
        let mut reader = Reader::ask(&rig, http2).await;
        teller.tell.send("data: 1\n\n").unwrap();
        reader.read(9).await;
        let handle = rig.edge.handle();
        let began = Instant::now();
        let (rest, ()) = tokio::join!(reader.rest(), rig.edge.drain(Duration::from_secs(2)));
        assert_eq!(rest, (String::new(), good), "{content_type} {http2}");
        assert!(began.elapsed() < PATIENCE);
        let (_, reading) = handle.stats().routes.remove(0);
        let counted = (reading.ended_at_limit, reading.cut_at_limit);
        assert_eq!(counted, (u64::from(good), u64::from(!good)));
    }
}
