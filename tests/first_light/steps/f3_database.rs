//! F3: a Postgres by one command, its data on our volume, an app attached.

use std::io::Write as _;
use std::process::Stdio;

use crate::support::until::{secs, until};
use crate::world::World;

pub fn f3_one_command_starts_a_postgres(world: &mut World) {
    world.fh.cli(&["db", "create", "main"]);
    until("the database to be healthy", secs(90), || {
        let shown = world.fh.json(&["db", "show", "main"]);
        let state = shown["state"].as_str().unwrap_or("none").to_lowercase();
        if ["healthy", "ready", "running"].contains(&state.as_str()) {
            Ok(())
        } else {
            Err(shown.to_string())
        }
    });
    let said = psql(world, "main", "SHOW server_version;");
    assert!(
        said.contains(" 17.") || said.contains("\n17.") || said.starts_with("17."),
        "{said}"
    );
}

pub fn f3_its_data_lies_on_our_volume(world: &mut World) {
    let container = database_container(world);
    let environment = world.docker(&[
        "inspect",
        "--format",
        "{{join .Config.Env \"\\n\"}}",
        &container,
    ]);
    let pgdata = environment
        .lines()
        .find_map(|l| l.strip_prefix("PGDATA="))
        .unwrap();
    let mounts = world.docker(&[
        "inspect",
        "--format",
        "{{range .Mounts}}{{.Type}} {{.Name}} {{.Destination}}\n{{end}}",
        &container,
    ]);
    let ours = mounts.lines().find(|m| {
        let parts: Vec<&str> = m.split(' ').collect();
        parts.len() == 3 && parts[0] == "volume" && pgdata.starts_with(parts[2])
    });
    let volume = ours.unwrap_or_else(|| panic!("{pgdata} is on no volume of {mounts}"));
    let volume = volume.split(' ').nth(1).unwrap();
    let label = world.docker(&[
        "volume",
        "inspect",
        "--format",
        "{{index .Labels \"freehold.installation\"}}",
        volume,
    ]);
    assert_eq!(label, world.fh.installation());
    assert_eq!(
        world.docker(&[
            "exec",
            &container,
            "test",
            "-s",
            &format!("{pgdata}/PG_VERSION")
        ]),
        ""
    );
    let limits = world.docker(&[
        "inspect",
        "--format",
        "{{.HostConfig.Memory}} {{.HostConfig.LogConfig.Config}} {{json .HostConfig.PortBindings}}",
        &container,
    ]);
    assert!(limits.starts_with("536870912 "), "{limits}");
    assert!(
        limits.contains("max-size:10m") || limits.contains("max-size:10485760"),
        "{limits}"
    );
    assert!(
        limits.ends_with("{}") || limits.ends_with("null"),
        "{limits}"
    );
}

pub fn f3_an_unknown_version_is_refused(world: &mut World) {
    let said = world.fh.refused(&["db", "create", "odd", "--version", "3"]);
    assert!(said.contains("17"), "{said}");
    assert!(!world.fh.cli(&["db", "list"]).contains("odd"));
    let said = world.fh.refused(&["db", "create", "Not A Name"]);
    assert!(said.contains("lower-case"), "{said}");
    let said = world.fh.refused(&["db", "create", "main"]);
    assert!(said.contains("main"), "{said}");
}

/// What psql prints for `sql`, piped in as a person would.
pub fn psql(world: &World, database: &str, sql: &str) -> String {
    let mut child = world
        .fh
        .command(&["db", "psql", database])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(format!("{sql}\n").as_bytes())
        .unwrap();
    let out = child.wait_with_output().unwrap();
    let said = crate::support::freehold::words(&out);
    assert!(out.status.success(), "{sql}: {said}");
    said
}

/// The container of the database server.
pub fn database_container(world: &World) -> String {
    let found = world.containers("label=freehold.kind=database");
    assert_eq!(found.len(), 1, "{found:?}");
    found.into_iter().next().unwrap()
}
