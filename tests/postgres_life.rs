//! A managed Postgres from its creation to its removal: version, volume, passwords, apps' roles.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::io::Write as _;
use std::process::{Command, Stdio};

#[cfg(feature = "crash-points")]
use support::census::Census;
use support::documented;
use support::freehold::{Freehold, words};
use support::process::run;
#[cfg(feature = "crash-points")]
use support::sweep::Sweep;
use support::until::{secs, until};

fn psql(fh: &Freehold, database: &str, sql: &str) -> String {
    typed(fh, &["db", "psql", database], sql)
}

fn typed(fh: &Freehold, verb: &[&str], sql: &str) -> String {
    let mut child = fh
        .command(verb)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(format!("{sql}\n").as_bytes()).unwrap();
    drop(input);
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success(), "{sql}: {}", words(&out));
    words(&out)
}

fn docker(arguments: &[&str]) -> String {
    run(Command::new("docker").args(arguments))
        .trim()
        .to_owned()
}

fn of_ours(fh: &Freehold, kind: &[&str], more: &str) -> Vec<String> {
    let label = format!("label=freehold.installation={}", fh.installation());
    let mut arguments = kind.to_vec();
    arguments.extend(["-q", "--filter", &label]);
    if !more.is_empty() {
        arguments.extend(["--filter", more]);
    }
    docker(&arguments)
        .split_whitespace()
        .map(str::to_owned)
        .collect()
}

#[test]
fn f3_a_database_from_its_creation_to_its_removal() {
    let mut fh = Freehold::new();
    fh.configure("");
    fh.start();

    // What is not valid changes nothing.
    let said = fh.refused(&["db", "create", "main", "--version", "12"]);
    assert!(said.contains("13, 14, 15, 16, 17, 18"), "{said}");
    let said = fh.refused(&["db", "create", "main", "--memory", "64M"]);
    assert!(said.contains("128 MB"), "{said}");
    let said = fh.refused(&["db", "create", "../main"]);
    assert!(said.contains("lower-case"), "{said}");
    assert_eq!(fh.json(&["db", "list"]), serde_json::json!([]));

    let made = fh.json(&[
        "db",
        "create",
        "main",
        "--version",
        "17",
        "--memory",
        "256M",
    ]);
    assert_eq!(made["state"], "ready", "{made:#}");
    assert!(made["server_version"].as_str().unwrap().starts_with("17."));
    let said = fh.refused(&["db", "create", "main"]);
    assert!(said.contains("already"), "{said}");

    // The password that whoever may inspect containers sees opens nothing any more.
    let containers = of_ours(&fh, &["ps"], "label=freehold.kind=database");
    let container = &containers[0];
    let env = docker(&[
        "inspect",
        "--format",
        "{{join .Config.Env \"\\n\"}}",
        container,
    ]);
    let seen = env
        .lines()
        .find_map(|l| l.strip_prefix("POSTGRES_PASSWORD="))
        .unwrap();
    let argv = docker(&[
        "inspect",
        "--format",
        "{{join .Config.Cmd \" \"}}",
        container,
    ]);
    assert!(!argv.contains(seen), "{argv}");
    let address = docker(&[
        "inspect",
        "--format",
        "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}",
        container,
    ]);
    let tried = Command::new("docker")
        .args(["exec", "-e", &format!("PGPASSWORD={seen}"), container])
        .args(["psql", "-h", &address, "-U", "postgres", "-c", "SELECT 1"])
        .output()
        .unwrap();
    let said = words(&tried);
    assert!(
        !tried.status.success() && said.contains("password authentication failed"),
        "{said}"
    );

    // Each app sees its own database only.
    for app in ["shop", "blog"] {
        fh.cli(&["app", "create", app]);
        let link = fh.json(&["db", "attach", "main", app]);
        assert_eq!(
            (&link["state"], &link["env_name"]),
            (&"attached".into(), &"DATABASE_URL".into())
        );
        fh.cli(&["db", "attach", "main", app]);
    }
    let said = psql(
        &fh,
        "main",
        "SELECT has_database_privilege('shop', 'shop', 'CONNECT'), has_database_privilege('shop', 'blog', 'CONNECT'),
                has_database_privilege('shop', 'postgres', 'CONNECT'), rolsuper FROM pg_roles WHERE rolname = 'shop';",
    );
    let row: Vec<&str> = said
        .lines()
        .nth(2)
        .unwrap()
        .split('|')
        .map(str::trim)
        .collect();
    assert_eq!(row, ["t", "f", "f", "f"], "{said}");
    let told = typed(&fh, &["db", "psql", "main", "--json"], "SELECT 6 * 7;");
    let told = documented::held("db psql", &told);
    assert_eq!(told.last().unwrap()["exit"], 0, "{told:?}");
    fh.documented("db url", &["db", "url", "main", "shop"]);
    let said = fh.refused(&["db", "attach", "main", "nobody"]);
    assert!(said.contains("nobody"), "{said}");

    // Removal: by its typed name, and not while apps use it.
    let said = fh.refused(&["db", "rm", "main"]);
    assert!(said.contains("give --yes"), "{said}");
    let said = fh.refused(&["db", "rm", "main", "--yes"]);
    assert!(said.contains("detach main"), "{said}");
    fh.cli(&["db", "detach", "main", "blog", "--yes"]);
    // The only app left: its database is what psql opens.
    let said = psql(&fh, "main", "SELECT 'in ' || current_database();");
    assert!(said.contains("in shop"), "{said}");
    fh.cli(&["db", "detach", "main", "shop", "--yes"]);
    let said = psql(
        &fh,
        "main",
        "SELECT 'can ' || rolcanlogin FROM pg_roles WHERE rolname = 'shop';",
    );
    assert!(said.contains("can false"), "{said}");
    assert!(
        fh.cli(&["db", "show", "main"]).contains("shop ("),
        "its data is gone"
    );

    fh.cli(&["db", "rm", "main", "--yes"]);
    until("all of it to be gone", secs(180), || {
        let left = [
            of_ours(&fh, &["ps", "-a"], ""),
            of_ours(&fh, &["volume", "ls"], ""),
            of_ours(&fh, &["network", "ls"], "name=db-main"),
        ];
        let list = fh.json(&["db", "list"]);
        if left.iter().all(Vec::is_empty) && list == serde_json::json!([]) {
            Ok(())
        } else {
            Err(format!("{left:?} {list}"))
        }
    });
}

/// Postgres 17 under the name of a version that is not on this engine.
#[cfg(feature = "crash-points")]
struct Masked {
    version: &'static str,
}

#[cfg(feature = "crash-points")]
impl Masked {
    fn new() -> Self {
        let versions = ["13", "14", "15", "16"];
        let is_free = |v: &&str| docker(&["images", "-q", &format!("postgres:{v}")]).is_empty();
        let version = versions.into_iter().find(is_free).unwrap();
        docker(&["tag", "postgres:17", &format!("postgres:{version}")]);
        Self { version }
    }
}

#[cfg(feature = "crash-points")]
impl Drop for Masked {
    fn drop(&mut self) {
        let image = format!("postgres:{}", self.version);
        Command::new("docker").args(["rmi", &image]).output().ok();
    }
}

/// The image of a version is another one, which is seen when the server already runs: a kill just before and just after
/// the failure is written leaves no server, and the removal leaves nothing.
#[cfg(feature = "crash-points")]
#[test]
fn f8_a_kill_while_a_database_fails_leaves_no_server_running() {
    let mut fh = Freehold::new();
    fh.configure("");
    fh.start();
    let image = Masked::new();
    let before = Census::of(&fh);
    let mut sweep = Sweep::of("f8_a_kill_while_a_database_fails_leaves_no_server_running");
    for point in sweep.points() {
        fh.arm(&point);
        fh.try_cli(&["db", "create", "main", "--version", image.version]);
        sweep.struck(fh.crashed(&point, secs(180)));
        until(
            &format!("it to have failed after {point}"),
            secs(180),
            || {
                let main = fh.json(&["db", "list"])[0].clone();
                let servers = of_ours(&fh, &["ps", "-a"], "");
                if main["state"] == "failed" && servers.is_empty() {
                    Ok(())
                } else {
                    Err(format!("{main} {servers:?}"))
                }
            },
        );
        let main = fh.json(&["db", "list"])[0].clone();
        let reason = main["reason"].as_str().unwrap();
        let wanted = format!("postgres:{} runs 17", image.version);
        assert!(reason.contains(&wanted), "{point}: {reason}");
        fh.cli(&["db", "rm", "main", "--yes"]);
        before.until_equal(&point, || Census::of(&fh), |_| false);
        assert_eq!(fh.json(&["db", "list"]), serde_json::json!([]), "{point}");
    }
}
