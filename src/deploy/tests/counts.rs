//! More and fewer replicas where the engine is away, or the work breaks off.

use std::time::Duration;

use super::world::Place;
use crate::base::clock::UnixMs;
use crate::db::DbError;
use crate::deploy::State;
use crate::{events, jobs};

/// How often the number of replicas was told not to be what was asked for.
async fn failed_scales(p: &Place) -> usize {
    let all: Result<Vec<events::Event>, DbError> =
        p.db.read(|c| events::newest(c, None, 100)).await;
    let all = all.unwrap();
    all.iter().filter(|e| e.kind == "app.scale_failed").count()
}

#[tokio::test]
async fn n5_a_scale_asked_for_while_the_engine_is_away_is_made_when_it_is_back() {
    let p = Place::new().await;
    let id = p.deploy("one").await;
    let name = |n| format!("tasks-web-v1-d{id}-{n}");
    p.world.told.lock().unwrap().no_engine = true;
    p.scale(3).await;
    p.until_done("the engine is away").await;
    assert_eq!(p.world.running(), [name(1)]);
    let live = p.deploys.live(7).await.unwrap().unwrap();
    assert_eq!(live.replicas["web"], [name(1)], "it serves on as it did");
    p.world.told.lock().unwrap().no_engine = false;
    p.until_done(&format!("serve {},{},{}", name(1), name(2), name(3)))
        .await;
    // A container that cannot be watched just now is no failure of the release.
    p.world.told.lock().unwrap().broken = true;
    p.scale(4).await;
    let all = [name(1), name(2), name(3), name(4)];
    p.until_done(&format!("serve {}", all.join(","))).await;
    assert_eq!(p.world.count(&format!("want {}", name(4))), 1);
    assert_eq!(p.world.count(&format!("retire {}", name(4))), 0);
    assert_eq!(failed_scales(&p).await, 0);
}

#[tokio::test]
async fn n5_a_deploy_meets_an_engine_that_restarts_and_goes_on_when_it_is_back() {
    let p = Place::new().await;
    p.deploy("one").await;
    p.world.told.lock().unwrap().no_engine = true;
    let commit = p.commit("two");
    let id = p.push_event(&commit, "two").await.deploy.unwrap();
    p.until_done("the engine is away").await;
    p.world.told.lock().unwrap().no_engine = false;
    p.until(id, State::Live).await;
    let log = p.log(id).await;
    assert!(log.contains("does not answer"), "{log}");
}

#[tokio::test]
async fn n5_a_deploy_gives_up_on_an_engine_that_stays_away_and_says_so() {
    let mut p = Place::new().await;
    p.deploy("one").await;
    p.world.told.lock().unwrap().no_engine = true;
    let commit = p.commit("two");
    let id = p.push_event(&commit, "two").await.deploy.unwrap();
    p.until_done("the engine is away").await;
    let waits = async || {
        let job: Result<Option<jobs::Told>, DbError> =
            p.db.read(move |c| jobs::newest_about(c, crate::deploy::JOB, "deploy", id))
                .await;
        job.unwrap().is_some_and(|job| job.error.is_some())
    };
    while !waits().await {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    p.tasks.finish(Duration::from_secs(5)).await;
    let tried: Result<usize, DbError> =
        p.db.write(|tx| {
            let tried = "UPDATE jobs SET attempts = 20 WHERE kind = 'deploy' AND state <> 'done'";
            Ok(tx.execute(tried, [])?)
        })
        .await;
    assert_eq!(tried.unwrap(), 1);
    p.crash().await;
    let why = p.until(id, State::Failed).await.error.unwrap();
    assert!(why.contains("begun 21 times"), "{why}");
    assert!(why.contains("does not answer"), "{why}");
    assert_eq!(p.world.running(), ["tasks-web-v1-d1-1"]);
}

/// Work that broke off where nothing of ours catches it is tried once more, and a release that does not come up not for ever.
#[tokio::test]
async fn n6_replicas_that_are_too_few_because_their_count_failed_are_tried_once_more() {
    let p = Place::new().await;
    let id = p.deploy("one").await;
    let name = |n| format!("tasks-web-v1-d{id}-{n}");
    let counts = async || {
        let all: Result<Vec<jobs::Told>, DbError> =
            p.db.read(|c| jobs::newest(c, &[crate::deploy::REPLICAS_JOB], None, &20.into()))
                .await;
        all.unwrap()
    };
    // The newest is over; the reaper looks, once as it is and once as if ten minutes had passed.
    let reaped = async |failed: usize| {
        let all = loop {
            let all = counts().await;
            if all
                .iter()
                .all(|job| job.state != "queued" && job.state != "running")
            {
                break all;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        assert_eq!(
            all.iter().filter(|job| job.state == "failed").count(),
            failed
        );
        p.deploys.reap().await;
        assert_eq!(counts().await.len(), all.len(), "not at once");
        let past: Result<usize, DbError> =
            p.db.write(|tx| Ok(tx.execute("UPDATE jobs SET finished_ms = 1", [])?))
                .await;
        past.unwrap();
        p.deploys.reap().await;
        counts().await.len() - all.len()
    };
    p.world.told.lock().unwrap().panic.insert("ready".into());
    p.scale(2).await;
    p.until_done("ready").await;
    assert_eq!(reaped(1).await, 1);
    p.until_done(&format!("serve {},{}", name(1), name(2)))
        .await;
    assert_eq!(reaped(1).await, 0, "they are as many as are wanted");

    p.world.told.lock().unwrap().unhealthy = true;
    p.scale(3).await;
    assert_eq!(reaped(2).await, 1);
    assert_eq!(reaped(3).await, 0, "it is not tried for ever");
    // And a look at what stays as it is costs next to nothing.
    let mut commits = p.db.commits();
    commits.mark_unchanged();
    let asked = || p.world.told.lock().unwrap().facts;
    let before = asked();
    for _ in 0..3 {
        p.deploys.reap().await;
    }
    assert!(!commits.has_changed().unwrap(), "a write changed nothing");
    assert_eq!(asked(), before);
    assert_eq!(failed_scales(&p).await, 2);
    assert_eq!(p.world.running(), [name(1), name(2)]);
    // Nor against what somebody wants.
    p.deploys.stop(7, "ana", UnixMs::now()).await.unwrap();
    assert_eq!(reaped(3).await, 0, "a stopped app has none");
}
