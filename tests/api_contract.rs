//! A1: the description of the API is valid OpenAPI 3.1, and the running daemon is what it says: schemathesis makes
//! requests up from it, right ones and wrong ones, as a signed-in owner, and holds every answer against it.
//!
//! The daemon is the real one, without an engine: long work is written down and fails with a reason, which is no
//! fault of the request that asked for it. What is not held against it stands in `tests/api_contract.toml`.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

#[path = "support/port.rs"]
mod port;
#[path = "support/quiet.rs"]
mod quiet;

use port::free_port;
use quiet::Daemon;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Held {
    seed: u64,
    examples: u32,
    #[serde(default)]
    allowed: Vec<Allowed>,
    #[serde(default)]
    skipped: Vec<Skipped>,
    streams: Streams,
}

/// Answers that go on until somebody hangs up, and when the tester does.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Streams {
    operations: Vec<String>,
    seconds: u32,
}

/// An answer that is right although the tester expects another.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Allowed {
    operations: Vec<String>,
    check: String,
    statuses: Vec<u16>,
    reason: String,
}

/// A check that is not asked of an operation; all of them without one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Skipped {
    operations: Vec<String>,
    #[serde(default)]
    check: Option<String>,
    reason: String,
}

impl Allowed {
    fn of(&self, operation: &str) -> bool {
        self.operations.iter().any(|o| o == operation)
    }
}

/// What each check expects of itself, where that can be widened: no more than the fixed version does without being told.
/// What goes beyond stands in `tests/api_contract.toml`, with its reason.
const EXPECTED: &[(&str, &str)] = &[
    (
        "positive_data_acceptance",
        r#""2xx", 401, 403, 404, 409, "5xx""#,
    ),
    (
        "negative_data_rejection",
        r#"400, 401, 403, 404, 405, 406, 415, 422, 428, 429, "5xx""#,
    ),
    ("missing_required_header", "400, 401, 403, 406, 422"),
];

fn held() -> Held {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/api_contract.toml");
    let mut held: Held = toml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    // tests/soak asks for more.
    if let Ok(examples) = std::env::var("FREEHOLD_EXAMPLES") {
        held.examples = examples.parse().unwrap();
    }
    held
}

/// The folder of the tester's commands.
fn tools() -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rig/schemathesis");
    let out = Command::new(script).output().unwrap();
    assert!(
        out.status.success(),
        "tests/rig/schemathesis: {}",
        String::from_utf8_lossy(&out.stderr)
    );
    PathBuf::from(String::from_utf8(out.stdout).unwrap().trim())
}

/// One request on one of the daemon's sockets; the whole answer.
fn ask(socket: &Path, method: &str, path: &str, more: &str, body: &str) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: panel.test\r\nConnection: close\r\nContent-Length: {}\r\n{more}\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let (_, rest) = text.split_once(before).unwrap_or_else(|| panic!("{text}"));
    rest.split(after).next().unwrap()
}

/// The owner's session and the token of its forms.
fn owner(daemon: &Daemon) -> (String, String) {
    let (local, edge) = (daemon.socket("freehold.sock"), daemon.socket("edge.sock"));
    let link = ask(&local, "POST", "/api/v1/setup-link", "", "");
    let path = format!("/setup/{}", between(&link, "/setup/", "\""));
    let page = ask(&edge, "GET", &path, "Accept: text/html\r\n", "");
    let visitor = between(&page, "__Host-freehold-visitor=", ";");
    let form = format!(
        "Cookie: __Host-freehold-visitor={visitor}\r\nSec-Fetch-Site: same-origin\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    );
    let token = between(&page, "name=\"form-token\" value=\"", "\"");
    let words =
        format!("form-token={token}&password=four+words+are+enough&again=four+words+are+enough");
    let entered = ask(&edge, "POST", &path, &form, &words);
    let session = between(&entered, "__Host-freehold=", ";").to_owned();
    let cookie = format!("Cookie: __Host-freehold={session}\r\n");
    let account = ask(&edge, "GET", "/account", &cookie, "");
    let token = between(&account, "name=\"form-token\" value=\"", "\"").to_owned();
    (session, token)
}

/// The tester's own configuration.
fn config(held: &Held, session: &str, form: &str, root: &Path, operations: &[String]) -> String {
    let expected = |check: &str| {
        let known = EXPECTED.iter().find(|(name, _)| *name == check);
        known
            .unwrap_or_else(|| panic!("{check} expects no statuses"))
            .1
    };
    let mut text = format!(
        "seed = {}\nhooks = \"own_keys\"\nworkers = 1\ncontinue-on-failure = true\ntls-verify = {root:?}\nmax-stream-events = 2\nrequest-timeout = 90\n\
         [headers]\nSec-Fetch-Site = \"same-origin\"\nX-Form-Token = \"{form}\"\n\
         [generation]\nmax-examples = {}\nno-shrink = true\n\
         [auth.openapi.session]\napi_key = \"{session}\"\n[checks]\nenabled = true\n",
        held.seed, held.examples
    );
    for (check, statuses) in EXPECTED {
        let all = held
            .allowed
            .iter()
            .filter(|a| a.of("*") && a.check == *check);
        let more: Vec<String> = all
            .flat_map(|a| &a.statuses)
            .map(|s| format!(", {s}"))
            .collect();
        text += &format!(
            "{check}.expected-statuses = [{statuses}{}]\n",
            more.concat()
        );
    }
    for operation in operations {
        let mut allowed: BTreeMap<&str, Vec<u16>> = BTreeMap::new();
        for one in held.allowed.iter().filter(|a| a.of(operation)) {
            allowed.entry(&one.check).or_default().extend(&one.statuses);
        }
        let skipped = held
            .skipped
            .iter()
            .filter(|s| s.operations.contains(operation));
        let mut lines = String::new();
        if held.streams.operations.contains(operation) {
            lines += &format!("request-timeout = {}\n", held.streams.seconds);
        }
        for (check, own) in allowed {
            let everywhere = held
                .allowed
                .iter()
                .filter(|a| a.of("*") && a.check == check);
            let all = everywhere.flat_map(|a| &a.statuses).chain(&own);
            let more: Vec<String> = all.map(|s| format!(", {s}")).collect();
            let statuses = expected(check);
            lines += &format!(
                "checks.{check}.expected-statuses = [{statuses}{}]\n",
                more.concat()
            );
        }
        for one in skipped {
            lines += &match &one.check {
                Some(check) => format!("checks.{check}.enabled = false\n"),
                None => "enabled = false\n".to_owned(),
            };
        }
        if !lines.is_empty() {
            text += &format!("[[operations]]\ninclude-operation-id = \"{operation}\"\n{lines}");
        }
    }
    text
}

/// An Idempotency-Key names one request: the tester makes one up for many, so each gets its own, counted up.
const OWN_KEYS: &str = r#"
import itertools

import schemathesis
from hypothesis import strategies as st

schemathesis.openapi.media_type("application/x-tar", st.binary(max_size=500))
numbers = itertools.count()


@schemathesis.hook
def before_call(context, case, kwargs):
    for name in list(case.headers or {}):
        if name.lower() == "idempotency-key" and case.meta and case.meta.generation.mode.is_positive:
            case.headers[name] = f"request-{next(numbers)}"
"#;

/// Every operation of the description, by its name.
fn operations(document: &serde_json::Value) -> Vec<String> {
    let paths = document["paths"].as_object().unwrap().values();
    let all = paths.flat_map(|methods| methods.as_object().unwrap().values());
    all.map(|o| o["operationId"].as_str().unwrap().to_owned())
        .collect()
}

fn document(daemon: &Daemon) -> (String, serde_json::Value) {
    let answer = ask(
        &daemon.socket("edge.sock"),
        "GET",
        "/api/v1/openapi.json",
        "",
        "",
    );
    let (_, text) = answer.split_once("\r\n\r\n").unwrap();
    let value = serde_json::from_str(text).unwrap();
    (text.to_owned(), value)
}

#[test]
fn a1_the_description_is_valid_openapi() {
    let daemon = Daemon::start();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("openapi.json");
    let (text, _) = document(&daemon);
    std::fs::write(&file, text).unwrap();
    let out = Command::new(tools().join("openapi-spec-validator"))
        .args(["--schema", "3.1"])
        .arg(&file)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&[&out.stdout[..], &out.stderr[..]].concat()).into_owned();
    assert!(out.status.success(), "{said}");
}

#[test]
fn a1_what_is_not_held_against_the_daemon_has_a_reason() {
    let held = held();
    let (_, document) = document(&Daemon::start());
    let known = operations(&document);
    assert!(held.examples >= 50);
    let allowed = held.allowed.iter().map(|a| (&a.operations, &a.reason));
    let skipped = held.skipped.iter().map(|s| (&s.operations, &s.reason));
    let all = allowed.chain(skipped);
    let streams = held.streams.operations.iter();
    assert!(streams.clone().all(|o| known.contains(o)));
    for (operation, reason) in all.flat_map(|(o, r)| o.iter().map(move |o| (o, r))) {
        assert!(
            reason.split(' ').count() > 4,
            "{operation}: {reason:?} is no reason"
        );
        assert!(
            operation == "*" || known.contains(operation),
            "{operation} is no operation"
        );
    }
}

#[test]
#[ignore = "thousands of requests, minutes long: tests/run runs it beside the others"]
fn a1_the_daemon_is_what_its_description_says() {
    let port = free_port(Ipv4Addr::LOCALHOST);
    let daemon = Daemon::start_with(
        &format!("127.0.0.1:{port}"),
        "[limits]\napi_reads = 1000000\napi_changes = 1000000\n",
    );
    let (session, form) = owner(&daemon);
    let local = daemon.socket("freehold.sock");
    let json = "Content-Type: application/json\r\n";
    ask(&local, "POST", "/api/v1/apps", json, r#"{"name":"shop"}"#);
    let held = held();
    let (_, document) = document(&daemon);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("schemathesis.toml");
    let root = local.with_file_name("root.pem");
    let names = operations(&document);
    std::fs::write(folder.path().join("own_keys.py"), OWN_KEYS).unwrap();
    std::fs::write(&file, config(&held, &session, &form, &root, &names)).unwrap();
    // Every request and answer, for whoever looks into one.
    let report = std::env::var("FREEHOLD_REPORT").ok();
    let more = report
        .iter()
        .flat_map(|folder| ["--report", "ndjson", "--report-dir", folder]);
    let out = Command::new(tools().join("st"))
        .arg("--config-file")
        .arg(&file)
        .args([
            "run",
            &format!("https://127.0.0.1:{port}/api/v1/openapi.json"),
        ])
        .args(more)
        .current_dir(folder.path())
        .env("NO_COLOR", "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&[&out.stdout[..], &out.stderr[..]].concat()).into_owned();
    let end: Vec<&str> = said.lines().rev().take(40).collect();
    println!("{}", end.into_iter().rev().collect::<Vec<_>>().join("\n"));
    // Were it not, all that came after its end would have been tried as a stranger.
    let cookie = format!("Cookie: __Host-freehold={session}\r\n");
    let still = ask(
        &daemon.socket("edge.sock"),
        "GET",
        "/api/v1/session",
        &cookie,
        "",
    );
    assert!(
        still.starts_with("HTTP/1.1 200"),
        "the session ended: {still}"
    );
    assert!(out.status.success(), "{said}");
}
