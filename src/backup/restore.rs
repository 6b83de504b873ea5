//! One restore: into a database of its own, compared, then swapped in by name.
//!
//! Until the swap the live database is not touched; the swap itself is one
//! transaction of the server's, during which it takes no connections. A restore cut off by a crash begins its state
//! again, which every state bears.

use std::time::Duration;

use rusqlite::Connection;

use super::dump::soon;
use super::error::BackupError;
use super::ports::Trouble;
use super::row::{Backup, Restore, subject};
use super::state::RestoreState;
use super::{Backups, archive, number, store};
use crate::base::clock::UnixMs;
use crate::base::crash_point;
use crate::base::retry::Backoff;
use crate::db::DbError;
use crate::events::{self, Level, NewEvent};
use crate::jobs::{JobContext, Outcome};
use crate::supervise::SuperviseError;

/// Requests to the apps are held no longer than this while names are swapped.
const PAUSE: Duration = Duration::from_secs(35);
/// Tries while something outside (engine, store) is away.
pub(super) const TRIES: u32 = 5;
pub(super) const AGAIN: Backoff = Backoff {
    first: Duration::from_secs(5),
    max: Duration::from_secs(120),
    factor: 3,
};

impl Backups {
    /// The handler of `restore`.
    pub(super) async fn run_restore(
        &self,
        context: JobContext,
        payload: serde_json::Value,
    ) -> Outcome {
        let Some(id) = number(&payload, "restore") else {
            return Outcome::Failed("the work names no restore".into());
        };
        loop {
            let restore = match self.find_restore(id).await {
                Ok(restore) => restore,
                Err(BackupError::NoRestore(_)) => return Outcome::Done,
                Err(error) => return soon(&error),
            };
            if restore.is_cancelled() && restore.state < RestoreState::Swapping {
                return self.end_cancelled_restore(&restore, &context).await;
            }
            let step = match restore.state {
                RestoreState::Queued => Ok(RestoreState::Loading),
                RestoreState::Loading => self.load(&restore, &context).await,
                RestoreState::Comparing => self.compare(&restore).await,
                RestoreState::Swapping => self.swap_in(&restore).await,
                RestoreState::Done => return Outcome::Done,
                RestoreState::Failed if restore.is_cancelled() => return Outcome::Cancelled,
                RestoreState::Failed => {
                    return Outcome::Failed(restore.reason.unwrap_or_default());
                }
            };
            let written = match step {
                Ok(to) => self.advance_restore(&restore, to, None, None).await,
                // It was ended because of the wish, which the next turn sees.
                Err(_) if self.is_to_end(restore.id).await => continue,
                // Or with the daemon.
                Err(error) if context.cancel.is_cancelled() => return soon(&error),
                Err(error @ BackupError::Supervise(SuperviseError::Stopping)) => {
                    return soon(&error);
                }
                Err(error) if error.is_passing() && context.attempt < TRIES => {
                    return Outcome::Again {
                        at: UnixMs::now().plus(AGAIN.delay(context.attempt)),
                        why: error.to_string(),
                    };
                }
                Err(error) => {
                    let why = error.to_string();
                    let undone = self.undo(&restore).await;
                    if !undone.is_enough(context.attempt) {
                        return Outcome::Again {
                            at: UnixMs::now().plus(AGAIN.delay(context.attempt)),
                            why,
                        };
                    }
                    self.fail_restore(&restore, undone, why).await
                }
            };
            if let Err(error) = written {
                return soon(&error);
            }
        }
    }

    /// Whether somebody wishes it taken back, and it still may be.
    async fn is_to_end(&self, id: i64) -> bool {
        let found = self.find_restore(id).await;
        found.is_ok_and(|r| r.is_cancelled() && r.state < RestoreState::Swapping)
    }

    /// Ends a restore that is noted as cancelled: what it loaded goes, the live database was not touched.
    async fn end_cancelled_restore(&self, restore: &Restore, context: &JobContext) -> Outcome {
        let name = format!("restore-{}-", restore.id);
        if let Err(error) = self.no_container(restore.database, &name).await {
            return soon(&error);
        }
        let undone = self.undo(restore).await;
        let reason = restore.reason.clone().unwrap_or_default();
        if !undone.is_enough(context.attempt) {
            return Outcome::Again {
                at: UnixMs::now().plus(AGAIN.delay(context.attempt)),
                why: reason,
            };
        }
        let (id, live) = (restore.id, undone.words(restore));
        let message = format!("Restore {id} was {reason}. {live}");
        let event = NewEvent::new(
            "restore.cancelled",
            Level::Info,
            subject(restore.database),
            message,
        );
        crash_point::hit("restore.failed.before");
        let written: Result<(), DbError> = self
            .db
            .write(move |tx| {
                let now = UnixMs::now();
                store::set_restore_state(tx, id, RestoreState::Failed, Some(&reason), now)?;
                events::record(tx, now, &event).map(drop)
            })
            .await;
        crash_point::hit("restore.failed.after");
        match written {
            Ok(()) => Outcome::Cancelled,
            Err(error) => soon(&BackupError::Db(error)),
        }
    }

    /// Writes a restore down as failed, and how it left the live database.
    pub(super) async fn fail_restore(
        &self,
        restore: &Restore,
        undone: Undone,
        why: String,
    ) -> Result<(), BackupError> {
        let live = undone.words(restore);
        self.advance_restore(restore, RestoreState::Failed, Some(why), Some(live))
            .await
    }

    async fn advance_restore(
        &self,
        restore: &Restore,
        to: RestoreState,
        reason: Option<String>,
        live: Option<String>,
    ) -> Result<(), BackupError> {
        crash_point::hit(&format!("restore.{}.before", to.as_str()));
        let id = restore.id;
        let event = match (to, &reason) {
            (RestoreState::Done, _) => Some(NewEvent::new(
                "restore.done",
                Level::Info,
                subject(restore.database),
                format!(
                    "Backup {} is restored as {}; the one before is kept as {} until `freehold backup confirm {id}`.",
                    restore.backup, restore.logical, restore.kept
                ),
            )),
            (RestoreState::Failed, Some(why)) => Some(NewEvent::new(
                "restore.failed",
                Level::Error,
                subject(restore.database),
                format!(
                    "Restoring backup {} failed: {why} {}",
                    restore.backup,
                    live.unwrap_or_default()
                ),
            )),
            _ => None,
        };
        self.db
            .write(move |tx| {
                let now = UnixMs::now();
                // A wish to end it came first: it does not go on, least of all to the swap.
                let to_end = store::restore_by_id(tx, id)?
                    .is_some_and(|r| r.is_cancelled() && r.state < RestoreState::Swapping);
                if to_end && !to.is_ended() {
                    return Ok(());
                }
                store::set_restore_state(tx, id, to, reason.as_deref(), now)?;
                if let Some(event) = event {
                    events::record(tx, now, &event)?;
                }
                Ok::<_, DbError>(())
            })
            .await?;
        crash_point::hit(&format!("restore.{}.after", to.as_str()));
        Ok(())
    }

    /// From the store through the hash into `pg_restore`, in constant memory.
    async fn load(
        &self,
        restore: &Restore,
        context: &JobContext,
    ) -> Result<RestoreState, BackupError> {
        let backup = self.find(restore.backup).await?;
        super::stored(&backup)?;
        let objects = self.store(backup.target).await?;
        // Asked before anything is made: a missing object is the commonest reason to give up.
        if objects.head(&backup.key).await?.is_none() {
            return Err(crate::objects::StoreError::Missing {
                place: objects.place(),
                key: backup.key.clone(),
            }
            .into());
        }
        self.servers
            .make_fresh(
                restore.database,
                restore.fresh.clone(),
                restore.logical.clone(),
                (backup.owner.clone(), backup.roles.clone()),
            )
            .await?;
        let spec = self
            .servers
            .side(
                restore.database,
                format!("restore-{}-{}", restore.id, context.attempt),
                archive::restore_arguments(self.servers.dbname(&restore.fresh)),
                restore.fresh.clone(),
            )
            .await?;
        let (end, printed) = self.pour(&backup, &objects, spec, context).await?;
        if !end.is_success() {
            return Err(BackupError::Work(archive::why("pg_restore", &end)));
        }
        printed?;
        Ok(RestoreState::Comparing)
    }

    async fn compare(&self, restore: &Restore) -> Result<RestoreState, BackupError> {
        let backup = self.find(restore.backup).await?;
        let found = self
            .servers
            .found(restore.database, restore.fresh.clone())
            .await?;
        let id = restore.id;
        self.db
            .write(move |tx| store::set_restore_found(tx, id, found.tables, found.rows))
            .await
            .map_err(BackupError::Db)?;
        if let Some(difference) = difference(&backup, found.tables) {
            return Err(BackupError::Work(difference));
        }
        Ok(RestoreState::Swapping)
    }

    async fn swap_in(&self, restore: &Restore) -> Result<RestoreState, BackupError> {
        let apps = self
            .servers
            .apps(restore.database, restore.logical.clone())
            .await?;
        let owner = format!("restore:{}", restore.id);
        self.traffic.pause(owner.clone(), apps, PAUSE).await?;
        let swapped = self
            .servers
            .swap(
                restore.database,
                restore.logical.clone(),
                restore.fresh.clone(),
                restore.kept.clone(),
            )
            .await;
        // The pause has a deadline of its own, should this fail.
        if let Err(trouble) = self.traffic.resume(owner).await {
            tracing::warn!(error = %trouble, restore = restore.id, "held requests go on when their pause ends");
        }
        swapped?;
        Ok(RestoreState::Done)
    }

    /// Opens the live database where a swap was begun, and drops what was loaded.
    pub(super) async fn undo(&self, restore: &Restore) -> Undone {
        let live = match restore.state {
            RestoreState::Swapping => {
                let (server, part) = (restore.database, restore.logical.clone());
                over(&self.servers.open_doors(server, part).await)
            }
            _ => Over::Done,
        };
        let dropped = self
            .servers
            .drop_part(restore.database, restore.fresh.clone())
            .await;
        if let Err(trouble) = &dropped {
            tracing::warn!(error = %trouble, restore = restore.id, database = restore.fresh, "what a failed restore loaded could not be dropped");
        }
        Undone {
            live,
            fresh: over(&dropped),
        }
    }
}

/// Whether the work of a restore may overwrite anything: one that was taken back in time only drops what it loaded itself.
///
/// # Errors
/// Only the database's.
pub(super) fn overwrites(c: &Connection, payload: &serde_json::Value) -> Result<bool, DbError> {
    let id = number(payload, "restore").unwrap_or_default();
    let restore = store::restore_by_id(c, id)?;
    Ok(restore.is_some_and(|r| !r.is_cancelled() || r.state >= RestoreState::Swapping))
}

fn over(tried: &Result<(), Trouble>) -> Over {
    match tried {
        Ok(()) => Over::Done,
        Err(trouble) if trouble.passing => Over::Later,
        Err(_) => Over::Never,
    }
}

/// Whether a piece of undoing is done, may be later, or never will.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    Done,
    Later,
    Never,
}

/// How far a failed restore is undone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Undone {
    /// The live database takes connections.
    live: Over,
    /// What was loaded is gone.
    fresh: Over,
}

impl Undone {
    /// Whether the restore may be called failed now. A live database that may
    /// still be closed is never left so while it can be opened later.
    pub(super) fn is_enough(self, attempt: u32) -> bool {
        match (self.live, self.fresh) {
            (Over::Later, _) => false,
            (_, Over::Later) => attempt >= TRIES,
            _ => true,
        }
    }

    fn words(self, restore: &Restore) -> String {
        let name = &restore.logical;
        let live = match (restore.state, self.live) {
            (RestoreState::Swapping, Over::Done) => {
                format!("The live database {name} takes connections as before.")
            }
            (RestoreState::Swapping, _) => format!(
                "The live database {name} may refuse connections: `ALTER DATABASE … ALLOW_CONNECTIONS true` in `freehold db psql` opens it."
            ),
            _ => format!("The live database {name} was not touched."),
        };
        match self.fresh {
            Over::Done => live,
            Over::Later | Over::Never => format!(
                "{live} What it loaded, {} on the same server, could not be dropped.",
                restore.fresh
            ),
        }
    }
}

/// How what was loaded differs from what the archive says it holds.
fn difference(backup: &Backup, tables: u64) -> Option<String> {
    let wanted = backup.contents?.tables;
    (wanted != tables)
        .then(|| format!("the archive holds {wanted} tables, the restored database has {tables}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f6_a_restore_is_not_called_failed_while_the_live_database_may_be_closed() {
        let enough = |live, fresh, attempt| Undone { live, fresh }.is_enough(attempt);
        assert!(enough(Over::Done, Over::Done, 1));
        assert!(enough(Over::Done, Over::Never, 1));
        assert!(!enough(Over::Done, Over::Later, TRIES - 1));
        assert!(enough(Over::Done, Over::Later, TRIES));
        // Its own tries do not end that wait; a server that is gone for good does.
        assert!(!enough(Over::Later, Over::Done, TRIES + 50));
        assert!(enough(Over::Never, Over::Never, 1));
    }
}
