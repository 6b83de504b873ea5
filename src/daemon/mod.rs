//! The composition root: opens, builds, registers job handlers, spawns, shuts
//! down in order. Nothing else wires anything.
//!
//! Order of start: config, data folder, lease, key, databases, sockets,
//! domains, then the edge and the two web sockets, then `READY=1`. Order of
//! stop: the edge drains (5 s), the tasks end, what is queued stays queued.

mod about;
mod clock_watch;
mod connects;
mod edge_watch;
mod findings;
mod handlers;
mod keeping;
mod lease;
mod logging;
mod ports;
mod publisher;
mod route_folders;
mod settings;
mod sockets;
mod static_folders;
mod upstream_checks;
mod upstreams;
mod wanted;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::access_log::AccessLog;
use crate::apps::Apps;
use crate::audit::Audit;
use crate::backup::{self, Backups};
use crate::base::atomic_file;
use crate::base::clock::UnixMs;
use crate::base::policies::VerifierKey;
use crate::base::secret::MasterKey;
use crate::base::shutdown::{Shutdown, Tasks};
use crate::certs::{self, Certs};
use crate::config::{self, Config};
use crate::db::{self, Db, Kind};
use crate::deploy::{self, Deploys};
use crate::docker::Engine;
use crate::events::Events;
use crate::git::Git;
use crate::host::descriptors;
use crate::http_client::HttpClient;
use crate::jobs::{Handlers, Jobs};
use crate::monitor::{self, Monitor};
use crate::postgres::Databases;
use crate::proxy::Edge;
use crate::supervise::Supervisor;
use crate::users::Users;
use crate::web;

use about::About;
use publisher::Publisher;
use wanted::Gather;

/// What `freehold serve` was told.
#[derive(Debug)]
pub struct Start {
    /// The config file.
    pub config: PathBuf,
    /// Instead of the config's data folder.
    pub data_dir: Option<PathBuf>,
    /// The log as lines of JSON wherever it goes.
    pub json: bool,
}

/// Threads of the control plane.
const WORKERS: usize = 2;
/// Threads that may block at once (SQLite readers, argon2, files).
const BLOCKING: usize = 16;

/// Runs the daemon until it is told to stop.
///
/// # Errors
/// A sentence that says why it could not start.
pub fn main(start: Start) -> Result<(), String> {
    logging::start(start.json);
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| "another crypto provider is already installed".to_owned())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(BLOCKING)
        .thread_name("control")
        .enable_all()
        .build()
        .map_err(|e| format!("the runtime did not start: {e}"))?;
    let done = runtime.block_on(run(start));
    runtime.shutdown_timeout(Duration::from_secs(2));
    done
}

async fn run(start: Start) -> Result<(), String> {
    let routes_d = Config::routes_d(&start.config);
    let (mut config, mistake) =
        Config::load_or_kept(&start.config, &routes_d, start.data_dir.as_deref()).map_err(words)?;
    if let Some(mistake) = mistake {
        tracing::error!(%mistake, "starting with the settings that were last in force");
    }
    if let Some(data_dir) = start.data_dir {
        config.data_dir = data_dir;
    }
    tell_descriptors(descriptors::raise(), &config);
    let config = Arc::new(config);
    let data_dir = config.data_dir.clone();
    for folder in ["repos", "builds", "backups"] {
        private_folder(&data_dir.join(folder))?;
    }
    std::fs::create_dir_all(&config.run_dir)
        .map_err(|e| format!("{}: {e}", config.run_dir.display()))?;
    let lease = lease::Lease::take(&data_dir)?;
    let master = Arc::new(master_key(&data_dir)?);
    let db = Db::open(&data_dir.join("state.db"), Kind::State).map_err(words)?;
    let metrics = Db::open(&data_dir.join("metrics.db"), Kind::Metrics).map_err(words)?;
    let installation = db.installation().await.map_err(words)?;
    let sockets = sockets::take(config.listen.http, config.listen.https)?;
    let listen = sockets.listen(&config.listen);
    let tasks = Tasks::new(Shutdown::new());
    let events = Events::start(db.clone(), &tasks).await.map_err(words)?;
    let held = sockets.held.then(|| listen.clone());
    let watched = config::watch(&start.config, &routes_d, Arc::clone(&config), held, &tasks);
    let at_start = watched.waiting.borrow().clone();
    let audit = Audit::new(db.clone());
    audit.spawn(&tasks);
    settings::record_changes(watched.changes, db.clone(), audit.clone(), at_start, &tasks).await;

    let certs = Certs::open(
        db.clone(),
        Arc::clone(&master),
        certs::Settings::new(config.acme.clone()),
    )
    .await
    .map_err(words)?;
    let apps = Apps::new(
        db.clone(),
        Arc::clone(&master),
        settings::reserved(watched.settings.clone()),
    );
    let engine = Engine::connect(&config.docker.host).map_err(words)?;
    let clock = clock_watch::ClockWatch {
        db: db.clone(),
        apps: apps.clone(),
        certs: certs.clone(),
    };
    // Before anything waits for what is stored.
    clock.start(&tasks).await;
    let supervisor = Supervisor::start(
        engine.clone(),
        db.clone(),
        Arc::clone(&master),
        &installation,
        &config,
        &tasks,
    )
    .await
    .map_err(words)?;
    let users = Users::new(db.clone(), Arc::clone(&master));
    let (databases, looker) = Databases::new(
        db.clone(),
        Arc::clone(&master),
        engine.clone(),
        supervisor.clone(),
    );

    let (failed, failures) = tokio::sync::mpsc::channel(256);
    let mut edge = Edge::start_closed(
        sockets.listeners,
        Arc::default(),
        settings::limits(&config),
        failed,
    )
    .map_err(|e| format!("the edge did not start: {e}"))?;
    edge.trust(settings::proxies(&config));
    edge.log(config.access_log.share, config.access_log.query);
    let log_settings = settings::access_log(&config);
    let access_log = edge
        .entries()
        .map(|entries| AccessLog::start(entries, &data_dir.join("logs"), log_settings, &tasks));
    let (publisher, publishing) = Publisher::new(edge.handle());
    let deploys = Deploys::open(
        db.clone(),
        Arc::clone(&master),
        deploy::Ports {
            apps: Arc::new(ports::deploy::AppsPort(apps.clone())),
            attachments: Arc::new(ports::deploy::AttachmentsPort(databases.clone())),
            traffic: Arc::new(ports::deploy::TrafficPort(publisher.clone())),
            images: Arc::new(engine.clone()),
            containers: Arc::new(supervisor.clone()),
        },
        Git::new(&data_dir.join("git"), config.git.ca_file.as_deref()).map_err(words)?,
        settings::deploys(&config),
        installation.clone(),
    )
    .await
    .map_err(words)?;
    publishing.start(
        Gather {
            settings: watched.settings.clone(),
            commits: db.commits(),
            live: supervisor.live(),
            certificates: certs.current(),
            apps: apps.clone(),
            deploys: deploys.clone(),
            upstreams: upstreams::Upstreams::checked(upstream_checks::start(
                watched.settings.clone(),
                &tasks,
            )),
            folders: route_folders::RouteFolders::default(),
            edge_socket: config.run_dir.join("edge.sock"),
            verifiers: VerifierKey::of(&master),
        },
        certs.clone(),
        &tasks,
    );
    connects::recheck(failures, supervisor.clone(), &tasks);
    let attack = edge_watch::start(edge.handle(), db.clone(), &tasks);
    let unkept = keeping::start(db.clone(), &tasks);

    let mut handlers = Handlers::default();
    certs.register(&mut handlers, Arc::new(publisher.clone()));
    deploys.handle(&mut handlers);
    handlers::databases(&mut handlers, &databases, &deploys);
    looker.start(databases.clone(), &tasks);
    let backups = Backups::new(backup::Parts {
        db: db.clone(),
        key: Arc::clone(&master),
        config: watched.settings.clone(),
        installation: installation.clone(),
        data_dir: data_dir.clone(),
        client: HttpClient::new(config.backup.ca_file.clone()).map_err(words)?,
        supervisor: supervisor.clone(),
        servers: Arc::new(ports::backup::ServersPort(databases.clone())),
        traffic: Arc::new(ports::backup::TrafficPort {
            apps: apps.clone(),
            publisher: publisher.clone(),
        }),
    });
    backups.register(&mut handlers);
    let jobs = Jobs::start(db.clone(), handlers, &tasks)
        .await
        .map_err(words)?;
    backups.start(&tasks);
    certs.spawn(&tasks);
    let root_file = config.run_dir.join("root.pem");
    atomic_file::write(&root_file, certs.root().pem.as_bytes(), 0o644)
        .map_err(|e| format!("{}: {e}", root_file.display()))?;
    let followers = settings::Followers {
        edge: edge.handle(),
        access_log,
        certs: certs.clone(),
        supervisor: supervisor.clone(),
        deploys: deploys.clone(),
        backups: backups.clone(),
        git_dir: data_dir.join("git"),
        db: db.clone(),
    };
    settings::follow(watched.settings.clone(), followers, &tasks);
    let settings_now = watched.settings.clone();
    let monitor = Monitor::start(
        monitor::Parts {
            state: db.clone(),
            metrics,
            world: Arc::new(ports::monitor::WorldPort {
                edge: edge.handle(),
                apps: apps.clone(),
                deploys: deploys.clone(),
                supervisor: supervisor.clone(),
                databases: databases.clone(),
                backups: backups.clone(),
                certs: certs.clone(),
                settings: watched.settings.clone(),
                refused: watched.refused.clone(),
                waiting: watched.waiting,
                attack,
                unkept,
                db: db.clone(),
                listen: listen.clone(),
                root_file: root_file.clone(),
            }),
            settings: watched.settings.clone(),
            data_dir: data_dir.clone(),
            edge: listen.https,
            extra_roots: ports::monitor::extra_roots(&certs, &config),
        },
        &tasks,
    )?;
    let about = About {
        installation: installation.to_string(),
        started: UnixMs::now(),
        settings: watched.settings.clone(),
        examiner: ports::doctor::Examiner {
            settings: watched.settings.clone(),
            listen: listen.clone(),
            held: sockets.held,
            db: db.clone(),
            apps: apps.clone(),
            certs: certs.clone(),
            backups: backups.clone(),
            monitor: monitor.clone(),
            last: Arc::default(),
        },
        https: listen.https,
        root_file,
        users: users.clone(),
        certs: certs.clone(),
        apps: apps.clone(),
        live: supervisor.live(),
        supervisor: supervisor.clone(),
        monitor: monitor.clone(),
    };
    let app = Arc::new(web::Services {
        about: Arc::new(about),
        installation: installation.clone(),
        settings: watched.settings,
        settings_refused: watched.refused,
        listen,
        db: db.clone(),
        key: Arc::clone(&master),
        events,
        audit,
        users,
        forms: web::FormKey::new(master.derive("the tokens of forms")),
        apps,
        certs,
        live: supervisor.live(),
        supervisor,
        deploys,
        hook_room: web::HookRoom::default(),
        databases,
        backups,
        monitor,
    });
    // One for both: a change that is alone with its thing is so on either socket.
    let rows = web::router(app);
    web::serve_edge(&config.run_dir.join("edge.sock"), rows.clone(), &tasks)
        .map_err(|e| format!("edge.sock: {e}"))?;
    web::serve_local(&config.run_dir.join("freehold.sock"), rows, &tasks)
        .map_err(|e| format!("freehold.sock: {e}"))?;
    publisher.published().await?;
    edge.open();
    tracing::info!(%installation, data_dir = %data_dir.display(), "Freehold is up");
    notify(&[sd_notify::NotifyState::Ready]);
    tokio::select! {
        told = told_to_stop() => told?,
        // Systemd starts what ends; nothing here can make a part anew that panicked.
        () = tasks.shutdown().begun() => {}
    }
    notify(&[sd_notify::NotifyState::Stopping]);
    let drain = settings_now.borrow().drain.daemon;
    edge.drain(drain).await;
    if !tasks.finish(Duration::from_secs(3)).await {
        tracing::warn!(
            tasks = ?tasks.running(),
            "some work did not end in time and was cut; it is taken up at the next start"
        );
    }
    drop((lease, master, jobs));
    match tasks.lost() {
        Some(name) => Err(format!(
            "the part \"{name}\" of the daemon panicked: the log above says where; it is started again by systemd"
        )),
        None => Ok(()),
    }
}

/// Says so where strangers get less room than the settings say.
fn tell_descriptors(allowed: u64, config: &Config) {
    let wanted = config.limits.connections;
    let fit = descriptors::connections(wanted, allowed);
    if fit < wanted {
        tracing::warn!(
            allowed,
            "the edge takes {fit} connections at once, and not the {wanted} of limits.connections: this process may have {allowed} file descriptors, and the rest needs some. Raise LimitNOFILE of freehold.service"
        );
    }
}

/// The key of this data folder; a new one only for a folder that has no state
/// yet, because what is sealed in that opens with no other. A folder that had
/// state and lost it is no new one either: a first start makes the key, then
/// the state, then the figures.
fn master_key(data_dir: &Path) -> Result<MasterKey, String> {
    let (key, state) = (data_dir.join("master.key"), data_dir.join("state.db"));
    let figures = data_dir.join("metrics.db");
    let there = |path: &Path| {
        path.try_exists()
            .map_err(|e| format!("{}: {e}", path.display()))
    };
    // It is made anew from them.
    let kept = db::has_snapshots(&state);
    if (there(&state)? || kept) && !there(&key)? {
        return Err(format!(
            "{key} is missing, and {state} is there: the passwords, keys and environments in it open with that key only, so no new one is made. \
             Bring the file back (32 bytes, `chown freehold:freehold`, `chmod 600`) from the backup or snapshot of this box, from the box that {folder} was copied from, \
             or from wherever the key was put aside. Only if it is lost for good: move {state} and {safe} away to begin anew.",
            key = key.display(),
            state = state.display(),
            safe = state.with_extension("safe").display(),
            folder = data_dir.display(),
        ));
    }
    if there(&key)? && there(&figures)? && !there(&state)? && !kept {
        return Err(format!(
            "{state} is missing, and {key} and {figures} are there: it held the apps, domains, databases and their passwords of this box, so no empty one is made in its place. \
             Bring the file back (`chown freehold:freehold`, `chmod 600`) from the backup or snapshot of this box; what runs in Docker is untouched meanwhile. \
             Only if it is lost for good: move {key} away to begin anew, and what runs now is then nobody's.",
            key = key.display(),
            state = state.display(),
            figures = figures.display(),
        ));
    }
    MasterKey::open_or_create(&key).map_err(words)
}

fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn private_folder(path: &Path) -> Result<(), String> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|e| format!("{} cannot be made: {e}", path.display()))
}

/// Tells systemd; elsewhere this is nothing.
fn notify(state: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "systemd was not told");
    }
}

async fn told_to_stop() -> Result<(), String> {
    let mut term = signal(SignalKind::terminate()).map_err(|e| e.to_string())?;
    let mut int = signal(SignalKind::interrupt()).map_err(|e| e.to_string())?;
    let mut hang_up = signal(SignalKind::hangup()).map_err(|e| e.to_string())?;
    loop {
        tokio::select! {
            _ = term.recv() => return Ok(()),
            _ = int.recv() => return Ok(()),
            _ = hang_up.recv() => tracing::info!(
                "told to read the settings again (SIGHUP): they are read whenever they are saved, so there is nothing to do"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n7_a_lost_state_is_no_new_one_beside_the_key_that_sealed_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        // Killed at its first start, after the key and before the state.
        master_key(folder.path()).unwrap();
        master_key(folder.path()).unwrap();
        for name in ["state.db", "metrics.db"] {
            std::fs::write(file(name), "").unwrap();
        }
        master_key(folder.path()).unwrap();
        std::fs::remove_file(file("state.db")).unwrap();
        let why = master_key(folder.path()).unwrap_err();
        assert!(why.contains("state.db is missing"), "{why}");
        assert!(why.contains("Bring the file back"), "{why}");
        // As the sentence says: begun anew on purpose.
        std::fs::rename(file("master.key"), file("old.key")).unwrap();
        master_key(folder.path()).unwrap();
    }

    #[test]
    fn f8_a_lost_master_key_is_no_new_one_beside_what_it_sealed() {
        let folder = tempfile::tempdir().unwrap();
        let (key, state) = (
            folder.path().join("master.key"),
            folder.path().join("state.db"),
        );
        master_key(folder.path()).unwrap();
        std::fs::write(&state, "").unwrap();
        master_key(folder.path()).unwrap();
        std::fs::remove_file(&key).unwrap();
        let why = master_key(folder.path()).unwrap_err();
        assert!(why.contains(&key.display().to_string()), "{why}");
        assert!(why.contains("Bring the file back"), "{why}");
        assert!(!key.exists(), "a new key was written");
        std::fs::remove_file(&state).unwrap();
        master_key(folder.path()).unwrap();
        assert!(key.exists());
    }
}
