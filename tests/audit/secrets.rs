//! A5: what is secret comes out by a reveal of somebody in charge, and stands in no answer, log or file beside.

use freehold::web::table;
use serde_json::{Value, json};

use super::{FORM, JSON, WORDS, World, body, concrete, unchunked};

#[test]
fn a5_no_secret_comes_out_but_by_a_reveal() {
    let world = World::new();
    let planted = [
        "pl4nted-env",
        "pl4nted-git",
        "pl4nted-registry",
        "pl4nted-s3-key",
    ];
    let app = json!({
        "git_url": "https://git.test/shop.git", "git_token": planted[1],
        "registry_user": "ana", "registry_password": planted[2],
    });
    let env = json!({ "set": { "API_KEY": planted[0] } });
    let target = json!({
        "name": "offsite", "place": "s3://backups/box", "endpoint": "http://127.0.0.1:9",
        "access_key": "ana", "secret_key": planted[3],
    });
    let (status, text) = world.local("PATCH", "/api/v1/apps/shop", &app.to_string());
    assert_eq!(status, 200, "{text}");
    let (status, text) = world.local("PATCH", "/api/v1/apps/shop/env", &env.to_string());
    assert_eq!(status, 200, "{text}");
    // The store does not answer, so the target is refused; its key must not be told by that either.
    world.local("POST", "/api/v1/targets", &target.to_string());
    // A body that is not understood must not come back from the log.
    world.local("PATCH", "/api/v1/apps/shop/env", r#"{"set":"pl4nted-env"}"#);
    let program = world.token("program", "read");
    let (_, link) = world.local("POST", "/api/v1/setup-link", "");
    let owner = world.come_in(&link);
    let reveal = |path: &str| {
        let (status, text) = world.edge("POST", path, &format!("{JSON}{owner}"), "");
        assert_eq!(status, 200, "{path}: {text}");
        unchunked(body(&text))
    };
    let hook: Value =
        serde_json::from_str(&reveal("/api/v1/apps/shop/webhook-secret/reveal")).unwrap();
    let hook = hook["secret"].as_str().unwrap().to_owned();
    let told = reveal("/api/v1/apps/shop/env/reveal");
    assert!(told.contains(planted[0]), "{told}");
    let names = r#"{"names":["API_KEY"]}"#;
    world.edge(
        "POST",
        "/api/v1/apps/shop/env/reveal",
        &format!("{JSON}{owner}"),
        names,
    );
    assert_eq!(world.last()["after"], json!({"shown": ["API_KEY"]}));
    let (status, page) = world.edge(
        "POST",
        "/apps/shop/env/reveal",
        &format!("{FORM}{owner}"),
        "name=API_KEY",
    );
    assert!(status == 200 && page.contains(planted[0]), "{page}");
    assert_eq!(world.log("action=app.env.reveal&who=owner").len(), 3);
    let (status, _) = world.edge(
        "POST",
        "/api/v1/apps/shop/env/reveal",
        &format!("{JSON}{owner}"),
        r#"{"names":["NONE"]}"#,
    );
    assert_eq!(status, 404);

    let mut secrets: Vec<&str> = planted.to_vec();
    secrets.extend([hook.as_str(), program.as_str(), WORDS]);
    let mut wrong = Vec::new();
    for route in table() {
        if route.method != "GET" {
            continue;
        }
        for query in ["", "?values=true"] {
            let path = format!("{}{query}", concrete(route.path));
            let (_, text) = world.edge("GET", &path, &owner, "");
            let out = secrets.iter().filter(|secret| text.contains(**secret));
            wrong.extend(out.map(|secret| format!("GET {path} tells {secret}")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // Nor does any stand in a file as it is.
    for name in ["state.db", "state.db-wal", "metrics.db"] {
        let Ok(bytes) = std::fs::read(world.daemon.data().join(name)) else {
            continue;
        };
        for secret in &secrets {
            let found = bytes.windows(secret.len()).any(|w| w == secret.as_bytes());
            assert!(!found, "{name} holds {secret}");
        }
    }
}
