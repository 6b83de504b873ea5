//! Whose objects are touched: another installation's never, our own orphans always.

use freehold::db::DbError;

use crate::rig::*;

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
        let (_, before) = theirs.ready(web("other-web-v1-1")).await;
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
        // That nothing happens takes a whole round of the supervisor to see.
        tokio::time::sleep(12 * SECOND).await;
        let id = before.container_id.as_deref().unwrap();
        let seen = m.engine.inspect_container(id).await.unwrap();
        assert_eq!(seen.started_ms, before.started.map(|t| t.0));
        let networks = m.engine.list_networks(&[other.label()]).await.unwrap();
        let volumes = m.engine.list_volumes(&[other.label()]).await.unwrap();
        assert_eq!((networks.len(), volumes.len()), (1, 1));
        ours.stop().await;
        other.clean().await;
    })
    .await;
}

#[tokio::test]
async fn f9_our_orphans_are_removed_and_a_changed_spec_replaces() {
    on_a_machine(|m| async move {
        let first = m.daemon().await;
        let (row, live) = first.ready(web("tasks-web-v1-1")).await;
        let mut changed = web("tasks-web-v1-1");
        changed.memory_bytes = Some(32 << 20);
        let same_row = first.supervisor.want(changed).await.unwrap();
        assert_eq!(same_row.id, row);
        first
            .until(row, "the new container", |l| {
                l.is_healthy() && l.container_id != live.container_id
            })
            .await;
        first
            .db
            .write(|tx| Ok::<_, DbError>(tx.execute("DELETE FROM containers", [])?))
            .await
            .unwrap();
        first.stop().await;
        let second = m.daemon().await;
        eventually("the orphan to go", async || {
            let left = m.engine.list_containers(&[m.label()]).await.unwrap();
            left.is_empty()
        })
        .await;
        second.stop().await;
    })
    .await;
}
