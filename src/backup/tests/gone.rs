//! Servers that are not there to be dumped: not ready, or removed.

use super::*;
use crate::jobs::{JobContext, Outcome};

async fn run(a: &Machine, backup: i64) -> Outcome {
    let context = JobContext {
        id: 1,
        key: "backup:3".into(),
        attempt: 1,
        cancel: Default::default(),
    };
    let payload = serde_json::json!({ "backup": backup });
    a.backups.run_backup(context, payload).await
}

async fn backups(a: &Machine) -> Vec<(i64, BackupState)> {
    let all = a.db.read(|c| {
        let mut statement = c.prepare("SELECT id, state FROM backups ORDER BY id")?;
        let rows = statement.query_map([], |r| Ok((r.get(0)?, r.get::<_, String>(1)?)))?;
        Ok::<_, DbError>(rows.collect::<Result<Vec<(i64, String)>, _>>()?)
    });
    let all = all.await.unwrap().into_iter();
    all.map(|(id, word)| (id, BackupState::parse(&word).unwrap()))
        .collect()
}

/// What the last of many looks says, and whether they wrote (almost) nothing: others write now and then.
async fn looks(a: &Machine, at: UnixMs) -> (Option<UnixMs>, bool) {
    let commits = a.db.commits();
    let before = *commits.borrow();
    let mut last = None;
    for _ in 0..50 {
        last = a.backups.look(at).await.unwrap();
    }
    let written = *commits.borrow() - before;
    (last, written < 10)
}

#[tokio::test]
async fn f6_a_server_that_is_not_ready_at_its_minute_is_no_work_until_it_is() {
    let a = a_box().await;
    let next = a.backups.look(UnixMs::now()).await.unwrap().unwrap();
    a.server.ready.store(false, Ordering::SeqCst);
    // Looked at again when the loop looks anyway, not at once; and nothing is written: every commit wakes others.
    let quiet = looks(&a, next).await;
    assert_eq!(quiet, (None, true));
    assert_eq!(a.backups.schedule(3).await.unwrap().next_due, next);
    a.server.ready.store(true, Ordering::SeqCst);
    let missed = a.backups.look(next).await.unwrap();
    assert!(missed.unwrap() > next, "what was missed is done");
    // A schedule whose server is gone goes, once.
    a.server.removed.store(true, Ordering::SeqCst);
    assert!(looks(&a, next).await.1);
    let left = a.db.read(store::scheduled).await.unwrap();
    assert_eq!(left, [] as [i64; 0]);
}

#[tokio::test]
async fn f6_a_removed_database_fails_no_backups() {
    use BackupState::{Failed, Queued, Running};
    let a = a_box().await;
    let born = UnixMs::now();
    a_night(&a, born, &[("blog", Queued), ("shop", Running)]).await;
    a.server.removed.store(true, Ordering::SeqCst);
    assert_eq!(run(&a, 1).await, Outcome::Done, "not begun");
    assert_eq!(run(&a, 2).await, Outcome::Done, "in work");
    assert_eq!(backups(&a).await, [(2, Failed)], "and nothing is retried");
    assert_eq!(told(&a.db, "backup.failed").await, 0);
    // The same where the server is there is told and tried again.
    a.server.removed.store(false, Ordering::SeqCst);
    a_night(&a, born, &[("wiki", Running)]).await;
    assert!(matches!(run(&a, 3).await, Outcome::Failed(_)));
    let left = backups(&a).await;
    assert_eq!(left, [(2, Failed), (3, Failed), (4, Queued)]);
    assert_eq!(told(&a.db, "backup.failed").await, 1);
}
