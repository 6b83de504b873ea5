//! Backups, checks and restores that say they go on though nothing works on
//! them any more: their job failed without a word, as one that panics does.
//! They are ended as any failure is: taken back, written down, told.

use std::time::Duration;

use super::error::BackupError;
use super::row::{Backup, Restore};
use super::{BACKUP_JOB, Backups, CHECK_JOB, RESTORE_JOB, enqueue, store_open};
use crate::base::clock::UnixMs;
use crate::db::DbError;
use crate::events::{Level, NewEvent};
use crate::jobs;

const WHY: &str = "the work on it broke off unexpectedly; the daemon's log says where";
/// When the live database could not be opened at once, it is tried again.
const SOON: Duration = Duration::from_secs(60);

impl Backups {
    /// Ends what no open job works on.
    pub(super) async fn reap(&self) {
        let left: Result<_, DbError> = self
            .db
            .read(|c| {
                let dumping = jobs::worked_on(c, BACKUP_JOB, "backup")?;
                let checking = jobs::worked_on(c, CHECK_JOB, "backup")?;
                let restoring = jobs::worked_on(c, RESTORE_JOB, "restore")?;
                let mut backups = store_open::backups(c)?;
                backups.retain(|b| !dumping.contains(&b.id));
                let mut checked = store_open::in_check(c)?;
                checked.retain(|b| !checking.contains(&b.id));
                let mut restores = store_open::restores(c)?;
                restores.retain(|r| !restoring.contains(&r.id));
                Ok((backups, checked, restores))
            })
            .await;
        let (backups, checked, restores) = match left {
            Ok(left) => left,
            Err(error) => {
                tracing::warn!(%error, "whether backups were left half done could not be seen");
                return;
            }
        };
        for backup in backups {
            tracing::warn!(
                backup = backup.id,
                "a backup that nothing works on is ended"
            );
            // How that ended is in its row, or it is found again at the next turn.
            drop(
                self.fail(&backup, BackupError::Work(WHY.into()), u32::MAX)
                    .await,
            );
        }
        for backup in checked {
            if let Err(error) = self.end_check(&backup).await {
                tracing::warn!(%error, backup = backup.id, "a check that nothing works on could not be ended");
            }
        }
        for restore in restores {
            tracing::warn!(
                restore = restore.id,
                "a restore that nothing works on is ended"
            );
            if let Err(error) = self.end_restore(&restore).await {
                tracing::warn!(%error, restore = restore.id, "a restore that nothing works on could not be ended");
            }
        }
    }

    /// A check that broke off says neither that a backup is good nor that it is bad.
    async fn end_check(&self, backup: &Backup) -> Result<(), DbError> {
        let id = backup.id;
        let message = format!(
            "The check of the backup of {} came to no end: {WHY}.",
            backup.what()
        );
        let event = NewEvent::new(
            "backup.check_failed",
            Level::Warning,
            backup.subject(),
            message,
        )
        .with(serde_json::json!({ "backup": id }));
        self.forget_check(id, event).await
    }

    async fn end_restore(&self, restore: &Restore) -> Result<(), BackupError> {
        let undone = self.undo(restore).await;
        if undone.is_enough(u32::MAX) {
            return self.fail_restore(restore, undone, format!("{WHY}.")).await;
        }
        let (id, database) = (restore.id, restore.database);
        self.db
            .write(move |tx| {
                let now = UnixMs::now();
                let payload = serde_json::json!({ "restore": id });
                enqueue(tx, RESTORE_JOB, database, payload, now.plus(SOON), now)
            })
            .await
            .map_err(BackupError::Db)
    }
}
