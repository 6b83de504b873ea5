//! A1: what every operation of the API keeps to, seen from outside: pages of lists, tags, keys of requests that are
//! sent again, quotas, jobs. The daemon is the real one, without an engine.

use std::io::{Read, Seek, SeekFrom, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::json;

#[path = "support/api.rs"]
mod api;
#[path = "api_behaviour/attachments.rs"]
mod attachments;
#[path = "api_behaviour/cancelled.rs"]
mod cancelled;
#[path = "api_behaviour/maintenance.rs"]
mod maintenance;
#[path = "api_behaviour/pages.rs"]
mod pages;
#[path = "api_behaviour/policies.rs"]
mod policies;
#[path = "support/port.rs"]
mod port;
#[path = "support/quiet.rs"]
mod quiet;
#[path = "api_behaviour/refused_headers.rs"]
mod refused_headers;
#[path = "support/served.rs"]
mod served;
#[path = "api_behaviour/settings.rs"]
mod settings;
#[cfg(feature = "crash-points")]
#[path = "support/sweep.rs"]
mod sweep;

use api::{ask, local, make_app};
use quiet::Daemon;

#[test]
fn a1_a_list_is_told_a_page_at_a_time() {
    let daemon = Daemon::start();
    for name in ["a", "b", "c", "d", "e"] {
        make_app(&daemon, name);
    }
    let mut seen = Vec::new();
    let mut after = String::new();
    loop {
        let page = local(
            &daemon,
            "GET",
            &format!("/api/v1/apps?limit=2{after}"),
            "",
            "",
        )
        .json();
        let items = page["items"].as_array().unwrap();
        seen.extend(items.iter().map(|a| a["name"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
        // What comes in front of the cursor meanwhile changes nothing.
        make_app(&daemon, &format!("a{}", seen.len()));
    }
    assert_eq!(seen, ["a", "b", "c", "d", "e"]);
    let found = local(
        &daemon,
        "GET",
        "/api/v1/apps?q=E&state=not%20deployed",
        "",
        "",
    )
    .json();
    assert_eq!(found["items"].as_array().unwrap().len(), 1);
}

#[test]
fn a1_problems_say_what_which_request_and_what_else_is_taken() {
    let daemon = Daemon::start();
    let answer = local(&daemon, "DELETE", "/api/v1/status", "", "");
    assert_eq!(answer.status, 405);
    assert!(
        answer.header("allow").unwrap().contains("GET"),
        "{}",
        answer.head
    );
    let problem = answer.json();
    assert_eq!(problem["type"], "urn:freehold:problem:no-such-method");
    let answer = local(
        &daemon,
        "GET",
        "/api/v1/apps/none",
        "X-Request-Id: r-17\r\n",
        "",
    );
    assert_eq!(answer.status, 404);
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json")
    );
    assert_eq!(answer.json()["instance"], "urn:freehold:request:r-17");
    for (method, path, body, status, kind) in [
        ("POST", "/api/v1/apps", "{", 400, "malformed"),
        ("POST", "/api/v1/apps", "[]", 422, "invalid"),
        ("POST", "/api/v1/apps", r#"{"nmae":"x"}"#, 422, "invalid"),
        ("GET", "/api/v1/apps?limti=1", "", 422, "invalid"),
        ("GET", "/api/v1/backups/first", "", 404, "not-found"),
    ] {
        let answer = local(&daemon, method, path, "", body);
        assert_eq!(answer.status, status, "{path} {body}: {}", answer.body);
        assert_eq!(answer.json()["kind"], kind, "{path} {body}");
    }
}

/// What somebody waits for while a store says nothing is short, and is told as a fault of the target's settings.
#[test]
fn a1_a_target_that_does_not_answer_is_told_soon() {
    let daemon = Daemon::start();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let new = json!({
        "name": "far", "place": "s3://bucket/box",
        "endpoint": format!("http://{}", silent.local_addr().unwrap()),
        "access_key": "a", "secret_key": "s",
    });
    let begun = std::time::Instant::now();
    let refused = local(&daemon, "POST", "/api/v1/targets", "", &new.to_string());
    // The box gives it twelve, where its other work with a store has minutes; the rest is a busy machine's.
    assert!(
        // Twelve, and what a slow machine needs for the rest.
        begun.elapsed() < Duration::from_secs(40),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(refused.status, 422, "{}", refused.body);
    let problem = refused.json();
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("did not answer within"),
        "{problem}"
    );
    assert!(!problem["remedy"].as_str().unwrap().is_empty());
}

/// What waits for its turn and was not begun is taken back with its domain's row; what began goes on.
#[test]
fn a1_a_backup_that_waits_is_cancelled_and_says_so() {
    let mut daemon = Daemon::start();
    daemon.restart(|daemon| {
        let state = rusqlite::Connection::open(daemon.data().join("state.db")).unwrap();
        let far = 9_000_000_000_000_i64;
        let plant = format!(
            "INSERT INTO databases (id, name, version, image, memory_bytes, password_sealed, state, created_ms, changed_ms)
                VALUES (3, 'main', 17, 'postgres:17', 1, x'00', 'failed', 1, 1);
             INSERT INTO backups (id, database_id, database_name, logical, owner, server_version, expected_bytes, object_key,
                state, cause, attempt, created_ms, due_ms) VALUES (5, 3, 'main', 'shop', 'shop', 17, 1, 'k', 'queued', 'asked', 1, 1, {far});
             INSERT INTO jobs (id, kind, key, payload, state, run_at_ms, created_ms)
                VALUES (71, 'backup', 'backup:3', '{{\"backup\":5}}', 'queued', {far}, 1),
                       (72, 'backup', 'backup:3', '{{\"backup\":6}}', 'queued', {far}, 1);
             UPDATE jobs SET attempts = 1 WHERE id = 72;"
        );
        state.execute_batch(&plant).unwrap();
    });
    let job = local(&daemon, "GET", "/api/v1/jobs/71", "", "").json();
    assert_eq!(
        (&job["state"], &job["cancellable"]),
        (&json!("queued"), &json!(true))
    );
    let ended = local(&daemon, "POST", "/api/v1/jobs/71/cancel", "", "");
    assert_eq!(ended.status, 200, "{}", ended.body);
    assert_eq!(ended.json()["state"], "cancelled");
    let backup = local(&daemon, "GET", "/api/v1/backups/5", "", "").json();
    assert_eq!(backup["state"], "failed");
    let why = backup["reason"].as_str().unwrap();
    assert!(why.starts_with("cancelled by uid"), "{why}");
    let begun = local(&daemon, "POST", "/api/v1/jobs/72/cancel", "", "");
    assert_eq!(begun.status, 409, "{}", begun.body);
}

#[test]
fn a1_a_request_sent_again_is_answered_again_and_makes_nothing_twice() {
    let mut daemon = Daemon::start();
    let key = "Idempotency-Key: 5c1f\r\n";
    let body = r#"{"name":"blog"}"#;
    let first = local(&daemon, "POST", "/api/v1/apps", key, body);
    assert_eq!(first.status, 201, "{}", first.body);
    daemon.restart(|_| ());
    let again = local(&daemon, "POST", "/api/v1/apps", key, body);
    assert_eq!((again.status, &again.body), (201, &first.body));
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    let list = local(&daemon, "GET", "/api/v1/apps", "", "").json();
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    let other = local(&daemon, "POST", "/api/v1/apps", key, r#"{"name":"other"}"#);
    assert_eq!(
        (other.status, other.json()["kind"].as_str()),
        (422, Some("invalid"))
    );
    // The same key means something else at another address, and nothing after a request that made nothing.
    let key = "Idempotency-Key: 5c20\r\n";
    let wrong = r#"{"name":"no name"}"#;
    let refused = local(&daemon, "POST", "/api/v1/apps", key, wrong);
    assert_eq!(refused.status, 422);
    let made = local(&daemon, "POST", "/api/v1/apps", key, r#"{"name":"shop"}"#);
    assert_eq!(made.status, 201, "{}", made.body);
}

/// A folder whose answer was lost on the way is deployed once.
#[test]
fn a1_a_folder_sent_again_is_deployed_once() {
    let daemon = Daemon::start();
    make_app(&daemon, "shop");
    let upload = "/api/v1/apps/shop/deploys/upload";
    let key = "Idempotency-Key: 5c21\r\n";
    let first = local(&daemon, "POST", upload, key, "a folder");
    assert_eq!(first.status, 202, "{}", first.body);
    let again = local(&daemon, "POST", upload, key, "a folder");
    assert_eq!((again.status, &again.body), (202, &first.body));
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    for (more, sent) in [
        ("", "another folder"),
        ("Content-Digest: sha-256=:AAAA:\r\n", "a folder"),
    ] {
        let other = local(&daemon, "POST", upload, &format!("{key}{more}"), sent);
        assert_eq!(other.status, 422, "{}", other.body);
    }
    let list = local(&daemon, "GET", "/api/v1/apps/shop/deploys", "", "").json();
    assert_eq!(list["items"].as_array().unwrap().len(), 1, "{list}");
}

/// What tells a secret tells it once: sent again it is not done again, and not told again.
#[test]
fn a3_a_secret_is_not_told_again_to_a_request_that_is_sent_again() {
    let daemon = Daemon::start();
    let key = "Idempotency-Key: 5c1f\r\n";
    assert_eq!(
        local(&daemon, "POST", "/api/v1/apps", "", r#"{"name":"shop"}"#).status,
        201
    );
    for (path, body, secret, made) in [
        (
            "/api/v1/tokens",
            r#"{"name":"CI"}"#,
            "token",
            "freehold_pat_",
        ),
        (
            "/api/v1/users",
            r#"{"name":"ana","role":"viewer"}"#,
            "link",
            "(ana)",
        ),
        ("/api/v1/users/ana/reset", "", "link", "(ana)"),
        ("/api/v1/setup-link", "", "path", ""),
        ("/api/v1/apps/shop/webhook-secret", "", "secret", ""),
    ] {
        let first = local(&daemon, "POST", path, key, body);
        assert!(
            (200..=201).contains(&first.status),
            "{path}: {}",
            first.body
        );
        let told = first.json()[secret].as_str().unwrap().to_owned();
        let again = local(&daemon, "POST", path, key, body);
        assert_eq!(again.status, 409, "{path}: {}", again.body);
        assert!(!again.body.contains(&told), "{path}: {}", again.body);
        let detail = again.json()["detail"].as_str().unwrap().to_owned();
        assert!(
            detail.contains("told once") && detail.contains(made),
            "{detail}"
        );
    }
    let list = local(&daemon, "GET", "/api/v1/tokens", "", "").json();
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
}

#[test]
fn a1_a_request_that_was_cut_off_is_not_done_a_second_time() {
    let mut daemon = Daemon::start();
    // A store that takes the connection and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let new = json!({
        "name": "far", "place": "s3://bucket/box", "endpoint": endpoint,
        "access_key": "a", "secret_key": "s",
    });
    let (key, body) = ("Idempotency-Key: 77aa\r\n", new.to_string());
    let mut stream = UnixStream::connect(daemon.socket("freehold.sock")).unwrap();
    write!(
        stream,
        "POST /api/v1/targets HTTP/1.1\r\nHost: panel.test\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{key}\r\n{body}",
        body.len()
    )
    .unwrap();
    let (_held, _) = silent.accept().unwrap();
    let busy = local(&daemon, "POST", "/api/v1/targets", key, &body);
    assert_eq!(
        (busy.status, busy.json()["kind"].as_str()),
        (409, Some("conflict"))
    );
    daemon.restart(|_| ());
    let after = local(&daemon, "POST", "/api/v1/targets", key, &body);
    assert_eq!(after.status, 409, "{}", after.body);
    assert!(
        after.body.contains("Look whether it was done"),
        "{}",
        after.body
    );
}

#[test]
fn a1_a_caller_is_told_what_is_left_and_when_to_come_again() {
    let daemon = Daemon::start_with(
        "127.0.0.1:0",
        "[limits]\napi_reads = 60\napi_changes = 10\n",
    );
    let made = local(
        &daemon,
        "POST",
        "/api/v1/tokens",
        "",
        r#"{"name":"CI","verb":"change"}"#,
    );
    let token = made.json()["token"].as_str().unwrap().to_owned();
    assert_eq!(
        made.header("ratelimit"),
        None,
        "the box's own socket is not counted"
    );
    let bearer = format!("Authorization: Bearer {token}\r\n");
    let edge = daemon.socket("edge.sock");
    let change = || ask(&edge, "POST", "/api/v1/checks", &bearer, "{}");
    let first = change();
    assert_eq!(
        first.header("ratelimit-policy"),
        Some("\"changes\";q=10;w=60")
    );
    assert_eq!(first.header("ratelimit"), Some("\"changes\";r=9;t=6"));
    let refused = (0..30).map(|_| change()).find(|a| a.status == 429).unwrap();
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=7).contains(&wait), "{wait}");
    assert_eq!(refused.json()["kind"], "slow-down");
    let read = ask(&edge, "GET", "/api/v1/apps", &bearer, "");
    assert_eq!(read.status, 200, "reads are counted apart");
}

#[test]
fn a1_long_work_is_a_job_that_is_followed_and_says_why_it_failed() {
    let daemon = Daemon::start();
    let asked = local(
        &daemon,
        "POST",
        "/api/v1/databases",
        "",
        r#"{"name":"main"}"#,
    );
    assert_eq!(asked.status, 202, "{}", asked.body);
    let place = asked.header("location").unwrap().to_owned();
    let body = asked.json();
    assert_eq!(body["name"], "main", "the answer has what it had");
    assert_eq!(place, format!("/api/v1/jobs/{}", body["job"]["id"]));
    let job = local(&daemon, "GET", &place, "", "").json();
    assert_eq!(
        (&job["kind"], &job["resource"]),
        (&json!("database"), &json!("/api/v1/databases/main"))
    );
    let all = local(&daemon, "GET", "/api/v1/jobs?state=open", "", "").json();
    assert!(
        all["items"]
            .as_array()
            .unwrap()
            .iter()
            .any(|j| j["id"] == job["id"])
    );
    let refused = local(&daemon, "POST", &format!("{place}/cancel"), "", "");
    assert_eq!(refused.status, 409, "{}", refused.body);
    assert_eq!(
        local(&daemon, "GET", "/api/v1/jobs/99999", "", "").status,
        404
    );
}

#[test]
fn a1_a_deploys_job_is_cancelled_before_it_says_so_and_its_events_go_on_where_they_were() {
    let daemon = Daemon::start();
    make_app(&daemon, "shop");
    // A git host that takes the connection and says nothing: the deploy stays in fetching.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/shop.git", silent.local_addr().unwrap());
    let form = json!({ "git_url": url }).to_string();
    let asked = local(&daemon, "POST", "/api/v1/apps/shop/deploys", "", &form);
    assert_eq!(asked.status, 202, "{}", asked.body);
    let place = asked.header("location").unwrap().to_owned();
    let (_held, _) = silent.accept().unwrap();
    let mut stream = UnixStream::connect(daemon.socket("freehold.sock")).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(120)))
        .unwrap();
    write!(
        stream,
        "GET {place}/events HTTP/1.1\r\nHost: panel.test\r\n\r\n"
    )
    .unwrap();
    let mut text = String::new();
    let mut chunk = [0; 4096];
    while !text.contains("\"running\"") {
        let n = stream.read(&mut chunk).unwrap();
        assert!(n > 0, "{text}");
        text.push_str(&String::from_utf8_lossy(&chunk[..n]));
    }
    let id = text
        .rsplit_once("id: ")
        .unwrap()
        .1
        .lines()
        .next()
        .unwrap()
        .to_owned();
    let ended = local(&daemon, "POST", &format!("{place}/cancel"), "", "");
    assert_eq!(ended.status, 200, "{}", ended.body);
    assert_eq!(ended.json()["state"], "cancelled");
    assert_eq!(
        local(&daemon, "GET", &place, "", "").json()["state"],
        "cancelled"
    );
    let rest = local(
        &daemon,
        "GET",
        &format!("{place}/events"),
        &format!("Last-Event-ID: {id}\r\n"),
        "",
    );
    assert!(
        rest.body.contains("event: end") && !rest.body.contains("event: job"),
        "{}",
        rest.body
    );
    // Asked again, it is what was asked for.
    assert_eq!(
        local(&daemon, "POST", &format!("{place}/cancel"), "", "").status,
        200
    );
}

/// Fills the file of the figures, and overwrites its middle as a dying disk does.
fn damage(metrics: &std::path::Path) {
    let db = rusqlite::Connection::open(metrics).unwrap();
    db.execute_batch(
        "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 20000)
         INSERT INTO check_rollups SELECT 60, 1, n, 1, 0, 5, 5 FROM n;
         PRAGMA wal_checkpoint(TRUNCATE);",
    )
    .unwrap();
    drop(db);
    let mut file = std::fs::File::options().write(true).open(metrics).unwrap();
    let middle = file.metadata().unwrap().len() / 2;
    file.seek(SeekFrom::Start(middle)).unwrap();
    file.write_all(&[0x5a; 32_768]).unwrap();
}

#[test]
fn a1_figures_that_are_damaged_hold_up_nothing_and_are_the_first_thing_that_is_told() {
    let mut daemon = Daemon::start();
    make_app(&daemon, "shop");
    daemon.restart(|daemon| damage(&daemon.data().join("metrics.db")));
    let apps = local(&daemon, "GET", "/api/v1/apps", "", "").json();
    assert_eq!(apps["items"].as_array().unwrap().len(), 1);

    let begun = std::time::Instant::now();
    let told = loop {
        let status = local(&daemon, "GET", "/api/v1/status", "", "").json();
        let all = status["findings"].as_array().unwrap().clone();
        let what = |f: &serde_json::Value| f["what"].as_str().unwrap_or_default().to_owned();
        match all
            .iter()
            .map(what)
            .find(|w| w.starts_with("The figures are damaged"))
        {
            Some(found) => break found,
            None if begun.elapsed() < Duration::from_secs(120) => {
                std::thread::sleep(Duration::from_millis(200));
            }
            None => panic!("the damage was not told: {all:?}"),
        }
    };
    assert!(told.contains("metrics.db is damaged"), "{told}");
    assert!(told.contains("move the file away"), "{told}");
    let overview = local(&daemon, "GET", "/api/v1/overview", "", "").json();
    assert_eq!(overview["apps"].as_array().unwrap().len(), 1, "{overview}");
    let log = rusqlite::Connection::open(daemon.data().join("state.db")).unwrap();
    log.busy_timeout(Duration::from_secs(10)).unwrap();
    let told = "SELECT count(*) FROM events WHERE kind = 'figures.damaged'";
    let count = || -> i64 { log.query_row(told, [], |r| r.get(0)).unwrap() };
    // It is shown before it is written down.
    let begun = std::time::Instant::now();
    while count() == 0 && begun.elapsed() < Duration::from_secs(120) {
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(count(), 1);
}
