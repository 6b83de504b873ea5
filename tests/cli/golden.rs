//! What `--json` prints, compared with the files in `golden/`: fields are a contract, and a change of them is a change of
//! a file that a reviewer sees. What differs from run to run stands there as `<ms>`, `<id>`, `<…>`.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::quiet::Daemon;
use super::typed::{at_a_terminal, command, freehold};

pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/golden")
}

/// The verb, and how it is typed. In this order on one box; each makes what the next ones show.
const TYPED: &[(&str, &[&str])] = &[
    (
        "app create",
        &[
            "app",
            "create",
            "shop",
            "--git",
            "https://git.test/shop.git",
        ],
    ),
    ("app set", &["app", "set", "shop", "--branch", "live"]),
    ("domain add", &["domain", "add", "shop", "shop.test"]),
    ("domain list", &["domain", "list", "shop"]),
    (
        "domain set",
        &["domain", "set", "shop", "shop.test", "--rate", "100/minute"],
    ),
    ("domain show", &["domain", "show", "shop", "shop.test"]),
    (
        "env set",
        &["env", "shop", "set", "MODE=live", "KEY=1", "--detach"],
    ),
    (
        "env unset",
        &["env", "shop", "unset", "KEY", "--yes", "--detach"],
    ),
    ("env", &["env", "shop"]),
    ("app list", &["app", "list"]),
    ("app show", &["app", "show", "shop"]),
    ("app webhook", &["app", "webhook", "shop"]),
    ("maintenance", &["maintenance", "shop", "on"]),
    ("domain rm", &["domain", "rm", "shop", "shop.test", "--yes"]),
    (
        "check add",
        &["check", "add", "docs", "http://127.0.0.1:9/"],
    ),
    ("check list", &["check", "list"]),
    ("check rm", &["check", "rm", "docs", "--yes"]),
    ("db create", &["db", "create", "main", "--no-wait"]),
    ("db list", &["db", "list"]),
    ("db show", &["db", "show", "main"]),
    ("target add", &["target", "add", "usb", "dir://<dir>/usb"]),
    ("target list", &["target", "list"]),
    ("target test", &["target", "test", "usb"]),
    ("target use", &["target", "use", "usb"]),
    ("backup list", &["backup", "list"]),
    ("backup show", &["backup", "show", "1"]),
    ("backup restores", &["backup", "restores"]),
    (
        "user add",
        &["user", "add", "ana", "--role", "developer", "--app", "shop"],
    ),
    ("user list", &["user", "list"]),
    ("user reset", &["user", "reset"]),
    ("user rm", &["user", "rm", "ana", "--yes"]),
    ("token add", &["token", "add", "ci", "--app", "shop"]),
    ("token list", &["token", "list"]),
    ("token rm", &["token", "rm", "1", "--yes"]),
    (
        "deploy",
        &["deploy", "--app", "shop", "--image", "127.0.0.1:9/shop"],
    ),
    ("deploys", &["deploys", "shop"]),
    ("status", &["status"]),
    ("user sessions", &["user", "sessions", "bo"]),
    (
        "user sessions end",
        &["user", "sessions", "bo", "end", "aaaaaaaa", "--yes"],
    ),
    (
        "user sessions end",
        &["user", "sessions", "bo", "end", "--yes"],
    ),
    (
        "user second-factor-off",
        &["user", "second-factor-off", "bo", "--yes"],
    ),
    ("boxes", &["boxes"]),
    ("use", &["use", "home"]),
    ("logout", &["logout", "home"]),
];

#[test]
fn a7_what_json_prints_is_as_it_was() {
    let daemon = Daemon::start();
    let socket = daemon.socket("freehold.sock");
    let dir = daemon.data().parent().unwrap().to_owned();
    std::fs::create_dir(dir.join("usb")).unwrap();
    known_box(socket.parent().unwrap());
    let mut wrong = Vec::new();
    for (verb, typed) in TYPED {
        if *verb == "backup list" {
            seed(&daemon.data());
        }
        if *verb == "user sessions" {
            person(&daemon.data(), "bo");
        }
        let mut arguments: Vec<String> = typed
            .iter()
            .map(|a| a.replace("<dir>", dir.to_str().unwrap()))
            .collect();
        arguments.push("--json".into());
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let said = freehold(&socket, &arguments);
        // There is no engine: what was asked for is told all the same, as it ended.
        let expected = if *verb == "deploy" { 6 } else { 0 };
        assert_eq!(said.code, expected, "{verb}: {}", said.all());
        let mut json: Value =
            serde_json::from_str(&said.out).unwrap_or_else(|e| panic!("{verb}: {e}: {}", said.out));
        settle(&mut json, "", dir.to_str().unwrap());
        wrong.extend(compare(verb, &json));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Colour, width and terminals change nothing of what programs read.
#[test]
fn a7_json_on_a_terminal_is_the_same() {
    let daemon = Daemon::start();
    let socket = daemon.socket("freehold.sock");
    assert_eq!(freehold(&socket, &["app", "create", "shop"]).code, 0);
    let list = ["app", "list", "--json", "--color", "always"];
    let piped = freehold(&socket, &list);
    let shown = at_a_terminal(20, "", &command(&socket, &list));
    assert_eq!(shown.out, piped.out);
}

fn compare(verb: &str, json: &Value) -> Option<String> {
    let path = folder().join(format!("{}.json", verb.replace(' ', "-")));
    let text = format!("{}\n", serde_json::to_string_pretty(json).unwrap());
    if std::env::var_os("FREEHOLD_WRITE_DOCS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    (kept != text).then(|| {
        format!(
            "`freehold {verb} --json` is not as {} has it; if that is meant, run FREEHOLD_WRITE_DOCS=1 cargo test --test cli\n{text}",
            path.display()
        )
    })
}

/// Puts a mark where something differs from run to run.
fn settle(json: &mut Value, key: &str, dir: &str) {
    let mark = match key {
        // There or not, as fast as the box is measured and a check is asked.
        "rate" | "cpu" | "since_ms" | "error_share" | "up_share" | "p95_ms" | "asked_ms"
        | "millis" | "day_share" | "month_share" | "disk_full_in_days" | "why" | "reason"
        | "certificate" => "<varies>",
        _ if json.is_null() => return,
        _ if key.ends_with("_ms") => "<ms>",
        "installation" | "secret" | "token" | "link" | "path" | "prefix" | "mark" => {
            "<secret or id>"
        }
        "fingerprint" | "version" | "dashboard" | "address" | "backup_at" | "url" | "urls" => {
            "<text>"
        }
        // What the box is, and what it happens to do now.
        "machine" | "attention" | "findings" | "fault" | "error" | "silent" | "day" | "pending"
        | "unreachable" => "<varies>",
        _ => "",
    };
    if !mark.is_empty() && !json.is_object() {
        *json = Value::String(mark.into());
        return;
    }
    match json {
        Value::Object(fields) => {
            for (key, value) in fields.iter_mut() {
                // Of an object the fields are the contract.
                let numbers = matches!(key.as_str(), "machine");
                settle(value, key, dir);
                if numbers {
                    varies(value);
                }
            }
        }
        Value::Array(all) => {
            for value in all {
                settle(value, "", dir);
            }
        }
        Value::String(text) => *text = text.replace(dir, "<dir>"),
        _ => {}
    }
}

/// Every figure of a measured thing.
fn varies(json: &mut Value) {
    match json {
        Value::Object(fields) => fields.values_mut().for_each(varies),
        Value::Null => {}
        other => *other = Value::String("<varies>".into()),
    }
}

/// A backup and a restore, which need an engine to come about.
fn seed(data: &Path) {
    let db = rusqlite::Connection::open(data.join("state.db")).unwrap();
    db.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
    db.execute_batch(
        "INSERT INTO backups (database_id, database_name, logical, owner, server_version, expected_bytes, object_key, state,
             cause, attempt, size_bytes, sha256, created_ms, due_ms, started_ms, finished_ms)
         VALUES (1, 'main', 'shop', 'shop', 17, 4096, 'main/shop/1.dump', 'stored', 'asked', 1, 2048, 'ab12', 1, 1, 1, 2);
         INSERT INTO restores (backup_id, database_id, logical, fresh, kept, state, created_ms, finished_ms)
         VALUES (1, 1, 'shop', 'shop_new_1', 'shop_before_1', 'done', 3, 4);",
    )
    .unwrap();
}

/// Somebody who came in twice and has a second factor, as a browser makes them.
pub fn person(data: &Path, name: &str) {
    let db = rusqlite::Connection::open(data.join("state.db")).unwrap();
    db.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
    db.execute(
        "INSERT INTO users (id, name, role, password_hash, created_ms) VALUES (77, ?1, 'viewer', 'x', 1)",
        [name],
    )
    .unwrap();
    db.execute_batch(
        "INSERT INTO sessions (digest, user_id, created_ms, seen_ms, expires_ms, address, agent)
         VALUES ('aaaaaaaaaa', 77, 1, 2, 4102444800000, '192.0.2.1', 'a browser'),
                ('bbbbbbbbbb', 77, 1, 1, 4102444800000, '192.0.2.1', 'a browser');
         INSERT INTO second_factors (user_id, secret, created_ms, active_ms) VALUES (77, x'00', 1, 1);",
    )
    .unwrap();
}

/// A box that was logged in to.
fn known_box(config: &Path) {
    std::fs::create_dir_all(config.join("freehold")).unwrap();
    std::fs::write(
        config.join("freehold/boxes.toml"),
        "current = \"home\"\n[box.home]\naddress = \"home.test\"\ntoken = \"freehold_pat_x\"\n",
    )
    .unwrap();
}
