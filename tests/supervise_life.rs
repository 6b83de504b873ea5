//! Supervision against a real engine: made, healthy, killed, restarted,
//! adopted, removed; and why a container does not become healthy.
//!
//! With the feature `crash-points` also: killed at each of its points.
//!
//! Each test has an installation of its own and removes what it made.

use std::sync::Arc;
use std::time::{Duration, Instant};

use freehold::base::ids::InstallationId;
use freehold::base::secret::{MasterKey, random_id};
use freehold::base::shutdown::{Shutdown, Tasks};
use freehold::config::Config;
use freehold::db::{Db, Kind as DbKind};
use freehold::docker::Engine;
use freehold::supervise::{Cause, Health, Kind, Live, Spec, State, Supervisor};
use tokio_util::sync::CancellationToken;

const SECOND: Duration = Duration::from_secs(1);

fn host() -> String {
    std::env::var("FREEHOLD_TEST_ENGINE")
        .unwrap_or_else(|_| "unix:///run/fhdev/docker.sock".to_owned())
}

/// A box: one installation with its database. Daemons come and go on it.
struct Machine {
    folder: tempfile::TempDir,
    engine: Engine,
    id: InstallationId,
}

/// One life of the daemon's supervising part.
struct Daemon {
    supervisor: Supervisor,
    db: Db,
    tasks: Tasks,
}

impl Machine {
    async fn new() -> Self {
        let engine = Engine::connect(&host()).unwrap();
        engine.negotiate().await.unwrap();
        Self {
            folder: tempfile::tempdir().unwrap(),
            engine,
            id: InstallationId::parse(&random_id(12).unwrap()).unwrap(),
        }
    }

    async fn daemon(&self) -> Daemon {
        let db = Db::open(&self.folder.path().join("state.db"), DbKind::State).unwrap();
        let tasks = Tasks::new(Shutdown::new());
        let key = Arc::new(MasterKey::from_bytes(&[7; 32]).unwrap());
        let supervisor = Supervisor::start(
            self.engine.clone(),
            db.clone(),
            key,
            &self.id,
            &Config::default(),
            &tasks,
        )
        .await
        .unwrap();
        Daemon {
            supervisor,
            db,
            tasks,
        }
    }

    fn label(&self) -> String {
        format!("freehold.installation={}", self.id)
    }

    /// Removes everything of this installation, however the test ended.
    async fn clean(&self) {
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
    async fn stop(self) {
        assert!(self.tasks.finish(5 * SECOND).await, "tasks did not end");
    }

    async fn until(&self, row: i64, what: &str, good: impl Fn(&Live) -> bool) -> Live {
        let mut live = self.supervisor.live();
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
            if tokio::time::timeout(20 * SECOND, live.changed())
                .await
                .is_err()
                || begun.elapsed() > 30 * SECOND
            {
                panic!("{what} did not come: {present:?}");
            }
        }
    }
}

/// Runs a test on a machine of its own and cleans up after it.
async fn on_a_machine<F: Future<Output = ()> + Send + 'static>(
    test: impl FnOnce(Arc<Machine>) -> F,
) {
    let machine = Arc::new(Machine::new().await);
    let ended = tokio::spawn(test(Arc::clone(&machine))).await;
    machine.clean().await;
    if let Err(error) = ended {
        std::panic::resume_unwind(error.into_panic());
    }
}

fn shell(kind: Kind, name: &str, script: &str) -> Spec {
    let mut spec = Spec::new(kind, name, "app:1", "busybox:latest");
    spec.command = Some(["sh", "-c", script].map(str::to_owned).to_vec());
    spec.networks = vec!["app-1".into()];
    spec.stop_grace = SECOND;
    spec
}

const SERVE: &str = "mkdir -p /www; echo ok > /www/healthz; exec httpd -f -p 3000 -h /www";

fn web(name: &str) -> Spec {
    let mut spec = shell(Kind::Replica, name, SERVE);
    spec.port = Some(3000);
    spec.health = Health::Http {
        path: "/healthz".into(),
    };
    spec
}

/// Processes of this machine with that command line.
fn processes(command: &str) -> usize {
    std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter(|e| std::fs::read(e.path().join("cmdline")).is_ok_and(|c| c == command.as_bytes()))
        .count()
}

async fn fetch(live: &Live) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(live.address.unwrap())
        .await
        .unwrap();
    stream
        .write_all(b"GET /healthz HTTP/1.0\r\n\r\n")
        .await
        .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test]
async fn f4_a_replica_is_made_checked_reached_and_retired() {
    on_a_machine(|m| async move {
        let daemon = m.daemon().await;
        let row = daemon.supervisor.want(web("tasks-web-v1-1")).await.unwrap();
        let live = daemon
            .supervisor
            .wait_ready(row.id, 20 * SECOND)
            .await
            .unwrap();
        assert!(fetch(&live).await.ends_with("ok\n"));
        let address = live.address.unwrap().ip().to_string();
        assert!(address.starts_with("10.83."), "{address}");
        let again = daemon.supervisor.want(web("tasks-web-v1-1")).await.unwrap();
        assert_eq!(again, row, "the same wish is the same row");
        daemon.supervisor.retire(row.id, SECOND).await.unwrap();
        daemon
            .supervisor
            .wait_gone(row.id, 20 * SECOND)
            .await
            .unwrap();
        assert!(
            m.engine
                .list_containers(&[m.label()])
                .await
                .unwrap()
                .is_empty()
        );
        daemon.supervisor.remove_network("app-1").await.unwrap();
        assert!(
            m.engine
                .list_networks(&[m.label()])
                .await
                .unwrap()
                .is_empty()
        );
        daemon.stop().await;
    })
    .await;
}

#[tokio::test]
async fn f8_a_daemons_end_and_start_leave_containers_untouched() {
    on_a_machine(|m| async move {
        let first = m.daemon().await;
        let row = first.supervisor.want(web("tasks-web-v1-1")).await.unwrap();
        let live = first
            .supervisor
            .wait_ready(row.id, 20 * SECOND)
            .await
            .unwrap();
        first.stop().await;
        let begun = Instant::now();
        let second = m.daemon().await;
        let again = second.until(row.id, "health", Live::is_healthy).await;
        assert!(begun.elapsed() < 2 * SECOND, "{:?}", begun.elapsed());
        assert_eq!(again.container_id, live.container_id);
        assert_eq!(again.started, live.started);
        assert_eq!(again.address, live.address);
        let same = second.supervisor.want(web("tasks-web-v1-1")).await.unwrap();
        assert_eq!(same, row);
        tokio::time::sleep(SECOND).await;
        let still = second.until(row.id, "health", Live::is_healthy).await;
        assert_eq!(still.container_id, live.container_id);
        second.stop().await;
    })
    .await;
}

#[tokio::test]
async fn f8_a_killed_or_restarted_replica_is_back_by_itself() {
    on_a_machine(|m| async move {
        let daemon = m.daemon().await;
        let row = daemon.supervisor.want(web("tasks-web-v1-1")).await.unwrap();
        let live = daemon
            .supervisor
            .wait_ready(row.id, 20 * SECOND)
            .await
            .unwrap();
        let id = live.container_id.clone().unwrap();
        // Young: we bring it back ourselves.
        m.engine.kill_container(&id, "SIGKILL").await.unwrap();
        let back = daemon
            .until(row.id, "the replica", |l| {
                l.is_healthy() && l.started != live.started
            })
            .await;
        assert_eq!(back.container_id.as_deref(), Some(id.as_str()));
        assert_eq!(back.restarts, 1);
        assert_eq!(back.last_exit.as_ref().unwrap().code, 137);
        assert!(fetch(&back).await.ends_with("ok\n"));
        // `docker restart` by somebody.
        let restarted = std::process::Command::new("curl")
            .args(["-s", "-X", "POST", "--unix-socket"])
            .arg(host().trim_start_matches("unix://"))
            .arg(format!("http://d/containers/{id}/restart?t=1"))
            .status()
            .unwrap();
        assert!(restarted.success());
        let again = daemon
            .until(row.id, "the replica", |l| {
                l.is_healthy() && l.started != back.started
            })
            .await;
        assert!(fetch(&again).await.ends_with("ok\n"));
        // A removed one is made again.
        m.engine.remove_container(&id).await.unwrap();
        let new = daemon
            .until(row.id, "the replica", |l| {
                l.is_healthy() && l.container_id.as_deref() != Some(&id)
            })
            .await;
        assert!(fetch(&new).await.ends_with("ok\n"));
        let events: Vec<String> = daemon
            .db
            .read(|c| freehold::events::newest(c, Some("app:1"), 10))
            .await
            .unwrap()
            .into_iter()
            .map(|e| e.message)
            .collect();
        assert!(events.iter().any(|e| e.contains("SIGKILL")), "{events:?}");
        daemon.stop().await;
    })
    .await;
}

#[tokio::test]
async fn f4_a_port_mismatch_is_told_with_ports_answer_and_log() {
    on_a_machine(|m| async move {
        let daemon = m.daemon().await;
        let mut spec = web("tasks-web-v2-1");
        spec.command = Some(
            [
                "sh",
                "-c",
                "echo listening on 8080; mkdir /www; exec httpd -f -p 8080 -h /www",
            ]
            .map(str::to_owned)
            .to_vec(),
        );
        let row = daemon.supervisor.want(spec).await.unwrap();
        let story = daemon
            .supervisor
            .wait_ready(row.id, 4 * SECOND)
            .await
            .unwrap_err();
        assert!(matches!(story.cause, Cause::Deadline(_)), "{story}");
        let text = story.to_string();
        for part in [
            "GET http://10.83.",
            ":3000/healthz",
            "connection refused",
            "Listening ports in the container: 8080",
            "  listening on 8080",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        daemon.stop().await;
    })
    .await;
}

#[tokio::test]
async fn f4_a_container_that_exits_is_told_at_once() {
    on_a_machine(|m| async move {
        let daemon = m.daemon().await;
        let mut spec = web("tasks-web-v3-1");
        spec.command = Some(
            ["sh", "-c", "echo no database >&2; exit 3"]
                .map(str::to_owned)
                .to_vec(),
        );
        let begun = Instant::now();
        let row = daemon.supervisor.want(spec).await.unwrap();
        let story = daemon
            .supervisor
            .wait_ready(row.id, 60 * SECOND)
            .await
            .unwrap_err();
        assert!(begun.elapsed() < 10 * SECOND);
        let text = story.to_string();
        assert!(text.contains("ended with exit code 3"), "{text}");
        assert!(text.contains("  no database"), "{text}");
        for (name, change, part) in [
            ("missing", "fhtest/no-such-image:9", "no-such-image"),
            ("command", "busybox:latest", "no-such-program"),
        ] {
            let mut spec = web(&format!("tasks-web-{name}-1"));
            spec.image = change.into();
            spec.command = Some(vec!["no-such-program".into()]);
            let row = daemon.supervisor.want(spec).await.unwrap();
            let story = daemon
                .supervisor
                .wait_ready(row.id, 60 * SECOND)
                .await
                .unwrap_err();
            assert!(matches!(story.cause, Cause::Refused(_)), "{story:?}");
            assert!(story.to_string().contains(part), "{story}");
        }
        daemon.stop().await;
    })
    .await;
}

#[tokio::test]
async fn f8_a_crash_loop_backs_off_and_is_said() {
    on_a_machine(|m| async move {
        let daemon = m.daemon().await;
        let mut spec = shell(Kind::Replica, "tasks-worker-v1-1", "sleep 0.2; exit 1");
        spec.process = Some("worker".into());
        let row = daemon.supervisor.want(spec).await.unwrap();
        daemon
            .until(row.id, "the third failure", |l| l.restarts >= 3)
            .await;
        let events: Vec<(String, String)> = daemon
            .db
            .read(|c| freehold::events::newest(c, Some("app:1"), 10))
            .await
            .unwrap()
            .into_iter()
            .map(|e| (e.kind, e.message))
            .collect();
        let is_loop = |(kind, _): &&(String, String)| kind == "container.crash_loop";
        let said = events
            .iter()
            .find(is_loop)
            .unwrap_or_else(|| panic!("{events:?}"));
        assert!(said.1.contains("within 4 s"), "{said:?}");
        daemon.stop().await;
    })
    .await;
}

#[tokio::test]
async fn f4_a_job_streams_its_lines_and_never_runs_twice() {
    on_a_machine(|m| async move {
        let daemon = m.daemon().await;
        let mut spec = shell(
            Kind::Job,
            "deploy-1-release",
            "echo ran >> /data/count; echo early; echo why >&2; sleep 2; wc -l < /data/count; exit 4",
        );
        spec.volumes = vec![freehold::supervise::Mount {
            volume: "count".into(),
            path: "/data".into(),
            read_only: false,
        }];
        let begun = Instant::now();
        let mut lines = Vec::new();
        let end = daemon
            .supervisor
            .run_job(
                spec.clone(),
                30 * SECOND,
                |l| lines.push((begun.elapsed(), l.text)),
                CancellationToken::new(),
            )
            .await
            .unwrap();
        assert_eq!(end.exit.code, 4);
        assert_eq!(end.errors, ["why"]);
        let at = |text: &str| lines.iter().find(|l| l.1 == text).unwrap().0;
        assert!(at("1") - at("early") > Duration::from_millis(1500), "{lines:?}");
        daemon.stop().await;
        let second = m.daemon().await;
        let again = second
            .supervisor
            .run_job(spec, 30 * SECOND, |_| (), CancellationToken::new())
            .await
            .unwrap();
        assert_eq!(again, end, "the kept result");
        assert!(m.engine.list_containers(&[m.label()]).await.unwrap().is_empty());
        second.stop().await;
    })
    .await;
}

#[tokio::test]
async fn f8_a_job_is_found_again_after_the_daemon_was_away() {
    on_a_machine(|m| async move {
        let first = m.daemon().await;
        let spec = shell(
            Kind::Job,
            "deploy-2-release",
            "echo one; sleep 4; echo two; exit 5",
        );
        let supervisor = first.supervisor.clone();
        let running = spec.clone();
        let work = tokio::spawn(async move {
            supervisor
                .run_job(running, 60 * SECOND, |_| (), CancellationToken::new())
                .await
        });
        let mut live = first.supervisor.live();
        live.wait_for(|all| all.iter().any(|l| l.started.is_some()))
            .await
            .unwrap();
        let id = live.borrow()[0].container_id.clone();
        work.abort();
        first.stop().await;
        let second = m.daemon().await;
        let mut lines = Vec::new();
        let end = second
            .supervisor
            .run_job(
                spec,
                60 * SECOND,
                |l| lines.push(l.text),
                CancellationToken::new(),
            )
            .await
            .unwrap();
        assert_eq!(end.exit.code, 5);
        assert_eq!(lines, ["one", "two"]);
        assert!(id.is_some());
        second.stop().await;
    })
    .await;
}

#[tokio::test]
async fn f4_a_cancelled_or_late_job_is_dead_when_it_says_so() {
    on_a_machine(|m| async move {
        let daemon = m.daemon().await;
        let cancel = CancellationToken::new();
        let stop = cancel.clone();
        tokio::spawn(async move {
            tokio::time::sleep(2 * SECOND).await;
            stop.cancel();
        });
        let spec = shell(Kind::Job, "long-1", "sleep 1000");
        let error = daemon
            .supervisor
            .run_job(spec, 60 * SECOND, |_| (), cancel)
            .await
            .unwrap_err();
        assert!(error.to_string().contains("cancelled"), "{error}");
        assert!(
            m.engine
                .list_containers(&[m.label()])
                .await
                .unwrap()
                .is_empty()
        );
        let spec = shell(Kind::Job, "long-2", "sleep 1000");
        let error = daemon
            .supervisor
            .run_job(spec, SECOND, |_| (), CancellationToken::new())
            .await
            .unwrap_err();
        assert!(error.to_string().contains("within 1 s"), "{error}");
        assert!(
            m.engine
                .list_containers(&[m.label()])
                .await
                .unwrap()
                .is_empty()
        );
        daemon.stop().await;
    })
    .await;
}

#[tokio::test]
async fn f6_piped_output_is_whole_though_its_reader_stalls_at_the_end() {
    on_a_machine(|m| async move {
        let daemon = m.daemon().await;
        // The reader stalls for longer than the engine waits, with so much left
        // that the process has just ended and the engine's pipe is full. Without
        // the reader's haste at that moment two or three of these come out short.
        let stalls = (44..92).map(|left| {
            let supervisor = daemon.supervisor.clone();
            async move {
                let script = "head -c 6000000 /dev/zero; echo done >&2";
                let mut spec = shell(Kind::Job, &format!("dump-{left}"), script);
                spec.networks.clear();
                let mut piped = supervisor
                    .run_piped(spec, false, 60 * SECOND, CancellationToken::new())
                    .await
                    .unwrap();
                let (mut bytes, mut stalled) = (0, false);
                while let Some(piece) = piped.output.recv().await {
                    bytes += piece.unwrap().len();
                    if !stalled && bytes > 6_000_000 - left * 25_000 {
                        stalled = true;
                        tokio::time::sleep(6 * SECOND).await;
                    }
                }
                let end = piped.end.await.unwrap().unwrap();
                assert!(end.is_success(), "{end:?}");
                assert_eq!(end.errors, ["done"]);
                (left, bytes)
            }
        });
        let ended = futures_util::future::join_all(stalls).await;
        let short: Vec<_> = ended.iter().filter(|(_, b)| *b != 6_000_000).collect();
        assert!(short.is_empty(), "the end is missing: {short:?}");
        assert!(
            m.engine
                .list_containers(&[m.label()])
                .await
                .unwrap()
                .is_empty()
        );
        daemon.stop().await;
    })
    .await;
}

#[tokio::test]
async fn f6_piped_input_reaches_its_end_and_a_dropped_job_dies() {
    on_a_machine(|m| async move {
        use tokio::io::AsyncWriteExt;
        let daemon = m.daemon().await;
        let spec = shell(Kind::Job, "restore-1", "md5sum; exit 6");
        let mut piped = daemon
            .supervisor
            .run_piped(spec, true, 60 * SECOND, CancellationToken::new())
            .await
            .unwrap();
        let mut input = piped.input.take().unwrap();
        input.write_all(b"hello").await.unwrap();
        input.shutdown().await.unwrap();
        let said = piped.output.recv().await.unwrap().unwrap();
        assert!(said.starts_with(b"5d41402abc4b2a76b9719d911017c592"));
        assert!(piped.output.recv().await.is_none());
        assert_eq!(piped.end.await.unwrap().unwrap().exit.code, 6);
        for (name, script) in [("dump-2", "yes"), ("dump-3", "sleep 1000")] {
            let spec = shell(Kind::Job, name, script);
            let piped = daemon
                .supervisor
                .run_piped(spec, false, 60 * SECOND, CancellationToken::new())
                .await
                .unwrap();
            drop(piped.output);
            assert!(piped.end.await.unwrap().is_err());
        }
        assert!(
            m.engine
                .list_containers(&[m.label()])
                .await
                .unwrap()
                .is_empty()
        );
        daemon.stop().await;
    })
    .await;
}

#[tokio::test]
async fn f3_commands_and_terminals_inside_a_container() {
    on_a_machine(|m| async move {
        use futures_util::StreamExt;
        use tokio::io::AsyncWriteExt;
        let daemon = m.daemon().await;
        let row = daemon.supervisor.want(web("tasks-web-v1-1")).await.unwrap();
        daemon
            .supervisor
            .wait_ready(row.id, 20 * SECOND)
            .await
            .unwrap();
        let argv = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        let said = daemon
            .supervisor
            .exec(
                row.id,
                argv(&["sh", "-c", "cat; echo $A >&2; exit 9"]),
                [("A".to_owned(), "b c".to_owned())].into(),
                Some(b"in".to_vec()),
                10 * SECOND,
            )
            .await
            .unwrap();
        assert_eq!(
            (said.code, &said.out[..], &said.err[..]),
            (9, &b"in"[..], &b"b c\n"[..])
        );
        let size = freehold::supervise::TerminalSize {
            rows: 40,
            columns: 100,
        };
        let mut shell_in = daemon
            .supervisor
            .exec_interactive(row.id, argv(&["sh"]), [].into(), Some(size))
            .await
            .unwrap();
        shell_in
            .input
            .write_all(b"stty size; exit 7\n")
            .await
            .unwrap();
        let mut text = Vec::new();
        while let Some(chunk) = shell_in.output.next().await {
            text.extend_from_slice(chunk.unwrap().bytes());
        }
        let text = String::from_utf8_lossy(&text).into_owned();
        assert!(text.contains("40 100"), "{text}");
        assert_eq!(shell_in.exit.await.unwrap().unwrap(), 7);
        // A caller that leaves takes its command with it.
        let left = daemon
            .supervisor
            .exec_interactive(row.id, argv(&["sleep", "7654"]), [].into(), Some(size))
            .await
            .unwrap();
        let begun = Instant::now();
        while processes("sleep\x007654\0") == 0 {
            assert!(begun.elapsed() < 10 * SECOND, "the command never ran");
            tokio::time::sleep(SECOND / 10).await;
        }
        drop(left);
        let begun = Instant::now();
        while processes("sleep\x007654\0") > 0 {
            assert!(begun.elapsed() < 10 * SECOND, "the command is still there");
            tokio::time::sleep(SECOND / 10).await;
        }
        let spec = shell(Kind::Job, "one-off-1", "read line; echo got $line; exit 8");
        let mut one_off = daemon.supervisor.run_interactive(spec, None).await.unwrap();
        one_off.input.write_all(b"this\n").await.unwrap();
        let mut text = Vec::new();
        while let Some(chunk) = one_off.output.next().await {
            text.extend_from_slice(chunk.unwrap().bytes());
        }
        assert_eq!(text, b"got this\n");
        assert_eq!(one_off.exit.await.unwrap().unwrap(), 8);
        daemon.stop().await;
    })
    .await;
}

#[tokio::test]
async fn f9_look_alikes_of_another_installation_are_left_alone() {
    on_a_machine(|m| async move {
        // Another Freehold whose id begins with the same six characters.
        let first: String = m.id.as_str().chars().take(6).collect();
        let other = Machine {
            folder: tempfile::tempdir().unwrap(),
            engine: m.engine.clone(),
            id: InstallationId::parse(&format!("{first}zzzzzz")).unwrap(),
        };
        let theirs = other.daemon().await;
        let row = theirs.supervisor.want(web("other-web-v1-1")).await.unwrap();
        let before = theirs
            .supervisor
            .wait_ready(row.id, 20 * SECOND)
            .await
            .unwrap();
        theirs.supervisor.ensure_volume("precious").await.unwrap();
        theirs.stop().await;
        let ours = m.daemon().await;
        let refused = ours.supervisor.ensure_network("app-1").await.unwrap_err();
        assert!(
            refused.to_string().contains("another installation"),
            "{refused}"
        );
        assert!(ours.supervisor.ensure_volume("precious").await.is_err());
        assert!(ours.supervisor.remove_volume("precious").await.is_err());
        ours.supervisor.remove_network("app-1").await.unwrap();
        tokio::time::sleep(12 * SECOND).await;
        let seen = m
            .engine
            .inspect_container(before.container_id.as_deref().unwrap())
            .await
            .unwrap();
        assert_eq!(seen.started_ms, before.started.map(|t| t.0));
        assert_eq!(
            m.engine
                .list_networks(&[other.label()])
                .await
                .unwrap()
                .len(),
            1
        );
        assert_eq!(
            m.engine.list_volumes(&[other.label()]).await.unwrap().len(),
            1
        );
        ours.stop().await;
        other.clean().await;
    })
    .await;
}

#[tokio::test]
async fn f9_our_orphans_are_removed_and_a_changed_spec_replaces() {
    on_a_machine(|m| async move {
        let first = m.daemon().await;
        let row = first.supervisor.want(web("tasks-web-v1-1")).await.unwrap();
        let live = first
            .supervisor
            .wait_ready(row.id, 20 * SECOND)
            .await
            .unwrap();
        let mut changed = web("tasks-web-v1-1");
        changed.memory_bytes = Some(32 << 20);
        let same_row = first.supervisor.want(changed).await.unwrap();
        assert_eq!(same_row.id, row.id);
        let new = first
            .until(row.id, "the new container", |l| {
                l.is_healthy() && l.container_id != live.container_id
            })
            .await;
        first
            .db
            .write(|tx| Ok::<_, freehold::db::DbError>(tx.execute("DELETE FROM containers", [])?))
            .await
            .unwrap();
        first.stop().await;
        let second = m.daemon().await;
        for _ in 0..100 {
            if m.engine
                .list_containers(&[m.label()])
                .await
                .unwrap()
                .is_empty()
            {
                break;
            }
            tokio::time::sleep(SECOND / 5).await;
        }
        assert!(
            m.engine
                .list_containers(&[m.label()])
                .await
                .unwrap()
                .is_empty(),
            "{new:?}"
        );
        second.stop().await;
    })
    .await;
}

#[tokio::test]
async fn f8_a_proven_replica_outlives_a_stopped_freehold() {
    on_a_machine(|m| async move {
        let daemon = m.daemon().await;
        let row = daemon.supervisor.want(web("tasks-web-v1-1")).await.unwrap();
        let live = daemon
            .supervisor
            .wait_ready(row.id, 20 * SECOND)
            .await
            .unwrap();
        let id = live.container_id.clone().unwrap();
        // Ten seconds of health hand it to the engine.
        for _ in 0..100 {
            let seen = m.engine.inspect_container(&id).await.unwrap();
            if seen.restart == freehold::docker::Restart::UnlessStopped {
                break;
            }
            tokio::time::sleep(SECOND / 5).await;
        }
        daemon.stop().await;
        let pid = m.engine.inspect_container(&id).await.unwrap().pid.unwrap();
        assert!(
            std::process::Command::new("kill")
                .args(["-9", &pid.to_string()])
                .status()
                .unwrap()
                .success()
        );
        let mut back = None;
        for _ in 0..50 {
            tokio::time::sleep(SECOND / 5).await;
            let seen = m.engine.inspect_container(&id).await.unwrap();
            back = seen.pid.filter(|p| *p != pid);
            if back.is_some() {
                break;
            }
        }
        assert!(back.is_some(), "nobody brought it back");
        let second = m.daemon().await;
        let again = second.until(row.id, "health", Live::is_healthy).await;
        assert_eq!(again.container_id.as_deref(), Some(id.as_str()));
        assert_ne!(again.state, State::Starting);
        second.stop().await;
    })
    .await;
}

/// The test below kills this process at a point and starts it again.
#[cfg(feature = "crash-points")]
#[tokio::test]
#[ignore = "the process that another test kills"]
async fn the_process_that_is_killed() {
    let Ok(home) = std::env::var("SUPERVISE_HOME") else {
        return;
    };
    let engine = Engine::connect(&host()).unwrap();
    engine.negotiate().await.unwrap();
    let id = std::fs::read_to_string(format!("{home}/id")).unwrap();
    let db = Db::open(&std::path::Path::new(&home).join("state.db"), DbKind::State).unwrap();
    let tasks = Tasks::new(Shutdown::new());
    let key = Arc::new(MasterKey::from_bytes(&[7; 32]).unwrap());
    let id = InstallationId::parse(&id).unwrap();
    let supervisor = Supervisor::start(engine, db, key, &id, &Config::default(), &tasks)
        .await
        .unwrap();
    let script = "echo ran >> /data/count; sleep 1; wc -l < /data/count";
    let mut job = shell(Kind::Job, "release-1", script);
    job.volumes = vec![freehold::supervise::Mount {
        volume: "count".into(),
        path: "/data".into(),
        read_only: false,
    }];
    let end = supervisor
        .run_job(job.clone(), 30 * SECOND, |_| (), CancellationToken::new())
        .await
        .unwrap();
    assert_eq!(end.exit.code, 0);
    let row = supervisor.want(web("tasks-web-v1-1")).await.unwrap();
    supervisor.wait_ready(row.id, 20 * SECOND).await.unwrap();
    supervisor.retire(row.id, SECOND).await.unwrap();
    supervisor.wait_gone(row.id, 20 * SECOND).await.unwrap();
    job.name = "count-1".into();
    job.command = Some(
        ["sh", "-c", "wc -l < /data/count"]
            .map(str::to_owned)
            .to_vec(),
    );
    let mut lines = Vec::new();
    supervisor
        .run_job(
            job,
            30 * SECOND,
            |l| lines.push(l.text),
            CancellationToken::new(),
        )
        .await
        .unwrap();
    assert_eq!(lines, ["1"], "the job ran once");
    assert!(tasks.finish(5 * SECOND).await);
}

#[cfg(feature = "crash-points")]
#[tokio::test]
async fn f8_a_kill_at_any_point_loses_and_doubles_nothing() {
    for point in freehold::supervise::crash_points() {
        on_a_machine(|m| async move {
            let home = m.folder.path().to_owned();
            std::fs::write(home.join("id"), m.id.as_str()).unwrap();
            let run = || {
                std::process::Command::new(std::env::current_exe().unwrap())
                    .args(["--ignored", "--exact", "the_process_that_is_killed"])
                    .env("SUPERVISE_HOME", &home)
                    .env("FREEHOLD_CRASH_AT", &point)
                    .env("FREEHOLD_CRASH_MARK", home.join("mark"))
                    .status()
                    .unwrap()
            };
            assert!(!run().success(), "{point} was not passed");
            assert!(home.join("mark").exists(), "{point} was not passed");
            assert!(run().success(), "{point}");
            let left = m.engine.list_containers(&[m.label()]).await.unwrap();
            assert!(left.is_empty(), "{point}: {left:?}");
        })
        .await;
    }
}
