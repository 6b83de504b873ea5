//! `freehold doctor` against the real daemon whose engine is away, and without any daemon.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::quiet::Daemon;
use super::typed::freehold;

fn check<'a>(report: &'a Value, area: &str) -> Vec<&'a Value> {
    let all = report["checks"].as_array().unwrap();
    let found: Vec<&Value> = all.iter().filter(|c| c["area"] == area).collect();
    assert!(!found.is_empty(), "nothing of {area} in {report:#}");
    found
}

#[test]
fn a7_doctor_finds_what_is_wrong_within_seconds_and_says_what_to_type() {
    let daemon = Daemon::start();
    let socket = daemon.socket("freehold.sock");
    assert_eq!(freehold(&socket, &["app", "create", "shop"]).code, 0);
    let nowhere = ["domain", "add", "shop", "shop.invalid"];
    assert_eq!(freehold(&socket, &nowhere).code, 0);
    let begun = Instant::now();
    let said = freehold(&socket, &["doctor", "--json"]);
    // Each look has three seconds; a name that nobody answers for would take ten by itself.
    assert!(
        begun.elapsed() < Duration::from_secs(15),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(said.code, 1, "{}", said.all());
    let report: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(report["state"], "fail");
    assert!(report["took_ms"].as_u64().unwrap() < 9_000, "{report:#}");
    for area in [
        "ports",
        "clock",
        "disk",
        "memory",
        "firewall",
        "certificates",
        "backups",
        "database",
        "permissions",
    ] {
        check(&report, area);
    }
    let engine = check(&report, "engine")[0];
    assert_eq!(engine["state"], "fail");
    assert!(
        engine["remedy"]
            .as_str()
            .unwrap()
            .contains("systemctl start docker")
    );
    // The edge's own sockets are known as its own, though on ports of a test.
    for port in check(&report, "ports") {
        assert_eq!(port["state"], "warn", "{port:#}");
    }
    let name = check(&report, "dns")[0];
    assert!(
        name["what"].as_str().unwrap().contains("shop.invalid"),
        "{name:#}"
    );
    assert_ne!(name["state"], "ok", "{name:#}");
    for ok in check(&report, "database") {
        assert_eq!(ok["state"], "ok", "{ok:#}");
    }
    for one in report["checks"].as_array().unwrap() {
        let remedy = one["remedy"].as_str().unwrap();
        assert_eq!(remedy.is_empty(), one["state"] == "ok", "{one:#}");
        assert!(
            !one["seen"].as_str().unwrap().is_empty() && !one["why"].as_str().unwrap().is_empty()
        );
    }

    // In words: what wants somebody first, the rest on demand.
    let said = freehold(&socket, &["doctor"]);
    assert_eq!(said.code, 1);
    assert!(said.out.starts_with("FAIL"), "{}", said.out);
    assert!(!said.out.contains("\nok  "), "{}", said.out);
    let said = freehold(&socket, &["doctor", "--all"]);
    assert!(
        said.out.contains("\nok   state.db is whole"),
        "{}",
        said.out
    );

    // The page says the same, without a script.
    let shown = page(&socket, "/box/doctor");
    assert!(
        shown.contains("Docker answers") && shown.contains("systemctl start docker"),
        "{shown}"
    );
    assert!(page(&socket, "/box").contains("href=\"/box/doctor\""));
}

#[test]
fn a7_doctor_without_a_daemon_looks_for_itself_and_says_where_to_go_on() {
    let gone = Path::new("/nonexistent/freehold.sock");
    let said = freehold(gone, &["doctor", "--json"]);
    assert_eq!(said.code, 5, "{}", said.all());
    let report: Value = serde_json::from_str(&said.out).unwrap();
    let daemon = check(&report, "daemon")[0];
    assert_eq!(daemon["state"], "fail");
    assert!(
        daemon["remedy"].as_str().unwrap().contains("Start it"),
        "{daemon:#}"
    );
    for area in ["ports", "clock", "memory", "firewall", "permissions"] {
        check(&report, area);
    }
    let said = freehold(gone, &["doctor"]);
    assert!(said.out.starts_with("FAIL"), "{}", said.out);
}

fn page(socket: &Path, path: &str) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    let ask = format!(
        "GET {path} HTTP/1.1\r\nHost: panel.test\r\nAccept: text/html\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(ask.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    answer
}
