//! A state whose work never ends is over at its deadline: the deploy fails and says which, what is live serves on, and the
//! next deploy begins. From the switch on it is tried again instead. What stands for the deadline is a moment, and what the
//! deploy says of it is how long it would have been.

use std::time::Duration;

use futures_util::future::join_all;

use super::world::Place;
use crate::base::clock::UnixMs;
use crate::db::DbError;
use crate::deploy::{Cause, DRAIN_JOB, NewDeploy, Source, State};
use crate::jobs;

/// Later than a slow machine needs to get to where the work hangs.
const MOMENT: Duration = Duration::from_secs(4);

/// A deploy that hangs in `call`, in `state`, whose deadline is there soon: of an image, where only that has such a call.
async fn hanging(p: &Place, call: &str, state: State) -> i64 {
    *p.deploys.0.hastened.lock().unwrap() = Some((state, MOMENT));
    p.world.told.lock().unwrap().hang.insert(call.into());
    let id = match state {
        State::Fetching => {
            let new = NewDeploy {
                app: 7,
                source: Source::Image {
                    reference: "r.test/shop:1".into(),
                },
                cause: Cause::Person,
                by: "ana".into(),
                delivery: None,
                title: None,
            };
            p.deploys.create(new, UnixMs::now()).await.unwrap()
        }
        _ => p.push_event(&p.commit("two"), "two").await.deploy.unwrap(),
    };
    p.until_hung(call).await;
    id
}

/// One row: the call that hangs, its state, the minutes its turn may take.
async fn ends(call: &str, state: State, minutes: u64) {
    let p = Place::new().await;
    p.deploy("one").await;
    let id = hanging(&p, call, state).await;
    let failed = p.until(id, State::Failed).await;
    let why = failed.error.unwrap();
    let what = state.headline().to_lowercase();
    let wanted = format!("{what} did not end within {minutes} minutes");
    assert!(why.contains(&wanted), "{state}: {why}");
    let live = p.deploys.live(7).await.unwrap().unwrap();
    assert_eq!(live.deploy, 1, "{state}");
    assert_eq!(p.world.running(), ["tasks-web-v1-d1-1"], "{state}");
    // Nobody waits for it any more.
    *p.deploys.0.hastened.lock().unwrap() = None;
    p.deploy("three").await;
}

#[tokio::test]
async fn n6_each_state_before_the_switch_ends_at_its_deadline_and_leaves_what_is_live() {
    // Each has a minute and a half beyond what stands in `state.rs`.
    let rows = [
        ("tagged", State::Fetching, 21),
        ("build", State::Building, 31),
        ("job", State::Releasing, 31),
        ("wanted", State::Starting, 6),
        ("ready", State::Checking, 16),
    ];
    join_all(rows.map(|(call, state, minutes)| ends(call, state, minutes))).await;
    let others = State::ALL.into_iter().filter(|s| s.is_before_switch());
    let others = others.filter(|state| rows.iter().all(|(_, row, _)| row != state));
    // Which does nothing but wait for its turn.
    assert_eq!(others.collect::<Vec<_>>(), [State::Queued]);
}

#[tokio::test]
async fn n6_a_switch_that_does_not_end_is_tried_again_at_its_deadline() {
    let p = Place::new().await;
    p.deploy("one").await;
    let id = hanging(&p, "switched", State::Switching).await;
    p.until(id, State::Live).await;
    let log = p.log(id).await;
    let again = "moving the traffic did not end within 3 minutes; trying again";
    assert!(log.contains(again), "{log}");
    let live = p.deploys.live(7).await.unwrap().unwrap();
    assert_eq!(live.deploy, id);
}

/// The reaper looks until it has ended the drain; by itself it does so once a minute.
async fn until_cut(p: &Place, id: i64) {
    *p.deploys.0.hastened.lock().unwrap() = Some((State::Draining, MOMENT));
    // From the first look on the time runs.
    p.deploys.reap().await;
    let seen = p.deploys.get(7, id).await.unwrap();
    assert_eq!(seen.state, State::Draining);
    for _ in 0..6_000 {
        p.deploys.reap().await;
        if p.deploys.get(7, id).await.unwrap().state != State::Draining {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    p.until(id, State::Live).await;
    let log = p.log(id).await;
    assert!(log.contains("they are stopped as they are"), "{log}");
    assert_eq!(p.world.running(), [format!("tasks-web-v2-d{id}-1")]);
}

#[tokio::test]
async fn n6_a_drain_that_does_not_end_is_cut_at_its_deadline() {
    let p = Place::new().await;
    p.deploy("one").await;
    let id = hanging(&p, "drained", State::Draining).await;
    until_cut(&p, id).await;
    p.deploy("three").await;
}

#[tokio::test]
async fn n6_a_drain_that_is_tried_again_and_again_is_cut_at_its_deadline() {
    let mut p = Place::new().await;
    p.deploy("one").await;
    let id = hanging(&p, "drained", State::Draining).await;
    p.world.told.lock().unwrap().no_facts = true;
    p.crash().await;
    until_cut(&p, id).await;
    // Its job finds that there is nothing left to do, though it is as badly off as before.
    for _ in 0..6_000 {
        let job =
            p.db.read(move |c| jobs::newest_about(c, DRAIN_JOB, "deploy", id));
        let job: Result<Option<jobs::Told>, DbError> = job.await;
        if job.unwrap().unwrap().state == "done" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the drain goes on");
}
