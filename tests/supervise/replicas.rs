//! Replicas: made, checked, reached, retired; killed, restarted, removed and back; the daemon's end and start do not touch them.

use freehold::docker::Restart;
use freehold::supervise::State;

use crate::rig::*;

#[tokio::test]
async fn f4_a_replica_is_made_checked_reached_and_retired() {
    on_a_machine(|m| async move {
        let daemon = m.daemon().await;
        let (row, live) = daemon.ready(web("tasks-web-v1-1")).await;
        assert!(fetch(&live).await.ends_with("ok\n"));
        let address = live.address.unwrap().ip().to_string();
        assert!(address.starts_with("10.83."), "{address}");
        let again = daemon.supervisor.want(web("tasks-web-v1-1")).await.unwrap();
        assert_eq!(again.id, row, "the same wish is the same row");
        daemon.retired(row).await;
        m.has_no_container().await;
        daemon.supervisor.remove_network("app-1").await.unwrap();
        let networks = m.engine.list_networks(&[m.label()]).await.unwrap();
        assert!(networks.is_empty());
        daemon.stop().await;
    })
    .await;
}

#[tokio::test]
async fn f8_a_daemons_end_and_start_leave_containers_untouched() {
    on_a_machine(|m| async move {
        let first = m.daemon().await;
        let (row, live) = first.ready(web("tasks-web-v1-1")).await;
        first.stop().await;
        let second = m.daemon().await;
        let again = second.until(row, "health", Live::is_healthy).await;
        assert_eq!(again.container_id, live.container_id);
        assert_eq!(again.started, live.started);
        assert_eq!(again.address, live.address);
        let same = second.supervisor.want(web("tasks-web-v1-1")).await.unwrap();
        assert_eq!(same.id, row);
        // That nothing happens takes some time to see.
        tokio::time::sleep(SECOND).await;
        let still = second.until(row, "health", Live::is_healthy).await;
        assert_eq!(still.container_id, live.container_id);
        second.stop().await;
    })
    .await;
}

#[tokio::test]
async fn f8_a_killed_or_restarted_replica_is_back_by_itself() {
    on_a_machine(|m| async move {
        let daemon = m.daemon().await;
        let (row, live) = daemon.ready(web("tasks-web-v1-1")).await;
        let id = live.container_id.clone().unwrap();
        // Young: we bring it back ourselves.
        m.engine.kill_container(&id, "SIGKILL").await.unwrap();
        let back = daemon
            .until(row, "the replica", |l| {
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
            .arg(shared_engine().trim_start_matches("unix://"))
            .arg(format!("http://d/containers/{id}/restart?t=1"))
            .status()
            .unwrap();
        assert!(restarted.success());
        let again = daemon
            .until(row, "the replica", |l| {
                l.is_healthy() && l.started != back.started
            })
            .await;
        assert!(fetch(&again).await.ends_with("ok\n"));
        // A removed one is made again.
        m.engine.remove_container(&id).await.unwrap();
        let new = daemon
            .until(row, "the replica", |l| {
                l.is_healthy() && l.container_id.as_deref() != Some(&id)
            })
            .await;
        assert!(fetch(&new).await.ends_with("ok\n"));
        let events = daemon.events().await;
        assert!(events.iter().any(|e| e.1.contains("SIGKILL")), "{events:?}");
        daemon.stop().await;
    })
    .await;
}

#[tokio::test]
async fn f8_a_proven_replica_outlives_a_stopped_freehold() {
    on_a_machine(|m| async move {
        let daemon = m.daemon().await;
        let (row, live) = daemon.ready(web("tasks-web-v1-1")).await;
        let id = live.container_id.clone().unwrap();
        // Ten seconds of health hand it to the engine.
        eventually("the engine to look after it", async || {
            let seen = m.engine.inspect_container(&id).await.unwrap();
            seen.restart == Restart::UnlessStopped
        })
        .await;
        daemon.stop().await;
        let pid = m.engine.inspect_container(&id).await.unwrap().pid.unwrap();
        assert!(
            std::process::Command::new("kill")
                .args(["-9", &pid.to_string()])
                .status()
                .unwrap()
                .success()
        );
        eventually("the engine to bring it back", async || {
            let seen = m.engine.inspect_container(&id).await.unwrap();
            seen.pid.is_some_and(|p| p != pid)
        })
        .await;
        let second = m.daemon().await;
        let again = second.until(row, "health", Live::is_healthy).await;
        assert_eq!(again.container_id.as_deref(), Some(id.as_str()));
        assert_ne!(again.state, State::Starting);
        second.stop().await;
    })
    .await;
}
