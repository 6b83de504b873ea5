//! Deploys: the work that makes a release live, and going back.
//!
//! A deploy is a row with a state (`state.rs`); its job goes from state to
//! state, each written before its work begins and each harmless when done
//! again, so a crash at any line is taken up where it was. Before `Switching`
//! nothing live is touched; the switch is one transaction on `app_live`, from
//! which routing publishes; then the old containers are drained and stopped, by a job of
//! its own in nobody's way.
//! Left to others: running containers (supervise), the proxy (through
//! `ports::Traffic`), apps and databases (through `ports`).

mod app_file;
mod build;
mod cache;
mod check;
mod collect;
mod context;
mod create;
mod dockerfile;
mod drain;
mod error;
mod fetch;
#[cfg(freehold_fuzz)]
pub mod fuzz;
pub mod hooks;
mod image_name;
mod intake;
mod log;
mod mask;
mod places;
mod plan;
pub mod ports;
mod queries;
mod real;
mod reap;
mod release;
mod removal;
mod replicas;
mod reuse;
mod room;
mod row;
mod run;
mod settings;
mod source;
mod start;
mod state;
mod static_copy;
mod static_folder;
mod steps;
mod store;
mod switch;
mod watch;
mod words;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::base::ids::InstallationId;
use crate::base::mono::Mono;
use crate::base::secret::{MasterKey, hmac_sha256};
use crate::db::{Db, DbError};
use crate::git::Git;
use crate::jobs::{self, Handlers, Limit, Owed};

pub use app_file::{AppFile, FILE_NAME, Process};
pub use error::DeployError;
pub use intake::{Answer, Incoming, answer_for_no_app};
pub use log::{Line, Logs};
pub use ports::Ports;
pub use row::{Cause, Deploy, Facing, NewDeploy, Release, Serving};
pub use source::{Site, Source};
pub use state::State;
pub use static_folder::Files;
pub use steps::crash_points;

use image_name::Own;
use places::Places;

/// What deploying is allowed, from the box's settings.
#[derive(Clone, Debug)]
pub struct Limits {
    /// `repos/` and `builds/` are in it.
    pub data_dir: PathBuf,
    /// How long a new release is watched.
    pub watch: Duration,
    /// Releases kept an app.
    pub releases_kept: usize,
    /// Memory of a build; half of the box's when `None`.
    pub build_memory: Option<u64>,
    /// Processors of all build steps together; all when `None`.
    pub build_cpus: Option<f64>,
    /// Their weight against other work; everything else has 100.
    pub build_cpu_weight: u32,
    /// Builds at once.
    pub builds_at_once: usize,
    /// The longest build.
    pub build_deadline: Duration,
    /// Free disk without which no build starts.
    pub free_disk: u64,
    /// Free memory without which no build starts.
    pub free_memory: u64,
    /// The longest start of a container.
    pub start_deadline: Duration,
    /// How long an old replica may finish, where its app says nothing.
    pub drain: Duration,
    /// Processes at once in a container.
    pub pids: u32,
    /// The largest upload that is taken.
    pub largest_upload: u64,
    /// What the build cache may take on disk.
    pub cache_bytes: u64,
}

impl Limits {
    /// The product's defaults.
    pub fn new(data_dir: PathBuf) -> Self {
        Self {
            data_dir,
            watch: Duration::from_secs(60),
            releases_kept: 5,
            build_memory: None,
            build_cpus: None,
            build_cpu_weight: 20,
            builds_at_once: 1,
            build_deadline: Duration::from_secs(30 * 60),
            free_disk: 2 << 30,
            free_memory: 256 << 20,
            start_deadline: Duration::from_secs(60),
            drain: Duration::from_secs(30),
            pids: 512,
            largest_upload: 2 << 30,
            cache_bytes: 3 << 30,
        }
    }
}

impl Limits {
    /// Above what all steps of a deploy are bounded by, its wait for a place to build included.
    fn longest_deploy(&self) -> Duration {
        let steps = State::ALL.into_iter().filter(|s| !s.is_handed_on());
        let steps: Duration = steps.map(|s| s.deadline(self.build_deadline)).sum();
        places::LONGEST_WAIT + steps + SLACK
    }
}

/// The handle; cheap to clone.
#[derive(Clone)]
pub struct Deploys(Arc<Inner>);

struct Inner {
    db: Db,
    key: Arc<MasterKey>,
    ports: Ports,
    git: Mutex<Git>,
    logs: Logs,
    limits: Mutex<Arc<Limits>>,
    installation: InstallationId,
    builds: Places,
    /// The deploys in work, to be cancelled.
    working: Mutex<HashMap<i64, CancellationToken>>,
    /// Unsigned webhooks of an app in a minute.
    strangers: Mutex<HashMap<i64, (i64, u32)>>,
    /// The deploys that drain, and since when that is seen.
    draining: Mutex<HashMap<i64, Mono>>,
    /// A state whose deadline a test does not wait for, and what stands for it.
    #[cfg(test)]
    hastened: Mutex<Option<(State, Duration)>>,
}

impl Inner {
    /// The limits in force now.
    fn limits(&self) -> Arc<Limits> {
        let limits = self.limits.lock();
        Arc::clone(&limits.unwrap_or_else(PoisonError::into_inner))
    }

    /// A handle on git that trusts what the settings say now.
    fn git(&self) -> Git {
        let git = self.git.lock();
        git.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The job that takes a deploy from state to state.
const JOB: &str = "deploy";
/// The job that ends the containers a deploy's release took over from.
const DRAIN_JOB: &str = "deploy.drain";
/// The job that watches a new release.
const WATCH_JOB: &str = "deploy.watch";
/// The job that brings the number of replicas to what is wanted.
const REPLICAS_JOB: &str = "app.replicas";

/// Beyond what the steps of a job are bounded by themselves, its limit.
const SLACK: Duration = Duration::from_secs(15 * 60);
/// For starts of many replicas, one after another, or their drains.
const COUNTS: Duration = Duration::from_secs(3 * 3_600);

/// Jobs of one app's containers run one after another.
fn job_key(app: i64) -> String {
    format!("app:{app}")
}

impl Deploys {
    /// A handle on the deploys in `db`.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn open(
        db: Db,
        key: Arc<MasterKey>,
        ports: Ports,
        git: Git,
        limits: Limits,
        installation: InstallationId,
    ) -> Result<Self, DbError> {
        let logs = Logs::new(limits.data_dir.join("builds"));
        let unsettled = db.read(store::unsettled).await?;
        for deploy in &unsettled {
            logs.open(deploy.id);
        }
        let this = Self(Arc::new(Inner {
            builds: Places::new(limits.builds_at_once),
            db,
            key,
            ports,
            git: Mutex::new(git),
            logs,
            limits: Mutex::new(Arc::new(limits)),
            installation,
            working: Mutex::default(),
            strangers: Mutex::default(),
            draining: Mutex::default(),
            #[cfg(test)]
            hastened: Mutex::default(),
        }));
        this.sweep_uploads(&unsettled);
        Ok(this)
    }

    /// Takes edited settings: for what begins from now on.
    pub fn configure(&self, limits: Limits) {
        self.0.builds.set(limits.builds_at_once);
        let mut held = self.0.limits.lock().unwrap_or_else(PoisonError::into_inner);
        *held = Arc::new(limits);
    }

    /// Takes another git, such as one that trusts another root.
    pub fn configure_git(&self, git: Git) {
        *self.0.git.lock().unwrap_or_else(PoisonError::into_inner) = git;
    }

    /// Registers what works on deploys.
    pub fn handle(&self, handlers: &mut Handlers) {
        let this = self.clone();
        let inner = Arc::clone(&self.0);
        let limit = Limit::asked(move || inner.limits().longest_deploy());
        handlers.on(JOB, limit, move |context, payload| {
            let this = this.clone();
            async move { this.run(context, payload).await }
        });
        let this = self.clone();
        let inner = Arc::clone(&self.0);
        let limit = Limit::asked(move || inner.limits().drain.max(drain::LONGEST) + SLACK);
        handlers.on(DRAIN_JOB, limit, move |context, payload| {
            let this = this.clone();
            async move { this.drain(context, payload).await }
        });
        let this = self.clone();
        let inner = Arc::clone(&self.0);
        let limit = Limit::asked(move || {
            let limits = inner.limits();
            limits.watch + watch::EXCUSED + limits.drain.max(drain::LONGEST) + SLACK
        });
        handlers.on(WATCH_JOB, limit, move |_, payload| {
            let this = this.clone();
            async move { this.watch(payload).await }
        });
        let this = self.clone();
        handlers.on_yielding(REPLICAS_JOB, COUNTS, move |context, payload| {
            let this = this.clone();
            async move { this.adjust(context, payload).await }
        });
        let this = self.clone();
        for owed in [Owed::Settings, Owed::Counts] {
            let this = this.clone();
            handlers.on_yielding(owed.kind(), SLACK, move |context, payload| {
                let this = this.clone();
                async move { this.bring(owed, context, payload).await }
            });
        }
        let this = self.clone();
        handlers.destroys(jobs::REMOVAL);
        handlers.on(jobs::REMOVAL, COUNTS, move |context, payload| {
            let this = this.clone();
            async move { this.remove_app(context, payload).await }
        });
        let this = self.clone();
        handlers.reap(move || {
            let this = this.clone();
            async move { this.reap().await }
        });
    }

    /// The logs of deploys.
    pub fn logs(&self) -> &Logs {
        &self.0.logs
    }

    fn folder(&self) -> PathBuf {
        self.0.limits().data_dir.join("builds")
    }

    fn token(&self, deploy: i64) -> CancellationToken {
        let mut working = self
            .0
            .working
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        working.entry(deploy).or_default().clone()
    }

    fn forget_token(&self, deploy: i64) {
        let mut working = self
            .0
            .working
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        working.remove(&deploy);
    }

    /// Our own tag for what one deploy built or pulled. Nobody else can guess its end: the ONBUILD of an image that a
    /// build pulls may copy from any image the engine has a name for, and no Dockerfile shows that beforehand.
    fn tag(&self, app_name: &str, deploy: i64) -> String {
        let image = format!("{app_name}:d{deploy}");
        let key = self.0.key.derive("the tags of images");
        let mark = hmac_sha256(key.expose().as_bytes(), image.as_bytes());
        let mark: String = hex::encode(mark).chars().take(24).collect();
        format!("{}/{image}-{mark}", self.tag_prefix())
    }

    /// What the tags of all our images begin with.
    fn tag_prefix(&self) -> String {
        let id: String = self.0.installation.as_str().chars().take(6).collect();
        format!("fh-{id}")
    }

    /// The images that this app may name.
    fn own_images(&self, app_name: &str) -> Own {
        Own {
            prefix: self.tag_prefix(),
            app: app_name.to_owned(),
        }
    }
}

/// The deploy a job is about.
fn deploy_in(payload: &serde_json::Value) -> i64 {
    payload["deploy"].as_i64().unwrap_or(0)
}

/// The app a job is about.
fn app_in(payload: &serde_json::Value) -> i64 {
    payload["app"].as_i64().unwrap_or(0)
}

#[cfg(test)]
mod tests;
