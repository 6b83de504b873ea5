//! What ends data asks for a name; colour and width are a terminal's.

use super::golden::person;
use super::quiet::Daemon;
use super::typed::{Said, at_a_terminal, command, freehold};

/// Each destructive verb: how something to end is made, what ends it, the name it asks for, and how it is looked for.
struct Row {
    made: &'static [&'static str],
    ends: &'static [&'static str],
    name: &'static str,
    list: &'static [&'static str],
}

const ROWS: &[Row] = &[
    Row {
        made: &["app", "create", "shop"],
        ends: &["app", "rm", "shop"],
        name: "shop",
        list: &["app", "list"],
    },
    Row {
        made: &["target", "add", "usb", "dir:///tmp"],
        ends: &["target", "rm", "usb"],
        name: "usb",
        list: &["target", "list"],
    },
    Row {
        made: &["user", "add", "ana", "--role", "viewer"],
        ends: &["user", "rm", "ana"],
        name: "ana",
        list: &["user", "list"],
    },
    Row {
        made: &["token", "add", "laptop"],
        ends: &["token", "rm", "1"],
        name: "laptop",
        list: &["token", "list"],
    },
    Row {
        made: &["check", "add", "docs", "http://127.0.0.1:9/"],
        ends: &["check", "rm", "docs"],
        name: "docs",
        list: &["check", "list"],
    },
    Row {
        made: &["db", "create", "main", "--no-wait"],
        ends: &["db", "rm", "main"],
        name: "main",
        list: &["db", "list"],
    },
    Row {
        made: &["domain", "add", "asked", "asked.test"],
        ends: &["domain", "rm", "asked", "asked.test"],
        name: "asked.test",
        list: &["domain", "list", "asked"],
    },
    Row {
        made: &["env", "asked", "set", "MODE=live"],
        ends: &["env", "asked", "unset", "MODE"],
        name: "MODE",
        list: &["env", "asked"],
    },
];

#[test]
fn a7_what_ends_data_wants_its_name_typed_or_yes() {
    let daemon = Daemon::start();
    let socket = daemon.socket("freehold.sock");
    let there = |row: &Row| freehold(&socket, row.list).out.contains(row.name);
    let app = freehold(&socket, &["app", "create", "asked"]);
    assert_eq!(app.code, 0, "{}", app.all());
    for row in ROWS {
        let made = freehold(&socket, row.made);
        assert_eq!(made.code, 0, "{:?}: {}", row.made, made.all());
        let what = row.ends;

        // Nobody is there to ask.
        let said = freehold(&socket, what);
        assert_eq!(said.code, 2, "{what:?}: {}", said.all());
        assert!(said.err.contains("give --yes"), "{what:?}: {}", said.all());
        // Somebody types another name, or nothing.
        for typed in ["another", ""] {
            let said = at_a_terminal(80, typed, &command(&socket, what));
            assert_eq!(said.code, 2, "{what:?}: {}", said.all());
            let asked = format!("Type {} to go on", row.name);
            assert!(said.out.contains(&asked), "{what:?}: {}", said.all());
            assert!(said.out.contains("nothing was changed"), "{}", said.all());
        }
        assert!(there(row), "{what:?} was ended without its name");

        let said: Said = at_a_terminal(80, row.name, &command(&socket, what));
        // An app's containers cannot be ended without an engine: that it is being removed is enough.
        let accepted = match said.code {
            6 => row.ends[0] == "app" && said.out.contains("is not removed yet"),
            code => code == 0,
        };
        assert!(accepted, "{what:?}: {}", said.all());
    }
}

/// A server with a backup that is stored and a restore that is done: no engine is needed to be asked.
fn a_restore(daemon: &Daemon) {
    let db = rusqlite::Connection::open(daemon.data().join("state.db")).unwrap();
    db.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
    db.execute_batch(
        "INSERT INTO databases (id, name, version, image, memory_bytes, password_sealed, state, created_ms, changed_ms)
         VALUES (1, 'main', 17, 'postgres:17', 1, x'00', 'ready', 1, 1);
         INSERT INTO backups (database_id, database_name, logical, owner, server_version, expected_bytes, object_key, state,
             cause, attempt, size_bytes, sha256, created_ms, due_ms, started_ms, finished_ms)
         VALUES (1, 'main', 'shop', 'shop', 17, 4096, 'main/shop/1.dump', 'stored', 'asked', 1, 2048, 'ab12', 1, 1, 1, 2);
         INSERT INTO restores (backup_id, database_id, logical, fresh, kept, state, created_ms, finished_ms)
         VALUES (1, 1, 'shop', 'shop_restore_1', 'shop_before_1', 'done', 3, 4);",
    )
    .unwrap();
}

/// A restore and its confirmation ask for the database's name, which the other rows cannot show without an engine.
#[test]
fn a7_a_restore_and_its_confirmation_want_the_databases_name_typed() {
    let daemon = Daemon::start();
    let socket = daemon.socket("freehold.sock");
    a_restore(&daemon);
    let restores = || {
        freehold(&socket, &["backup", "restores"])
            .out
            .lines()
            .count()
    };
    let confirmed = || {
        let said = freehold(&socket, &["events", "--json"]);
        said.out.matches("Restore 1 was confirmed").count()
    };
    let before = restores();
    for (what, name) in [
        (&["backup", "restore", "1", "--no-wait"][..], "shop"),
        (&["backup", "confirm", "1"], "shop_before_1"),
    ] {
        let said = freehold(&socket, what);
        assert_eq!(said.code, 2, "{what:?}: {}", said.all());
        assert!(said.err.contains("give --yes"), "{what:?}: {}", said.all());
        for typed in ["main", ""] {
            let said = at_a_terminal(80, typed, &command(&socket, what));
            assert_eq!(said.code, 2, "{what:?}: {}", said.all());
            let asked = format!("Type {name} to go on");
            assert!(said.out.contains(&asked), "{what:?}: {}", said.all());
            assert!(said.out.contains("nothing was changed"), "{}", said.all());
        }
    }
    assert_eq!(
        (restores(), confirmed()),
        (before, 0),
        "done without a name"
    );

    let restore = command(&socket, &["backup", "restore", "1", "--no-wait"]);
    let said = at_a_terminal(80, "shop", &restore);
    assert_eq!(said.code, 0, "{}", said.all());
    assert_eq!(restores(), before + 1, "{}", said.all());
    let confirm = command(&socket, &["backup", "confirm", "1", "--no-wait"]);
    let said = at_a_terminal(80, "shop_before_1", &confirm);
    assert_eq!(said.code, 0, "{}", said.all());
    assert_eq!(confirmed(), 1, "{}", said.all());
}

/// What ends somebody's way in, or a secret that is in use, without taking a thing away: what is typed, the name it asks
/// for, and a query that counts what it ends.
const ENDED: &[(&[&str], &str, &str)] = &[
    (
        &["user", "sessions", "bo", "end"],
        "bo",
        "SELECT count(*) FROM sessions WHERE user_id = 77",
    ),
    (
        &["user", "sessions", "bo", "end", "aaaaaaaa"],
        "bo",
        "SELECT count(*) FROM sessions WHERE digest = 'aaaaaaaaaa'",
    ),
    (
        &["user", "second-factor-off", "bo"],
        "bo",
        "SELECT count(*) FROM second_factors WHERE user_id = 77",
    ),
    (
        &["user", "reset", "bo"],
        "bo",
        "SELECT count(*) FROM sessions WHERE user_id = 77",
    ),
    // The owner's, who is not named.
    (
        &["user", "reset"],
        "owner",
        "SELECT count(*) FROM sessions WHERE user_id = 78",
    ),
    (
        &["app", "webhook", "shop", "--new-secret"],
        "shop",
        "SELECT count(*) FROM apps WHERE webhook_secret = (SELECT secret FROM temp.before)",
    ),
];

/// The daemon's own rows, in which tests plant what only an engine would make.
fn state_of(daemon: &Daemon) -> rusqlite::Connection {
    let state = rusqlite::Connection::open(daemon.data().join("state.db")).unwrap();
    let limit = std::time::Duration::from_secs(5);
    state.busy_timeout(limit).unwrap();
    state
}

#[test]
fn a7_what_ends_a_way_in_or_a_secret_wants_its_name_typed_or_yes() {
    let said = |typed: Option<&str>, ends: &[&str], counted: &str, name: &str| {
        let daemon = Daemon::start();
        let socket = daemon.socket("freehold.sock");
        assert_eq!(freehold(&socket, &["app", "create", "shop"]).code, 0);
        person(&daemon.data(), "bo");
        let state = state_of(&daemon);
        state
            .execute_batch(
                "CREATE TEMP TABLE before AS SELECT webhook_secret AS secret FROM apps;
                 INSERT INTO users (id, name, role, password_hash, created_ms) VALUES (78, 'owner', 'owner', 'x', 1);
                 INSERT INTO sessions (digest, user_id, created_ms, seen_ms, expires_ms, address, agent)
                 VALUES ('cccccccccc', 78, 1, 1, 4102444800000, '192.0.2.1', 'a browser');",
            )
            .unwrap();
        let count = || -> i64 { state.query_row(counted, [], |r| r.get(0)).unwrap() };
        assert!(count() > 0, "{ends:?}");
        let said = match typed {
            Some(typed) => at_a_terminal(80, typed, &command(&socket, ends)),
            None => freehold(&socket, ends),
        };
        match said.code {
            2 => assert!(count() > 0, "{ends:?} was done without its name {name}"),
            _ => assert_eq!(count(), 0, "{ends:?}: {}", said.all()),
        }
        said
    };
    for (ends, name, counted) in ENDED {
        let refused = said(None, ends, counted, name);
        assert_eq!(refused.code, 2, "{ends:?}: {}", refused.all());
        assert!(refused.err.contains("give --yes"), "{}", refused.all());
        let other = said(Some("another"), ends, counted, name);
        assert_eq!(other.code, 2, "{ends:?}: {}", other.all());
        let asked = format!("Type {name} to go on");
        assert!(other.out.contains(&asked), "{ends:?}: {}", other.all());
        let typed = said(Some(name), ends, counted, name);
        assert_eq!(typed.code, 0, "{ends:?}: {}", typed.all());
        let yes = [ends, &["--yes", "--json"][..]].concat();
        let yes = said(None, &yes, counted, name);
        assert_eq!(yes.code, 0, "{ends:?}: {}", yes.all());
        let json: serde_json::Value = serde_json::from_str(&yes.out).unwrap();
        assert!(json.is_object(), "{ends:?}: {json}");
    }
}

/// On a box whose owner has not come in yet there is nobody whose sessions a link would end.
#[test]
fn a7_the_first_setup_link_is_made_without_a_question() {
    let daemon = Daemon::start();
    let socket = daemon.socket("freehold.sock");
    for _ in 0..2 {
        let said = freehold(&socket, &["user", "reset"]);
        assert_eq!(said.code, 0, "{}", said.all());
        assert!(said.out.contains("/setup/"), "{}", said.all());
    }
}

/// An app is detached by its name; what follows needs an engine, so that it was begun is enough.
#[test]
fn a7_an_app_is_detached_by_its_name_or_yes() {
    for (typed, yes) in [("shop", false), ("", true)] {
        let daemon = Daemon::start();
        let socket = daemon.socket("freehold.sock");
        assert_eq!(freehold(&socket, &["app", "create", "shop"]).code, 0);
        let state = state_of(&daemon);
        state
            .execute_batch(
                "INSERT INTO databases (id, name, version, image, memory_bytes, password_sealed, state, created_ms, changed_ms)
                 VALUES (1, 'main', 17, 'postgres:17', 1, x'00', 'ready', 1, 1);
                 INSERT INTO attachments (database_id, app_id, app_name, role, password_sealed, env_name, state, created_ms, changed_ms)
                 VALUES (1, 1, 'shop', 'shop', x'00', 'DATABASE_URL', 'attached', 1, 1);",
            )
            .unwrap();
        let attached = || -> bool {
            let count = "SELECT count(*) > 0 FROM attachments WHERE state = 'attached'";
            state.query_row(count, [], |r| r.get(0)).unwrap()
        };
        let detach = ["db", "detach", "main", "shop"];
        let said = freehold(&socket, &detach);
        assert_eq!(said.code, 2, "{}", said.all());
        assert!(said.err.contains("give --yes"), "{}", said.all());
        for typed in ["main", ""] {
            let said = at_a_terminal(80, typed, &command(&socket, &detach));
            assert_eq!(said.code, 2, "{}", said.all());
            assert!(said.out.contains("Type shop to go on"), "{}", said.all());
            assert!(said.out.contains("nothing was changed"), "{}", said.all());
        }
        assert!(attached(), "it was detached without its name");

        std::thread::scope(|scope| {
            let begun = scope.spawn(|| match yes {
                true => freehold(&socket, &[&detach[..], &["--yes"]].concat()),
                false => at_a_terminal(80, typed, &command(&socket, &detach)),
            });
            for _ in 0..1_800 {
                if !attached() || begun.is_finished() {
                    break;
                }
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
            let detaching = !attached();
            // It would wait for the engine; the box goes away instead.
            drop(daemon);
            let said = begun.join().unwrap();
            assert!(detaching, "{}", said.all());
            assert_ne!(said.code, 2, "{}", said.all());
        });
    }
}

/// Without an engine nothing of an app can be ended: that is told within seconds, and the removal waits for the engine.
#[test]
fn a7_a_removal_that_the_engine_holds_up_is_told_soon_and_goes_on() {
    let daemon = Daemon::start();
    let socket = daemon.socket("freehold.sock");
    assert_eq!(freehold(&socket, &["app", "create", "shop"]).code, 0);
    let begun = std::time::Instant::now();
    let said = freehold(&socket, &["app", "rm", "shop", "--yes"]);
    // After five seconds it is asked what holds it up; who waits for the end waits three minutes.
    assert!(begun.elapsed().as_secs() < 60, "{:?}", begun.elapsed());
    assert_eq!(said.code, 6, "{}", said.all());
    assert!(said.err.contains("engine"), "{}", said.all());
    assert!(said.err.contains("goes on by itself"), "{}", said.all());
    let listed = freehold(&socket, &["app", "list"]);
    assert!(listed.out.contains("being removed"), "{}", listed.all());
}

#[test]
fn a7_yes_needs_nobody() {
    let daemon = Daemon::start();
    let socket = daemon.socket("freehold.sock");
    let app = freehold(&socket, &["app", "create", "asked"]);
    assert_eq!(app.code, 0, "{}", app.all());
    for row in ROWS.iter().filter(|r| !["app", "db"].contains(&r.ends[0])) {
        assert_eq!(freehold(&socket, row.made).code, 0);
        let ends = [row.ends, &["--yes", "--json"]].concat();
        let said = freehold(&socket, &ends);
        assert_eq!(said.code, 0, "{ends:?}: {}", said.all());
        let json: serde_json::Value = serde_json::from_str(&said.out).unwrap();
        assert!(json.is_object(), "{ends:?}: {json}");
        assert!(!freehold(&socket, row.list).out.contains(row.name));
    }
}

#[test]
fn a7_colour_and_width_are_a_terminals_and_a_pipe_gets_plain_text() {
    let daemon = Daemon::start();
    let socket = daemon.socket("freehold.sock");
    for name in ["shop", "a-name-that-is-rather-long-for-a-column"] {
        assert_eq!(freehold(&socket, &["app", "create", name]).code, 0);
        let host = format!("{name}.a-rather-long-domain.example.com");
        assert_eq!(freehold(&socket, &["domain", "add", name, &host]).code, 0);
    }
    let list = ["app", "list"];
    let piped = freehold(&socket, &list);
    assert!(
        !piped.out.contains('\x1b') && !piped.out.contains('…'),
        "{}",
        piped.out
    );

    let narrow = at_a_terminal(60, "", &command(&socket, &list));
    assert!(narrow.out.contains("\x1b[1mAPP"), "{:?}", narrow.out);
    for line in bare(&narrow.out).lines() {
        assert!(line.chars().count() <= 60, "{line}");
    }
    assert!(narrow.out.contains('…'), "{}", narrow.out);

    let mut quiet = command(&socket, &list);
    quiet.env("NO_COLOR", "1");
    assert!(!at_a_terminal(60, "", &quiet).out.contains('\x1b'));
    let never = command(&socket, &["app", "list", "--color", "never"]);
    assert!(!at_a_terminal(60, "", &never).out.contains('\x1b'));
    let always = freehold(&socket, &["app", "list", "--color", "always"]);
    assert!(always.out.contains("\x1b[1mAPP"), "{:?}", always.out);
    assert_eq!(bare(&always.out), piped.out);
}

#[test]
fn a7_progress_is_shown_on_a_terminal_only() {
    let daemon = Daemon::start();
    let socket = daemon.socket("freehold.sock");
    assert_eq!(freehold(&socket, &["app", "create", "shop"]).code, 0);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("Dockerfile"), "FROM scratch\n").unwrap();
    std::fs::write(folder.path().join("data"), vec![7; 3 << 20]).unwrap();
    let path = folder.path().to_str().unwrap();
    let deploy = ["deploy", path, "--app", "shop"];
    let shown = at_a_terminal(100, "", &command(&socket, &deploy));
    assert!(
        shown.out.contains("Sending") && shown.out.contains("of 3."),
        "{:?}",
        shown.out
    );
    let piped = freehold(&socket, &deploy);
    assert!(
        !piped.all().contains("Sending") && !piped.all().contains('\x1b'),
        "{}",
        piped.all()
    );
}

/// Without colours.
fn bare(text: &str) -> String {
    let mut bare = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\x1b[") {
        bare.push_str(before);
        rest = after.split_once('m').map_or("", |(_, rest)| rest);
    }
    bare + rest
}
