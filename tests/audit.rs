//! A5: who did what, from where, what it changed, how it ended; and secrets that come out by a reveal only.
//!
//! The daemon is the real one, without an engine.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use freehold::web::table;
use serde_json::{Value, json};

#[path = "support/authenticator.rs"]
mod authenticator;
#[path = "support/forms.rs"]
mod forms;
#[path = "audit/known.rs"]
mod known;
#[path = "support/quiet.rs"]
mod quiet;
#[path = "audit/secrets.rs"]
mod secrets;
#[path = "audit/settings.rs"]
mod settings;
#[path = "support/sweep.rs"]
mod sweep;
#[path = "audit/told.rs"]
mod told;
#[path = "audit/told_people.rs"]
mod told_people;

use quiet::Daemon;
use sweep::{Killed, Sweep};

const JSON: &str = "Content-Type: application/json\r\n";
const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";
const WORDS: &str = "four words are enough";

/// One request; the status and the answer with its head. 0 when the daemon died over it.
fn ask(socket: &Path, method: &str, path: &str, more: &str, body: &str) -> (u16, String) {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(120)))
        .unwrap();
    let from = match more.contains("X-Real-IP") {
        true => "",
        false => "X-Real-IP: 192.0.2.7\r\n",
    };
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: panel.test\r\nConnection: close\r\n{from}X-Request-Id: 01937b2c\r\nContent-Length: {}\r\n{more}\r\n{body}",
        body.len()
    );
    // Who is turned away at the head may be answered before the rest is sent.
    stream.write_all(request.as_bytes()).ok();
    let mut answer = Vec::new();
    let mut chunk = [0; 16 << 10];
    loop {
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => break,
            Ok(n) => answer.extend_from_slice(&chunk[..n]),
        }
        // A stream never ends by itself.
        if answer.windows(17).any(|w| w == b"text/event-stream") {
            break;
        }
    }
    let text = String::from_utf8_lossy(&answer).into_owned();
    let status = text.split(' ').nth(1).and_then(|s| s.parse().ok());
    (status.unwrap_or(0), text)
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

struct World {
    daemon: Daemon,
}

impl World {
    fn new() -> Self {
        let daemon = Daemon::start();
        let world = Self { daemon };
        let (status, text) = world.local("POST", "/api/v1/apps", r#"{"name":"shop"}"#);
        assert_eq!(status, 201, "{text}");
        world
    }

    fn local(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let socket = self.daemon.socket("freehold.sock");
        ask(&socket, method, path, JSON, body)
    }

    fn edge(&self, method: &str, path: &str, more: &str, body: &str) -> (u16, String) {
        ask(&self.daemon.socket("edge.sock"), method, path, more, body)
    }

    /// The log's entries that fit, newest first.
    fn log(&self, query: &str) -> Vec<Value> {
        let (status, text) = self.local("GET", &format!("/api/v1/audit?limit=200&{query}"), "");
        assert_eq!(status, 200, "{text}");
        let page: Value = serde_json::from_str(&unchunked(body(&text))).unwrap();
        page["items"].as_array().unwrap().clone()
    }

    /// The newest entry.
    fn last(&self) -> Value {
        self.log("")[0].clone()
    }

    /// The headers of a browser nobody is signed in with, which has opened a page.
    fn stranger(&self) -> String {
        let (_, page) = self.edge("GET", "/sign-in", "Accept: text/html\r\n", "");
        let visitor = forms::cookie(&page, forms::VISITOR).unwrap();
        let token = forms::token(&page);
        format!(
            "Cookie: {}={visitor}\r\nSec-Fetch-Site: same-origin\r\nX-Form-Token: {token}\r\n",
            forms::VISITOR
        )
    }

    /// Somebody of this role, by their headers.
    fn somebody(&self, name: &str, role: &str, apps: &[&str]) -> String {
        let new = json!({ "name": name, "role": role, "apps": apps }).to_string();
        let (status, text) = self.local("POST", "/api/v1/users", &new);
        assert_eq!(status, 201, "{text}");
        self.come_in(&text)
    }

    fn come_in(&self, answer: &str) -> String {
        let (_, rest) = answer.split_once("/setup/").unwrap();
        let (token, _) = rest.split_once('"').unwrap();
        let words = WORDS.replace(' ', "+");
        let (status, text) = self.edge(
            "POST",
            &format!("/setup/{token}"),
            &format!("{FORM}{}", self.stranger()),
            &format!("password={words}&again={words}"),
        );
        assert_eq!(status, 303, "{text}");
        let session = forms::cookie(&text, "__Host-freehold").unwrap();
        let cookie =
            format!("Cookie: __Host-freehold={session}\r\nSec-Fetch-Site: same-origin\r\n");
        let (_, page) = self.edge("GET", "/account", &cookie, "");
        format!("{cookie}X-Form-Token: {}\r\n", forms::token(&page))
    }

    fn token(&self, name: &str, verb: &str) -> String {
        let new = json!({ "name": name, "verb": verb }).to_string();
        let (status, text) = self.local("POST", "/api/v1/tokens", &new);
        assert_eq!(status, 201, "{text}");
        let made: Value = serde_json::from_str(&unchunked(body(&text))).unwrap();
        made["token"].as_str().unwrap().to_owned()
    }
}

/// Refusals are counted by the hour of the clock: who counts them begins where it does not turn meanwhile.
fn within_an_hour() {
    const HOUR: u64 = 3_600;
    const NEEDED: u64 = 240;
    let left = HOUR - std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() % HOUR;
    if left < NEEDED {
        std::thread::sleep(Duration::from_secs(left + 1));
    }
}

/// A body without the marks of its chunks.
fn unchunked(body: &str) -> String {
    let mut rest = body;
    let mut whole = String::new();
    while let Some((size, after)) = rest.split_once("\r\n") {
        let Ok(size) = usize::from_str_radix(size, 16) else {
            return body.to_owned();
        };
        let Some(piece) = after.get(..size) else {
            return body.to_owned();
        };
        whole.push_str(piece);
        rest = after.get(size + 2..).unwrap_or_default();
    }
    match whole.is_empty() {
        true => body.to_owned(),
        false => whole,
    }
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n{JSON}")
}

/// `{app}` filled in with shop, each other `{name}` with a number.
fn concrete(path: &str) -> String {
    let parts = path.split('/').map(|part| match part {
        "{app}" => "shop",
        _ if part.starts_with('{') => "1",
        _ => part,
    });
    parts.collect::<Vec<_>>().join("/")
}

#[test]
fn a5_every_unsafe_route_leaves_an_entry() {
    let world = World::new();
    let token = world.token("all", "change");
    let mut wrong = Vec::new();
    let mut routes = table();
    routes.retain(|r| !matches!(r.method.as_str(), "GET" | "HEAD" | "OPTIONS"));
    // What takes the app away comes last, and the door that is open to nobody else.
    routes.sort_by_key(|r| r.path.ends_with("{app}") || r.path.ends_with("/remove"));
    assert!(routes.len() > 60, "only {}", routes.len());
    for route in routes {
        let before = world.last()["id"].as_i64().unwrap();
        let (method, path) = (route.method.as_str(), concrete(route.path));
        // Each of the two has its share of refusals an hour that stand by themselves.
        let (_, text) = match path.starts_with("/api/") {
            true => world.edge(method, &path, &bearer(&token), "{}"),
            false => ask(
                &world.daemon.socket("freehold.sock"),
                method,
                &path,
                FORM,
                "",
            ),
        };
        let entry = world.last();
        let recorded = entry["id"].as_i64().unwrap() - before;
        let expected = i64::from(route.path != "/theme");
        let ended = entry["status"].is_u64() && entry["ended_ms"].is_u64();
        if recorded != expected || !ended {
            wrong.push(format!(
                "{method} {path}: {recorded} entries, {entry}: {text}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a5_an_entry_says_who_what_and_what_changed_for_every_caller() {
    let world = World::new();
    // On the box.
    let made = world.last();
    assert_eq!(made["who"]["kind"], "local");
    assert_eq!(made["action"], "app.create");
    // Its row, though there was none yet when the intent was written.
    assert_eq!(made["subject"], json!({"kind":"app","id":1,"name":"shop"}));
    assert_eq!(made["state"], "done");
    assert_eq!(made["after"]["git_branch"], "main");
    assert_eq!(made["after"]["webhook_secret"], "•••");
    // A person with a browser.
    let ana = world.somebody("ana", "developer", &["shop"]);
    let set_up = &world.log("action=user.set-up")[0];
    assert_eq!(set_up["who"]["kind"], "nobody");
    let ana_is = json!({"kind":"user","id":1,"name":"ana"});
    assert_eq!(set_up["subject"], ana_is);
    let page = format!("{FORM}{ana}");
    let (status, text) = world.edge(
        "POST",
        "/apps/shop/env",
        &page,
        "name=MODE&value=s3cret-one",
    );
    assert_eq!(status, 303, "{text}");
    let (status, _) = world.edge(
        "POST",
        "/apps/shop/env",
        &page,
        "name=MODE&value=s3cret-two",
    );
    assert_eq!(status, 303);
    let set = world.last();
    assert_eq!(set["who"]["kind"], "user");
    assert_eq!(set["who"]["name"], "ana");
    assert_eq!(set["address"], "192.0.2.7");
    assert_eq!(set["request"], "01937b2c");
    assert_eq!(set["action"], "app.env.change");
    assert_eq!(set["before"], json!({"env.MODE": "•••"}));
    assert_eq!(set["after"], json!({"env.MODE": "••• (another one)"}));
    // The same again changes nothing, and says so by saying nothing.
    world.edge(
        "POST",
        "/apps/shop/env",
        &page,
        "name=MODE&value=s3cret-two",
    );
    assert_eq!(world.last()["after"], json!({}));
    // A program.
    let token = world.token("ci of shop", "change");
    let on = r#"{"on":true}"#;
    let (status, _) = world.edge("POST", "/api/v1/apps/shop/maintenance", &bearer(&token), on);
    assert_eq!(status, 200);
    let by_token = world.last();
    assert_eq!(by_token["who"]["kind"], "token");
    assert_eq!(by_token["who"]["via"], "ci of shop");
    assert_eq!(by_token["before"], json!({"maintenance": false}));
    assert_eq!(by_token["after"], json!({"maintenance": true}));
    // A token that has ended is told by its first characters.
    let (status, _) = world.local("DELETE", "/api/v1/tokens/1", "");
    assert_eq!(status, 204);
    assert_eq!(world.last()["subject"]["name"], "ci of shop");
    let (status, _) = world.edge("DELETE", "/api/v1/apps/shop", &bearer(&token), "");
    assert_eq!(status, 401);
    let ended = world.last();
    assert_eq!(ended["who"]["kind"], "nobody");
    assert_eq!(ended["who"]["via"], token[..19]);
    assert_eq!(
        (&ended["action"], &ended["state"]),
        (&json!("app.remove"), &json!("refused"))
    );
    // Those who may not, also when the app is not there for them.
    let viewer = world.somebody("vera", "viewer", &[]);
    world.edge("POST", "/api/v1/apps/shop/stop", &viewer, "");
    assert_eq!(world.last()["status"], 403);
    world.local("POST", "/api/v1/apps", r#"{"name":"blog"}"#);
    world.edge("POST", "/api/v1/apps/blog/stop", &ana, "");
    let hidden = world.last();
    assert_eq!(
        (&hidden["status"], &hidden["who"]["name"]),
        (&json!(404), &json!("ana"))
    );
    // Sign-in, both ways. A name that nobody has may be a password.
    let form = format!("{FORM}{}", world.stranger());
    let words = WORDS.replace(' ', "+");
    let (status, _) = world.edge(
        "POST",
        "/sign-in",
        &form,
        &format!("name=ana&password={words}"),
    );
    assert_eq!(status, 303);
    let good = world.last();
    assert_eq!(good["action"], "session.sign-in");
    assert_eq!(
        (&good["state"], &good["subject"]["name"]),
        (&json!("done"), &json!("ana"))
    );
    world.edge("POST", "/sign-in", &form, "name=ana&password=wrong");
    assert_eq!(world.last()["status"], 401);
    world.edge("POST", "/sign-in", &form, "name=my+secret+words&password=x");
    assert_eq!(world.last()["subject"]["name"], "(no such user)");
    // A command, by its first word.
    let run = "/api/v1/apps/shop/run?command=%5B%22psql%22%2C%22s3cret%22%5D";
    world.local("POST", run, "");
    assert_eq!(world.last()["action"], "app.run");
    let log = world
        .log("")
        .iter()
        .map(Value::to_string)
        .collect::<String>();
    for secret in ["s3cret", "my secret", WORDS, &token] {
        assert!(!log.contains(secret), "{secret} in {log}");
    }
}

#[test]
fn a5_a_git_host_is_told_by_name_and_delivery() {
    let world = World::new();
    let url = r#"{"git_url":"https://git.test/shop.git"}"#;
    let (status, text) = world.local("PATCH", "/api/v1/apps/shop", url);
    assert_eq!(status, 200, "{text}");
    let (status, text) = world.local("POST", "/api/v1/apps/shop/webhook-secret/reveal", "");
    assert_eq!(status, 200, "{text}");
    assert_eq!(world.last()["action"], "app.webhook-secret.reveal");
    let told: Value = serde_json::from_str(&unchunked(body(&text))).unwrap();
    let secret = told["secret"].as_str().unwrap();
    let push = json!({
        "ref": "refs/heads/main", "after": "a".repeat(40), "deleted": false,
        "head_commit": {"id": "a".repeat(40), "message": "New prices"}, "pusher": {"name": "bob"},
    })
    .to_string();
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret.as_bytes());
    let tag = aws_lc_rs::hmac::sign(&key, push.as_bytes());
    let signature = hex::encode(tag.as_ref());
    for (signature, status) in [(signature.as_str(), 202), ("00", 401)] {
        let head = format!(
            "{JSON}X-GitHub-Event: push\r\nX-GitHub-Delivery: d-{status}\r\nX-Hub-Signature-256: sha256={signature}\r\n"
        );
        let (answered, text) = world.edge("POST", "/hooks/shop", &head, &push);
        assert_eq!(answered, status, "{text}");
        let entry = world.last();
        assert_eq!(entry["who"]["kind"], "webhook");
        assert_eq!(entry["who"]["name"], "github");
        assert_eq!(entry["who"]["via"], format!("d-{status}"));
        assert_eq!(entry["status"], status);
    }
    let taken = &world.log("who=webhook")[1];
    assert_eq!(taken["after"]["deploy.by"], "bob (push)");
    assert_eq!(taken["detail"], "deploy 1 is queued");
}

#[test]
fn a5_a_kill_around_either_row_leaves_an_entry_that_says_so() {
    let mut sweep = Sweep::of("a5_a_kill_around_either_row_leaves_an_entry_that_says_so");
    for point in sweep.points() {
        let marks = tempfile::tempdir().unwrap();
        let mark = marks.path().join("mark");
        let daemon = Daemon::start_to_die_at(&point, &mark);
        let mut world = World { daemon };
        let (status, _) = world.local("POST", "/api/v1/apps", r#"{"name":"shop"}"#);
        assert_eq!(status, 0, "{point}: nobody is left to answer");
        sweep.struck(Killed::at(&point, &mark));
        world.daemon.restart(|_| ());
        let (made, _) = world.local("GET", "/api/v1/apps/shop", "");
        let states: Vec<String> = world
            .log("")
            .iter()
            .map(|e| e["state"].as_str().unwrap().to_owned())
            .collect();
        let (state, exists): (&[&str], u16) = match point.as_str() {
            "audit.intent.before" => (&[], 404),
            "audit.intent.after" => (&["cut off"], 404),
            "audit.outcome.before" => (&["cut off"], 200),
            _ => (&["done"], 200),
        };
        assert_eq!(
            (states, made),
            (state.iter().map(|s| (*s).to_owned()).collect(), exists),
            "{point}"
        );
    }
}

#[test]
fn a5_strangers_do_not_fill_the_log() {
    within_an_hour();
    let world = World::new();
    // From an address of their own: that one has to wait after so many wrong passwords, others have not.
    let form = format!("{FORM}X-Real-IP: 192.0.2.66\r\n{}", world.stranger());
    for _ in 0..40 {
        world.edge("POST", "/sign-in", &form, "name=owner&password=wrong");
        world.edge("POST", "/hooks/shop", JSON, "{}");
        // Nobody, with nothing: turned away, not written down.
        world.edge("POST", "/api/v1/apps", JSON, "{}");
        world.edge("POST", "/api/v1/apps", &bearer("freehold_pat_forged"), "{}");
    }
    assert_eq!(world.log("action=session.sign-in").len(), 20);
    assert_eq!(world.log("action=app.push").len(), 20);
    assert_eq!(world.log("action=app.create&who=nobody").len(), 20);
    // What is known and allowed is written down all the same.
    let ana = world.somebody("ana", "admin", &[]);
    world.edge("POST", "/api/v1/apps/shop/stop", &ana, "");
    assert_eq!(world.log("action=user.set-up").len(), 1);
    assert_eq!(world.log("who=ana").len(), 1);
}

#[test]
fn a5_the_log_is_read_by_admins_in_pages_as_an_export_and_by_the_command_line() {
    let world = World::new();
    let admin = world.somebody("ana", "admin", &[]);
    let viewer = world.somebody("vera", "viewer", &[]);
    for n in 0..7 {
        let on = json!({ "on": n % 2 == 0 }).to_string();
        world.local("POST", "/api/v1/apps/shop/maintenance", &on);
    }
    for path in ["/api/v1/audit", "/api/v1/audit/export", "/settings/audit"] {
        let (status, _) = world.edge("GET", path, &viewer, "");
        assert_eq!(status, 403, "{path}");
        let (status, text) = world.edge("GET", path, &admin, "");
        assert_eq!(status, 200, "{path}: {text}");
        assert!(text.contains("app.maintenance"), "{path}: {text}");
    }
    // Pages: all of it, nothing twice, newest first.
    let mut after = String::new();
    let mut ids = Vec::new();
    loop {
        let path = format!("/api/v1/audit?limit=3&subject=app:shop{after}");
        let (_, text) = world.local("GET", &path, "");
        let page: Value = serde_json::from_str(&unchunked(body(&text))).unwrap();
        ids.extend(
            page["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|e| e["id"].as_i64().unwrap()),
        );
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(ids.len(), 8, "{ids:?}");
    assert!(ids.windows(2).all(|w| w[0] > w[1]), "{ids:?}");
    let (status, text) = world.local("GET", "/api/v1/audit?after=nonsense", "");
    assert_eq!(status, 422, "{text}");
    let (_, text) = world.local("GET", "/api/v1/audit/export?action=app.maintenance", "");
    assert!(text.contains("application/x-ndjson"), "{text}");
    let lines = unchunked(body(&text));
    let lines: Vec<Value> = lines
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(lines.len(), 7);
    let cli = |arguments: &[&str]| {
        let out = Command::new(env!("CARGO_BIN_EXE_freehold"))
            .args(arguments)
            .env("FREEHOLD_SOCKET", world.daemon.socket("freehold.sock"))
            .output()
            .unwrap();
        assert!(out.status.success(), "{arguments:?}: {out:?}");
        String::from_utf8(out.stdout).unwrap()
    };
    let shown = cli(&["audit", "--app", "shop", "--since", "1h", "--changes"]);
    assert!(shown.contains("    maintenance: true -> false"), "{shown}");
    let all: Vec<Value> = serde_json::from_str(&cli(&[
        "audit",
        "--action",
        "app.maintenance",
        "-n",
        "5",
        "--json",
    ]))
    .unwrap();
    assert_eq!(all.len(), 5);
    assert_eq!(
        cli(&["audit", "--export", "--grep", "maintenance"])
            .lines()
            .count(),
        8
    );
    assert_eq!(
        cli(&["audit", "--who", "nobody-of-that-name"]),
        "Nothing fits.\n"
    );
}
