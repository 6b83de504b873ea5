//! The exit codes, each provoked, in words and as JSON.

use std::path::Path;

use freehold::cli::output::EXIT_CODES;

use super::quiet::Daemon;
use super::typed::freehold;

#[test]
fn a7_every_documented_exit_code_can_be_had() {
    let daemon = Daemon::start();
    let socket = daemon.socket("freehold.sock");
    let gone = Path::new("/nonexistent/freehold.sock");
    let rows: &[(u8, &Path, &[&str])] = &[
        (0, &socket, &["app", "create", "shop"]),
        (1, &socket, &["doctor"]),
        (
            2,
            &socket,
            &["app", "set", "shop", "--registry-password", "s3cret"],
        ),
        (2, &socket, &["target", "add", "usb", "dir:///nonexistent"]),
        (2, &socket, &["app", "create", "../shop"]),
        (2, &socket, &["app", "rm", "shop"]),
        (2, &socket, &["deploy"]),
        (2, &socket, &["nonsense"]),
        (3, &socket, &["app", "show", "nope"]),
        (3, &socket, &["deploys", "shop", "--follow"]),
        (3, &socket, &["--box", "nope", "status"]),
        (4, &socket, &["app", "create", "shop"]),
        (5, gone, &["status"]),
        (
            6,
            &socket,
            &["deploy", "--app", "shop", "--image", "127.0.0.1:9/shop"],
        ),
        (6, &socket, &["job", "follow", "1"]),
    ];
    for (code, socket, arguments) in rows {
        let said = freehold(socket, arguments);
        assert_eq!(said.code, i32::from(*code), "{arguments:?}: {}", said.all());
    }
    let covered: Vec<u8> = rows.iter().map(|(code, ..)| *code).collect();
    for (code, _) in EXIT_CODES {
        assert!(covered.contains(code), "exit code {code} is not provoked");
    }
    let help = freehold(gone, &["--help"]);
    assert_eq!(help.code, 0);
    for (code, what) in EXIT_CODES {
        let start = what.split([':', ',']).next().unwrap();
        assert!(
            help.out.contains(&format!("  {code}  {start}")),
            "{}",
            help.out
        );
    }
}

#[test]
fn a7_a_failure_is_json_for_those_who_ask_for_json() {
    let daemon = Daemon::start();
    let socket = daemon.socket("freehold.sock");
    let gone = Path::new("/nonexistent/freehold.sock");
    let made = freehold(&socket, &["app", "create", "shop"]);
    assert_eq!(made.code, 0, "{}", made.all());
    let rows: &[(&Path, &[&str], u8, &str)] = &[
        (&socket, &["app", "show", "nope"], 3, "not-found"),
        (&socket, &["app", "rm", "shop"], 2, "invalid"),
        (&socket, &["app", "rm"], 2, "invalid"),
        (&socket, &["nonsense"], 2, "invalid"),
        (gone, &["app", "list"], 5, "unreachable"),
    ];
    for (socket, arguments, code, kind) in rows {
        let said = freehold(socket, &[arguments, &["--json"][..]].concat());
        assert_eq!(said.code, i32::from(*code), "{}", said.all());
        assert_eq!(said.out, "", "{arguments:?}");
        let json: serde_json::Value = serde_json::from_str(&said.err).unwrap();
        assert_eq!(json["exit"], *code, "{json}");
        assert_eq!(
            json["type"],
            format!("urn:freehold:problem:{kind}"),
            "{json}"
        );
        assert!(
            json["detail"].as_str().is_some_and(|d| !d.is_empty()),
            "{json}"
        );
        assert!(json["title"].is_string(), "{json}");
    }
}
