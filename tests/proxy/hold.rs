//! Hold: while paused, or while nothing can be reached, requests wait; they do not fail.
use std::time::{Duration, Instant};

use freehold::base::clock::UnixMs;
use freehold::proxy::{Limits, RouteSpec, Upstream};

use crate::app::{app, app_on, refusing};
use crate::client::{Http1, Http2, get, post};
use crate::rig::{Rig, World, route, target, until, within};

fn paused(for_ms: u64) -> RouteSpec {
    let now = UnixMs::now();
    RouteSpec {
        upstream: Upstream::Paused {
            since: now,
            until: now.plus(Duration::from_millis(for_ms)),
        },
        ..route("tasks.test", &[])
    }
}

#[tokio::test]
async fn f4_requests_of_a_paused_route_wait_body_and_all() {
    let app = app("one").await;
    let rig = Rig::start(World::of([paused(60_000)]));
    let (mut http1, mut http2) = (
        Http1::tls(&rig, "tasks.test").await,
        Http2::tls(&rig, "tasks.test").await,
    );
    let held = || {
        let snapshot = rig.edge.snapshot();
        let route = snapshot.routes.find("tasks.test", "/").unwrap();
        route.gate().held()
    };
    let began = Instant::now();
    let asking = async {
        tokio::join!(
            http1.ask(post("https://tasks.test/count", vec![0; 1_000_000])),
            http2.ask(post("https://tasks.test/count", vec![0; 1_000_000]))
        )
    };
    let resume = async {
        until("both are held", || held() == 2).await;
        rig.publish(World::of([route("tasks.test", &[&target(app.address)])]));
    };
    let ((first, second), ()) = tokio::join!(asking, resume);
    assert_eq!(
        (first.unwrap().text(), second.unwrap().text()),
        ("1000000 {}", "1000000 {}")
    );
    assert!(began.elapsed() < Duration::from_secs(30));
    assert_eq!(held(), 0);
}

#[tokio::test]
async fn f4_a_pause_ends_in_503_with_retry_after() {
    let began = Instant::now();
    let rig = Rig::start(World::of([paused(2_000)]));
    let answer = Http1::tls(&rig, "tasks.test")
        .await
        .ask(get("https://tasks.test/"))
        .await
        .unwrap();
    assert_eq!(
        (answer.status.as_u16(), answer.header("retry-after")),
        (503, "10")
    );
    assert!((1_900..20_000).contains(&began.elapsed().as_millis()));
}

#[tokio::test]
async fn n6_a_pause_that_is_over_lets_the_held_go_on() {
    let app = app("one").await;
    let over = tokio::time::Instant::now() + Duration::from_secs(1);
    let rig = Rig::start(World::of([paused(1_000)]));
    let mut client = Http1::tls(&rig, "tasks.test").await;
    let resume = async {
        // The snapshot that says so comes a moment after the pause's own end, for which the held wait a second.
        tokio::time::sleep_until(over + Duration::from_millis(100)).await;
        rig.publish(World::of([route("tasks.test", &[&target(app.address)])]));
    };
    let (answer, ()) = tokio::join!(client.ask(post("https://tasks.test/echo", "kept")), resume);
    assert_eq!(answer.unwrap().text(), "kept");
}

#[tokio::test]
async fn n4_the_held_are_answered_when_the_edge_goes_down() {
    let rig = Rig::start(World::of([paused(60_000)]));
    let (mut http1, mut http2) = (
        Http1::tls(&rig, "tasks.test").await,
        Http2::tls(&rig, "tasks.test").await,
    );
    let gate = rig.edge.snapshot().gate("tasks.test").unwrap();
    let asking = async {
        tokio::join!(
            http1.ask(post("https://tasks.test/", "unread")),
            http2.ask(post("https://tasks.test/", "unread"))
        )
    };
    let down = async {
        until("both are held", || gate.held() == 2).await;
        rig.edge.drain(Duration::from_secs(4)).await;
    };
    let ((first, second), ()) = tokio::join!(asking, down);
    for answer in [first, second] {
        let answer = answer.expect("an answer, not a connection that goes silent");
        assert_eq!(
            (answer.status.as_u16(), answer.header("retry-after")),
            (503, "10")
        );
    }
}

/// Another edge takes connections, and says when a pause is over: nobody is sent away for that this one goes.
#[tokio::test]
async fn n4_the_held_of_an_edge_that_leaves_to_its_successor_go_on() {
    let app = app("one").await;
    let mut open = route("open.test", &[]);
    open.upstream = Upstream::Targets(vec![target(app.address)]);
    let rig = Rig::start(World::of([paused(60_000), open]));
    let (mut http1, mut http2) = (
        Http1::tls(&rig, "tasks.test").await,
        Http2::tls(&rig, "tasks.test").await,
    );
    let mut idle = Http1::tls(&rig, "open.test").await;
    idle.ask(get("https://open.test/")).await.unwrap();
    let gate = rig.edge.snapshot().gate("tasks.test").unwrap();
    let edge = rig.edge.handle();
    let next = {
        let before = rig.edge.snapshot();
        let open = route("tasks.test", &[&target(app.address)]);
        let open = freehold::proxy::Route::new(open, &before);
        freehold::proxy::Snapshot {
            generation: before.generation + 1,
            routes: freehold::proxy::RouteTable::new([open]),
            ..Default::default()
        }
    };
    let asking = async {
        tokio::join!(
            http1.ask(post("https://tasks.test/echo", "kept")),
            http2.ask(post("https://tasks.test/echo", "kept"))
        )
    };
    let leave = async {
        until("both are held", || gate.held() == 2).await;
        rig.edge
            .leave_to_successor(Duration::from_secs(20), std::future::pending())
            .await;
    };
    let resume = async {
        // Half of the time has passed: who does nothing is sent away, and who waits is not.
        until("the idle one is closed", || idle.is_closed()).await;
        assert_eq!(gate.held(), 2);
        edge.publish(std::sync::Arc::new(next));
    };
    let ((first, second), (), ()) = tokio::join!(asking, leave, resume);
    assert_eq!(first.unwrap().text(), "kept");
    assert_eq!(second.unwrap().text(), "kept");
}

/// It is told to hurry: then they are answered, as by one that goes down.
#[tokio::test]
async fn n4_an_edge_that_leaves_and_is_hurried_answers_the_held() {
    let rig = Rig::start(World::of([paused(60_000)]));
    let mut client = Http1::tls(&rig, "tasks.test").await;
    let gate = rig.edge.snapshot().gate("tasks.test").unwrap();
    let leave = async {
        until("it is held", || gate.held() == 1).await;
        let hurried = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            Duration::from_secs(4)
        };
        let began = Instant::now();
        let all = rig
            .edge
            .leave_to_successor(Duration::from_secs(600), hurried);
        within(Duration::from_secs(60), "it left", all).await;
        began.elapsed()
    };
    let (answer, took) = tokio::join!(client.ask(get("https://tasks.test/")), leave);
    let answer = answer.unwrap();
    assert_eq!(
        (answer.status.as_u16(), answer.header("retry-after")),
        (503, "10")
    );
    assert!(took < Duration::from_secs(60), "{took:?}");
}

#[tokio::test]
async fn f4_not_more_than_the_limit_are_held() {
    let rig = Rig::with_limits(
        World::of([paused(60_000)]),
        Limits {
            held: 3,
            workers: Some(2),
            ..Limits::default()
        },
    );
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let mut client = Http2::tls(&rig, "tasks.test").await;
        waiting.spawn(async move { client.ask(get("https://tasks.test/")).await });
    }
    let gate = rig.edge.snapshot().gate("tasks.test").unwrap();
    until("three are held", || gate.held() == 3).await;
    let answer = Http1::tls(&rig, "tasks.test")
        .await
        .ask(get("https://tasks.test/"))
        .await
        .unwrap();
    assert_eq!(
        (answer.status.as_u16(), answer.header("retry-after")),
        (503, "5")
    );
    // Those who leave make room.
    drop(waiting);
    until("none is held", || gate.held() == 0).await;
}

#[tokio::test]
async fn f8_an_app_that_comes_back_at_its_address_is_found_again() {
    let (socket, address) = refusing();
    let mut rig = Rig::start(World::of([route("tasks.test", &[&target(address)])]));
    let mut client = Http1::tls(&rig, "tasks.test").await;
    let back = async {
        let failure = rig.failures.recv().await.unwrap();
        assert_eq!(&*failure.target, &*format!("t:{address}"));
        // Away for longer than the one who asks for a newer snapshot waits.
        tokio::time::sleep(Duration::from_millis(600)).await;
        app_on(socket.listen(64).unwrap(), "back")
    };
    let (answer, _app) = tokio::join!(client.ask(post("https://tasks.test/echo", "kept")), back);
    assert_eq!(answer.unwrap().text(), "kept");
}

#[tokio::test]
async fn f8_a_new_address_is_followed_at_once() {
    let (_nobody, dead) = refusing();
    let app = app("new").await;
    let mut rig = Rig::start(World::of([route("tasks.test", &[&target(dead)])]));
    let mut client = Http1::tls(&rig, "tasks.test").await;
    let began = Instant::now();
    let answer = tokio::select! {
        answer = client.ask(post("https://tasks.test/echo", "kept")) => answer,
        () = async {
            rig.failures.recv().await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
            rig.publish(World::of([route("tasks.test", &[&target(app.address)])]));
            std::future::pending().await
        } => unreachable!(),
    };
    assert_eq!(answer.unwrap().text(), "kept");
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn f8_an_app_that_stays_away_ends_in_503() {
    let (_nobody, dead) = refusing();
    let spec = RouteSpec {
        held_for: Some(Duration::from_millis(700)),
        ..route("tasks.test", &[&target(dead)])
    };
    let rig = Rig::start(World::of([spec]));
    let began = Instant::now();
    let answer = Http1::tls(&rig, "tasks.test")
        .await
        .ask(get("https://tasks.test/"))
        .await
        .unwrap();
    assert_eq!(answer.status, 503);
    assert!(
        (700..20_000).contains(&began.elapsed().as_millis()),
        "{:?}",
        began.elapsed()
    );
    until("it is counted", || {
        rig.route_reading("tasks.test").failures == 1
    })
    .await;
}

#[tokio::test]
async fn f8_a_refusing_target_is_passed_over_for_one_that_answers() {
    let (_nobody, dead) = refusing();
    let app = app("one").await;
    let rig = Rig::start(World::of([route(
        "tasks.test",
        &[&target(dead), &target(app.address)],
    )]));
    let mut client = Http1::tls(&rig, "tasks.test").await;
    for _ in 0..50 {
        let answer = within(
            Duration::from_secs(60),
            "an answer",
            client.ask(post("https://tasks.test/echo", "x")),
        )
        .await;
        assert_eq!(answer.unwrap().status, 200);
    }
}
