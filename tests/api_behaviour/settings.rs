//! A1, F8: changed variables and scale of an app that serves, and the work that brings them, whatever dies.

#[cfg(feature = "crash-points")]
use std::io::{Read, Write};
#[cfg(feature = "crash-points")]
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::json;

use crate::api::{local, make_app};
use crate::quiet::Daemon;
#[cfg(feature = "crash-points")]
use crate::sweep::{Killed, Sweep};

/// An app with a release that serves: no engine is needed to change its settings.
fn serving(daemon: &Daemon) {
    let state = rusqlite::Connection::open(daemon.data().join("state.db")).unwrap();
    state.busy_timeout(Duration::from_secs(5)).unwrap();
    state
        .execute_batch(
            "INSERT INTO releases (id, app_id, number, image, image_tag, settings, env, created_ms, live_ms)
                SELECT 1, id, 1, 'sha256:0', 'shop:v1', json_object('dockerfile', 'Dockerfile',
                'processes', json_object('web', json_object('min', 1, 'max', 1))), x'00', 1, 1 FROM apps;
             INSERT INTO deploys (id, app_id, state, source, cause, by_whom, created_ms, state_ms, finished_ms)
                SELECT 1, id, 'live', json_object('kind', 'image', 'reference', 'shop:1'), 'cli', 'ana', 1, 1, 1 FROM apps;
             INSERT INTO app_live (app_id, release_id, deploy_id, replicas, since_ms) SELECT id, 1, 1, '{}', 1 FROM apps;",
        )
        .unwrap();
}

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
            assert!(waited < Duration::from_secs(30), "{point}: no deploy came");
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
