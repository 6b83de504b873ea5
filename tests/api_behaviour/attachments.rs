//! A1: an app's way onto a database and off it is long work: answered at once, followed, with an end that says what
//! became of it and names the deploy.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::api::{form, local, make_app};
use crate::quiet::Daemon;
use crate::served::serving;

const LINKS: &str = "/api/v1/databases/main/attachments";

fn state_of(daemon: &Daemon) -> rusqlite::Connection {
    let state = rusqlite::Connection::open(daemon.data().join("state.db")).unwrap();
    state.busy_timeout(Duration::from_secs(5)).unwrap();
    state
}

/// A live app, and a server that is in service as far as its row says; nothing answers there.
fn with_a_server() -> Daemon {
    let daemon = Daemon::start();
    make_app(&daemon, "shop");
    serving(&daemon);
    let made = "INSERT INTO databases (name, version, image, memory_bytes, password_sealed, state, ready_ms, created_ms, changed_ms)
                VALUES ('main', 17, 'postgres:17', 1, x'00', 'ready', 1, 1, 1)";
    state_of(&daemon).execute(made, []).unwrap();
    daemon
}

/// The job that an answer names, in its body and in Location.
fn job_of(answer: &crate::api::Answer) -> String {
    assert_eq!(answer.status, 202, "{}", answer.body);
    let place = format!("/api/v1/jobs/{}", answer.json()["job"]["id"]);
    assert_eq!(answer.header("location"), Some(place.as_str()));
    place
}

fn over(daemon: &Daemon, job: &str) -> Value {
    let begun = Instant::now();
    loop {
        let told = local(daemon, "GET", job, "", "").json();
        if ["done", "failed", "cancelled"].contains(&told["state"].as_str().unwrap()) {
            return told;
        }
        assert!(begun.elapsed() < Duration::from_secs(120), "{told:#}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a1_an_attachment_is_answered_at_once_and_its_work_says_what_became_of_it() {
    let daemon = with_a_server();
    let begun = Instant::now();
    let body = json!({ "app": "shop" }).to_string();
    let asked = local(&daemon, "POST", LINKS, "", &body);
    let attaching = job_of(&asked);
    let said = asked.json();
    assert_eq!(
        (&said["state"], &said["changed"], &said["env_name"]),
        (&json!("attaching"), &json!(true), &json!("DATABASE_URL"))
    );
    assert_eq!(said["job"]["what"], "Attachment of shop to main");
    assert_eq!(said["job"]["resource"], "/api/v1/databases/main");
    // The same again is the same work.
    let again = local(&daemon, "POST", LINKS, "", &body);
    assert_eq!(job_of(&again), attaching);
    for page in ["/databases/main", "/apps/shop/env"] {
        let shown = local(&daemon, "GET", page, "Accept: text/html\r\n", "");
        assert!(shown.body.contains("attaching"), "{}", shown.body);
    }
    let gone = local(&daemon, "DELETE", &format!("{LINKS}/shop"), "", "");
    let detaching = job_of(&gone);
    assert_ne!(detaching, attaching);
    assert!(begun.elapsed() < Duration::from_secs(20), "nobody waited");
    let early = local(&daemon, "POST", LINKS, "", &body);
    assert_eq!(early.status, 409, "{}", early.body);
    assert!(early.body.contains("is being detached"), "{}", early.body);
    // A server on its way out is not asked: the link's end can be seen here.
    let leaving = "UPDATE databases SET state = 'removing'";
    state_of(&daemon).execute(leaving, []).unwrap();
    let ended = over(&daemon, &attaching);
    assert_eq!(ended["state"], "cancelled", "{ended:#}");
    let ended = over(&daemon, &detaching);
    assert_eq!(ended["state"], "done", "{ended:#}");
    let deploy = ended["deploy"].as_i64().expect("the deploy is named");
    let deploy = local(
        &daemon,
        "GET",
        &format!("/api/v1/apps/shop/deploys/{deploy}"),
        "",
        "",
    );
    assert_eq!(deploy.json()["cause"], "settings", "{}", deploy.body);
    let events = local(&daemon, "GET", &format!("{detaching}/events"), "", "");
    assert!(events.body.contains("event: end"), "{}", events.body);
    let left = local(&daemon, "GET", "/api/v1/databases/main", "", "").json();
    assert_eq!(left["apps"], json!([]));
    // One deploy, however the note of what is owed and the work on the link meet.
    std::thread::sleep(Duration::from_secs(11));
    let all = local(&daemon, "GET", "/api/v1/apps/shop/deploys", "", "").json();
    let settings = all["items"].as_array().unwrap().iter();
    assert_eq!(settings.filter(|d| d["cause"] == "settings").count(), 1);
}

#[test]
fn a1_a_page_attaches_at_once_and_what_is_there_already_is_no_work() {
    let daemon = with_a_server();
    let begun = Instant::now();
    let sent = form(&daemon, "/databases/main/attach", "app=shop");
    assert_eq!(sent.status, 303, "{}", sent.body);
    let said = sent.header("set-cookie").unwrap();
    assert!(said.contains("is%20being%20attached%20to%20main"), "{said}");
    assert!(begun.elapsed() < Duration::from_secs(20), "nobody waited");
    let made = "UPDATE attachments SET state = 'attached'";
    state_of(&daemon).execute(made, []).unwrap();
    let body = json!({ "app": "shop" }).to_string();
    let same = local(&daemon, "POST", LINKS, "", &body);
    assert_eq!((same.status, &same.json()["job"]), (200, &Value::Null));
    assert_eq!(same.json()["changed"], false);
    // Under the variable it has, too; under another it is not the same.
    let named = |variable: &str| format!("app=shop&env_name={variable}");
    let sent = form(&daemon, "/databases/main/attach", &named("DATABASE_URL"));
    let said = sent.header("set-cookie").unwrap_or_default();
    assert!(said.contains("nothing%20is%20different"), "{said}");
    let sent = form(&daemon, "/databases/main/attach", &named("OTHER_URL"));
    let said = sent.header("set-cookie").unwrap_or_default();
    assert!(said.contains("detach%20it%20first"), "{said}");
    let body = json!({ "app": "shop", "env_name": "OTHER_URL" }).to_string();
    let other = local(&daemon, "POST", LINKS, "", &body);
    assert_eq!(other.status, 409, "{}", other.body);
    assert!(
        other.body.contains("in DATABASE_URL already"),
        "{}",
        other.body
    );
    let sent = form(&daemon, "/databases/main/detach", "app=shop");
    let said = sent.header("set-cookie").unwrap_or_default().to_owned();
    assert!(said.contains("is%20being%20detached"), "{said}");
    let shown = local(
        &daemon,
        "GET",
        "/databases/main",
        "Accept: text/html\r\n",
        "",
    );
    assert!(shown.body.contains("detaching"), "{}", shown.body);
}
