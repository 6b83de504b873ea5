//! A4: what the walk of the table (tests/web_roles.rs) does not ask: methods that are not in it, what has ended, and what
//! another app's things say of themselves. What is another's is planted with a word that nobody else may ever read.

use std::collections::BTreeMap;

use freehold::web::{Needs, Route, table};

use crate::forms;
use crate::world::{Answer, FORM, PASSWORD, SAME_ORIGIN, World};

const METHODS: [&str; 8] = [
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE",
];
/// In everything of the other app's.
const CANARY: &str = "canary";

/// The headers of one who asks.
type Headers = Vec<String>;

fn asked(world: &World, method: &str, path: &str, who: &Headers) -> Answer {
    let headers: Vec<&str> = who.iter().map(String::as_str).collect();
    world.edge(method, path, &headers, "")
}

/// What is sent along where an empty body would be refused before anything of another app's is met.
fn real_body(path: &str) -> Option<(&'static str, &'static str)> {
    const JSON: &str = "Content-Type: application/json";
    Some(match path {
        "/apps/{app}/domains" => (FORM, "domain=taken.internal"),
        "/api/v1/apps/{app}/domains" => (JSON, "{\"domain\":\"taken.internal/below\"}"),
        "/apps/{app}/env" => (FORM, "name=PLAIN&value=one"),
        "/api/v1/apps/{app}/env" => (JSON, "{\"set\":{\"PLAIN\":\"two\"}}"),
        "/apps/{app}/deploys" => (FORM, "kind=image&image=nothing.invalid%2Fx%3A1"),
        "/api/v1/apps/{app}/deploys" => (JSON, "{\"image\":\"nothing.invalid/x:1\"}"),
        "/apps/{app}/attach" => (FORM, "database=main"),
        "/databases/{database}/attach" => (FORM, "app=shop"),
        "/api/v1/databases/{name}/attachments" => (JSON, "{\"app\":\"shop\"}"),
        _ => return None,
    })
}

/// As [`asked`], with a body that goes past the form.
fn asked_in_earnest(world: &World, route: &Route, path: &str, who: &Headers) -> Answer {
    let method = route.method.as_str();
    match real_body(route.path) {
        Some((kind, body)) if method == "POST" || method == "PATCH" => {
            let mut headers: Vec<&str> = who.iter().map(String::as_str).collect();
            headers.push(kind);
            world.edge(method, path, &headers, body)
        }
        _ => asked(world, method, path, who),
    }
}

fn concrete(path: &str, app: &str, other: &str) -> String {
    let part = |part: &str| match part {
        "{app}" => app.to_owned(),
        _ if part.starts_with('{') => other.to_owned(),
        _ => part.to_owned(),
    };
    path.split('/').map(part).collect::<Vec<_>>().join("/")
}

/// Asks somebody in with this role and these apps; the headers of their browser, on a page of theirs.
fn somebody(world: &World, name: &str, role: &str, apps: &[&str]) -> Headers {
    let new = serde_json::json!({ "name": name, "role": role, "apps": apps });
    let answer = world.local("POST", "/api/v1/users", &new.to_string());
    assert_eq!(answer.status, 201, "{}", answer.text);
    let (_, rest) = answer.text.split_once("/setup/").unwrap();
    let link = format!("/setup/{}", rest.split('"').next().unwrap());
    let session = world.take(&link);
    let cookie = format!("Cookie: __Host-freehold={session}");
    let page = world.edge("GET", "/account", &[&cookie], "");
    let token = format!("X-Form-Token: {}", forms::token(&page.text));
    vec![cookie, token, SAME_ORIGIN.to_owned()]
}

fn program(world: &World, apps: &[&str]) -> Headers {
    let new = serde_json::json!({ "name": "ci", "verb": "change", "apps": apps });
    let answer = world.local("POST", "/api/v1/tokens", &new.to_string());
    let (_, rest) = answer.text.split_once("\"token\":\"").unwrap();
    vec![format!(
        "Authorization: Bearer {}",
        rest.split('"').next().unwrap()
    )]
}

/// The app `canary`, and something of every kind that belongs to it.
fn plant(world: &World) {
    let made = world.local(
        "POST",
        "/api/v1/apps",
        "{\"name\":\"canary\",\"git_url\":\"https://canary.invalid/x.git\"}",
    );
    assert_eq!(made.status, 201, "{}", made.text);
    // One with the word in it, and one that may be asked for without saying the word.
    for host in ["canary.internal", "taken.internal"] {
        let domain = world.local(
            "POST",
            "/api/v1/apps/canary/domains",
            &format!("{{\"domain\":\"{host}\"}}"),
        );
        assert!(domain.status < 300, "{}", domain.text);
    }
    let env = world.local(
        "PATCH",
        "/api/v1/apps/canary/env",
        "{\"set\":{\"CANARY_NAME\":\"canary-value\"}}",
    );
    assert!(env.status < 300, "{}", env.text);
    let db = state(world);
    let now = now();
    db.execute_batch(&format!(
        "INSERT INTO deploys (app_id, state, source, cause, by_whom, delivery, commit_id, title, error, created_ms, state_ms, finished_ms)
            SELECT id, 'failed', json_object('kind', 'image', 'reference', 'canary:1'), 'webhook', 'canary-person', 'canary-delivery', 'canary-commit',
            'canary-title', 'canary-error', {now}, {now}, {now} FROM apps WHERE name = 'canary';
         INSERT INTO deliveries (app_id, at_ms, host, delivery, event, status, reason)
            SELECT id, {now}, 'canary-host', 'canary', 'canary-event', 401, 'canary-reason' FROM apps WHERE name = 'canary';
         INSERT INTO releases (app_id, number, image, image_tag, settings, env, commit_id, title, created_ms, live_ms)
            SELECT id, 1, 'canary', 'canary', json_object('dockerfile', 'canary', 'processes', json_object()), x'00', 'canary', 'canary', {now}, {now} FROM apps WHERE name = 'canary';
         INSERT INTO databases (name, version, image, memory_bytes, password_sealed, state, reason, created_ms, changed_ms)
            VALUES ('canarydb', 17, 'canary', 1, x'00', 'failed', 'canary-reason', {now}, {now});
         INSERT INTO events (at_ms, kind, level, subject, message)
            SELECT {now}, 'app.note', 'error', 'app:' || id, 'canary-event' FROM apps WHERE name = 'canary';
         INSERT INTO events (at_ms, kind, level, subject, message) VALUES ({now}, 'box.note', 'error', 'box', 'canary-box-event');
         INSERT INTO checks (subject, name, origin, url, strict, created_ms) VALUES ('check', 'canary-check', 'person', 'https://canary.invalid/', 0, {now});
         INSERT INTO backup_targets (name, place, is_default, created_ms) VALUES ('canarytarget', 'dir:///canary', 0, {now});"
    ))
    .unwrap();
    let deploy = deploy_of_canary(world);
    let log = format!("{now}\tcanary-log-line\n");
    std::fs::write(
        world.daemon.data().join(format!("builds/{deploy}.log")),
        log,
    )
    .unwrap();
}

fn state(world: &World) -> rusqlite::Connection {
    let db = rusqlite::Connection::open(world.daemon.data().join("state.db")).unwrap();
    db.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
    db
}

fn now() -> u128 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.unwrap().as_millis()
}

fn deploy_of_canary(world: &World) -> i64 {
    let sql = "SELECT max(d.id) FROM deploys d JOIN apps a ON a.id = d.app_id WHERE a.name = 'canary' AND d.title = 'canary-title'";
    state(world).query_row(sql, [], |r| r.get(0)).unwrap()
}

#[test]
fn a4_a_method_that_is_not_in_the_table_is_refused_and_tells_nothing() {
    let world = World::new();
    plant(&world);
    let everybody = [
        ("nobody", Vec::new()),
        ("a viewer", somebody(&world, "viewer", "viewer", &[])),
        (
            "a developer of another app",
            somebody(&world, "developer", "developer", &["shop"]),
        ),
        ("a program", program(&world, &["shop"])),
        (
            "the owner",
            vec![
                world.cookie(),
                format!("X-Form-Token: {}", world.token()),
                SAME_ORIGIN.to_owned(),
            ],
        ),
    ];
    let mut known: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for route in table() {
        known
            .entry(route.path)
            .or_default()
            .push(route.method.to_string());
    }
    let mut wrong = Vec::new();
    for (path, methods) in known {
        for method in METHODS {
            let takes_get = method == "HEAD" && methods.iter().any(|m| m == "GET");
            if takes_get || methods.iter().any(|m| m == method) {
                continue;
            }
            for (who, headers) in &everybody {
                let of = |app: &str| asked(&world, method, &concrete(path, app, "1"), headers);
                let answer = of("canary");
                let same = !path.contains("{app}")
                    || plain(&answer, "canary") == plain(&of("nope"), "nope");
                if answer.status != 405 || !same || answer.header("allow").is_none() {
                    wrong.push(format!("{method} {path} as {who}: {}", answer.text));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// A body without what is different in every answer, and without the name that was asked for.
fn plain(answer: &Answer, name: &str) -> String {
    // The status stands before it, and has figures that a name of one figure would be found in.
    let status = format!("\"status\":{}", answer.status);
    let mut text = answer.body().replace(&status, "").replace(name, "NAME");
    for mark in ["urn:freehold:request:", "name=\"form-token\" value=\""] {
        while let Some((before, after)) = text.split_once(mark) {
            let rest = after.trim_start_matches(|c: char| c.is_ascii_alphanumeric());
            text = format!("{before}{rest}");
        }
    }
    format!("{} {text}", answer.status)
}

#[test]
fn a4_head_says_what_get_says_and_no_more() {
    let world = World::new();
    plant(&world);
    let developer = somebody(&world, "developer", "developer", &["shop"]);
    for route in table() {
        if route.method != "GET" || route.path.ends_with("/stream") {
            continue;
        }
        for app in ["shop", "canary"] {
            let path = concrete(route.path, app, "1");
            let get = asked(&world, "GET", &path, &developer);
            let head = asked(&world, "HEAD", &path, &developer);
            assert_eq!(head.status, get.status, "{path}: {}", head.text);
            assert!(head.body().is_empty(), "{path}: {}", head.text);
        }
    }
}

#[test]
fn a4_nothing_of_another_app_reaches_its_neighbours() {
    let world = World::new();
    plant(&world);
    let theirs = deploy_of_canary(&world);
    let mut wrong = Vec::new();
    for (who, headers) in [
        (
            "a developer",
            somebody(&world, "developer", "developer", &["shop"]),
        ),
        ("a program", program(&world, &["shop"])),
    ] {
        for route in table() {
            if route.path.ends_with("/stream") || route.path == "/sign-out" {
                continue;
            }
            let own = |other: &str| concrete(route.path, "shop", other);
            // A list, a page, or something of the own app's that has the number of another's.
            let (mine, gone) = (own(&theirs.to_string()), own("987654321"));
            let answer = asked_in_earnest(&world, &route, &mine, &headers);
            if route.path.ends_with("{app}/domains") && route.method == "POST" {
                // Refused for what is another's: the body was a real one.
                let right = answer.text.contains("another app of this box");
                if !right || ![409, 422].contains(&answer.status) {
                    wrong.push(format!("{mine} as {who}: {}", answer.text));
                }
            }
            if answer.text.to_lowercase().contains(CANARY) {
                wrong.push(format!("{} {mine} as {who}: {}", route.method, answer.text));
            }
            if route.path.contains("{app}/") && mine != gone {
                let other = asked(&world, route.method.as_str(), &gone, &headers);
                if plain(&answer, &theirs.to_string()) != plain(&other, "987654321") {
                    wrong.push(format!(
                        "{} {mine} as {who}: {}\nbut one that is not there: {}",
                        route.method, answer.text, other.text
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    // The words are there to be read, by the one who may.
    let owner = vec![world.cookie()];
    for path in [
        "/apps/canary/deploys",
        "/api/v1/apps/canary/deliveries",
        "/databases",
        "/settings",
        "/checks",
        "/",
    ] {
        let answer = asked(&world, "GET", path, &owner);
        assert!(answer.text.contains(CANARY), "{path}: {}", answer.text);
    }
}

#[test]
fn a4_what_has_ended_opens_nothing() {
    let world = World::new();
    let developer = somebody(&world, "ana", "admin", &[]);
    let ci = program(&world, &["shop"]);
    let owner = vec![
        world.cookie(),
        format!("X-Form-Token: {}", world.token()),
        SAME_ORIGIN.to_owned(),
    ];
    for who in [&developer, &ci, &owner] {
        assert_eq!(asked(&world, "GET", "/api/v1/apps", who).status, 200);
    }
    let past = now() - 1_000;
    state(&world)
        .execute_batch(&format!(
            "UPDATE sessions SET expires_ms = {past}; UPDATE tokens SET expires_ms = {past};"
        ))
        .unwrap();
    let before = world.state();
    let mut wrong = Vec::new();
    for (what, headers) in [
        ("an admin's session", &developer),
        ("a token", &ci),
        ("the owner's session", &owner),
    ] {
        for route in table() {
            if matches!(route.needs, Needs::Nobody | Needs::Proof) {
                continue;
            }
            let answer = asked(
                &world,
                route.method.as_str(),
                &concrete(route.path, "shop", "1"),
                headers,
            );
            if answer.status != 401 {
                wrong.push(format!(
                    "{} {} with {what} that has ended: {}",
                    route.method, route.path, answer.text
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert_eq!(world.state(), before);
}

/// Somebody who was asked in and has not come yet has no password, not even an empty one.
#[test]
fn a4_who_was_asked_in_is_not_in_yet() {
    let world = World::new();
    let new = "{\"name\":\"eve\",\"role\":\"admin\"}";
    assert_eq!(world.local("POST", "/api/v1/users", new).status, 201);
    for password in ["", PASSWORD, "eve"] {
        let page = world.edge("GET", "/sign-in", &[], "");
        let cookie = format!(
            "Cookie: {}={}",
            forms::VISITOR,
            forms::cookie(&page.text, forms::VISITOR).unwrap()
        );
        let form = format!(
            "form-token={}&name=eve&password={}",
            forms::token(&page.text),
            password.replace(' ', "+")
        );
        let answer = world.edge("POST", "/sign-in", &[FORM, &cookie, SAME_ORIGIN], &form);
        assert_eq!(answer.status, 401, "{}", answer.text);
        assert!(
            forms::cookie(&answer.text, "__Host-freehold").is_none(),
            "{}",
            answer.text
        );
    }
}

/// Whoever sends events without a secret learns of no app whether it is there.
#[test]
fn a4_a_push_to_no_app_is_answered_as_one_that_is_not_signed() {
    let world = World::new();
    let said = |app: &str, headers: &[&str], body: &str| {
        let answer = world.edge("POST", &format!("/hooks/{app}"), headers, body);
        let (_, body) = answer.text.split_once("\r\n\r\n").unwrap();
        // The request's own number and address differ.
        let mut body: serde_json::Value = serde_json::from_str(body).unwrap();
        for own in ["request_id", "instance"] {
            body.as_object_mut().unwrap().remove(own);
        }
        (answer.status, body)
    };
    let signed = format!("X-Hub-Signature-256: sha256={}", "0".repeat(64));
    let large = "x".repeat(6 << 20);
    for (headers, body) in [
        (vec!["X-GitHub-Event: push", signed.as_str()], "{}"),
        (vec!["X-GitHub-Event: push"], "{}"),
        (vec!["X-GitHub-Event: ping", signed.as_str()], "{}"),
        (vec![], "{}"),
        (vec!["X-GitHub-Event: push"], large.as_str()),
    ] {
        let there = said("shop", &headers, body);
        assert!(there.0 >= 400, "{there:?}");
        assert_eq!(said("nope", &headers, body), there, "{headers:?}");
    }
}
