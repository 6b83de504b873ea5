//! A7: a box used from a laptop: over HTTPS, its root pinned, with a token.
//!
//! The daemon is the real one, without an engine.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};

#[path = "support/quiet.rs"]
mod quiet;

use quiet::Daemon;

struct Laptop<'a> {
    home: &'a Path,
}

impl Laptop<'_> {
    fn run(&self, arguments: &[&str], environment: &[(&str, &str)]) -> (i32, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_freehold"));
        command
            .args(arguments)
            .args(["--socket", "/nonexistent/freehold.sock"])
            .env("XDG_CONFIG_HOME", self.home)
            .env_remove("FREEHOLD_SOCKET")
            .stdin(Stdio::null());
        for (name, value) in environment {
            command.env(name, value);
        }
        said(&command.output().unwrap())
    }
}

fn said(out: &Output) -> (i32, String) {
    let text = [&out.stdout[..], &out.stderr[..]].concat();
    (
        out.status.code().unwrap(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

fn on_the_box(daemon: &Daemon, arguments: &[&str]) -> String {
    let out = Command::new(env!("CARGO_BIN_EXE_freehold"))
        .args(arguments)
        .env("FREEHOLD_SOCKET", daemon.socket("freehold.sock"))
        .output()
        .unwrap();
    let (code, text) = said(&out);
    assert_eq!(code, 0, "{arguments:?}: {text}");
    text
}

#[test]
fn a7_login_pins_the_boxs_root_and_the_token_decides_what_works() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let daemon = Daemon::start_at(port);
    let home = tempfile::tempdir().unwrap();
    let laptop = Laptop { home: home.path() };
    let host = format!("127.0.0.1:{port}");
    on_the_box(&daemon, &["app", "create", "shop"]);
    let status: serde_json::Value =
        serde_json::from_str(&on_the_box(&daemon, &["status", "--json"])).unwrap();
    let print = status["fingerprint"].as_str().unwrap();
    let token = on_the_box(&daemon, &["token", "add", "laptop", "--verb", "read"]);
    let token = [("FREEHOLD_TOKEN", token.trim())];

    // Nobody confirms the fingerprint, or it is another one: nothing is kept.
    let (code, text) = laptop.run(&["login", &host], &token);
    assert_eq!(code, 2, "{text}");
    assert!(
        text.contains(print) && text.contains("was not confirmed"),
        "{text}"
    );
    let other = print.replace(&print[..2], "00").replace("A", "B");
    let (code, text) = laptop.run(&["login", &host, "--fingerprint", &other], &token);
    assert_eq!(code, 2, "{text}");
    // A token that is none is not kept either.
    let wrong = [("FREEHOLD_TOKEN", "freehold_pat_wrong")];
    let (code, text) = laptop.run(&["login", &host, "--fingerprint", print], &wrong);
    assert_eq!(code, 4, "{text}");
    assert!(!home.path().join("freehold/boxes.toml").exists());

    let login = ["login", &host, "--fingerprint", print, "--name", "home"];
    let (code, text) = laptop.run(&login, &token);
    assert_eq!(code, 0, "{text}");
    let (code, text) = laptop.run(&["app", "list"], &[]);
    assert_eq!((code, text.contains("shop")), (0, true), "{text}");
    let (code, text) = laptop.run(&["app", "create", "blog"], &[]);
    assert_eq!(code, 4, "a token that reads makes nothing: {text}");
    assert!(text.contains("token does not go so far"), "{text}");
    let (code, text) = laptop.run(&["app", "list", "--box", "nope"], &[]);
    assert_eq!((code, text.contains("home")), (3, true), "{text}");
    // The environment alone is enough once the root is known.
    let environment = [token[0], ("FREEHOLD_HOST", host.as_str())];
    let (code, text) = laptop.run(&["app", "list"], &environment);
    assert_eq!((code, text.contains("shop")), (0, true), "{text}");

    // Another box at the same address is not believed.
    drop(daemon);
    let daemon = Daemon::start_at(port);
    let (code, text) = laptop.run(&["app", "list"], &[]);
    assert_eq!(code, 5, "{text}");
    assert!(text.contains("is not the one that was trusted"), "{text}");
    drop(daemon);
    let (code, text) = laptop.run(&["logout", "home"], &[]);
    assert_eq!(code, 0, "{text}");
}
