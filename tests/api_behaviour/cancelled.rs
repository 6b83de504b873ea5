//! A1: a backup that has begun is cancelled, and its job is over when that is answered.

use std::time::Duration;

use serde_json::json;

use crate::api::local;
use crate::quiet::Daemon;

/// A backup that is being made and waits for its next try, which is far away. Both at once: one without its job is ended by
/// who looks for such once a minute.
const PLANTED: &str = "
    BEGIN IMMEDIATE;
    INSERT INTO backups (database_id, database_name, logical, owner, server_version, expected_bytes, object_key, state, cause,
        attempt, created_ms, due_ms, started_ms)
        VALUES (1, 'main', 'shop', 'shop', 17, 1, 'main/shop.dump', 'running', 'asked', 1, 1, 1, 1);
    INSERT INTO jobs (kind, key, payload, state, attempts, run_at_ms, created_ms, started_ms, error)
        VALUES ('backup', 'backup:1', '{\"backup\":1}', 'queued', 1, 1 << 50, 1, 1, 'there is no engine');
    COMMIT;
";

#[test]
fn a1_a_backup_that_has_begun_is_cancelled_and_seen_dead() {
    let daemon = Daemon::start();
    let state = rusqlite::Connection::open(daemon.data().join("state.db")).unwrap();
    state.busy_timeout(Duration::from_secs(5)).unwrap();
    state.execute_batch(PLANTED).unwrap();
    let id = "SELECT id FROM jobs WHERE kind = 'backup'";
    let id: i64 = state.query_row(id, [], |r| r.get(0)).unwrap();
    let job = format!("/api/v1/jobs/{id}");
    let told = local(&daemon, "GET", &job, "", "").json();
    assert_eq!(
        (&told["state"], &told["cancellable"]),
        (&json!("queued"), &json!(true))
    );
    let ended = local(&daemon, "POST", &format!("{job}/cancel"), "", "");
    assert_eq!(ended.status, 200, "{}", ended.body);
    let told = ended.json();
    assert_eq!(
        (&told["state"], &told["cancellable"], &told["error"]),
        (&json!("cancelled"), &json!(false), &json!(null))
    );
    let backup = local(&daemon, "GET", "/api/v1/backups/1", "", "").json();
    assert_eq!(backup["state"], "failed", "{backup:#}");
    let why = backup["reason"].as_str().unwrap();
    assert!(
        why.starts_with("cancelled by ") && why.ends_with("while it was in work"),
        "{why}"
    );
    let all = local(&daemon, "GET", "/api/v1/backups", "", "").json();
    assert_eq!(
        all["items"].as_array().unwrap().len(),
        1,
        "no other try: {all:#}"
    );
    let again = local(&daemon, "POST", &format!("{job}/cancel"), "", "");
    assert_eq!(again.json()["state"], "cancelled", "{}", again.body);
}
