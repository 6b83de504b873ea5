//! Where these tests stand: an installation of its own on a real engine, daemons that come and go on it, and specs of
//! busybox. Each test removes what it made, however it ended.

use std::panic::AssertUnwindSafe;
pub use std::sync::Arc;
pub use std::time::{Duration, Instant};

pub use freehold::base::ids::InstallationId;
pub use freehold::docker::Engine;
pub use freehold::supervise::{Health, Kind, Live, Mount, Spec, Supervisor};
pub use tokio_util::sync::CancellationToken;

use freehold::base::protocol::Protocol;
use freehold::base::secret::{MasterKey, random_id};
use freehold::base::shutdown::{Shutdown, Tasks};
use freehold::config::Config;
use freehold::db::{Db, Kind as DbKind};
use futures_util::FutureExt;

pub const SECOND: Duration = Duration::from_secs(1);

/// How long anything here may take to come about on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// The engine all tests share.
pub fn shared_engine() -> String {
    std::env::var("FREEHOLD_TEST_ENGINE")
        .expect("FREEHOLD_TEST_ENGINE is not set: run tests/run, or source tests/rig/env")
}

/// A box: one installation with its database. Daemons come and go on it.
pub struct Machine {
    pub folder: tempfile::TempDir,
    pub engine: Engine,
    pub id: InstallationId,
}

/// One life of the daemon's supervising part.
pub struct Daemon {
    pub supervisor: Supervisor,
    pub db: Db,
    pub tasks: Tasks,
}

impl Machine {
    pub async fn new() -> Self {
        let id = InstallationId::parse(&random_id(12).unwrap()).unwrap();
        Self::on(&shared_engine(), id).await
    }

    /// An installation of that id on the engine at `host`.
    pub async fn on(host: &str, id: InstallationId) -> Self {
        let engine = Engine::connect(host).unwrap();
        engine.negotiate().await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        Self { folder, engine, id }
    }

    pub async fn daemon(&self) -> Daemon {
        Daemon::start(&self.engine, self.folder.path(), &self.id).await
    }

    pub fn label(&self) -> String {
        format!("freehold.installation={}", self.id)
    }

    /// Asserts that no container of this installation is there, running or not.
    pub async fn has_no_container(&self) {
        let left = self.engine.list_containers(&[self.label()]).await.unwrap();
        assert!(left.is_empty(), "{left:?}");
    }

    /// Waits until none is there: one whose end is kept is taken away a little later than it is told.
    pub async fn gets_rid_of_containers(&self) {
        eventually("the containers to be gone", async || {
            let left = self.engine.list_containers(&[self.label()]).await.unwrap();
            left.is_empty()
        })
        .await;
    }

    /// Removes everything of this installation.
    pub async fn clean(&self) {
        for container in self.engine.list_containers(&[self.label()]).await.unwrap() {
            self.engine.remove_container(&container.id).await.unwrap();
        }
        for network in self.engine.list_networks(&[self.label()]).await.unwrap() {
            self.engine.remove_network(&network.id).await.unwrap();
        }
        for volume in self.engine.list_volumes(&[self.label()]).await.unwrap() {
            self.engine.remove_volume(&volume.name).await.unwrap();
        }
    }
}

impl Daemon {
    pub async fn start(engine: &Engine, folder: &std::path::Path, id: &InstallationId) -> Self {
        let db = Db::open(&folder.join("state.db"), DbKind::State).unwrap();
        let tasks = Tasks::new(Shutdown::new());
        let key = Arc::new(MasterKey::from_bytes(&[7; 32]).unwrap());
        let engine = engine.clone();
        let mut config = Config::default();
        // A replica that hangs is not waited for as long as an answer may take.
        config.timeouts.answer = Duration::from_secs(10);
        let supervisor = Supervisor::start(engine, db.clone(), key, id, &config, &tasks);
        Self {
            supervisor: supervisor.await.unwrap(),
            db,
            tasks,
        }
    }

    pub async fn stop(self) {
        assert!(self.tasks.finish(PATIENCE).await, "tasks did not end");
    }

    /// Wants a container and waits until it is ready; gives its row and how it lives.
    pub async fn ready(&self, spec: Spec) -> (i64, Live) {
        let row = self.supervisor.want(spec).await.unwrap().id;
        (
            row,
            self.supervisor.wait_ready(row, PATIENCE).await.unwrap(),
        )
    }

    /// Retires a container and waits until it is gone.
    pub async fn retired(&self, row: i64) {
        self.supervisor.retire(row, SECOND).await.unwrap();
        self.supervisor.wait_gone(row, PATIENCE).await.unwrap();
    }

    /// Runs a job to its end; gives the lines it said too.
    pub async fn job(
        &self,
        spec: Spec,
    ) -> Result<(freehold::supervise::JobEnd, Vec<(Instant, String)>), String> {
        let mut lines = Vec::new();
        let end = self
            .supervisor
            .run_job(
                spec,
                PATIENCE,
                |l| lines.push((Instant::now(), l.text)),
                CancellationToken::new(),
            )
            .await
            .map_err(|e| e.to_string())?;
        Ok((end, lines))
    }

    /// Waits until some container of this box has started.
    pub async fn has_started(&self) {
        let mut live = self.supervisor.live();
        let started = live.wait_for(|all| all.iter().any(|l| l.started.is_some()));
        let came = tokio::time::timeout(PATIENCE, started).await;
        assert!(came.is_ok_and(|c| c.is_ok()), "nothing started");
    }

    /// Waits until the container of a row is as wanted.
    pub async fn until(&self, row: i64, what: &str, good: impl Fn(&Live) -> bool) -> Live {
        let mut live = self.supervisor.live();
        let is = |l: &Live| l.row == row && good(l);
        let came = live.wait_for(|all| all.iter().any(&is));
        let last = tokio::time::timeout(PATIENCE, came)
            .await
            .map(|all| all.unwrap().iter().find(|l| is(l)).cloned());
        match last {
            Ok(found) => found.unwrap(),
            Err(_) => panic!("{what} did not come: {:?}", self.supervisor.live().borrow()),
        }
    }

    /// What the activity of the app says: kind and message, newest first.
    pub async fn events(&self) -> Vec<(String, String)> {
        let newest = self
            .db
            .read(|c| freehold::events::newest(c, Some("app:1"), 10));
        let newest = newest.await.unwrap().into_iter();
        newest.map(|e| (e.kind, e.message)).collect()
    }
}

/// Asks over and over until it is so.
pub async fn eventually(what: &str, mut ask: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !ask().await {
        assert!(begun.elapsed() < PATIENCE, "waited {PATIENCE:?} for {what}");
        tokio::time::sleep(SECOND / 20).await;
    }
}

/// Runs a test on a machine of its own and cleans up after it.
pub async fn on_a_machine<F: Future<Output = ()>>(test: impl FnOnce(Arc<Machine>) -> F) {
    let machine = Arc::new(Machine::new().await);
    let ended = AssertUnwindSafe(test(Arc::clone(&machine))).catch_unwind();
    let ended = ended.await;
    machine.clean().await;
    if let Err(panic) = ended {
        std::panic::resume_unwind(panic);
    }
}

/// The words of a command.
pub fn words(of: &[&str]) -> Vec<String> {
    of.iter().map(|w| (*w).to_owned()).collect()
}

pub fn shell(kind: Kind, name: &str, script: &str) -> Spec {
    let mut spec = Spec::new(kind, name, "app:1", "busybox:latest");
    spec.command = Some(words(&["sh", "-c", script]));
    spec.networks = vec!["app-1".into()];
    spec.stop_grace = SECOND;
    spec
}

pub const SERVE: &str = "mkdir -p /www; echo ok > /www/healthz; exec httpd -f -p 3000 -h /www";

/// A replica that serves `/healthz`.
pub fn web(name: &str) -> Spec {
    let mut spec = shell(Kind::Replica, name, SERVE);
    spec.port = Some(3000);
    spec.health = Health::Http {
        path: "/healthz".into(),
        protocol: Protocol::Http1,
    };
    spec
}

/// A job that counts its runs in a volume, and can say how many there were.
pub fn counting(name: &str, script: &str) -> Spec {
    let mut spec = shell(Kind::Job, name, script);
    spec.volumes = vec![Mount {
        volume: "count".into(),
        path: "/data".into(),
        read_only: false,
        existing: false,
    }];
    spec
}

/// What the replica answers.
pub async fn fetch(live: &Live) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let address = live.address.unwrap();
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = b"GET /healthz HTTP/1.0\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}
