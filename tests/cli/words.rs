//! What `docs/cli.md` says in words of `--json`, held against what is printed: here for the verbs that need no engine, or
//! whose rows can be planted; for the others in the tests that have what they need.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use super::documented;
use super::golden;
use super::page::{AS_WORDS, BESIDE};
use super::quiet::Daemon;
use super::served;
use super::typed::freehold;

/// The verb, how it is typed and what it ends with. In this order on one box.
const HELD: &[(&str, &[&str], i32)] = &[
    ("top", &["top"], 0),
    // The engine is away, which is what it finds.
    ("doctor", &["doctor"], 1),
    ("jobs", &["jobs"], 0),
    ("job show", &["job", "show", "900"], 0),
    ("job follow", &["job", "follow", "901"], 0),
    ("job cancel", &["job", "cancel", "900"], 0),
    ("events", &["events"], 0),
    ("check incidents", &["check", "incidents"], 0),
    ("releases", &["releases", "shop"], 0),
    ("deliveries", &["deliveries", "shop"], 0),
    ("metrics", &["metrics"], 0),
    ("metrics", &["metrics", "shop"], 0),
    ("audit", &["audit"], 0),
    (
        "env import",
        &["env", "shop", "import", "<env>", "--detach"],
        0,
    ),
    ("env", &["env", "shop"], 0),
    ("env", &["env", "shop", "--values"], 0),
    ("scale", &["scale", "shop", "web=1"], 0),
    ("cancel", &["cancel", "shop", "90"], 0),
    ("app start", &["app", "start", "shop"], 0),
    ("app restart", &["app", "restart", "shop"], 6),
    ("rollback", &["rollback", "shop", "v1"], 6),
    ("app stop", &["app", "stop", "shop"], 0),
    (
        "user change",
        &["user", "change", "bo", "--role", "admin"],
        0,
    ),
    ("target rm", &["target", "rm", "usb", "--yes"], 0),
    (
        "db attach",
        &["db", "attach", "main", "shop", "--no-wait"],
        0,
    ),
    (
        "db detach",
        &["db", "detach", "main", "shop", "--yes", "--no-wait"],
        0,
    ),
    ("db rm", &["db", "rm", "other", "--yes"], 0),
    (
        "backup restore",
        &["backup", "restore", "1", "--yes", "--no-wait"],
        0,
    ),
    (
        "backup confirm",
        &["backup", "confirm", "1", "--yes", "--no-wait"],
        0,
    ),
    ("completions", &["completions", "bash"], 0),
    ("man", &["man", "<dir>/man"], 0),
    ("man", &["man"], 0),
];

/// Verbs of the words that are held where there is an engine, or a box behind HTTPS: the test, and how it says it.
const HELD_ELSEWHERE: &[(&str, &str)] = &[
    ("reload", "tests/drops/n4_handover.rs"),
    ("app rm", "tests/deploy_engine.rs"),
    ("run", "tests/deploy_engine.rs"),
    ("exec", "tests/deploy_engine.rs"),
    ("logs", "tests/first_light/steps/f4_sample.rs"),
    ("db url", "tests/postgres_life.rs"),
    ("db psql", "tests/postgres_life.rs"),
    ("backup now", "tests/backup_life.rs"),
    ("backup verify", "tests/backup_life.rs"),
    ("backup download", "tests/backup_life.rs"),
    ("login", "tests/cli_remote.rs"),
];

/// Verbs of the words that are not held, and why.
const NOT_HELD: &[(&str, &str)] = &[("serve", "it is the daemon, and prints no object")];

/// What would need an engine or time to come about.
const PLANTED: &str = "
    INSERT INTO databases (id, name, version, image, memory_bytes, password_sealed, state, created_ms, changed_ms)
    VALUES (70, 'main', 17, 'postgres:17', 1, x'00', 'ready', 1, 1), (71, 'other', 17, 'postgres:17', 1, x'00', 'ready', 1, 1);
    INSERT INTO backups (id, database_id, database_name, logical, owner, server_version, expected_bytes, object_key, state,
        cause, attempt, size_bytes, sha256, created_ms, due_ms, started_ms, finished_ms)
    VALUES (1, 70, 'main', 'shop', 'shop', 17, 4096, 'x', 'stored', 'asked', 1, 2048, 'ab12', 1, 1, 1, 2);
    INSERT INTO restores (id, backup_id, database_id, logical, fresh, kept, state, created_ms, finished_ms)
    VALUES (1, 1, 70, 'shop', 'shop_restore_1', 'shop_before_1', 'done', 3, 4);
    INSERT INTO jobs (id, kind, key, payload, state, run_at_ms, attempts, created_ms)
    VALUES (900, 'backup.check', 'later:1', '{\"backup\":1}', 'queued', 4102444800000, 0, 1),
           (901, 'backup.check', 'later:2', '{\"backup\":1}', 'done', 1, 1, 1);
    INSERT INTO deliveries (app_id, at_ms, host, delivery, event, status, reason)
    SELECT id, 1, 'github', 'd', 'push', 401, 'why' FROM apps;
    INSERT INTO incidents (check_id, opened_ms, closed_ms, stage, why) SELECT id, 1, 2, 'tcp', 'why' FROM checks;
    INSERT INTO deploys (id, app_id, state, source, cause, by_whom, created_ms, state_ms)
    SELECT 90, id, 'queued', json_object('kind', 'image', 'reference', 'shop:1'), 'cli', 'ana', 1, 1 FROM apps;";

#[test]
fn a7_what_json_prints_is_as_the_words_say() {
    let daemon = Daemon::start();
    let socket = daemon.socket("freehold.sock");
    let dir = daemon.data().parent().unwrap().to_owned();
    std::fs::create_dir(dir.join("usb")).unwrap();
    std::fs::write(dir.join("env"), "MODE=live\n").unwrap();
    let place = format!("dir://{}", dir.join("usb").display());
    for made in [
        &["app", "create", "shop"][..],
        &["target", "add", "usb", &place],
        &["check", "add", "docs", "http://127.0.0.1:9/"],
    ] {
        let said = freehold(&socket, made);
        assert_eq!(said.code, 0, "{}", said.all());
    }
    served::serving(&daemon);
    golden::person(&daemon.data(), "bo");
    let state = rusqlite::Connection::open(daemon.data().join("state.db")).unwrap();
    state
        .busy_timeout(std::time::Duration::from_secs(5))
        .unwrap();
    state.execute_batch(PLANTED).unwrap();
    drop(state);
    let mut wrong = Vec::new();
    for (verb, typed, code) in HELD {
        let fill = |word: &&str| match *word {
            "<env>" => dir.join("env").display().to_string(),
            "<dir>/man" => dir.join("man").display().to_string(),
            word => word.to_owned(),
        };
        let mut typed: Vec<String> = typed.iter().map(fill).collect();
        typed.push("--json".into());
        let typed: Vec<&str> = typed.iter().map(String::as_str).collect();
        let said = freehold(&socket, &typed);
        let Ok(json) = serde_json::from_str::<Value>(&said.out) else {
            wrong.push(format!("{typed:?}: no JSON: {}", said.all()));
            continue;
        };
        if said.code != *code {
            wrong.push(format!("{typed:?} ended with {}", said.code));
        }
        wrong.extend(documented::differs(verb, &json));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a7_every_verb_told_in_words_is_held_or_has_a_reason() {
    let held: BTreeSet<&str> = HELD.iter().map(|(verb, ..)| *verb).collect();
    let elsewhere = HELD_ELSEWHERE.iter().map(|(verb, _)| *verb);
    let excused = NOT_HELD.iter().map(|(verb, _)| *verb);
    let others: BTreeSet<&str> = elsewhere.chain(excused).collect();
    let words = AS_WORDS.iter().chain(BESIDE);
    let told: BTreeSet<&str> = words.map(|(verb, _)| *verb).collect();
    assert!(held.is_disjoint(&others), "{held:?} {others:?}");
    let known: BTreeSet<&str> = held.union(&others).copied().collect();
    assert_eq!(told, known);
    // Where it is said to be held it is.
    for (verb, file) in HELD_ELSEWHERE {
        let test = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        let test = std::fs::read_to_string(test).unwrap();
        let calls = ["documented(", "held("].map(|call| format!("{call}\"{verb}\","));
        let plain: String = test.split_whitespace().collect::<Vec<_>>().join(" ");
        let plain = plain.replace("( ", "(");
        assert!(
            calls.iter().any(|call| plain.contains(call)),
            "{file} does not hold {verb}"
        );
    }
}

/// The saboteurs: a field more, a field less, and another verb's.
#[test]
fn a7_a_field_that_the_page_does_not_know_is_found() {
    let right = serde_json::json!({ "box": "home", "apps": 1 });
    assert_eq!(documented::differs("login", &right), None);
    for wrong in [
        serde_json::json!({ "box": "home", "apps": 1, "token": "x" }),
        serde_json::json!({ "box": "home" }),
        serde_json::json!([right, { "shell": "bash", "script": "" }]),
        serde_json::json!([]),
        serde_json::json!("home"),
    ] {
        assert!(documented::differs("login", &wrong).is_some(), "{wrong}");
    }
    // Each line of what streams is one of its cases.
    let lines = "{\"stream\":\"out\",\"text\":\"a\"}\n{\"exit\":0}\n";
    assert_eq!(documented::held("exec", lines).len(), 2);
}
