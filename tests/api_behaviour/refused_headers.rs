//! A1: where a header that asks for care cannot be kept to, it is refused and not left out.

use serde_json::json;

use crate::api::{local, make_app};
use crate::quiet::Daemon;
use crate::served::serving;

#[test]
fn a1_a_key_is_refused_wherever_nothing_is_kept_for_it() {
    let daemon = Daemon::start();
    make_app(&daemon, "shop");
    serving(&daemon);
    let key = "Idempotency-Key: 9c\r\n";
    let command = "?command=%5B%22true%22%5D";
    for path in [
        format!("/api/v1/apps/shop/exec{command}"),
        format!("/api/v1/apps/shop/run{command}"),
        "/api/v1/databases/main/psql".to_owned(),
        "/api/v1/apps/shop/env/reveal".to_owned(),
        "/api/v1/apps/shop/webhook-secret/reveal".to_owned(),
        "/api/v1/databases/main/attachments/shop/reveal".to_owned(),
    ] {
        let refused = local(&daemon, "POST", &path, key, "");
        assert_eq!(refused.status, 422, "{path}: {}", refused.body);
        let told = refused.json();
        assert_eq!(told["kind"], "invalid", "{path}");
        let detail = told["detail"].as_str().unwrap();
        assert!(detail.contains("takes no Idempotency-Key"), "{detail}");
        let remedy = told["remedy"].as_str().unwrap();
        assert!(remedy.starts_with("Send it without"), "{remedy}");
    }
    // What it refuses it does not do.
    let ran = local(&daemon, "GET", "/api/v1/events?subject=app:1", "", "");
    assert!(!ran.body.contains("ran a command"), "{}", ran.body);
}

/// A POST that changes one thing takes that thing's tag; one that can hold it against nothing refuses it.
#[test]
fn a1_a_stale_tag_holds_back_what_a_post_would_change() {
    let daemon = Daemon::start();
    make_app(&daemon, "shop");
    serving(&daemon);
    let app = "/api/v1/apps/shop";
    let tag = |path: &str| {
        let seen = local(&daemon, "GET", path, "", "");
        format!("If-Match: {}\r\n", seen.header("etag").unwrap())
    };
    let stale = tag(app);
    let switch = |on: bool| json!({ "on": on }).to_string();
    let maintenance = format!("{app}/maintenance");
    let theirs = local(&daemon, "POST", &maintenance, "", &switch(true));
    assert_eq!(theirs.status, 200, "{}", theirs.body);
    let scale = json!({ "process": "web", "replicas": "2" }).to_string();
    for (path, body) in [
        ("maintenance", switch(false)),
        ("scale", scale.clone()),
        ("webhook-secret", String::new()),
        ("restart", String::new()),
    ] {
        let late = local(&daemon, "POST", &format!("{app}/{path}"), &stale, &body);
        assert_eq!(late.status, 412, "{path}: {}", late.body);
        assert_eq!(late.json()["kind"], "changed", "{path}");
    }
    let now = local(&daemon, "GET", app, "", "").json();
    assert_eq!(
        (&now["maintenance"], &now["scale"]),
        (&json!(true), &json!({}))
    );
    let good = local(&daemon, "POST", &format!("{app}/scale"), &tag(app), &scale);
    assert_eq!(good.status, 202, "{}", good.body);
    // Of two that replace a secret as they saw it, one is refused.
    let (secret, seen) = (format!("{app}/webhook-secret"), tag(app));
    assert_eq!(local(&daemon, "POST", &secret, &seen, "").status, 200);
    assert_eq!(local(&daemon, "POST", &secret, &seen, "").status, 412);
    // A list's own tag, for what is added to it.
    let domains = format!("{app}/domains");
    let add = |name: &str| json!({ "domain": name }).to_string();
    let seen = tag(&domains);
    assert_eq!(
        local(&daemon, "POST", &domains, &seen, &add("one.test")).status,
        200
    );
    assert_eq!(
        local(&daemon, "POST", &domains, &seen, &add("two.test")).status,
        412
    );
    // A target's, for what it becomes.
    let folder = tempfile::tempdir().unwrap();
    let place = format!("dir://{}", folder.path().display());
    let new = json!({ "name": "usb", "place": place }).to_string();
    let made = local(&daemon, "POST", "/api/v1/targets", "", &new);
    assert_eq!(made.status, 201, "{}", made.body);
    let target = "/api/v1/targets/usb";
    let default = format!("{target}/default");
    assert_eq!(
        local(&daemon, "POST", &default, "If-Match: \"x\"\r\n", "").status,
        412
    );
    let good = local(&daemon, "POST", &default, &tag(target), "");
    assert!(good.status < 300, "{}", good.body);
    // Nothing to hold it against: new things, work that waits for something, reveals.
    for path in [
        "/api/v1/apps",
        "/api/v1/apps/shop/deploys",
        "/api/v1/apps/shop/deploys/upload",
        "/api/v1/apps/shop/webhook-secret/reveal",
        "/api/v1/databases/main/attachments",
        "/api/v1/jobs/1/cancel",
    ] {
        let refused = local(&daemon, "POST", path, "If-Match: \"x\"\r\n", "");
        assert_eq!(refused.status, 422, "{path}: {}", refused.body);
        assert!(refused.body.contains("If-Match"), "{}", refused.body);
    }
}

/// Ana and Bob both see a release that is broken. Ana goes back; Bob's going back would lead on to the broken one.
#[test]
fn a1_of_two_who_go_back_from_one_release_one_is_refused() {
    let daemon = Daemon::start();
    make_app(&daemon, "shop");
    serving(&daemon);
    let app = "/api/v1/apps/shop";
    let seen = local(&daemon, "GET", app, "", "");
    let tag = format!("If-Match: {}\r\n", seen.header("etag").unwrap());
    let state = rusqlite::Connection::open(daemon.data().join("state.db")).unwrap();
    state
        .execute_batch(
            "INSERT INTO releases (id, app_id, number, image, image_tag, settings, env, created_ms, live_ms)
                SELECT 2, app_id, 2, image, 'shop:v2', settings, env, 2, 2 FROM releases;
             UPDATE app_live SET release_id = 2;",
        )
        .unwrap();
    for act in ["rollback", "restart", "stop", "start"] {
        let late = local(&daemon, "POST", &format!("{app}/{act}"), &tag, "");
        assert_eq!(late.status, 412, "{act}: {}", late.body);
    }
    // What does not hang on the release is as it was seen.
    let on = json!({ "on": true }).to_string();
    let good = local(&daemon, "POST", &format!("{app}/maintenance"), &tag, &on);
    assert_eq!(good.status, 200, "{}", good.body);
}

/// What is left of a body ends the connection, and the answer says so: or the next request of the edge would go into it.
#[test]
fn e5_an_answer_to_a_body_that_nobody_read_says_that_its_connection_ends() {
    use std::io::{Read as _, Write as _};
    let daemon = Daemon::start();
    let ask = |path: &str, body: &str| {
        let mut stream =
            std::os::unix::net::UnixStream::connect(daemon.socket("freehold.sock")).unwrap();
        stream
            .set_read_timeout(Some(std::time::Duration::from_secs(60)))
            .unwrap();
        let length = body.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        // What comes after the answer may find nobody.
        stream.write_all(body.as_bytes()).ok();
        let (mut head, mut piece) = (String::new(), [0; 1024]);
        while !head.contains("\r\n\r\n") {
            let read = stream.read(&mut piece).unwrap();
            assert!(read > 0, "{head}");
            head.push_str(&String::from_utf8_lossy(&piece[..read]));
        }
        let end = head.find("\r\n\r\n").unwrap();
        head[..end].to_ascii_lowercase()
    };
    let unread = ask("/api/v1/nothing-here", &"x".repeat(300_000));
    assert!(unread.starts_with("http/1.1 404"), "{unread}");
    assert!(unread.contains("\r\nconnection: close"), "{unread}");
    let read = ask("/api/v1/checks", "{}");
    assert!(read.starts_with("http/1.1 422"), "{read}");
    assert!(!read.contains("\r\nconnection: close"), "{read}");
}
