//! F5: a certificate is renewed at a third of its life left and served without a restart.
//!
//! A second ACME server, whose certificates live for less than a minute, is named by a live edit of the settings; when
//! the edit is taken back, all is as it was before.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::app::{APP, URL};
use crate::support::acme::Acme;
use crate::support::load::Load;
use crate::support::process::run;
use crate::support::until::{secs, until};
use crate::world::World;

const HOST: &str = "short.test";
/// Of the short-lived certificates: at a third left there is time for an order on a busy machine.
const LIFE: Duration = secs(48);

/// A certificate as the socket served it.
#[derive(Debug)]
struct Leaf {
    serial: String,
    /// Seconds of the Unix clock.
    not_before: u64,
}

/// The leaf for `host`, whose chain and name `roots` must verify.
fn served(world: &World, host: &str, roots: &Path) -> Result<Leaf, String> {
    let shown = Command::new("openssl")
        .args(["s_client", "-connect"])
        .arg(format!("{}:443", world.fh.address))
        .args(["-servername", host, "-verify_hostname", host])
        .args(["-verify_return_error", "-CAfile"])
        .arg(roots)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    if !shown.status.success() {
        return Err(String::from_utf8_lossy(&shown.stderr).into_owned());
    }
    let leaf = world.path("served.pem");
    std::fs::write(&leaf, shown.stdout).unwrap();
    let facts = run(Command::new("openssl")
        .args(["x509", "-noout", "-serial", "-startdate", "-in"])
        .arg(&leaf));
    let fact = |name: &str| {
        let line = facts.lines().find_map(|l| l.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name} in {facts}"))
            .to_owned()
    };
    let began = run(Command::new("date").args(["-d", &fact("notBefore="), "+%s"]));
    Ok(Leaf {
        serial: fact("serial="),
        not_before: began.trim().parse().unwrap(),
    })
}

/// Every name with a public certificate is served one that `roots` verify.
fn all_from(world: &World, roots: &Path) -> Result<(), String> {
    let status = world.fh.json(&["status"]);
    let hosts: Vec<String> = status["certificates"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|c| c["state"] != "failed")
        .map(|c| c["host"].as_str().unwrap().to_owned())
        .filter(|h| !h.ends_with(".localhost") && !h.ends_with(".internal"))
        .collect();
    if hosts.is_empty() || hosts.iter().any(|h| h == HOST) {
        return Err(format!("the names are {hosts:?}"));
    }
    for host in hosts {
        served(world, &host, roots).map_err(|why| format!("{host}: {why}"))?;
    }
    Ok(())
}

pub fn f5_a_certificate_is_renewed_at_a_third_without_a_restart(world: &mut World) {
    world.app_is_up();
    let pid = world.fh.pid();
    let before = std::fs::read_to_string(world.fh.config_file()).unwrap();
    let short = Acme::start(&world.path("short-lived"), world.fh.address, LIFE);
    let roots = world.path("short-lived-root.pem");
    short.save_root(&roots);
    let ca_file = |acme: &Acme| acme.ca_file.display().to_string();
    let edited = before
        .replace(&world.acme.directory, &short.directory)
        .replace(&ca_file(&world.acme), &ca_file(&short))
        .replace(&world.acme.resolver, &short.resolver);
    std::fs::write(world.fh.config_file(), edited).unwrap();
    // The names there are already are ordered anew; the new one's first order is then this server's too.
    until("the edit to be in force", secs(120), || {
        served(world, "tasks.test", &roots)
    });
    world.fh.cli(&["domain", "add", APP, HOST]);

    // An order that the server refuses for reasons of its own is tried again after a minute.
    let first = until("the first short-lived certificate", secs(150), || {
        served(world, HOST, &roots)
    });
    let edge = world.fh.edge(&roots);
    let url = format!("https://{HOST}/healthz");
    let load = Load::start(&edge, &url, 10, |_| true);
    // Each look is a new connection; the first that fails ends the step.
    let second = until("a renewed certificate", LIFE * 2, || {
        let answer = edge.get(&url).send().expect("a request failed meanwhile");
        assert_eq!(answer.status, 200, "{}", answer.text());
        let now = served(world, HOST, &roots).expect("a handshake failed meanwhile");
        std::thread::sleep(Duration::from_millis(200));
        if now.serial == first.serial {
            return Err(format!("{now:?}"));
        }
        Ok(now)
    });
    load.finish().assert_flawless(100);
    let age = second.not_before - first.not_before;
    // The server may suggest a moment around two thirds; dates are in whole seconds.
    assert!(
        age >= LIFE.as_secs() / 2 && age < LIFE.as_secs(),
        "renewed after {age} s of {LIFE:?}"
    );
    assert_eq!(world.fh.pid(), pid, "the daemon was started anew");

    world.fh.cli(&["domain", "rm", APP, HOST, "--yes"]);
    std::fs::write(world.fh.config_file(), before).unwrap();
    until("the first server's certificates", secs(120), || {
        all_from(world, &world.public_root())
    });
    assert!(served(world, HOST, &roots).is_err(), "still served");
    let answer = world.public().get(&format!("{URL}/healthz")).send();
    assert_eq!(answer.unwrap().status, 200);
    assert_eq!(world.fh.pid(), pid, "the daemon was started anew");
}
