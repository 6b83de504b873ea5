//! Killed around each write of a job's own state: what was written down as ended is not begun again, what was not is, and
//! what a failed one left is ended all the same.
//!
//! The process that is killed is this program itself, started again as the ignored test below.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use freehold::base::clock::UnixMs;
use freehold::base::shutdown::{Shutdown, Tasks};
use freehold::db::{Db, DbError, Kind};
use freehold::jobs::{self, Handlers, JobContext, Jobs, NewJob, Outcome};

use crate::support::sweep::{Killed, Sweep};

/// Work that ends in each of the ways there are, with the state that its row has in the end.
const KINDS: [(&str, &str); 4] = [
    ("test.well", "done"),
    ("test.twice", "done"),
    ("test.badly", "failed"),
    ("test.withdrawn", "cancelled"),
];

/// What is written down of each kind.
fn rows(home: &Path) -> BTreeMap<String, String> {
    let state = rusqlite::Connection::open(home.join("state.db")).unwrap();
    let mut ask = state.prepare("SELECT kind, state FROM jobs").unwrap();
    let rows = ask.query_map([], |r| Ok((r.get(0)?, r.get(1)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

/// How often each was begun.
fn runs(home: &Path) -> BTreeMap<String, usize> {
    let text = std::fs::read_to_string(home.join("runs")).unwrap_or_default();
    let mut all = BTreeMap::new();
    for kind in text.lines() {
        *all.entry(kind.to_owned()).or_default() += 1;
    }
    all
}

fn note(home: &Path, file: &str, line: &str) {
    let file = std::fs::File::options()
        .create(true)
        .append(true)
        .open(home.join(file));
    writeln!(file.unwrap(), "{line}").unwrap();
}

fn work(home: &Path, kind: &'static str, context: &JobContext) -> Outcome {
    note(home, "runs", kind);
    match kind {
        "test.twice" if context.attempt == 1 => Outcome::Again {
            at: UnixMs::now(),
            why: "once more".into(),
        },
        "test.badly" => Outcome::Failed("it went wrong".into()),
        "test.withdrawn" => Outcome::Cancelled,
        _ => Outcome::Done,
    }
}

async fn count(db: &Db, states: &str) -> i64 {
    let asked = format!("SELECT count(*) FROM jobs WHERE state IN ({states})");
    let found: Result<i64, DbError> = db
        .read(move |c| Ok(c.query_row(&asked, [], |r| r.get(0))?))
        .await;
    found.unwrap()
}

#[tokio::test]
#[ignore = "the process that another test kills"]
async fn the_process_that_is_killed() {
    let Some(home) = std::env::var_os("JOBS_HOME").map(PathBuf::from) else {
        return;
    };
    let db = Db::open(&home.join("state.db"), Kind::State).unwrap();
    let mut handlers = Handlers::default();
    for (kind, _) in KINDS {
        let home = home.clone();
        handlers.on(kind, Duration::from_secs(60), move |context, _| {
            let outcome = work(&home, kind, &context);
            async move { outcome }
        });
    }
    let (seen, to) = (db.clone(), home.clone());
    handlers.reap(move || {
        let (seen, to) = (seen.clone(), to.clone());
        async move {
            if count(&seen, "'failed'").await > 0 {
                note(&to, "reaped", "what a failed one left is ended");
            }
        }
    });
    // Which are there from before the kill, or come with this one.
    let queued: Result<(), DbError> = db
        .write(|tx| {
            let none: bool = tx.query_row("SELECT count(*) = 0 FROM jobs", [], |r| r.get(0))?;
            for (kind, _) in KINDS.into_iter().filter(|_| none) {
                let job = NewJob {
                    kind,
                    key: kind.into(),
                    payload: serde_json::json!({}),
                    run_at: UnixMs::now(),
                };
                jobs::enqueue(tx, UnixMs::now(), &job)?;
            }
            Ok(())
        })
        .await;
    queued.unwrap();
    let tasks = Tasks::new(Shutdown::new());
    let _jobs = Jobs::start(db.clone(), handlers, &tasks).await.unwrap();
    let ends = std::time::Instant::now() + Duration::from_secs(60);
    while count(&db, "'queued', 'running'").await > 0 || !home.join("reaped").exists() {
        assert!(std::time::Instant::now() < ends, "{:?}", rows(&home));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tasks.finish(Duration::from_secs(10)).await;
}

fn run(home: &Path, point: &str) -> ExitStatus {
    Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "jobs::the_process_that_is_killed"])
        .env("JOBS_HOME", home)
        .env("FREEHOLD_CRASH_AT", point)
        .env("FREEHOLD_CRASH_MARK", home.join("mark"))
        .status()
        .unwrap()
}

#[test]
fn n5_a_job_survives_a_kill_around_each_write_of_its_state() {
    let mut sweep = Sweep::of("n5_a_job_survives_a_kill_around_each_write_of_its_state");
    for point in sweep.points() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path();
        let killed = run(home, &point);
        assert_eq!(killed.signal(), Some(9), "{point}: {killed}");
        sweep.struck(Killed::at(&point, &home.join("mark")));
        let (was, before) = (rows(home), runs(home));
        let ended = run(home, &point);
        assert!(ended.success(), "{point}: after the kill {ended}");
        let after = runs(home);
        for (kind, state) in KINDS {
            assert_eq!(rows(home)[kind], state, "{point}: {kind}");
            let run = |all: &BTreeMap<String, usize>| all.get(kind).copied().unwrap_or(0);
            let (once, most) = (usize::from(kind == "test.twice") + 1, run(&before) + 1);
            match was[kind] == state {
                true => assert_eq!(run(&after), run(&before), "{point}: {kind} was over"),
                false => assert!(
                    (1..=most.max(once)).contains(&run(&after)),
                    "{point}: {kind}"
                ),
            }
        }
        assert_eq!(rows(home).len(), KINDS.len(), "{point}");
    }
}
