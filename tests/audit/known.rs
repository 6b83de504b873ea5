//! A5: what the log says of those who are known: halves of a sign-in, what was made or cancelled, and what goes on
//! while much of theirs was refused.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::{Value, json};

use super::{FORM, JSON, WORDS, World, ask, authenticator, bearer, body, forms, unchunked};

/// Until one entry fits.
fn until(world: &World, query: &str, fits: impl Fn(&Value) -> bool) -> Value {
    for _ in 0..1_200 {
        if let Some(entry) = world.log(query).into_iter().find(&fits) {
            return entry;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("{query}: {:?}", world.log(""));
}

/// However much of theirs was refused: who may do something has it written down before it is begun.
#[test]
fn a5_a_change_is_written_down_before_it_is_begun_after_any_number_of_refusals() {
    super::within_an_hour();
    let world = World::new();
    let new = json!({ "name": "ci", "verb": "change", "apps": ["shop"] }).to_string();
    let (status, text) = world.local("POST", "/api/v1/tokens", &new);
    assert_eq!(status, 201, "{text}");
    let made: Value = serde_json::from_str(&unchunked(body(&text))).unwrap();
    let token = bearer(made["token"].as_str().unwrap());
    for _ in 0..70 {
        let (status, text) = world.edge("POST", "/api/v1/apps/other/stop", &token, "");
        assert_eq!(status, 404, "{text}");
    }
    assert_eq!(
        world.log("action=app.stop").len(),
        60,
        "refusals are bounded"
    );
    let mut stream = UnixStream::connect(world.daemon.socket("edge.sock")).unwrap();
    write!(
        stream,
        "POST /api/v1/apps/shop/deploys/upload HTTP/1.1\r\nHost: panel.test\r\nX-Real-IP: 192.0.2.7\r\nContent-Length: 1000\r\n{token}\r\nhalf"
    )
    .unwrap();
    let entry = until(&world, "action=app.deploy", |_| true);
    assert_eq!(entry["state"], "under way", "{entry}");
    drop(stream);
    until(&world, "action=app.deploy", |e| e["state"] != "under way");
}

#[test]
fn a5_the_two_halves_of_a_sign_in_are_told_apart() {
    let world = World::new();
    let ana = world.somebody("ana", "admin", &[]);
    let set = |path: &str, body: &Value| {
        let headers = format!("{ana}{JSON}");
        let (status, text) = world.edge("POST", path, &headers, &body.to_string());
        assert!(status < 300, "{text}");
        serde_json::from_str::<Value>(&unchunked(super::body(&text))).unwrap_or_default()
    };
    let offer = set("/api/v1/account/second-factor", &json!({}));
    let key = offer["key"].as_str().unwrap().to_owned();
    let code = authenticator::code(&authenticator::key(&key), 0);
    set(
        "/api/v1/account/second-factor/confirm",
        &json!({ "code": code }),
    );
    let stranger = world.stranger();
    let words = WORDS.replace(' ', "+");
    let form = format!("name=+Ana+&password={words}");
    let (status, text) = world.edge("POST", "/sign-in", &format!("{FORM}{stranger}"), &form);
    assert_eq!(status, 303, "{text}");
    let entry = world.last();
    assert_eq!(entry["subject"]["name"], "ana", "{entry}");
    assert_eq!(
        entry["detail"], "the password was right; the code is still to come",
        "{entry}"
    );
    let half = forms::cookie(&text, "__Host-freehold-half").unwrap();
    let stranger = stranger.replace(
        "Cookie: ",
        &format!("Cookie: __Host-freehold-half={half}; "),
    );
    let socket = world.daemon.socket("edge.sock");
    let (status, text) = ask(
        &socket,
        "POST",
        "/sign-in/code",
        &format!("{FORM}{stranger}"),
        "code=000000",
    );
    assert_eq!(status, 401, "{text}");
    let entry = world.last();
    assert_eq!(
        (&entry["action"], &entry["subject"]["name"], &entry["state"]),
        (&json!("session.code"), &json!("ana"), &json!("refused")),
        "{entry}"
    );
    // A code of nobody's names nobody.
    world.edge(
        "POST",
        "/sign-in/code",
        &format!("{FORM}{}", world.stranger()),
        "code=000000",
    );
    let entry = world.last();
    assert_eq!(
        entry["subject"]["name"], "(nobody whose password was given)",
        "{entry}"
    );
}

#[test]
fn a5_what_is_made_has_its_row_and_a_new_password_shows_as_one() {
    let world = World::new();
    let made = world.log("action=app.create");
    assert!(made[0]["subject"]["id"].as_i64().is_some(), "{made:?}");
    // A name that is a number is no row.
    for name in ["1", "ci"] {
        world.token(name, "read");
        let entry = world.last();
        assert_eq!(entry["subject"]["name"], name, "{entry}");
    }
    let ids: Vec<Value> = world
        .log("action=token.create")
        .iter()
        .map(|e| e["subject"]["id"].clone())
        .collect();
    assert_eq!(ids, [2, 1]);
    let ana = world.somebody("ana", "admin", &[]);
    let other = "five+words+are+enough+too";
    let form = format!(
        "current={}&password={other}&again={other}&code=",
        WORDS.replace(' ', "+")
    );
    let (status, text) = world.edge("POST", "/account/password", &format!("{FORM}{ana}"), &form);
    assert_eq!(status, 303, "{text}");
    let entry = world.last();
    assert_eq!(entry["action"], "account.password", "{entry}");
    assert_eq!(entry["before"]["password"], "•••", "{entry}");
    assert_eq!(entry["after"]["password"], "••• (another one)", "{entry}");
}

#[test]
fn a5_a_cancelled_job_is_named() {
    let world = World::new();
    // Held by another build's fetch that never ends.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let deploy = json!({ "git_url": format!("https://127.0.0.1:{port}/x.git") }).to_string();
    let (status, text) = world.local("POST", "/api/v1/apps/shop/deploys", &deploy);
    assert_eq!(status, 202, "{text}");
    let made: Value = serde_json::from_str(&unchunked(body(&text))).unwrap();
    let job = made["job"]["id"].as_i64().unwrap();
    world.local("POST", &format!("/api/v1/jobs/{job}/cancel"), "");
    let entry = world.log("action=job.cancel")[0].clone();
    assert_eq!(entry["subject"]["kind"], "job", "{entry}");
    assert_eq!(entry["subject"]["name"], job.to_string(), "{entry}");
    if entry["state"] == "done" {
        assert_eq!(entry["after"]["app"], "shop", "{entry}");
        let deploy = made["deploy"].as_i64().unwrap();
        assert_eq!(
            entry["after"]["what"],
            format!("Deploy {deploy} of shop"),
            "{entry}"
        );
    }
}

/// A backup's number alone says nothing to who reads the log.
#[test]
fn a5_a_backup_is_told_with_its_database() {
    let world = World::new();
    let state = rusqlite::Connection::open(world.daemon.data().join("state.db")).unwrap();
    state.busy_timeout(Duration::from_secs(10)).unwrap();
    state
        .execute_batch(
            "INSERT INTO backups (id, database_id, database_name, logical, owner, server_version, expected_bytes, object_key, state, cause, attempt, created_ms, due_ms)
             VALUES (7, 1, 'main', 'tasks', 'tasks', 17, 1, 'x', 'stored', 'asked', 1, 1, 1);",
        )
        .unwrap();
    let (status, text) = world.local("POST", "/api/v1/backups/7/verify", "");
    assert_eq!(status, 202, "{text}");
    let entry = world.last();
    assert_eq!(entry["subject"]["name"], "7", "{entry}");
    assert_eq!(entry["after"]["database"], "main", "{entry}");
}

/// A body in which nobody could find a name is not carried out: the entry would not say on what.
#[test]
fn a5_no_padding_hides_what_a_change_is_about() {
    let world = World::new();
    let padded = format!("{}{}", " ".repeat(70 << 10), json!({ "name": "hidden" }));
    let (status, text) = world.local("POST", "/api/v1/apps", &padded);
    assert_eq!(status, 413, "{text}");
    let (status, _) = world.local("GET", "/api/v1/apps/hidden", "");
    assert_eq!(status, 404);
    // What may be long, since its path names what it is about, still is.
    let long = json!({ "set": { "LONG": "x".repeat(100 << 10) } }).to_string();
    let (status, text) = world.local("PATCH", "/api/v1/apps/shop/env", &long);
    assert_eq!(status, 200, "{text}");
    assert_eq!(world.last()["subject"]["name"], "shop");
}

/// Who was shown everything was shown these.
#[test]
fn a5_a_reveal_of_all_names_what_was_shown() {
    let world = World::new();
    let set = json!({ "set": { "ONE": "1", "TWO": "2" } }).to_string();
    world.local("PATCH", "/api/v1/apps/shop/env", &set);
    let (status, text) = world.local("POST", "/api/v1/apps/shop/env/reveal", "");
    assert_eq!(status, 200, "{text}");
    let entry = world.last();
    assert_eq!(entry["action"], "app.env.reveal");
    assert_eq!(
        entry["after"],
        json!({ "shown": ["ONE", "TWO"] }),
        "{entry}"
    );
}

/// Of several that are made at the same time, each entry tells its own.
#[test]
fn a5_tokens_made_at_once_stand_each_in_its_own_entry() {
    let world = World::new();
    std::thread::scope(|scope| {
        for n in 0..8 {
            let world = &world;
            scope.spawn(move || {
                let new = json!({ "name": format!("t{n}"), "verb": "read" }).to_string();
                let (status, text) = world.local("POST", "/api/v1/tokens", &new);
                assert_eq!(status, 201, "{text}");
            });
        }
    });
    let made = world.log("action=token.create");
    assert_eq!(made.len(), 8, "{made:?}");
    for entry in made {
        let id = entry["after"]["id"].as_i64().unwrap();
        let name = &entry["subject"]["name"];
        assert_eq!(&entry["after"][format!("{id}.name")], name, "{entry}");
        let after = entry["after"].as_object().unwrap();
        let names = after.keys().filter(|k| k.ends_with(".name")).count();
        assert_eq!(names, 1, "{entry}");
    }
}

/// Ended sessions and a registry that was changed are told.
#[test]
fn a5_ended_sessions_and_another_registry_are_told() {
    let world = World::new();
    let _ana = world.somebody("ana", "admin", &[]);
    let (_, listed) = world.local("GET", "/api/v1/users/ana/sessions", "");
    let listed: Value = serde_json::from_str(&unchunked(body(&listed))).unwrap();
    let mark = listed["items"][0]["mark"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/users/ana/sessions/{mark}");
    let (status, text) = world.local("DELETE", &path, "");
    assert!(status < 300, "{text}");
    let entry = world.last();
    assert_eq!(entry["after"]["session"], mark.as_str(), "{entry}");
    assert_eq!(
        (&entry["before"]["sessions"], &entry["after"]["sessions"]),
        (&json!(1), &json!(0)),
        "{entry}"
    );
    let login = json!({ "registry_host": "ghcr.io", "registry_user": "ana", "registry_password": "s3cret" });
    let (status, text) = world.local("PATCH", "/api/v1/apps/shop", &login.to_string());
    assert_eq!(status, 200, "{text}");
    let entry = world.last();
    assert_eq!(entry["after"]["registry_host"], "ghcr.io", "{entry}");
    assert!(!entry.to_string().contains("s3cret"), "{entry}");
}
