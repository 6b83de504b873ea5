//! The queue's promises.

use super::*;
use crate::base::shutdown::Shutdown;
use crate::db::Kind;
use std::sync::atomic::{AtomicU32, Ordering};

/// More than any work of these tests takes.
const AMPLE: Duration = Duration::from_secs(600);

fn row(id: i64, key: &str, state: State, run_at: i64) -> JobRow {
    JobRow {
        id,
        kind: "deploy".into(),
        key: key.into(),
        payload: serde_json::Value::Null,
        state,
        run_at: UnixMs(run_at),
        attempts: 0,
    }
}

fn ids(due: &[JobRow]) -> Vec<i64> {
    due.iter().map(|j| j.id).collect()
}

#[test]
fn one_at_a_time_per_key_and_in_order() {
    let open = [
        row(1, "app:1", State::Running, 0),
        row(2, "app:1", State::Queued, 0),
        row(3, "app:2", State::Queued, 0),
        row(4, "app:2", State::Queued, 0),
        row(5, "app:3", State::Queued, 99),
    ];
    let (due, next) = choose(&open, &HashSet::new(), &HashSet::new(), UnixMs(10));
    assert_eq!(ids(&due), [3]);
    assert_eq!(next, Some(UnixMs(99)));
}

#[test]
fn f8_a_job_that_was_begun_is_not_overtaken_while_it_waits() {
    let begun = |attempts| {
        let mut first = row(1, "app:1", State::Queued, 50);
        first.attempts = attempts;
        [first, row(2, "app:1", State::Queued, 0)]
    };
    let none = HashSet::new();
    let choose = |open: &[JobRow], yielding: &HashSet<&'static str>, now| {
        super::choose(open, yielding, &HashSet::new(), now)
    };
    let (due, next) = choose(&begun(1), &none, UnixMs(10));
    assert_eq!((ids(&due), next), (vec![], Some(UnixMs(50))));
    assert_eq!(ids(&choose(&begun(1), &none, UnixMs(50)).0), [1]);
    // The other way round it is the same job that goes on first.
    let mut turned = begun(1);
    turned[0].id = 3;
    turned.reverse();
    assert_eq!(ids(&choose(&turned, &none, UnixMs(50)).0), [3]);
    // One that was never begun, whose kind lets go, or that gets nowhere, is overtaken.
    assert_eq!(ids(&choose(&begun(0), &none, UnixMs(10)).0), [2]);
    let yielding = HashSet::from(["deploy"]);
    assert_eq!(ids(&choose(&begun(1), &yielding, UnixMs(10)).0), [2]);
    assert_eq!(ids(&choose(&begun(HELD_TRIES), &none, UnixMs(10)).0), [2]);
}

#[test]
fn n7_what_waits_for_a_word_keeps_its_key_from_nothing() {
    let mut open = [
        row(1, "db:1", State::Queued, 0),
        row(2, "db:1", State::Queued, 0),
    ];
    let (none, waiting) = (HashSet::new(), HashSet::from([1]));
    assert_eq!(ids(&choose(&open, &none, &waiting, UnixMs(9)).0), [2]);
    open[0].attempts = 1;
    assert_eq!(ids(&choose(&open, &none, &waiting, UnixMs(9)).0), [2]);
    // Once the word is given, what was begun goes first.
    let nobody = HashSet::new();
    assert_eq!(ids(&choose(&open, &none, &nobody, UnixMs(9)).0), [1]);
}

/// A restore that was done, and whose end the disk took with the state, would overwrite what came since.
#[tokio::test]
async fn n7_after_a_recovery_with_losses_what_destroys_waits_for_a_word() {
    let folder = tempfile::tempdir().unwrap();
    let db = Db::open(&folder.path().join("state.db"), Kind::State).unwrap();
    let short = |losses: bool| {
        db.write(move |tx| {
            tx.execute(
                "INSERT INTO recoveries (id, at_ms, why, snapshot_ms, replayed, aside, containers)
                 VALUES (?1, 1, 'it was gone', 1, 0, '', 0)",
                [i64::from(losses) + 1],
            )?;
            if losses {
                tx.execute("INSERT INTO recovery_losses VALUES (2, 0, 'Change 2')", [])?;
            }
            Ok::<_, DbError>(())
        })
    };
    let done = Arc::new(Mutex::new(Vec::new()));
    let mut handlers = Handlers::default();
    for kind in ["restore", "backup"] {
        let done = Arc::clone(&done);
        handlers.on(kind, AMPLE, move |_, _| {
            done.lock().unwrap().push(kind);
            async { Outcome::Done }
        });
    }
    handlers.on("making", AMPLE, |_, _| async { Outcome::Done });
    handlers.destroys("restore");
    handlers.destroys_when("making", |_, payload| Ok(payload["removes"] == true));
    // Nothing is missing: everything goes on.
    short(false).await.unwrap();
    let first = queue(&db, "restore", "a").await;
    let tasks = Tasks::new(Shutdown::new());
    let _jobs = Jobs::start(db.clone(), handlers, &tasks).await.unwrap();
    until(&db, first, "done").await;
    short(true).await.unwrap();
    let second = queue(&db, "restore", "a").await;
    let third = queue(&db, "backup", "a").await;
    until(&db, third, "done").await;
    // Of a kind that destroys by its row, what does not is done.
    let making = |removes: bool| {
        let job = NewJob {
            kind: "making",
            key: "b".into(),
            payload: serde_json::json!({ "removes": removes }),
            run_at: UnixMs(0),
        };
        db.write(move |tx| enqueue(tx, UnixMs::now(), &job))
    };
    let removes: Result<i64, DbError> = making(true).await;
    let removes = removes.unwrap();
    let makes: Result<i64, DbError> = making(false).await;
    until(&db, makes.unwrap(), "done").await;
    let told = db.read(move |c| by_id(c, removes)).await.unwrap().unwrap();
    assert_eq!(told.state, "queued");
    let mut why = None;
    for _ in 0..6_000 {
        let told = db.read(move |c| by_id(c, second)).await.unwrap().unwrap();
        assert_eq!(told.state, "queued");
        why = told.error;
        if why.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(why.unwrap().contains("freehold doctor --confirm"));
    assert_eq!(*done.lock().unwrap(), ["restore", "backup"]);
    let confirmed: Result<usize, DbError> = db
        .write(|tx| crate::db::confirm_recoveries(tx, UnixMs::now()))
        .await;
    confirmed.unwrap();
    until(&db, second, "done").await;
}

#[tokio::test]
async fn f8_work_that_comes_again_ends_before_later_work_of_its_key_begins() {
    let folder = tempfile::tempdir().unwrap();
    let db = Db::open(&folder.path().join("state.db"), Kind::State).unwrap();
    let done = Arc::new(Mutex::new(Vec::new()));
    let mut handlers = Handlers::default();
    let seen = Arc::clone(&done);
    handlers.on("patient", AMPLE, move |context: JobContext, _| {
        let seen = Arc::clone(&seen);
        async move {
            let mut seen = seen.lock().unwrap();
            seen.push(format!("{} try {}", context.key, context.attempt));
            if context.attempt < 3 {
                return Outcome::Again {
                    at: UnixMs::now().plus(Duration::from_millis(100)),
                    why: "not yet".into(),
                };
            }
            Outcome::Done
        }
    });
    let seen = Arc::clone(&done);
    handlers.on("later", AMPLE, move |context: JobContext, _| {
        seen.lock().unwrap().push(format!("{} later", context.key));
        async { Outcome::Done }
    });
    let first = queue(&db, "patient", "a").await;
    let second = queue(&db, "later", "a").await;
    let tasks = Tasks::new(Shutdown::new());
    let _jobs = Jobs::start(db.clone(), handlers, &tasks).await.unwrap();
    until(&db, second, "done").await;
    assert_eq!(state_of(&db, first).await, "done");
    assert_eq!(
        *done.lock().unwrap(),
        ["a try 1", "a try 2", "a try 3", "a later"]
    );
    assert!(tasks.finish(Duration::from_secs(60)).await);
}

#[tokio::test]
async fn f8_what_a_panicking_job_leaves_is_reaped_at_the_start_and_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let db = Db::open(&folder.path().join("state.db"), Kind::State).unwrap();
    let open = Arc::new(Mutex::new(Vec::new()));
    let mut handlers = Handlers::default();
    handlers.on("panics", AMPLE, |_, _| async { panic!("on purpose") });
    let (seen, from) = (Arc::clone(&open), db.clone());
    handlers.reap(move || {
        let (seen, from) = (Arc::clone(&seen), from.clone());
        async move {
            let found = from.read(|c| worked_on(c, "panics", "row")).await;
            let found: Result<HashSet<i64>, DbError> = found;
            seen.lock().unwrap().push(found.unwrap());
        }
    });
    let bad = db
        .write(|tx| {
            let job = NewJob {
                kind: "panics",
                key: "a".into(),
                payload: serde_json::json!({ "row": 7 }),
                // Not before the first reaping has looked.
                run_at: UnixMs::now().plus(Duration::from_secs(3)),
            };
            enqueue(tx, UnixMs(0), &job)
        })
        .await
        .unwrap();
    let tasks = Tasks::new(Shutdown::new());
    let _jobs = Jobs::start(db.clone(), handlers, &tasks).await.unwrap();
    until(&db, bad, "failed").await;
    for _ in 0..6_000 {
        if open.lock().unwrap().len() == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(
        *open.lock().unwrap(),
        [HashSet::from([7]), HashSet::new()],
        "while the job is open its row is its own"
    );
    assert!(tasks.finish(Duration::from_secs(60)).await);
}

async fn queue(db: &Db, kind: &'static str, key: &str) -> i64 {
    let key = key.to_owned();
    db.write(move |tx| {
        enqueue(
            tx,
            UnixMs(0),
            &NewJob {
                kind,
                key,
                payload: serde_json::json!({}),
                run_at: UnixMs(0),
            },
        )
    })
    .await
    .unwrap()
}

async fn state_of(db: &Db, id: i64) -> String {
    db.read(move |c| {
        Ok::<_, DbError>(c.query_row("SELECT state FROM jobs WHERE id = ?1", [id], |r| r.get(0))?)
    })
    .await
    .unwrap()
}

async fn until(db: &Db, id: i64, wanted: &str) {
    for _ in 0..6_000 {
        if state_of(db, id).await == wanted {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("job {id} is {} and not {wanted}", state_of(db, id).await);
}

#[tokio::test]
async fn f8_a_job_cut_by_a_crash_is_taken_up_and_a_panic_is_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let db = Db::open(&folder.path().join("state.db"), Kind::State).unwrap();
    let cut = queue(&db, "count", "a").await;
    db.write(move |tx| store::mark_running(tx, cut, UnixMs(1)))
        .await
        .unwrap();
    let bad = queue(&db, "panics", "b").await;
    let runs = Arc::new(AtomicU32::new(0));
    let seen = Arc::clone(&runs);
    let mut handlers = Handlers::default();
    handlers.on("count", AMPLE, move |context, _| {
        seen.store(context.attempt, Ordering::SeqCst);
        async { Outcome::Done }
    });
    handlers.on("panics", AMPLE, |_, _| async { panic!("on purpose") });
    let tasks = Tasks::new(Shutdown::new());
    let _jobs = Jobs::start(db.clone(), handlers, &tasks).await.unwrap();
    until(&db, cut, "done").await;
    assert_eq!(runs.load(Ordering::SeqCst), 2);
    until(&db, bad, "failed").await;
    assert!(tasks.finish(Duration::from_secs(60)).await);
}

#[tokio::test]
async fn a_running_job_is_cancelled_by_its_token() {
    let folder = tempfile::tempdir().unwrap();
    let db = Db::open(&folder.path().join("state.db"), Kind::State).unwrap();
    let mut handlers = Handlers::default();
    handlers.on("waits", AMPLE, |context: JobContext, _| async move {
        context.cancel.cancelled().await;
        Outcome::Failed("cancelled".into())
    });
    let tasks = Tasks::new(Shutdown::new());
    let jobs = Jobs::start(db.clone(), handlers, &tasks).await.unwrap();
    let id = queue(&db, "waits", "a").await;
    until(&db, id, "running").await;
    jobs.cancel(id).await.unwrap();
    until(&db, id, "failed").await;
    assert!(tasks.finish(Duration::from_secs(60)).await);
}

#[tokio::test]
async fn n7_what_is_stored_waits_as_long_as_it_had_to() {
    let folder = tempfile::tempdir().unwrap();
    let db = Db::open(&folder.path().join("state.db"), crate::db::Kind::State).unwrap();
    const HOUR: i64 = 3_600_000;
    let now = UnixMs(100 * HOUR);
    // Each: queued at, begun at, due at; the clock's jump; when it is due then.
    let ahead = 100 * HOUR + HOUR;
    for (created, begun, due, by, then) in [
        (ahead, None, ahead + 5_000, Some(-HOUR), now.0 + 5_000),
        (
            10 * HOUR,
            Some(20 * HOUR),
            ahead + 60_000,
            Some(-HOUR),
            now.0 + 60_000,
        ),
        (
            ahead - 9_000,
            Some(ahead - 8_000),
            ahead - 2_000,
            Some(-HOUR),
            now.0,
        ),
        (ahead, Some(ahead), ahead + 5_000, None, now.0),
        (
            99 * HOUR,
            Some(99 * HOUR),
            now.0 + 7_000,
            None,
            now.0 + 7_000,
        ),
        (99 * HOUR, None, now.0 + 7_000, Some(HOUR), now.0 + 7_000),
    ] {
        let found: Result<i64, DbError> = db
            .write(move |tx| {
                tx.execute("DELETE FROM jobs", [])?;
                tx.execute(
                    "INSERT INTO jobs (kind, key, payload, state, run_at_ms, created_ms, started_ms)
                     VALUES ('x', 'x', '{}', 'queued', ?1, ?2, ?3)",
                    rusqlite::params![due, created, begun],
                )?;
                clock_set(tx, by, now)?;
                Ok(tx.query_row("SELECT run_at_ms FROM jobs", [], |row| row.get(0))?)
            })
            .await;
        assert_eq!(found.unwrap(), then, "{created} {begun:?} {due} {by:?}");
    }
}

#[tokio::test]
async fn n6_work_that_never_ends_is_stopped_at_its_limit_told_and_reaped() {
    struct Dropped(Arc<AtomicU32>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let db = Db::open(&folder.path().join("state.db"), Kind::State).unwrap();
    let (dropped, reaped) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let mut handlers = Handlers::default();
    let seen = Arc::clone(&dropped);
    handlers.on("stuck", Duration::from_millis(300), move |_, _| {
        let held = Dropped(Arc::clone(&seen));
        async move {
            let _held = held;
            std::future::pending::<Outcome>().await
        }
    });
    let later = Arc::clone(&dropped);
    handlers.on("later", AMPLE, move |_, _| {
        // Its key is free when what had it is gone.
        let gone = later.load(Ordering::SeqCst) == 1;
        async move {
            match gone {
                true => Outcome::Done,
                false => Outcome::Failed("the work goes on".into()),
            }
        }
    });
    let count = Arc::clone(&reaped);
    handlers.reap(move || {
        count.fetch_add(1, Ordering::SeqCst);
        async {}
    });
    let stuck = queue(&db, "stuck", "a").await;
    let next = queue(&db, "later", "a").await;
    let tasks = Tasks::new(Shutdown::new());
    let _jobs = Jobs::start(db.clone(), handlers, &tasks).await.unwrap();
    until(&db, next, "done").await;
    let told = db.read(move |c| by_id(c, stuck)).await;
    let told: Result<Option<Told>, DbError> = told;
    let told = told.unwrap().unwrap();
    assert_eq!(told.state, "failed");
    assert!(told.error.unwrap().contains("did not end within"));
    for _ in 0..6_000 {
        if reaped.load(Ordering::SeqCst) >= 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(
        reaped.load(Ordering::SeqCst),
        2,
        "at the start and after it"
    );
    assert!(tasks.finish(Duration::from_secs(60)).await);
}

#[tokio::test]
async fn n6_the_reaper_comes_by_the_clock_too() {
    let folder = tempfile::tempdir().unwrap();
    let db = Db::open(&folder.path().join("state.db"), Kind::State).unwrap();
    let reaped = Arc::new(AtomicU32::new(0));
    let mut handlers = Handlers::default();
    assert_eq!(handlers.reap_every, Duration::from_secs(60));
    handlers.reap_every = Duration::from_millis(20);
    let count = Arc::clone(&reaped);
    handlers.reap(move || {
        count.fetch_add(1, Ordering::SeqCst);
        async {}
    });
    let tasks = Tasks::new(Shutdown::new());
    let _jobs = Jobs::start(db, handlers, &tasks).await.unwrap();
    for _ in 0..6_000 {
        if reaped.load(Ordering::SeqCst) >= 3 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(reaped.load(Ordering::SeqCst) >= 3);
    assert!(tasks.finish(Duration::from_secs(60)).await);
}
