//! Retention at work: marked first, removed from the store, then forgotten.

use std::time::Duration;

use jiff::tz::TimeZone;

use super::dump::soon;
use super::error::BackupError;
use super::retention::{Keep, Kept, past_their_time};
use super::row::{Backup, Cause, Unremoved};
use super::state::BackupState;
use super::{Backups, number, read_back, store, store_open};
use crate::base::clock::UnixMs;
use crate::base::crash_point;
use crate::db::DbError;
use crate::jobs::{JobContext, Outcome};

/// How long failed ones are listed.
const FAILED_SHOWN: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long restores are listed that left nothing behind.
const RESTORES_SHOWN: Duration = Duration::from_secs(400 * 24 * 3600);
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

    /// What retention tries in vain to remove, by target.
    ///
    /// # Errors
    /// When the state database refuses.
    pub async fn unremoved(&self) -> Result<Vec<Unremoved>, BackupError> {
        let found = self.db.read(store_open::unremoved).await;
        found.map_err(BackupError::Db)
    }

    pub(super) async fn retain(&self, database: i64, now: UnixMs) -> Result<(), BackupError> {
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
                // What is being restored, into whichever server, stays until that is over.
                let restores = store_open::restores(tx)?;
                for id in gone {
                    if restores.iter().any(|r| r.backup == id) {
                        continue;
                    }
                    store::set_state(tx, id, BackupState::Expired, None, now)?;
                }
                store::forget_restores(tx, now.minus(RESTORES_SHOWN))?;
                store::forget_failed(tx, now.minus(FAILED_SHOWN))
            })
            .await
            .map_err(BackupError::Db)?;
        crash_point::hit("backup.expired.after");
        let servers = self.servers.list().await?;
        let servers: Vec<i64> = servers.iter().map(|s| s.id).collect();
        let left = self
            .db
            .read(move |c| store_open::to_remove(c, database, &servers))
            .await
            .map_err(BackupError::Db)?;
        let mut first = None;
        for there in left.chunk_by(|a, b| a.target == b.target) {
            if let Err(error) = self.remove_all(there, now).await {
                first.get_or_insert(error);
            }
        }
        first.map_or(Ok(()), Err)
    }

    /// Removes from one target what is to go. What cannot be removed holds up
    /// nothing else: it is written down, and the first reason given. A target
    /// that does not answer is waited for once, not once an object.
    async fn remove_all(&self, there: &[Backup], now: UnixMs) -> Result<(), BackupError> {
        let mut first: Option<BackupError> = None;
        let mut stuck: Vec<i64> = Vec::new();
        let mut is_away = false;
        for backup in there {
            let removed = match is_away {
                true => Err(None),
                false => self.remove(backup).await.map_err(Some),
            };
            let Err(error) = removed else { continue };
            stuck.push(backup.id);
            if let Some(error) = error {
                is_away = matches!(&error, BackupError::Store(e) if e.is_passing());
                first.get_or_insert(error);
            }
        }
        let (Some(error), Some(one)) = (first, there.first()) else {
            return Ok(());
        };
        self.note_use(one.target, Some(&error)).await;
        let written: Result<(), DbError> = self
            .db
            .write(move |tx| store_open::set_unremoved(tx, &stuck, now))
            .await;
        if let Err(error) = written {
            tracing::warn!(%error, "what could not be removed from a target could not be written down");
        }
        Err(error)
    }

    /// One backup's objects, and then what is known of them.
    async fn remove(&self, backup: &Backup) -> Result<(), BackupError> {
        let id = backup.id;
        let written: Result<(), DbError> = match &backup.upload_token {
            Some(mark) if backup.state == BackupState::Failed => {
                self.sweep(backup, mark).await?;
                self.db
                    .write(move |tx| store::set_upload(tx, id, None))
                    .await
            }
            _ => {
                let objects = self.store(backup.target).await?;
                objects.delete(&backup.key).await?;
                objects
                    .delete(&read_back::manifest_key(&backup.key))
                    .await?;
                self.db.write(move |tx| store::delete(tx, id)).await
            }
        };
        Ok(written?)
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
