//! An engine that goes away and comes back, gently and by kill -9: what ran is
//! back by itself, its address followed; meanwhile what was known stands.
//!
//! Has an engine of its own (`tests/rig/engine`), because it ends it.

mod support;

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use freehold::base::ids::InstallationId;
use freehold::base::secret::MasterKey;
use freehold::base::shutdown::{Shutdown, Tasks};
use freehold::config::Config;
use freehold::db::{Db, Kind as DbKind};
use freehold::docker::Engine;
use freehold::supervise::{EngineState, Health, Kind, Live, Spec, Supervisor};
use support::freehold::Freehold;
use support::process::run;
use tokio_util::sync::CancellationToken;

const SECOND: Duration = Duration::from_secs(1);

/// One such engine at a time is enough for a small machine.
static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// An engine in a folder of its own, cleaned away with its value.
struct OwnEngine(PathBuf);

fn rig(action: &str, folder: &std::path::Path) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/rig/engine");
    let status = Command::new(script)
        .args([action, folder.to_str().unwrap()])
        .status()
        .unwrap();
    assert!(status.success(), "engine {action}");
}

impl OwnEngine {
    fn start() -> Self {
        let folder = PathBuf::from(format!("/run/fht{}", std::process::id()));
        let engine = Self(folder);
        engine.up();
        let shared = std::env::var("FREEHOLD_TEST_ENGINE")
            .unwrap_or_else(|_| "unix:///run/fhdev/docker.sock".to_owned());
        let image = engine.0.join("busybox.tar");
        for (host, verb, flag) in [(shared, "save", "-o"), (engine.host(), "load", "-i")] {
            let mut command = Command::new("docker");
            command.args(["-H", &host, verb, flag]).arg(&image);
            if verb == "save" {
                command.arg("busybox:latest");
            }
            assert!(command.status().unwrap().success(), "{verb}");
        }
        engine
    }

    fn host(&self) -> String {
        format!("unix://{}/docker.sock", self.0.display())
    }

    fn up(&self) {
        rig("start", &self.0);
    }

    fn down(&self) {
        rig("stop", &self.0);
    }

    fn kill(&self) {
        let pid = std::fs::read_to_string(self.0.join("docker.pid")).unwrap();
        let status = Command::new("kill")
            .args(["-9", pid.trim()])
            .status()
            .unwrap();
        assert!(status.success());
        // An engine refuses to start while its predecessor's process is listed.
        let listed = PathBuf::from(format!("/proc/{}", pid.trim()));
        for _ in 0..50 {
            if !listed.exists() {
                break;
            }
            std::thread::sleep(SECOND / 10);
        }
        std::fs::remove_file(self.0.join("docker.pid")).unwrap();
    }
}

impl Drop for OwnEngine {
    fn drop(&mut self) {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/rig/engine");
        let cleaned = Command::new(script).arg("clean").arg(&self.0).status();
        if !cleaned.is_ok_and(|status| status.success()) {
            eprintln!(
                "the engine in {} could not be cleaned away",
                self.0.display()
            );
        }
    }
}

fn web(name: &str) -> Spec {
    let serve = "mkdir -p /www; echo ok > /www/healthz; exec httpd -f -p 3000 -h /www";
    let mut spec = Spec::new(Kind::Replica, name, "app:1", "busybox:latest");
    spec.command = Some(["sh", "-c", serve].map(str::to_owned).to_vec());
    spec.networks = vec!["app-1".into()];
    spec.stop_grace = SECOND;
    spec.port = Some(3000);
    spec.health = Health::Http {
        path: "/healthz".into(),
    };
    spec
}

async fn until(supervisor: &Supervisor, row: i64, good: impl Fn(&Live) -> bool) -> Live {
    let mut live = supervisor.live();
    let begun = Instant::now();
    loop {
        let present = live
            .borrow_and_update()
            .iter()
            .find(|l| l.row == row)
            .cloned();
        if let Some(present) = present.clone().filter(&good) {
            return present;
        }
        assert!(begun.elapsed() < 60 * SECOND, "did not come: {present:?}");
        drop(tokio::time::timeout(5 * SECOND, live.changed()).await);
    }
}

async fn reachable(supervisor: &Supervisor, wanted: bool) {
    let mut state = supervisor.engine();
    let right = state.wait_for(|s| matches!(s, EngineState::Reachable { .. }) == wanted);
    tokio::time::timeout(30 * SECOND, right)
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f8_an_engine_restart_is_survived_and_addresses_followed() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let own = OwnEngine::start();
    let folder = tempfile::tempdir().unwrap();
    let db = Db::open(&folder.path().join("state.db"), DbKind::State).unwrap();
    let tasks = Tasks::new(Shutdown::new());
    let supervisor = Supervisor::start(
        Engine::connect(&own.host()).unwrap(),
        db,
        Arc::new(MasterKey::from_bytes(&[7; 32]).unwrap()),
        &InstallationId::parse("restartertest").unwrap(),
        &Config::default(),
        &tasks,
    )
    .await
    .unwrap();
    let one = supervisor.want(web("tasks-web-v1-1")).await.unwrap();
    let two = supervisor.want(web("tasks-web-v1-2")).await.unwrap();
    for row in [&one, &two] {
        supervisor.wait_ready(row.id, 30 * SECOND).await.unwrap();
    }
    let job = {
        let supervisor = supervisor.clone();
        tokio::spawn(async move {
            let mut spec = web("dump-1");
            spec.kind = Kind::Job;
            spec.command = Some(["sleep", "1000"].map(str::to_owned).to_vec());
            let piped = supervisor
                .run_piped(spec, false, 600 * SECOND, CancellationToken::new())
                .await
                .unwrap();
            piped.end.await.unwrap()
        })
    };
    let begun = Instant::now();
    while !supervisor
        .live()
        .borrow()
        .iter()
        .any(|l| l.name == "dump-1" && l.started.is_some())
    {
        assert!(begun.elapsed() < 30 * SECOND, "the dump did not start");
        tokio::time::sleep(SECOND / 10).await;
    }
    for gently in [true, false] {
        let before = [
            until(&supervisor, one.id, Live::is_healthy).await,
            until(&supervisor, two.id, Live::is_healthy).await,
        ];
        match gently {
            true => own.down(),
            false => own.kill(),
        }
        reachable(&supervisor, false).await;
        let known = supervisor.live().borrow().clone();
        for l in &before {
            let kept = known.iter().find(|k| k.row == l.row).unwrap();
            assert_eq!(kept.container_id, l.container_id, "knowledge was lost");
        }
        own.up();
        reachable(&supervisor, true).await;
        for l in before {
            let back = until(&supervisor, l.row, |n| {
                n.is_healthy() && (n.started != l.started || !gently)
            })
            .await;
            assert_eq!(back.container_id, l.container_id, "made anew");
            // An engine that was killed may start the container once more; its
            // address is followed until it answers.
            let begun = Instant::now();
            loop {
                let now = until(&supervisor, l.row, Live::is_healthy).await;
                let address = now.address.unwrap();
                if tokio::net::TcpStream::connect(address).await.is_ok() {
                    break;
                }
                supervisor.recheck(address).await;
                assert!(begun.elapsed() < 30 * SECOND, "{address} does not answer");
                tokio::time::sleep(SECOND / 10).await;
            }
        }
    }
    let dump = job.await.unwrap();
    assert!(
        dump.is_err(),
        "a dump that lost its engine is no success: {dump:?}"
    );
    for row in [one, two] {
        supervisor.retire(row.id, SECOND).await.unwrap();
        supervisor.wait_gone(row.id, 30 * SECOND).await.unwrap();
    }
    supervisor.remove_network("app-1").await.unwrap();
    assert!(tasks.finish(5 * SECOND).await);
}

/// The same as a visitor sees it: requests through the edge are answered again, though the container's address is
/// another one.
#[test]
fn f8_after_an_engine_restart_the_edge_answers_from_the_new_address() {
    let _alone = ONE_AT_A_TIME.blocking_lock();
    let own = OwnEngine::start();
    let mut fh = Freehold::new();
    fh.configure_on(&own.host(), "");
    fh.start();
    let source = fh.path("web");
    std::fs::create_dir_all(source.join("www")).unwrap();
    std::fs::write(source.join("www/index.html"), "here I am").unwrap();
    std::fs::write(
        source.join("Dockerfile"),
        "FROM busybox:latest\nCOPY www /www\nCMD [\"httpd\", \"-f\", \"-p\", \"3000\", \"-h\", \"/www\"]\n",
    )
    .unwrap();
    std::fs::write(
        source.join("freehold.toml"),
        "[processes.web]\nport = 3000\n",
    )
    .unwrap();
    fh.cli(&["app", "create", "web"]);
    fh.cli(&["domain", "add", "web", "web.localhost"]);
    fh.cli(&["deploy", source.to_str().unwrap(), "--app", "web"]);
    let status = fh.json(&["status"]);
    let edge = fh.edge(std::path::Path::new(status["root_file"].as_str().unwrap()));
    let answers = || {
        let answer = edge.get("https://web.localhost/").send()?;
        match answer.text().as_str() {
            "here I am" => Ok(()),
            other => Err(format!("{}: {other}", answer.status)),
        }
    };
    support::until::until("the app to answer", 60 * SECOND, answers);
    // New containers beside the old one: the lowest address is free afterwards, and the next start takes it.
    fh.cli(&["app", "restart", "web"]);
    let address = || {
        let mut list = Command::new("docker");
        list.args(["-H", &own.host(), "ps", "-q", "--filter"])
            .arg(format!("label=freehold.installation={}", fh.installation()));
        let found = run(&mut list);
        let mut ids = found.split_whitespace();
        let (Some(id), None) = (ids.next(), ids.next()) else {
            return Err(format!("the containers are {found:?}"));
        };
        let address = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        let mut inspect = Command::new("docker");
        inspect.args(["-H", &own.host(), "inspect", "-f", address, id]);
        match run(&mut inspect).trim() {
            "" => Err("it has no address".to_owned()),
            found => Ok(found.to_owned()),
        }
    };
    let before = support::until::until("one container alone", 60 * SECOND, address);
    own.down();
    own.up();
    support::until::until("the app to answer again", 90 * SECOND, answers);
    let after = support::until::until("its address", 30 * SECOND, address);
    assert_ne!(
        after, before,
        "the address is the same: nothing was followed"
    );

    own.kill();
    own.up();
    support::until::until("the app to answer after kill -9", 90 * SECOND, answers);
    drop(fh);
}
