//! Requests that are held while what is asked of them changes: who goes on is who is let in then.
use std::time::Duration;

use base64::Engine as _;
use freehold::base::clock::UnixMs;
use freehold::proxy::{RouteSpec, Upstream};
use http::Request;

use crate::app::App;
use crate::client::{Body, Http1, Http2, Whole, empty, full};
use crate::policies::policed;
use crate::rig::{Rig, World, until, within};
use crate::table::witness;

const GUARD: &str = r#"basic_auth = { users = [{ name = "ana", password = "hunter2 hunter2" }] }"#;
const PATIENCE: Duration = Duration::from_secs(30);

/// Held, and nothing asked of anybody.
fn paused(place: &str, app: &App, policies: &str) -> RouteSpec {
    let now = UnixMs::now();
    RouteSpec {
        upstream: Upstream::Paused {
            since: now,
            until: now.plus(Duration::from_secs(600)),
        },
        ..policed(place, app, policies)
    }
}

fn ask(path: &str, fields: &[(&str, &str)], body: &str) -> Request<Body> {
    let mut request = Request::builder().uri(format!("https://tasks.test{path}"));
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    match body {
        "" => request.body(empty()).unwrap(),
        body => request.method("POST").body(full(body.to_owned())).unwrap(),
    }
}

/// What becomes of these, over both protocols, when the world changes while they wait.
async fn held(rig: &Rig, requests: impl Fn() -> Vec<Request<Body>>, then: World) -> Vec<Whole> {
    let mut asking = tokio::task::JoinSet::new();
    let mut count = 0;
    for (at, request) in requests().into_iter().enumerate() {
        let mut client = Http1::tls(rig, "tasks.test").await;
        asking.spawn(async move { (at, client.ask(request).await.unwrap()) });
        count += 1;
    }
    for (at, request) in requests().into_iter().enumerate() {
        let mut client = Http2::tls(rig, "tasks.test").await;
        asking.spawn(async move { (1_000 + at, client.ask(request).await.unwrap()) });
        count += 1;
    }
    until("all are held", || {
        let snapshot = rig.edge.snapshot();
        let route = snapshot.routes.find("tasks.test", "/").unwrap();
        route.gate().held() as usize == count
    })
    .await;
    rig.publish(then);
    let mut answers = within(PATIENCE, "answers", asking.join_all()).await;
    answers.sort_by_key(|(at, _)| *at);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

fn statuses(answers: &[Whole]) -> Vec<u16> {
    answers.iter().map(|a| a.status.as_u16()).collect()
}

#[tokio::test]
async fn e6_who_is_held_is_let_in_by_what_is_asked_when_the_app_answers() {
    let (app, seen) = witness().await;
    let right = base64::engine::general_purpose::STANDARD.encode("ana:hunter2 hunter2");
    let right = format!("Basic {right}");
    let requests = || {
        vec![
            ask("/", &[], ""),
            ask("/", &[("authorization", &right)], ""),
            ask("/", &[], "a body"),
            ask("/", &[("authorization", &right)], "a body"),
        ]
    };
    // A password, where there was none.
    let rig = Rig::start(World::of([paused("tasks.test", &app, "")]));
    let answers = held(
        &rig,
        requests,
        World::of([policed("tasks.test", &app, GUARD)]),
    )
    .await;
    assert_eq!(statuses(&answers), [401, 200, 401, 200, 401, 200, 401, 200]);
    assert_eq!(seen.lock().unwrap().len(), 4);
    // The app gets the body all the same, and the password not.
    assert!(answers[3].text().ends_with("a body"));
    assert!(!answers[3].text().contains("authorization"));
    // The saboteur: with nothing asked they all go on.
    let rig = Rig::start(World::of([paused("tasks.test", &app, "")]));
    let answers = held(&rig, requests, World::of([policed("tasks.test", &app, "")])).await;
    assert_eq!(statuses(&answers), [200; 8]);
    // And one that was let in before is not asked for what the edge took off already.
    let rig = Rig::start(World::of([paused("tasks.test", &app, GUARD)]));
    let requests = || vec![ask("/", &[("authorization", &right)], "")];
    let answers = held(
        &rig,
        requests,
        World::of([policed("tasks.test", &app, GUARD)]),
    )
    .await;
    assert_eq!(statuses(&answers), [200; 2]);
}

#[tokio::test]
async fn e6_who_is_held_meets_the_new_limits_headers_and_paths() {
    let (app, _) = witness().await;
    let rig = Rig::start(World::of([paused(
        "tasks.test",
        &app,
        "request_headers = { add = { x-old = \"1\" } }",
    )]));
    let requests = || vec![ask("/api/a", &[], "a body"), ask("/b", &[], "123456789")];
    let then = World::of([
        policed(
            "tasks.test/api",
            &app,
            "strip_prefix = true\nrequest_headers = { add = { x-new = \"1\" } }",
        ),
        policed("tasks.test", &app, "body_limit = 8"),
    ]);
    let answers = held(&rig, requests, then).await;
    assert_eq!(statuses(&answers), [200, 413, 200, 413]);
    for answer in [&answers[0], &answers[2]] {
        let text = answer.text().to_ascii_lowercase();
        assert!(text.starts_with("post /a http/1.1\r\n"), "{text}");
        assert!(
            text.contains("x-new: 1") && !text.contains("x-old"),
            "{text}"
        );
        assert!(text.contains("x-forwarded-prefix: /api"), "{text}");
    }
}

#[tokio::test]
async fn e6_who_is_held_is_counted_once_by_its_quota() {
    let (app, _) = witness().await;
    let quota = "rate_limit = { requests = 4, per = \"hour\" }";
    let rig = Rig::start(World::of([paused("tasks.test", &app, quota)]));
    let requests = || vec![ask("/", &[], "")];
    let answers = held(
        &rig,
        requests,
        World::of([policed("tasks.test", &app, quota)]),
    )
    .await;
    assert_eq!(statuses(&answers), [200; 2]);
    let left: Vec<_> = answers
        .iter()
        .map(|answer| answer.header("ratelimit"))
        .collect();
    assert!(left.iter().any(|left| left.contains("r=2")), "{left:?}");
}
