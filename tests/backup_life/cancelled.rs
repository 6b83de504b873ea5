//! Backups and restores that are cancelled in the midst of their work: that is told when nothing of them lives any more,
//! neither beside the server nor in it nor in the store.
//!
//! What is in work is held by something that no clock ends. No server here looks whether its clients are still there, so
//! that what an ended tool leaves behind in it is there until somebody ends that too.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::Value;

use crate::support::census::Census;
use crate::support::freehold::words;
use crate::support::process::run;
use crate::support::until::{secs, until};
use crate::support::wire::Wire;
use crate::world::World;

/// A person's session with the server that has said all of `sql`, open until it is told to end.
struct Session {
    psql: Child,
    keyboard: ChildStdin,
    _screen: BufReader<ChildStdout>,
}

impl Session {
    fn that_said(world: &World, part: &str, sql: &str) -> Self {
        let mut command = world.fh.command(&["db", "psql", "main", "--part", part]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut psql = command.spawn().unwrap();
        let mut keyboard = psql.stdin.take().unwrap();
        // A command of psql's own shell says so at once, after what stands before it.
        let typed = format!("{sql}\n\\! echo said\n");
        keyboard.write_all(typed.as_bytes()).unwrap();
        let mut screen = BufReader::new(psql.stdout.take().unwrap());
        let said = screen.by_ref().lines().any(|l| l.unwrap().contains("said"));
        assert!(said);
        Self {
            psql,
            keyboard,
            _screen: screen,
        }
    }

    fn end(mut self) {
        drop(self.keyboard);
        self.psql.wait().unwrap();
    }
}

/// A server that ends no session by itself whose client is gone: a role's setting goes before the server's.
fn a_world(world: World) -> World {
    world.psql(
        "postgres",
        "ALTER ROLE postgres SET client_connection_check_interval = 0;",
    );
    world
}

fn lines(command: &mut Command) -> Vec<String> {
    run(command).lines().map(str::to_owned).collect()
}

/// The container of the world's server.
fn server(world: &World) -> String {
    let label = format!("label=freehold.installation={}", world.fh.installation());
    let mut list = Command::new("docker");
    list.args(["ps", "-q", "--filter", "label=freehold.kind=database"]);
    run(list.args(["--filter", &label])).trim().to_owned()
}

/// The lines that a command in the server's container says.
fn in_server(world: &World, command: &[&str]) -> Vec<String> {
    let mut exec = Command::new("docker");
    exec.args(["exec", &server(world)]).args(command);
    lines(&mut exec)
}

/// What lives of a dump or a restore: containers beside the server, sessions of Postgres' tools in it, and its databases
/// that no app has.
fn at_work(world: &World) -> Vec<String> {
    let label = format!("label=freehold.installation={}", world.fh.installation());
    let mut list = Command::new("docker");
    list.args(["ps", "-a", "--filter", "label=freehold.kind=job"]);
    list.args(["--filter", &label]);
    let mut all = lines(list.args(["--format", "container {{.Names}} {{.State}}"]));
    let asked = "SELECT 'session ' || application_name || ' ' || coalesce(wait_event, '') || ' ' || left(query, 80)
           FROM pg_stat_activity WHERE application_name ~ '^pg_(dump|restore)' OR datname LIKE '%\\_restore\\_%'
         UNION ALL
         SELECT 'database ' || datname FROM pg_database WHERE datname LIKE '%\\_restore\\_%'";
    all.extend(in_server(
        world,
        &["psql", "-XAt", "-U", "postgres", "-c", asked],
    ));
    all
}

/// Waits until something at work says all of `words`.
fn until_at_work(world: &World, words: &[&str]) {
    until(&format!("{words:?} at work"), secs(240), || {
        let all = at_work(world);
        let says = |line: &String| words.iter().all(|word| line.contains(word));
        all.iter()
            .any(says)
            .then_some(())
            .ok_or(format!("{all:#?}"))
    });
}

/// The open job whose kind this is.
fn job_of(world: &World, kind: &str) -> Value {
    let open = world.fh.json(&["jobs", "--open"]);
    let found = open.as_array().unwrap().iter().find(|j| j["kind"] == kind);
    found.unwrap_or_else(|| panic!("{open:#}")).clone()
}

/// Cancels the open job of that kind, as a person does; the answer comes when it is told as cancelled.
fn cancelled(world: &World, kind: &str) -> Value {
    let job = job_of(world, kind);
    assert_eq!(job["cancellable"], true, "{job:#}");
    // On a busy machine it may be told that it was not seen dead yet.
    let id = job["id"].to_string();
    until("it to be told as cancelled", secs(240), || {
        let out = world.fh.try_cli(&["job", "cancel", &id, "--json"]);
        let told: Option<Value> = serde_json::from_slice(&out.stdout).ok();
        let told = told.filter(|told| told["state"] == "cancelled");
        told.ok_or_else(|| words(&out))
    })
}

/// In the moment in which it was told that `told` is cancelled nothing of it was left.
fn is_dead(world: &World, told: &Value, before: &Census) {
    // Not waited for: what lives now was told to be dead.
    assert_eq!(at_work(world), Vec::<String>::new());
    let after = Census::with_store(&world.fh, &world.s3);
    assert_eq!(after.difference(before), Vec::<String>::new());
    let job = world.fh.json(&["job", "show", &told["id"].to_string()]);
    assert_eq!(
        (&job["state"], &job["error"], &job["cancellable"]),
        (&"cancelled".into(), &Value::Null, &false.into()),
        "{job:#}"
    );
}

fn is_taken_back(row: &Value) {
    assert_eq!(row["state"], "failed", "{row:#}");
    let reason = row["reason"].as_str().unwrap();
    let (begin, end) = ("cancelled by ", " while it was in work");
    assert!(
        reason.starts_with(begin) && reason.ends_with(end),
        "{reason}"
    );
}

/// A sequence that somebody is about to drop holds the dump, for as long as that is not done: of tables alone a dump waits
/// for a minute only.
fn a_held_dump(world: &World) -> Session {
    let holder = Session::that_said(world, "tasks", "BEGIN; DROP SEQUENCE counted;");
    world.fh.cli(&["backup", "now", "main", "--no-wait"]);
    until_at_work(world, &["session pg_dump", " relation "]);
    until_at_work(world, &["container ", "dump-", " running"]);
    holder
}

#[test]
fn n6_a_backup_that_waits_in_the_server_is_told_as_cancelled_when_it_is_dead_there() {
    let world = a_world(World::new());
    world.psql("tasks", "CREATE SEQUENCE counted;");
    let before = Census::with_store(&world.fh, &world.s3);
    let holder = a_held_dump(&world);
    let told = cancelled(&world, "backup");
    is_dead(&world, &told, &before);
    world.store_is_empty();
    let all = world.fh.json(&["backup", "list", "main"]);
    assert_eq!(all.as_array().unwrap().len(), 1, "no other try: {all:#}");
    is_taken_back(&all[0]);
    // Once more is no error, and changes nothing.
    let again = world.fh.json(&["job", "cancel", &told["id"].to_string()]);
    assert_eq!(again["state"], "cancelled", "{again:#}");
    holder.end();
    world.fh.cli(&["backup", "now", "main"]);
    let good = world.newest();
    assert_eq!(good["state"], "stored", "{good:#}");
    let said = world
        .fh
        .refused(&["job", "cancel", &last_job(&world, "backup")]);
    assert!(said.contains("is done"), "{said}");

    if cfg!(feature = "crash-points") {
        // Told before it is so: what is looked at above is still there.
        a_saboteur(&world);
        let holder = a_held_dump(&world);
        let told = cancelled(&world, "backup");
        let left = at_work(&world);
        let lives = |what: &str| left.iter().any(|line| line.starts_with(what));
        assert!(lives("container ") && lives("session pg_dump"), "{left:#?}");
        let job = world.fh.json(&["job", "show", &told["id"].to_string()]);
        assert_eq!(job["state"], "running", "{job:#}");
        holder.end();
    }
}

fn a_saboteur(world: &World) {
    world.fh.sabotage(Some("empty-cancel"));
    // The daemon answers before it has seen which containers run.
    until("the server to be known", secs(120), || {
        world.try_psql("tasks", "SELECT 1;")
    });
}

fn last_job(world: &World, kind: &str) -> String {
    let all = world.fh.json(&["jobs"]);
    let found = all.as_array().unwrap().iter().find(|j| j["kind"] == kind);
    found.unwrap()["id"].to_string()
}

/// The store has the first part of it and takes the second without ever saying so.
#[test]
fn n6_of_a_backup_that_is_cancelled_half_way_up_nothing_stays_in_its_store() {
    let mut made = None;
    let world = World::reached_by("", |s3| made.insert(Wire::to(&s3.endpoint())).endpoint());
    let (world, wire) = (a_world(world), made.unwrap());
    world.fill(32);
    let before = Census::with_store(&world.fh, &world.s3);
    wire.hold_parts_from(2);
    world.fh.cli(&["backup", "now", "main", "--no-wait"]);
    until("the store to have half of it", secs(240), || {
        let parts = world.upload_parts();
        let held = wire.holds() && !parts.is_empty();
        held.then_some(()).ok_or(format!("{parts:?}"))
    });
    let told = cancelled(&world, "backup");
    is_dead(&world, &told, &before);
    world.store_is_empty();
    is_taken_back(&world.newest());
    wire.mend();
    world.fh.cli(&["backup", "now", "main"]);
    let good = world.newest();
    assert_eq!(good["state"], "stored", "{good:#}");
    assert!(good["size_bytes"].as_u64().unwrap() > 32 << 20);
}

/// The store falls silent in the midst of what is unpacked beside the server.
#[test]
fn n6_a_check_that_is_cancelled_is_dead_and_says_nothing_of_its_backup() {
    let mut made = None;
    let world = World::reached_by("", |s3| made.insert(Wire::to(&s3.endpoint())).endpoint());
    let wire = made.unwrap();
    world.fill(8);
    world.fh.cli(&["backup", "now", "main"]);
    let good = world.newest();
    assert_eq!(good["state"], "stored", "{good:#}");
    let before = Census::with_store(&world.fh, &world.s3);
    wire.mute_after(1 << 20);
    let id = good["id"].to_string();
    let mut command = world.fh.command(&["backup", "verify", &id]);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let mut asked = command.stderr(Stdio::null()).spawn().unwrap();
    until("the store to be silent", secs(240), || {
        let check = at_work(&world);
        let held = wire.holds() && check.iter().any(|line| line.contains("check-"));
        held.then_some(()).ok_or(format!("{check:#?}"))
    });
    let told = cancelled(&world, "backup.check");
    is_dead(&world, &told, &before);
    assert!(!asked.wait().unwrap().success(), "it was not checked");
    let now = world.newest();
    assert_eq!(
        (&now["state"], &now["check"]),
        (&"stored".into(), &Value::Null),
        "{now:#}"
    );
    wire.mend();
    world.fh.cli(&["backup", "verify", &id]);
    assert_eq!(world.newest()["check"], "good");
}

/// The wish is written down, and the daemon is killed before it has done anything of it. The next one finds a container and a
/// session that are none of its own.
#[test]
fn n6_a_backup_whose_daemon_dies_over_its_cancelling_is_told_as_cancelled_when_it_is_dead() {
    let world = a_world(World::new());
    world.psql("tasks", "CREATE SEQUENCE counted;");
    let before = Census::with_store(&world.fh, &world.s3);
    let holder = a_held_dump(&world);
    let job = job_of(&world, "backup");
    world.meddle(
        "UPDATE backups SET reason = 'cancelled by ana while it was in work' WHERE state = 'running'",
    );
    world.fh.kill();
    world.fh.wait_until_up();
    let told = until("it to be told as cancelled", secs(240), || {
        let told = world.fh.json(&["job", "show", &job["id"].to_string()]);
        let over = told["state"] == "cancelled";
        over.then(|| told.clone()).ok_or_else(|| told.to_string())
    });
    is_dead(&world, &told, &before);
    world.store_is_empty();
    is_taken_back(&world.newest());
    holder.end();
    world.fh.cli(&["backup", "now", "main"]);
    assert_eq!(world.newest()["state"], "stored");
}

/// What is restored computes something for as long as a role is there.
const HELD: &str = "
    CREATE FUNCTION public.held() RETURNS int LANGUAGE plpgsql AS $$ BEGIN
        WHILE EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'holder') LOOP
            PERFORM pg_catalog.pg_sleep(0.1);
        END LOOP;
        RETURN 1;
    END $$;
    CREATE MATERIALIZED VIEW public.slow AS SELECT public.held();
";

fn newest_restore(world: &World) -> Value {
    world.fh.json(&["backup", "restores", "main"])[0].clone()
}

#[test]
fn n6_a_restore_that_computes_in_the_server_is_told_as_cancelled_when_nothing_of_it_is_left() {
    let world = a_world(World::new());
    world.fh.cli(&["app", "create", "tasks"]);
    world.fh.cli(&["db", "attach", "main", "tasks"]);
    world.psql("tasks", HELD);
    world.fh.cli(&["backup", "now", "main"]);
    let good = world.newest();
    assert_eq!(good["state"], "stored", "{good:#}");
    let id = good["id"].to_string();
    world.psql("tasks", "DELETE FROM kept WHERE n > 10;");
    world.psql("postgres", "CREATE ROLE holder;");
    let before = Census::with_store(&world.fh, &world.s3);
    let asked = ["backup", "restore", &id, "--no-wait", "--yes"];
    world.fh.cli(&asked);
    until_at_work(&world, &["session pg_restore", "REFRESH"]);
    let told = cancelled(&world, "restore");
    is_dead(&world, &told, &before);
    is_taken_back(&newest_restore(&world));
    // What was there is as it was, and takes connections, its app's too; the backup stands.
    assert!(world.kept().contains("left: 10\n"), "{}", world.kept());
    world.until_parts(&["postgres", "tasks"]);
    assert_eq!(world.newest()["state"], "stored");

    if cfg!(feature = "crash-points") {
        a_saboteur(&world);
        world.fh.cli(&asked);
        until_at_work(&world, &["session pg_restore", "REFRESH"]);
        cancelled(&world, "restore");
        let left = at_work(&world);
        let lives = |what: &str| left.iter().any(|line| line.starts_with(what));
        let all = [
            "container ",
            "session pg_restore",
            "database tasks_restore_",
        ];
        assert!(all.iter().all(|what| lives(what)), "{left:#?}");
        world.fh.sabotage(None);
        // The restore that was cut off by that begins again.
        until_at_work(&world, &["session pg_restore", "REFRESH"]);
        let told = cancelled(&world, "restore");
        is_dead(&world, &told, &before);
    }

    world.psql("postgres", "DROP ROLE holder;");
    world.fh.cli(&["backup", "restore", &id, "--yes"]);
    assert!(world.kept().contains("left: 1000"), "{}", world.kept());
    let done = newest_restore(&world);
    assert_eq!(done["state"], "done", "{done:#}");
    let number = done["id"].to_string();
    world.fh.cli(&["backup", "confirm", &number, "--yes"]);
    before.until_equal(
        "the restore that was not cancelled",
        || Census::with_store(&world.fh, &world.s3),
        |_| false,
    );
}

/// A session that does not hear that it is sent away holds the swap of the names, which comes whole or not at all.
#[test]
fn n6_a_restore_that_takes_the_live_name_goes_on_to_its_end_and_its_apps_pause_with_it() {
    let world = World::new();
    world.fh.cli(&["app", "create", "tasks"]);
    world.fh.cli(&["db", "attach", "main", "tasks"]);
    world.fh.cli(&["backup", "now", "main"]);
    let id = world.newest()["id"].to_string();
    world.psql("tasks", "DELETE FROM kept WHERE n > 10;");
    let before = Census::with_store(&world.fh, &world.s3);
    let deaf = Session::that_said(&world, "tasks", "SET application_name = 'deaf';");
    let asked = "SELECT pid FROM pg_stat_activity WHERE application_name = 'deaf'";
    let pid = in_server(&world, &["psql", "-XAt", "-U", "postgres", "-c", asked]);
    let tell = |what: &str| in_server(&world, &["sh", "-c", &format!("kill -{what} {}", pid[0])]);
    tell("STOP");
    let restore = ["backup", "restore", &id, "--no-wait", "--yes"];
    world.fh.cli(&restore);
    let job = job_of(&world, "restore")["id"].to_string();
    let is_over =
        || ["done", "failed"].contains(&newest_restore(&world)["state"].as_str().unwrap());
    until("the apps to be paused for the swap", secs(240), || {
        let paused = Census::of(&world.fh).count("pause of app") > 0;
        let seen = paused || is_over();
        seen.then_some(())
            .ok_or_else(|| newest_restore(&world).to_string())
    });
    let said = world.fh.refused(&["job", "cancel", &job]);
    // It gives up after a while by itself, which a slow machine may come too late for.
    assert!(is_over() || said.contains("goes on to its end"), "{said}");
    assert!(
        said.contains("until it takes the live database's name"),
        "{said}"
    );
    tell("CONT");
    deaf.end();
    until("the restore to end", secs(240), || {
        is_over()
            .then_some(())
            .ok_or_else(|| newest_restore(&world).to_string())
    });
    let ended = newest_restore(&world);
    let reason = ended["reason"].as_str().unwrap_or_default();
    assert!(!reason.contains("cancelled"), "{ended:#}");
    let left = match ended["state"] == "done" {
        true => "left: 1000",
        false => "left: 10\n",
    };
    assert!(world.kept().contains(left), "{ended:#}");
    let census = || Census::with_store(&world.fh, &world.s3);
    before.until_equal("the swap", census, |_| false);
}
