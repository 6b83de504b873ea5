//! Stand-ins for what deploying asks of others, and a place to run it in.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;

use super::git::git;
use crate::base::clock::UnixMs;
use crate::base::ids::InstallationId;
use crate::base::secret::{MasterKey, Secret, hmac_sha256};
use crate::base::shutdown::{Shutdown, Tasks};
use crate::db::{Db, DbError, Kind};
use crate::deploy::ports::{AppFacts, Apps, Attachments, Boxed, Ports, Scale, Traffic};
use crate::deploy::{Deploys, Limits, State};
use crate::docker::BuildRequest;
use crate::git::{Branch, Credentials as GitCredentials, Git, GitUrl, Remote};
use crate::jobs::{Handlers, Jobs};
use crate::supervise::{EngineState, Exit, Live, Spec};

/// What happened outside, in order, and what shall happen.
#[derive(Default)]
pub struct Told {
    pub done: Vec<String>,
    /// How long each drain might take.
    pub drains: Vec<Duration>,
    /// Calls that hang the first time they are made.
    pub hang: HashSet<String>,
    /// Calls in which our own code panics, once.
    pub panic: HashSet<String>,
    /// The engine does not answer.
    pub no_engine: bool,
    /// The supervisor cannot watch the next container.
    pub broken: bool,
    /// The proxy takes over nothing.
    pub no_proxy: bool,
    /// The app is on its way out.
    pub removing: bool,
    pub fail_build: bool,
    pub release_exit: i64,
    /// How the next release command ends cannot be written down.
    pub unnoted: bool,
    pub unhealthy: bool,
    pub images: BTreeMap<String, String>,
    pub builds: Vec<BuildRequest>,
    pub env: BTreeMap<String, Secret>,
    pub scale: BTreeMap<String, Scale>,
    pub specs: BTreeMap<String, Spec>,
    pub jobs: BTreeMap<String, i64>,
    pub next_row: i64,
    /// How often an app's facts were asked for, which opens its seals.
    pub facts: usize,
    /// They cannot be had.
    pub no_facts: bool,
}

pub struct World {
    pub told: Mutex<Told>,
    pub live: watch::Sender<Arc<Vec<Live>>>,
    pub engine: watch::Sender<EngineState>,
    pub url: GitUrl,
    pub deploys: Mutex<Option<Deploys>>,
}

impl World {
    pub fn note(&self, what: impl Into<String>) {
        self.told.lock().unwrap().done.push(what.into());
    }

    /// Hangs when told to, once.
    pub async fn pass(&self, what: &str) {
        let hang = self.told.lock().unwrap().hang.remove(what);
        let panics = self.told.lock().unwrap().panic.remove(what);
        self.note(what);
        assert!(!panics, "on purpose");
        if hang {
            std::future::pending::<()>().await;
        }
    }

    pub fn done(&self) -> Vec<String> {
        self.told.lock().unwrap().done.clone()
    }

    pub fn count(&self, what: &str) -> usize {
        self.done().iter().filter(|d| *d == what).count()
    }

    /// The container ends by itself and is brought back at once.
    pub fn crash(&self, name_part: &str, at: UnixMs) {
        self.live.send_modify(|all| {
            let mut list = all.as_ref().clone();
            for one in list.iter_mut().filter(|l| l.name.contains(name_part)) {
                one.restarts += 1;
                one.last_exit = Some(Exit {
                    code: 1,
                    oom: false,
                    at,
                });
            }
            *all = Arc::new(list);
        });
    }

    pub fn running(&self) -> Vec<String> {
        let mut names: Vec<String> = self.live.borrow().iter().map(|l| l.name.clone()).collect();
        names.sort();
        names
    }
}

impl Apps for World {
    fn facts(&self, app: i64) -> Boxed<'_, Result<Option<AppFacts>, String>> {
        let mut told = self.told.lock().unwrap();
        told.facts += 1;
        if told.no_facts {
            return Box::pin(async { Err("the apps cannot be read".into()) });
        }
        let facts = AppFacts {
            id: app,
            name: "tasks".into(),
            git: Some((
                Remote {
                    url: self.url.clone(),
                    credentials: GitCredentials::None,
                },
                Branch::parse("main").unwrap(),
            )),
            registry: None,
            env: told.env.clone(),
            scale: told.scale.clone(),
            removing: told.removing,
        };
        Box::pin(async move { Ok(Some(facts)) })
    }

    fn remote_for(&self, _: i64, url: GitUrl) -> Boxed<'_, Result<Remote, String>> {
        Box::pin(async move {
            Ok(Remote {
                url,
                credentials: GitCredentials::None,
            })
        })
    }

    fn webhook_secret(&self, _: i64) -> Boxed<'_, Result<Secret, String>> {
        Box::pin(async { Ok(Secret::new("hook-secret")) })
    }

    fn delete(&self, _: i64, _: String) -> Boxed<'_, Result<(), String>> {
        self.note("delete row");
        Box::pin(async { Ok(()) })
    }
}

impl Attachments for World {
    fn env_for(&self, _: i64) -> Boxed<'_, Result<BTreeMap<String, Secret>, String>> {
        let url = Secret::new("postgres://tasks:hunter2@main/tasks");
        Box::pin(async { Ok(BTreeMap::from([("DATABASE_URL".to_owned(), url)])) })
    }

    fn networks_for(&self, _: i64) -> Boxed<'_, Result<Vec<String>, String>> {
        Box::pin(async { Ok(vec!["db-1".to_owned()]) })
    }

    fn forget(&self, _: i64) -> Boxed<'_, Result<(), String>> {
        Box::pin(async { Ok(()) })
    }
}

impl Traffic for World {
    fn switched(&self, app: i64) -> Boxed<'_, Result<(), String>> {
        Box::pin(async move {
            let deploys = self.deploys.lock().unwrap().clone().unwrap();
            let serving = deploys.live(app).await.map_err(|e| e.to_string())?;
            let names = serving.map(|s| s.replicas.into_values().flatten().collect::<Vec<_>>());
            self.note(format!("serve {}", names.unwrap_or_default().join(",")));
            self.pass("switched").await;
            match self.told.lock().unwrap().no_proxy {
                true => Err("the proxy is away".into()),
                false => Ok(()),
            }
        })
    }

    fn drained(&self, _: i64, _: Vec<i64>, limit: Duration) -> Boxed<'_, bool> {
        Box::pin(async move {
            self.told.lock().unwrap().drains.push(limit);
            self.pass("drained").await;
            true
        })
    }
}

/// A box: database, repository, world, and a daemon's worth of jobs.
pub struct Place {
    pub world: Arc<World>,
    pub deploys: Deploys,
    pub db: Db,
    pub folder: tempfile::TempDir,
    pub tasks: Tasks,
    pub limits: Limits,
    _jobs: Jobs,
}

pub const APP_FILE: &str =
    "[processes.web]\nport = 8000\nhealth = \"/healthz\"\n[deploy]\nrelease = \"migrate\"\n";

impl Place {
    pub async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["builds", "repos", "work"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        let work = folder.path().join("work");
        git(&work, &["init", "-q", "-b", "main"]);
        std::fs::write(work.join("Dockerfile"), "FROM scratch\n").unwrap();
        std::fs::write(work.join("freehold.toml"), APP_FILE).unwrap();
        let world = Arc::new(World {
            told: Mutex::default(),
            live: watch::Sender::new(Arc::new(Vec::new())),
            engine: watch::Sender::new(EngineState::Unknown),
            url: GitUrl::parse(&format!("file://{}", work.display())).unwrap(),
            deploys: Mutex::new(None),
        });
        let db = Db::open(&folder.path().join("state.db"), Kind::State).unwrap();
        db.write(|tx| {
            tx.execute(
                "INSERT INTO apps (id, name, created_ms, webhook_secret) VALUES (7, 'tasks', 1, x'')",
                [],
            )?;
            Ok::<_, DbError>(())
        })
        .await
        .unwrap();
        let mut limits = Limits::new(folder.path().to_owned());
        limits.watch = Duration::from_millis(300);
        limits.free_disk = 1 << 20;
        limits.free_memory = 1 << 20;
        limits.releases_kept = 2;
        let (deploys, tasks, jobs) = open(&world, &db, &limits).await;
        Self {
            world,
            deploys,
            db,
            folder,
            tasks,
            limits,
            _jobs: jobs,
        }
    }

    /// Cuts all work off, as kill -9 does, and starts again on the same state.
    pub async fn crash(&mut self) {
        self.tasks.finish(Duration::from_secs(5)).await;
        let (deploys, tasks, jobs) = open(&self.world, &self.db, &self.limits).await;
        (self.deploys, self.tasks, self._jobs) = (deploys, tasks, jobs);
    }

    pub fn work(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    /// Commits everything; the commit's id.
    pub fn commit(&self, message: &str) -> String {
        git(&self.work(), &["add", "-A"]);
        git(
            &self.work(),
            &["commit", "-q", "--allow-empty", "-m", message],
        );
        git(&self.work(), &["rev-parse", "HEAD"])
    }

    /// A GitHub push event; status, sentence, deploy.
    pub async fn push_event(&self, commit: &str, delivery: &str) -> crate::deploy::Answer {
        let body = format!(
            r#"{{"ref":"refs/heads/main","after":"{commit}","pusher":{{"name":"ada"}},"head_commit":{{"id":"{commit}","message":"m"}}}}"#
        );
        let mac = hex::encode(hmac_sha256(b"hook-secret", body.as_bytes()));
        let header = |name: &str| match name {
            "x-github-event" => Some("push".to_owned()),
            "x-github-delivery" => Some(delivery.to_owned()),
            "x-hub-signature-256" => Some(format!("sha256={mac}")),
            _ => None,
        };
        let incoming = crate::deploy::Incoming {
            app: 7,
            header: &header,
            body: Some(body.as_bytes()),
        };
        self.deploys
            .take_hook(incoming, UnixMs::now())
            .await
            .unwrap()
    }

    /// Commits, pushes, waits until it is live and watched; the deploy's id.
    pub async fn deploy(&self, message: &str) -> i64 {
        let commit = self.commit(message);
        let id = self.push_event(&commit, message).await.deploy.unwrap();
        self.until(id, State::Live).await;
        id
    }

    pub async fn until(&self, deploy: i64, wanted: State) -> crate::deploy::Deploy {
        for _ in 0..6_000 {
            let row = self.deploys.get(7, deploy).await.unwrap();
            if row.state == wanted {
                return row;
            }
            if row.state.is_final() {
                panic!(
                    "deploy {deploy} is {}: {:?}\n{:?}",
                    row.state,
                    row.error,
                    self.world.done()
                );
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let row = self.deploys.get(7, deploy).await.unwrap();
        panic!(
            "deploy {deploy} stays {} and is not {wanted}\n{:?}",
            row.state,
            self.world.done()
        );
    }

    /// The containers of `deploy` end by themselves again and again, until it is in `end`.
    pub async fn dies(&self, deploy: i64, end: State) -> crate::deploy::Deploy {
        for _ in 0..600 {
            let row = self.deploys.get(7, deploy).await.unwrap();
            if row.state == end {
                return row;
            }
            self.world.crash(&format!("-d{deploy}-"), UnixMs::now());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("deploy {deploy} does not die");
    }

    /// The scale of `web` is set, and its work asked for.
    pub async fn scale(&self, n: u32) {
        let set = Scale {
            min: Some(n),
            ..Scale::default()
        };
        self.world
            .told
            .lock()
            .unwrap()
            .scale
            .insert("web".into(), set);
        self.deploys.apply_counts(7, UnixMs::now()).await.unwrap();
    }

    /// Until the call that shall hang does.
    pub async fn until_hung(&self, what: &str) {
        while self.world.told.lock().unwrap().hang.contains(what) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub async fn until_done(&self, what: &str) {
        for _ in 0..6_000 {
            if self.world.count(what) > 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{what} is not done: {:?}", self.world.done());
    }

    pub async fn log(&self, deploy: i64) -> String {
        use futures_util::StreamExt;
        let lines: Vec<_> = self.deploys.logs().follow(deploy, 0).collect().await;
        lines.into_iter().map(|l| l.text + "\n").collect()
    }
}

async fn open(world: &Arc<World>, db: &Db, limits: &Limits) -> (Deploys, Tasks, Jobs) {
    let ports = Ports {
        apps: world.clone(),
        attachments: world.clone(),
        traffic: world.clone(),
        images: world.clone(),
        containers: world.clone(),
    };
    let key = Arc::new(MasterKey::from_bytes(&[5; 32]).unwrap());
    let git = Git::new(&limits.data_dir.join("git"), None)
        .unwrap()
        .allowing_files();
    let id = InstallationId::parse("abcdefgh").unwrap();
    let deploys = Deploys::open(db.clone(), key, ports, git, limits.clone(), id)
        .await
        .unwrap();
    *world.deploys.lock().unwrap() = Some(deploys.clone());
    let mut handlers = Handlers::default();
    deploys.handle(&mut handlers);
    let tasks = Tasks::new(Shutdown::new());
    let jobs = Jobs::start(db.clone(), handlers, &tasks).await.unwrap();
    (deploys, tasks, jobs)
}
