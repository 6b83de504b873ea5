//! N6: maintenance is a pause with a deadline, from the API to the daemon's own edge. No engine is needed.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::api::{Answer, local, make_app};
use crate::quiet::Daemon;
use crate::served::serving;

const AT: &str = "/api/v1/apps/shop/maintenance";

fn switch(daemon: &Daemon, form: &Value) -> Answer {
    local(daemon, "POST", AT, "", &form.to_string())
}

fn shop(daemon: &Daemon) -> Value {
    local(daemon, "GET", "/api/v1/apps/shop", "", "").json()
}

#[test]
fn n6_maintenance_has_an_end_is_renewed_and_ends_by_itself() {
    let daemon = Daemon::start();
    make_app(&daemon, "shop");
    serving(&daemon);
    let left = |hours: i64| {
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis();
        let until = shop(&daemon)["maintenance_until_ms"].as_i64().unwrap();
        let minutes = (until - i64::try_from(now).unwrap()) / 60_000;
        assert!(
            (hours * 60 - 10..=hours * 60).contains(&minutes),
            "{minutes}"
        );
    };
    assert_eq!(switch(&daemon, &json!({ "on": true })).status, 200);
    assert_eq!(shop(&daemon)["state"], "maintenance");
    left(24);
    let again = switch(&daemon, &json!({ "on": true, "for": "2h" }));
    assert_eq!(again.json()["changed"], true, "{}", again.body);
    left(2);
    for refused in [
        json!({ "on": true, "for": "31d" }),
        json!({ "on": true, "for": "soon" }),
        json!({ "on": false, "for": "2h" }),
    ] {
        assert_eq!(switch(&daemon, &refused).status, 422, "{refused}");
    }
    left(2);
    let page = local(
        &daemon,
        "GET",
        "/apps/shop/settings",
        "Accept: text/html\r\n",
        "",
    );
    for words in ["It ends by itself on", "[hold] time"] {
        assert!(page.body.contains(words), "{words}: {}", page.body);
    }

    // Its last second: nobody switches it off.
    let state = rusqlite::Connection::open(daemon.data().join("state.db")).unwrap();
    state.busy_timeout(Duration::from_secs(5)).unwrap();
    state
        .execute(
            "UPDATE apps SET maintenance_until_ms = unixepoch() * 1000 + 2000",
            [],
        )
        .unwrap();
    // A change makes the daemon read what was written past it.
    let env = json!({ "set": { "MODE": "live" } }).to_string();
    local(&daemon, "PATCH", "/api/v1/apps/shop/env", "", &env);
    let begun = Instant::now();
    while shop(&daemon)["maintenance"] != json!(false) {
        let waited = begun.elapsed();
        assert!(waited < Duration::from_secs(90), "{}", shop(&daemon));
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(shop(&daemon)["maintenance_until_ms"], json!(null));
    let told = local(&daemon, "GET", "/api/v1/apps/shop/events", "", "").body;
    assert!(told.contains("Maintenance ended by itself"), "{told}");
    assert_eq!(
        switch(&daemon, &json!({ "on": false })).json()["changed"],
        false
    );
}

#[test]
fn n6_an_app_that_is_a_folder_of_files_is_not_scaled_and_says_why() {
    let daemon = Daemon::start();
    make_app(&daemon, "shop");
    serving(&daemon);
    let state = rusqlite::Connection::open(daemon.data().join("state.db")).unwrap();
    state.busy_timeout(Duration::from_secs(5)).unwrap();
    let files = "UPDATE releases SET image = 'static:1/1', image_tag = 'static:1/1'";
    state.execute(files, []).unwrap();
    let form = json!({ "process": "web", "replicas": "2" }).to_string();
    let refused = local(&daemon, "POST", "/api/v1/apps/shop/scale", "", &form);
    assert_eq!(refused.status, 409, "{}", refused.body);
    assert!(
        refused.body.contains("shop is a folder of files"),
        "{}",
        refused.body
    );
    assert_eq!(shop(&daemon)["scale"], json!({}));
}
