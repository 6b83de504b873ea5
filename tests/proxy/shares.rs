//! What one client may hold of apps at a time, of the streams of those that are spoken to over HTTP/2 and of connections to the
//! others, and what cannot be said in HTTP/2.
use std::sync::Arc;
use std::time::{Duration, Instant};

use freehold::proxy::{Limits, Refusal, Target};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::app::{app, h2c_app};
use crate::client::{Http2, Whole, get, over_tls};
use crate::origin::{from, trusting};
use crate::rig::{Rig, World, h2c_target, route, target, until, within};

const PATIENCE: Duration = Duration::from_secs(60);
/// Half of the 32 connections of 100 streams that the one worker has to a target.
const SHARE: u64 = 1_600;
/// More than can have it.
const CONNECTIONS: u64 = 14;

async fn client(rig: &Rig, source: &str) -> Http2 {
    let stream = from(source, rig.https).await.unwrap();
    Http2::over(
        over_tls(&rig.authority(), "tasks.test", "h2", stream)
            .await
            .unwrap(),
    )
    .await
}

async fn ask(client: &mut Http2, path: &str, spoken_for: Option<&str>) -> Whole {
    let mut request = get(&format!("https://tasks.test{path}"));
    if let Some(address) = spoken_for {
        let fields = request.headers_mut();
        fields.insert("x-forwarded-for", address.parse().unwrap());
    }
    within(PATIENCE, path, client.ask(request)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn e4_one_source_has_half_of_an_h2c_targets_streams_at_most() {
    let app = h2c_app("one").await;
    let target = h2c_target(app.address);
    one_source_has_its_share(&target, SHARE).await;
}

/// Each is a connection of its own there, with a descriptor and a port; eight of each connection are nobody's business.
#[tokio::test(flavor = "multi_thread")]
async fn e4_one_source_has_as_many_requests_at_apps_over_http1() {
    let app = app("one").await;
    let target = target(app.address);
    one_source_has_its_share(&target, SHARE + 8 * CONNECTIONS).await;
}

async fn one_source_has_its_share(target: &Arc<Target>, share: u64) {
    let limits = Limits {
        workers: Some(1),
        ..Limits::default()
    };
    let rig = Rig::with_limits(World::of([route("tasks.test", &[target])]), limits);
    rig.edge.trust(trusting(&["127.0.0.9"]));
    let mut holding = tokio::task::JoinSet::new();
    // Each connection has as many as it may have at a time.
    for _ in 0..CONNECTIONS {
        let client = client(&rig, "127.0.0.2").await;
        for _ in 0..128 {
            let mut client = client.clone();
            holding.spawn(async move {
                let answer = ask(&mut client, "/slow?ms=600000", None).await;
                answer.status.as_u16()
            });
        }
    }
    for _ in 0..CONNECTIONS * 128 - share {
        let refused = within(PATIENCE, "a refusal", holding.join_next()).await;
        assert_eq!(refused.unwrap().unwrap(), 429);
    }
    until("its share is open", || target.in_flight() == share).await;
    let refused = rig.edge.stats().refusals;
    assert_eq!(refused.of(Refusal::TooManyStreams), refused.sum());
    // Another request is refused, also through another door of the same source; others have theirs.
    let mut proxy = client(&rig, "127.0.0.9").await;
    let (mut same, mut other) = (
        client(&rig, "127.0.0.2").await,
        client(&rig, "127.0.0.3").await,
    );
    if share == SHARE {
        let began = Instant::now();
        let answer = ask(&mut same, "/", None).await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("retry-after")),
            (429, "10")
        );
        // Not at once, so that asking again at once is no attack of its own.
        assert!(began.elapsed() >= Duration::from_millis(100));
        assert_eq!(ask(&mut proxy, "/", Some("127.0.0.2")).await.status, 429);
    }
    assert_eq!(ask(&mut proxy, "/", Some("192.0.2.1")).await.status, 200);
    // A proxy that does not say for whom it asks stands for many.
    assert_eq!(ask(&mut proxy, "/", None).await.status, 200);
    assert_eq!(ask(&mut other, "/", None).await.status, 200);
    holding.abort_all();
    until("all are over", || target.in_flight() == 0).await;
    assert_eq!(ask(&mut same, "/", None).await.status, 200);
}

/// It is the request's fault, and not a client that went away.
#[tokio::test]
async fn e2_what_cannot_be_said_to_an_h2c_app_is_a_bad_request_and_told_as_one() {
    let app = h2c_app("one").await;
    let mut odd = route("a[b", &[&h2c_target(app.address)]);
    odd.redirect_http = false;
    let rig = Rig::start(World {
        routes: vec![odd],
        without_certificate: vec!["a[b"],
        ..World::default()
    });
    let mut stream = TcpStream::connect(rig.http).await.unwrap();
    let request = b"GET / HTTP/1.1\r\nHost: a[b\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer);
    within(PATIENCE, "an answer", read).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer.contains("cannot be said in HTTP/2"), "{answer}");
    assert_eq!(app.requests(), 0);
}
