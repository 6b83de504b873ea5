//! Backups: dumps of every managed database, stored, read back, kept for their
//! time, and brought back.
//!
//! The unit is one database on a server: an attached app's, or one made by
//! hand; each is dumped, listed and restored by itself, so one app comes back
//! without touching the others. `postgres`, the server's own, is dumped when it
//! holds anything. A backup names the role it belongs to, and a restore makes
//! that role when it is gone.
//!
//! Invariants: "stored" means that the dump ended well, the archive can be read,
//! and the object that came back from the store is the one that went up, byte
//! for byte; only then does retention remove anything. A failed backup leaves no
//! object. A restore goes into a database of its own; the live one is renamed
//! away only when all is there, and kept. All of it is states in rows.
//! Left to others: what a server is and how to talk to it (`ports`), holding
//! requests, alerts.

mod archive;
mod cancel;
mod dump;
mod error;
#[cfg(freehold_fuzz)]
pub mod fuzz;
mod plan;
mod ports;
mod read_back;
mod reap;
mod restore;
mod restore_ask;
mod retain;
mod retention;
mod row;
mod schedule;
mod standing;
mod state;
mod store;
mod store_open;
mod store_standing;
mod store_targets;
mod target;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::base::clock::UnixMs;
use crate::base::ids::InstallationId;
use crate::base::secret::MasterKey;
use crate::config::Config;
use crate::db::{Db, DbError, Slice};
use crate::http_client::HttpClient;
use crate::jobs::{self, Handlers, NewJob};
use crate::objects::Reading;
use crate::supervise::Supervisor;

pub use archive::Contents;
pub use error::BackupError;
pub use ports::{Answer, Found, Part, Server, Servers, Traffic, Trouble};
pub use row::{Backup, Cause, Restore, Schedule, Target, Unremoved};
pub use standing::Standing;
pub use state::{BackupState, RestoreState, crash_points};
pub use target::NewTarget;

const HOUR: Duration = Duration::from_secs(3_600);
/// Above a dump and the reading back of it, a download and the restoring of it: each has `dump::LIMIT`.
const MOST: Duration = HOUR.saturating_mul(26);

/// The handle; cheap to clone.
#[derive(Clone)]
pub struct Backups {
    db: Db,
    key: Arc<MasterKey>,
    config: watch::Receiver<Arc<Config>>,
    installation: InstallationId,
    data_dir: PathBuf,
    client: Arc<Mutex<HttpClient>>,
    supervisor: Supervisor,
    servers: Arc<dyn Servers>,
    traffic: Arc<dyn Traffic>,
    /// By their jobs: what is being dumped, read back or restored now.
    running: Arc<Mutex<HashMap<i64, CancellationToken>>>,
}

/// What [`Backups::new`] is made of.
pub struct Parts {
    /// The state database.
    pub db: Db,
    /// Seals credentials.
    pub key: Arc<MasterKey>,
    /// The settings.
    pub config: watch::Receiver<Arc<Config>>,
    /// Part of every object's key.
    pub installation: InstallationId,
    /// Dumps without a target go to its `backups/`.
    pub data_dir: PathBuf,
    /// Speaks to stores; trusts `[backup] ca_file`, too.
    pub client: HttpClient,
    /// Runs side containers.
    pub supervisor: Supervisor,
    /// The managed servers.
    pub servers: Arc<dyn Servers>,
    /// Requests on their way.
    pub traffic: Arc<dyn Traffic>,
}

const BACKUP_JOB: &str = "backup";
const PLAN_JOB: &str = "backup.plan";
const CHECK_JOB: &str = "backup.check";
const RETAIN_JOB: &str = "backup.retain";
const RESTORE_JOB: &str = "restore";
const CONFIRM_JOB: &str = "restore.confirm";

impl Backups {
    /// The handle.
    pub fn new(parts: Parts) -> Self {
        Self {
            db: parts.db,
            key: parts.key,
            config: parts.config,
            installation: parts.installation,
            data_dir: parts.data_dir,
            client: Arc::new(Mutex::new(parts.client)),
            supervisor: parts.supervisor,
            servers: parts.servers,
            traffic: parts.traffic,
            running: Arc::default(),
        }
    }

    /// Speaks to stores through another client from now on, such as one that
    /// trusts another root.
    pub fn configure(&self, client: HttpClient) {
        *self.client.lock().unwrap_or_else(PoisonError::into_inner) = client;
    }

    fn client(&self) -> HttpClient {
        let client = self.client.lock();
        client.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Registers the handlers of every job kind of this domain.
    pub fn register(&self, handlers: &mut Handlers) {
        for kind in [RETAIN_JOB, CONFIRM_JOB] {
            handlers.destroys(kind);
        }
        handlers.destroys_when(RESTORE_JOB, restore::overwrites);
        let this = self.clone();
        handlers.on(BACKUP_JOB, MOST, move |context, payload| {
            let this = this.clone();
            async move {
                let _in_work = this.takes_up(context.id, context.cancel.clone());
                this.run_backup(context, payload).await
            }
        });
        let this = self.clone();
        handlers.on_yielding(PLAN_JOB, HOUR, move |context, payload| {
            let this = this.clone();
            async move { this.run_plan(context, payload).await }
        });
        let this = self.clone();
        handlers.on(CHECK_JOB, MOST, move |context, payload| {
            let this = this.clone();
            async move {
                let _in_work = this.takes_up(context.id, context.cancel.clone());
                this.run_check(context, payload).await
            }
        });
        let this = self.clone();
        handlers.on_yielding(RETAIN_JOB, HOUR * 12, move |context, payload| {
            let this = this.clone();
            async move { this.run_retention(context, payload).await }
        });
        let this = self.clone();
        handlers.on(RESTORE_JOB, MOST, move |context, payload| {
            let this = this.clone();
            async move {
                let _in_work = this.takes_up(context.id, context.cancel.clone());
                this.run_restore(context, payload).await
            }
        });
        let this = self.clone();
        handlers.on_yielding(CONFIRM_JOB, HOUR, move |context, payload| {
            let this = this.clone();
            async move { this.run_confirm(context, payload).await }
        });
        let this = self.clone();
        handlers.reap(move || {
            let this = this.clone();
            async move { this.reap().await }
        });
    }

    /// The newest backups first: of one server, or of all.
    ///
    /// # Errors
    /// When there is no such server, or the state database refuses.
    pub async fn list(
        &self,
        database: Option<&str>,
        slice: impl Into<Slice>,
    ) -> Result<Vec<Backup>, BackupError> {
        let id = match database {
            None => None,
            Some(name) => Some(self.server(name).await?.id),
        };
        self.list_of(id, slice).await
    }

    /// [`Self::list`] by the server's row, which may be gone.
    ///
    /// # Errors
    /// Only the state database's.
    pub async fn list_of(
        &self,
        database: Option<i64>,
        slice: impl Into<Slice>,
    ) -> Result<Vec<Backup>, BackupError> {
        let slice = slice.into();
        self.db
            .read(move |c| Ok(store::list(c, database, &slice)?))
            .await
    }

    /// One backup.
    ///
    /// # Errors
    /// [`BackupError::NotFound`] when there is none.
    pub async fn find(&self, id: i64) -> Result<Backup, BackupError> {
        self.db
            .read(move |c| store::by_id(c, id)?.ok_or(BackupError::NotFound(id)))
            .await
    }

    /// A stored dump as a stream; `pg_restore` opens it without us.
    ///
    /// # Errors
    /// When it is not stored, or the store refuses.
    pub async fn download(&self, id: i64) -> Result<(Backup, Reading), BackupError> {
        let backup = self.find(id).await?;
        stored(&backup)?;
        let reading = self.store(backup.target).await?.read(&backup.key).await?;
        Ok((backup, reading))
    }

    /// Unpacks a stored dump to its last byte, into nothing; the outcome is in its row. One that is being
    /// checked goes on.
    ///
    /// # Errors
    /// When it is not stored.
    pub async fn verify(&self, id: i64) -> Result<Backup, BackupError> {
        let backup = self.find(id).await?;
        stored(&backup)?;
        let database = backup.database;
        self.db
            .write(move |tx| {
                let now = UnixMs::now();
                // All checks of a backup write to one row: there is one at a time.
                let runs = store::by_id(tx, id)?.and_then(|b| b.check_state);
                if runs.as_deref() == Some("running")
                    && jobs::worked_on(tx, CHECK_JOB, "backup")?.contains(&id)
                {
                    return Ok(());
                }
                store::set_check(tx, id, "running", None, now)?;
                enqueue(
                    tx,
                    CHECK_JOB,
                    database,
                    serde_json::json!({ "backup": id }),
                    now,
                    now,
                )
            })
            .await?;
        self.find(id).await
    }

    /// When a server's databases are dumped next, and the minute of the day.
    ///
    /// # Errors
    /// Only the state database's.
    pub async fn schedule(&self, database: i64) -> Result<Schedule, BackupError> {
        let known = self
            .db
            .read(move |c| store::schedule(c, database))
            .await
            .map_err(BackupError::Db)?;
        Ok(known.unwrap_or_else(|| self.first_schedule(database, UnixMs::now())))
    }

    pub(super) async fn server(&self, name: &str) -> Result<Server, BackupError> {
        let all = self.servers.list().await?;
        all.into_iter()
            .find(|s| s.name == name)
            .ok_or_else(|| BackupError::NoDatabase(name.chars().take(60).collect()))
    }
}

/// Only what is stored can be read back.
fn stored(backup: &Backup) -> Result<(), BackupError> {
    if backup.state == BackupState::Stored {
        return Ok(());
    }
    let why = backup
        .reason
        .as_deref()
        .map(|r| format!(": {r}"))
        .unwrap_or_default();
    Err(BackupError::Conflict(format!(
        "backup {} is {}{why}. Choose a stored one from `freehold backup list`",
        backup.id,
        backup.state.as_str()
    )))
}

/// Queues work on a server's databases: one at a time, in order.
fn enqueue(
    tx: &rusqlite::Transaction<'_>,
    kind: &'static str,
    database: i64,
    payload: serde_json::Value,
    run_at: UnixMs,
    now: UnixMs,
) -> Result<(), DbError> {
    jobs::enqueue(
        tx,
        now,
        &NewJob {
            kind,
            key: format!("backup:{database}"),
            payload,
            run_at,
        },
    )
    .map(drop)
}

fn number(payload: &serde_json::Value, name: &str) -> Option<i64> {
    payload.get(name).and_then(serde_json::Value::as_i64)
}

#[cfg(test)]
mod tests;
