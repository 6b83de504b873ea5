//! kill -9 in the middle of each step, and what the next start makes of it.

use super::world::Place;
use crate::deploy::State;

/// Cuts the daemon off in the first call of `what` during the second deploy.
async fn cut_at(what: &str) -> (Place, i64) {
    let mut p = Place::new().await;
    p.deploy("one").await;
    let start = p.world.count(what);
    p.world.told.lock().unwrap().hang.insert(what.into());
    let commit = p.commit("two");
    let id = p.push_event(&commit, "two").await.deploy.unwrap();
    for _ in 0..6_000 {
        if p.world.count(what) > start {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert!(p.world.count(what) > start, "{what}: {:?}", p.world.done());
    p.crash().await;
    (p, id)
}

#[tokio::test]
async fn f8_a_deploy_cut_off_in_any_step_is_taken_up_and_the_old_release_serves_until_the_switch() {
    for what in ["build", "job", "wanted", "ready", "switched", "drained"] {
        let (p, id) = cut_at(what).await;
        p.until(id, State::Live).await;
        let running = p.world.running();
        assert_eq!(running, [format!("tasks-web-v2-d{id}-1")], "cut in {what}");
        let done = p.world.done();
        let at = |wanted: &str| done.iter().position(|d| d == wanted).unwrap();
        assert!(
            at(&format!("serve tasks-web-v2-d{id}-1")) < at("retire tasks-web-v1-d1-1"),
            "cut in {what}: {done:?}"
        );
        let wants = done
            .iter()
            .filter(|d| **d == format!("want tasks-web-v2-d{id}-1"))
            .count();
        assert_eq!(wants, 1, "cut in {what}: found again by name");
        let live = p.deploys.live(7).await.unwrap().unwrap();
        assert_eq!((live.release, live.deploy), (2, id), "cut in {what}");
    }
}

#[tokio::test]
async fn f8_a_release_command_s_output_that_comes_again_is_said_to() {
    let (p, id) = cut_at("job").await;
    p.until(id, State::Live).await;
    let log = p.log(id).await;
    assert_eq!(log.matches("Running migrate").count(), 1, "{log}");
    let said = format!("{}\nmigrated\n", crate::deploy::start::OUTPUT_AGAIN);
    assert!(log.contains(&said), "{log}");
    let whole = p.log(1).await;
    assert!(!whole.contains("from its beginning"), "{whole}");
}

/// The end of the checks is written down, more replicas are asked for, and the daemon dies before the switch.
#[tokio::test]
async fn f8_replicas_asked_for_between_the_checks_and_the_switch_are_made() {
    let mut p = Place::new().await;
    p.deploy("one").await;
    p.world.told.lock().unwrap().hang.insert("ready".into());
    let commit = p.commit("two");
    let id = p.push_event(&commit, "two").await.deploy.unwrap();
    p.until(id, State::Checking).await;
    let name = |n| format!("tasks-web-v2-d{id}-{n}");
    p.until_hung("ready").await;
    let now = crate::base::clock::UnixMs::now();
    let moved: Result<bool, crate::db::DbError> =
        p.db.write(move |tx| {
            let nothing = crate::deploy::store::Change::default();
            let (from, to) = (State::Checking, State::Switching);
            crate::deploy::store::enter(tx, id, from, to, &nothing, now)
        })
        .await;
    assert!(moved.unwrap());
    let set = crate::deploy::ports::Scale {
        min: Some(2),
        ..Default::default()
    };
    p.world.told.lock().unwrap().scale.insert("web".into(), set);
    p.deploys.apply_counts(7, now).await.unwrap();
    p.crash().await;
    p.until(id, State::Live).await;
    p.until_done(&format!("serve {},{}", name(1), name(2)))
        .await;
    assert_eq!(p.world.running(), [name(1), name(2)]);
}

/// The end of the checks is written down, and at the next start the container's row cannot be opened.
async fn unseen_at_the_switch(unhealthy: bool) -> (Place, i64) {
    let mut p = Place::new().await;
    p.deploy("one").await;
    p.world.told.lock().unwrap().hang.insert("ready".into());
    let commit = p.commit("two");
    let id = p.push_event(&commit, "two").await.deploy.unwrap();
    p.until(id, State::Checking).await;
    p.until_hung("ready").await;
    p.tasks.finish(std::time::Duration::from_secs(5)).await;
    let moved: Result<bool, crate::db::DbError> =
        p.db.write(move |tx| {
            let nothing = crate::deploy::store::Change::default();
            let (from, to) = (State::Checking, State::Switching);
            let now = crate::base::clock::UnixMs::now();
            crate::deploy::store::enter(tx, id, from, to, &nothing, now)
        })
        .await;
    assert!(moved.unwrap());
    p.world.told.lock().unwrap().unhealthy = unhealthy;
    p.world.live.send_modify(|all| {
        let old = format!("-d{id}-");
        let left = all.iter().filter(|l| !l.name.contains(&old)).cloned();
        *all = std::sync::Arc::new(left.collect());
    });
    p.crash().await;
    (p, id)
}

#[tokio::test]
async fn n5_a_switch_that_misses_a_container_checks_again_and_switches_to_no_fewer() {
    let (p, id) = unseen_at_the_switch(false).await;
    p.until(id, State::Live).await;
    let name = format!("tasks-web-v2-d{id}-1");
    assert_eq!(p.world.running(), [name.as_str()]);
    let serves = p.world.done();
    let serves: Vec<&String> = serves.iter().filter(|d| d.starts_with("serve ")).collect();
    let serving = |name: &str| format!("serve {name}");
    assert_eq!(serves, [&serving("tasks-web-v1-d1-1"), &serving(&name)]);
    let log = p.log(id).await;
    assert!(log.contains("is not seen any more"), "{log}");
}

#[tokio::test]
async fn n5_a_switch_whose_containers_do_not_come_back_leaves_the_old_release_serving() {
    let (p, id) = unseen_at_the_switch(true).await;
    p.until(id, State::Failed).await;
    assert_eq!(p.world.running(), ["tasks-web-v1-d1-1"]);
    let live = p.deploys.live(7).await.unwrap().unwrap();
    assert_eq!((live.deploy, live.release), (1, 1));
}

#[tokio::test]
async fn f8_a_cancel_that_was_written_down_survives_the_crash() {
    let (p, id) = {
        let mut p = Place::new().await;
        p.deploy("one").await;
        p.world.told.lock().unwrap().hang.insert("job".into());
        let commit = p.commit("two");
        let id = p.push_event(&commit, "two").await.deploy.unwrap();
        let before = p.world.count("job");
        while p.world.count("job") == before {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        p.deploys
            .cancel(id, "ana", crate::base::clock::UnixMs::now())
            .await
            .unwrap();
        p.crash().await;
        (p, id)
    };
    p.until(id, State::Cancelled).await;
    assert_eq!(p.world.running(), ["tasks-web-v1-d1-1"]);
}

/// Its container is there still, and says how it ended when it is asked again: a disk that was full for a moment is no
/// failure of the release.
#[tokio::test]
async fn n7_a_release_command_whose_end_could_not_be_written_down_is_asked_for_it_again() {
    let p = Place::new().await;
    p.world.told.lock().unwrap().unnoted = true;
    let id = p.deploy("one").await;
    let log = p.log(id).await;
    assert!(
        log.contains("could not be read or written: the disk is full; trying again"),
        "{log}"
    );
    assert_eq!(log.matches("Running migrate").count(), 1, "{log}");
    assert_eq!(p.world.count("job"), 2);
}
