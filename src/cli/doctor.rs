//! `freehold doctor`: what is wrong, and how to mend it.
//!
//! The daemon examines the box. When it cannot be reached, this program looks at what it can see by itself, and says
//! where to look further.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use clap::Args;

use super::Global;
use super::client::Client;
use super::output::{self, Fail};
use super::progress::Progress;
use super::style::{self, Style};
use crate::base::clock::UnixMs;
use crate::config::Config;
use crate::doctor::{self, Clock, Facts, Keeper, Listening, Owner, Ports, Seen};
use crate::host::{self, Disk, FirewallFiles, Modes};
use crate::wire::doctor::{Area, Condition, Examined, Report};

/// What is wrong, and how to mend it
///
/// Looks at the engine, the ports, where names lead, the clock, disk, memory and swap, the firewall's files,
/// certificates, backups, Freehold's own database and permissions. What wants somebody comes first, with what was seen,
/// why it matters and what to type. When the daemon does not answer, what can be seen without it is looked at.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  freehold doctor             # exit code 1 when something does not work\n  freehold doctor --all       # what is as it should be, too\n  freehold doctor --json\n  freehold doctor --confirm   # all is well, after the state was made anew"
)]
pub struct Arguments {
    /// Show what is as it should be, too
    #[arg(long)]
    all: bool,
    /// Say that all is well after Freehold's own state was made anew from a snapshot and its journal. Containers that it
    /// does not know are removed from then on
    #[arg(long)]
    confirm: bool,
}

/// Runs the verb.
///
/// # Errors
/// When something does not work, or the daemon cannot be reached.
pub async fn run(client: &Client, global: &Global, given: Arguments) -> Result<(), Fail> {
    if given.confirm {
        let path = "/api/v1/doctor/confirm";
        let _done: serde_json::Value = client
            .send(http::Method::POST, path, &serde_json::json!({}))
            .await?;
    }
    let mut progress = Progress::of_state(global, "Looking at the box");
    progress.state("");
    let asked = client.get::<Report>("/api/v1/doctor").await;
    drop(progress);
    let (report, away) = match asked {
        Ok(report) => (report, None),
        Err(Fail::Unreachable(why)) if client.is_local() => {
            (here(&why, global.socket()), Some(why))
        }
        Err(other) => return Err(other),
    };
    output::either(global.json, &report, || show(&report, given.all));
    if let Some(why) = away {
        return Err(Fail::Unreachable(why));
    }
    match report
        .checks
        .iter()
        .filter(|c| c.state == Condition::Fail)
        .count()
    {
        0 => Ok(()),
        1 => Err(Fail::Failed("one thing does not work".into())),
        n => Err(Fail::Failed(format!("{n} things do not work"))),
    }
}

fn show(report: &Report, all: bool) {
    let look = style::stdout();
    let mut checks: Vec<&Examined> = report.checks.iter().collect();
    checks.sort_by_key(|c| (std::cmp::Reverse(c.state), c.area));
    for check in checks.iter().filter(|c| all || c.state != Condition::Ok) {
        let (word, style) = match check.state {
            Condition::Ok => ("ok  ", Style::Good),
            Condition::Warn => ("warn", Style::Warn),
            Condition::Fail => ("FAIL", Style::Bad),
        };
        output::line(format!(
            "{} {}: {}",
            look.paint(word, style),
            check.what,
            check.seen
        ));
        if check.state != Condition::Ok {
            output::line(format!("     {}", look.paint(&check.why, Style::Dim)));
            output::line(format!("     {}", check.remedy));
        }
    }
    let count = |state| report.checks.iter().filter(|c| c.state == state).count();
    let (ok, warn, fail) = (
        count(Condition::Ok),
        count(Condition::Warn),
        count(Condition::Fail),
    );
    output::line(match warn + fail {
        0 => format!("All is well: {ok} checks."),
        _ => format!("{ok} ok, {warn} to look at, {fail} that do not work."),
    });
}

/// What this program sees without the daemon.
fn here(why: &str, socket: &Path) -> Report {
    let begun = std::time::Instant::now();
    let now = UnixMs::now();
    let path = Path::new("/etc/freehold/config.toml");
    let config = Config::load(path, &Config::routes_d(path)).unwrap_or_default();
    let service = unit("freehold.service");
    let sockets = unit("freehold.socket");
    let mut checks = vec![daemon(why, &service, socket)];
    let facts = Facts {
        ports: Some(ports([config.listen.http, config.listen.https], &sockets)),
        clock: Some(Clock {
            kept: host::timekeeper(Path::new("/run")),
            skew_ms: None,
        }),
        disk: Disk::of(&config.data_dir).ok(),
        memory: host::memory().ok(),
        firewall: Some(FirewallFiles::read(Path::new("/etc"))),
        permissions: Some(Modes::read(
            &config.data_dir,
            socket,
            Path::new("/etc/group"),
        )),
        ..Facts::default()
    };
    checks.extend(doctor::examine(&facts, now));
    let took = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    doctor::report(checks, now, took)
}

/// What systemd says of a unit: `active`, `inactive`, `failed`; empty where there is no systemd.
fn unit(name: &str) -> String {
    if !Path::new("/run/systemd/system").exists() {
        return String::new();
    }
    let said = Command::new("systemctl").args(["is-active", name]).output();
    said.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned())
        .unwrap_or_default()
}

fn daemon(why: &str, unit: &str, socket: &Path) -> Examined {
    let check = Seen {
        area: Area::Daemon,
        what: "The daemon",
        why: "Apps that run go on without it; nothing is deployed, renewed, backed up or healed meanwhile.",
    };
    let there = match socket.exists() {
        true => "its socket is there",
        false => "its socket is not there",
    };
    let log = "its last words: journalctl -u freehold -n 50";
    match unit {
        "active" | "activating" => check.fail(
            format!("{why}; systemd says it is {unit}, {there}"),
            format!("Look at {log}; then sudo systemctl restart freehold."),
        ),
        "" => check.fail(
            format!("{why}; there is no systemd here, {there}"),
            "Start it: sudo freehold serve; its words come to that terminal.",
        ),
        _ => check.fail(
            format!("{why}; systemd says it is {unit}, {there}"),
            format!("Start it: sudo systemctl start freehold; {log}."),
        ),
    }
}

fn ports(wanted: [SocketAddr; 2], unit: &str) -> Ports {
    let held = unit == "active";
    let sockets = host::listening_on(&wanted.map(|a| a.port()));
    let programs = host::programs(&sockets);
    let owner = |inode| match programs.get(&inode).map(|(name, _)| name.as_str()) {
        Some("systemd" | "freehold") => Owner::Ours,
        // Whose it is only root may see; systemd says that it holds it.
        None if held => Owner::Ours,
        None => Owner::Hidden,
        Some(name) => Owner::Program(name.to_owned()),
    };
    Ports {
        wanted,
        keeper: match held {
            true => Keeper::Systemd,
            false => Keeper::Nobody,
        },
        listening: sockets
            .into_iter()
            .map(|s| Listening {
                address: s.address,
                owner: owner(s.inode),
            })
            .collect(),
    }
}
