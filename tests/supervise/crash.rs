//! Killed at each crash point and started again: nothing is lost, nothing is done twice.

use std::path::{Path, PathBuf};

use crate::rig::*;
use crate::sweep::{Killed, Sweep};

/// The test below kills this process at a point and starts it again.
#[tokio::test]
#[ignore = "the process that another test kills"]
async fn the_process_that_is_killed() {
    let Some(home) = std::env::var_os("SUPERVISE_HOME").map(PathBuf::from) else {
        return;
    };
    let engine = Engine::connect(&shared_engine()).unwrap();
    engine.negotiate().await.unwrap();
    let id = std::fs::read_to_string(home.join("id")).unwrap();
    let id = InstallationId::parse(&id).unwrap();
    let daemon = Daemon::start(&engine, Path::new(&home), &id).await;
    let script = "echo ran >> /data/count; sleep 1; wc -l < /data/count";
    let (end, _) = daemon.job(counting("release-1", script)).await.unwrap();
    assert_eq!(end.exit.code, 0);
    let mut joined = web("tasks-web-v1-1");
    joined.networks.push("db-1".into());
    let (row, live) = daemon.ready(joined).await;
    let seen = engine
        .inspect_container(&live.container_id.unwrap())
        .await
        .unwrap();
    assert_eq!(seen.networks.len(), 2, "{seen:?}");
    daemon.retired(row).await;
    let count = counting("count-1", "wc -l < /data/count");
    let (_, lines) = daemon.job(count).await.unwrap();
    assert!(lines.iter().map(|l| &l.1).eq(["1"]), "the job ran once");
    // What ended is taken away a little later than it is told.
    let ours = [format!("freehold.installation={id}")];
    let ends = std::time::Instant::now() + PATIENCE;
    while !engine.list_containers(&ours).await.unwrap().is_empty() {
        assert!(std::time::Instant::now() < ends, "a container stays");
        tokio::time::sleep(SECOND / 10).await;
    }
    daemon.stop().await;
}

#[tokio::test]
async fn f8_a_kill_at_any_point_loses_and_doubles_nothing() {
    let mut sweep = Sweep::of("f8_a_kill_at_any_point_loses_and_doubles_nothing");
    for point in sweep.points() {
        let sweep = &mut sweep;
        on_a_machine(|m| async move {
            let home = m.folder.path().to_owned();
            std::fs::write(home.join("id"), m.id.as_str()).unwrap();
            let run = || {
                std::process::Command::new(std::env::current_exe().unwrap())
                    .args(["--ignored", "--exact", "crash::the_process_that_is_killed"])
                    .env("SUPERVISE_HOME", &home)
                    .env("FREEHOLD_CRASH_AT", &point)
                    .env("FREEHOLD_CRASH_MARK", home.join("mark"))
                    .status()
                    .unwrap()
            };
            assert!(!run().success(), "{point} was not passed");
            sweep.struck(Killed::at(&point, &home.join("mark")));
            assert!(run().success(), "{point}");
            m.has_no_container().await;
        })
        .await;
    }
}
