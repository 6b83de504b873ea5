//! `freehold events --follow`: what happens as it happens, over a restart of the daemon too, until Ctrl-C.

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdout, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::Value;

use super::quiet::Daemon;
use super::typed::{command, freehold};

/// No line of a test comes later.
const PATIENCE: Duration = Duration::from_secs(90);

/// A follower, and its lines as they come.
struct Follower {
    child: Child,
    lines: Receiver<String>,
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn lines_of(out: ChildStdout) -> Receiver<String> {
    let (send, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            if send.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

impl Follower {
    fn start(daemon: &Daemon, arguments: &[&str]) -> Self {
        let mut child = command(&daemon.socket("freehold.sock"), arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = lines_of(child.stdout.take().unwrap());
        Self { child, lines }
    }

    fn next(&self) -> String {
        self.lines.recv_timeout(PATIENCE).unwrap()
    }

    fn next_json(&self) -> Value {
        serde_json::from_str(&self.next()).unwrap()
    }

    /// Writes notes until one is told, so that it is known to follow; what else it was told of them is read.
    fn until_it_follows(&self, daemon: &Daemon) {
        for n in 0.. {
            plant(daemon, "info", "box", &format!("it follows {n}"));
            let told = self.lines.recv_timeout(Duration::from_millis(300));
            if told.is_ok() {
                break;
            }
            assert!(n < 100, "it does not follow");
        }
        while self.lines.recv_timeout(Duration::from_millis(500)).is_ok() {}
    }

    /// What Ctrl-C does.
    fn interrupt(mut self) -> Option<i32> {
        let pid = self.child.id().to_string();
        let kill = std::process::Command::new("kill")
            .args(["-INT", &pid])
            .status();
        assert!(kill.unwrap().success());
        self.child.wait().unwrap().signal()
    }
}

/// An event as a write of the daemon's leaves it; the daemon learns of it by its next commit.
fn plant(daemon: &Daemon, level: &str, subject: &str, message: &str) {
    let db = rusqlite::Connection::open(daemon.data().join("state.db")).unwrap();
    db.busy_timeout(Duration::from_secs(5)).unwrap();
    let insert = "INSERT INTO events (at_ms, kind, level, subject, message, data) VALUES (1, 'test.note', ?1, ?2, ?3, '{}')";
    db.execute(insert, [level, subject, message]).unwrap();
    drop(db);
    // A commit of its own, by which it looks.
    let socket = daemon.socket("freehold.sock");
    let said = freehold(&socket, &["user", "reset", "--yes"]);
    assert_eq!(said.code, 0, "{}", said.all());
}

#[test]
fn a1_followed_events_are_told_once_each_over_a_restart_too_until_ctrl_c() {
    let mut daemon = Daemon::start();
    let socket = daemon.socket("freehold.sock");
    plant(&daemon, "info", "box", "long ago");
    let follower = Follower::start(&daemon, &["events", "--follow", "--json"]);
    follower.until_it_follows(&daemon);
    let mut seen: Vec<i64> = Vec::new();
    let mut until = |message: &str| {
        loop {
            let told = follower.next_json();
            seen.push(told["id"].as_i64().unwrap());
            let fields: Vec<&String> = told.as_object().unwrap().keys().collect();
            assert_eq!(
                fields,
                ["at_ms", "data", "id", "kind", "level", "message", "subject"]
            );
            if told["message"].as_str().unwrap().contains(message) {
                return;
            }
        }
    };
    assert_eq!(freehold(&socket, &["app", "create", "shop"]).code, 0);
    until("shop");
    // What is written while the daemon is away is told when it is back, and what comes then.
    daemon.restart(|daemon| {
        let db = rusqlite::Connection::open(daemon.data().join("state.db")).unwrap();
        let insert = "INSERT INTO events (at_ms, kind, level, subject, message) VALUES (1, 'x', 'info', 'box', 'meanwhile ' || ?1)";
        for n in 0..3 {
            db.execute(insert, [n]).unwrap();
        }
    });
    for n in 0..3 {
        until(&format!("meanwhile {n}"));
    }
    assert_eq!(freehold(&socket, &["app", "create", "blog"]).code, 0);
    until("blog");
    assert!(
        seen.is_sorted_by(|a, b| a < b),
        "told twice, or not in order: {seen:?}"
    );
    assert_eq!(follower.interrupt(), Some(2));
}

#[test]
fn a1_followed_events_are_those_that_were_asked_for() {
    let daemon = Daemon::start();
    let socket = daemon.socket("freehold.sock");
    assert_eq!(freehold(&socket, &["app", "create", "shop"]).code, 0);
    let all = Follower::start(&daemon, &["events", "--follow"]);
    all.until_it_follows(&daemon);
    let asked = ["events", "shop", "--follow", "--level", "error"];
    let some = Follower::start(&daemon, &asked);
    // Nothing tells when it follows but what it tells.
    let mut first = None;
    for n in 0..100 {
        plant(&daemon, "info", "app:1", "a note of shop");
        plant(&daemon, "error", "box", "a fault of the box");
        plant(&daemon, "error", "app:1", &format!("a fault of shop {n}"));
        first = some.lines.recv_timeout(Duration::from_millis(300)).ok();
        if first.is_some() {
            break;
        }
    }
    let first = first.expect("it does not follow");
    assert!(first.contains("  error    a fault of shop"), "{first}");
    while let Ok(line) = some.lines.recv_timeout(Duration::from_secs(1)) {
        assert!(line.contains("a fault of shop"), "{line}");
    }
    // The other follower, which asked for all, was told of them: they did happen.
    let mut told = String::new();
    while !(told.contains("a note of shop") && told.contains("a fault of the box")) {
        match all.lines.recv_timeout(PATIENCE) {
            Ok(line) => told.push_str(&line),
            Err(_) => panic!("it was told of {told}"),
        }
    }
}

#[test]
fn a1_followed_events_that_cannot_begin_say_why_at_once() {
    let daemon = Daemon::start();
    let socket = daemon.socket("freehold.sock");
    for (arguments, code, words) in [
        (
            &["events", "nope", "--follow"][..],
            3,
            "there is no app called",
        ),
        (
            &["events", "--follow", "--level", "loud"],
            2,
            "info, warning, error",
        ),
        (
            &["events", "--follow", "--limit", "3"],
            2,
            "cannot be used with",
        ),
    ] {
        let said = freehold(&socket, arguments);
        assert_eq!(said.code, code, "{arguments:?}: {}", said.all());
        assert!(said.err.contains(words), "{arguments:?}: {}", said.all());
    }
    drop(daemon);
    let said = freehold(&socket, &["events", "--follow"]);
    assert_eq!(said.code, 5, "{}", said.all());
}
