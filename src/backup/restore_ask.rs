//! Asking for a restore, looking at restores, letting the old one go.

use super::error::BackupError;
use super::row::{Restore, subject};
use super::state::RestoreState;
use super::{Backups, CONFIRM_JOB, RESTORE_JOB, enqueue, number, store, stored};
use crate::base::clock::UnixMs;
use crate::base::crash_point;
use crate::db::{DbError, Slice};
use crate::events::{self, Level, NewEvent};
use crate::jobs::{JobContext, Outcome};

const TRIES: u32 = 6;

impl Backups {
    /// Brings a stored backup back, in the place of the live database of its
    /// name: on its own server, or on the one called `into`.
    ///
    /// # Errors
    /// When it is not stored, or the server is not there, not ready or too old.
    pub async fn restore(
        &self,
        id: i64,
        into: Option<&str>,
        by: &str,
    ) -> Result<Restore, BackupError> {
        let backup = self.find(id).await?;
        stored(&backup)?;
        let server = match into {
            Some(name) => self.server(name).await?,
            None => self
                .servers
                .list()
                .await?
                .into_iter()
                .find(|s| s.id == backup.database)
                .ok_or_else(|| {
                    BackupError::Conflict(format!(
                        "the database {} that backup {id} is of is no more: create one with `freehold db create`, then name it with --into",
                        backup.database_name
                    ))
                })?,
        };
        if !server.ready {
            return Err(BackupError::Conflict(format!(
                "the database {0} is not ready: `freehold db show {0}` says why",
                server.name
            )));
        }
        if server.version < backup.server_version {
            return Err(BackupError::Conflict(format!(
                "backup {id} is of Postgres {}, and {} runs {}: Postgres does not restore into an older version",
                backup.server_version, server.name, server.version
            )));
        }
        let message = format!(
            "Restoring backup {id} ({}) to {} was asked for by {by}.",
            backup.what(),
            server.name
        );
        let servers = self.servers.clone();
        crash_point::hit("restore.queued.before");
        let asked = self
            .db
            .write(move |tx| {
                let now = UnixMs::now();
                // Retention may have been quicker.
                let seen = store::by_id(tx, backup.id)?.ok_or(BackupError::NotFound(backup.id))?;
                super::stored(&seen)?;
                let names = |restore: i64| {
                    (
                        servers.derived(&backup.logical, &format!("_restore_{restore}")),
                        servers.derived(&backup.logical, &format!("_before_{restore}")),
                    )
                };
                let restore = store::insert_restore(tx, &backup, server.id, names, now)?;
                let payload = serde_json::json!({ "restore": restore });
                enqueue(tx, RESTORE_JOB, server.id, payload, now, now)?;
                let event =
                    NewEvent::new("restore.asked", Level::Info, subject(server.id), message);
                events::record(tx, now, &event)?;
                store::restore_by_id(tx, restore)?.ok_or(BackupError::NoRestore(restore))
            })
            .await;
        crash_point::hit("restore.queued.after");
        asked
    }

    /// The newest restores first: of one server, or of all.
    ///
    /// # Errors
    /// Only the state database's.
    pub async fn restores(
        &self,
        database: Option<i64>,
        slice: impl Into<Slice>,
    ) -> Result<Vec<Restore>, BackupError> {
        let slice = slice.into();
        self.db
            .read(move |c| Ok(store::restores(c, database, &slice)?))
            .await
    }

    /// One restore.
    ///
    /// # Errors
    /// [`BackupError::NoRestore`] when there is none.
    pub async fn find_restore(&self, id: i64) -> Result<Restore, BackupError> {
        self.db
            .read(move |c| store::restore_by_id(c, id)?.ok_or(BackupError::NoRestore(id)))
            .await
    }

    /// The restored one is right: the old one, kept beside it, is dropped.
    ///
    /// # Errors
    /// When the restore is not done, or was confirmed before.
    pub async fn confirm(&self, id: i64, by: &str) -> Result<Restore, BackupError> {
        let restore = self.find_restore(id).await?;
        if restore.state != RestoreState::Done {
            return Err(BackupError::Conflict(format!(
                "restore {id} is {}: only one that is done has an old database to drop",
                restore.state.as_str()
            )));
        }
        if restore.confirmed.is_none() {
            let message = format!(
                "Restore {id} was confirmed by {by}; {} is dropped.",
                restore.kept
            );
            let database = restore.database;
            self.db
                .write(move |tx| {
                    let now = UnixMs::now();
                    let payload = serde_json::json!({ "restore": id });
                    enqueue(tx, CONFIRM_JOB, database, payload, now, now)?;
                    let event =
                        NewEvent::new("restore.confirmed", Level::Info, subject(database), message);
                    events::record(tx, now, &event).map(drop)
                })
                .await
                .map_err(BackupError::Db)?;
        }
        self.find_restore(id).await
    }

    /// The handler of `restore.confirm`.
    pub(super) async fn run_confirm(
        &self,
        context: JobContext,
        payload: serde_json::Value,
    ) -> Outcome {
        let Some(id) = number(&payload, "restore") else {
            return Outcome::Failed("the work names no restore".into());
        };
        let dropped = async {
            let restore = self.find_restore(id).await?;
            self.servers
                .drop_part(restore.database, restore.kept)
                .await?;
            self.db
                .write(move |tx| store::set_confirmed(tx, id, UnixMs::now()))
                .await
                .map_err(|e: DbError| BackupError::Db(e))
        }
        .await;
        match dropped {
            Ok(()) => Outcome::Done,
            Err(error) if context.attempt < TRIES => Outcome::Again {
                at: UnixMs::now().plus(super::plan::AGAIN.delay(context.attempt)),
                why: error.to_string(),
            },
            Err(error) => Outcome::Failed(error.to_string()),
        }
    }
}
