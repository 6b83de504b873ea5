//! Wishes that meet: what was asked for last holds, whatever is in work.

use std::sync::Arc;

use super::database::{Attachment, Database, Link, State};
use super::link::fail;
use super::{Databases, PostgresError, store, takes_data_away};
use crate::base::clock::UnixMs;
use crate::base::ids::{DatabaseName, InstallationId};
use crate::base::secret::{MasterKey, Secret};
use crate::base::shutdown::{Shutdown, Tasks};
use crate::config::Config;
use crate::db::{Db, DbError, Kind};
use crate::docker::Engine;
use crate::events;
use crate::jobs::{JobContext, Outcome};
use crate::supervise::Supervisor;

struct Machine {
    _folder: tempfile::TempDir,
    db: Db,
    databases: Databases,
}

/// A box whose engine does not answer.
async fn a_box() -> Machine {
    let folder = tempfile::tempdir().unwrap();
    let db = Db::open(&folder.path().join("state.db"), Kind::State).unwrap();
    let key = Arc::new(MasterKey::from_bytes(&[7; 32]).unwrap());
    let engine = Engine::connect(&format!("unix://{}/none.sock", folder.path().display())).unwrap();
    let tasks = Tasks::new(Shutdown::new());
    let supervisor = Supervisor::start(
        engine.clone(),
        db.clone(),
        Arc::clone(&key),
        &InstallationId::parse("box").unwrap(),
        &Config::default(),
        &tasks,
    )
    .await
    .unwrap();
    Machine {
        _folder: folder,
        databases: Databases::new(db.clone(), key, engine, supervisor).0,
        db,
    }
}

async fn made(a: &Machine, state: State) -> Database {
    let key = Arc::clone(&a.databases.key);
    let row = store::NewRow {
        name: DatabaseName::parse("main").unwrap(),
        version: 17,
        image: "postgres:17".into(),
        memory_bytes: 512 << 20,
    };
    let made: Result<Option<Database>, DbError> =
        a.db.write(move |tx| {
            let id = store::insert(tx, &key, &row, &Secret::new("p"), UnixMs(1))?;
            store::set_state(tx, id, State::Creating, state, None, UnixMs(1))?;
            store::by_id(tx, id)
        })
        .await;
    made.unwrap().unwrap()
}

async fn now(a: &Machine, id: i64) -> Database {
    a.databases.by_id(id).await.unwrap().unwrap()
}

#[tokio::test]
async fn f3_a_removal_asked_for_while_the_server_is_made_is_not_lost() {
    for (at, next) in [
        (State::Creating, State::Starting),
        (State::Starting, State::Verifying),
        (State::Verifying, State::Ready),
        (State::Verifying, State::Failed),
    ] {
        let a = a_box().await;
        let in_work = made(&a, at).await;
        a.databases.remove("main", "main", "ana").await.unwrap();
        let why = (next == State::Failed).then_some("it does not start");
        let moved = a.databases.advance(&in_work, next, why).await.unwrap();
        let left = now(&a, in_work.id).await;
        assert_eq!((moved, left.state), (false, State::Removing), "{at:?}");
        assert_eq!((left.ready, left.reason), (None, None), "{at:?}");
        let told = a.db.read(|c| events::newest(c, None, 10)).await;
        let told: Vec<events::Event> = told.unwrap();
        assert!(
            told.iter().all(|e| e.kind == "database.removing"),
            "{told:?}"
        );
        // The job in work goes on with what stands there now: it waits for the engine to remove it.
        let context = JobContext {
            id: 1,
            key: in_work.subject(),
            attempt: 1,
            cancel: Default::default(),
        };
        let payload = serde_json::json!({ "database": in_work.id });
        let ended = a.databases.run(context, payload).await;
        assert!(matches!(ended, Outcome::Again { .. }), "{ended:?}");
        assert_eq!(now(&a, in_work.id).await.state, State::Removing);
    }
}

/// After a recovery with losses a volume may hold what the state does not know of any more.
#[tokio::test]
async fn n7_making_a_database_waits_for_no_word_and_what_takes_its_volume_does() {
    let a = a_box().await;
    let id = made(&a, State::Creating).await.id;
    let payload = serde_json::json!({ "database": id });
    let takes = async || {
        let payload = payload.clone();
        let takes = a.db.read(move |c| takes_data_away(c, &payload)).await;
        takes.unwrap()
    };
    let set = async |sql: &'static str| {
        let set: Result<(), DbError> =
            a.db.write(move |tx| {
                tx.execute_batch(sql)?;
                Ok(())
            })
            .await;
        set.unwrap();
    };
    assert!(!takes().await);
    set("UPDATE databases SET attempt = 2").await;
    assert!(takes().await, "it begins with an empty volume");
    set("UPDATE databases SET ready_ms = 1").await;
    assert!(!takes().await);
    a.databases.remove("main", "main", "ana").await.unwrap();
    assert!(takes().await);
    // Work that was begun before, and meets it, waits as well.
    set(
        "INSERT INTO recoveries (id, at_ms, why, snapshot_ms, replayed, aside, containers)
           VALUES (2, 1, 'it was gone', 1, 0, '', 0);
         INSERT INTO recovery_losses VALUES (2, 0, 'Change 2')",
    )
    .await;
    let context = JobContext {
        id: 1,
        key: "db".into(),
        attempt: 1,
        cancel: Default::default(),
    };
    match a.databases.run(context, payload.clone()).await {
        Outcome::Again { why, .. } => assert_eq!(why, crate::jobs::WAITS),
        ended => panic!("{ended:?}"),
    }
}

#[tokio::test]
async fn f6_nothing_is_run_beside_a_server_that_is_being_removed() {
    let a = a_box().await;
    let ready = made(&a, State::Ready).await;
    let side = |d: &Database| a.databases.side(d, "dump-1".into(), Vec::new(), "shop");
    assert!(side(&ready).is_ok());
    a.databases.remove("main", "main", "ana").await.unwrap();
    let refused = side(&now(&a, ready.id).await).unwrap_err();
    assert!(refused.to_string().contains("being removed"), "{refused}");
}

/// A link of the app with this number; the app's row is there or not.
async fn linked(
    a: &Machine,
    server: &Database,
    app: i64,
    state: Link,
    is_there: bool,
) -> Attachment {
    let key = Arc::clone(&a.databases.key);
    let new = Attachment {
        id: 0,
        database: server.id,
        app,
        app_name: "tasks".into(),
        role: "tasks".into(),
        env_name: "DATABASE_URL".into(),
        state,
        reason: None,
    };
    let made: Result<Option<Attachment>, DbError> =
        a.db.write(move |tx| {
            if is_there {
                tx.execute(
                    "INSERT INTO apps (id, name, created_ms, webhook_secret) VALUES (?1, 'tasks', 1, x'')",
                    [app],
                )?;
            }
            let id = store::insert_attachment(tx, &key, &new, &Secret::new("p"), UnixMs(1))?;
            store::attachment_by_id(tx, id)
        })
        .await;
    made.unwrap().unwrap()
}

#[tokio::test]
async fn f3_a_detach_asked_for_while_the_role_is_made_is_not_lost() {
    let a = a_box().await;
    let server = made(&a, State::Ready).await;
    let link = linked(&a, &server, 7, Link::Attaching, true).await;
    a.databases
        .app_removed(7, "the app's removal")
        .await
        .unwrap();
    assert!(!a.databases.let_in_done(&link, &server).await.unwrap());
    let left = a.databases.attached(server.id).await.unwrap();
    assert_eq!(left[0].state, Link::Detaching);
}

#[tokio::test]
async fn f3_an_app_that_is_gone_keeps_no_database_and_its_failed_detach_is_told() {
    let a = a_box().await;
    let server = made(&a, State::Ready).await;
    let link = linked(&a, &server, 7, Link::Detaching, true).await;
    let used = a.databases.remove("main", "main", "ana").await.unwrap_err();
    assert!(matches!(used, PostgresError::Conflict(_)), "{used}");
    let failed: Result<(), DbError> =
        a.db.write(move |tx| {
            fail(tx, &link, "the database server refused: no", UnixMs(2))?;
            tx.execute("DELETE FROM apps", [])?;
            Ok(())
        })
        .await;
    failed.unwrap();
    let told = a.db.read(|c| events::newest(c, None, 10)).await;
    let told: Vec<events::Event> = told.unwrap();
    assert_eq!(told[0].kind, "database.detach_failed");
    assert!(told[0].message.contains("NOLOGIN"), "{}", told[0].message);
    a.databases.remove("main", "main", "ana").await.unwrap();
}
