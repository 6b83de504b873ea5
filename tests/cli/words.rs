//! What `docs/cli.md` says in words of `--json`, held against what is printed, for the verbs that need no
//! engine, or whose rows can be planted.

use std::collections::BTreeSet;

use serde_json::Value;

use super::golden;
use super::page::AS_WORDS;
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

/// Verbs of the words that are not held, and why.
const NOT_HELD: &[(&str, &[&str])] = &[
    (
        "it ends well only when the engine did something",
        &["app rm", "backup now", "backup verify", "backup download"],
    ),
    (
        "it gives a password that an engine's server took",
        &["db url"],
    ),
    (
        "it prints by the line what a container wrote",
        &["logs", "run", "exec", "db psql"],
    ),
    ("it is the daemon, and prints no object", &["serve"]),
    (
        "it needs a box behind HTTPS, as cli_remote has it",
        &["login"],
    ),
];

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

/// The fields that words name: what stands in backticks, but for what is said of their values.
fn named(words: &str) -> BTreeSet<String> {
    let mut depth = 0;
    let outside = words.chars().filter(|c| {
        depth += i32::from(*c == '(') - i32::from(*c == ')');
        depth == 0
    });
    let outside: String = outside.collect();
    let odd = outside.split('`').skip(1).step_by(2);
    odd.map(str::to_owned).collect()
}

/// The fields that a clause names; another verb's where it says that they are as there.
fn meant(clause: &str) -> BTreeSet<String> {
    let names = named(clause);
    let Some(other) = names.iter().find_map(|name| name.strip_prefix("freehold ")) else {
        return names;
    };
    let kept = golden::folder().join(format!("{}.json", other.replace(' ', "-")));
    if let Ok(kept) = std::fs::read_to_string(kept) {
        return fields(other, &serde_json::from_str(&kept).unwrap());
    }
    let (_, words) = AS_WORDS.iter().find(|(v, _)| *v == other).unwrap();
    meant(words.split(';').next().unwrap())
}

/// Of a list, those of its first.
fn fields(verb: &str, json: &Value) -> BTreeSet<String> {
    let one = match json {
        Value::Array(all) => all
            .first()
            .unwrap_or_else(|| panic!("{verb} lists nothing")),
        one => one,
    };
    one.as_object().unwrap().keys().cloned().collect()
}

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
        let told = fields(verb, &json);
        let (_, words) = AS_WORDS.iter().find(|(v, _)| v == verb).unwrap();
        // A clause tells what is printed in one case, or what stands further in.
        if said.code != *code || !words.split(';').any(|clause| meant(clause) == told) {
            wrong.push(format!("{typed:?} ended with {}: {told:?}", said.code));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a7_every_verb_told_in_words_is_held_or_has_a_reason() {
    let held: BTreeSet<&str> = HELD.iter().map(|(verb, ..)| *verb).collect();
    let excused: BTreeSet<&str> = NOT_HELD.iter().flat_map(|(_, all)| *all).copied().collect();
    let told: BTreeSet<&str> = AS_WORDS.iter().map(|(verb, _)| *verb).collect();
    assert!(held.is_disjoint(&excused), "{held:?} {excused:?}");
    let known: BTreeSet<&str> = held.union(&excused).copied().collect();
    assert_eq!(told, known);
}
