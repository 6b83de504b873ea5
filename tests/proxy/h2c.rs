//! Apps that are spoken to over HTTP/2 without TLS: bodies and trailers both ways, limits, aborts, and a target that says
//! goodbye, refuses, restarts or is retired under requests.
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use bytes::Bytes;
use freehold::proxy::Limits;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::app::{App, app, h2c_app, raw};
use crate::client::{Body, Http1, Http2, bytes, full, get, post, post_with_trailers, tls};
use crate::rig::{Rig, World, h2c_target, route, until, within};

/// Less than the limits of a minute, which would end what hangs.
pub const PATIENCE: Duration = Duration::from_secs(40);

pub fn rig(app: &App) -> Rig {
    Rig::start(World::of([route(
        "tasks.test",
        &[&h2c_target(app.address)],
    )]))
}

/// So short that each is soon reached, and longer than a busy machine keeps the next request or an answer waiting.
pub fn short() -> Limits {
    Limits {
        workers: Some(1),
        client_idle: Duration::from_millis(1_500),
        upstream_answer: Duration::from_millis(1_500),
        held_for: Duration::from_millis(1_500),
        ..Limits::default()
    }
}

/// An app made of frames: each connection is handed over with its number.
pub async fn frames<F, Fut>(treat: F) -> App
where
    F: Fn(h2::server::Connection<TcpStream, Bytes>, usize) -> Fut + Send + Clone + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    raw(move |stream, number| {
        let treat = treat.clone();
        async move {
            stream.set_nodelay(true).unwrap();
            let connection = h2::server::handshake(stream).await.unwrap();
            treat(connection, number).await;
        }
    })
    .await
}

fn stream_of(pieces: mpsc::UnboundedReceiver<Bytes>) -> Body {
    let pieces = tokio_stream::wrappers::UnboundedReceiverStream::new(pieces);
    BodyExt::boxed(StreamBody::new(futures_util::StreamExt::map(
        pieces,
        |piece| Ok(Frame::data(piece)),
    )))
}

/// What is reset with "no error" before its end is not whole; after it, the app only wants no more of the request.
#[tokio::test]
async fn e2_no_error_before_the_end_of_an_h2c_answer_is_a_cut_and_after_it_is_none() {
    let seen = Arc::new(tokio::sync::Notify::new());
    let told = seen.clone();
    let app = frames(move |mut connection, _| {
        let told = told.clone();
        async move {
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                let told = told.clone();
                tokio::spawn(async move {
                    let ends = request.uri().path() == "/whole";
                    let mut stream = respond.send_response(Response::new(()), false).unwrap();
                    stream.send_data(Bytes::from_static(b"all"), ends).unwrap();
                    told.notified().await;
                    stream.send_reset(h2::Reason::NO_ERROR);
                    drop(request);
                });
            }
        }
    })
    .await;
    let rig = rig(&app);
    for path in ["/whole", "/cut"] {
        let (_never_ends, pieces) = mpsc::unbounded_channel();
        let mut http2 = Http2::tls(&rig, "tasks.test").await;
        let request = Request::post(format!("https://tasks.test{path}"))
            .body(stream_of(pieces))
            .unwrap();
        let mut body = http2.send(request).await.unwrap().into_body();
        let first = within(PATIENCE, "the first of it", body.frame()).await;
        assert_eq!(first.unwrap().unwrap().into_data().unwrap(), "all");
        seen.notify_one();
        let rest = within(PATIENCE, "its end", body.collect()).await;
        assert_eq!(rest.is_ok(), path == "/whole", "{path}");
    }
}

#[tokio::test]
async fn e2_an_h2c_app_gets_the_head_an_http1_app_gets() {
    let (one, two) = (app("one").await, h2c_app("two").await);
    let rig = Rig::start(World::of([
        route("one.test", &[&crate::rig::target(one.address)]),
        route("two.test", &[&h2c_target(two.address)]),
    ]));
    let mut seen = Vec::new();
    for host in ["one.test", "two.test"] {
        let mut request = post(&format!("https://{host}/seen?a=b"), "body");
        for (name, value) in [
            ("te", "trailers, gzip"),
            ("x-forwarded-for", "6.6.6.6"),
            ("forwarded", "for=6.6.6.6"),
            ("accept", "*/*"),
            ("cookie", "a=1"),
            ("cookie", "b=2"),
            ("x-own", "1"),
        ] {
            request.headers_mut().append(name, value.parse().unwrap());
        }
        request.headers_mut().remove("te");
        request
            .headers_mut()
            .insert("te", "trailers".parse().unwrap());
        let answer = Http2::tls(&rig, host).await.ask(request).await.unwrap();
        let text = answer.text().replace(host, "HOST");
        let mut fields: Vec<String> = text
            .lines()
            .skip(1)
            // Of its own for each request, or for the connection alone.
            .filter(|line| {
                !["x-request-id: ", "traceparent: ", "connection: "]
                    .iter()
                    .any(|name| line.starts_with(name))
            })
            .map(str::to_owned)
            .collect();
        fields.sort();
        assert!(text.contains("\nx-request-id: ") && text.contains("\ntraceparent: "));
        seen.push((text.lines().next().unwrap().to_owned(), fields));
    }
    assert_eq!(seen[0].0, "POST /seen?a=b");
    assert_eq!(seen[1].0, "POST http://HOST/seen?a=b");
    let without_host: Vec<_> = seen[0]
        .1
        .iter()
        .filter(|line| *line != "host: HOST")
        .collect();
    assert_eq!(without_host, seen[1].1.iter().collect::<Vec<_>>());
    assert!(seen[1].1.contains(&"cookie: a=1; b=2".to_owned()));
    assert!(seen[1].1.contains(&"te: trailers".to_owned()));
}

#[tokio::test]
async fn e2_bodies_pass_whole_to_an_h2c_app_and_back() {
    let app = h2c_app("one").await;
    let rig = rig(&app);
    let (mut http1, mut http2) = (
        Http1::tls(&rig, "tasks.test").await,
        Http2::tls(&rig, "tasks.test").await,
    );
    let pattern: Bytes = (0..3_000_000u32)
        .flat_map(u32::to_le_bytes)
        .collect::<Vec<_>>()
        .into();
    for size in [0, 1, 4_095, 70_000, pattern.len()] {
        let body = pattern.slice(..size);
        let uri = "https://tasks.test/echo";
        let answer = http1.ask(post(uri, body.clone())).await.unwrap();
        assert!(answer.body == body, "HTTP/1.1, {size}");
        let answer = http2.ask(post(uri, body.clone())).await.unwrap();
        assert!(answer.body == body, "HTTP/2, {size}");
        // Of unknown length.
        let pieces = body
            .chunks(50_000)
            .map(|piece| Ok(Frame::data(body.slice_ref(piece))))
            .collect::<Vec<_>>();
        let chunked = BodyExt::boxed(StreamBody::new(futures_util::stream::iter(pieces)));
        let request = Request::post(uri).body(chunked).unwrap();
        let answer = http1.ask(request).await.unwrap();
        assert!(answer.body == body, "chunked, {size}");
    }
    until("all is counted", || {
        rig.route_reading("tasks.test").in_flight == 0
    })
    .await;
    let reading = rig.route_reading("tasks.test");
    let sum = 3 * (1 + 4_095 + 70_000 + pattern.len() as u64);
    assert_eq!((reading.bytes_in, reading.bytes_out), (sum, sum));
    assert!(app.connections() <= 2, "one a worker");
}

#[tokio::test]
async fn e2_head_and_bodiless_answers_of_an_h2c_app() {
    let app = h2c_app("one").await;
    let rig = rig(&app);
    let mut http1 = Http1::tls(&rig, "tasks.test").await;
    for _ in 0..2 {
        let request = Request::head("https://tasks.test/bytes?n=500")
            .body(full(""))
            .unwrap();
        let head = http1.ask(request).await.unwrap();
        assert_eq!(
            (head.status.as_u16(), head.header("content-length")),
            (200, "500")
        );
        let empty = http1.ask(get("https://tasks.test/empty")).await.unwrap();
        assert_eq!(empty.status, 204);
        let answer = http1.ask(get("https://tasks.test/bytes?n=500")).await;
        assert_eq!(answer.unwrap().body.len(), 500);
    }
    assert_eq!(app.connections(), 1);
}

#[tokio::test]
async fn e2_trailers_pass_both_ways_to_an_h2c_app_and_only_those_that_may() {
    let app = h2c_app("one").await;
    let rig = rig(&app);
    let mut http2 = Http2::tls(&rig, "tasks.test").await;
    let answer = http2.ask(get("https://tasks.test/trailers")).await.unwrap();
    assert_eq!(answer.text(), "with trailers");
    assert_eq!(answer.trailers.unwrap()["x-sum"], "42");
    let mut trailers = HeaderMap::new();
    trailers.insert("x-check", "7".parse().unwrap());
    trailers.insert("x-forwarded-for", "6.6.6.6".parse().unwrap());
    let request = post_with_trailers("https://tasks.test/count", "12345", trailers);
    let answer = http2.ask(request).await.unwrap();
    assert_eq!(answer.text(), "5 {\"x-check\": \"7\"}");
}

/// Each piece goes out only when the one before has come back: held back anywhere, none would come.
#[tokio::test]
async fn e2_both_ways_stream_at_once_to_an_h2c_app() {
    let app = h2c_app("one").await;
    let rig = rig(&app);
    let mut http2 = Http2::tls(&rig, "tasks.test").await;
    let (pieces, body) = mpsc::unbounded_channel();
    let request = Request::post("https://tasks.test/echo")
        .body(stream_of(body))
        .unwrap();
    let mut answer = within(PATIENCE, "a head", http2.send(request))
        .await
        .unwrap()
        .into_body();
    for n in 0..5 {
        let piece = Bytes::from(format!("piece {n}"));
        pieces.send(piece.clone()).unwrap();
        let frame = within(PATIENCE, "a piece", answer.frame()).await;
        assert_eq!(frame.unwrap().unwrap().into_data().unwrap(), piece);
    }
    drop(pieces);
    let end = within(PATIENCE, "the end", answer.frame()).await;
    assert!(end.is_none_or(|frame| frame.unwrap().into_data().unwrap().is_empty()));
}

/// A client that sends all it has before it reads: what is left of its body does not wait for its reading.
#[tokio::test]
async fn e2_an_unread_answer_does_not_hold_up_the_body_to_an_h2c_app() {
    let all_read = Arc::new(tokio::sync::Notify::new());
    let telling = all_read.clone();
    let app = frames(move |mut connection, _| {
        let all_read = telling.clone();
        async move {
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                let all_read = all_read.clone();
                tokio::spawn(async move {
                    let mut answer = respond.send_response(Response::new(()), false).unwrap();
                    // More than the client's window takes, and it does not read yet.
                    answer.send_data(vec![b'x'; 400_000].into(), false).unwrap();
                    let mut body = request.into_body();
                    let mut sum = 0;
                    while let Some(Ok(data)) = body.data().await {
                        body.flow_control().release_capacity(data.len()).unwrap();
                        sum += data.len();
                    }
                    all_read.notify_one();
                    answer.send_data(format!("{sum}").into(), true).unwrap();
                });
            }
        }
    })
    .await;
    let rig = rig(&app);
    let mut http2 = Http2::tls(&rig, "tasks.test").await;
    let (pieces, body) = mpsc::unbounded_channel();
    let request = Request::post("https://tasks.test/")
        .body(stream_of(body))
        .unwrap();
    let answer = within(PATIENCE, "a head", http2.send(request))
        .await
        .unwrap();
    for _ in 0..200 {
        pieces.send(vec![1; 16_000].into()).unwrap();
    }
    drop(pieces);
    within(PATIENCE, "the whole body is read", all_read.notified()).await;
    let body = within(PATIENCE, "the answer", answer.into_body().collect()).await;
    let body = body.unwrap().to_bytes();
    assert_eq!(&body[400_000..], b"3200000");
}

#[tokio::test]
async fn e2_limits_of_bodies_and_time_hold_towards_an_h2c_app() {
    let app = h2c_app("one").await;
    let mut spec = route("tasks.test", &[&h2c_target(app.address)]);
    spec.body_bytes = Some(1_000);
    let rig = Rig::with_limits(World::of([spec]), short());
    let mut http2 = Http2::tls(&rig, "tasks.test").await;
    let (pieces, body) = mpsc::unbounded_channel();
    pieces.send(vec![0; 1_001].into()).unwrap();
    let request = |body| {
        Request::post("https://tasks.test/count")
            .body(body)
            .unwrap()
    };
    let answer = http2.ask(request(stream_of(body))).await.unwrap();
    assert_eq!(answer.status, 413);
    // Told beforehand, it does not get there at all.
    let before = app.requests();
    let answer = http2.ask(request(full(vec![0; 1_001]))).await.unwrap();
    assert_eq!((answer.status.as_u16(), app.requests()), (413, before));

    let (_open, body) = mpsc::unbounded_channel();
    let begun = Instant::now();
    let answer = http2.ask(request(stream_of(body))).await.unwrap();
    assert_eq!(answer.status, 408, "a client that says nothing more");
    // Its pace is judged over a third of `client_idle`.
    assert!(begun.elapsed() > Duration::from_millis(490));
    let answer = http2.ask(get("https://tasks.test/slow?ms=20000")).await;
    assert_eq!(answer.unwrap().status, 504, "a target that says nothing");
    assert!(begun.elapsed() < Duration::from_secs(18));
    // The connection of the silent one is not used again, the next request is well.
    let answer = http2.ask(get("https://tasks.test/")).await.unwrap();
    assert_eq!(answer.status, 200);
}

/// An app whose streams end when it is told that nobody waits; what it hears is told.
pub async fn listening() -> (App, mpsc::UnboundedReceiver<&'static str>) {
    let (saying, heard) = mpsc::unbounded_channel();
    let app = frames(move |mut connection, _| {
        let saying = saying.clone();
        async move {
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                let saying = saying.clone();
                tokio::spawn(async move {
                    if request.uri().path() == "/body" {
                        let mut answer = respond.send_response(Response::new(()), false).unwrap();
                        answer.send_data("some".into(), false).unwrap();
                        saying.send("came").unwrap();
                        std::future::poll_fn(|cx| answer.poll_reset(cx)).await.ok();
                    } else {
                        saying.send("came").unwrap();
                        std::future::poll_fn(|cx| respond.poll_reset(cx)).await.ok();
                    }
                    saying.send("gone").unwrap();
                });
            }
        }
    })
    .await;
    (app, heard)
}

#[tokio::test]
async fn e2_a_client_that_leaves_ends_its_stream_at_the_app_within_a_second() {
    let (app, mut heard) = listening().await;
    let target = h2c_target(app.address);
    let rig = Rig::start(World::of([route("tasks.test", &[&target])]));
    let ways = [
        ("/wait", false, false),
        ("/wait", true, false),
        ("/body", false, false),
        ("/body", true, false),
        ("/wait", true, true),
        ("/body", true, true),
    ];
    // Each up to five times, until it is in time: a busy machine is late now and then, and what is held back is so each time.
    let mut in_time = [false; 6];
    for at in (0..5).flat_map(|_| 0..ways.len()) {
        let (path, http2, upload) = ways[at];
        if in_time[at] {
            continue;
        }
        let mut request = get(&format!("https://tasks.test{path}"));
        if upload {
            *request.method_mut() = http::Method::POST;
        }
        let leave = async {
            match http2 {
                true => {
                    let stream = tls(&rig, "tasks.test", "h2").await.unwrap();
                    let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
                    let request = request.map(|_| ());
                    let (response, _open) = sender.send_request(request, !upload).unwrap();
                    // hyper would keep the connection for a body that is open; this one goes with its client.
                    tokio::select! {
                        _ = connection => {}
                        _ = async { response.await?.into_body().data().await.unwrap()?; std::future::pending::<Result<(), h2::Error>>().await } => {}
                    }
                }
                false => drop(Http1::tls(&rig, "tasks.test").await.ask(request).await),
            }
        };
        let arrived = async {
            let came = within(PATIENCE, "the request", heard.recv()).await;
            assert_eq!(came, Some("came"));
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        tokio::select! {
            () = leave => panic!("{path} was answered"),
            () = arrived => {}
        }
        let left = Instant::now();
        let gone = within(PATIENCE, &format!("{path} {http2} {upload}"), heard.recv()).await;
        assert_eq!(gone, Some("gone"));
        in_time[at] = left.elapsed() < Duration::from_secs(1);
        until("the claim is released", || target.in_flight() == 0).await;
    }
    assert_eq!(in_time, [true; 6], "of {ways:?}");
    assert!(app.connections() <= 2, "the connections live on");
}

#[tokio::test]
async fn e2_a_stream_that_the_app_resets_is_seen_as_cut() {
    let app = frames(|mut connection, _| async move {
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            let mut response = Response::new(());
            if request.uri().path() == "/length" {
                response.headers_mut().insert("content-length", 9.into());
            }
            if request.uri().path() == "/head" {
                respond.send_reset(h2::Reason::INTERNAL_ERROR);
                continue;
            }
            tokio::spawn(async move {
                let mut answer = respond.send_response(response, false).unwrap();
                answer.send_data("some".into(), false).unwrap();
                tokio::time::sleep(Duration::from_millis(50)).await;
                answer.send_reset(h2::Reason::INTERNAL_ERROR);
            });
        }
    })
    .await;
    let rig = rig(&app);
    for path in ["/open", "/length"] {
        let uri = format!("https://tasks.test{path}");
        let mut http1 = Http1::tls(&rig, "tasks.test").await;
        assert!(http1.ask(get(&uri)).await.is_err(), "{path}");
        let mut http2 = Http2::tls(&rig, "tasks.test").await;
        assert!(http2.ask(get(&uri)).await.is_err(), "{path}");
    }
    until("all are counted", || {
        rig.route_reading("tasks.test").failures == 4
    })
    .await;
    let mut http2 = Http2::tls(&rig, "tasks.test").await;
    let answer = http2.ask(post("https://tasks.test/head", "x")).await;
    assert_eq!(answer.unwrap().status, 502, "reset before the head");
}

#[tokio::test]
async fn e2_an_h2c_app_is_asked_for_no_websocket() {
    let app = h2c_app("one").await;
    let rig = rig(&app);
    let head = "GET /chat HTTP/1.1\r\nHost: tasks.test\r\nConnection: upgrade, close\r\nUpgrade: websocket\r\n\r\n";
    let answer = bytes(&rig, "tasks.test", head).await;
    assert!(
        answer.starts_with("HTTP/1.1 501 Not Implemented\r\n"),
        "{answer}"
    );
    assert!(answer.contains("WebSocket"), "{answer}");
    assert_eq!(app.requests(), 0);
}

/// Nobody waits for anything but memory here: what one side does not take, the other is not asked for. The
/// saboteur: the client that reads after all, by which more is soon sent than the bound.
#[tokio::test]
async fn e2_what_an_h2c_app_or_its_client_does_not_read_is_not_gathered() {
    let sent = Arc::new(AtomicUsize::new(0));
    let telling = sent.clone();
    let app = frames(move |mut connection, _| {
        let sent = telling.clone();
        async move {
            let mut kept = Vec::new();
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                if request.uri().path() == "/takes-nothing" {
                    kept.push((request, respond));
                    continue;
                }
                let sent = sent.clone();
                tokio::spawn(async move {
                    let mut answer = respond.send_response(Response::new(()), false).unwrap();
                    loop {
                        answer.reserve_capacity(10_000);
                        let room = std::future::poll_fn(|cx| answer.poll_capacity(cx)).await;
                        let Some(Ok(room)) = room else { return };
                        sent.fetch_add(room, SeqCst);
                        answer.send_data(vec![0; room].into(), false).unwrap();
                    }
                });
            }
        }
    })
    .await;
    let rig = rig(&app);
    let given = Arc::new(AtomicUsize::new(0));
    let counting = given.clone();
    let body = futures_util::stream::repeat_with(move || {
        counting.fetch_add(10_000, SeqCst);
        Ok(Frame::data(Bytes::from_static(&[0; 10_000])))
    });
    let body = BodyExt::boxed(StreamBody::new(body));
    let mut http2 = Http2::tls(&rig, "tasks.test").await;
    let request = Request::post("https://tasks.test/takes-nothing")
        .body(body)
        .unwrap();
    let asking = tokio::spawn(async move { http2.ask(request).await });
    let mut http1 = Http1::tls(&rig, "tasks.test").await;
    let unread = http1.send(get("https://tasks.test/endless")).await.unwrap();
    // What a client's and an app's windows, sockets and our one chunk hold is all that moves.
    for (what, moved) in [("up", &given), ("down", &sent)] {
        let (mut before, mut since) = (usize::MAX, Instant::now());
        until(what, || {
            if std::mem::replace(&mut before, moved.load(SeqCst)) != before {
                since = Instant::now();
            }
            since.elapsed() > Duration::from_millis(700)
        })
        .await;
        assert!((10_000..8_000_000).contains(&before), "{what}: {before}");
    }
    // One that nobody reads holds up no other on the same connection.
    let mut others = Http2::tls(&rig, "tasks.test").await;
    let mut small = others
        .send(get("https://tasks.test/endless"))
        .await
        .unwrap()
        .into_body();
    for _ in 0..100 {
        within(PATIENCE, "a piece", small.frame())
            .await
            .unwrap()
            .unwrap();
    }
    asking.abort();
    let mut read = unread.into_body();
    while sent.load(SeqCst) < 8_000_000 {
        let piece = within(PATIENCE, "a piece", read.frame()).await;
        piece.unwrap().unwrap();
    }
}

#[tokio::test]
async fn e2_expect_continue_before_an_h2c_app_is_ours_to_grant() {
    let app = h2c_app("one").await;
    let rig = rig(&app);
    for (path, answered) in [("/count", "5 {}"), ("/seen", "content-length: 5\n")] {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: tasks.test\r\nContent-Length: 5\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
        );
        let mut stream = tls(&rig, "tasks.test", "http/1.1").await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut interim = [0; 25];
        within(PATIENCE, "100", stream.read_exact(&mut interim))
            .await
            .unwrap();
        assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
        stream.write_all(b"hello").await.unwrap();
        let mut answer = String::new();
        drop(stream.read_to_string(&mut answer).await);
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains(answered), "{answer}");
        assert!(!answer.contains("expect"), "{answer}");
    }
}

#[tokio::test]
async fn e2_a_request_for_the_server_itself_reaches_an_h2c_app() {
    let app = h2c_app("one").await;
    let rig = rig(&app);
    let head = "OPTIONS * HTTP/1.1\r\nHost: tasks.test\r\nConnection: close\r\n\r\n";
    let answer = bytes(&rig, "tasks.test", head).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert_eq!(app.requests(), 1);
}
