//! Bodies: both ways, of every framing, as they come, in bounded memory, cancelled when nobody wants them.
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;

use crate::app::{always, app, raw, read_head};
use crate::client::{Http1, Http2, bytes, full, get, post, tls};
use crate::rig::{Rig, World, route, target, until, within};

#[tokio::test]
async fn f5_bodies_pass_whole_in_both_protocols() {
    let app = app("one").await;
    let rig = Rig::start(World::of([route("tasks.test", &[&target(app.address)])]));
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
        let answer = http1
            .ask(post("https://tasks.test/echo", body.clone()))
            .await
            .unwrap();
        assert!(answer.body == body, "HTTP/1.1, {size}");
        let answer = http2
            .ask(post("https://tasks.test/echo", body.clone()))
            .await
            .unwrap();
        assert!(answer.body == body, "HTTP/2, {size}");
        // Of unknown length.
        let pieces = body
            .chunks(50_000)
            .map(|piece| Ok(Frame::data(body.slice_ref(piece))))
            .collect::<Vec<_>>();
        let chunked = BodyExt::boxed(StreamBody::new(futures_util::stream::iter(pieces)));
        let answer = http1
            .ask(
                Request::post("https://tasks.test/echo")
                    .body(chunked)
                    .unwrap(),
            )
            .await
            .unwrap();
        assert!(answer.body == body, "chunked, {size}");
    }
    until("all is counted", || {
        rig.route_reading("tasks.test").in_flight == 0
    })
    .await;
    let reading = rig.route_reading("tasks.test");
    assert_eq!(reading.bytes_in, reading.bytes_out);
    assert_eq!(
        reading.bytes_in,
        3 * (1 + 4_095 + 70_000 + pattern.len() as u64)
    );
}

/// Each piece leaves the app only when the one before has come to the client: held back, none would come.
#[tokio::test]
async fn f5_a_stream_is_passed_on_as_it_comes() {
    let came = Arc::new(Semaphore::new(0));
    let told = came.clone();
    let app = raw(move |mut stream, _| {
        let told = told.clone();
        async move {
            read_head(&mut stream).await.unwrap();
            let head = b"HTTP/1.1 200 OK\r\nContent-Length: 24\r\nConnection: close\r\n\r\n";
            stream.write_all(head).await.unwrap();
            for piece in 0..3 {
                let piece = format!("piece {piece}\n");
                stream.write_all(piece.as_bytes()).await.unwrap();
                told.acquire().await.unwrap().forget();
            }
        }
    })
    .await;
    let rig = Rig::start(World::of([route("tasks.test", &[&target(app.address)])]));
    for http2 in [false, true] {
        let request = get("https://tasks.test/");
        let response = match http2 {
            true => Http2::tls(&rig, "tasks.test").await.send(request).await,
            false => Http1::tls(&rig, "tasks.test").await.send(request).await,
        };
        let mut body = response.unwrap().into_body();
        for piece in 0..3 {
            let frame = within(Duration::from_secs(20), "a piece", body.frame()).await;
            let data = frame.unwrap().unwrap().into_data().unwrap();
            assert_eq!(data, format!("piece {piece}\n"));
            came.add_permits(1);
        }
        while let Some(frame) = body.frame().await {
            assert!(frame.unwrap().into_data().unwrap().is_empty());
        }
    }
}

#[tokio::test]
async fn f5_bodiless_answers_keep_their_connection_and_those_to_head_do_not() {
    let app = app("one").await;
    let rig = Rig::start(World::of([route("tasks.test", &[&target(app.address)])]));
    let mut http1 = Http1::tls(&rig, "tasks.test").await;
    for _ in 0..2 {
        let head = http1
            .ask(
                Request::head("https://tasks.test/bytes?n=500")
                    .body(full(""))
                    .unwrap(),
            )
            .await
            .unwrap();
        assert_eq!(
            (
                head.status.as_u16(),
                head.header("content-length"),
                head.body.len()
            ),
            (200, "500", 0)
        );
        assert_eq!(
            http1
                .ask(get("https://tasks.test/empty"))
                .await
                .unwrap()
                .status,
            204
        );
        assert_eq!(
            http1
                .ask(get("https://tasks.test/bytes?n=500"))
                .await
                .unwrap()
                .body
                .len(),
            500
        );
    }
    // What an app says behind its answer to HEAD would be read as the next one; behind the others it says nothing.
    assert_eq!(app.connections(), 3);
}

#[tokio::test]
async fn f5_trailers_pass_both_ways() {
    let app = app("one").await;
    let rig = Rig::start(World::of([route("tasks.test", &[&target(app.address)])]));
    let mut http2 = Http2::tls(&rig, "tasks.test").await;
    let mut request = get("https://tasks.test/trailers");
    request
        .headers_mut()
        .insert("te", "trailers".parse().unwrap());
    let answer = http2.ask(request).await.unwrap();
    assert_eq!(answer.trailers.unwrap()["x-sum"], "42");
    let mut trailers = http::HeaderMap::new();
    trailers.insert("x-check", "7".parse().unwrap());
    let frames = vec![
        Ok(Frame::data(Bytes::from_static(b"12345"))),
        Ok(Frame::trailers(trailers)),
    ];
    let body = BodyExt::boxed(StreamBody::new(futures_util::stream::iter(frames)));
    let answer = http2
        .ask(
            Request::post("https://tasks.test/count")
                .body(body)
                .unwrap(),
        )
        .await
        .unwrap();
    assert_eq!(answer.text(), "5 {\"x-check\": \"7\"}");
}

#[tokio::test]
async fn f5_expect_continue_is_the_apps_to_grant() {
    let app = app("one").await;
    let rig = Rig::start(World::of([route("tasks.test", &[&target(app.address)])]));
    let head = "POST /count HTTP/1.1\r\nHost: tasks.test\r\nContent-Length: 5\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n";
    let mut stream = tls(&rig, "tasks.test", "http/1.1").await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut interim = [0; 25];
    within(
        Duration::from_secs(20),
        "100",
        stream.read_exact(&mut interim),
    )
    .await
    .unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"hello").await.unwrap();
    let mut answer = String::new();
    drop(stream.read_to_string(&mut answer).await);
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("5 {}"),
        "{answer}"
    );
    // An app that decides without the body: no 100, and its answer.
    let answer = bytes(&rig, "tasks.test", head.replace("/count", "/early")).await;
    assert!(answer.starts_with("HTTP/1.1 409 Conflict\r\n"), "{answer}");
}

#[tokio::test]
async fn f5_an_answer_before_the_body_ends_is_passed_on() {
    let app = app("one").await;
    let rig = Rig::start(World::of([route("tasks.test", &[&target(app.address)])]));
    let mut http2 = Http2::tls(&rig, "tasks.test").await;
    let answer = within(
        Duration::from_secs(20),
        "early answer",
        http2.ask(post("https://tasks.test/early", vec![0; 5_000_000])),
    )
    .await;
    assert_eq!(answer.unwrap().status, 409);
    // The connection serves on.
    assert_eq!(
        http2.ask(get("https://tasks.test/")).await.unwrap().status,
        200
    );
}

#[tokio::test]
async fn f5_a_cut_answer_is_seen_as_cut() {
    let app = raw(|mut stream, _| async move {
        let head = read_head(&mut stream).await.unwrap();
        let chunked = head.contains("/chunked");
        let answer = if chunked {
            "Transfer-Encoding: chunked\r\n\r\n64\r\nshort"
        } else {
            "Content-Length: 100\r\n\r\nshort"
        };
        stream
            .write_all(format!("HTTP/1.1 200 OK\r\n{answer}").as_bytes())
            .await
            .unwrap();
    })
    .await;
    let rig = Rig::start(World::of([route("tasks.test", &[&target(app.address)])]));
    for path in ["/chunked", "/length"] {
        let uri = format!("https://tasks.test{path}");
        assert!(
            Http1::tls(&rig, "tasks.test")
                .await
                .ask(get(&uri))
                .await
                .is_err()
        );
        assert!(
            Http2::tls(&rig, "tasks.test")
                .await
                .ask(get(&uri))
                .await
                .is_err()
        );
    }
    until("all are counted", || {
        rig.route_reading("tasks.test").failures == 4
    })
    .await;
}

#[tokio::test]
async fn f5_an_answer_until_close_ends_with_the_connection() {
    let app = raw(|mut stream, _| async move {
        read_head(&mut stream).await.unwrap();
        stream
            .write_all(b"HTTP/1.0 200 OK\r\n\r\nuntil the end")
            .await
            .unwrap();
    })
    .await;
    let rig = Rig::start(World::of([route("tasks.test", &[&target(app.address)])]));
    let mut http1 = Http1::tls(&rig, "tasks.test").await;
    for _ in 0..2 {
        assert_eq!(
            http1.ask(get("https://tasks.test/")).await.unwrap().text(),
            "until the end"
        );
    }
}

#[tokio::test]
async fn f5_a_client_that_leaves_ends_its_request_at_the_app() {
    let (saying, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let app = raw(move |mut stream, _| {
        let saying = saying.clone();
        async move {
            let head = read_head(&mut stream).await.unwrap();
            if head.contains("/body") {
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nsome")
                    .await
                    .unwrap();
            }
            saying.send("came").unwrap();
            let mut rest = Vec::new();
            drop(stream.read_to_end(&mut rest).await);
            saying.send("gone").unwrap();
        }
    })
    .await;
    let target = target(app.address);
    let rig = Rig::start(World::of([route("tasks.test", &[&target])]));
    for (path, http2) in [
        ("/wait", false),
        ("/wait", true),
        ("/body", false),
        ("/body", true),
    ] {
        let request = get(&format!("https://tasks.test{path}"));
        let leave = async {
            match http2 {
                true => drop(Http2::tls(&rig, "tasks.test").await.ask(request).await),
                false => drop(Http1::tls(&rig, "tasks.test").await.ask(request).await),
            }
        };
        let patience = Duration::from_secs(20);
        let arrived = async {
            let came = within(patience, "the request", heard.recv()).await;
            assert_eq!(came, Some("came"));
            // What the app said may come to the one who leaves.
            tokio::time::sleep(Duration::from_millis(200)).await;
        };
        tokio::select! {
            () = leave => panic!("{path} was answered"),
            () = arrived => {}
        }
        let gone = within(patience, "the app hears of it", heard.recv()).await;
        assert_eq!(gone, Some("gone"));
        until("the claim is released", || target.in_flight() == 0).await;
    }
}

#[tokio::test]
async fn f5_interim_answers_end_here() {
    let app = always("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let rig = Rig::start(World::of([route("tasks.test", &[&target(app.address)])]));
    let answer = Http1::tls(&rig, "tasks.test")
        .await
        .ask(get("https://tasks.test/"))
        .await
        .unwrap();
    assert_eq!((answer.status.as_u16(), answer.text()), (200, "ok"));
}

#[tokio::test]
async fn f5_many_requests_at_once_over_one_connection() {
    let app = app("one").await;
    let rig = Rig::start(World::of([route("tasks.test", &[&target(app.address)])]));
    let http2 = Http2::tls(&rig, "tasks.test").await;
    let asking = (0..400usize).map(|n| {
        let mut http2 = http2.clone();
        async move {
            http2
                .ask(get(&format!("https://tasks.test/bytes?n={}", n * 37)))
                .await
                .map(|answer| answer.body.len() == n * 37)
        }
    });
    let whole = futures_util::future::join_all(asking).await;
    assert!(whole.into_iter().all(|answer| answer.unwrap()));
}
