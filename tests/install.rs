//! `install.sh` on a fresh Debian with systemd: from nothing to the demo's app answering, and once more.
//!
//! The server is a container of the rig's engine with an engine of its own; the binary is the tests' own build, since
//! what is tested here is the installation.

mod support;

use std::process::{Command, Output};

use support::freehold::words;
use support::process::run;

const NAME: &str = "freehold-install-test";

struct Server;

impl Server {
    fn start() -> Self {
        rig("stop").output().unwrap();
        run(&mut rig("start"));
        Self
    }

    fn sh(&self, script: &str) -> Output {
        Command::new("docker")
            .args(["exec", NAME, "timeout", "900", "sh", "-c", script])
            .output()
            .unwrap()
    }

    fn must(&self, script: &str) -> String {
        let out = self.sh(script);
        assert!(
            out.status.success(),
            "{script}\n{}\n{}",
            words(&out),
            self.journal()
        );
        words(&out)
    }

    fn install(&self, options: &str) -> String {
        let root = env!("CARGO_MANIFEST_DIR");
        self.must(&format!(
            "sh {root}/install.sh --binary {} {options}",
            support::freehold::BINARY
        ))
    }

    fn journal(&self) -> String {
        words(&self.sh("journalctl -u freehold -u freehold.socket -u docker -n 40 --no-pager"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        rig("stop").output().ok();
    }
}

fn rig(action: &str) -> Command {
    let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/rig/server"));
    command.args([action, NAME]);
    command
}

/// The value behind a label of what install.sh prints.
fn printed<'a>(text: &'a str, label: &str) -> &'a str {
    let line = text.lines().find(|l| l.trim().starts_with(label));
    line.unwrap_or_else(|| panic!("no {label:?} in:\n{text}"))
        .trim()
        .trim_start_matches(label)
        .trim()
}

#[test]
fn f1_one_command_from_a_fresh_server_to_the_demo() {
    let server = Server::start();
    let first = server.install("--demo");
    let dashboard = printed(&first, "Dashboard");
    assert!(dashboard.starts_with("https://"), "{first}");
    assert!(first.contains("SHA-256"), "{first}");
    let link = printed(&first, "Set your password");
    assert!(link.starts_with(dashboard.trim_end_matches('/')), "{first}");
    assert!(
        first.contains("No image registry can be reached"),
        "{first}"
    );
    assert!(
        first.contains("https://tasks.localhost/healthz answered"),
        "{first}"
    );

    // The service runs as its own user with systemd's sockets, and comes back by itself.
    assert_eq!(
        server.must("ps -o user= -p $(systemctl show -P MainPID freehold)"),
        "freehold"
    );
    let held = server.must("ss -Hltnp '( sport = :80 or sport = :443 )'");
    assert!(held.contains("systemd"), "{held}");
    server.must("systemctl kill -s KILL freehold; for i in $(seq 50); do freehold status && exit 0; sleep 0.2; done; exit 1");

    // Twice is harmless: same id, same app, nothing restarted, no second link once an owner would exist.
    let pid = server.must("systemctl show -P MainPID freehold");
    let second = server.install("--demo");
    assert_eq!(printed(&second, "Dashboard"), dashboard);
    assert_eq!(server.must("systemctl show -P MainPID freehold"), pid);
}

#[test]
fn f1_says_what_stands_in_the_way() {
    let install = concat!(env!("CARGO_MANIFEST_DIR"), "/install.sh");
    let small = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(small.path(), "MemTotal: 900000 kB\nSwapTotal: 100000 kB\n").unwrap();
    let out = Command::new("sh")
        .args([install, "--foreground"])
        .env("MEMINFO", small.path())
        .output()
        .unwrap();
    // On a machine with systemd it is --foreground that stands in the way.
    if !std::path::Path::new("/run/systemd/system").exists() {
        let said = words(&out);
        assert!(
            said.contains("2 GB of memory and swap") && said.contains("swapon"),
            "{said}"
        );
        let out = Command::new("sh").arg(install).output().unwrap();
        assert!(words(&out).contains("--foreground"), "{}", words(&out));
    }
    assert!(!out.status.success());
    let out = Command::new("sh")
        .args([install, "--nonsense"])
        .output()
        .unwrap();
    assert!(words(&out).contains("unknown option: --nonsense"));
}
