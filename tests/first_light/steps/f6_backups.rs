//! F6: dumps that are stored whole or called failed, brought back by rename.

use std::path::PathBuf;

use serde_json::Value;

use super::f3_database::psql;
use super::f8_crash::{census, containers, nothing_is_over, the_replica};
use crate::support::freehold::words;
use crate::support::sweep::Sweep;
use crate::support::until::{secs, until};
use crate::world::World;

fn newest(world: &World) -> Value {
    let all = world.fh.json(&["backup", "list", "main", "--limit", "1"]);
    all.as_array().unwrap().first().cloned().unwrap_or_default()
}

/// What the overview says while backups do not leave the box.
const LOST_TOGETHER: [&str; 3] = [
    "Backups stay on this box",
    "the databases and their backups die together",
    "freehold target add",
];

/// With no target, dumps go to the box's own disk, and the overview says what that means.
pub fn f6_without_a_target_dumps_stay_on_the_box(world: &mut World) {
    psql(
        world,
        "main",
        "CREATE TABLE kept (n int); INSERT INTO kept SELECT generate_series(1, 1000);",
    );
    world.fh.cli(&["backup", "now", "main"]);
    let backup = newest(world);
    assert_eq!(backup["state"], "stored", "{backup:#}");
    assert_eq!(backup["target"], Value::Null, "{backup:#}");
    let overview = world.owner_page("/");
    for words in LOST_TOGETHER {
        assert!(overview.contains(words), "{words}: {overview}");
    }
}

pub fn f6_a_wrong_target_is_refused_with_its_remedy(world: &mut World) {
    let (endpoint, key) = (world.s3.endpoint(), world.s3.access_key.clone());
    let refused = |bucket: &str, secret: &str| {
        let out = world
            .fh
            .command(&[
                "target",
                "add",
                "wrong",
                bucket,
                "--endpoint",
                &endpoint,
                "--access-key",
                &key,
                "--path-style",
                "--region",
                "us-east-1",
            ])
            .env("FREEHOLD_SECRET_KEY", secret)
            .output()
            .unwrap();
        assert!(!out.status.success(), "{}", words(&out));
        assert!(!words(&out).contains(secret), "the secret is in the answer");
        words(&out)
    };
    let said = refused("s3://absent/box", &world.s3.secret_key);
    assert!(said.contains("absent"), "{said}");
    let said = refused("s3://dumps/box", "not the secret");
    assert!(said.to_lowercase().contains("key"), "{said}");
}

pub fn f6_a_backup_is_stored_in_s3(world: &mut World) {
    let out = world
        .fh
        .command(&[
            "target",
            "add",
            "offsite",
            "s3://dumps/box",
            "--endpoint",
            &world.s3.endpoint(),
            "--access-key",
            &world.s3.access_key,
            "--path-style",
            "--region",
            "us-east-1",
            "--default",
        ])
        .env("FREEHOLD_SECRET_KEY", &world.s3.secret_key)
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", words(&out));
    let overview = world.owner_page("/");
    for words in LOST_TOGETHER {
        assert!(!overview.contains(words), "{words}: {overview}");
    }
    world.fh.cli(&["backup", "now", "main"]);
    let backup = newest(world);
    assert_eq!(backup["state"], "stored", "{backup:#}");
    assert_eq!(backup["target"], "offsite", "{backup:#}");
    assert!(!world.s3.objects("dumps").is_empty());
    // The sealed credentials are in no file of ours in the clear.
    let out = std::process::Command::new("grep")
        .args(["-rlF", &world.s3.secret_key])
        .arg(world.fh.data_dir())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&out.stdout), "");
}

/// What it stored, pg_restore opens without us.
pub fn f6_a_download_opens_with_pg_restore(world: &mut World) {
    let id = newest(world)["id"].to_string();
    let file = world.path("main.dump");
    world
        .fh
        .cli(&["backup", "download", &id, "-o", &file.display().to_string()]);
    let container = super::f3_database::database_container(world);
    world.docker(&[
        "cp",
        &file.display().to_string(),
        &format!("{container}:/tmp/main.dump"),
    ]);
    let listed = world.docker(&["exec", &container, "pg_restore", "--list", "/tmp/main.dump"]);
    assert!(listed.contains("TABLE DATA"), "{listed}");
}

pub fn f6_a_restore_brings_back_what_was_lost(world: &mut World) {
    let id = newest(world)["id"].to_string();
    psql(world, "main", "DELETE FROM kept WHERE n > 10;");
    world.fh.cli(&["backup", "restore", &id, "--yes"]);
    let said = psql(world, "main", "SELECT 'left: ' || count(*) FROM kept;");
    assert!(said.contains("left: 1000"), "{said}");
    // The app goes on with the restored database.
    world.app_is_up();
    let restores = world.fh.json(&["backup", "restores", "main"]);
    assert!(
        !restores[0]["kept"].as_str().unwrap().is_empty(),
        "{restores:#}"
    );
}

/// A byte flipped in the store: no longer called good once it is looked at.
pub fn f6_a_flipped_byte_is_found(world: &mut World) {
    let backup = newest(world);
    let key = backup["key"].as_str().unwrap().to_owned();
    let objects = world.s3.objects("dumps");
    let object = objects
        .iter()
        .find(|o| o.to_string_lossy().ends_with(&key))
        .unwrap_or_else(|| panic!("{key} of {objects:?}"));
    world.s3.flip_a_byte(object);
    let said = world
        .fh
        .refused(&["backup", "verify", &backup["id"].to_string()]);
    assert!(said.contains("is not what was stored"), "{said}");
    world.s3.flip_a_byte(object);
}

/// The store is away: the backup is failed and shown, and another try is planned.
pub fn f6_a_store_that_is_away_fails_the_backup(world: &mut World) {
    world.s3.down();
    let out = world.fh.try_cli(&["backup", "now", "main"]);
    assert!(!out.status.success(), "{}", words(&out));
    world.s3.up();
    let all = world.fh.json(&["backup", "list", "main"]);
    let newest: Vec<_> = all.as_array().unwrap().iter().take(2).collect();
    assert_eq!(newest[1]["state"], "failed", "{all:#}");
    assert_eq!(newest[0]["cause"], "retry", "{all:#}");
}

/// A minute after the step before failed, nobody having asked for it.
pub fn f6_a_failed_backup_is_tried_again_by_itself(world: &mut World) {
    until("the try again to be stored", secs(300), || {
        let all = world.fh.json(&["backup", "list", "main"]);
        let again = |b: &Value| b["cause"] == "retry" && b["state"] == "stored";
        let found = all.as_array().unwrap().iter().any(again);
        found.then_some(()).ok_or_else(|| all.to_string())
    });
}

/// kill -9 before and after each state of a backup and a restore is written.
pub fn f8_backups_and_restores_survive_a_kill_at_every_point(world: &mut World) {
    psql(
        world,
        "main",
        "DROP TABLE IF EXISTS kept; CREATE TABLE kept AS SELECT generate_series(1, 1000) AS n;",
    );
    world.fh.cli(&["backup", "now", "main"]);
    let live = the_replica(world);
    let before = census(world);
    let mut sweep = Sweep::of("f8_backups_and_restores_survive_a_kill_at_every_point");
    for point in sweep.points() {
        let restore = point.contains("restore");
        let id = newest(world)["id"].to_string();
        world.fh.arm(&point);
        let arguments: &[&str] = if restore {
            &["backup", "restore", &id, "--yes"]
        } else {
            &["backup", "now", "main"]
        };
        world.fh.try_cli(arguments);
        sweep.struck(world.fh.crashed(&point, secs(180)));
        until(
            // What failed by the kill waits a minute for its next try.
            &format!("nothing to be half done after {point}"),
            secs(240),
            || {
                let busy = |what: &Value| {
                    let all = what.as_array().unwrap().clone();
                    all.into_iter().find(|b| {
                        !["stored", "proven", "failed", "expired", "done"]
                            .contains(&b["state"].as_str().unwrap_or(""))
                    })
                };
                let one = busy(&world.fh.json(&["backup", "list", "main", "--limit", "5"]))
                    .or_else(|| busy(&world.fh.json(&["backup", "restores", "main"])));
                one.map_or(Ok(()), |b| Err(b.to_string()))
            },
        );
        world.fh.cli(&["backup", "now", "main"]);
        let said = psql(world, "main", "SELECT 'left: ' || count(*) FROM kept;");
        assert!(said.contains("left: 1000"), "{point}: {said}");
        // One that failed by the kill is tried again by the clock, and the first dumps stayed on the box's own disk.
        let by_the_clock = |line: &str| line.contains(" open job backup ");
        nothing_is_over(world, &before, &point, by_the_clock);
        until(
            &format!("whole things alone after {point}"),
            secs(240),
            || rows_and_things(world),
        );
        assert_eq!(containers(world), live, "{point}: the app was touched");
    }
    assert!(world.containers("label=freehold.kind=job").is_empty());
}

/// Whether the store has an object for each backup that is stored there and no other, and the server no database but
/// those that are live, and those that a restore that was not confirmed keeps.
fn rows_and_things(world: &World) -> Result<(), String> {
    let list = |arguments: &[&str]| world.fh.json(arguments).as_array().unwrap().clone();
    let text = |row: &Value, field: &str| row[field].as_str().unwrap_or_default().to_owned();
    let backups = list(&["backup", "list", "--limit", "1000"]);
    let kept = |backup: &&Value| {
        backup["target"] == "offsite" && ["stored", "proven"].contains(&&*text(backup, "state"))
    };
    let mut wanted: Vec<String> = backups
        .iter()
        .filter(kept)
        .map(|b| text(b, "key"))
        // The dump, and what is said of it beside it.
        .flat_map(|key| [format!("{key}.json"), key])
        .collect();
    wanted.sort();
    let bucket = world.s3.root().join("dumps/box");
    let name = |object: &PathBuf| object.strip_prefix(&bucket).unwrap().display().to_string();
    let mut stored: Vec<String> = world.s3.objects("dumps").iter().map(name).collect();
    stored.sort();
    if wanted != stored {
        return Err(format!(
            "{wanted:?} are stored by the rows, and {stored:?} are there"
        ));
    }
    let asked = "SELECT 'part ' || datname FROM pg_database WHERE NOT datistemplate;";
    let said = psql(world, "main", asked);
    let parts = said.lines().filter_map(|l| l.trim().strip_prefix("part "));
    let restores = list(&["backup", "restores", "main"]);
    let kept = |part: &str| {
        let keeps = |r: &Value| r["kept"] == part && r["confirmed_ms"].is_null();
        restores.iter().any(keeps)
    };
    // The one the server came with, and the app's.
    let astray = |part: &&str| {
        *part != "postgres"
            && (part.contains("_restore_") || part.contains("_before_"))
            && !kept(part)
    };
    match parts.filter(astray).collect::<Vec<_>>() {
        none if none.is_empty() => Ok(()),
        some => Err(format!("{some:?} are left on the server: {restores:?}")),
    }
}
