//! A backup that is taken back while it is being made.

use super::*;
use crate::jobs::{self, JobContext, Outcome};

/// The job of the newest backup, begun, as the queue would.
async fn begun(a: &Machine) -> (JobContext, serde_json::Value) {
    let taken: Result<(i64, String), DbError> =
        a.db.write(|tx| {
            Ok(tx.query_row(
                "UPDATE jobs SET state = 'running', attempts = 1
                 WHERE id = (SELECT max(id) FROM jobs WHERE kind = 'backup') RETURNING id, payload",
                [],
                |r| Ok((r.get(0)?, r.get(1)?)),
            )?)
        })
        .await;
    let (id, payload) = taken.unwrap();
    let context = JobContext {
        id,
        key: "backup:3".into(),
        attempt: 1,
        cancel: Default::default(),
    };
    (context, serde_json::from_str(&payload).unwrap())
}

#[tokio::test]
async fn a1_a_backup_that_is_being_made_is_cancelled_and_not_tried_again() {
    let a = a_box().await;
    std::fs::create_dir(a.folder.path().join("backups")).unwrap();
    a_night(&a, UnixMs::now(), &[("shop", BackupState::Running)]).await;
    let hold = a.server.gate.acquire().await.unwrap();
    let (context, payload) = begun(&a).await;
    let (job, stop) = (context.id, context.cancel.clone());
    let this = a.backups.clone();
    let work = tokio::spawn(async move {
        this.takes_up(job, context.cancel.clone());
        this.run_backup(context, payload).await
    });
    let waited = tokio::time::timeout(Duration::from_secs(20), async {
        while !a.server.asked.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    waited.await.expect("the dump is begun");
    a.backups.cancel(job, "ana").await.unwrap();
    a.backups.cancel(job, "ben").await.unwrap();
    assert!(stop.is_cancelled(), "its container is told to end");
    drop(hold);
    assert_eq!(work.await.unwrap(), Outcome::Cancelled);
    let ended = a.backups.find(1).await.unwrap();
    let reason = ended.reason.as_deref();
    assert_eq!(
        (ended.state, reason),
        (
            BackupState::Failed,
            Some("cancelled by ana while it was being made")
        )
    );
    assert!(a.backups.find(2).await.is_err(), "and no other try");
    assert_eq!(told(&a.db, "backup.cancelled").await, 1);
    assert_eq!(told(&a.db, "backup.failed").await, 0);
    a.backups.lets_go(job);
    assert!(a.backups.cancel(job, "ana").await.is_err(), "it is over");
}

/// The daemon dies between the wish and its end: the wish stands in the row, and what was stored is taken back.
#[tokio::test]
async fn a1_a_cancelled_backup_is_not_taken_up_again_after_a_crash() {
    // Of a folder's file nothing is noted while it is written.
    is_not_taken_up_again(&[("shop", BackupState::Running)]).await;
    is_not_taken_up_again(&[("shop", BackupState::Verifying)]).await;
}

async fn is_not_taken_up_again(night: &'static [(&'static str, BackupState)]) {
    let a = a_box().await;
    std::fs::create_dir(a.folder.path().join("backups")).unwrap();
    a_night(&a, UnixMs::now(), night).await;
    let backup = a.backups.find(1).await.unwrap();
    let objects = a.backups.store(backup.target).await.unwrap();
    objects.put(&backup.key, "PGDMP".into()).await.unwrap();
    let (context, payload) = begun(&a).await;
    let job = context.id;
    let waits: Result<(), DbError> =
        a.db.write(move |tx| {
            tx.execute("UPDATE jobs SET state = 'queued', run_at_ms = 1 << 60", [])?;
            Ok(())
        })
        .await;
    waits.unwrap();
    a.backups.cancel(job, "ana").await.unwrap();
    // Whoever waits for its end does not wait for the next try's time.
    let due = a.db.read(move |c| {
        let due = "SELECT run_at_ms FROM jobs WHERE id = ?1";
        Ok::<i64, DbError>(c.query_row(due, [job], |r| r.get(0))?)
    });
    assert!(due.await.unwrap() <= UnixMs::now().0);
    assert!(!a.backups.find(1).await.unwrap().state.is_ended());
    assert_eq!(
        a.backups.run_backup(context.clone(), payload.clone()).await,
        Outcome::Cancelled
    );
    assert_eq!(
        a.backups.run_backup(context, payload).await,
        Outcome::Cancelled
    );
    assert_eq!(told(&a.db, "backup.cancelled").await, 1);
    assert_eq!(objects.head(&backup.key).await.unwrap(), None);
    let row = a.db.read(move |c| jobs::by_id(c, job)).await;
    let row: Option<jobs::Told> = Result::<_, DbError>::unwrap(row);
    assert_eq!(row.unwrap().state, "queued", "the queue writes its end");
}
