//! The handle the domains hold.
//!
//! Cheap to clone; all clones speak to the same executor.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::base::clock::UnixMs;
use crate::base::ids::InstallationId;
use crate::base::protocol::Protocol;
use crate::base::secret::MasterKey;
use crate::base::shutdown::Tasks;
use crate::config::Config;
use crate::db::{Db, DbError};
use crate::docker::{Engine, LineStream, LogLine, LogQuery};

use super::deaths::{Death, Deaths};
use super::error::SuperviseError;
use super::executor::Executor;
use super::live::{EngineState, Live};
use super::names::Names;
use super::not_ready::NotReady;
use super::note::Note;
use super::plan::Desired;
use super::run::{ExecOutput, Interactive, JobEnd, Piped, TerminalSize};
use super::shared::{Settings, Shared};
use super::spec::{Kind, Spec};
use super::{check, job, link, piped, ready, store, terminal};

/// A desired container, as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerRow {
    /// Its id, for every later call.
    pub id: i64,
    /// As in its spec.
    pub name: String,
    /// The engine's name of it: `fh-<first 6 of the installation>-<name>`.
    pub engine_name: String,
    /// As in its spec.
    pub kind: Kind,
    /// As in its spec.
    pub owner: String,
    /// SHA-256 of the spec.
    pub spec_hash: String,
}

/// The supervisor's handle.
#[derive(Clone)]
pub struct Supervisor {
    shared: Arc<Shared>,
}

/// Notes that may wait for the executor.
const NOTES: usize = 256;
/// How long the proxy may wait for a second look at an address.
const RECHECK: Duration = Duration::from_millis(500);

impl Supervisor {
    /// Starts the executor and its thread to the engine. The engine need not
    /// answer: what runs is adopted when it does.
    ///
    /// # Errors
    /// When the rows cannot be written.
    pub async fn start(
        engine: Engine,
        db: Db,
        key: Arc<MasterKey>,
        installation: &InstallationId,
        config: &Config,
        tasks: &Tasks,
    ) -> Result<Self, SuperviseError> {
        let (notes, inbox) = mpsc::channel(NOTES);
        let (news, told) = mpsc::channel(NOTES);
        let shared = Arc::new(Shared {
            engine: engine.clone(),
            db,
            key,
            names: Names::new(installation),
            settings: Mutex::new(Arc::new(Settings::from(config))),
            tasks: tasks.clone(),
            notes,
            live: watch::Sender::new(Arc::new(Vec::new())),
            state: watch::Sender::new(EngineState::Unknown),
            deaths: Deaths::default(),
            clock: AtomicU64::new(0),
            networks: tokio::sync::Mutex::new(()),
        });
        let released: Result<usize, DbError> = shared.db.write(store::release_held).await;
        match released {
            Err(error) if error.is_disk_full() => {
                tracing::warn!(%error, "what an earlier daemon held stays until the next start");
            }
            Err(error) => return Err(SuperviseError::State(error.to_string())),
            Ok(_) => {}
        }
        let executor = Executor::new(Arc::clone(&shared));
        tasks.spawn_core("supervise", executor.run(inbox, told));
        shared.kick().await?;
        let filter = shared.names.filter();
        let shutdown = tasks.shutdown().clone();
        tasks.spawn_core("engine", link::follow(engine, filter, news, shutdown));
        let sweeper = Arc::clone(&shared);
        tasks.spawn("network sweep", async move {
            let shutdown = sweeper.tasks.shutdown().clone();
            let mut state = sweeper.state.subscribe();
            let here = async {
                let seen = state.wait_for(|s| matches!(s, EngineState::Reachable { .. }));
                seen.await.is_ok()
            };
            let here = tokio::select! {
                () = shutdown.begun() => false,
                here = here => here,
            };
            if here && let Err(error) = sweeper.sweep_networks().await {
                tracing::debug!(%error, "old networks could not be looked through");
            }
        });
        Ok(Self { shared })
    }

    /// Takes edited settings: checks and waits go by them at once, caps and
    /// subnets are those of what is made from now on.
    ///
    /// # Errors
    /// [`SuperviseError::Stopping`], or when the executor is not heard from.
    pub async fn configure(&self, config: &Config) -> Result<(), SuperviseError> {
        self.shared.configure(config);
        self.shared.kick().await
    }

    /// Writes the wish for this container down and lets the executor make it so.
    /// The same name with the same spec is the same row, untouched; with
    /// another spec the container is replaced in place (stop, remove, make).
    ///
    /// # Errors
    /// When the spec cannot become a container, or the row cannot be written.
    pub async fn want(&self, spec: Spec) -> Result<ContainerRow, SuperviseError> {
        let row = self
            .want_with(spec, |_tx, _row| Ok::<(), DbError>(()))
            .await?;
        Ok(row.0)
    }

    /// As [`Self::want`], with the caller's own change in the same transaction.
    ///
    /// # Errors
    /// As [`Self::want`], and what `also` returns.
    pub async fn want_with<T: Send + 'static>(
        &self,
        spec: Spec,
        also: impl FnOnce(&rusqlite::Transaction<'_>, i64) -> Result<T, DbError> + Send + 'static,
    ) -> Result<(ContainerRow, T), SuperviseError> {
        check::spec(&spec)?;
        let shown = ContainerRow {
            id: 0,
            name: spec.name.clone(),
            engine_name: self.shared.names.of(&spec.name),
            kind: spec.kind,
            owner: spec.owner.clone(),
            spec_hash: String::new(),
        };
        let key = Arc::clone(&self.shared.key);
        let (row, value) = self
            .shared
            .write(move |tx| {
                let row = store::want(tx, &key, &spec, Desired::Running, UnixMs::now())?;
                let value = also(tx, row.id)?;
                Ok((row, value))
            })
            .await?;
        self.shared.kick().await?;
        let row = ContainerRow {
            id: row.id,
            spec_hash: row.spec_hash,
            ..shown
        };
        Ok((row, value))
    }

    /// Writes down that this container should be gone: its stop signal, `grace`,
    /// SIGKILL, removal. Draining was done before by the caller. Returns when it
    /// is written down; `wait_gone` waits for the deed.
    ///
    /// # Errors
    /// When the row cannot be written. A row that is already gone is no error.
    pub async fn retire(&self, id: i64, grace: Duration) -> Result<(), SuperviseError> {
        self.shared
            .write(move |tx| store::retire(tx, id, grace))
            .await?;
        self.shared.kick().await
    }

    /// Waits until a retired container is removed from the engine.
    ///
    /// # Errors
    /// [`SuperviseError::Deadline`] when `limit` is over first.
    pub async fn wait_gone(&self, id: i64, limit: Duration) -> Result<(), SuperviseError> {
        job::wait_gone(&self.shared, id, limit).await
    }

    /// Waits until no job's container of this owner is left whose name begins so, of an earlier daemon neither. Its row goes
    /// after it: while the engine does not say that it is gone, it may well run.
    ///
    /// # Errors
    /// [`SuperviseError::Deadline`] when `limit` is over first.
    pub async fn wait_no_job(
        &self,
        owner: &str,
        begins: &str,
        limit: Duration,
    ) -> Result<(), SuperviseError> {
        job::wait_none(&self.shared, owner, begins, limit).await
    }

    /// Waits until the container is healthy. Fails at once when it ends before
    /// it ever was, else after `deadline`.
    ///
    /// # Errors
    /// [`NotReady`] with check, last answer, listening ports and log.
    pub async fn wait_ready(&self, id: i64, deadline: Duration) -> Result<Live, NotReady> {
        ready::wait_ready(&self.shared, id, deadline).await
    }

    /// Runs a container (kind Job) to its end and hands each line of its output
    /// to `line` as it comes. The result is kept under the spec's name: after a
    /// crash the same call finds the running container again (its output from
    /// the beginning), or returns the result it already had without running it
    /// twice. Use a new name for a new run.
    ///
    /// # Errors
    /// [`SuperviseError::Deadline`] and [`SuperviseError::Cancelled`] only after
    /// the container was seen dead. A non-zero exit code is not an error.
    pub async fn run_job(
        &self,
        spec: Spec,
        deadline: Duration,
        line: impl FnMut(LogLine) + Send,
        cancel: CancellationToken,
    ) -> Result<JobEnd, SuperviseError> {
        check::job(&spec)?;
        job::run_job(&self.shared, spec, deadline, line, cancel).await
    }

    /// Starts a container (kind Job) whose standard output comes as bytes
    /// without loss and, with `stdin`, whose input is the caller's. Its output is
    /// kept nowhere else. It does not outlive the returned value, nor this daemon.
    ///
    /// # Errors
    /// When it cannot be made or started.
    pub async fn run_piped(
        &self,
        spec: Spec,
        stdin: bool,
        deadline: Duration,
        cancel: CancellationToken,
    ) -> Result<Piped, SuperviseError> {
        check::job(&spec)?;
        piped::run_piped(&self.shared, spec, stdin, deadline, cancel).await
    }

    /// Starts a one-off container with the caller's keyboard (`freehold run`).
    ///
    /// # Errors
    /// When it cannot be made or started.
    pub async fn run_interactive(
        &self,
        spec: Spec,
        terminal: Option<TerminalSize>,
    ) -> Result<Interactive, SuperviseError> {
        check::job(&spec)?;
        terminal::run_interactive(&self.shared, spec, terminal).await
    }

    /// Runs a short command inside a running container.
    ///
    /// # Errors
    /// When the container does not run, or `limit` is over.
    pub async fn exec(
        &self,
        id: i64,
        argv: Vec<String>,
        env: BTreeMap<String, String>,
        stdin: Option<Vec<u8>>,
        limit: Duration,
    ) -> Result<ExecOutput, SuperviseError> {
        terminal::exec(&self.shared, id, argv, env, stdin, limit).await
    }

    /// Runs a command inside a running container with the caller's keyboard.
    ///
    /// # Errors
    /// When the container does not run.
    pub async fn exec_interactive(
        &self,
        id: i64,
        argv: Vec<String>,
        env: BTreeMap<String, String>,
        terminal: Option<TerminalSize>,
    ) -> Result<Interactive, SuperviseError> {
        terminal::exec_interactive(&self.shared, id, argv, env, terminal).await
    }

    /// The container's log: its last `tail` lines (all when `None`) since
    /// `since_ms`, and what follows when `follow`.
    ///
    /// # Errors
    /// When there is no such container.
    pub async fn logs(
        &self,
        id: i64,
        tail: Option<u32>,
        since_ms: Option<i64>,
        follow: bool,
    ) -> Result<LineStream, SuperviseError> {
        let live = self.shared.live_of(id);
        let container = live
            .and_then(|l| l.container_id)
            .ok_or_else(|| SuperviseError::NotFound(format!("number {id}")))?;
        let query = LogQuery {
            tail,
            since_ms,
            follow,
        };
        Ok(self.shared.engine.logs(&container, query))
    }

    /// All containers of ours, newest knowledge; ticks at every change.
    pub fn live(&self) -> watch::Receiver<Arc<Vec<Live>>> {
        self.shared.live.subscribe()
    }

    /// How the container of this row died of late, the newest first: at most five since this daemon began.
    pub fn deaths(&self, row: i64) -> Vec<Death> {
        self.shared.deaths.of(row)
    }

    /// Whether the engine answers; ticks at every change.
    pub fn engine(&self) -> watch::Receiver<EngineState> {
        self.shared.state.subscribe()
    }

    /// Asked by the proxy when a connect to `address` failed: looks at the
    /// container again, and `live` ticks before this returns if it moved.
    pub async fn recheck(&self, address: SocketAddr) {
        let (done, seen) = oneshot::channel();
        let note = Note::Recheck { address, done };
        if self.shared.notes.send(note).await.is_ok()
            && tokio::time::timeout(RECHECK, seen).await.is_err()
        {
            tracing::debug!(%address, "a second look at an address took too long");
        }
    }

    /// Told by the proxy when requests to `address` wait long for their answer: a replica that hangs is found out at once,
    /// also one whose check is content with a connection. Never waits.
    pub fn doubt(&self, address: SocketAddr, protocol: Protocol) {
        let note = Note::Doubt { address, protocol };
        if self.shared.notes.try_send(note).is_err() {
            tracing::debug!(%address, "a doubt about a container is dropped; the next one comes");
        }
    }

    /// Makes sure that this network of ours exists, with a subnet of its own.
    ///
    /// # Errors
    /// When no subnet is left or the engine refuses.
    pub async fn ensure_network(&self, name: &str) -> Result<(), SuperviseError> {
        check::name("network", name)?;
        self.shared.ensure_network(name).await
    }

    /// Removes this network of ours and frees its subnet; none there is no error.
    ///
    /// # Errors
    /// When containers are still in it.
    pub async fn remove_network(&self, name: &str) -> Result<(), SuperviseError> {
        check::name("network", name)?;
        self.shared.remove_network(name).await
    }

    /// Makes sure that this volume of ours exists.
    ///
    /// # Errors
    /// When the engine refuses, or the name belongs to another installation.
    pub async fn ensure_volume(&self, name: &str) -> Result<(), SuperviseError> {
        check::name("volume", name)?;
        self.shared.ensure_volume(name).await
    }

    /// Removes this volume of ours with its data; none there is no error.
    ///
    /// # Errors
    /// When a container uses it, or it is not ours.
    pub async fn remove_volume(&self, name: &str) -> Result<(), SuperviseError> {
        check::name("volume", name)?;
        self.shared.remove_volume(name).await
    }

    /// The engine's name of a volume of ours, for inspection.
    pub fn volume_engine_name(&self, name: &str) -> String {
        self.shared.names.of(name)
    }

    /// The label (`key=value`) that everything of ours carries: also to be set
    /// on the images we build, and used to find them.
    pub fn installation_label(&self) -> String {
        self.shared.names.filter()
    }
}
