//! Connections to apps that are spoken to over HTTP/2 without TLS: shared by many requests, and what becomes of those when
//! a target says goodbye, refuses, restarts or is retired.
use std::time::{Duration, Instant};

use freehold::proxy::RouteSpec;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::app::{app, h2c_app, h2c_app_on, raw, refusing};
use crate::client::{Http1, Http2, get, post, whole};
use crate::h2c::{PATIENCE, frames, rig, short};
use crate::rig::{Rig, World, h2c_target, route, within};

#[tokio::test]
async fn e2_300_requests_at_once_share_a_few_connections_within_what_the_app_allows() {
    for (streams, most) in [(200, 16), (40, 24)] {
        // Whoever waits for a connection longer than a moment opens one, which on a busy machine may be many for once.
        let mut opened = Vec::<usize>::new();
        while opened.len() < 5 && !opened.iter().any(|count| *count <= most) {
            opened.push(connections_of_300(streams).await);
        }
        assert!(opened.iter().any(|count| *count <= most), "{opened:?}");
    }
}

/// How many connections 300 requests at once have an app that allows so many streams on each.
async fn connections_of_300(streams: u32) -> usize {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let app = h2c_app_on(listener, "one", streams);
    let rig = rig(&app);
    let mut asking = Vec::new();
    // The edge takes 128 streams a connection from a client.
    for _ in 0..3 {
        let http2 = Http2::tls(&rig, "tasks.test").await;
        asking.extend((0..100usize).map(|n| {
            let mut http2 = http2.clone();
            async move {
                let uri = match n % 2 {
                    0 => "https://tasks.test/slow?ms=300".to_owned(),
                    _ => format!("https://tasks.test/bytes?n={}", n * 370),
                };
                let answer = http2.ask(get(&uri)).await.unwrap();
                assert_eq!(answer.status, 200);
                n % 2 == 0 || answer.body.len() == n * 370
            }
        }));
    }
    let whole = futures_util::future::join_all(asking).await;
    assert!(whole.into_iter().all(|whole| whole));
    assert_eq!(app.requests(), 300, "none was refused and sent again");
    app.connections()
}

/// Streams that the app refuses, or that come after the last that its GOAWAY lets pass, were not looked at: whatever the
/// method, they are sent again. One that was cut is not.
#[tokio::test]
async fn e2_what_an_h2c_app_refuses_is_sent_again_and_what_it_cuts_is_not() {
    let app = frames(|mut connection, _| async move {
        let mut refused = false;
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            match request.uri().path() {
                "/refused" if !refused => {
                    refused = true;
                    respond.send_reset(h2::Reason::REFUSED_STREAM);
                }
                "/cut" => return,
                _ => {
                    let mut answer = respond.send_response(Response::new(()), false).unwrap();
                    answer.send_data("well".into(), true).unwrap();
                }
            }
        }
    })
    .await;
    let rig = Rig::with_limits(
        World::of([route("tasks.test", &[&h2c_target(app.address)])]),
        short(),
    );
    let mut http1 = Http1::tls(&rig, "tasks.test").await;
    let uri = "https://tasks.test/refused";
    let answer = http1.ask(post(uri, "order")).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.text()), (200, "well"));
    let uri = "https://tasks.test/cut";
    assert_eq!(http1.ask(post(uri, "order")).await.unwrap().status, 502);
    assert_eq!(app.connections(), 1);
    assert_eq!(http1.ask(get(uri)).await.unwrap().status, 502);
    assert_eq!(app.connections(), 3, "what only reads is tried once more");
}

/// It is sent again for as long as a request may be held, and no longer: an app that refuses for good is not asked for ever.
#[tokio::test]
async fn e2_what_an_h2c_app_refuses_for_good_ends_when_its_time_is_over() {
    let app = frames(|mut connection, _| async move {
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            respond.send_reset(h2::Reason::REFUSED_STREAM);
        }
    })
    .await;
    let spec = RouteSpec {
        held_for: Some(Duration::from_millis(1_500)),
        ..route("tasks.test", &[&h2c_target(app.address)])
    };
    let rig = Rig::start(World::of([spec]));
    let began = Instant::now();
    let mut http2 = Http2::tls(&rig, "tasks.test").await;
    let asking = http2.ask(post("https://tasks.test/", "order"));
    let answer = within(PATIENCE, "an end", asking).await.unwrap();
    assert_eq!(answer.status, 503);
    // Not for the half minute of other routes.
    let held = Duration::from_millis(1_500)..Duration::from_secs(25);
    assert!(held.contains(&began.elapsed()), "{:?}", began.elapsed());
}

/// A GOAWAY on the wire, whose last stream is 0: the request that came was not looked at.
#[tokio::test]
async fn e2_a_request_above_the_last_of_a_goaway_is_sent_again_elsewhere() {
    const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
    const GOAWAY: &[u8] = &[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let says_goodbye = raw(|mut stream, _| async move {
        stream.write_all(SETTINGS).await.unwrap();
        // The preface, its settings and window, then the head of the request.
        let mut some = vec![0; 4_096];
        let mut came = 0;
        while came < 150 {
            came += match stream.read(&mut some).await {
                Ok(count) if count > 0 => count,
                _ => return,
            };
        }
        stream.write_all(GOAWAY).await.unwrap();
        stream.read_to_end(&mut some).await.ok();
    })
    .await;
    let serves = h2c_app("two").await;
    let rig = Rig::start(World::of([route(
        "tasks.test",
        &[
            &h2c_target(says_goodbye.address),
            &h2c_target(serves.address),
        ],
    )]));
    let mut http2 = Http2::tls(&rig, "tasks.test").await;
    for _ in 0..20 {
        let answer = http2.ask(post("https://tasks.test/", "order")).await;
        assert_eq!(answer.unwrap().status, 200);
    }
    assert!(says_goodbye.connections() > 0);
}

/// The app goes away and comes back at the same address while requests run: what is running may be cut, nothing else.
#[tokio::test]
async fn e2_an_h2c_app_restarts_under_requests() {
    let app = h2c_app("one").await;
    let address = app.address;
    let rig = rig(&app);
    let mut http2 = Http2::tls(&rig, "tasks.test").await;
    let uri = "https://tasks.test/";
    assert_eq!(http2.ask(post(uri, "order")).await.unwrap().status, 200);
    app.stop();
    // What is sent before the end of the connection is seen may be lost with it, as anything that is running.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let asking = {
        let mut http2 = http2.clone();
        tokio::spawn(async move { http2.ask(post(uri, "order")).await.unwrap() })
    };
    tokio::time::sleep(Duration::from_millis(300)).await;
    let listener = TcpListener::bind(address).await.unwrap();
    let again = h2c_app_on(listener, "again", 100);
    let answer = within(PATIENCE, "the held one", asking).await.unwrap();
    assert_eq!(
        (answer.status.as_u16(), answer.header("x-app")),
        (200, "again")
    );
    assert_eq!(again.requests(), 1);
}

#[tokio::test]
async fn e2_a_retired_h2c_target_ends_its_streams_and_gets_no_new_ones() {
    let (one, two) = (h2c_app("one").await, h2c_app("two").await);
    let (first, second) = (h2c_target(one.address), h2c_target(two.address));
    let rig = Rig::start(World::of([route("tasks.test", &[&first])]));
    let mut http2 = Http2::tls(&rig, "tasks.test").await;
    let uri = "https://tasks.test/drip?pieces=5&ms=100";
    let running = http2.send(get(uri)).await.unwrap();
    rig.publish(World::of([route("tasks.test", &[&second])]));
    first.retire();
    let answer = http2.ask(get("https://tasks.test/")).await.unwrap();
    assert_eq!(answer.header("x-app"), "two");
    let whole = whole(running).await.unwrap();
    assert!(whole.text().ends_with("piece 4\n"), "what runs, runs on");
    within(PATIENCE, "the drain", first.drained()).await;
    assert_eq!(one.requests(), 1);
}

#[tokio::test]
async fn e2_an_h2c_target_that_cannot_be_reached_is_reported_and_another_takes_over() {
    let (_nobody, gone_address) = refusing();
    let app = h2c_app("one").await;
    let mut rig = Rig::start(World::of([route(
        "tasks.test",
        &[&h2c_target(gone_address), &h2c_target(app.address)],
    )]));
    let mut http2 = Http2::tls(&rig, "tasks.test").await;
    for _ in 0..20 {
        let answer = http2.ask(post("https://tasks.test/", "order")).await;
        assert_eq!(answer.unwrap().status, 200);
    }
    let failure = within(PATIENCE, "a report", rig.failures.recv()).await;
    assert_eq!(&*failure.unwrap().target, format!("t:{gone_address}"));
}

#[tokio::test]
async fn e2_an_app_that_does_not_speak_h2c_is_told_apart_at_once() {
    let app = app("one").await;
    let rig = rig(&app);
    let mut http2 = Http2::tls(&rig, "tasks.test").await;
    let begun = Instant::now();
    let answer = http2.ask(get("https://tasks.test/")).await.unwrap();
    assert_eq!(answer.status, 502);
    assert!(begun.elapsed() < Duration::from_secs(5), "not held");
}

/// An app that ends each of its connections after a moment, politely (GOAWAY), and takes new ones: whatever the method,
/// no call is lost. The saboteur: one that ends them without a word loses some.
#[tokio::test]
async fn e2_an_h2c_app_that_says_goodbye_again_and_again_loses_no_request() {
    assert_eq!(lost_by_an_app_that_ends_connections(true).await, 0);
    assert!(lost_by_an_app_that_ends_connections(false).await > 0);
}

async fn lost_by_an_app_that_ends_connections(politely: bool) -> u32 {
    let app = raw(move |stream, _| async move {
        let service = hyper::service::service_fn(|request: Request<hyper::body::Incoming>| async {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            tokio::time::sleep(Duration::from_millis(5)).await;
            Ok::<_, std::convert::Infallible>(Response::new(http_body_util::Full::new(body)))
        });
        let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            _ = &mut connection => return,
            () = tokio::time::sleep(Duration::from_millis(50)) => {}
        }
        if politely {
            connection.as_mut().graceful_shutdown();
            connection.await.ok();
        }
    })
    .await;
    let rig = rig(&app);
    let begun = Instant::now();
    let asking = (0..16).map(|n| {
        let rig = &rig;
        async move {
            let mut http2 = Http2::tls(rig, "tasks.test").await;
            let (mut asked, mut lost) = (0, 0);
            while begun.elapsed() < Duration::from_secs(2) {
                let order = format!("order {n} {asked}");
                let answer = http2
                    .ask(post("https://tasks.test/", order.clone()))
                    .await
                    .unwrap();
                match answer.status.as_u16() {
                    200 => assert_eq!(answer.text(), order),
                    _ => lost += 1,
                }
                asked += 1;
            }
            (asked, lost)
        }
    });
    let (asked, lost) = futures_util::future::join_all(asking)
        .await
        .into_iter()
        .fold((0_u32, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    assert!(
        asked > 100 && app.connections() > 10,
        "{asked} over {}",
        app.connections()
    );
    lost
}

#[tokio::test]
async fn e2_the_connections_of_a_retired_h2c_target_are_closed() {
    let (saying, mut heard) = mpsc::unbounded_channel();
    let app = frames(move |mut connection, _| {
        let saying = saying.clone();
        async move {
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                respond.send_response(Response::new(()), true).unwrap();
            }
            saying.send("closed").unwrap();
        }
    })
    .await;
    let target = h2c_target(app.address);
    let rig = Rig::start(World::of([route("tasks.test", &[&target])]));
    let mut http2 = Http2::tls(&rig, "tasks.test").await;
    http2.ask(get("https://tasks.test/")).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(heard.try_recv().is_err(), "kept while it may be wanted");
    target.retire();
    let closed = within(PATIENCE, "its end", heard.recv()).await;
    assert_eq!(closed, Some("closed"));
}
