//! F4: the sample app does what it promises, by its own tests, through the box as its users see it.

use std::process::Command;

use serde_json::Value;

use crate::app::{APP, URL};
use crate::support::freehold::words;
use crate::support::until::{secs, until};
use crate::world::World;

/// Runs the tests in `tests`, every connection led to the address in the first argument, as a name server would.
const RUN: &str = "\
import socket, sys, unittest
connect = socket.create_connection
socket.create_connection = lambda to, *rest, **more: connect((sys.argv[1], to[1]), *rest, **more)
unittest.main(module=None, argv=['unittest', 'discover', '--verbose', 'tests'])
";

/// What they must have shown: nothing that is skipped or renamed goes unseen.
const SHOWN: &[&str] = &[
    "test_a_slow_stream_ends_whole",
    "test_a_task_lives_and_is_its_owners_alone",
    "test_a_wrong_password_and_no_token_are_401",
    "test_an_email_is_used_once_whatever_its_case",
    "test_bad_input_is_422",
    "test_events_stream_as_they_happen",
    "test_health_names_the_instance",
    "test_the_limit_holds",
];

pub fn f4_the_sample_apps_own_tests_pass(world: &mut World) {
    world.app_is_up();
    let out = Command::new("timeout")
        .args(["300", "python3", "-B", "-c", RUN])
        .arg(world.fh.address.to_string())
        .current_dir(World::sample())
        .env("BASE", URL)
        .env("NO_PROXY", "*")
        .env("no_proxy", "*")
        .env_remove("TASK_LIMIT")
        // This root, and no others.
        .env("SSL_CERT_FILE", world.public_root())
        .env("SSL_CERT_DIR", world.path("no-such-folder"))
        .output()
        .unwrap();
    let said = words(&out);
    assert!(out.status.success(), "{said}");
    for test in SHOWN {
        let line = said.lines().find(|l| l.starts_with(test));
        assert!(
            line.is_some_and(|l| l.ends_with(" ... ok")),
            "{test}\n{said}"
        );
    }
    assert!(
        said.contains(&format!("Ran {} tests", SHOWN.len())),
        "{said}"
    );
}

/// One line of JSON a request, under the name that the edge gave it and told its client.
pub fn f4_the_sample_app_logs_its_requests_as_json(world: &mut World) {
    let answer = world.app_is_up();
    let id = answer.header("x-request-id").to_owned();
    assert!(!id.is_empty(), "{:?}", answer.headers);
    let line = until("the request's line in the log", secs(120), || {
        let said = world.fh.cli(&["logs", APP]);
        let line = said.lines().find(|line| line.contains(&id));
        let object = line.and_then(|line| line.get(line.find('{')?..));
        let object = object.ok_or_else(|| format!("{id} is not in\n{said}"))?;
        serde_json::from_str::<Value>(object).map_err(|e| format!("{e}: {object}"))
    });
    world.fh.documented("logs", &["logs", APP]);
    assert_eq!(line["request_id"], *id, "{line}");
    assert_eq!(line["status"], 200, "{line}");
    assert_eq!(line["path"], "/healthz", "{line}");
    assert_eq!(line["level"], "info", "{line}");
    assert!(line["time"].is_string(), "{line}");
}
