//! A box with a database and a bucket to store its dumps in, and what a test sees and does of them.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::freehold::{Freehold, words};
use crate::support::process::run;
use crate::support::s3::S3;
use crate::support::until::{secs, until};

/// A box with a database `main`, one part `tasks` in it, and a bucket as its target.
pub struct World {
    pub fh: Freehold,
    pub s3: S3,
    _dir: tempfile::TempDir,
}

impl World {
    pub fn new() -> Self {
        Self::with("")
    }

    pub fn with(settings: &str) -> Self {
        Self::reached_by(settings, S3::endpoint)
    }

    /// The store is reached by another address than its own.
    pub fn reached_by(settings: &str, endpoint: impl FnOnce(&S3) -> String) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let s3 = S3::start(dir.path());
        s3.create_bucket("dumps");
        let mut fh = Freehold::new();
        fh.configure(settings);
        fh.start();
        fh.cli(&["db", "create", "main"]);
        let world = Self { fh, s3, _dir: dir };
        world.psql(
            "postgres",
            "CREATE ROLE tasks LOGIN; CREATE DATABASE tasks OWNER tasks;",
        );
        world.psql(
            "tasks",
            "SET ROLE tasks; CREATE TABLE kept (n int); INSERT INTO kept SELECT generate_series(1, 1000);",
        );
        let out = world
            .fh
            .command(&["target", "add", "offsite", "s3://dumps/box"])
            .args(["--endpoint", &endpoint(&world.s3)])
            .args(["--access-key", &world.s3.access_key])
            .env("FREEHOLD_SECRET_KEY", &world.s3.secret_key)
            .output()
            .unwrap();
        assert!(out.status.success(), "{}", words(&out));
        world
    }

    pub fn psql(&self, part: &str, sql: &str) -> String {
        let said = self.try_psql(part, sql);
        said.unwrap_or_else(|why| panic!("{sql}: {why}"))
    }

    pub fn try_psql(&self, part: &str, sql: &str) -> Result<String, String> {
        self.psql_on("main", part, sql)
    }

    pub fn psql_on(&self, server: &str, part: &str, sql: &str) -> Result<String, String> {
        let mut child = self
            .fh
            .command(&["db", "psql", server, "--part", part])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        input.write_all(format!("{sql}\n").as_bytes()).unwrap();
        drop(input);
        let out = child.wait_with_output().unwrap();
        match out.status.success() {
            true => Ok(words(&out)),
            false => Err(words(&out)),
        }
    }

    pub fn kept(&self) -> String {
        self.psql("tasks", "SELECT 'left: ' || count(*) FROM kept;")
    }

    pub fn newest(&self) -> Value {
        let all = self.fh.json(&["backup", "list", "main"]);
        let ended = |b: &&Value| ["stored", "failed"].contains(&b["state"].as_str().unwrap());
        let all = all.as_array().unwrap().clone();
        all.iter().find(ended).cloned().unwrap_or_default()
    }

    pub fn object_of(&self, backup: &Value) -> PathBuf {
        let key = backup["key"].as_str().unwrap();
        self.s3.root().join("dumps/box").join(key)
    }

    /// The objects that the rows say are there: each dump and its manifest.
    #[cfg(feature = "crash-points")]
    pub fn objects_of(&self, list: &Value) -> Vec<PathBuf> {
        let stored = |b: &&Value| b["state"] == "stored" && !b["target"].is_null();
        let mut all: Vec<PathBuf> = (list.as_array().unwrap().iter().filter(stored))
            .map(|b| self.object_of(b))
            .flat_map(|dump| [PathBuf::from(format!("{}.json", dump.display())), dump])
            .collect();
        all.sort();
        all
    }

    /// Changes one row behind the daemon's back.
    pub fn meddle(&self, sql: &str) {
        assert_eq!(self.state().execute(sql, []), Ok(1), "{sql}");
    }

    fn state(&self) -> rusqlite::Connection {
        let state = rusqlite::Connection::open(self.fh.data_dir().join("state.db")).unwrap();
        state.busy_timeout(secs(10)).unwrap();
        state
    }

    /// A number that the daemon has written down.
    #[cfg(feature = "crash-points")]
    pub fn number(&self, sql: &str) -> i64 {
        self.state().query_row(sql, [], |r| r.get(0)).unwrap()
    }

    /// Makes a backup one of the schedule, too old to be kept.
    #[cfg(feature = "crash-points")]
    pub fn age(&self, id: &str) {
        self.meddle(&format!(
            "UPDATE backups SET cause = 'schedule', created_ms = created_ms - 94608000000 WHERE id = {id}"
        ));
    }

    /// Fills a table with random megabytes: nothing in it repeats, so nothing compresses.
    pub fn fill(&self, megabytes: u64) {
        self.psql(
            "tasks",
            &format!(
                "CREATE TABLE big (b bytea); ALTER TABLE big ALTER b SET STORAGE EXTERNAL;
                 INSERT INTO big SELECT (SELECT string_agg(sha512((r || '/' || i)::bytea), '') FROM generate_series(1, 16384) i)
                 FROM generate_series(1, {megabytes}) r;"
            ),
        );
    }

    /// The files of uploads that are not completed.
    pub fn upload_parts(&self) -> Vec<String> {
        self.s3.uploads()
    }

    /// Neither objects nor parts of uploads.
    pub fn store_is_empty(&self) {
        assert!(
            self.s3.objects("dumps").is_empty(),
            "{:?}",
            self.s3.objects("dumps")
        );
        assert_eq!(self.upload_parts(), Vec::<String>::new());
    }

    /// The names of the server's databases. A daemon that has just started has not heard of them yet.
    pub fn parts(&self) -> Vec<String> {
        until("the server to be heard", secs(60), || {
            let shown = self.fh.json(&["db", "show", "main"]);
            let parts = shown["inside"]["databases"].as_array();
            let parts = parts.ok_or_else(|| shown["silent"].to_string())?;
            let name = |p: &Value| p["name"].as_str().unwrap().to_owned();
            Ok(parts.iter().map(name).collect())
        })
    }

    /// What is told of a server is some seconds old.
    pub fn until_parts(&self, wanted: &[&str]) {
        until(&format!("the databases {wanted:?}"), secs(90), || {
            let parts = self.parts();
            match parts == wanted {
                true => Ok(()),
                false => Err(format!("{parts:?}")),
            }
        });
    }

    pub fn jobs(&self) -> Vec<String> {
        let mut command = Command::new("docker");
        command.args(["ps", "-q", "--filter", "label=freehold.kind=job"]);
        command.args([
            "--filter",
            &format!("label=freehold.installation={}", self.fh.installation()),
        ]);
        run(&mut command)
            .split_whitespace()
            .map(str::to_owned)
            .collect()
    }
}
