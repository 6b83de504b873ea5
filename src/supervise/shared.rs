//! What every part of the supervisor holds.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, Transaction};
use tokio::sync::{mpsc, oneshot, watch};

use crate::base::retry::Backoff;
use crate::base::secret::MasterKey;
use crate::base::shutdown::Tasks;
use crate::config::Config;
use crate::db::{Db, DbError};
use crate::docker::Engine;

use super::deaths::Deaths;
use super::error::SuperviseError;
use super::health::Rhythm;
use super::live::{EngineState, Live};
use super::names::Names;
use super::note::Note;
use super::plan::Orphans;
use super::subnet::Range;
use super::unit::Turns;

/// For a replica whose long answer is over to be seen to be well again.
const CHECKS: Duration = Duration::from_secs(10);

/// The settings that matter here.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) rhythm: Rhythm,
    pub(super) turns: Turns,
    pub(super) backoff: Backoff,
    /// How long a replica may be ill beside one that is well, and half as long as it may be silent where none is: longer than
    /// any answer may take, since a process that can do one thing at a time is not ill while it does that.
    pub(super) patience: Duration,
    pub(super) log_size: u64,
    pub(super) log_files: u32,
    pub(super) drop_capabilities: Vec<String>,
    pub(super) no_new_privileges: bool,
    pub(super) pool: Range,
    pub(super) prefix: u8,
}

impl From<&Config> for Settings {
    fn from(config: &Config) -> Self {
        Self {
            rhythm: Rhythm {
                starting: config.health.starting_interval,
                after: config.health.interval,
            },
            turns: Turns {
                healthy_after: config.health.healthy_after,
                unhealthy_after: config.health.unhealthy_after,
            },
            backoff: Backoff {
                first: config.container.restart_first,
                max: config.container.restart_longest,
                factor: 2,
            },
            patience: config.timeouts.answer + CHECKS,
            log_size: config.container.log_size,
            log_files: config.container.log_files,
            drop_capabilities: config.container.drop_capabilities.clone(),
            no_new_privileges: config.container.no_new_privileges,
            pool: Range::new(config.network.subnets.base, config.network.subnets.prefix),
            prefix: config.network.prefix,
        }
    }
}

/// Held by the handle, the executor and the tasks it starts.
pub(super) struct Shared {
    pub(super) engine: Engine,
    pub(super) db: Db,
    pub(super) key: Arc<MasterKey>,
    pub(super) names: Names,
    pub(super) settings: Mutex<Arc<Settings>>,
    pub(super) tasks: Tasks,
    pub(super) notes: mpsc::Sender<Note>,
    pub(super) live: watch::Sender<Arc<Vec<Live>>>,
    pub(super) state: watch::Sender<EngineState>,
    /// How containers died.
    pub(super) deaths: Deaths,
    /// Orders sightings: a later number was asked for later.
    pub(super) clock: AtomicU64,
    /// One network is given its subnet at a time.
    pub(super) networks: tokio::sync::Mutex<()>,
}

impl Shared {
    /// The settings in force now.
    pub(super) fn settings(&self) -> Arc<Settings> {
        let settings = self.settings.lock();
        Arc::clone(&settings.unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn configure(&self, config: &Config) {
        let new = Arc::new(Settings::from(config));
        *self.settings.lock().unwrap_or_else(PoisonError::into_inner) = new;
    }

    pub(super) fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, DbError> + Send + 'static,
    ) -> Result<T, SuperviseError> {
        self.db
            .write(work)
            .await
            .map_err(|e: DbError| SuperviseError::State(e.to_string()))
    }

    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, DbError> + Send + 'static,
    ) -> Result<T, SuperviseError> {
        self.db
            .read(work)
            .await
            .map_err(|e: DbError| SuperviseError::State(e.to_string()))
    }

    /// Whether what no row knows may be removed: not while the state was made anew and nobody has confirmed it, nor
    /// while that cannot be read.
    pub(super) async fn orphans(&self) -> Orphans {
        match self.db.recoveries().await {
            Ok(open) if open.is_empty() => Orphans::Go,
            Ok(_) => Orphans::Stay,
            Err(error) => {
                tracing::warn!(%error, "whether the state was made anew cannot be read; what no row knows stays");
                Orphans::Stay
            }
        }
    }

    /// Lets the executor read the rows again; returns when `live` shows them.
    pub(super) async fn kick(&self) -> Result<(), SuperviseError> {
        let (done, seen) = oneshot::channel();
        self.notes
            .send(Note::Rows(Some(done)))
            .await
            .map_err(|_| SuperviseError::Stopping)?;
        match tokio::time::timeout(Duration::from_secs(30), seen).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(SuperviseError::Stopping),
            Err(_) => Err(SuperviseError::State(
                "the executor did not take the change up within 30 s".to_owned(),
            )),
        }
    }

    /// The present of one row.
    pub(super) fn live_of(&self, row: i64) -> Option<Live> {
        self.live.borrow().iter().find(|l| l.row == row).cloned()
    }
}
