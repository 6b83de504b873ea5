//! Taking back. A backup, a check or a restore whose work has not begun ends in the transaction that takes
//! its job back: nothing was done yet. What is in work is noted as cancelled in its row first, so that a crash
//! does not forget it; then its containers are ended, and what it made is removed: what a backup put into its
//! store, what a restore loaded. It is not tried again. A restore can be taken back until it takes the live
//! database's name.

use std::collections::HashMap;
use std::sync::PoisonError;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::dump::soon;
use super::error::BackupError;
use super::ports::Trouble;
use super::restore::TRIES;
use super::row::{Backup, subject};
use super::state::{BackupState, RestoreState};
use super::{BACKUP_JOB, Backups, CHECK_JOB, RESTORE_JOB, number, store, store_open};
use crate::base::clock::UnixMs;
use crate::base::crash_point;
use crate::db::DbError;
use crate::events::{self, Level, NewEvent};
use crate::jobs::{self, Outcome, Told};

/// How the reason of what was taken back begins: it is no failure to be warned of.
pub(super) const TAKEN_BACK: &str = "cancelled by ";

/// How long the end of a container is waited for before the job is begun again to wait on.
const GONE: Duration = Duration::from_secs(90);

impl Backups {
    /// The job's work can be cancelled until what this gives is dropped, however that comes about.
    pub(super) fn takes_up(&self, job: i64, stop: CancellationToken) -> InWork {
        self.cancels().insert(job, stop);
        InWork(self.clone(), job)
    }

    fn cancels(&self) -> std::sync::MutexGuard<'_, HashMap<i64, CancellationToken>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the job back, and ends what it was to do. What is in work ends a moment later: its job says
    /// when it has.
    ///
    /// # Errors
    /// [`BackupError::Conflict`] when it cannot be taken back any more, or is none of ours.
    pub async fn cancel(&self, job: i64, by: &str) -> Result<(), BackupError> {
        let found = self.db.read(move |c| jobs::by_id(c, job)).await;
        let found = found.map_err(|e: DbError| BackupError::Db(e))?;
        let found = found.ok_or_else(|| too_late(job))?;
        let unbegun = match found.attempts {
            0 => self.cancel_unbegun(&found, by).await,
            _ => Err(too_late(job)),
        };
        match unbegun {
            Err(BackupError::Conflict(_)) => self.cancel_begun(found, by).await,
            ended => ended,
        }
    }

    async fn cancel_unbegun(&self, found: &Told, by: &str) -> Result<(), BackupError> {
        let (job, reason) = (found.id, format!("{TAKEN_BACK}{by} before it began"));
        let failed = match found.kind.as_str() {
            RESTORE_JOB => "restore.failed",
            _ => "backup.failed",
        };
        crash_point::hit(&format!("{failed}.before"));
        let ended = self
            .db
            .write(move |tx| take_back(tx, job, &reason, UnixMs::now()))
            .await;
        crash_point::hit(&format!("{failed}.after"));
        ended
    }

    async fn cancel_begun(&self, found: Told, by: &str) -> Result<(), BackupError> {
        let job = found.id;
        let reason = format!("{TAKEN_BACK}{by} while it was in work");
        let noted = self
            .db
            .write(move |tx| {
                jobs::hasten(tx, job, UnixMs::now())?;
                let of = |what: &str| number(&found.payload, what).unwrap_or_default();
                match found.kind.as_str() {
                    BACKUP_JOB => store::ask_cancel(tx, of("backup"), &reason),
                    CHECK_JOB => store::ask_cancel_check(tx, of("backup"), &reason),
                    RESTORE_JOB => store::ask_cancel_restore(tx, of("restore"), &reason),
                    _ => Ok(false),
                }
            })
            .await;
        if !noted.map_err(BackupError::Db)? {
            return Err(too_late(job));
        }
        if let Some(stop) = self.cancels().get(&job) {
            stop.cancel();
        }
        Ok(())
    }

    /// Returns when no container is left beside the server that worked on it, of an earlier daemon neither: before that
    /// nothing is told as cancelled.
    ///
    /// # Errors
    /// When one is left, or may be, because the engine is away.
    pub(super) async fn no_container(&self, server: i64, begins: &str) -> Result<(), BackupError> {
        let gone = self
            .supervisor
            .wait_no_job(&subject(server), begins, GONE)
            .await;
        Ok(gone?)
    }

    /// Returns when nothing of a dump lives any more, neither beside the server nor in it.
    async fn is_dead(&self, backup: &Backup, attempt: u32) -> Result<(), BackupError> {
        for step in ["dump", "list"] {
            let name = format!("{step}-{}-", backup.id);
            self.no_container(backup.database, &name).await?;
        }
        if self.is_gone(backup.database).await? {
            return Ok(());
        }
        match self.end_sessions(backup).await {
            // It may be on its way back up; without it there are no sessions.
            Err(trouble) if trouble.passing && attempt < TRIES => Err(trouble.into()),
            Err(trouble) => {
                tracing::warn!(error = %trouble, backup = backup.id, "what a dump has left in its server could not be ended");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// Ends what a dump that is over has left in its server: that one sees late, or never, that its client is gone.
    pub(super) async fn end_sessions(&self, backup: &Backup) -> Result<(), Trouble> {
        let name = format!("dump-{}-", backup.id);
        let ended = self.servers.end_sessions(backup.database, "pg_dump", name);
        ended.await
    }

    /// Ends a check that is noted as cancelled: nothing is known of the backup by it.
    pub(super) async fn end_cancelled_check(&self, backup: &Backup) -> Outcome {
        let name = format!("check-{}-", backup.id);
        if let Err(error) = self.no_container(backup.database, &name).await {
            return soon(&error);
        }
        let reason = backup.check_note.clone().unwrap_or_default();
        let message = format!("The check of backup {} was {reason}.", backup.id);
        let event = NewEvent::new("backup.cancelled", Level::Info, backup.subject(), message)
            .with(serde_json::json!({ "backup": backup.id }));
        match self.forget_check(backup.id, event).await {
            Ok(()) => Outcome::Cancelled,
            Err(error) => soon(&BackupError::Db(error)),
        }
    }

    /// Ends a check that says nothing of its backup, and tells why.
    pub(super) async fn forget_check(&self, backup: i64, event: NewEvent) -> Result<(), DbError> {
        self.db
            .write(move |tx| {
                store_open::forget_check(tx, backup)?;
                events::record(tx, UnixMs::now(), &event).map(drop)
            })
            .await
    }

    /// Ends a backup that is noted as cancelled: nothing of it stays in its store, and it is not tried again. `attempt` is
    /// its job's.
    pub(super) async fn end_cancelled(&self, backup: &Backup, attempt: u32) -> Outcome {
        if let Err(error) = self.is_dead(backup, attempt).await {
            return soon(&error);
        }
        // It may have been stopped at any moment: in the last step of an upload, which is noted no more, while a folder's
        // file was written, which never is, or by a crash.
        let state = self.find(backup.id).await.map_or(backup.state, |b| b.state);
        let left = self.take_back(backup, state != BackupState::Queued).await;
        let reason = backup.reason.clone().unwrap_or_default();
        let message = format!("The backup of {} was {reason}.", backup.what());
        let event = NewEvent::new("backup.cancelled", Level::Info, backup.subject(), message)
            .with(serde_json::json!({ "backup": backup.id }));
        let id = backup.id;
        crash_point::hit("backup.failed.before");
        let written: Result<(), DbError> = self
            .db
            .write(move |tx| {
                let now = UnixMs::now();
                store::set_state(tx, id, BackupState::Failed, Some(&reason), now)?;
                store::set_upload(tx, id, left.as_deref())?;
                events::record(tx, now, &event).map(drop)
            })
            .await;
        crash_point::hit("backup.failed.after");
        match written {
            Ok(()) => Outcome::Cancelled,
            Err(error) => soon(&BackupError::Db(error)),
        }
    }
}

/// Work that can be cancelled.
pub(super) struct InWork(Backups, i64);

impl Drop for InWork {
    fn drop(&mut self) {
        self.0.cancels().remove(&self.1);
    }
}

fn too_late(job: i64) -> BackupError {
    BackupError::Conflict(format!("job {job} has begun and goes on to its end"))
}

fn take_back(
    tx: &rusqlite::Transaction<'_>,
    job: i64,
    reason: &str,
    now: UnixMs,
) -> Result<(), BackupError> {
    let row = jobs::by_id(tx, job)?.ok_or_else(|| too_late(job))?;
    if !jobs::take_back(tx, job, now)? {
        return Err(too_late(job));
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
            (format!("Restore {id}"), subject(restore.database))
        }
        // What was taken back is put back with the transaction.
        _ => return Err(too_late(job)),
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
