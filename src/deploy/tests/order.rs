//! Deploys of one app that meet: what gives way to what, and what must not.

use std::time::Duration;

use super::world::{APP_FILE, Place};
use crate::base::clock::UnixMs;
use crate::deploy::{Cause, DeployError, NewDeploy, Source, State};

/// One release live, a push in its build that hangs, another push behind it.
async fn busy() -> (Place, i64, i64) {
    let p = Place::new().await;
    p.deploy("one").await;
    p.world.told.lock().unwrap().hang.insert("build".into());
    let building = p.push_event(&p.commit("two"), "two").await.deploy.unwrap();
    p.until(building, State::Building).await;
    let waiting = p.push_event(&p.commit("three"), "three").await;
    (p, building, waiting.deploy.unwrap())
}

async fn state(p: &Place, deploy: i64) -> State {
    p.deploys.get(7, deploy).await.unwrap().state
}

#[tokio::test]
async fn n6_a_deploy_says_cancelled_when_its_containers_are_seen_gone() {
    let p = Place::new().await;
    p.deploy("one").await;
    p.world.told.lock().unwrap().hang.insert("ready".into());
    let commit = p.commit("two");
    let id = p.push_event(&commit, "b").await.deploy.unwrap();
    p.until(id, State::Checking).await;
    p.deploys.cancel(id, "ana", UnixMs::now()).await.unwrap();
    p.until(id, State::Cancelled).await;
    let done = p.world.done();
    let gone = done.iter().rposition(|d| d == "gone").expect("waited for");
    let retired = done.iter().rposition(|d| d.starts_with("retire")).unwrap();
    assert!(retired < gone, "{done:?}");
}

#[tokio::test]
async fn n6_a_deploy_is_cancelled_in_any_state_before_the_switch_and_leaves_nothing() {
    for (what, state) in [
        ("build", State::Building),
        ("job", State::Releasing),
        ("wanted", State::Starting),
        ("ready", State::Checking),
    ] {
        let p = Place::new().await;
        p.deploy("one").await;
        p.world.told.lock().unwrap().hang.insert(what.into());
        let id = p.push_event(&p.commit("two"), "b").await.deploy.unwrap();
        p.until(id, state).await;
        p.until_hung(what).await;
        p.deploys.cancel(id, "ana", UnixMs::now()).await.unwrap();
        p.until(id, State::Cancelled).await;
        assert_eq!(p.world.running(), ["tasks-web-v1-d1-1"], "{what}");
        let live = p.deploys.live(7).await.unwrap().unwrap();
        assert_eq!(live.deploy, 1, "{what}");
        // The next one begins.
        p.deploy("three").await;
    }
}

#[tokio::test]
async fn f4_a_delivery_stays_taken_when_its_deploy_is_no_longer_kept() {
    let p = Place::new().await;
    let (one, two) = (p.commit("one"), p.commit("two"));
    let first = p.push_event(&one, "a").await.deploy.unwrap();
    p.until(first, State::Live).await;
    p.world.told.lock().unwrap().fail_build = true;
    let failed = p.push_event(&two, "b").await.deploy.unwrap();
    p.until(failed, State::Failed).await;
    p.world.told.lock().unwrap().fail_build = false;
    let last = p.push_event(&two, "c").await.deploy.unwrap();
    p.until(last, State::Live).await;
    let db = p.deploys.0.db.clone();
    let gone = db
        .write(|tx| crate::deploy::store::trim(tx, 7, 0))
        .await
        .unwrap();
    assert_eq!(gone, [first, failed]);

    let again = p.push_event(&one, "a").await;
    assert_eq!((again.status, again.deploy), (202, None), "{again:?}");
    assert!(again.reason.contains("already taken"), "{again:?}");
    // What failed may be told again, however old it is.
    let retried = p.push_event(&two, "b").await;
    assert!(retried.deploy.unwrap() > last, "{retried:?}");
}

#[tokio::test]
async fn f4_changed_settings_and_restarts_take_no_push_away() {
    let (mut p, building, waiting) = busy().await;
    let now = UnixMs::now();
    let restart = p.deploys.restart(7, "ana", now).await.unwrap();
    let settings = p.deploys.apply_settings(7, "ana", now).await.unwrap();
    let settings = settings.unwrap();
    assert_eq!(state(&p, waiting).await, State::Queued);
    assert_eq!(
        state(&p, restart).await,
        State::Superseded,
        "changed settings start everything anew"
    );
    p.crash().await;
    p.until(building, State::Live).await;
    p.until(waiting, State::Live).await;
    p.until(settings, State::Live).await;
    let live = p.deploys.live(7).await.unwrap().unwrap();
    assert_eq!((live.deploy, live.release), (settings, 4));
    let releases = p.deploys.releases(7).await.unwrap();
    let now = releases.iter().find(|r| r.number == 4).unwrap();
    assert_eq!(
        now.title.as_deref(),
        Some("three"),
        "the newest push serves"
    );
}

#[tokio::test]
async fn f4_a_push_takes_no_changed_settings_away() {
    let (mut p, _, waiting) = busy().await;
    let now = UnixMs::now();
    let settings = p.deploys.apply_settings(7, "ana", now).await.unwrap();
    let settings = settings.unwrap();
    let newest = p.push_event(&p.commit("four"), "four").await;
    assert_eq!(state(&p, waiting).await, State::Superseded);
    p.crash().await;
    p.until(settings, State::Live).await;
    p.until(newest.deploy.unwrap(), State::Live).await;
}

#[tokio::test]
async fn f4_a_restart_starts_what_is_live_when_it_begins() {
    let p = Place::new().await;
    p.deploy("one").await;
    p.world.told.lock().unwrap().hang.insert("job".into());
    let pushed = p.push_event(&p.commit("two"), "two").await.deploy.unwrap();
    p.until(pushed, State::Releasing).await;
    // The state is written before the work begins, and the crash is to cut the work off.
    while p.world.count("job") < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let restart = p.deploys.restart(7, "ana", UnixMs::now()).await.unwrap();
    let mut p = p;
    p.crash().await;
    p.until(pushed, State::Live).await;
    p.until(restart, State::Live).await;
    let live = p.deploys.live(7).await.unwrap().unwrap();
    assert_eq!((live.deploy, live.release), (restart, 2));
}

#[tokio::test]
async fn f8_the_way_back_gives_way_to_a_release_that_is_newer() {
    let mut p = Place::new().await;
    p.deploy("one").await;
    p.limits.watch = Duration::from_secs(60);
    p.crash().await;
    let two = p.push_event(&p.commit("two"), "two").await.deploy.unwrap();
    p.until(two, State::Watching).await;
    p.world.told.lock().unwrap().hang.insert("build".into());
    let mend = p
        .push_event(&p.commit("mend"), "mend")
        .await
        .deploy
        .unwrap();
    p.until(mend, State::Building).await;
    p.dies(two, State::Returned).await;
    let back = mend + 1;
    assert_eq!(state(&p, back).await, State::Queued);
    p.crash().await;
    p.until(mend, State::Watching).await;
    let ended = p.until(back, State::Superseded).await;
    assert!(ended.error.unwrap().contains("another release went live"));
    let live = p.deploys.live(7).await.unwrap().unwrap();
    assert_eq!((live.deploy, live.release), (mend, 3));
}

#[tokio::test]
async fn f8_two_releases_that_die_do_not_change_places_for_ever() {
    let mut p = Place::new().await;
    p.deploy("one").await;
    p.limits.watch = Duration::from_secs(60);
    p.crash().await;
    let two = p.push_event(&p.commit("two"), "two").await.deploy.unwrap();
    p.until(two, State::Watching).await;
    p.dies(two, State::Returned).await;
    let back = two + 1;
    p.until(back, State::Watching).await;
    let failed = p.dies(back, State::Failed).await;
    let error = failed.error.unwrap();
    assert!(
        error.contains("the release after it died as well"),
        "{error}"
    );
    assert_eq!(p.deploys.list(Some(7), 50).await.unwrap().len(), 3);
}

#[tokio::test]
async fn f8_an_app_that_is_stopped_while_its_traffic_moves_stays_stopped() {
    let mut p = Place::new().await;
    p.deploy("one").await;
    p.world.told.lock().unwrap().hang.insert("switched".into());
    let two = p.push_event(&p.commit("two"), "two").await.deploy.unwrap();
    p.until(two, State::Switching).await;
    p.until_done(&format!("serve tasks-web-v2-d{two}-1")).await;
    p.deploys.stop(7, "ana", UnixMs::now()).await.unwrap();
    p.crash().await;
    p.until(two, State::Live).await;
    p.until_done(&format!("retire tasks-web-v2-d{two}-1")).await;
    assert!(p.deploys.live(7).await.unwrap().unwrap().stopped);
    assert!(p.world.running().is_empty());
}

#[tokio::test]
async fn f4_an_app_s_own_drain_holds_when_it_is_stopped_too() {
    let p = Place::new().await;
    let file = format!("{APP_FILE}drain = \"120s\"\n");
    std::fs::write(p.work().join("freehold.toml"), file).unwrap();
    p.deploy("one").await;
    p.deploys.stop(7, "ana", UnixMs::now()).await.unwrap();
    p.until_done("retire tasks-web-v1-d1-1").await;
    let drains = p.world.told.lock().unwrap().drains.clone();
    assert_eq!(drains.last(), Some(&Duration::from_secs(120)));
}

/// One release live, and the next one too, with a stream at the old one that goes on.
async fn draining() -> (Place, i64) {
    let p = Place::new().await;
    p.deploy("one").await;
    p.world.told.lock().unwrap().hang.insert("drained".into());
    let two = p.push_event(&p.commit("two"), "two").await.deploy.unwrap();
    p.until(two, State::Draining).await;
    p.until_hung("drained").await;
    (p, two)
}

#[tokio::test]
async fn n6_a_rollback_begins_while_old_replicas_drain_and_leaves_them_to_it() {
    let (mut p, two) = draining().await;
    let back = p.deploys.rollback(7, Some(1), "ana", UnixMs::now()).await;
    let back = back.unwrap();
    p.until(back, State::Live).await;
    assert_eq!(state(&p, two).await, State::Draining);
    let running = p.world.running();
    let (old, new) = (
        "tasks-web-v1-d1-1".to_owned(),
        format!("tasks-web-v1-d{back}-1"),
    );
    assert_eq!(running, [old.clone(), new.clone()], "v2 is drained by now");
    // The stream ends with the daemon, and the drain goes on where it was.
    p.crash().await;
    p.until(two, State::Live).await;
    assert_eq!(p.world.running(), [new]);
    assert_eq!(p.world.count(&format!("retire {old}")), 1);
    assert_eq!(p.deploys.live(7).await.unwrap().unwrap().deploy, back);
    let log = p.log(two).await;
    assert!(log.contains(&format!("{old} is stopped")), "{log}");
}

#[tokio::test]
async fn n6_a_drain_ends_no_container_of_a_deploy_that_comes_after_it() {
    let (mut p, two) = draining().await;
    p.world.told.lock().unwrap().hang.insert("ready".into());
    let three = p.push_event(&p.commit("three"), "three").await;
    let three = three.deploy.unwrap();
    p.until(three, State::Checking).await;
    p.until_hung("ready").await;
    let new = format!("tasks-web-v3-d{three}-1");
    assert!(p.world.running().contains(&new));
    p.crash().await;
    p.until(two, State::Live).await;
    p.until(three, State::Live).await;
    assert_eq!(p.world.running(), [new.as_str()]);
    assert_eq!(p.world.count(&format!("retire {new}")), 0);
    assert_eq!(p.world.count(&format!("want {new}")), 1, "made once");
}

#[tokio::test]
async fn n6_more_replicas_during_a_drain_cut_nothing_that_drains() {
    let (p, two) = draining().await;
    let set = crate::deploy::ports::Scale {
        min: Some(2),
        ..Default::default()
    };
    p.world.told.lock().unwrap().scale.insert("web".into(), set);
    p.deploys.apply_counts(7, UnixMs::now()).await.unwrap();
    let name = |n| format!("tasks-web-v2-d{two}-{n}");
    p.until_done(&format!("serve {},{}", name(1), name(2)))
        .await;
    // A deploy after it is the proof that the work of before is over.
    let three = p.push_event(&p.commit("three"), "three").await;
    p.until(three.deploy.unwrap(), State::Live).await;
    assert_eq!(p.world.count("retire tasks-web-v1-d1-1"), 0);
    assert_eq!(p.world.count(&format!("retire {}", name(2))), 1);
    assert_eq!(state(&p, two).await, State::Draining);
}

#[tokio::test]
async fn n6_an_app_is_removed_with_what_drains_and_nothing_comes_after_it() {
    let (mut p, two) = draining().await;
    p.world.told.lock().unwrap().removing = true;
    let marked: Result<(), crate::db::DbError> =
        p.db.write(|tx| crate::jobs::queue_removal(tx, 7, false, UnixMs::now()))
            .await;
    marked.unwrap();
    p.deploys.remove(7, "ana").await.unwrap();
    p.until_done("retire tasks-web-v1-d1-1").await;
    assert!(p.world.running().is_empty(), "{:?}", p.world.running());
    assert_eq!(p.world.count("delete row"), 0, "its drain is not over");
    p.crash().await;
    p.until_done("delete row").await;
    let logs = std::fs::read_dir(p.folder.path().join("builds")).unwrap();
    assert_eq!(logs.count(), 0, "deploy {two} left its log");
}

/// A stream at each of them would keep the replicas of every deploy since.
#[tokio::test]
async fn n6_the_oldest_of_too_many_drains_ends_at_once() {
    let (p, two) = draining().await;
    for n in 0..3 {
        assert_eq!(state(&p, two).await, State::Draining);
        assert_eq!(p.world.count("retire tasks-web-v1-d1-1"), 0);
        p.world.told.lock().unwrap().hang.insert("drained".into());
        let next = p.push_event(&p.commit("next"), &format!("next{n}")).await;
        p.until(next.deploy.unwrap(), State::Draining).await;
        p.until_hung("drained").await;
    }
    p.until(two, State::Live).await;
    assert_eq!(p.world.count("retire tasks-web-v1-d1-1"), 1);
    let drains = p.world.told.lock().unwrap().drains.clone();
    // Which was begun last, its or the newest's, is nobody's word.
    let at_once = drains.iter().filter(|drain| drain.is_zero()).count();
    assert_eq!(at_once, 1, "{drains:?}");
    assert_eq!(p.world.running().len(), 4, "the others have their time");
}

/// One that holds a stream keeps none of the others.
#[tokio::test]
async fn n6_a_replica_without_requests_is_stopped_beside_one_that_has_some() {
    let p = Place::new().await;
    let set = crate::deploy::ports::Scale {
        min: Some(2),
        ..Default::default()
    };
    p.world.told.lock().unwrap().scale.insert("web".into(), set);
    p.deploy("one").await;
    p.world.told.lock().unwrap().hang.insert("drained".into());
    let two = p.push_event(&p.commit("two"), "two").await.deploy.unwrap();
    p.until(two, State::Draining).await;
    p.until_hung("drained").await;
    let gone = || {
        let done = p.world.done();
        let retired = done.iter().filter(|d| d.starts_with("retire tasks-web-v1"));
        retired.count()
    };
    for _ in 0..6_000 {
        if gone() > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(gone(), 1);
    assert_eq!(state(&p, two).await, State::Draining);
}

/// What was told of a kind, in order.
async fn told(p: &Place, kind: &'static str) -> Vec<i64> {
    let told: Result<Vec<i64>, crate::db::DbError> =
        p.db.read(move |c| {
            let mut all = c.prepare(
                "SELECT json_extract(data, '$.deploy') FROM events WHERE kind = ?1 ORDER BY id",
            )?;
            let rows = all.query_map([kind], |r| r.get(0))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await;
    told.unwrap()
}

#[tokio::test]
async fn n6_a_deploy_is_told_to_be_live_at_its_switch_and_in_order() {
    let (mut p, two) = draining().await;
    let three = p.deploy("three").await;
    assert_eq!(state(&p, two).await, State::Draining);
    assert_eq!(told(&p, "deploy.live").await, [1, two, three]);
    p.crash().await;
    p.until(two, State::Live).await;
    assert_eq!(told(&p, "deploy.live").await, [1, two, three], "once");
}

/// Old replicas end a stream for a quarter of an hour; a release that dies meanwhile is not left alone with it.
#[tokio::test]
async fn f8_a_release_that_dies_while_old_replicas_drain_is_replaced() {
    let mut p = Place::new().await;
    p.deploy("one").await;
    p.limits.watch = Duration::from_secs(60);
    p.crash().await;
    p.world.told.lock().unwrap().hang.insert("drained".into());
    let two = p.push_event(&p.commit("two"), "two").await.deploy.unwrap();
    p.until(two, State::Draining).await;
    p.until_hung("drained").await;
    let returned = p.dies(two, State::Returned).await;
    assert!(returned.error.unwrap().contains("v1 comes back"));
    let back = two + 1;
    p.until(back, State::Watching).await;
    let (old, new) = (
        "tasks-web-v1-d1-1".to_owned(),
        format!("tasks-web-v1-d{back}-1"),
    );
    assert_eq!(p.world.running(), [old, new.clone()], "its stream goes on");
    // And ends as it would have.
    p.crash().await;
    p.until_done("retire tasks-web-v1-d1-1").await;
    assert_eq!(p.world.running(), [new]);
    assert_eq!(state(&p, two).await, State::Returned);
}

/// A daemon from before there was such a job left a deploy in its drain.
#[tokio::test]
async fn n6_a_drain_without_a_job_gets_one() {
    let (mut p, two) = draining().await;
    p.tasks.finish(Duration::from_secs(5)).await;
    let made = p.db.write(move |tx| {
        tx.execute(
            "DELETE FROM jobs WHERE kind IN ('deploy.drain', 'deploy.watch')",
            [],
        )?;
        tx.execute(
            "UPDATE jobs SET state = 'running' WHERE kind = 'deploy' AND json_extract(payload, '$.deploy') = ?1",
            [two],
        )?;
        Ok::<_, crate::db::DbError>(())
    });
    made.await.unwrap();
    p.crash().await;
    p.until(two, State::Live).await;
    assert_eq!(p.world.running(), [format!("tasks-web-v2-d{two}-1")]);
}

#[tokio::test]
async fn n6_a_drain_that_breaks_off_under_a_newer_release_ends_live_not_failed() {
    let p = Place::new().await;
    p.deploy("one").await;
    p.world.told.lock().unwrap().hang.insert("drained".into());
    let two = p.push_event(&p.commit("two"), "two").await.deploy.unwrap();
    p.until_hung("drained").await;
    let three = p.deploy("three").await;
    let mut p = p;
    p.world.told.lock().unwrap().panic.insert("drained".into());
    p.crash().await;
    p.until(two, State::Live).await;
    p.until_done("retire tasks-web-v1-d1-1").await;
    assert_eq!(p.world.running(), [format!("tasks-web-v3-d{three}-1")]);
}

/// Pulled images carry no label of ours: the tag is all there is to find them by.
#[tokio::test]
async fn n5_an_image_deploy_that_ends_before_its_release_leaves_no_tag() {
    let p = Place::new().await;
    p.deploy("one").await;
    let images = || p.world.told.lock().unwrap().images.len();
    assert_eq!(images(), 1);
    let image = async || {
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
    };
    p.world.told.lock().unwrap().hang.insert("tagged".into());
    let cancelled = image().await;
    p.until_hung("tagged").await;
    assert_eq!(images(), 2);
    let now = UnixMs::now();
    p.deploys.cancel(cancelled, "ana", now).await.unwrap();
    p.until(cancelled, State::Cancelled).await;
    assert_eq!(images(), 1);
    p.world.told.lock().unwrap().panic.insert("tagged".into());
    let broken = image().await;
    p.until(broken, State::Failed).await;
    assert_eq!(images(), 1);
    let live = image().await;
    p.until(live, State::Live).await;
    assert_eq!(images(), 2, "the release's own stays");
}

/// Between the end of the checks and the switch: a cancel that was answered holds.
#[tokio::test]
async fn f4_a_deploy_that_was_cancelled_does_not_switch() {
    let p = Place::new().await;
    p.world.told.lock().unwrap().hang.insert("ready".into());
    let id = p.push_event(&p.commit("one"), "a").await.deploy.unwrap();
    p.until(id, State::Checking).await;
    let moved =
        p.db.write(move |tx| {
            use crate::deploy::store;
            store::ask_cancel(tx, id)?;
            let change = store::Change::default();
            store::enter(
                tx,
                id,
                State::Checking,
                State::Switching,
                &change,
                UnixMs(9),
            )
        })
        .await;
    assert!(!moved.unwrap());
}

/// Restored piece by piece: one row that cannot be read takes none of the others with it.
#[tokio::test]
async fn f9_one_release_that_cannot_be_read_hides_no_other() {
    let p = Place::new().await;
    p.deploy("one").await;
    p.deploy("two").await;
    p.db.write(|tx| {
        tx.execute("UPDATE releases SET settings = '{' WHERE number = 1", [])?;
        Ok::<_, crate::db::DbError>(())
    })
    .await
    .unwrap();
    let releases = p.deploys.releases(7).await.unwrap();
    let told: Vec<_> = releases.iter().map(|r| (r.number, r.unreadable)).collect();
    assert_eq!(told, [(2, false), (1, true)]);
    let back = p.deploys.rollback(7, Some(1), "ana", UnixMs::now()).await;
    let error = back.unwrap_err().to_string();
    assert!(error.contains("cannot be read"), "{error}");
    // Work goes on.
    p.deploy("three").await;
}

/// What is no image of this app's is refused before there is a deploy; one that was queued before this was so, too.
#[tokio::test]
async fn a4_no_deploy_is_made_of_another_apps_image() {
    let p = Place::new().await;
    let asked = async |reference: &str| {
        let new = NewDeploy {
            app: 7,
            source: Source::Image {
                reference: reference.to_owned(),
            },
            cause: Cause::Person,
            by: "ana".into(),
            delivery: None,
            title: None,
        };
        p.deploys.create(new, UnixMs::now()).await
    };
    for (reference, words) in [
        ("fh-abcdef/shop:d1", "for another app"),
        ("0123456789ab", "the id of an image"),
        ("UPPER CASE", "no image reference"),
    ] {
        let error = asked(reference).await.unwrap_err();
        assert!(matches!(error, DeployError::Invalid(_)), "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
    let docker = p.work().join("Dockerfile");
    std::fs::write(&docker, "FROM scratch\nCOPY --from=fh-abcdef/shop:d1 / /\n").unwrap();
    let commit = p.commit("steals");
    let id = p.push_event(&commit, "steals").await.deploy.unwrap();
    let failed = p.until(id, State::Failed).await;
    assert!(failed.error.unwrap().contains("for another app"));
    assert!(
        p.world.told.lock().unwrap().images.is_empty(),
        "nothing was built"
    );
}
