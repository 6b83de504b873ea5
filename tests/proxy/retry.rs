//! Retry: only what was not sent, or may be repeated; and connections are not used when the app is about to close them.
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use freehold::proxy::Target;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::app::{raw, read_head};
use crate::client::{Http1, get, post};
use crate::rig::{Rig, World, route, target};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Answers the first request of each connection; takes a second one and closes without a word.
async fn closes_on_the_second() -> crate::app::App {
    raw(|mut stream, _| async move {
        read_head(&mut stream).await;
        stream.write_all(OK).await.unwrap();
        read_head(&mut stream).await;
    })
    .await
}

#[tokio::test]
async fn f8_a_safe_request_on_a_dying_kept_connection_is_repeated() {
    let app = closes_on_the_second().await;
    let rig = Rig::start(World::of([route("tasks.test", &[&target(app.address)])]));
    let mut client = Http1::tls(&rig, "tasks.test").await;
    for _ in 0..5 {
        assert_eq!(
            client.ask(get("https://tasks.test/")).await.unwrap().status,
            200
        );
    }
    assert_eq!(app.connections(), 5);
}

#[tokio::test]
async fn f8_a_post_that_may_have_arrived_is_not_repeated() {
    let app = closes_on_the_second().await;
    let rig = Rig::start(World::of([route("tasks.test", &[&target(app.address)])]));
    let mut client = Http1::tls(&rig, "tasks.test").await;
    assert_eq!(
        client.ask(get("https://tasks.test/")).await.unwrap().status,
        200
    );
    let answer = client
        .ask(post("https://tasks.test/", "order"))
        .await
        .unwrap();
    assert_eq!(answer.status, 502);
    assert_eq!(app.connections(), 1);
}

#[tokio::test]
async fn f8_a_request_the_app_never_answers_is_repeated_once_and_no_more() {
    let app = raw(|mut stream, _| async move {
        read_head(&mut stream).await;
    })
    .await;
    let mut route = route("tasks.test", &[&target(app.address)]);
    route.held_for = Some(Duration::from_millis(400));
    let rig = Rig::start(World::of([route]));
    let mut client = Http1::tls(&rig, "tasks.test").await;
    assert_eq!(
        client.ask(get("https://tasks.test/")).await.unwrap().status,
        502
    );
    assert_eq!(app.connections(), 2);
    assert_eq!(
        client
            .ask(post("https://tasks.test/", "x"))
            .await
            .unwrap()
            .status,
        502
    );
    assert_eq!(app.connections(), 3);
}

/// E5: sent again is only what nothing was sent of, or what only reads.
#[tokio::test]
async fn e5_a_put_or_delete_that_may_have_arrived_is_not_repeated() {
    for method in ["PUT", "DELETE", "OPTIONS"] {
        let app = closes_on_the_second().await;
        let rig = Rig::start(World::of([route("tasks.test", &[&target(app.address)])]));
        let mut client = Http1::tls(&rig, "tasks.test").await;
        let request = || {
            let mut request = get("https://tasks.test/order/1");
            *request.method_mut() = method.parse().unwrap();
            request
        };
        assert_eq!(client.ask(request()).await.unwrap().status, 200);
        let again = client.ask(request()).await.unwrap().status.as_u16();
        // The safe one shows that the others would have been.
        let expected = match method {
            "OPTIONS" => (200, 2),
            _ => (502, 1),
        };
        assert_eq!((again, app.connections()), expected, "{method}");
    }
}

/// E5: "within a budget of 20 %". Of a thousand requests that each fail once, at most two hundred are sent again, and what a
/// route may do in any case: five at once, and one a second.
#[tokio::test]
async fn e5_of_a_thousand_requests_that_fail_once_a_fifth_has_a_second_chance() {
    const REQUESTS: usize = 1_000;
    let seen = Seen::default();
    let all = seen.clone();
    let app = raw(move |mut stream, _| {
        let all = all.clone();
        async move {
            let head = read_head(&mut stream).await.unwrap();
            if all.times(head.split(' ').nth(1).unwrap()) > 1 {
                let ok = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";
                stream.write_all(ok).await.unwrap();
            }
        }
    })
    .await;
    a_fifth_has_a_second_chance(&target(app.address), &seen, REQUESTS).await;
}

/// How often an app was asked for each path.
#[derive(Clone, Default)]
pub struct Seen(Arc<Mutex<HashMap<String, usize>>>);

impl Seen {
    /// Once more; how often it was with this one.
    pub fn times(&self, path: &str) -> usize {
        let mut all = self.0.lock().unwrap();
        let times = all.entry(path.to_owned()).or_default();
        *times += 1;
        *times
    }
}

/// Asks a target that fails each path once, and counts who had a second chance.
pub async fn a_fifth_has_a_second_chance(target: &Arc<Target>, seen: &Seen, requests: usize) {
    let rig = Rig::start(World::of([route("tasks.test", &[target])]));
    let began = Instant::now();
    let mut client = Http1::tls(&rig, "tasks.test").await;
    let mut well = 0;
    for number in 0..requests {
        let url = format!("https://tasks.test/{number}");
        let status = client.ask(get(&url)).await.unwrap().status.as_u16();
        assert!(matches!(status, 200 | 502), "{status}");
        well += usize::from(status == 200);
    }
    let seconds = began.elapsed().as_secs() as usize + 1;
    let seen = seen.0.lock().unwrap();
    let again = seen.values().sum::<usize>() - requests;
    assert_eq!(
        (seen.len(), again),
        (requests, well),
        "once each, and not in vain"
    );
    let most = requests / 5 + 5 + seconds;
    assert!(
        (requests / 5 - 5..=most).contains(&again),
        "{again} of {most}"
    );
}

/// The same of requests over connections that had served before: what an app worked on for a while before it closed was
/// not lost to a connection that was closed already.
#[tokio::test]
async fn e5_what_ends_after_a_while_on_a_kept_connection_is_sent_again_within_the_budget_only() {
    const CLIENTS: usize = 40;
    const ROUNDS: usize = 2;
    let seen = Seen::default();
    let all = seen.clone();
    let app = raw(move |mut stream, _| {
        let all = all.clone();
        async move {
            while let Some(head) = read_head(&mut stream).await {
                let path = head.split(' ').nth(1).unwrap().to_owned();
                let times = all.times(&path);
                if path.starts_with("/bad") && times == 1 {
                    tokio::time::sleep(Duration::from_millis(600)).await;
                    return;
                }
                let ok = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                stream.write_all(ok).await.unwrap();
            }
        }
    })
    .await;
    let rig = Rig::start(World::of([route("tasks.test", &[&target(app.address)])]));
    let began = Instant::now();
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(Http1::tls(&rig, "tasks.test").await);
    }
    for round in 0..ROUNDS {
        // All at once, so that there is a connection for each.
        for kind in ["ok", "bad"] {
            let asking = clients.iter_mut().enumerate().map(|(client, http)| {
                let url = format!("https://tasks.test/{kind}/{round}/{client}");
                async move { http.ask(get(&url)).await.unwrap().status.as_u16() }
            });
            for status in futures_util::future::join_all(asking).await {
                assert!(
                    status == 200 || (kind == "bad" && status == 502),
                    "{status}"
                );
            }
        }
    }
    let seconds = began.elapsed().as_secs() as usize + 1;
    let bad = |(path, times): (&String, &usize)| path.starts_with("/bad").then_some(times - 1);
    let again: usize = seen.0.lock().unwrap().iter().filter_map(bad).sum();
    let most = 2 * CLIENTS * ROUNDS / 5 + 5 + seconds;
    assert!((1..=most).contains(&again), "{again} of {most}");
}

/// An app that closes connections idle for this long; says so or not.
async fn closes_after(idle: Duration, says: &'static str) -> crate::app::App {
    raw(move |mut stream, _| async move {
        while let Ok(Some(head)) = tokio::time::timeout(idle, read_head(&mut stream)).await {
            if head.starts_with("POST") {
                let mut body = [0; 5];
                stream.read_exact(&mut body).await.unwrap();
            }
            stream
                .write_all(
                    format!("HTTP/1.1 200 OK\r\n{says}Content-Length: 2\r\n\r\nok").as_bytes(),
                )
                .await
                .unwrap();
        }
    })
    .await
}

#[tokio::test]
async fn f8_posts_survive_an_app_that_closes_idle_connections() {
    for says in ["", "Keep-Alive: timeout=1\r\n"] {
        let app = closes_after(Duration::from_secs(1), says).await;
        let rig = Rig::start(World::of([route("tasks.test", &[&target(app.address)])]));
        let mut client = Http1::tls(&rig, "tasks.test").await;
        for pause in [0, 300, 990, 1_000, 1_010, 100, 950, 1_000] {
            tokio::time::sleep(Duration::from_millis(pause)).await;
            let answer = client
                .ask(post("https://tasks.test/", "order"))
                .await
                .unwrap();
            // What is not said must be learnt, and the first lesson may cost one.
            assert!(answer.status == 200 || says.is_empty(), "after {pause} ms");
        }
    }
}

#[tokio::test]
async fn f5_kept_connections_are_used_again_for_as_long_as_the_app_says() {
    let app = closes_after(Duration::from_secs(5), "Keep-Alive: timeout=5\r\n").await;
    let rig = Rig::start(World::of([route("tasks.test", &[&target(app.address)])]));
    let mut client = Http1::tls(&rig, "tasks.test").await;
    for pause in [0, 100, 2_500] {
        tokio::time::sleep(Duration::from_millis(pause)).await;
        assert_eq!(
            client.ask(get("https://tasks.test/")).await.unwrap().status,
            200
        );
    }
    assert!(app.connections() <= 1);
}
