//! The control plane: opens, builds, registers job handlers, spawns. Nothing else wires anything.
//!
//! Order of start: key, databases, domains, publisher, jobs, then the two web sockets; it has begun once the edge serves
//! what is committed. It runs on a runtime of its own, so that it can end as a whole while the edge serves on.

use std::collections::HashMap;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};

use super::about::About;
use super::lease::Lease;
use super::publisher::Publisher;
use super::wanted::Gather;
use super::{
    clock_watch, connects, edge_watch, handlers, keeping, key, ports, route_folders, settings,
    upstream_checks, upstreams,
};
use crate::access_log::AccessLog;
use crate::apps::Apps;
use crate::audit::Audit;
use crate::backup::{self, Backups};
use crate::base::atomic_file;
use crate::base::clock::UnixMs;
use crate::base::ids::InstallationId;
use crate::base::policies::VerifierKey;
use crate::base::shutdown::{Shutdown, Tasks};
use crate::certs::{self, Certs};
use crate::config::{self, Config, Listen};
use crate::db::{Db, Kind};
use crate::deploy::{self, Deploys};
use crate::docker::Engine;
use crate::events::Events;
use crate::git::Git;
use crate::http_client::HttpClient;
use crate::jobs::{Handlers, Jobs};
use crate::monitor::{self, Monitor};
use crate::postgres::Databases;
use crate::proxy::{EdgeHandle, Reading, Trouble};
use crate::supervise::Supervisor;
use crate::users::Users;
use crate::web;

/// Threads that it runs on.
const WORKERS: usize = 2;
/// Threads that may block at once (SQLite readers, argon2, files).
const BLOCKING: usize = 16;
/// For its tasks to end by themselves.
const FINISH: Duration = Duration::from_secs(3);
/// For those that did not, to be dropped where they stand.
const DROP: Duration = Duration::from_secs(2);
/// For those that block, to come to their end.
const BLOCKED: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(10);
/// What its threads are called.
const NAME: &str = "control";

/// What it stands on, which is there before it and outlasts it.
pub struct Ground {
    pub config_file: PathBuf,
    pub config: Arc<Config>,
    pub edge: EdgeHandle,
    pub access_log: Option<AccessLog>,
    pub troubles: mpsc::Receiver<Trouble>,
    pub listen: Listen,
    /// Somebody else holds the sockets for us.
    pub held: bool,
    pub edge_socket: UnixListener,
    pub local_socket: UnixListener,
    /// True once nobody serves from an older process any more.
    pub predecessor: watch::Receiver<bool>,
    pub handovers: web::Handovers,
    /// What routes had counted when figures were written down for the last time.
    pub counted: watch::Sender<Option<Arc<HashMap<String, Reading>>>>,
}

/// A control plane that acts, with the right to.
pub struct Control {
    runtime: Runtime,
    running: Running,
    lease: Lease,
}

struct Running {
    installation: InstallationId,
    tasks: Tasks,
    state: Db,
    metrics: Db,
    settings: watch::Receiver<Arc<Config>>,
    _jobs: Jobs,
}

impl Control {
    /// Starts it; the edge serves what is committed when this returns.
    ///
    /// # Errors
    /// A sentence that says why it could not start.
    pub async fn start(lease: Lease, ground: Ground) -> Result<Self, String> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .max_blocking_threads(BLOCKING)
            .thread_name(NAME)
            .enable_all()
            .build()
            .map_err(|e| format!("the runtime did not start: {e}"))?;
        let begun = runtime.spawn(begin(ground)).await;
        match begun.unwrap_or_else(|_| Err("the start panicked; see the log above".into())) {
            Ok(running) => Ok(Self {
                runtime,
                running,
                lease,
            }),
            Err(why) => {
                runtime.shutdown_background();
                // What had begun ends with this process, and the lease not before.
                std::mem::forget(lease);
                Err(why)
            }
        }
    }

    /// Its own wish to end: a part panicked that it cannot do without.
    pub async fn wants_to_end(&self) {
        self.running.tasks.shutdown().begun().await;
    }

    pub fn installation(&self) -> &InstallationId {
        &self.running.installation
    }

    pub fn state(&self) -> &Db {
        &self.running.state
    }

    pub fn settings(&self) -> Arc<Config> {
        self.running.settings.borrow().clone()
    }

    /// Ends it as a whole: when this returns, nothing of it acts any more, and the lease is free.
    ///
    /// # Errors
    /// That it had begun to end by itself, and which part panicked.
    pub async fn end(self) -> Result<(), String> {
        let tasks = self.running.tasks.clone();
        if !tasks.finish(FINISH).await {
            tracing::warn!(
                tasks = ?tasks.running(),
                "some work did not end in time and was cut; it is taken up at the next start"
            );
        }
        // Whatever still runs writes nothing from here on.
        self.running.state.close().await;
        self.running.metrics.close().await;
        let runtime = self.runtime;
        let dropped = tokio::task::spawn_blocking(move || runtime.shutdown_timeout(DROP)).await;
        if dropped.is_err() {
            tracing::error!("the end of the control plane panicked");
        }
        // What blocks cannot be dropped where it stands: a copy of a folder, a snapshot.
        let since = Instant::now();
        while threads() > 0 && since.elapsed() < BLOCKED {
            tokio::time::sleep(LOOK).await;
        }
        if threads() > 0 {
            tracing::error!(
                "work that blocks has not ended within {} s; whatever it still does, it writes to no database",
                BLOCKED.as_secs()
            );
        }
        drop(self.running);
        drop(self.lease);
        match tasks.lost() {
            Some(name) => Err(format!(
                "the part \"{name}\" of the daemon panicked: the log above says where; it is started again by systemd"
            )),
            None => Ok(()),
        }
    }
}

/// How many threads of it there are.
fn threads() -> usize {
    let Ok(all) = std::fs::read_dir("/proc/self/task") else {
        return 0;
    };
    let named = all.flatten().filter(|thread| {
        std::fs::read_to_string(thread.path().join("comm")).is_ok_and(|name| name.trim() == NAME)
    });
    named.count()
}

async fn begin(ground: Ground) -> Result<Running, String> {
    let (config, edge, listen) = (ground.config, ground.edge, ground.listen);
    let data_dir = config.data_dir.clone();
    let master = Arc::new(key::master_key(&data_dir)?);
    edge.mark_by(master.derive("sticky cookies").expose().as_bytes());
    let db = Db::open(&data_dir.join("state.db"), Kind::State).map_err(words)?;
    let metrics = Db::open(&data_dir.join("metrics.db"), Kind::Metrics).map_err(words)?;
    let figures = metrics.clone();
    let installation = db.installation().await.map_err(words)?;
    let tasks = Tasks::new(Shutdown::new());
    let events = Events::start(db.clone(), &tasks).await.map_err(words)?;
    let held = ground.held.then(|| listen.clone());
    let watched = config::watch(
        &ground.config_file,
        &Config::routes_d(&ground.config_file),
        Arc::clone(&config),
        held,
        &tasks,
    );
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

    let (publisher, publishing) = Publisher::new(edge.clone(), ground.predecessor);
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
    let ill = upstream_checks::start(watched.settings.clone(), &tasks);
    publishing.start(
        Gather {
            settings: watched.settings.clone(),
            commits: db.commits(),
            live: supervisor.live(),
            certificates: certs.current(),
            apps: apps.clone(),
            deploys: deploys.clone(),
            upstreams: upstreams::Upstreams::checked(ill.clone()),
            folders: route_folders::RouteFolders::default(),
            edge_socket: config.run_dir.join("edge.sock"),
            verifiers: VerifierKey::of(&master),
        },
        certs.clone(),
        &tasks,
    );
    connects::recheck(ground.troubles, supervisor.clone(), &tasks);
    let attack = edge_watch::start(edge.clone(), db.clone(), &tasks);
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
        edge: edge.clone(),
        access_log: ground.access_log,
        certs: certs.clone(),
        supervisor: supervisor.clone(),
        deploys: deploys.clone(),
        backups: backups.clone(),
        git_dir: data_dir.join("git"),
        db: db.clone(),
    };
    settings::follow(watched.settings.clone(), followers, &tasks);
    let settings = watched.settings.clone();
    let monitor = Monitor::start(
        monitor::Parts {
            state: db.clone(),
            metrics,
            world: Arc::new(ports::monitor::WorldPort {
                edge: edge.clone(),
                apps: apps.clone(),
                deploys: deploys.clone(),
                supervisor: supervisor.clone(),
                ill,
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
            counted: ground.counted,
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
            held: ground.held,
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
        handovers: ground.handovers,
    });
    // One for both: a change that is alone with its thing is so on either socket.
    let rows = web::router(app);
    let sockets = "the dashboard's sockets";
    web::serve_edge(ground.edge_socket, rows.clone(), &tasks)
        .map_err(|e| format!("{sockets}: {e}"))?;
    web::serve_local(ground.local_socket, rows, &tasks).map_err(|e| format!("{sockets}: {e}"))?;
    publisher.published().await?;
    Ok(Running {
        installation,
        tasks,
        state: db,
        metrics: figures,
        settings,
        _jobs: jobs,
    })
}

fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}
