//! F3: a Postgres by one command, its data on our volume, an app attached.

use std::io::Write as _;
use std::process::Stdio;

use crate::app::APP;
use crate::support::terminal::at_a_terminal;
use crate::support::until::{secs, until};
use crate::world::World;

pub fn f3_one_command_starts_a_postgres(world: &mut World) {
    world.fh.cli(&["db", "create", "main"]);
    until("the database to be healthy", secs(180), || {
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
    let networks = world.docker(&[
        "inspect",
        "--format",
        "{{range $name, $one := .NetworkSettings.Networks}}{{$name}} {{end}}",
        &container,
    ]);
    let own: Vec<&str> = networks.split_whitespace().collect();
    assert!(
        matches!(own.as_slice(), [one] if one.contains("-db-main-")),
        "{own:?}"
    );
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

/// An app that is live already gets its database with a deploy, and loses it with one.
pub fn f3_attach_and_detach_reach_an_app_that_is_live(world: &mut World) {
    let app = "late";
    let folder = world.path(app);
    std::fs::create_dir_all(&folder).unwrap();
    let dockerfile =
        "FROM busybox:latest\nEXPOSE 8000\nCMD [\"httpd\", \"-f\", \"-p\", \"8000\"]\n";
    std::fs::write(folder.join("Dockerfile"), dockerfile).unwrap();
    let fh = &world.fh;
    fh.cli(&["app", "create", app]);
    fh.cli(&["deploy", &folder.display().to_string(), "--app", app]);
    let first = fh.json(&["deploys", app])[0]["id"].as_i64().unwrap();
    assert_eq!(database_url(world, first), None);

    let attached = fh.json(&["db", "attach", "main", app]);
    assert_eq!(attached["changed"], true, "{attached:#}");
    let deploy = attached["deploy"].as_i64().unwrap();
    let url = database_url(world, deploy).unwrap_or_default();
    assert!(url.starts_with("postgres://late:"), "{url}");
    let again = fh.json(&["db", "attach", "main", app]);
    let expected = (&false.into(), &serde_json::Value::Null);
    assert_eq!((&again["changed"], &again["deploy"]), expected, "{again:#}");

    let said = fh.cli(&["db", "detach", "main", app, "--yes"]);
    let deploy = fh.json(&["deploys", app])[0]["id"].as_i64().unwrap();
    let sentence = format!("deploy {deploy} takes the variable from it");
    assert!(said.contains(&sentence), "{said}");
    assert_eq!(database_url(world, deploy), None);

    let events = world.owner_json("/api/v1/events?limit=100");
    let told = |words: &str| {
        let all = events["items"].as_array().unwrap().iter();
        all.filter(|e| e["message"].as_str().unwrap().contains(words))
            .count()
    };
    assert_eq!(
        (told("late was attached"), told("late was detached")),
        (1, 1)
    );
    world.fh.cli(&["app", "rm", app, "--yes"]);
    psql(world, "main", "DROP DATABASE late;\nDROP ROLE late;");
}

/// What a person sees who opens a shell of the database at a terminal.
pub fn f3_psql_opens_at_a_terminal(world: &mut World) {
    let command = world.fh.command(&["db", "psql", "main"]);
    let talk = [("=# ", "SELECT 6 * 7 AS answer;"), ("=# ", "\\q")];
    let out = at_a_terminal(100, &talk, &command);
    let said = crate::support::freehold::words(&out);
    assert!(out.status.success() && said.contains("42"), "{said}");
}

/// The same in a running replica and in a container of its own: a terminal that follows the window's size, and the exit
/// code of what ran.
pub fn f4_run_and_exec_open_at_a_terminal(world: &mut World) {
    for verb in ["exec", "run"] {
        let command = world.fh.command(&[verb, APP, "-it", "--", "sh"]);
        // A size takes its time to get there, so it is asked for until it is the one; together it stands in no echo.
        let until_size = |size: &str| {
            format!(
                "for n in $(seq 300); do [ \"$(stty size | tr -d ' ')\" = {size} ] && break; sleep 0.2; done; stty size"
            )
        };
        let first = until_size("24100") + "; test -t 0 && echo a terminal it is";
        let second = until_size("40120");
        let talk = [
            ("$ ", first.as_str()),
            ("$ ", "!size 40 120"),
            ("$ ", second.as_str()),
            ("$ ", "exit 7"),
        ];
        let out = at_a_terminal(100, &talk, &command);
        let said = crate::support::freehold::words(&out);
        assert_eq!(out.status.code(), Some(7), "{verb}: {said}");
        for words in ["24 100", "\na terminal it is", "40 120"] {
            assert!(said.contains(words), "{verb}, {words:?}: {said}");
        }
    }
}

/// The variable in the container that this deploy of the app `late` made, once it is live.
fn database_url(world: &World, deploy: i64) -> Option<String> {
    until(&format!("deploy {deploy} to be live"), secs(240), || {
        let all = world.fh.json(&["deploys", "late"]);
        let mut all = all.as_array().unwrap().iter();
        let row = all.find(|d| d["id"].as_i64() == Some(deploy)).unwrap();
        match row["success"].as_bool() {
            Some(true) => Ok(()),
            _ => Err(row.to_string()),
        }
    });
    let found = world.containers(&format!("name=late-web-v[0-9]+-d{deploy}-"));
    assert_eq!(found.len(), 1, "{found:?}");
    let format = "{{join .Config.Env \"\\n\"}}";
    let env = world.docker(&["inspect", "--format", format, &found[0]]);
    env.lines()
        .find_map(|l| l.strip_prefix("DATABASE_URL="))
        .map(str::to_owned)
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
