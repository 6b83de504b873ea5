//! A7: a box used from a laptop: over HTTPS, its root pinned, with a token.
//!
//! The daemon is the real one, without an engine.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Output, Stdio};

#[path = "support/documented.rs"]
mod documented;
#[path = "support/port.rs"]
mod port;
#[path = "support/quiet.rs"]
mod quiet;

use port::free_port;
use quiet::Daemon;

/// The command line on a machine that is no box, whatever was installed on this one: what makes it a box is out of sight.
fn anywhere_but_a_box() -> Command {
    let binary = env!("CARGO_BIN_EXE_freehold");
    let signs = ["/run/freehold", "/etc/freehold"];
    let there: Vec<_> = signs.iter().filter(|s| Path::new(s).is_dir()).collect();
    if there.is_empty() {
        return Command::new(binary);
    }
    let covered: Vec<_> = there
        .iter()
        .map(|sign| format!("mount -t tmpfs tmpfs {sign} && "))
        .collect();
    let mut command = Command::new("unshare");
    let script = format!("{}exec \"$0\" \"$@\"", covered.concat());
    command.args(["--mount", "sh", "-c", &script, binary]);
    command
}

struct Laptop<'a> {
    home: &'a Path,
}

impl Laptop<'_> {
    fn run(&self, arguments: &[&str], environment: &[(&str, &str)]) -> (i32, String) {
        let mut command = anywhere_but_a_box();
        command
            .args(arguments)
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
    let port = free_port(Ipv4Addr::LOCALHOST);
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
    let (code, text) = laptop.run(&[&login[..], &["--json"]].concat(), &token);
    assert_eq!(code, 0, "{text}");
    let told = documented::held("login", &text).remove(0);
    assert_eq!((&told["box"], &told["apps"]), (&"home".into(), &1.into()));
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

    // A socket that was named is asked, and no box instead of it when nobody answers there.
    let gone = ["--socket", "/nonexistent/freehold.sock", "app", "list"];
    for environment in [&[][..], &[("FREEHOLD_BOX", "home")]] {
        let (code, text) = laptop.run(&gone, environment);
        assert_eq!(code, 5, "{environment:?}: {text}");
    }
    // Another box at the same address is not believed.
    drop(daemon);
    let daemon = Daemon::start_at(port);
    let (code, text) = laptop.run(&["app", "list"], &[]);
    assert_eq!(code, 5, "{text}");
    assert!(text.contains("compare the fingerprint"), "{text}");
    drop(daemon);
    let (code, text) = laptop.run(&["logout", "home"], &[]);
    assert_eq!(code, 0, "{text}");
}

/// A token of the box that changes what it wants, with its number.
fn token(daemon: &Daemon, name: &str) -> (String, String) {
    let token = on_the_box(daemon, &["token", "add", name, "--verb", "change"]);
    let all = on_the_box(daemon, &["token", "list", "--json"]);
    let all: serde_json::Value = serde_json::from_str(&all).unwrap();
    let all = all.as_array().unwrap();
    let id = all.iter().find(|t| t["name"] == name).unwrap()["id"].to_string();
    (token.trim().to_owned(), id)
}

/// Roots that the system trusts are enough for a box that has a certificate of one: nothing is pinned, nobody is asked,
/// and a certificate of another root is refused later on.
#[test]
fn a7_a_box_with_a_public_certificate_is_checked_by_public_roots() {
    let port = free_port(Ipv4Addr::LOCALHOST);
    let daemon = Daemon::start_at(port);
    let home = tempfile::tempdir().unwrap();
    let laptop = Laptop { home: home.path() };
    let host = format!("127.0.0.1:{port}");
    // What a public authority's root is to everybody, this box's is to this laptop.
    let roots = home.path().join("roots.pem");
    std::fs::copy(daemon.socket("root.pem"), &roots).unwrap();
    let roots = ("SSL_CERT_FILE", roots.to_str().unwrap());
    let (secret, _) = token(&daemon, "laptop");
    let secret = ("FREEHOLD_TOKEN", secret.as_str());
    let (code, text) = laptop.run(&["login", &host, "--name", "home"], &[roots, secret]);
    assert_eq!(code, 0, "{text}");
    let (_, text) = laptop.run(&["boxes", "--json"], &[]);
    let boxes: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(boxes[0]["pinned"], serde_json::Value::Null, "{text}");
    assert_eq!(boxes[0]["current"], true, "{text}");
    let (code, text) = laptop.run(&["app", "list"], &[roots]);
    assert_eq!(code, 0, "{text}");
    // Nobody vouches for it any more: nothing is sent.
    drop(daemon);
    let _other = Daemon::start_at(port);
    let (code, text) = laptop.run(&["app", "list"], &[roots]);
    assert_eq!(code, 5, "{text}");
    assert!(text.contains("public root any more"), "{text}");
}

#[test]
fn a7_several_boxes_are_told_apart_and_their_troubles_too() {
    let ports = [
        free_port(Ipv4Addr::LOCALHOST),
        free_port(Ipv4Addr::LOCALHOST),
    ];
    let boxes = ports.map(Daemon::start_at);
    let home = tempfile::tempdir().unwrap();
    let laptop = Laptop { home: home.path() };
    let mut ids = Vec::new();
    for (at, name) in ["home", "work"].iter().enumerate() {
        on_the_box(&boxes[at], &["app", "create", &format!("shop-{name}")]);
        let status = on_the_box(&boxes[at], &["status", "--json"]);
        let status: serde_json::Value = serde_json::from_str(&status).unwrap();
        let print = status["fingerprint"].as_str().unwrap();
        let (secret, id) = token(&boxes[at], "laptop");
        ids.push(id);
        let host = format!("127.0.0.1:{}", ports[at]);
        let login = ["login", &host, "--name", name, "--fingerprint", print];
        let (code, text) = laptop.run(&login, &[("FREEHOLD_TOKEN", &secret)]);
        assert_eq!(code, 0, "{text}");
    }
    let apps = |more: &[&str]| laptop.run(&[&["app", "list"], more].concat(), &[]).1;
    // The last login is the current one, until another is chosen.
    assert!(apps(&[]).contains("shop-work"));
    assert!(apps(&["--box", "home"]).contains("shop-home"));
    let (code, text) = laptop.run(&["use", "home"], &[]);
    assert_eq!(code, 0, "{text}");
    assert!(apps(&[]).contains("shop-home"));
    let (_, text) = laptop.run(&["boxes"], &[]);
    assert!(
        text.contains("its own root") && text.contains("work"),
        "{text}"
    );
    let (code, text) = laptop.run(&["use", "nope"], &[]);
    assert_eq!((code, text.contains("home, work")), (3, true), "{text}");

    // A token that is taken back says how to come by another.
    on_the_box(&boxes[0], &["token", "rm", &ids[0], "--yes"]);
    let (code, text) = laptop.run(&["app", "list"], &[]);
    assert_eq!(code, 4, "{text}");
    assert!(text.contains("freehold login 127.0.0.1"), "{text}");
    // A name that is not the box's: it says so, and not that the box is away.
    let file = home.path().join("freehold/boxes.toml");
    let known = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, known.replace("\"127.0.0.1:", "\"localhost:")).unwrap();
    let (code, text) = laptop.run(&["app", "list"], &[]);
    assert_eq!(code, 5, "{text}");
    assert!(text.contains("not its name"), "{text}");
    std::fs::write(&file, known).unwrap();

    let (code, text) = laptop.run(&["logout"], &[]);
    assert_eq!(
        (code, text.contains("home is forgotten")),
        (0, true),
        "{text}"
    );
    let (code, text) = laptop.run(&["logout", "home"], &[]);
    assert_eq!(code, 3, "{text}");
    let (_, text) = laptop.run(&["boxes"], &[]);
    assert!(!text.contains("home"), "{text}");
}
