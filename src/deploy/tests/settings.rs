//! Settings that change while an app is stopped, starts or is deployed for the first time, and an
//! engine that restarts under a new release.

use std::time::Duration;

use super::world::Place;
use crate::base::clock::UnixMs;
use crate::base::secret::Secret;
use crate::deploy::State;

fn set(p: &Place, name: &str) {
    let mut told = p.world.told.lock().unwrap();
    told.env.insert(name.into(), Secret::new("yes"));
}

#[tokio::test]
async fn f4_what_is_set_while_an_app_is_stopped_is_in_it_when_it_starts() {
    let p = Place::new().await;
    p.deploy("one").await;
    p.deploys.stop(7, "ana", UnixMs::now()).await.unwrap();
    p.until_done("retire tasks-web-v1-d1-1").await;
    set(&p, "NEW");
    let now = UnixMs::now();
    assert_eq!(p.deploys.apply_settings(7, "ana", now).await.unwrap(), None);
    let id = p.deploys.start_app(7, "ana", now).await.unwrap().unwrap();
    p.until(id, State::Live).await;
    let name = format!("tasks-web-v2-d{id}-1");
    assert_eq!(p.world.running(), [name.as_str()]);
    assert_eq!(p.world.told.lock().unwrap().specs[&name].env["NEW"], "yes");
    assert_eq!(p.world.count("build"), 1);
}

/// A stop that cuts off the deploy of changed settings owes them to the start.
#[tokio::test]
async fn f4_settings_that_a_stop_cut_off_are_there_at_the_start() {
    let mut p = Place::new().await;
    p.deploy("one").await;
    p.world.told.lock().unwrap().hang.insert("ready".into());
    set(&p, "NEW");
    let now = UnixMs::now();
    let cut = p.deploys.apply_settings(7, "ana", now).await.unwrap();
    p.until_hung("ready").await;
    p.deploys.stop(7, "ana", UnixMs::now()).await.unwrap();
    p.crash().await;
    p.until(cut.unwrap(), State::Cancelled).await;
    p.until_done("retire tasks-web-v1-d1-1").await;
    let id = p.deploys.start_app(7, "ana", now).await.unwrap().unwrap();
    p.until(id, State::Live).await;
    let [name] = &p.world.running()[..] else {
        panic!("{:?}", p.world.running());
    };
    assert_eq!(p.world.told.lock().unwrap().specs[name].env["NEW"], "yes");
}

/// The start of a stopped app is not taken away by settings that change while it waits.
#[tokio::test]
async fn f4_a_start_that_waits_stays_when_settings_change() {
    let mut p = Place::new().await;
    p.deploy("one").await;
    p.deploys.stop(7, "ana", UnixMs::now()).await.unwrap();
    p.until_done("retire tasks-web-v1-d1-1").await;
    let now = UnixMs::now();
    p.world.told.lock().unwrap().hang.insert("ready".into());
    let first = p.deploys.start_app(7, "ana", now).await.unwrap().unwrap();
    p.until_hung("ready").await;
    let waits = p.deploys.restart(7, "ana", now).await.unwrap();
    set(&p, "NEW");
    let settings = p.deploys.apply_settings(7, "ana", now).await.unwrap();
    p.crash().await;
    p.until(first, State::Live).await;
    p.until(waits, State::Live).await;
    p.until(settings.unwrap(), State::Live).await;
    let [name] = &p.world.running()[..] else {
        panic!("{:?}", p.world.running());
    };
    assert_eq!(p.world.told.lock().unwrap().specs[name].env["NEW"], "yes");
}

/// What was rolled back because of a bad variable does not get it back by a stop and a start.
#[tokio::test]
async fn f4_a_release_that_was_gone_back_to_starts_with_its_own_settings() {
    let p = Place::new().await;
    p.deploy("one").await;
    set(&p, "BAD");
    let now = UnixMs::now();
    let changed = p.deploys.apply_settings(7, "ana", now).await.unwrap();
    p.until(changed.unwrap(), State::Live).await;
    let back = p.deploys.rollback(7, Some(1), "ana", now).await.unwrap();
    p.until(back, State::Live).await;
    p.deploys.stop(7, "ana", UnixMs::now()).await.unwrap();
    p.until_done(&format!("retire tasks-web-v1-d{back}-1"))
        .await;
    let id = p.deploys.start_app(7, "ana", now).await.unwrap().unwrap();
    p.until(id, State::Live).await;
    let name = format!("tasks-web-v1-d{id}-1");
    assert_eq!(p.world.running(), [name.as_str()]);
    let told = p.world.told.lock().unwrap();
    assert!(!told.specs[&name].env.contains_key("BAD"));
}

#[tokio::test]
async fn f4_what_is_set_while_an_app_starts_is_in_it_and_does_not_hold_it_up() {
    let mut p = Place::new().await;
    p.deploy("one").await;
    p.deploys.stop(7, "ana", UnixMs::now()).await.unwrap();
    p.until_done("retire tasks-web-v1-d1-1").await;
    p.world.told.lock().unwrap().hang.insert("ready".into());
    let now = UnixMs::now();
    let start = p.deploys.start_app(7, "ana", now).await.unwrap().unwrap();
    p.until_hung("ready").await;
    set(&p, "NEW");
    let first = p.deploys.apply_settings(7, "ana", now).await.unwrap();
    set(&p, "NEWER");
    let second = p.deploys.apply_settings(7, "ana", now).await.unwrap();
    p.crash().await;
    p.until(first.unwrap(), State::Superseded).await;
    p.until(start, State::Live).await;
    let second = second.unwrap();
    p.until(second, State::Live).await;
    let name = format!("tasks-web-v2-d{second}-1");
    assert_eq!(p.world.running(), [name.as_str()]);
    assert_eq!(
        p.world.told.lock().unwrap().specs[&name].env["NEWER"],
        "yes"
    );
}

#[tokio::test]
async fn f4_what_is_set_during_the_first_deploy_follows_it_and_is_moot_when_it_fails() {
    let mut p = Place::new().await;
    for goes_live in [false, true] {
        p.world.told.lock().unwrap().release_exit = i64::from(!goes_live);
        p.world.told.lock().unwrap().hang.insert("job".into());
        let commit = p.commit("one");
        let delivery = format!("{goes_live}");
        let id = p.push_event(&commit, &delivery).await.deploy.unwrap();
        p.until_hung("job").await;
        set(&p, &format!("NEW_{goes_live}").to_uppercase());
        let by = p.deploys.apply_settings(7, "ana", UnixMs::now()).await;
        let settings = by.unwrap().expect("a deploy is in work");
        p.crash().await;
        if !goes_live {
            p.until(id, State::Failed).await;
            let moot = p.until(settings, State::Superseded).await;
            assert!(moot.error.unwrap().contains("nothing is live"));
            assert!(p.world.running().is_empty());
            continue;
        }
        p.until(id, State::Live).await;
        p.until(settings, State::Live).await;
        let [name] = &p.world.running()[..] else {
            panic!("{:?}", p.world.running());
        };
        assert!(name.ends_with(&format!("-d{settings}-1")), "{name}");
        let env = p.world.told.lock().unwrap().specs[name].env.clone();
        assert_eq!(env["NEW_TRUE"], "yes");
    }
}

/// An engine that restarts ends all containers for longer than a release may be down.
#[tokio::test]
async fn f8_an_engine_that_restarts_sends_no_good_release_back() {
    use crate::supervise::{EngineState, State as Container};
    let mut p = Place::new().await;
    p.deploy("one").await;
    p.limits.watch = Duration::from_secs(12);
    p.crash().await;
    let two = p.push_event(&p.commit("two"), "two").await.deploy.unwrap();
    p.until(two, State::Watching).await;
    p.world.engine.send_replace(EngineState::Unreachable {
        since: UnixMs::now(),
        why: "no answer".into(),
    });
    let all = |state: Container| {
        p.world.live.send_modify(|all| {
            let mut list = all.as_ref().clone();
            for one in &mut list {
                one.state = state.clone();
            }
            *all = std::sync::Arc::new(list);
        });
    };
    all(Container::Waiting("the engine is away".into()));
    tokio::time::sleep(Duration::from_millis(8_800)).await;
    p.world.engine.send_replace(EngineState::Reachable {
        version: "28.5".into(),
        since: UnixMs::now(),
    });
    tokio::time::sleep(Duration::from_millis(1_000)).await;
    all(Container::Healthy);
    p.until(two, State::Live).await;
}
