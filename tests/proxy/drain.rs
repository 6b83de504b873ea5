//! Drain: what was begun ends whole, whatever is switched meanwhile.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use freehold::proxy::Target;
use http_body_util::BodyExt;

use crate::app::{App, app};
use crate::client::{Http1, Http2, Whole, fetch, get, over_tls, whole};
use crate::rig::{Rig, World, route, target, until, within};

/// One switch from an old app to a new one while a 5 s answer runs; with the drain or without it.
async fn switch_under_a_slow_answer(drain: bool) -> (Result<bool, hyper::Error>, App) {
    let (old, new) = (app("old").await, app("new").await);
    let (old_target, new_target) = (target(old.address), target(new.address));
    let rig = Rig::start(World::of([route("tasks.test", &[&old_target])]));
    let mut client = Http1::tls(&rig, "tasks.test").await;
    let began = Instant::now();
    let response = client
        .send(get("https://tasks.test/drip?pieces=25&ms=200"))
        .await
        .unwrap();
    assert_eq!(old_target.in_flight(), 1);

    rig.publish(World::of([route("tasks.test", &[&new_target])]));
    old_target.retire();
    assert_eq!(
        fetch(&rig, "https://tasks.test/").await.header("x-app"),
        "new"
    );
    let reading = tokio::spawn(whole(response));
    if drain {
        within(Duration::from_secs(30), "drained", old_target.drained()).await;
        assert!(
            began.elapsed() > Duration::from_secs(4),
            "drained before the body ended: {:?}",
            began.elapsed()
        );
    }
    old.stop();
    let answer = reading.await.unwrap();
    (
        answer.map(|answer| answer.text().lines().count() == 25),
        new,
    )
}

#[tokio::test]
async fn f4_an_answer_of_5_s_begun_before_the_switch_ends_whole() {
    let (answer, _new) = switch_under_a_slow_answer(true).await;
    assert!(answer.unwrap());
}

#[tokio::test]
async fn f4_saboteur_without_the_drain_the_same_answer_is_lost() {
    let (answer, _new) = switch_under_a_slow_answer(false).await;
    assert!(answer.is_err());
}

/// Switches between fresh apps under load from both protocols; returns (answers, failures).
async fn switches_under_load(drain: bool) -> (usize, usize) {
    let first = app("a").await;
    let mut old = (target(first.address), first);
    let rig = Arc::new(Rig::start(World::of([route("tasks.test", &[&old.0])])));
    let stop = Arc::new(AtomicBool::new(false));
    let (good, bad) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut load = tokio::task::JoinSet::new();
    for number in 0..16 {
        let (rig, stop, good, bad) = (rig.clone(), stop.clone(), good.clone(), bad.clone());
        load.spawn(async move {
            let mut http1 = Http1::tls(&rig, "tasks.test").await;
            let mut http2 = Http2::tls(&rig, "tasks.test").await;
            while !stop.load(Ordering::Relaxed) {
                // A body of a POST is gone once sent: nothing but the drain can save it.
                let request = crate::client::post("https://tasks.test/slow?ms=20", "x");
                let answer = if number % 2 == 0 {
                    http1.ask(request).await
                } else {
                    http2.ask(request).await
                };
                match answer {
                    Ok(answer) if answer.status == 200 && answer.text() == "slow\n" => {
                        good.fetch_add(1, Ordering::Relaxed)
                    }
                    _ => bad.fetch_add(1, Ordering::Relaxed),
                };
                if http1.is_closed() {
                    http1 = Http1::tls(&rig, "tasks.test").await;
                }
            }
        });
    }
    for _ in 0..10 {
        // Each lives for a moment under the load.
        let wanted = good.load(Ordering::Relaxed) + 40;
        until("answers", || good.load(Ordering::Relaxed) >= wanted).await;
        let next = app("b").await;
        let next_target = target(next.address);
        rig.publish(World::of([route("tasks.test", &[&next_target])]));
        let (old_target, old_app) = std::mem::replace(&mut old, (next_target, next));
        old_target.retire();
        if drain {
            within(Duration::from_secs(60), "drained", old_target.drained()).await;
        }
        old_app.stop();
    }
    stop.store(true, Ordering::Relaxed);
    load.join_all().await;
    (good.load(Ordering::Relaxed), bad.load(Ordering::Relaxed))
}

#[tokio::test(flavor = "multi_thread")]
async fn f4_ten_switches_under_load_lose_nothing() {
    let (good, bad) = switches_under_load(true).await;
    assert!(good > 300, "{good}");
    assert_eq!(bad, 0, "of {good}");
}

#[tokio::test(flavor = "multi_thread")]
async fn f4_saboteur_ten_switches_without_the_drain_lose_requests() {
    let (_, bad) = switches_under_load(false).await;
    assert!(bad > 0);
}

#[tokio::test]
async fn f4_drained_waits_for_the_body_and_no_longer() {
    let app = app("one").await;
    let target: Arc<Target> = target(app.address);
    let rig = Rig::start(World::of([route("tasks.test", &[&target])]));
    let mut client = Http2::tls(&rig, "tasks.test").await;
    let response = client
        .send(get("https://tasks.test/drip?pieces=3&ms=1000"))
        .await
        .unwrap();
    target.retire();
    assert!(
        tokio::time::timeout(Duration::from_millis(150), target.drained())
            .await
            .is_err()
    );
    let mut body = response.into_body();
    while body.frame().await.is_some() {}
    within(Duration::from_secs(20), "drained", target.drained()).await;
}

#[tokio::test]
async fn f8_the_edge_drains_without_losing_a_request() {
    let app = app("one").await;
    let target = target(app.address);
    let rig = Rig::start(World::of([route("tasks.test", &[&target])]));
    let mut idle = Http1::tls(&rig, "tasks.test").await;
    assert_eq!(
        idle.ask(get("https://tasks.test/")).await.unwrap().status,
        200
    );
    let mut http1 = Http1::tls(&rig, "tasks.test").await;
    let mut http2 = Http2::tls(&rig, "tasks.test").await;
    let slow = || get("https://tasks.test/slow?ms=2000");
    let (first, second) = (http1.send(slow()), http2.send(slow()));
    let drain = async {
        until("both are begun", || target.in_flight() >= 2).await;
        let began = Instant::now();
        rig.edge.drain(Duration::from_secs(15)).await;
        began.elapsed()
    };
    let last = async {
        until("both are begun", || target.in_flight() >= 2).await;
        // An idle connection's last request is answered, and told that it was the last.
        loop {
            let answer = idle.ask(get("https://tasks.test/")).await.unwrap();
            if answer.header("connection") == "close" {
                return answer;
            }
        }
    };
    let (first, second, took, last) = tokio::join!(first, second, drain, last);
    assert_eq!(whole(first.unwrap()).await.unwrap().text(), "slow\n");
    assert_eq!(whole(second.unwrap()).await.unwrap().text(), "slow\n");
    assert_eq!(
        (last.status.as_u16(), last.header("connection")),
        (200, "close")
    );
    assert!(took < Duration::from_secs(15), "{took:?}");
    assert!(http2.send(get("https://tasks.test/")).await.is_err());
}

#[tokio::test]
async fn f8_what_outlasts_the_drain_is_cut_at_its_limit() {
    let app = app("one").await;
    let target = target(app.address);
    let rig = Rig::start(World::of([route("tasks.test", &[&target])]));
    let mut http1 = Http1::tls(&rig, "tasks.test").await;
    let slow = http1.send(get("https://tasks.test/slow?ms=20000"));
    let drain = async {
        until("it is begun", || target.in_flight() == 1).await;
        let began = Instant::now();
        rig.edge.drain(Duration::from_secs(1)).await;
        began.elapsed()
    };
    let (slow, took) = tokio::join!(slow, drain);
    assert!(slow.is_err());
    assert!((1.0..15.0).contains(&took.as_secs_f64()), "{took:?}");
}

/// Another edge takes connections from the same sockets; the one that leaves tells everybody in a way that costs nothing.
#[tokio::test]
async fn n4_an_edge_leaves_to_its_successor_without_losing_a_request() {
    let app = app("one").await;
    let target = target(app.address);
    let rig = Rig::start(World::of([route("tasks.test", &[&target])]));
    let mut idle = Http1::tls(&rig, "tasks.test").await;
    let ask = || get("https://tasks.test/");
    assert_eq!(idle.ask(ask()).await.unwrap().status, 200);
    let mut http2 = Http2::tls(&rig, "tasks.test").await;
    let running = http2.send(get("https://tasks.test/slow?ms=1500"));
    let leave = async {
        until("it is begun", || target.in_flight() >= 1).await;
        rig.edge
            .leave_to_successor(Duration::from_secs(60), std::future::pending())
            .await;
    };
    let rest = async {
        until("it is begun", || target.in_flight() >= 1).await;
        // Longer than a restart leaves an idle connection; what it asks now is its last.
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        let last = idle.ask(ask()).await.unwrap();
        (last.status.as_u16(), last.header("connection").to_owned())
    };
    let (running, (), last) = tokio::join!(running, leave, rest);
    assert_eq!(whole(running.unwrap()).await.unwrap().text(), "slow\n");
    assert_eq!(last, (200, "close".to_owned()));
    // It was told, in the first moment, to go elsewhere.
    assert!(http2.send(ask()).await.is_err());
}

/// Whose handshake was under way when the edge began to go down, and took longer than idle connections are waited for: what
/// it came for is asked a moment later. Told by how long it took, as a late one is sent away.
async fn comes_late(hurried: bool) -> (Duration, hyper::Result<Whole>) {
    let app = app("one").await;
    let rig = Rig::start(World::of([route("tasks.test", &[&target(app.address)])]));
    let stream = tokio::net::TcpStream::connect(rig.https).await.unwrap();
    until("it is taken", || rig.edge.stats().connections == 1).await;
    let (edge, authority) = (rig.edge.handle(), rig.authority());
    let leave = async {
        match hurried {
            false => rig.edge.drain(Duration::from_secs(20)).await,
            true => {
                let hurry = std::future::ready(Duration::from_secs(20));
                rig.edge
                    .leave_to_successor(Duration::from_secs(60), hurry)
                    .await;
            }
        }
    };
    let come = async {
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        assert_eq!(edge.stats().connections, 1);
        let stream = over_tls(&authority, "tasks.test", "http/1.1", stream).await;
        let came = Instant::now();
        let mut client = Http1::over(stream.unwrap()).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        let answer = client.ask(get("https://tasks.test/")).await;
        (came.elapsed(), answer)
    };
    tokio::join!(leave, come).1
}

#[tokio::test]
async fn n4_who_has_just_come_is_answered_by_an_edge_that_goes_down() {
    for hurried in [false, true] {
        loop {
            let (took, answer) = comes_late(hurried).await;
            match answer {
                Ok(answer) => {
                    assert_eq!(answer.status, 200);
                    assert_eq!(answer.header("connection"), "close");
                    break;
                }
                // On a busy machine it was late.
                Err(_) if took > Duration::from_millis(600) => {}
                Err(error) => panic!("{error} after {took:?}"),
            }
        }
    }
}

/// The edge that was closed takes connections again: those that came meanwhile waited.
#[tokio::test]
async fn n4_a_closed_edge_that_opens_again_has_lost_nobody() {
    let app = app("one").await;
    let mut rig = Rig::start(World::of([route("tasks.test", &[&target(app.address)])]));
    rig.edge.close().await;
    let waiting = tokio::net::TcpStream::connect(rig.https).await.unwrap();
    drop(waiting);
    let http = rig.https;
    let asked = tokio::spawn(async move { tokio::net::TcpStream::connect(http).await });
    rig.edge.open().unwrap();
    asked.await.unwrap().unwrap();
    let mut client = Http1::tls(&rig, "tasks.test").await;
    let answer = client.ask(get("https://tasks.test/")).await.unwrap();
    assert_eq!(answer.status, 200);
}
