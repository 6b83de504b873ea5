//! Deploys that come again, that meet a newer one, and that our own fault cuts off.

use std::time::Duration;

use super::world::Place;
use crate::base::clock::UnixMs;
use crate::db::DbError;
use crate::deploy::store::{self, Change};
use crate::deploy::{Cause, JOB, State, job_key};
use crate::jobs::{self, NewJob, Owed};

async fn push(p: &Place, message: &str) -> i64 {
    let commit = p.commit(message);
    p.push_event(&commit, message).await.deploy.unwrap()
}

#[tokio::test]
async fn f8_a_deploy_that_waits_in_its_switch_is_not_overtaken_by_the_next() {
    let p = Place::new().await;
    p.deploy("one").await;
    p.world.told.lock().unwrap().no_proxy = true;
    let start = p.world.count("switched");
    let second = push(&p, "two").await;
    for _ in 0..6_000 {
        if p.world.count("switched") > start {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let third = push(&p, "three").await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    let state = async |id| p.deploys.get(7, id).await.unwrap().state;
    assert_eq!(
        (state(second).await, state(third).await),
        (State::Switching, State::Queued)
    );
    p.world.told.lock().unwrap().no_proxy = false;
    p.until(third, State::Live).await;
    p.until(second, State::Live).await;
    let live = p.deploys.live(7).await.unwrap().unwrap();
    assert_eq!((live.deploy, live.release), (third, 3));
    assert_eq!(p.world.running(), [format!("tasks-web-v3-d{third}-1")]);
}

#[tokio::test]
async fn f8_an_older_deploy_never_takes_the_traffic_from_a_newer_one() {
    let p = Place::new().await;
    let first = p.deploy("one").await;
    let second = p.deploy("two").await;
    // As if the first had slept through the second, just before its switch.
    let queued: Result<(), DbError> =
        p.db.write(move |tx| {
            let now = UnixMs::now();
            let nothing = Change::default();
            store::enter(tx, first, State::Live, State::Switching, &nothing, now)?;
            let job = NewJob {
                kind: JOB,
                key: job_key(7),
                payload: serde_json::json!({ "deploy": first }),
                run_at: now,
            };
            jobs::enqueue(tx, now, &job).map(drop)
        })
        .await;
    queued.unwrap();
    let row = p.until(first, State::Superseded).await;
    let why = row.error.unwrap();
    assert!(why.contains(&format!("deploy {second} is newer")), "{why}");
    let live = p.deploys.live(7).await.unwrap().unwrap();
    assert_eq!((live.deploy, live.release), (second, 2));
    assert_eq!(p.world.running(), [format!("tasks-web-v2-d{second}-1")]);
}

#[tokio::test]
async fn f8_a_deploy_whose_work_panics_ends_and_the_next_one_goes_live() {
    let p = Place::new().await;
    let first = p.deploy("one").await;
    p.world.told.lock().unwrap().panic.insert("ready".into());
    let second = push(&p, "two").await;
    let failed = p.until(second, State::Failed).await;
    let why = failed.error.unwrap();
    assert!(why.contains("broke off unexpectedly"), "{why}");
    assert_eq!(p.world.running(), [format!("tasks-web-v1-d{first}-1")]);
    let third = p.deploy("three").await;
    assert_eq!(p.deploys.live(7).await.unwrap().unwrap().deploy, third);
}

#[tokio::test]
async fn f8_a_deploy_whose_work_panics_after_the_switch_stays_live_and_its_old_containers_go() {
    let p = Place::new().await;
    p.deploy("one").await;
    p.world.told.lock().unwrap().panic.insert("drained".into());
    let second = push(&p, "two").await;
    p.until(second, State::Live).await;
    assert_eq!(p.deploys.live(7).await.unwrap().unwrap().deploy, second);
    for _ in 0..6_000 {
        if p.world.running().len() == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(p.world.running(), [format!("tasks-web-v2-d{second}-1")]);
}

#[tokio::test]
async fn f8_a_deploy_left_without_work_is_ended_at_the_start() {
    let mut p = Place::new().await;
    let first = p.deploy("one").await;
    let moved: Result<bool, DbError> =
        p.db.write(move |tx| {
            let nothing = Change::default();
            store::enter(
                tx,
                first,
                State::Live,
                State::Building,
                &nothing,
                UnixMs::now(),
            )
        })
        .await;
    assert!(moved.unwrap());
    let second = p.deploy("two").await;
    p.crash().await;
    p.until(first, State::Failed).await;
    assert_eq!(p.deploys.live(7).await.unwrap().unwrap().deploy, second);
}

/// Killed between the mark of the removal and the word to what is in work: it is taken up, and does not go on.
#[tokio::test]
async fn n5_a_deploy_that_is_taken_up_under_a_removal_is_cancelled() {
    let mut p = Place::new().await;
    let first = p.deploy("one").await;
    p.world.told.lock().unwrap().hang.insert("build".into());
    let second = push(&p, "two").await;
    p.until(second, State::Building).await;
    p.until_hung("build").await;
    p.tasks.finish(Duration::from_secs(5)).await;
    p.world.told.lock().unwrap().removing = true;
    p.crash().await;
    p.until(second, State::Cancelled).await;
    assert_eq!(p.world.running(), [format!("tasks-web-v1-d{first}-1")]);
}

/// Its work broke off where nothing of ours catches it, as at its limit of time.
#[tokio::test]
async fn n6_a_removal_that_failed_is_queued_again_and_ends() {
    let p = Place::new().await;
    p.deploy("one").await;
    p.world.told.lock().unwrap().panic.insert("drained".into());
    let marked: Result<(), DbError> =
        p.db.write(|tx| {
            tx.execute("UPDATE apps SET removing = 1 WHERE id = 7", [])?;
            jobs::queue_removal(tx, 7, true, UnixMs::now())
        })
        .await;
    marked.unwrap();
    p.deploys.remove(7, "ana").await.unwrap();
    let newest = async || {
        let all: Result<Vec<jobs::Told>, DbError> =
            p.db.read(|c| jobs::newest(c, &[jobs::REMOVAL], None, &10.into()))
                .await;
        all.unwrap()
    };
    let mut again = None;
    for _ in 0..6_000 {
        let all = newest().await;
        if all.len() == 2 {
            again = all.into_iter().next();
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let again = again.expect("a removal must end");
    assert_eq!(again.state, "queued", "not at once: it may fail again");
    assert_eq!(again.payload["volumes"], true, "as it was asked for");
    p.db.write(move |tx| jobs::hasten(tx, again.id, UnixMs::now()))
        .await
        .unwrap();
    p.until_done("delete row").await;
}

/// Five tries to stop the old containers failed.
#[tokio::test]
async fn n6_a_drain_whose_tries_are_over_leaves_its_containers_to_the_count_of_replicas() {
    let mut p = Place::new().await;
    p.deploy("one").await;
    p.world.told.lock().unwrap().hang.insert("drained".into());
    let second = push(&p, "two").await;
    p.until_hung("drained").await;
    p.tasks.finish(Duration::from_secs(5)).await;
    let tried: Result<usize, DbError> =
        p.db.write(|tx| {
            Ok(tx.execute(
                "UPDATE jobs SET attempts = 5 WHERE kind = 'deploy.drain' AND state = 'running'",
                [],
            )?)
        })
        .await;
    assert_eq!(tried.unwrap(), 1);
    p.crash().await;
    p.until_done("retire tasks-web-v1-d1-1").await;
    p.until(second, State::Live).await;
    let log = p.log(second).await;
    assert!(log.contains("they are seen to apart"), "{log}");
    // While that job is not over yet, too, which is not seen here by chance alone.
    let listed = async |now: bool| {
        let of_job: Result<_, DbError> =
            p.db.write(move |tx| {
                let job = NewJob {
                    kind: crate::deploy::DRAIN_JOB,
                    key: "drain:9".into(),
                    payload: serde_json::json!({ "deploy": 9, "rows": [4, 5] }),
                    run_at: UnixMs::now().plus(Duration::from_secs(600)),
                };
                let id = jobs::enqueue(tx, UnixMs::now(), &job)?;
                if now {
                    jobs::forget_list(tx, id, "rows")?;
                }
                let listed = jobs::listed(tx, crate::deploy::DRAIN_JOB, "rows")?;
                jobs::take_back(tx, id, UnixMs::now())?;
                Ok(listed.len())
            })
            .await;
        of_job.unwrap()
    };
    assert_eq!((listed(false).await, listed(true).await), (2, 0));
}

/// What no open work is about, and nothing serves with: a failed drain left it.
#[tokio::test]
async fn n6_replicas_that_were_left_over_are_taken_away() {
    let mut p = Place::new().await;
    p.deploy("one").await;
    let old = p.world.live.borrow()[0].clone();
    let second = p.deploy("two").await;
    p.until_done("retire tasks-web-v1-d1-1").await;
    p.world.live.send_modify(|all| {
        let mut list = all.as_ref().clone();
        list.push(old);
        *all = std::sync::Arc::new(list);
    });
    p.crash().await;
    for _ in 0..6_000 {
        if p.world.count("retire tasks-web-v1-d1-1") == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(p.world.running(), [format!("tasks-web-v2-d{second}-1")]);
}

/// More replicas that do not come up: what is left over goes all the same, or they would be tried again and again for it.
#[tokio::test]
async fn n6_what_is_left_over_goes_though_more_replicas_do_not_come_up() {
    let p = Place::new().await;
    p.deploy("one").await;
    let old = p.world.live.borrow()[0].clone();
    let second = p.deploy("two").await;
    p.until_done("retire tasks-web-v1-d1-1").await;
    p.world.live.send_modify(|all| {
        let mut list = all.as_ref().clone();
        list.push(old);
        *all = std::sync::Arc::new(list);
    });
    {
        let mut told = p.world.told.lock().unwrap();
        let set = crate::deploy::ports::Scale {
            min: Some(2),
            ..Default::default()
        };
        told.scale.insert("web".into(), set);
        told.unhealthy = true;
    }
    p.deploys.apply_counts(7, UnixMs::now()).await.unwrap();
    for _ in 0..6_000 {
        if p.world.count("retire tasks-web-v1-d1-1") == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(p.world.count("retire tasks-web-v1-d1-1"), 2);
    assert_eq!(p.world.running(), [format!("tasks-web-v2-d{second}-1")]);
}

async fn causes(p: &Place) -> Vec<Cause> {
    let all = p.deploys.list(Some(7), 20).await.unwrap();
    all.iter().map(|d| d.cause).collect()
}

/// Notes changed settings down, as whoever changes them does, `ago` before now.
async fn owe(p: &Place, ago: Duration) {
    let owed: Result<(), DbError> =
        p.db.write(move |tx| Owed::Settings.note(tx, 7, "ana", UnixMs::now().minus(ago)))
            .await;
    owed.unwrap();
}

#[tokio::test]
async fn f8_changed_settings_whose_deploy_nobody_asked_for_are_brought_all_the_same() {
    let p = Place::new().await;
    let first = p.deploy("one").await;
    let long = Duration::from_secs(60);
    owe(&p, long).await;
    for _ in 0..6_000 {
        if causes(&p).await[0] == Cause::Settings {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    p.until(first + 1, State::Live).await;
    assert_eq!(causes(&p).await[0], Cause::Settings);

    // Asked for in time, it is the only one; the note goes with it, though it were due now.
    let owed: Result<(), DbError> =
        p.db.write(|tx| Owed::Settings.note(tx, 7, "ana", UnixMs::now()))
            .await;
    owed.unwrap();
    let asked = p.deploys.apply_settings(7, "ana", UnixMs::now()).await;
    p.until(asked.unwrap().unwrap(), State::Live).await;
    let now = UnixMs::now();
    let open =
        p.db.read(|c| jobs::newest(c, &[Owed::Settings.kind()], None, &10.into()))
            .await;
    let open: Result<Vec<jobs::Told>, DbError> = open;
    assert!(open.unwrap().iter().all(|j| j.state == "done"));

    // Nothing runs: the next start has them by itself.
    p.deploys.stop(7, "ana", now).await.unwrap();
    owe(&p, long).await;
    owe(&p, Duration::ZERO).await;
    assert_eq!(p.deploys.apply_settings(7, "ana", now).await.unwrap(), None);
    let before = causes(&p).await.len();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(causes(&p).await.len(), before);
}
