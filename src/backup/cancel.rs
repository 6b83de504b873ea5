//! Taking back what waits: a backup, a check or a restore whose work has not begun. Nothing was done
//! yet, so nothing is left half done; its row ends in the transaction that takes the job back. What has
//! begun goes on to its end.

use super::error::BackupError;
use super::state::{BackupState, RestoreState};
use super::{BACKUP_JOB, Backups, CHECK_JOB, RESTORE_JOB, number, store, store_open};
use crate::base::clock::UnixMs;
use crate::base::crash_point;
use crate::db::DbError;
use crate::events::{self, Level, NewEvent};
use crate::jobs;

/// How the reason of what was taken back begins: it is no failure to be warned of.
pub(super) const TAKEN_BACK: &str = "cancelled by ";

impl Backups {
    /// Takes the job back, and ends what it was to do.
    ///
    /// # Errors
    /// [`BackupError::Conflict`] when it has begun, or is none of ours.
    pub async fn cancel(&self, job: i64, by: &str) -> Result<(), BackupError> {
        let reason = format!("{TAKEN_BACK}{by} before it began");
        let found = self.db.read(move |c| jobs::by_id(c, job)).await;
        let found = found.map_err(|e: DbError| BackupError::Db(e))?;
        let failed = found.map(|row| match row.kind.as_str() {
            RESTORE_JOB => "restore.failed",
            _ => "backup.failed",
        });
        if let Some(name) = failed {
            crash_point::hit(&format!("{name}.before"));
        }
        let ended = self
            .db
            .write(move |tx| take_back(tx, job, &reason, UnixMs::now()))
            .await;
        if let Some(name) = failed {
            crash_point::hit(&format!("{name}.after"));
        }
        ended
    }
}

fn take_back(
    tx: &rusqlite::Transaction<'_>,
    job: i64,
    reason: &str,
    now: UnixMs,
) -> Result<(), BackupError> {
    let too_late = || BackupError::Conflict(format!("job {job} has begun and goes on to its end"));
    let row = jobs::by_id(tx, job)?.ok_or_else(too_late)?;
    if !jobs::take_back(tx, job, now)? {
        return Err(too_late());
    }
    let (what, subject) = match (row.kind.as_str(), number(&row.payload, "backup")) {
        (BACKUP_JOB, Some(id)) => {
            let backup = store::by_id(tx, id)?.ok_or(BackupError::NotFound(id))?;
            store::set_state(tx, id, BackupState::Failed, Some(reason), now)?;
            (format!("The backup of {}", backup.what()), backup.subject())
        }
        (CHECK_JOB, Some(id)) => {
            let backup = store::by_id(tx, id)?.ok_or(BackupError::NotFound(id))?;
            store_open::forget_check(tx, id)?;
            (format!("The check of backup {id}"), backup.subject())
        }
        (RESTORE_JOB, _) => {
            let id = number(&row.payload, "restore").unwrap_or_default();
            let restore = store::restore_by_id(tx, id)?.ok_or(BackupError::NoRestore(id))?;
            store::set_restore_state(tx, id, RestoreState::Failed, Some(reason), now)?;
            (
                format!("Restore {id}"),
                super::row::subject(restore.database),
            )
        }
        // What was taken back is put back with the transaction.
        _ => return Err(too_late()),
    };
    let message = format!("{what} was {reason}.");
    let event = NewEvent::new("backup.cancelled", Level::Info, subject, message);
    events::record(tx, now, &event)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::row::{Cause, NewBackup};
    use crate::db::{Db, Kind};
    use crate::jobs::NewJob;

    fn queued(tx: &rusqlite::Transaction<'_>) -> Result<(i64, i64), DbError> {
        let new = NewBackup {
            database: 3,
            database_name: "main".into(),
            logical: "shop".into(),
            owner: "shop".into(),
            roles: Vec::new(),
            server_version: 17,
            expected_bytes: 1,
            cause: Cause::Asked,
            attempt: 1,
            due: UnixMs(1),
        };
        let id = store::insert(tx, &new, None, |id| format!("{id}.dump"), UnixMs(1))?;
        let job = NewJob {
            kind: BACKUP_JOB,
            key: "backup:3".into(),
            payload: serde_json::json!({ "backup": id }),
            run_at: UnixMs(1),
        };
        Ok((id, jobs::enqueue(tx, UnixMs(1), &job)?))
    }

    #[tokio::test]
    async fn a1_a_backup_that_waits_is_taken_back_with_its_job_and_one_that_began_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(&folder.path().join("state.db"), Kind::State).unwrap();
        let reason = format!("{TAKEN_BACK}ana before it began");
        db.write(move |tx| {
            let (backup, job) = queued(tx)?;
            take_back(tx, job, &reason, UnixMs(2))?;
            let row = store::by_id(tx, backup)?.unwrap();
            assert_eq!(row.state, BackupState::Failed);
            assert_eq!(
                row.reason.as_deref(),
                Some("cancelled by ana before it began")
            );
            assert_eq!(jobs::by_id(tx, job)?.unwrap().state, "cancelled");
            assert!(store_open::backups(tx)?.is_empty(), "nothing waits");
            assert!(
                take_back(tx, job, &reason, UnixMs(3)).is_err(),
                "it is over"
            );

            let (backup, job) = queued(tx)?;
            tx.execute("UPDATE jobs SET attempts = 1 WHERE id = ?1", [job])
                .map_err(DbError::from)?;
            assert!(
                take_back(tx, job, &reason, UnixMs(4)).is_err(),
                "it has begun"
            );
            let row = store::by_id(tx, backup)?.unwrap();
            assert_eq!(row.state, BackupState::Queued);
            Ok::<_, BackupError>(())
        })
        .await
        .unwrap();
    }
}
