//! A1, F8: changed variables and scale of an app that serves, and the work that brings them, whatever dies.

#[cfg(feature = "crash-points")]
use std::io::{Read, Write};
#[cfg(feature = "crash-points")]
use std::os::unix::net::UnixStream;
#[cfg(feature = "crash-points")]
use std::time::Duration;

use serde_json::json;

use crate::api::{form, local, make_app};
use crate::quiet::Daemon;
use crate::served::serving;
#[cfg(feature = "crash-points")]
use crate::sweep::{Killed, Sweep};

/// Changed variables and another scale answer with the work that brings them: as a job that is looked at, followed
/// and cancelled like any other. What changes nothing has none.
#[test]
fn a1_changed_variables_and_scale_are_jobs_that_are_followed() {
    let daemon = Daemon::start();
    make_app(&daemon, "shop");
    serving(&daemon);
    let (env, scale) = ("/api/v1/apps/shop/env", "/api/v1/apps/shop/scale");
    for (method, path, body) in [
        (
            "PATCH",
            env,
            json!({ "set": { "MODE": "live", "DEBUG": "no" } }),
        ),
        ("PATCH", env, json!({ "unset": ["DEBUG"] })),
        ("POST", scale, json!({ "process": "web", "memory": "256M" })),
        ("POST", scale, json!({ "process": "web", "replicas": "2" })),
    ] {
        let count = body["replicas"].is_string();
        let body = body.to_string();
        let asked = local(&daemon, method, path, "", &body);
        assert_eq!(asked.status, 202, "{body}: {}", asked.body);
        let place = asked.header("location").unwrap().to_owned();
        let said = asked.json();
        assert_eq!(said["changed"], true, "{body}");
        assert_eq!(place, format!("/api/v1/jobs/{}", said["job"]["id"]));
        let job = local(&daemon, "GET", &place, "", "").json();
        let kind = if count { "app.replicas" } else { "deploy" };
        assert_eq!((&job["kind"], &job["app"]), (&json!(kind), &json!("shop")));
        if count {
            // Nothing new is made: what runs becomes more, or fewer.
            assert_eq!(job["resource"], "/api/v1/apps/shop");
            assert_eq!(said["deploy"], json!(null));
            continue;
        }
        let deploy = format!("/api/v1/apps/shop/deploys/{}", said["deploy"]);
        assert_eq!(job["resource"], json!(deploy), "{body}");
        let cause = local(&daemon, "GET", &deploy, "", "").json();
        assert_eq!(cause["cause"], "settings", "{cause}");
        // There is no engine: taken back or failed, its events end and say which.
        local(&daemon, "POST", &format!("{place}/cancel"), "", "");
        let followed = local(&daemon, "GET", &format!("{place}/events"), "", "");
        assert!(followed.body.contains("event: end"), "{}", followed.body);
        let over = local(&daemon, "GET", &place, "", "").json();
        let state = over["state"].as_str().unwrap();
        assert!(["cancelled", "failed"].contains(&state), "{over}");
        assert!(followed.body.contains(state), "{}", followed.body);
    }
    let same = json!({ "set": { "MODE": "live" }, "unset": ["DEBUG"] });
    let same = local(&daemon, "PATCH", env, "", &same.to_string());
    assert_eq!((same.status, &same.json()["job"]), (200, &json!(null)));
}

/// A form and a program that ask for the same are answered alike: only other limits need a deploy, a process that the
/// live release has not is refused, and what is so already is no change, such as the rest of a form that shows it.
#[test]
fn a1_page_and_api_decide_alike_about_a_scale() {
    let daemon = Daemon::start();
    make_app(&daemon, "shop");
    serving(&daemon);
    let deploys = || {
        let all = local(&daemon, "GET", "/api/v1/apps/shop/deploys", "", "").json();
        all["items"].as_array().unwrap().len()
    };
    let jobs = |kind: &str| {
        let all = local(&daemon, "GET", "/api/v1/jobs?limit=200", "", "").json();
        let all = all["items"].as_array().unwrap().clone();
        all.iter().filter(|job| job["kind"] == kind).count()
    };
    let page = |body: &str| {
        let sent = form(&daemon, "/apps/shop/scale", body);
        assert_eq!(sent.status, 303, "{body}: {}", sent.body);
        sent.header("set-cookie").unwrap_or_default().to_owned()
    };
    let asked = |body: serde_json::Value| {
        local(
            &daemon,
            "POST",
            "/api/v1/apps/shop/scale",
            "",
            &body.to_string(),
        )
    };
    let (before, none) = (deploys(), jobs("app.replicas"));
    // Another number: the running ones become more, and nothing is deployed.
    page("process=web&replicas=2&memory=&cpus=");
    assert_eq!((deploys(), jobs("app.replicas")), (before, none + 1));
    // Another limit: a deploy, and no work on the number beside it.
    let said = page("process=web&replicas=2&memory=256M&cpus=");
    assert!(said.contains("Deploy%20"), "{said}");
    assert_eq!((deploys(), jobs("app.replicas")), (before + 1, none + 1));
    // The same form with another number: its limits are as they were.
    page("process=web&replicas=3&memory=256M&cpus=");
    assert_eq!((deploys(), jobs("app.replicas")), (before + 1, none + 2));
    let said = page("process=web&replicas=3&memory=256M&cpus=");
    assert!(said.contains("nothing%20is%20different"), "{said}");
    let same = asked(json!({ "process": "web", "replicas": "3", "memory": "256M" }));
    assert_eq!(same.status, 200, "{}", same.body);
    assert_eq!(same.json()["changed"], false);
    assert_eq!((deploys(), jobs("app.replicas")), (before + 1, none + 2));
    // No such process, on either.
    let said = page("process=nonsense&replicas=2");
    assert!(said.contains("has%20no%20process"), "{said}");
    let refused = asked(json!({ "process": "nonsense", "replicas": "2" }));
    assert_eq!(refused.status, 422, "{}", refused.body);
    let shown = local(&daemon, "GET", "/api/v1/apps/shop", "", "").json();
    assert!(shown["scale"]["nonsense"].is_null(), "{shown:#}");
}

/// The daemon is killed after the change is written and before or after its deploy is: in either case the deploy comes
/// by itself, and comes once.
#[cfg(feature = "crash-points")]
#[test]
fn f8_a_kill_between_changed_settings_and_their_deploy_keeps_neither_from_the_app() {
    let name = "f8_a_kill_between_changed_settings_and_their_deploy_keeps_neither_from_the_app";
    let mut sweep = Sweep::of(name);
    for point in sweep.points() {
        let folder = tempfile::tempdir().unwrap();
        let mark = folder.path().join("struck");
        let mut daemon = Daemon::start_to_die_at(&point, &mark);
        make_app(&daemon, "shop");
        serving(&daemon);
        cut_off(
            &daemon,
            "/api/v1/apps/shop/env",
            r#"{"set":{"MODE":"live"}}"#,
        );
        sweep.struck(Killed::at(&point, &mark));
        daemon.restart(|_| {});
        let env = local(&daemon, "GET", "/api/v1/apps/shop/env", "", "");
        assert!(env.body.contains("MODE"), "{point}: {}", env.body);
        let settings = || {
            let all = local(&daemon, "GET", "/api/v1/apps/shop/deploys", "", "").json();
            let all = all["items"].as_array().unwrap().clone();
            all.iter().filter(|d| d["cause"] == "settings").count()
        };
        let begun = std::time::Instant::now();
        while settings() == 0 {
            let waited = begun.elapsed();
            assert!(waited < Duration::from_secs(120), "{point}: no deploy came");
            std::thread::sleep(Duration::from_millis(100));
        }
        // Longer than the note of what is owed waits.
        std::thread::sleep(Duration::from_secs(12).saturating_sub(begun.elapsed()));
        assert_eq!(settings(), 1, "{point}");
    }
}

/// A change whose answer never comes, because the daemon dies over it.
#[cfg(feature = "crash-points")]
fn cut_off(daemon: &Daemon, path: &str, body: &str) {
    let mut stream = UnixStream::connect(daemon.socket("freehold.sock")).unwrap();
    write!(
        stream,
        "PATCH {path} HTTP/1.1\r\nHost: panel.test\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    assert!(read.is_err() || answer.is_empty(), "{answer:?}");
}
