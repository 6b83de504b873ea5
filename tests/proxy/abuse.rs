//! Limits: each one reached, each one answered as written.
use std::time::{Duration, Instant};

use freehold::proxy::{Limits, Refusal, RouteSpec};
use http::Request;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::app::app;
use crate::client::{Http1, Http2, bytes, empty, get, post, post_with_trailers, tls};
use crate::rig::{Rig, World, route, target, until, within};

fn limits() -> Limits {
    Limits {
        workers: Some(2),
        ..Limits::default()
    }
}

#[tokio::test]
async fn f5_sizes_have_limits_in_both_protocols() {
    let app = app("one").await;
    let rig = Rig::start(World::of([route("tasks.test", &[&target(app.address)])]));
    let long = format!("https://tasks.test/{}", "a".repeat(8 * 1024));
    let many = || {
        let mut many = get("https://tasks.test/seen");
        for number in 0..33 {
            many.headers_mut().insert(
                http::HeaderName::try_from(format!("x-{number}")).unwrap(),
                "b".repeat(1_000).parse().unwrap(),
            );
        }
        many
    };
    let mut http1 = Http1::tls(&rig, "tasks.test").await;
    assert_eq!(http1.ask(get(&long)).await.unwrap().status, 414);
    let mut http1 = Http1::tls(&rig, "tasks.test").await;
    assert_eq!(http1.ask(many()).await.unwrap().status, 431);
    let mut http2 = Http2::tls(&rig, "tasks.test").await;
    assert_eq!(http2.ask(get(&long)).await.unwrap().status, 414);
    assert_eq!(http2.ask(many()).await.unwrap().status, 431);
    let endless = format!(
        "GET / HTTP/1.1\r\nHost: tasks.test\r\nX: {}",
        "a".repeat(60_000)
    );
    assert!(
        bytes(&rig, "tasks.test", endless)
            .await
            .starts_with("HTTP/1.1 431 ")
    );
    assert_eq!(app.requests(), 0);
    // Just below, all is well.
    let fitting = || {
        let mut fitting = get(&format!("https://tasks.test/seen?{}", "a".repeat(8_000)));
        fitting
            .headers_mut()
            .insert("x-large", "b".repeat(31_000).parse().unwrap());
        fitting
    };
    assert_eq!(
        Http1::tls(&rig, "tasks.test")
            .await
            .ask(fitting())
            .await
            .unwrap()
            .status,
        200
    );
    assert_eq!(http2.ask(fitting()).await.unwrap().status, 200);
}

#[tokio::test]
async fn f5_a_body_too_large_is_413_said_or_unsaid() {
    let app = app("one").await;
    let spec = RouteSpec {
        body_bytes: Some(100_000),
        ..route("tasks.test", &[&target(app.address)])
    };
    let rig = Rig::start(World::of([spec]));
    for size in [100_001, 3_000_000] {
        let body = || vec![7; size];
        let pieces = |size| {
            (0..size / 10_000 + 1)
                .map(|_| Ok(Frame::data(bytes::Bytes::from(vec![7; 10_000]))))
                .collect::<Vec<_>>()
        };
        let unsaid = || BodyExt::boxed(StreamBody::new(futures_util::stream::iter(pieces(size))));
        let request = || {
            Request::post("https://tasks.test/count")
                .body(unsaid())
                .unwrap()
        };
        assert_eq!(
            Http1::tls(&rig, "tasks.test")
                .await
                .ask(post("https://tasks.test/count", body()))
                .await
                .unwrap()
                .status,
            413
        );
        assert_eq!(
            Http2::tls(&rig, "tasks.test")
                .await
                .ask(post("https://tasks.test/count", body()))
                .await
                .unwrap()
                .status,
            413
        );
        assert_eq!(
            Http1::tls(&rig, "tasks.test")
                .await
                .ask(request())
                .await
                .unwrap()
                .status,
            413
        );
        assert_eq!(
            Http2::tls(&rig, "tasks.test")
                .await
                .ask(request())
                .await
                .unwrap()
                .status,
            413
        );
    }
    let fitting = post("https://tasks.test/count", vec![7; 100_000]);
    assert_eq!(
        Http1::tls(&rig, "tasks.test")
            .await
            .ask(fitting)
            .await
            .unwrap()
            .text(),
        "100000 {}"
    );
}

#[tokio::test]
async fn f5_slow_heads_and_idle_connections_end_in_time() {
    let app = app("one").await;
    let limits = Limits {
        client_header: Duration::from_secs(2),
        client_idle: Duration::from_millis(7_500),
        ..limits()
    };
    let rig = Rig::with_limits(
        World::of([route("tasks.test", &[&target(app.address)])]),
        limits,
    );

    // No handshake at all, and a head that never ends.
    let mut silent = TcpStream::connect(rig.https).await.unwrap();
    let mut slow = TcpStream::connect(rig.http).await.unwrap();
    let began = Instant::now();
    let dripping = async {
        slow.write_all(b"GET / HTTP/1.1\r\nX: ").await.unwrap();
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            if slow.write_all(b"a").await.is_err() {
                break;
            }
        }
        drop(slow.read(&mut [0; 1]).await);
        began.elapsed()
    };
    let mut scratch = [0; 16];
    let (ended, read) = tokio::join!(dripping, silent.read(&mut scratch));
    assert!(matches!(read, Ok(0) | Err(_)));
    assert!(ended < Duration::from_secs(20), "{ended:?}");

    // Idle after a request: the longer limit, and no sooner.
    let mut http1 = Http1::tls(&rig, "tasks.test").await;
    let mut http2 = Http2::tls(&rig, "tasks.test").await;
    for _ in 0..2 {
        assert_eq!(
            http1.ask(get("https://tasks.test/")).await.unwrap().status,
            200
        );
        assert_eq!(
            http2.ask(get("https://tasks.test/")).await.unwrap().status,
            200
        );
        // Above the limit of a head, well below that of idleness.
        tokio::time::sleep(Duration::from_millis(2_500)).await;
    }
    until("both are closed", || rig.edge.stats().connections == 0).await;
    // Its client has still to notice.
    until("it notices", || http1.is_closed()).await;
}

#[tokio::test]
async fn f5_a_slow_answer_has_all_its_time_and_a_stalled_body_has_not() {
    let app = app("one").await;
    let limits = Limits {
        client_header: Duration::from_secs(2),
        client_idle: Duration::from_secs(1),
        upstream_answer: Duration::from_millis(4_500),
        ..limits()
    };
    let rig = Rig::with_limits(
        World::of([route("tasks.test", &[&target(app.address)])]),
        limits,
    );
    let mut http1 = Http1::tls(&rig, "tasks.test").await;
    assert_eq!(
        http1
            .ask(get("https://tasks.test/slow?ms=1500"))
            .await
            .unwrap()
            .status,
        200
    );
    assert_eq!(
        http1
            .ask(get("https://tasks.test/drip?pieces=4&ms=1500"))
            .await
            .unwrap()
            .text()
            .lines()
            .count(),
        4
    );
    assert_eq!(
        http1
            .ask(get("https://tasks.test/slow?ms=60000"))
            .await
            .unwrap()
            .status,
        504
    );
    let stalled = "POST /count HTTP/1.1\r\nHost: tasks.test\r\nContent-Length: 50\r\n\r\nhello";
    let answer = within(
        Duration::from_secs(40),
        "408",
        bytes(&rig, "tasks.test", stalled),
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
}

#[tokio::test]
async fn f5_a_reader_that_stops_is_dropped_and_the_app_freed() {
    let app = app("one").await;
    let limits = Limits {
        client_idle: Duration::from_secs(2),
        ..limits()
    };
    let target = target(app.address);
    let rig = Rig::with_limits(World::of([route("tasks.test", &[&target])]), limits);
    let mut stream = tls(&rig, "tasks.test", "http/1.1").await.unwrap();
    stream
        .write_all(b"GET /bytes?n=50000000 HTTP/1.1\r\nHost: tasks.test\r\n\r\n")
        .await
        .unwrap();
    until("it is claimed", || target.in_flight() == 1).await;
    until("it is given up", || target.in_flight() == 0).await;
}

#[tokio::test]
async fn f5_connections_of_one_address_and_of_all_are_limited() {
    let app = app("one").await;
    let limits = Limits {
        connections_per_address: 4,
        ..limits()
    };
    let rig = Rig::with_limits(
        World::of([route("tasks.test", &[&target(app.address)])]),
        limits,
    );
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(Http1::tls(&rig, "tasks.test").await);
    }
    assert!(tls(&rig, "tasks.test", "http/1.1").await.is_err());
    assert_eq!(rig.edge.stats().refusals.of(Refusal::TooManyOfAddress), 1);
    // Another address is none the poorer.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut other = Http1::over(socket.connect(rig.http).await.unwrap()).await;
    assert_eq!(
        other.ask(get("http://tasks.test/")).await.unwrap().status,
        308
    );
    held.pop();
    until("its place is free", || rig.edge.stats().connections == 4).await;
    assert_eq!(
        Http1::tls(&rig, "tasks.test")
            .await
            .ask(get("https://tasks.test/"))
            .await
            .unwrap()
            .status,
        200
    );
}

#[tokio::test]
async fn f5_edited_limits_count_from_the_next_request_and_connection_on() {
    let app = app("one").await;
    let rig = Rig::start(World::of([route("tasks.test", &[&target(app.address)])]));
    let large = || post("https://tasks.test/seen", vec![b'a'; 10_000]);
    let mut client = Http1::tls(&rig, "tasks.test").await;
    assert_eq!(client.ask(large()).await.unwrap().status, 200);
    rig.edge.limit(Limits {
        body_bytes: 5_000,
        connections_per_address: 1,
        ..limits()
    });
    assert!(
        tls(&rig, "tasks.test", "h2").await.is_err(),
        "a second connection of one address was served"
    );
    assert_eq!(client.ask(large()).await.unwrap().status, 413);
    rig.edge.limit(limits());
    let mut client = Http1::tls(&rig, "tasks.test").await;
    assert_eq!(client.ask(large()).await.unwrap().status, 200);
}

/// h2 keeps the bound it was given and leaves out, without a word, what of trailers goes over it: no part may pass for all.
#[tokio::test]
async fn e3_larger_heads_are_taken_on_connections_that_begin_after_the_edit() {
    let app = app("one").await;
    let rig = Rig::start(World::of([route("tasks.test", &[&target(app.address)])]));
    let mut before = Http2::tls(&rig, "tasks.test").await;
    let large = || {
        let request = Request::get("https://tasks.test/").header("x-large", "a".repeat(50_000));
        request.body(empty()).unwrap()
    };
    assert_eq!(before.ask(large()).await.unwrap().status, 431);
    rig.edge.limit(Limits {
        header_bytes: 512 * 1024,
        ..limits()
    });
    assert_eq!(before.ask(large()).await.unwrap().status, 431);
    // On the wire a byte each, but for the first.
    let mut trailers = http::HeaderMap::new();
    for _ in 0..60 {
        trailers.append("x", "a".repeat(3_000).parse().unwrap());
    }
    let request = post_with_trailers("https://tasks.test/count", "12345", trailers);
    let answer = before.ask(request).await;
    assert!(
        answer.as_ref().map_or(true, |answer| answer.status != 200),
        "{answer:?}"
    );
    let mut after = Http2::tls(&rig, "tasks.test").await;
    assert_eq!(after.ask(large()).await.unwrap().status, 200);
    rig.edge.limit(limits());
    assert_eq!(
        after.ask(large()).await.unwrap().status,
        431,
        "less counts at once"
    );
}

#[cfg(feature = "crash-points")]
#[tokio::test]
async fn f5_a_panic_is_one_requests_500_and_nobody_elses() {
    let app = app("one").await;
    let rig = Rig::start(World::of([route("tasks.test", &[&target(app.address)])]));
    let mut http2 = Http2::tls(&rig, "tasks.test").await;
    let mut other = http2.clone();
    let mut panicking = get("https://tasks.test/");
    panicking
        .headers_mut()
        .insert("x-freehold-test-panic", "1".parse().unwrap());
    let (first, second) = tokio::join!(
        other.ask(get("https://tasks.test/slow?ms=200")),
        http2.ask(panicking)
    );
    assert_eq!(
        (
            first.unwrap().status.as_u16(),
            second.unwrap().status.as_u16()
        ),
        (200, 500)
    );
    assert_eq!(
        http2.ask(get("https://tasks.test/")).await.unwrap().status,
        200
    );
    assert_eq!(rig.edge.stats().refusals.of(Refusal::Panic), 1);
    until("none is left", || {
        rig.route_reading("tasks.test").in_flight == 0
    })
    .await;
    // What state it left a connection in that asks one thing after the other is not certain.
    let mut stream = tls(&rig, "tasks.test", "http/1.1").await.unwrap();
    let ask = "GET / HTTP/1.1\r\nHost: tasks.test\r\nX-Freehold-Test-Panic: 1\r\n\r\n";
    stream.write_all(ask.repeat(2).as_bytes()).await.unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).await.unwrap();
    assert_eq!(answers.matches("HTTP/1.1 500").count(), 1, "{answers}");
}

#[tokio::test]
async fn f5_an_http2_stream_nobody_reads_is_given_up() {
    let app = app("one").await;
    let limits = Limits {
        client_idle: Duration::from_secs(2),
        ..limits()
    };
    let target = target(app.address);
    let rig = Rig::with_limits(World::of([route("tasks.test", &[&target])]), limits);
    let mut http2 = Http2::tls(&rig, "tasks.test").await;
    let _unread = http2
        .send(get("https://tasks.test/bytes?n=50000000"))
        .await
        .unwrap();
    assert_eq!(target.in_flight(), 1);
    until("it is given up", || target.in_flight() == 0).await;
}

#[tokio::test]
async fn f5_connections_that_rest_between_requests_lose_nothing() {
    let app = app("one").await;
    let rig = Rig::start(World::of([route("tasks.test", &[&target(app.address)])]));
    let mut http1 = Http1::tls(&rig, "tasks.test").await;
    for pause in [0, 290, 310, 600, 305, 5] {
        tokio::time::sleep(Duration::from_millis(pause)).await;
        let body = vec![7; 200_000];
        assert_eq!(
            http1
                .ask(post("https://tasks.test/count", body))
                .await
                .unwrap()
                .text(),
            "200000 {}"
        );
    }
    // A head that comes in two pieces around the rest.
    let mut stream = tls(&rig, "tasks.test", "http/1.1").await.unwrap();
    let mut answer = [0; 17];
    for _ in 0..3 {
        for piece in ["GET /empty HT", "TP/1.1\r\nHost: tasks.test\r\n\r\n"] {
            stream.write_all(piece.as_bytes()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(400)).await;
        }
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 204 No C");
        let mut rest = Vec::new();
        while !rest.ends_with(b"\r\n\r\n") {
            rest.push(stream.read_u8().await.unwrap());
        }
    }
}
