//! An engine that goes away and comes back, gently and by kill -9: what ran is
//! back by itself, its address followed; meanwhile what was known stands.
//!
//! Has an engine of its own (`tests/rig/engine`), because it ends it.

#[path = "drops/own_engine.rs"]
mod own_engine;
#[allow(dead_code)]
#[path = "supervise/rig.rs"]
mod rig;
mod support;

use std::process::Command;

use freehold::supervise::EngineState;
use own_engine::OwnEngine;
use rig::*;
use support::freehold::Freehold;
use support::process::run;

/// One such engine at a time is enough for a small machine.
static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Ends the engine with kill -9.
fn kill(own: &OwnEngine) {
    let pid = std::fs::read_to_string(own.folder.join("docker.pid")).unwrap();
    let status = Command::new("kill").args(["-9", pid.trim()]).status();
    assert!(status.unwrap().success());
    // An engine refuses to start while its predecessor's process is listed.
    let listed = format!("/proc/{}", pid.trim());
    let begun = Instant::now();
    while std::fs::exists(&listed).unwrap() {
        assert!(begun.elapsed() < PATIENCE, "the engine does not end");
        std::thread::sleep(SECOND / 20);
    }
    std::fs::remove_file(own.folder.join("docker.pid")).unwrap();
}

async fn reachable(supervisor: &Supervisor, wanted: bool) {
    let mut state = supervisor.engine();
    let right = state.wait_for(|s| matches!(s, EngineState::Reachable { .. }) == wanted);
    tokio::time::timeout(PATIENCE, right)
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f8_an_engine_restart_is_survived_and_addresses_followed() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let own = OwnEngine::start(&["busybox:latest"], false);
    let id = InstallationId::parse("restartertest").unwrap();
    let machine = Machine::on(&own.host(), id).await;
    let daemon = machine.daemon().await;
    let supervisor = &daemon.supervisor;
    let (one, _) = daemon.ready(web("tasks-web-v1-1")).await;
    let (two, _) = daemon.ready(web("tasks-web-v1-2")).await;
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
    eventually("the dump to start", async || {
        let live = supervisor.live();
        let all = live.borrow();
        all.iter()
            .any(|l| l.name == "dump-1" && l.started.is_some())
    })
    .await;
    for gently in [true, false] {
        let before = [
            daemon.until(one, "health", Live::is_healthy).await,
            daemon.until(two, "health", Live::is_healthy).await,
        ];
        match gently {
            true => own.down(),
            false => kill(&own),
        }
        reachable(supervisor, false).await;
        let known = supervisor.live().borrow().clone();
        for l in &before {
            let kept = known.iter().find(|k| k.row == l.row).unwrap();
            assert_eq!(kept.container_id, l.container_id, "knowledge was lost");
        }
        own.up();
        reachable(supervisor, true).await;
        for l in before {
            let back = daemon
                .until(l.row, "the replica", |n| {
                    n.is_healthy() && (n.started != l.started || !gently)
                })
                .await;
            assert_eq!(back.container_id, l.container_id, "made anew");
            // An engine that was killed may start the container once more; its
            // address is followed until it answers.
            eventually("its address to answer", async || {
                let now = daemon.until(l.row, "health", Live::is_healthy).await;
                let address = now.address.unwrap();
                let answers = tokio::net::TcpStream::connect(address).await.is_ok();
                if !answers {
                    supervisor.recheck(address).await;
                }
                answers
            })
            .await;
        }
    }
    let dump = job.await.unwrap();
    assert!(
        dump.is_err(),
        "a dump that lost its engine is no success: {dump:?}"
    );
    for row in [one, two] {
        daemon.retired(row).await;
    }
    supervisor.remove_network("app-1").await.unwrap();
    daemon.stop().await;
}

/// With live-restore its end and its death are nobody's: what runs answers all the time, and is known again afterwards. The
/// saboteur is the test above, where the same replica begins anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n3_an_engine_restart_with_live_restore_interrupts_nobody() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let own = OwnEngine::start(&["busybox:latest"], true);
    let id = InstallationId::parse("liverestoring").unwrap();
    let machine = Machine::on(&own.host(), id).await;
    let daemon = machine.daemon().await;
    let supervisor = &daemon.supervisor;
    let (row, live) = daemon.ready(web("tasks-web-v1-1")).await;
    let stop = CancellationToken::new();
    let visitor = {
        let (stop, live) = (stop.clone(), live.clone());
        tokio::spawn(async move {
            let mut answers = 0u32;
            while !stop.is_cancelled() {
                assert!(fetch(&live).await.ends_with("ok\n"));
                answers += 1;
                tokio::time::sleep(SECOND / 50).await;
            }
            answers
        })
    };
    for gently in [true, false] {
        let gone = Instant::now();
        match gently {
            true => own.down(),
            false => kill(&own),
        }
        reachable(supervisor, false).await;
        own.up();
        reachable(supervisor, true).await;
        println!(
            "with live-restore the engine was away for {:?}",
            gone.elapsed()
        );
        let same = daemon.until(row, "health", Live::is_healthy).await;
        assert_eq!(same.container_id, live.container_id);
        assert_eq!((same.started, same.address), (live.started, live.address));
        assert_eq!(same.restarts, 0);
    }
    stop.cancel();
    let answers = visitor.await.expect("every request is answered");
    println!("{answers} requests, all answered");
    assert!(supervisor.deaths(row).is_empty());
    daemon.retired(row).await;
    supervisor.remove_network("app-1").await.unwrap();
    daemon.stop().await;
    machine.clean().await;
}

/// The same as a visitor sees it: requests through the edge are answered again, though the container's address is
/// another one.
#[test]
fn f8_n3_after_an_engine_restart_the_edge_answers_from_the_new_address() {
    let _alone = ONE_AT_A_TIME.blocking_lock();
    let own = OwnEngine::start(&["busybox:latest"], false);
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
    support::until::until("the app to answer", 120 * SECOND, answers);
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
        // It may be gone again between the list and the look.
        let out = inspect.output().unwrap();
        let found = support::freehold::words(&out);
        match out.status.success() && !found.is_empty() {
            true => Ok(found),
            false => Err(format!("it has no address: {found}")),
        }
    };
    let before = support::until::until("one container alone", 120 * SECOND, address);
    let gone = Instant::now();
    own.down();
    own.up();
    support::until::until("the app to answer again", 180 * SECOND, answers);
    println!(
        "without live-restore the app answers again after {:?}",
        gone.elapsed()
    );
    let after = support::until::until("its address", 120 * SECOND, address);
    assert_ne!(
        after, before,
        "the address is the same: nothing was followed"
    );

    kill(&own);
    own.up();
    support::until::until("the app to answer after kill -9", 180 * SECOND, answers);
    drop(fh);
}
