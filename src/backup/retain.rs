//! Retention at work: marked first, removed from the store, then forgotten.

use std::time::Duration;

use jiff::tz::TimeZone;

use super::dump::soon;
use super::error::BackupError;
use super::retention::{Keep, Kept, past_their_time};
use super::row::{Backup, Cause};
use super::state::BackupState;
use super::{Backups, number, read_back, store};
use crate::base::clock::UnixMs;
use crate::base::crash_point;
use crate::db::DbError;
use crate::jobs::{JobContext, Outcome};

/// How long failed ones are listed.
const FAILED_SHOWN: Duration = Duration::from_secs(30 * 24 * 3600);
const TRIES: u32 = 8;

impl Backups {
    /// The handler of `backup.retain`, queued with every stored backup.
    pub(super) async fn run_retention(
        &self,
        context: JobContext,
        payload: serde_json::Value,
    ) -> Outcome {
        let Some(database) = number(&payload, "database") else {
            return Outcome::Failed("the work names no database".into());
        };
        match self.retain(database, UnixMs::now()).await {
            Ok(()) => Outcome::Done,
            Err(error) if context.attempt < TRIES => Outcome::Again {
                at: UnixMs::now().plus(super::plan::AGAIN.delay(context.attempt)),
                why: error.to_string(),
            },
            Err(error @ BackupError::Db(_)) => soon(&error),
            // The next stored backup queues the same work.
            Err(error) => Outcome::Failed(error.to_string()),
        }
    }

    /// What failed backups left in a store that was away.
    async fn sweep_failed(&self, database: i64) -> Result<(), BackupError> {
        let failed = self
            .db
            .read(move |c| store::in_state(c, database, BackupState::Failed))
            .await
            .map_err(BackupError::Db)?;
        for backup in failed {
            let Some(mark) = backup.upload_token.clone() else {
                continue;
            };
            self.sweep(&backup, &mark).await?;
            let cleared: Result<(), DbError> = self
                .db
                .write(move |tx| store::set_upload(tx, backup.id, None))
                .await;
            cleared?;
        }
        Ok(())
    }

    async fn retain(&self, database: i64, now: UnixMs) -> Result<(), BackupError> {
        let settings = self.config.borrow().database;
        let keep = Keep {
            daily: settings.keep_daily,
            weekly: settings.keep_weekly,
            monthly: settings.keep_monthly,
        };
        let stored = self
            .db
            .read(move |c| store::in_state(c, database, BackupState::Stored))
            .await
            .map_err(BackupError::Db)?;
        let gone = choose(&stored, keep, now, &TimeZone::system());
        crash_point::hit("backup.expired.before");
        self.db
            .write(move |tx| {
                for id in gone {
                    store::set_state(tx, id, BackupState::Expired, None, now)?;
                }
                store::forget_failed(tx, now.minus(FAILED_SHOWN))
            })
            .await
            .map_err(BackupError::Db)?;
        crash_point::hit("backup.expired.after");
        let expired = self
            .db
            .read(move |c| store::in_state(c, database, BackupState::Expired))
            .await
            .map_err(BackupError::Db)?;
        self.sweep_failed(database).await?;
        for backup in expired {
            let objects = self.store(backup.target).await?;
            objects.delete(&backup.key).await?;
            objects
                .delete(&read_back::manifest_key(&backup.key))
                .await?;
            let deleted: Result<(), DbError> =
                self.db.write(move |tx| store::delete(tx, backup.id)).await;
            deleted?;
        }
        Ok(())
    }
}

/// Retention looks at each database on the server, and each target, by itself:
/// a new target does not empty the old one before it holds as much.
fn choose(stored: &[Backup], keep: Keep, now: UnixMs, zone: &TimeZone) -> Vec<i64> {
    let mut groups: Vec<(&str, Option<i64>)> = stored
        .iter()
        .map(|b| (b.logical.as_str(), b.target))
        .collect();
    groups.sort_unstable();
    groups.dedup();
    let mut gone = Vec::new();
    for group in groups {
        let members: Vec<Kept> = stored
            .iter()
            .filter(|b| (b.logical.as_str(), b.target) == group)
            .map(|b| Kept {
                id: b.id,
                at: b.created,
                asked: b.cause == Cause::Asked,
            })
            .collect();
        gone.extend(past_their_time(&members, keep, now, zone));
    }
    gone
}
