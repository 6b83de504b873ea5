//! What deploying asks of others. The daemon gives the real ones; the tests
//! give theirs.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::base::secret::Secret;
use crate::docker::{
    BuildError, BuildRequest, CacheRecord, Credentials, EngineError, Image, LogLine,
};
use crate::git::{Branch, GitUrl, Remote};
use crate::supervise::{EngineState, JobEnd, Live, NotReady, Spec, SuperviseError};

/// A future of a trait object.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What was set for one process beside freehold.toml.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scale {
    /// Replicas that always run.
    pub min: Option<u32>,
    /// Memory limit.
    pub memory_bytes: Option<u64>,
    /// Processor limit in billionths of a core.
    pub nano_cpus: Option<u64>,
}

/// A sign-in at one image registry; no other is told it.
#[derive(Clone, Debug)]
pub struct RegistryLogin {
    /// Such as `ghcr.io`; `docker.io` for Docker Hub.
    pub host: String,
    /// The name there.
    pub user: String,
    /// The password or token.
    pub password: Secret,
}

/// What deploying must know of an app.
#[derive(Clone, Debug)]
pub struct AppFacts {
    /// Its row.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// Its repository and branch, if it has one.
    pub git: Option<(Remote, Branch)>,
    /// Its sign-in at an image registry.
    pub registry: Option<RegistryLogin>,
    /// Its own environment.
    pub env: BTreeMap<String, Secret>,
    /// What was set beside freehold.toml, by process.
    pub scale: BTreeMap<String, Scale>,
    /// Whether it is being removed.
    pub removing: bool,
}

/// The apps.
pub trait Apps: Send + Sync {
    /// What is known of one, if it is.
    fn facts(&self, app: i64) -> Boxed<'_, Result<Option<AppFacts>, String>>;
    /// Where `url` is fetched from with this app's credentials.
    fn remote_for(&self, app: i64, url: GitUrl) -> Boxed<'_, Result<Remote, String>>;
    /// What signs this app's webhook events.
    fn webhook_secret(&self, app: i64) -> Boxed<'_, Result<Secret, String>>;
    /// Deletes its row, when everything of it that runs is gone.
    fn delete(&self, app: i64, name: String) -> Boxed<'_, Result<(), String>>;
}

/// What apps are attached to: databases now, services later.
pub trait Attachments: Send + Sync {
    /// Environment that comes from there, such as `DATABASE_URL`.
    fn env_for(&self, app: i64) -> Boxed<'_, Result<BTreeMap<String, Secret>, String>>;
    /// Networks an app's containers join to reach it.
    fn networks_for(&self, app: i64) -> Boxed<'_, Result<Vec<String>, String>>;
    /// The app goes away: its roles and passwords too.
    fn forget(&self, app: i64) -> Boxed<'_, Result<(), String>>;
}

/// The proxy, as far as a deploy moves its traffic.
pub trait Traffic: Send + Sync {
    /// Waits until the proxy serves the app as [`super::Deploys::serving`] says.
    fn switched(&self, app: i64) -> Boxed<'_, Result<(), String>>;
    /// Waits until no proxy but this one sends requests: after a handover the one before does for a while, and knows of no
    /// change. It ends by itself.
    fn alone(&self) -> Boxed<'_, ()> {
        Box::pin(async {})
    }
    /// Waits until these containers (rows) have no request left, at most `limit`;
    /// then cuts what is left. Says whether all ended by themselves.
    fn drained(&self, app: i64, containers: Vec<i64>, limit: Duration) -> Boxed<'_, bool>;
}

/// A sink of lines.
pub type Lines<'a> = &'a mut (dyn FnMut(&str) + Send);

/// Images.
pub trait Images: Send + Sync {
    /// Builds one; gives its id.
    fn build<'a>(
        &'a self,
        request: &'a BuildRequest,
        line: Lines<'a>,
        cancel: CancellationToken,
    ) -> Boxed<'a, Result<String, BuildError>>;
    /// Pulls one.
    fn pull<'a>(
        &'a self,
        reference: &'a str,
        credentials: Option<Credentials>,
        limit: Duration,
        line: Lines<'a>,
    ) -> Boxed<'a, Result<Image, EngineError>>;
    /// Looks at one.
    fn inspect<'a>(&'a self, reference: &'a str) -> Boxed<'a, Result<Image, EngineError>>;
    /// Gives one another reference.
    fn tag<'a>(&'a self, image: &'a str, reference: &'a str) -> Boxed<'a, Result<(), EngineError>>;
    /// Removes a reference, and the image with its last one.
    fn remove<'a>(&'a self, reference: &'a str) -> Boxed<'a, Result<(), EngineError>>;
    /// Those that carry all of `labels`.
    fn list<'a>(&'a self, labels: &'a [String]) -> Boxed<'a, Result<Vec<Image>, EngineError>>;
    /// The folder they lie in, where this box can see it.
    fn folder(&self) -> Boxed<'_, Option<PathBuf>>;
    /// All of the build cache, ours or not.
    fn cache(&self) -> Boxed<'_, Result<Vec<CacheRecord>, EngineError>>;
    /// Takes these records of it away; gives the bytes freed.
    fn remove_from_cache<'a>(&'a self, ids: &'a [String]) -> Boxed<'a, Result<u64, EngineError>>;
}

/// Containers, networks and volumes.
pub trait Containers: Send + Sync {
    /// Wants one; gives its row.
    fn want(&self, spec: Spec) -> Boxed<'_, Result<i64, SuperviseError>>;
    /// Wants it no more.
    fn retire(&self, row: i64, grace: Duration) -> Boxed<'_, Result<(), SuperviseError>>;
    /// Waits until a retired one is gone.
    fn wait_gone(&self, row: i64, limit: Duration) -> Boxed<'_, Result<(), SuperviseError>>;
    /// Waits until one is healthy.
    fn wait_ready(&self, row: i64, limit: Duration) -> Boxed<'_, Result<Live, NotReady>>;
    /// Runs one to its end.
    fn run_job<'a>(
        &'a self,
        spec: Spec,
        limit: Duration,
        line: &'a mut (dyn FnMut(LogLine) + Send),
        cancel: CancellationToken,
    ) -> Boxed<'a, Result<JobEnd, SuperviseError>>;
    /// All of ours.
    fn live(&self) -> watch::Receiver<Arc<Vec<Live>>>;
    /// Whether the engine answers.
    fn engine(&self) -> watch::Receiver<EngineState>;
    /// Makes sure of a network.
    fn ensure_network<'a>(&'a self, name: &'a str) -> Boxed<'a, Result<(), SuperviseError>>;
    /// Removes a network.
    fn remove_network<'a>(&'a self, name: &'a str) -> Boxed<'a, Result<(), SuperviseError>>;
    /// Makes sure of a volume.
    fn ensure_volume<'a>(&'a self, name: &'a str) -> Boxed<'a, Result<(), SuperviseError>>;
    /// Removes a volume with its data.
    fn remove_volume<'a>(&'a self, name: &'a str) -> Boxed<'a, Result<(), SuperviseError>>;
}

/// All of them.
#[derive(Clone)]
pub struct Ports {
    /// The apps.
    pub apps: Arc<dyn Apps>,
    /// What they are attached to.
    pub attachments: Arc<dyn Attachments>,
    /// The proxy.
    pub traffic: Arc<dyn Traffic>,
    /// Images.
    pub images: Arc<dyn Images>,
    /// Containers.
    pub containers: Arc<dyn Containers>,
}
