//! A backup that is taken back while it is being made.

use super::*;
use crate::jobs::{self, JobContext, Outcome};

/// The newest job of a kind, begun, as the queue would.
pub(super) async fn begun(a: &Machine, kind: &'static str) -> (JobContext, serde_json::Value) {
    let taken: Result<(i64, String), DbError> =
        a.db.write(move |tx| {
            Ok(tx.query_row(
                "UPDATE jobs SET state = 'running', attempts = 1
                 WHERE id = (SELECT max(id) FROM jobs WHERE kind = ?1) RETURNING id, payload",
                [kind],
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

/// The server was asked for something, and waits at the gate.
async fn is_asked(a: &Machine) {
    let waited = tokio::time::timeout(Duration::from_secs(20), async {
        while !a.server.asked.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    waited.await.expect("the work is begun");
}

/// A stored backup with its object.
async fn a_stored(a: &Machine) {
    std::fs::create_dir(a.folder.path().join("backups")).unwrap();
    a_night(a, UnixMs::now(), &[("shop", BackupState::Stored)]).await;
    let backup = a.backups.find(1).await.unwrap();
    let objects = a.backups.store(backup.target).await.unwrap();
    objects.put(&backup.key, "PGDMP".into()).await.unwrap();
}

#[tokio::test]
async fn a1_a_check_that_runs_is_cancelled_and_says_nothing_of_the_backup() {
    let a = a_box().await;
    a_stored(&a).await;
    a.backups.verify(1).await.unwrap();
    let hold = a.server.gate.acquire().await.unwrap();
    let (context, payload) = begun(&a, crate::backup::CHECK_JOB).await;
    let (job, stop) = (context.id, context.cancel.clone());
    let this = a.backups.clone();
    let work = tokio::spawn(async move {
        let _in_work = this.takes_up(job, context.cancel.clone());
        this.run_check(context, payload).await
    });
    is_asked(&a).await;
    a.backups.cancel(job, "ana").await.unwrap();
    assert!(stop.is_cancelled(), "its container is told to end");
    drop(hold);
    assert_eq!(work.await.unwrap(), Outcome::Cancelled);
    let now = a.backups.find(1).await.unwrap();
    assert_eq!((now.check_state, now.check_note), (None, None));
    assert_eq!(now.state, BackupState::Stored);
    assert_eq!(told(&a.db, "backup.cancelled").await, 1);
    assert_eq!(told(&a.db, "backup.damaged").await, 0);
    assert!(a.backups.cancel(job, "ana").await.is_err(), "it is over");
}

#[tokio::test]
async fn a1_of_one_backup_one_check_runs_and_its_end_is_not_begun_again() {
    let a = a_box().await;
    a_stored(&a).await;
    a.backups.verify(1).await.unwrap();
    a.backups.verify(1).await.unwrap();
    let count = |kind: &'static str| {
        a.db.read(move |c| {
            let all = "SELECT count(*) FROM jobs WHERE kind = ?1";
            Ok::<i64, DbError>(c.query_row(all, [kind], |r| r.get(0))?)
        })
    };
    assert_eq!(count(crate::backup::CHECK_JOB).await.unwrap(), 1);
    // Ended, and killed before the queue wrote it: the row says how.
    let (context, payload) = begun(&a, crate::backup::CHECK_JOB).await;
    for (state, ended) in [
        (None, Outcome::Cancelled),
        (Some("good"), Outcome::Done),
        (Some("bad"), Outcome::Failed("torn".into())),
    ] {
        let written: Result<(), DbError> =
            a.db.write(move |tx| {
                let set = "UPDATE backups SET check_state = ?1, check_note = 'torn'";
                tx.execute(set, [state])?;
                Ok(())
            })
            .await;
        written.unwrap();
        let again = a.backups.run_check(context.clone(), payload.clone()).await;
        assert_eq!(again, ended);
    }
    assert!(!a.server.asked.load(Ordering::SeqCst));
}

/// The daemon's own end, and a store that is away, are no damage of a backup.
#[tokio::test]
async fn f6_a_check_that_could_not_run_calls_no_backup_damaged() {
    let a = a_box().await;
    a_stored(&a).await;
    a.backups.verify(1).await.unwrap();
    let (mut context, payload) = begun(&a, crate::backup::CHECK_JOB).await;
    context.cancel.cancel();
    let outcome = a.backups.run_check(context.clone(), payload.clone()).await;
    assert!(matches!(outcome, Outcome::Again { .. }), "{outcome:?}");
    let now = a.backups.find(1).await.unwrap();
    assert_eq!(now.check_state.as_deref(), Some("running"));
    context.cancel = Default::default();
    // The server is away, which passes.
    a.server.away.store(true, Ordering::SeqCst);
    for (attempt, tried_again) in [(1, true), (5, false)] {
        context.attempt = attempt;
        let outcome = a.backups.run_check(context.clone(), payload.clone()).await;
        assert_eq!(
            matches!(outcome, Outcome::Again { .. }),
            tried_again,
            "{outcome:?}"
        );
    }
    let now = a.backups.find(1).await.unwrap();
    assert_eq!((now.check_state, now.check_note), (None, None));
    assert_eq!(told(&a.db, "backup.check_failed").await, 1);
    assert_eq!(told(&a.db, "backup.damaged").await, 0);
}

#[tokio::test]
async fn a1_a_restore_that_loads_is_cancelled_and_the_live_database_is_not_touched() {
    let a = a_box().await;
    a_stored(&a).await;
    let restore = a.backups.restore(1, None, "ana").await.unwrap().id;
    let hold = a.server.gate.acquire().await.unwrap();
    let (mut context, payload) = begun(&a, crate::backup::RESTORE_JOB).await;
    // What it loaded cannot be dropped here; the last try ends it all the same.
    context.attempt = 5;
    let job = context.id;
    let (this, once_more) = (a.backups.clone(), (context.clone(), payload.clone()));
    let work = tokio::spawn(async move {
        let _in_work = this.takes_up(job, context.cancel.clone());
        this.run_restore(context, payload).await
    });
    is_asked(&a).await;
    a.backups.cancel(job, "ana").await.unwrap();
    drop(hold);
    assert_eq!(work.await.unwrap(), Outcome::Cancelled);
    let ended = a.backups.find_restore(restore).await.unwrap();
    assert_eq!(ended.state, RestoreState::Failed);
    assert!(ended.is_cancelled(), "{:?}", ended.reason);
    assert_eq!(told(&a.db, "restore.cancelled").await, 1);
    assert_eq!(told(&a.db, "restore.failed").await, 0);
    assert!(a.backups.cancel(job, "ana").await.is_err(), "it is over");
    // Taken up once more after a crash between the row's end and the job's.
    let (context, payload) = once_more;
    let again = a.backups.run_restore(context, payload).await;
    assert_eq!(again, Outcome::Cancelled);
}

/// The wish stands in the row: a crash forgets it not, and from the swap on there is none.
#[tokio::test]
async fn a1_a_restore_is_cancelled_until_it_takes_the_live_ones_name() {
    for (state, taken_back) in [
        (RestoreState::Loading, true),
        (RestoreState::Comparing, true),
        (RestoreState::Swapping, false),
    ] {
        let a = a_box().await;
        a_stored(&a).await;
        let restore = a.backups.restore(1, None, "ana").await.unwrap().id;
        let (mut context, payload) = begun(&a, crate::backup::RESTORE_JOB).await;
        context.attempt = 5;
        let written: Result<(), DbError> =
            a.db.write(move |tx| store::set_restore_state(tx, restore, state, None, UnixMs(1)))
                .await;
        written.unwrap();
        let wished = a.backups.cancel(context.id, "ana").await;
        assert_eq!(wished.is_ok(), taken_back, "{state:?}");
        if taken_back {
            let outcome = a.backups.run_restore(context, payload).await;
            assert_eq!(outcome, Outcome::Cancelled, "{state:?}");
        }
    }
}

#[tokio::test]
async fn a1_a_backup_that_is_being_made_is_cancelled_and_not_tried_again() {
    let a = a_box().await;
    std::fs::create_dir(a.folder.path().join("backups")).unwrap();
    a_night(&a, UnixMs::now(), &[("shop", BackupState::Running)]).await;
    let hold = a.server.gate.acquire().await.unwrap();
    let (context, payload) = begun(&a, crate::backup::BACKUP_JOB).await;
    let (job, stop) = (context.id, context.cancel.clone());
    let this = a.backups.clone();
    let work = tokio::spawn(async move {
        let _in_work = this.takes_up(job, context.cancel.clone());
        this.run_backup(context, payload).await
    });
    is_asked(&a).await;
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
            Some("cancelled by ana while it was in work")
        )
    );
    assert!(a.backups.find(2).await.is_err(), "and no other try");
    assert_eq!(told(&a.db, "backup.cancelled").await, 1);
    assert_eq!(told(&a.db, "backup.failed").await, 0);
    assert!(a.backups.cancel(job, "ana").await.is_err(), "it is over");
}

/// An engine that is away has not said that the dump's container is gone: it may well run, and is waited for.
#[tokio::test]
async fn n6_a_backup_whose_container_may_live_is_not_told_as_cancelled() {
    let a = a_box().await;
    std::fs::create_dir(a.folder.path().join("backups")).unwrap();
    a_night(&a, UnixMs::now(), &[("shop", BackupState::Running)]).await;
    let (context, payload) = begun(&a, crate::backup::BACKUP_JOB).await;
    let row = async |sql: &'static str| {
        let written: Result<(), DbError> =
            a.db.write(move |tx| Ok(tx.execute(sql, []).map(drop)?))
                .await;
        written.unwrap();
    };
    row(
        "INSERT INTO containers (name, kind, owner, spec, spec_hash, desired, grace_ms, created_ms)
         VALUES ('dump-1-1', 'job', 'database:3', x'', '', 'gone', 0, 1)",
    )
    .await;
    a.backups.cancel(context.id, "ana").await.unwrap();
    let this = a.backups.clone();
    let mut work = tokio::spawn(async move { this.run_backup(context, payload).await });
    // Without the row it is over at once, as everywhere else here.
    tokio::select! {
        ended = &mut work => panic!("{ended:?} while it may live"),
        () = tokio::time::sleep(Duration::from_secs(1)) => {}
    }
    assert!(!a.backups.find(1).await.unwrap().state.is_ended());
    row("DELETE FROM containers").await;
    assert_eq!(work.await.unwrap(), Outcome::Cancelled);
    assert_eq!(told(&a.db, "backup.cancelled").await, 1);
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
    let (context, payload) = begun(&a, crate::backup::BACKUP_JOB).await;
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

/// Begun before the state was made anew with something missing, it is not begun again without a word, but to be ended.
#[tokio::test]
async fn n7_a_restore_that_waits_for_a_word_is_taken_back_without_it() {
    let a = a_box().await;
    a_stored(&a).await;
    let restore = a.backups.restore(1, None, "ana").await.unwrap();
    let (context, payload) = begun(&a, crate::backup::RESTORE_JOB).await;
    let overwrites = async || {
        let payload = payload.clone();
        let overwrites =
            a.db.read(move |c| crate::backup::restore::overwrites(c, &payload))
                .await;
        let overwrites: Result<bool, DbError> = overwrites;
        overwrites.unwrap()
    };
    assert!(overwrites().await);
    a.backups.cancel(context.id, "ana").await.unwrap();
    assert!(!overwrites().await);
    let ended = a.backups.run_restore(context, payload.clone()).await;
    assert_eq!(ended, Outcome::Cancelled);
    let restore = a.backups.find_restore(restore.id).await.unwrap();
    assert_eq!(restore.state, RestoreState::Failed);
}
