//! Clients that take or bring next to nothing: each is given up, and those that are merely slow are not.
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use bytes::Bytes;
use freehold::proxy::{Limits, Protocol, Refusal, RouteSpec, Target};
use http::Request;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Notify;

use crate::app::{app, h2c_app, raw, read_head};
use crate::client::{Body, Http1, Http2, get, tls};
use crate::frames::{Heard, RESET, WINDOW_UPDATE, frame, preface, request};
use crate::rig::{Rig, World, h2c_target, route, target, until, within};

const PATIENCE: Duration = Duration::from_secs(30);

fn limits(client_idle: Duration) -> Limits {
    Limits {
        client_idle,
        workers: Some(1),
        ..Limits::default()
    }
}

async fn next(body: &mut Incoming) -> Option<usize> {
    let frame = within(PATIENCE, "a piece", body.frame()).await?;
    frame
        .ok()
        .map(|frame| frame.data_ref().map_or(0, Bytes::len))
}

#[tokio::test]
async fn e4_a_stalled_stream_is_reset_while_others_go_on() {
    let app = app("one").await;
    let stalled = target(app.address);
    let rig = Rig::with_limits(
        World::of([
            route("tasks.test", &[&target(app.address)]),
            route("tasks.test/bytes", &[&stalled]),
        ]),
        limits(Duration::from_secs(2)),
    );
    let mut http2 = Http2::tls(&rig, "tasks.test").await;
    let large = || get("https://tasks.test/bytes?n=50000000");
    let began = Instant::now();
    let mut unread = http2.send(large()).await.unwrap().into_body();
    let mut slowly = http2.send(large()).await.unwrap().into_body();
    assert_eq!(stalled.in_flight(), 2);
    while rig.edge.stats().refusals.of(Refusal::SlowReader) == 0 {
        assert!(began.elapsed() < PATIENCE);
        // Some of it now and then is enough.
        assert!(next(&mut slowly).await.is_some());
        let asked = http2.ask(get("https://tasks.test/")).await.unwrap();
        assert_eq!(asked.status, 200);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(began.elapsed() >= Duration::from_secs(2));
    until("the app is freed", || stalled.in_flight() == 1).await;
    // What had been sent is there, and then the reset.
    let mut got = 0;
    let end = loop {
        match within(PATIENCE, "the reset", unread.frame()).await {
            Some(Ok(frame)) => got += frame.data_ref().map_or(0, Bytes::len),
            Some(Err(error)) => break error,
            None => panic!("it ended well after {got}"),
        }
    };
    let why = std::error::Error::source(&end).unwrap();
    let why = why.downcast_ref::<h2::Error>().unwrap();
    assert_eq!(why.reason(), Some(h2::Reason::CANCEL));
    assert!(next(&mut slowly).await.is_some());
    assert_eq!(rig.edge.stats().refusals.sum(), 1);
}

#[tokio::test]
async fn e4_the_last_piece_of_an_answer_may_not_stall_for_ever_either() {
    let app = app("one").await;
    let target = target(app.address);
    let rig = Rig::with_limits(
        World::of([route("tasks.test", &[&target])]),
        limits(Duration::from_secs(2)),
    );
    let mut stream = tls(&rig, "tasks.test", "h2").await.unwrap();
    // No window at all: SETTINGS_INITIAL_WINDOW_SIZE is 0.
    let mut bytes = preface();
    bytes.extend(frame(4, 0, 0, &[0, 4, 0, 0, 0, 0]));
    bytes.extend(request(1, "GET", "/bytes?n=5000", true));
    bytes.extend(request(3, "GET", "/bytes?n=5000", true));
    stream.write_all(&bytes).await.unwrap();
    let mut heard = Heard::default();
    let reset = async {
        while heard.streams.values().filter(|told| told.ended).count() < 2 {
            heard.read(&mut stream).await;
            assert!(!heard.closed, "{heard:?}");
        }
    };
    within(PATIENCE, "both are reset", reset).await;
    for told in heard.streams.values() {
        assert_eq!(told.answer, "reset CANCEL");
    }
    until("the app is freed", || target.in_flight() == 0).await;
    // Whoever takes it at last has it whole.
    let window = 5_000_u32.to_be_bytes();
    let mut bytes = request(5, "GET", "/bytes?n=5000", true);
    bytes.extend(frame(WINDOW_UPDATE, 0, 5, &window));
    stream.write_all(&bytes).await.unwrap();
    while !heard.streams.get(&5).is_some_and(|told| told.ended) {
        heard.read(&mut stream).await;
    }
    assert_eq!(heard.streams[&5].body.len(), 5_000);
    stream
        .write_all(&frame(RESET, 0, 5, &[0, 0, 0, 8]))
        .await
        .unwrap();
    assert_eq!(rig.edge.stats().refusals.of(Refusal::SlowReader), 2);
}

/// As soon as there is room for a byte, hyper hands over all of the last piece, and the stream is over for it.
#[tokio::test]
async fn e4_nor_does_a_window_of_one_byte_keep_a_last_piece_for_ever() {
    let heads = Arc::new(Notify::new());
    let seen = heads.clone();
    let app = raw(move |mut stream: TcpStream, _| {
        let seen = seen.clone();
        async move {
            let head = read_head(&mut stream).await.unwrap();
            let (framing, sizes, end) = match head.starts_with("GET /chunked") {
                true => (
                    "Transfer-Encoding: chunked",
                    ["2710\r\n", "\r\n4e20\r\n"],
                    "\r\n0\r\n\r\n",
                ),
                false => ("Content-Length: 30000", ["", ""], ""),
            };
            let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\n{framing}\r\n\r\n");
            let first = [head.as_bytes(), sizes[0].as_bytes(), &[b'x'; 10_000]];
            stream.write_all(&first.concat()).await.unwrap();
            seen.notified().await;
            // Read by the edge as one piece.
            let last = [sizes[1].as_bytes(), &[b'x'; 20_000], end.as_bytes()];
            stream.write_all(&last.concat()).await.unwrap();
            std::future::pending::<()>().await;
        }
    })
    .await;
    let target = target(app.address);
    let rig = Rig::with_limits(
        World::of([route("tasks.test", &[&target])]),
        limits(Duration::from_secs(2)),
    );
    let mut stream = tls(&rig, "tasks.test", "h2").await.unwrap();
    let mut bytes = preface();
    // Room for the first piece and one byte more: SETTINGS_INITIAL_WINDOW_SIZE is 10,001.
    bytes.extend(frame(4, 0, 0, &[0, 4, 0, 0, 0x27, 0x11]));
    let mut heard = Heard::default();
    for (id, path) in [(1, "/length"), (3, "/chunked"), (5, "/taken")] {
        bytes.extend(request(id, "GET", path, true));
        stream.write_all(&bytes).await.unwrap();
        bytes.clear();
        let is_there = |heard: &Heard| {
            let told = heard.streams.get(&id);
            told.is_some_and(|told| told.body.len() >= 10_000)
        };
        while !is_there(&heard) {
            within(PATIENCE, "the first", heard.read(&mut stream)).await;
        }
        heads.notify_one();
    }
    let window = 20_000_u32.to_be_bytes();
    let taken = frame(WINDOW_UPDATE, 0, 5, &window);
    stream.write_all(&taken).await.unwrap();
    let over = async {
        while !heard.streams.values().all(|told| told.ended) {
            heard.read(&mut stream).await;
            assert!(!heard.closed);
        }
    };
    within(PATIENCE, "both are reset", over).await;
    for id in [1, 3] {
        assert_eq!(heard.streams[&id].answer, "reset CANCEL");
        assert_eq!(heard.streams[&id].body.len(), 10_001);
    }
    // The end of what is taken comes in a frame of its own, and with it the end of the stream.
    assert_eq!(heard.streams[&5].answer, "200");
    assert_eq!(heard.streams[&5].body.len(), 30_000);
    assert_eq!(rig.edge.stats().refusals.of(Refusal::SlowReader), 2);
}

/// Asks for much on port 80 and takes `piece` bytes every `pause`: how long until the connection is given up, if it is
/// within ten seconds. Buffers on both sides are as small as the kernel makes them.
async fn sips(piece: usize, pause: Duration) -> (Option<Duration>, u64) {
    let app = app("one").await;
    let spec = RouteSpec {
        redirect_http: false,
        ..route("tasks.test", &[&target(app.address)])
    };
    let rig = Rig::narrow(World::of([spec]), limits(Duration::from_secs(2)));
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut stream = socket.connect(rig.http).await.unwrap();
    let ask = "GET /bytes?n=50000000 HTTP/1.1\r\nHost: tasks.test\r\n\r\n";
    stream.write_all(ask.as_bytes()).await.unwrap();
    let began = Instant::now();
    let mut scratch = vec![0; piece];
    while began.elapsed() < Duration::from_secs(10) {
        if !matches!(stream.read_exact(&mut scratch).await, Ok(1..)) {
            break;
        }
        if rig.edge.stats().connections == 0 {
            break;
        }
        tokio::time::sleep(pause).await;
    }
    let given_up = (rig.edge.stats().connections == 0).then(|| began.elapsed());
    (given_up, rig.edge.stats().refusals.of(Refusal::SlowReader))
}

#[tokio::test]
async fn e4_a_reader_of_a_few_bytes_now_and_then_is_dropped_and_a_slow_one_is_not() {
    let pause = Duration::from_millis(300);
    let few = sips(512, pause);
    let slow = sips(2_048, pause / 10);
    let (few, slow) = tokio::join!(few, slow);
    assert!(
        few.0.is_some_and(|after| after >= Duration::from_secs(2)),
        "{few:?}"
    );
    assert_eq!((few.1, slow), (1, (None, 0)));
}

/// What it left lying would stay in the system for minutes, and an answer without a length would seem to be whole.
#[tokio::test]
async fn e4_a_reader_that_is_given_up_is_reset() {
    let app = app("one").await;
    let spec = RouteSpec {
        redirect_http: false,
        ..route("tasks.test", &[&target(app.address)])
    };
    let rig = Rig::narrow(World::of([spec]), limits(Duration::from_secs(2)));
    let mut stream = TcpStream::connect(rig.http).await.unwrap();
    let ask = "GET /bytes?n=50000000 HTTP/1.1\r\nHost: tasks.test\r\n\r\n";
    stream.write_all(ask.as_bytes()).await.unwrap();
    until("it is given up", || {
        let stats = rig.edge.stats();
        stats.connections == 0 && stats.refusals.of(Refusal::SlowReader) == 1
    })
    .await;
    let mut came = Vec::new();
    let end = within(PATIENCE, "the end", stream.read_to_end(&mut came)).await;
    assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn e4_what_a_reader_leaves_unread_neither_the_edge_nor_the_system_takes_from_the_app() {
    let written = Arc::new(AtomicU64::new(0));
    let counted = written.clone();
    let app = raw(move |mut stream, _| {
        let written = counted.clone();
        async move {
            // What the app's own system holds is none of the edge's.
            SockRef::from(&stream)
                .set_send_buffer_size(16 * 1024)
                .unwrap();
            read_head(&mut stream).await.unwrap();
            let head = "HTTP/1.1 200 OK\r\nContent-Length: 50000000\r\n\r\n";
            stream.write_all(head.as_bytes()).await.unwrap();
            while let Ok(count @ 1..) = stream.write(&[7; 64 * 1024]).await {
                written.fetch_add(count as u64, SeqCst);
            }
        }
    })
    .await;
    let spec = RouteSpec {
        redirect_http: false,
        ..route("tasks.test", &[&target(app.address)])
    };
    let rig = Rig::with_limits(World::of([spec]), limits(PATIENCE));
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut stream = socket.connect(rig.http).await.unwrap();
    let ask = "GET / HTTP/1.1\r\nHost: tasks.test\r\n\r\n";
    stream.write_all(ask.as_bytes()).await.unwrap();
    let mut before = 0;
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = written.load(SeqCst);
        if now > 0 && now == before {
            break;
        }
        before = now;
    }
    assert!(before < 2_000_000, "{before} bytes were taken");
}

/// A body that comes in pieces of `size` bytes every 50 ms, `count` of them.
fn trickle(path: &str, kind: &str, size: usize, count: usize) -> Request<Body> {
    let pieces = futures_util::stream::unfold(0, move |sent| async move {
        if sent == count {
            return None;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        Some((Ok(Frame::data(Bytes::from(vec![7; size]))), sent + 1))
    });
    Request::post(format!("https://tasks.test{path}"))
        .header("content-type", kind)
        .body(BodyExt::boxed(StreamBody::new(SyncStream(
            std::sync::Mutex::new(Box::pin(pieces)),
        ))))
        .unwrap()
}

/// `BoxBody` wants `Sync`, which a stream of futures is not by itself.
struct SyncStream<S>(std::sync::Mutex<S>);

impl<S: futures_util::Stream + Unpin> futures_util::Stream for SyncStream<S> {
    type Item = S::Item;

    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<S::Item>> {
        std::pin::Pin::new(self.get_mut().0.get_mut().unwrap()).poll_next(cx)
    }
}

#[tokio::test]
async fn e4_a_body_that_trickles_is_408_in_both_protocols_and_a_slow_one_is_taken() {
    let app = app("one").await;
    trickles_end(&target(app.address)).await;
}

#[tokio::test]
async fn e4_a_body_that_trickles_to_an_h2c_app_is_408_too_and_a_slow_one_is_taken() {
    let app = h2c_app("one").await;
    trickles_end(&h2c_target(app.address)).await;
}

async fn trickles_end(target: &Arc<Target>) {
    // The pace is judged over two seconds.
    let rig = Rig::with_limits(
        World::of([route("tasks.test", &[target])]),
        limits(Duration::from_secs(6)),
    );
    let (plain, grpc) = ("text/plain", "application/grpc+proto");
    let ask = async |what: &'static str, request: fn() -> Request<Body>| {
        let mut http1 = Http1::tls(&rig, "tasks.test").await;
        let mut http2 = Http2::tls(&rig, "tasks.test").await;
        let both = async { tokio::join!(http1.ask(request()), http2.ask(request())) };
        let (one, other) = within(PATIENCE, what, both).await;
        let text = |whole: crate::client::Whole| (whole.status.as_u16(), whole.text().to_owned());
        let (one, other) = (text(one.unwrap()), text(other.unwrap()));
        assert_eq!(one.0, other.0, "{what}");
        (one.0, one.1, http1)
    };
    // 20 bytes a second, never silent.
    let (status, said, mut http1) =
        ask("a trickle", || trickle("/count", "text/plain", 1, 400)).await;
    assert_eq!(status, 408, "{said}");
    assert!(http1.ask(get("https://tasks.test/")).await.is_err());
    assert_eq!(rig.edge.stats().refusals.of(Refusal::SlowBody), 2);
    // 3,200 bytes a second, for more than one while: six times what it has to be, as a busy machine lets it rest.
    let (status, said, _) = ask("a slow one", || trickle("/count", "text/plain", 160, 70)).await;
    assert_eq!((status, &*said), (200, "11200 {}"));
    // No more is a call of gRPC to an app that does not speak it, or of a client that cannot.
    let mut http1 = Http1::tls(&rig, "tasks.test").await;
    let said = http1.ask(trickle("/count", grpc, 1, 400)).await.unwrap();
    assert_eq!(said.status, 408);
    assert_eq!(rig.edge.stats().refusals.sum(), 3);
    // An answer that has begun already is broken off.
    let speaks_grpc = target.traits().protocol == Protocol::H2c;
    let hurried = if speaks_grpc {
        &[plain][..]
    } else {
        &[plain, grpc]
    };
    for kind in hurried {
        let mut http2 = Http2::tls(&rig, "tasks.test").await;
        let answer = http2.send(trickle("/echo", kind, 1, 400)).await.unwrap();
        let ended = within(PATIENCE, "its end", answer.into_body().collect()).await;
        assert!(ended.is_err(), "{kind}");
    }
    let slow = rig.edge.stats().refusals.of(Refusal::SlowBody);
    assert_eq!(slow, 3 + hurried.len() as u64);
}

/// To an app that speaks gRPC a call is a conversation, and is not hurried.
#[tokio::test]
async fn e4_a_grpc_call_over_http2_may_trickle() {
    let app = crate::app::h2c_app("one").await;
    let target = crate::rig::h2c_target(app.address);
    let rig = Rig::with_limits(
        World::of([route("tasks.test", &[&target])]),
        limits(Duration::from_secs(3)),
    );
    let mut http2 = Http2::tls(&rig, "tasks.test").await;
    let call = trickle("/count", "application/grpc+proto", 1, 70);
    let said = within(PATIENCE, "the call", http2.ask(call)).await.unwrap();
    assert_eq!((said.status.as_u16(), said.text()), (200, "70 {}"));
    assert_eq!(rig.edge.stats().refusals.sum(), 0);
}

#[tokio::test]
async fn e4_a_head_that_stops_over_http2_is_due_as_any_other() {
    let app = app("one").await;
    let limits = Limits {
        client_header: Duration::from_secs(3),
        ..limits(Duration::from_secs(60))
    };
    let rig = Rig::with_limits(
        World::of([route("tasks.test", &[&target(app.address)])]),
        limits,
    );
    let mut stream = tls(&rig, "tasks.test", "h2").await.unwrap();
    let mut bytes = preface();
    bytes.extend(request(1, "GET", "/bytes?n=10", true));
    stream.write_all(&bytes).await.unwrap();
    let mut heard = Heard::default();
    while !heard.streams.get(&1).is_some_and(|told| told.ended) {
        within(PATIENCE, "an answer", heard.read(&mut stream)).await;
    }
    // Quiet between two requests, it may be so for long.
    tokio::time::sleep(Duration::from_millis(3_500)).await;
    assert_eq!(rig.edge.stats().connections, 1);
    let second = request(3, "GET", "/bytes?n=10", true);
    stream.write_all(&second[..second.len() - 1]).await.unwrap();
    until("it is dropped", || rig.edge.stats().connections == 0).await;
    assert_eq!(rig.edge.stats().refusals.of(Refusal::SlowHead), 1);
}

#[tokio::test]
async fn e4_heads_that_stop_are_counted_and_connections_ahead_of_need_are_not() {
    let app = app("one").await;
    let limits = Limits {
        client_header: Duration::from_secs(3),
        ..limits(Duration::from_secs(60))
    };
    let rig = Rig::with_limits(
        World::of([route("tasks.test", &[&target(app.address)])]),
        limits,
    );
    let _ahead = TcpStream::connect(rig.http).await.unwrap();
    let _ahead_too = tls(&rig, "tasks.test", "http/1.1").await.unwrap();
    let _silent = TcpStream::connect(rig.https).await.unwrap();
    let mut slow = TcpStream::connect(rig.http).await.unwrap();
    slow.write_all(b"GET / HT").await.unwrap();
    until("all are over", || rig.edge.stats().connections == 0).await;
    let counted: Vec<_> = rig.edge.stats().refusals.iter().collect();
    assert_eq!(
        counted,
        [(Refusal::HandshakeSlow, 1), (Refusal::SlowHead, 1)]
    );
}

#[tokio::test]
async fn e4_two_thousand_quiet_connections_leave_room_for_others() {
    const MANY: usize = 2_000;
    let app = app("one").await;
    let limits = Limits {
        connections_per_address: 3_000,
        client_header: Duration::from_secs(600),
        new_connections_per_address: u32::MAX,
        ..limits(Duration::from_secs(600))
    };
    let spec = RouteSpec {
        redirect_http: false,
        ..route("tasks.test", &[&target(app.address)])
    };
    let rig = Rig::with_limits(World::of([spec]), limits);
    let mut held = Vec::new();
    for number in 0..MANY {
        let mut stream = TcpStream::connect(rig.http).await.unwrap();
        if number % 2 == 0 {
            let ask = b"GET /empty HTTP/1.1\r\nHost: tasks.test\r\n\r\n";
            stream.write_all(ask).await.unwrap();
            let mut answer = [0; 12];
            within(PATIENCE, "an answer", stream.read_exact(&mut answer))
                .await
                .unwrap();
            assert_eq!(&answer, b"HTTP/1.1 204");
        }
        held.push(stream);
    }
    until("all are there", || {
        rig.edge.stats().connections as usize == MANY
    })
    .await;
    for _ in 0..20 {
        let mut http2 = Http2::tls(&rig, "tasks.test").await;
        let answer = http2.ask(get("https://tasks.test/")).await.unwrap();
        assert_eq!(answer.status, 200);
    }
    assert_eq!(rig.edge.stats().refusals.sum(), 0);
}

/// A connection without any window that asks `count` times for what does not fit into none.
async fn unread(rig: &Rig, count: u32) -> tokio_rustls::client::TlsStream<TcpStream> {
    let mut stream = tls(rig, "tasks.test", "h2").await.unwrap();
    let mut bytes = preface();
    bytes.extend(frame(4, 0, 0, &[0, 4, 0, 0, 0, 0]));
    for number in 0..count {
        bytes.extend(request(number * 2 + 1, "GET", "/bytes?n=5000", true));
    }
    stream.write_all(&bytes).await.unwrap();
    stream
}

#[tokio::test]
async fn e4_when_a_worker_holds_many_answers_a_connection_keeps_few() {
    let app = app("one").await;
    let target = target(app.address);
    let rig = Rig::with_limits(
        World::of([route("tasks.test", &[&target])]),
        limits(Duration::from_secs(600)),
    );
    let refused = || rig.edge.stats().refusals.of(Refusal::SlowReader);
    // Somebody who has paused a few.
    let _paused = unread(&rig, 4).await;
    until("they wait", || app.requests() == 4).await;
    let mut greedy = Vec::new();
    for connections in 1..=5 {
        greedy.push(unread(&rig, 100).await);
        until("all were asked for", || {
            app.requests() == 4 + connections * 100
        })
        .await;
    }
    // Five hundred and four wait, and that is no crowd yet.
    until("all wait", || target.in_flight() == 504).await;
    assert_eq!(refused(), 0);
    greedy.push(unread(&rig, 100).await);
    until("the last are refused", || refused() == 84).await;
    until("those kept", || target.in_flight() == 520).await;
    // What it asks for now costs the app nothing.
    let asked = app.requests();
    let more = request(201, "GET", "/bytes?n=5000", true);
    let last = greedy.last_mut().unwrap();
    last.write_all(&more).await.unwrap();
    until("it is refused", || refused() == 85).await;
    assert_eq!(app.requests(), asked);
    // One more connection has its few nevertheless.
    let _few = unread(&rig, 30).await;
    until("its few", || refused() == 99).await;
    until("those kept", || target.in_flight() == 536).await;
}

/// Over HTTP/1.1 a connection is one answer: it may lie for as long as a connection may be idle, and in a crowd an eighth of it.
#[tokio::test]
async fn e4_when_a_worker_holds_many_answers_who_takes_none_over_http1_is_given_up_soon() {
    const IDLE: Duration = Duration::from_secs(120);
    let app = app("one").await;
    let spec = RouteSpec {
        redirect_http: false,
        ..route("tasks.test", &[&target(app.address)])
    };
    let rig = Rig::narrow(World::of([spec]), limits(IDLE));
    let asks = async || {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4_096).unwrap();
        let mut stream = socket.connect(rig.http).await.unwrap();
        let ask = "GET /bytes?n=500000000 HTTP/1.1\r\nHost: tasks.test\r\n\r\n";
        stream.write_all(ask.as_bytes()).await.unwrap();
        stream
    };
    let (mut idle, mut slow) = (asks().await, asks().await);
    let took = tokio::spawn(async move {
        let mut piece = [0; 4_096];
        while matches!(slow.read(&mut piece).await, Ok(1..)) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    let mut crowd = Vec::new();
    let refused = || rig.edge.stats().refusals.of(Refusal::SlowReader);
    while refused() == 0 {
        let before = app.requests();
        crowd.push(unread(&rig, 100).await);
        until("they were asked for, or are too many", || {
            refused() > 0 || app.requests() >= before + 100
        })
        .await;
    }
    let others = crowd.len() as u64 + 1;
    let gone = async {
        while rig.edge.stats().connections > others {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within(IDLE * 3 / 4, "its end", gone).await;
    let mut came = Vec::new();
    let end = within(PATIENCE, "the reset", idle.read_to_end(&mut came)).await;
    assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    assert!(!took.is_finished(), "whoever takes something goes on");
    took.abort();
}
