//! Browsers that stay with the replica that answered them first.
use std::collections::HashSet;
use std::sync::Arc;

use freehold::proxy::{RouteSpec, Target};

use crate::app::app;
use crate::balancing::ask;
use crate::client::{Http1, get};
use crate::rig::{Rig, World, route, target};

#[tokio::test]
async fn e5_a_client_with_the_cookie_stays_at_its_replica() {
    let (one, two, three) = (app("one").await, app("two").await, app("three").await);
    let targets = [&one, &two, &three].map(|app| target(app.address));
    let sticky = |targets: &[&Arc<Target>]| RouteSpec {
        sticky: true,
        redirect_http: false,
        ..route("tasks.test/shop", targets)
    };
    let all: Vec<_> = targets.iter().collect();
    let rig = Rig::start(World::of([sticky(&all)]));
    let mut client = Http1::tls(&rig, "tasks.test").await;
    let with = |cookie: &str| {
        let mut request = get("https://tasks.test/shop");
        if !cookie.is_empty() {
            let cookie = format!("theme=dark; {cookie}");
            request
                .headers_mut()
                .insert("cookie", cookie.parse().unwrap());
        }
        request
    };
    let first = ask(&mut client, with("")).await;
    let (cookie, attributes) = first.header("set-cookie").split_once("; ").unwrap();
    assert_eq!(attributes, "Path=/shop; HttpOnly; SameSite=Lax; Secure");
    for _ in 0..30 {
        let again = ask(&mut client, with(cookie)).await;
        assert_eq!(again.header("x-app"), first.header("x-app"));
        assert_eq!(again.header("set-cookie"), "", "only when chosen anew");
    }
    // The saboteur: without it, and with one of nobody's, clients wander.
    for cookie in ["", "freehold-replica=0123456789abcdef"] {
        let mut seen = HashSet::new();
        for _ in 0..30 {
            let answer = ask(&mut client, with(cookie)).await;
            assert!(answer.header("set-cookie").starts_with("freehold-replica="));
            seen.insert(answer.header("x-app").to_owned());
        }
        assert_eq!(seen.len(), 3);
    }
    let mut plain = Http1::plain(&rig).await;
    let answer = ask(&mut plain, with("")).await;
    assert!(
        answer
            .header("set-cookie")
            .ends_with("; Path=/shop; HttpOnly; SameSite=Lax")
    );

    // Its replica goes: another is chosen, and stays.
    let name = first.header("x-app");
    let gone = ["one", "two", "three"]
        .iter()
        .position(|app| *app == name)
        .unwrap();
    let rest: Vec<_> = targets
        .iter()
        .filter(|t| !Arc::ptr_eq(t, &targets[gone]))
        .collect();
    rig.publish(World::of([sticky(&rest)]));
    let moved = ask(&mut client, with(cookie)).await;
    let cookie = moved.header("set-cookie").split_once(';').unwrap().0;
    let again = ask(&mut client, with(cookie)).await;
    assert_eq!(
        (again.header("x-app"), again.header("set-cookie")),
        (moved.header("x-app"), "")
    );
}

/// Another edge, after a restart or a handover, that was given the same key.
#[tokio::test]
async fn e5_a_client_with_the_cookie_stays_at_its_replica_at_the_next_edge_too() {
    let (one, two, three) = (app("one").await, app("two").await, app("three").await);
    let edge = |key: Option<&[u8]>| {
        let targets = [&one, &two, &three].map(|app| target(app.address));
        let all: Vec<_> = targets.iter().collect();
        let rig = Rig::start(World::of([]));
        if let Some(key) = key {
            rig.edge.mark_by(key);
        }
        rig.publish(World::of([RouteSpec {
            sticky: true,
            ..route("tasks.test", &all)
        }]));
        rig
    };
    let with = |cookie: &str| {
        let mut request = get("https://tasks.test/");
        let fields = request.headers_mut();
        fields.insert("cookie", cookie.parse().unwrap());
        request
    };
    let before = edge(Some(b"of the box"));
    let mut client = Http1::tls(&before, "tasks.test").await;
    let first = ask(&mut client, with("a=1")).await;
    let cookie = first.header("set-cookie").split_once(';').unwrap().0;
    for (key, stays) in [(Some(&b"of the box"[..]), true), (None, false)] {
        let next = edge(key);
        let mut client = Http1::tls(&next, "tasks.test").await;
        let mut seen = HashSet::new();
        for _ in 0..30 {
            let answer = ask(&mut client, with(cookie)).await;
            seen.insert(answer.header("x-app").to_owned());
        }
        let expected = [first.header("x-app").to_owned()].into();
        assert_eq!(seen == expected, stays, "{key:?}: {seen:?}");
    }
}
