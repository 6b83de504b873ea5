//! Backups of a real Postgres in a real store, sabotaged: what is called stored came back whole, and what is not leaves
//! nothing behind.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "backup_life/cancelled.rs"]
mod cancelled;
#[cfg(feature = "crash-points")]
#[path = "backup_life/night.rs"]
mod night;
mod support;
#[path = "backup_life/world.rs"]
mod world;

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

#[cfg(feature = "crash-points")]
use support::census::Census;
use support::process::{run, signal};
#[cfg(feature = "crash-points")]
use support::sweep::Sweep;
#[cfg(feature = "crash-points")]
use support::until::until_true;
use support::until::{secs, until};
use support::wire::Wire;
use world::World;

/// Whoever keeps a daemon running, stopped as long as this lives: one that ends is not begun again.
struct StandsStill(u32);

impl StandsStill {
    fn keeper_of(daemon: u32) -> Self {
        let stat = std::fs::read_to_string(format!("/proc/{daemon}/stat")).unwrap();
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        let parent = fields.split(' ').nth(1).unwrap().parse().unwrap();
        signal(parent, "STOP");
        Self(parent)
    }
}

impl Drop for StandsStill {
    fn drop(&mut self) {
        signal(self.0, "CONT");
    }
}

/// The saboteur strikes between put and read back: the same run without it is stored.
#[test]
fn f6_saboteur_a_byte_flipped_in_the_store_is_a_failed_backup() {
    let world = World::new();
    world
        .fh
        .documented("backup now", &["backup", "now", "main"]);
    let good = world.newest();
    assert_eq!(good["state"], "stored", "{good:#}");
    // What is printed of one that is good is what the docs say.
    let (id, file) = (good["id"].to_string(), world.fh.path("good.dump"));
    let download = ["backup", "download", &id, "-o", file.to_str().unwrap()];
    world.fh.documented("backup download", &download);
    world
        .fh
        .documented("backup verify", &["backup", "verify", &id]);
    std::fs::remove_file(world.object_of(&good)).unwrap();

    let point = "backup.verifying.after";
    world.fh.arm(point);
    let mark = world.fh.path(&format!("crashed-{point}"));
    let root = world.s3.root().join("dumps/box");
    let saboteur = std::thread::spawn(move || {
        // The daemon dies when the object is up and before it is read back.
        while !mark.exists() {
            std::thread::sleep(Duration::from_millis(1));
        }
        let mut found = Vec::new();
        let mut folders = vec![root];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|e| e == "dump") {
                    found.push(path);
                }
            }
        }
        assert_eq!(found.len(), 1);
        let mut bytes = std::fs::read(&found[0]).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&found[0], bytes).unwrap();
    });
    // The next daemon is begun when the saboteur is done: on a busy machine it could read back before.
    let keeper = StandsStill::keeper_of(world.fh.pid());
    let mut asked = world.fh.command(&["backup", "now", "main"]);
    asked.stdin(Stdio::null()).stdout(Stdio::null());
    let mut asked = asked.stderr(Stdio::null()).spawn().unwrap();
    let killed = world.fh.struck(point, secs(120));
    saboteur.join().unwrap();
    drop(keeper);
    world.fh.back(killed);
    asked.wait().unwrap();
    let failed = until("the sabotaged backup to end", secs(180), || {
        let newest = world.newest();
        if newest["id"] != good["id"] {
            Ok(newest)
        } else {
            Err(newest.to_string())
        }
    });
    assert_eq!(failed["state"], "failed", "{failed:#}");
    let reason = failed["reason"].as_str().unwrap();
    assert!(reason.contains("is not what was stored"), "{reason}");
    assert!(
        !world.object_of(&failed).exists(),
        "the bent object is still there"
    );
    let all = world.fh.json(&["backup", "list", "main"]);
    let retry = &all[0];
    assert_eq!(
        (&retry["cause"], &retry["state"]),
        (&"retry".into(), &"queued".into())
    );
}

/// The dump's container is killed in the middle; then the store's object is cut and removed under a restore.
#[test]
fn f6_a_cut_dump_leaves_nothing_and_a_cut_object_never_reaches_the_live_database() {
    let world = World::new();
    // A locked table holds the dump where it can be struck.
    let mut lock = world
        .fh
        .command(&["db", "psql", "main", "--part", "tasks"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut keyboard = lock.stdin.take().unwrap();
    // A command of psql's own shell says so at once, after what stands before it.
    keyboard
        .write_all(b"BEGIN; LOCK TABLE kept IN ACCESS EXCLUSIVE MODE;\n\\! echo locked\n")
        .unwrap();
    let mut screen = BufReader::new(lock.stdout.take().unwrap()).lines();
    assert!(screen.any(|line| line.unwrap().contains("locked")));
    world.fh.cli(&["backup", "now", "main", "--no-wait"]);
    let waiting = "SELECT 'waiting: ' || count(*) FROM pg_stat_activity
         WHERE application_name LIKE 'pg_dump %' AND wait_event_type = 'Lock';";
    until("the dump to wait for the table", secs(120), || {
        let said = world.psql("tasks", waiting);
        said.contains("waiting: 1").then_some(()).ok_or(said)
    });
    let [container]: [String; 1] = world.jobs().try_into().unwrap();
    run(Command::new("docker").args(["kill", &container]));
    let failed = until("the cut dump to fail", secs(180), || {
        let newest = world.newest();
        if newest.is_null() {
            Err("none ended".into())
        } else {
            Ok(newest)
        }
    });
    drop(keyboard);
    lock.wait().unwrap();
    assert_eq!(failed["state"], "failed", "{failed:#}");
    assert!(
        failed["reason"].as_str().unwrap().contains("pg_dump"),
        "{failed:#}"
    );
    world.store_is_empty();

    world.fh.cli(&["backup", "now", "main"]);
    let good = world.newest();
    assert_eq!(good["state"], "stored", "{good:#}");
    world.psql("tasks", "DELETE FROM kept WHERE n > 10;");
    let object = world.object_of(&good);
    let whole = std::fs::read(&object).unwrap();
    let id = good["id"].to_string();

    std::fs::write(&object, &whole[..whole.len() / 2]).unwrap();
    let said = world.fh.refused(&["backup", "restore", &id, "--yes"]);
    assert!(said.contains("live database was not touched"), "{said}");
    assert!(world.kept().contains("left: 10"));
    std::fs::remove_file(&object).unwrap();
    let said = world.fh.refused(&["backup", "restore", &id, "--yes"]);
    assert!(said.contains("was removed there"), "{said}");
    assert!(world.kept().contains("left: 10"));
    world.until_parts(&["postgres", "tasks"]);

    std::fs::write(&object, &whole).unwrap();
    world.fh.cli(&["backup", "restore", &id, "--yes"]);
    assert!(world.kept().contains("left: 1000"));
    let restore = &world.fh.json(&["backup", "restores", "main"])[0];
    let kept = restore["kept"].as_str().unwrap().to_owned();
    world.until_parts(&["postgres", "tasks", kept.as_str()]);
    // What restores leave behind is not dumped.
    world.fh.cli(&["backup", "now", "main"]);
    assert_eq!(world.newest()["part"], "tasks");
    world
        .fh
        .cli(&["backup", "confirm", &restore["id"].to_string(), "--yes"]);
    world.until_parts(&["postgres", "tasks"]);
}

/// What a dump names and its server has no more, or never had, is there before it is restored: roles that own something
/// in it, or may do something. Nobody can sign in as one of them until somebody lets them.
#[test]
fn f6_a_dump_is_restored_where_the_roles_it_names_are_not() {
    let world = World::new();
    world.psql(
        "tasks",
        "CREATE ROLE reports; CREATE ROLE \"odd 'one\" LOGIN; CREATE ROLE nobody;
         CREATE TABLE theirs (n int); ALTER TABLE theirs OWNER TO \"odd 'one\";
         GRANT SELECT ON kept TO reports; ALTER DEFAULT PRIVILEGES FOR ROLE tasks GRANT SELECT ON TABLES TO reports;",
    );
    world.fh.cli(&["backup", "now", "main"]);
    let backup = world.newest();
    assert_eq!(backup["state"], "stored", "{backup:#}");
    let id = backup["id"].to_string();
    world.fh.cli(&["db", "create", "other"]);
    world.psql(
        "postgres",
        "DROP DATABASE tasks WITH (FORCE); DROP ROLE tasks, reports, \"odd 'one\";",
    );
    for server in ["other", "main"] {
        world
            .fh
            .cli(&["backup", "restore", &id, "--into", server, "--yes"]);
        let on = |sql: &str| world.psql_on(server, "tasks", sql).unwrap();
        let said = on("SELECT 'left: ' || count(*) FROM kept;
             SELECT 'of: ' || tableowner FROM pg_tables WHERE tablename IN ('kept', 'theirs');
             SELECT 'may: ' || has_table_privilege('reports', 'kept', 'SELECT');
             SELECT 'in: ' || rolname FROM pg_roles WHERE rolname IN ('tasks', 'reports', 'odd ''one') AND rolcanlogin;
             SELECT 'has: ' || rolname FROM pg_roles WHERE rolname = 'nobody';
             SELECT 'owned: ' || pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'tasks';");
        for words in [
            "left: 1000",
            "of: tasks",
            "of: odd 'one",
            "may: true",
            "owned: tasks",
        ] {
            assert!(said.contains(words), "{server}: {words}: {said}");
        }
        assert!(!said.contains("in: "), "{server}: {said}");
        assert_eq!(said.contains("has: "), server == "main", "{said}");
    }
    // The app of that name is let in as the owner of what was restored.
    world.fh.cli(&["app", "create", "tasks"]);
    world.fh.cli(&["db", "attach", "other", "tasks"]);
    let said = world
        .psql_on(
            "other",
            "tasks",
            "SELECT 'in: ' || rolname FROM pg_roles WHERE rolcanlogin; SELECT 'left: ' || count(*) FROM kept;",
        )
        .unwrap();
    assert!(
        said.contains("in: tasks") && said.contains("left: 1000"),
        "{said}"
    );
}

/// The store breaks in the middle of an object on its way back: when it is read back, and under a restore.
#[test]
fn f6_a_store_that_breaks_while_it_is_read_ends_the_backup_and_the_restore_at_once() {
    let mut made = None;
    let world = World::reached_by("", |s3| made.insert(Wire::to(&s3.endpoint())).endpoint());
    let wire = made.unwrap();
    world.fill(16);
    // Before the tool has seen the table of contents, which is all it wants here.
    wire.cut_after(10);
    world.fh.cli(&["backup", "now", "main", "--no-wait"]);
    until("the wire to be cut", secs(120), || {
        wire.is_cut().then_some(()).ok_or("it is whole".to_owned())
    });
    // The tool beside the server waited for the rest for twelve hours, and the server's key with it.
    let failed = until("the backup that was cut to fail", secs(240), || {
        let newest = world.newest();
        let is_failed = newest["state"] == "failed";
        is_failed
            .then(|| newest.clone())
            .ok_or_else(|| world.fh.json(&["backup", "list", "main"]).to_string())
    });
    let reason = failed["reason"].as_str().unwrap();
    assert!(reason.contains("store cannot be used"), "{reason}");
    let all = world.fh.json(&["backup", "list", "main"]);
    assert_eq!(
        (&all[0]["cause"], &all[0]["state"]),
        (&"retry".into(), &"queued".into()),
        "{all:#}"
    );
    until("the backup's tool to be gone", secs(120), || {
        let jobs = world.jobs();
        jobs.is_empty().then_some(()).ok_or(format!("{jobs:?}"))
    });
    wire.mend();
    world.fh.cli(&["backup", "now", "main"]);
    let good = world.newest();
    assert_eq!(good["state"], "stored", "{good:#}");

    world.psql("tasks", "DELETE FROM kept WHERE n > 10;");
    wire.cut_after(4 << 20);
    let id = good["id"].to_string();
    let restore = &["backup", "restore", &id, "--no-wait", "--yes"];
    world.fh.cli(restore);
    until("the wire to be cut", secs(180), || {
        wire.is_cut().then_some(()).ok_or("it is whole".to_owned())
    });
    // Its try is over before the store is back, so that what ends well is another.
    until("the tool to be gone", secs(180), || {
        let jobs = world.jobs();
        jobs.is_empty().then_some(()).ok_or(format!("{jobs:?}"))
    });
    wire.mend();
    until("the restore to be done", secs(300), || {
        let newest = world.fh.json(&["backup", "restores", "main"])[0].clone();
        let is_done = newest["state"] == "done";
        is_done.then_some(()).ok_or_else(|| newest.to_string())
    });
    assert!(world.kept().contains("left: 1000"));
}

/// Nobody asks: the minute of the day comes.
#[test]
fn f6_the_daily_schedule_makes_a_stored_backup_by_itself() {
    let world = World::new();
    let state = rusqlite::Connection::open(world.fh.data_dir().join("state.db")).unwrap();
    state.busy_timeout(secs(10)).unwrap();
    // Every database has its row from the first look at the schedules on.
    until("the schedule from birth", secs(120), || {
        let due = "UPDATE backup_schedules SET next_due_ms = 1";
        match state.execute(due, []) {
            Ok(1) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    // The clock it sleeps by was set before; what came due meanwhile is seen at a start.
    world.fh.restart();
    let stored = until("the backup that was due", secs(180), || {
        let newest = world.newest();
        let is_stored = newest["state"] == "stored";
        is_stored.then(|| newest.clone()).ok_or(newest.to_string())
    });
    assert_eq!(
        (&stored["cause"], &stored["part"]),
        (&"schedule".into(), &"tasks".into()),
        "{stored:#}"
    );
    assert!(world.object_of(&stored).exists());
    // Once: the next one is due tomorrow.
    let list = world.fh.json(&["backup", "list", "main"]);
    assert_eq!(list.as_array().unwrap().len(), 1, "{list:#}");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = i64::try_from(now.unwrap().as_millis()).unwrap();
    let due = world.fh.json(&["db", "show", "main"])["next_backup_ms"].as_i64();
    let ahead = due.unwrap() - now;
    assert!((1..=25 * 3_600_000).contains(&ahead), "{ahead} ms");
}

/// The store vanishes when the first part is there and before the last one.
#[test]
fn f6_an_upload_cut_by_a_vanishing_store_is_failed_and_leaves_nothing_once_it_is_back() {
    let mut world = World::new();
    world.fill(192);
    world.fh.cli(&["backup", "now", "main", "--no-wait"]);
    let begun = std::time::Instant::now();
    while world.upload_parts().len() < 2 {
        assert!(begun.elapsed() < secs(120), "no part of the upload came");
        std::thread::sleep(Duration::from_millis(1));
    }
    world.s3.down();
    assert!(world.s3.objects("dumps").is_empty(), "it was too quick");
    let failed = until("the cut upload to fail", secs(300), || {
        let newest = world.newest();
        let ended = !newest.is_null();
        ended.then(|| newest.clone()).ok_or(newest.to_string())
    });
    assert_eq!(failed["state"], "failed", "{failed:#}");
    assert!(
        !world.upload_parts().is_empty(),
        "nobody could clean up yet"
    );
    world.s3.up();
    let stored = until("the next try", secs(300), || {
        let newest = world.newest();
        let is_stored = newest["state"] == "stored";
        is_stored.then(|| newest.clone()).ok_or(newest.to_string())
    });
    assert_eq!(stored["cause"], "retry", "{stored:#}");
    assert!(stored["size_bytes"].as_u64().unwrap() > 192 << 20);
    until("nothing to be left of the cut upload", secs(180), || {
        let parts = world.upload_parts();
        parts.is_empty().then_some(()).ok_or(format!("{parts:?}"))
    });
    let object = world.object_of(&stored);
    let manifest = PathBuf::from(format!("{}.json", object.display()));
    assert_eq!(world.s3.objects("dumps"), [object, manifest]);
}

/// A connection that does not hear holds the swap between closing and renaming; there the server is killed.
#[test]
fn f6_a_swap_cut_off_in_the_middle_leaves_the_live_database_open() {
    let world = World::new();
    world.fh.cli(&["backup", "now", "main"]);
    let good = world.newest();
    assert_eq!(good["state"], "stored", "{good:#}");
    world.psql("tasks", "DELETE FROM kept WHERE n > 10;");
    let mut deaf = world
        .fh
        .command(&["db", "psql", "main", "--part", "tasks"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut keyboard = deaf.stdin.take().unwrap();
    keyboard
        .write_all(b"SELECT 'pid: ' || pg_backend_pid() || '.';\n")
        .unwrap();
    let mut screen = BufReader::new(deaf.stdout.take().unwrap()).lines();
    let pid = screen
        .find_map(|line| {
            let line = line.unwrap();
            let (_, pid) = line.split_once("pid: ")?;
            Some(pid.trim_end_matches('.').to_owned())
        })
        .unwrap();
    let label = format!("label=freehold.installation={}", world.fh.installation());
    let mut list = Command::new("docker");
    list.args(["ps", "-q", "--filter", "label=freehold.kind=database"]);
    let server = run(list.args(["--filter", &label])).trim().to_owned();
    let stop = format!("kill -STOP {pid}");
    run(Command::new("docker").args(["exec", &server, "sh", "-c", &stop]));

    let id = good["id"].to_string();
    world
        .fh
        .cli(&["backup", "restore", &id, "--no-wait", "--yes"]);
    until("the live database to be closed", secs(120), || {
        let asked = "SELECT 'open: ' || datallowconn FROM pg_database WHERE datname = 'tasks';";
        let said = world.psql("postgres", asked);
        said.contains("open: false").then_some(()).ok_or(said)
    });
    run(Command::new("docker").args(["kill", "--signal", "KILL", &server]));
    let ended = until("the restore to end", secs(240), || {
        let newest = world.fh.json(&["backup", "restores", "main"])[0].clone();
        let over = ["done", "failed"].contains(&newest["state"].as_str().unwrap());
        over.then(|| newest.clone()).ok_or(newest.to_string())
    });
    let wanted = match ended["state"].as_str() {
        Some("done") => "left: 1000",
        _ => "left: 10\n",
    };
    let said = until("the live database to answer", secs(120), || {
        world.try_psql("tasks", "SELECT 'left: ' || count(*) FROM kept;")
    });
    assert!(said.contains(wanted), "{said} {ended:#}");
    drop(keyboard);
    deaf.wait().unwrap();
}

/// 1 GB that does not compress: resident memory rises by less than 20 MB while it is dumped, stored and read back.
#[test]
fn f6_a_gigabyte_is_backed_up_in_constant_memory() {
    let megabytes: u64 = std::env::var("FREEHOLD_TEST_DUMP_MB")
        .ok()
        .and_then(|v| v.parse().ok())
        .unwrap_or(1024);
    let world = World::new();
    // What a first run makes resident once (TLS roots, pools) is no part of the rise.
    world.fh.cli(&["backup", "now", "main"]);
    let first = world.newest();
    assert_eq!(first["state"], "stored", "{first:#}");
    world.fill(megabytes);
    let process = format!("/proc/{}", world.fh.pid());
    let resident = |most: &str| -> u64 {
        let status = std::fs::read_to_string(format!("{process}/status")).unwrap();
        let line = status.lines().find(|l| l.starts_with(most)).unwrap();
        let kilobytes = line.split_whitespace().nth(1).unwrap();
        kilobytes.parse::<u64>().unwrap() / 1024
    };
    // From here on the kernel notes the highest peak anew.
    std::fs::write(format!("{process}/clear_refs"), "5").unwrap();
    let before = resident("VmRSS:");
    world.fh.cli(&["backup", "now", "main", "--no-wait"]);
    let stored = until("the gigabyte to be stored", secs(900), || {
        let newest = world.newest();
        let is_big = newest["id"] != first["id"];
        is_big.then(|| newest.clone()).ok_or(newest.to_string())
    });
    let highest = resident("VmHWM:");
    assert_eq!(stored["state"], "stored", "{stored:#}");
    let size = stored["size_bytes"].as_u64().unwrap() >> 20;
    println!("{size} MB stored; resident {before} MB before, {highest} MB at most");
    assert!(size >= megabytes, "{size} MB: it compressed");
    assert!(
        highest.saturating_sub(before) < 20,
        "{before} MB before, {highest} MB at most"
    );
}

/// The ways out that are not good ones: a store that is away, a dump past its time, an object that is bent.
#[cfg(feature = "crash-points")]
#[test]
fn f8_a_kill_while_a_backup_fails_or_expires_or_a_restore_fails_leaves_nothing_over() {
    let mut world = World::with("[database]\nkeep_daily = 1\nkeep_weekly = 1\nkeep_monthly = 1\n");
    let mut sweep = Sweep::of(
        "f8_a_kill_while_a_backup_fails_or_expires_or_a_restore_fails_leaves_nothing_over",
    );
    for point in sweep.points() {
        world.fh.cli(&["backup", "now", "main"]);
        let good = world.newest();
        assert_eq!(good["state"], "stored", "{point}: {good:#}");
        let (id, object) = (good["id"].to_string(), world.object_of(&good));
        let what = point.rsplit_once('.').unwrap().0;
        match what {
            "backup.failed" => world.s3.down(),
            "backup.expired" => world.age(&id),
            _ => world.s3.flip_a_byte(&object),
        }
        let before = Census::with_store(&world.fh, &world.s3);
        world.fh.arm(&point);
        let arguments: &[&str] = match what {
            "restore.failed" => &["backup", "restore", &id, "--yes"],
            _ => &["backup", "now", "main"],
        };
        world.fh.try_cli(arguments);
        sweep.struck(world.fh.crashed(&point, secs(180)));
        // The daemon answers before it has seen which containers run.
        until_true("the server to be known", secs(120), || {
            let shell = ["db", "psql", "main", "--part", "tasks"];
            world.fh.try_cli(&shell).status.success()
        });
        match what {
            "backup.failed" => {
                // Written down once, and tried again when the store is back.
                until(&format!("the failure after {point}"), secs(180), || {
                    let newest = world.newest();
                    let failed = newest["state"] == "failed" && newest["id"] != good["id"];
                    failed.then_some(()).ok_or_else(|| newest.to_string())
                });
                world.s3.up();
            }
            "backup.expired" => until(&format!("{id} to be gone after {point}"), secs(180), || {
                let list = world.fh.json(&["backup", "list", "main"]);
                let row = list
                    .as_array()
                    .unwrap()
                    .iter()
                    .any(|b| b["id"] == good["id"]);
                let gone = !row && !object.exists();
                gone.then_some(()).ok_or_else(|| list.to_string())
            }),
            _ => {
                until(
                    &format!("the end of the restore after {point}"),
                    secs(180),
                    || {
                        let newest = world.fh.json(&["backup", "restores", "main"])[0].clone();
                        let failed = newest["state"] == "failed";
                        failed.then_some(()).ok_or_else(|| newest.to_string())
                    },
                );
                assert!(world.kept().contains("left: 1000"), "{point}");
                world.s3.flip_a_byte(&object);
            }
        }
        world.fh.cli(&["backup", "now", "main"]);
        until(
            &format!("nothing to be over after {point}"),
            secs(180),
            || {
                let (parts, jobs) = (world.parts(), world.jobs());
                let list = world.fh.json(&["backup", "list", "main"]);
                let kept = world.objects_of(&list);
                let stored = world.s3.objects("dumps");
                if parts == ["postgres", "tasks"] && jobs.is_empty() && kept == stored {
                    Ok(())
                } else {
                    Err(format!("{parts:?} {jobs:?} {list} {stored:?}"))
                }
            },
        );
        // A backup that failed is tried again by the clock.
        let census = || Census::with_store(&world.fh, &world.s3);
        before.until_equal(&point, census, |line| line.contains(" open job "));
    }
}
