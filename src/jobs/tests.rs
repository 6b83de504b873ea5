//! The queue's promises.

use super::*;
use crate::base::shutdown::Shutdown;
use crate::db::Kind;
use std::sync::atomic::{AtomicU32, Ordering};

fn row(id: i64, key: &str, state: State, run_at: i64) -> JobRow {
    JobRow {
        id,
        kind: "deploy".into(),
        key: key.into(),
        payload: serde_json::Value::Null,
        state,
        run_at: UnixMs(run_at),
    }
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
    let (due, next) = choose(&open, UnixMs(10));
    assert_eq!(due.iter().map(|j| j.id).collect::<Vec<_>>(), [3]);
    assert_eq!(next, Some(UnixMs(99)));
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
    for _ in 0..500 {
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
    handlers.on("count", move |context, _| {
        seen.store(context.attempt, Ordering::SeqCst);
        async { Outcome::Done }
    });
    handlers.on("panics", |_, _| async { panic!("on purpose") });
    let tasks = Tasks::new(Shutdown::new());
    let _jobs = Jobs::start(db.clone(), handlers, &tasks).await.unwrap();
    until(&db, cut, "done").await;
    assert_eq!(runs.load(Ordering::SeqCst), 2);
    until(&db, bad, "failed").await;
    assert!(tasks.finish(Duration::from_secs(2)).await);
}

#[tokio::test]
async fn a_running_job_is_cancelled_by_its_token() {
    let folder = tempfile::tempdir().unwrap();
    let db = Db::open(&folder.path().join("state.db"), Kind::State).unwrap();
    let mut handlers = Handlers::default();
    handlers.on("waits", |context: JobContext, _| async move {
        context.cancel.cancelled().await;
        Outcome::Failed("cancelled".into())
    });
    let tasks = Tasks::new(Shutdown::new());
    let jobs = Jobs::start(db.clone(), handlers, &tasks).await.unwrap();
    let id = queue(&db, "waits", "a").await;
    until(&db, id, "running").await;
    jobs.cancel(id).await.unwrap();
    until(&db, id, "failed").await;
    assert!(tasks.finish(Duration::from_secs(2)).await);
}
