//! What a deploy does when nothing cuts it off, and when something refuses.

use super::world::{APP_FILE, Place};
use crate::base::clock::UnixMs;
use crate::base::secret::Secret;
use crate::deploy::{Cause, NewDeploy, Source, State};
use std::time::Duration;

fn image(reference: &str) -> NewDeploy {
    NewDeploy {
        app: 7,
        source: Source::Image {
            reference: reference.into(),
        },
        cause: Cause::Person,
        by: "ana".into(),
        delivery: None,
        title: None,
    }
}

#[tokio::test]
async fn f4_a_push_goes_live_beside_the_old_release_which_ends_last() {
    let p = Place::new().await;
    let first = p.deploy("one").await;
    assert_eq!(p.world.running(), [format!("tasks-web-v1-d{first}-1")]);
    let start = p.world.done().len();
    let second = p.deploy("two").await;
    let mut done = p.world.done().split_off(start);
    // Beside the drain.
    done.retain(|what| what != "look into the cache");
    let (old, new) = (
        format!("tasks-web-v1-d{first}-1"),
        format!("tasks-web-v2-d{second}-1"),
    );
    let expected: Vec<String> = [
        "build",
        "job",
        &format!("want {new}"),
        "wanted",
        "wanted",
        "ready",
        &format!("serve {new}"),
        "switched",
        "drained",
        &format!("retire {old}"),
    ]
    .map(str::to_owned)
    .to_vec();
    assert_eq!(done, expected);
    let row = p.deploys.get(7, second).await.unwrap();
    assert_eq!(row.title.as_deref(), Some("two"));
    assert_eq!(row.release.map(|r| r.1), Some(2));
    let log = p.log(second).await;
    for part in [
        "Fetching the code",
        "Building the image",
        "migrated",
        "healthy when GET /healthz on port 8000",
        "v2 gets the traffic",
    ] {
        assert!(log.contains(part), "{part} is not in\n{log}");
    }
    assert!(!log.contains("hunter2"), "{log}");
    let spec = p.world.told.lock().unwrap().specs[&new].clone();
    assert_eq!(
        spec.env["DATABASE_URL"],
        "postgres://tasks:hunter2@main/tasks"
    );
    assert_eq!(spec.env["PORT"], "8000");
    assert_eq!(spec.networks, ["app-7", "db-1"]);
}

#[tokio::test]
async fn f4_a_release_that_never_gets_healthy_leaves_the_old_one_serving() {
    let p = Place::new().await;
    let first = p.deploy("one").await;
    p.world.told.lock().unwrap().unhealthy = true;
    let commit = p.commit("two");
    let id = p.push_event(&commit, "two").await.deploy.unwrap();
    let failed = p.until(id, State::Failed).await;
    let error = failed.error.unwrap();
    for part in [
        "GET http://10.83.0.2:8000/healthz",
        "500 Internal",
        "port 8000",
        "[DATABASE_URL]",
    ] {
        assert!(error.contains(part), "{part} is not in {error}");
    }
    assert!(!error.contains("hunter2"));
    assert_eq!(p.world.running(), [format!("tasks-web-v1-d{first}-1")]);
    assert_eq!(p.deploys.live(7).await.unwrap().unwrap().release, 1);

    // The same delivery again: a failed deploy may be told again, a taken one not.
    p.world.told.lock().unwrap().unhealthy = false;
    let again = p.push_event(&commit, "two").await;
    assert_eq!(again.status, 202);
    assert_ne!(again.deploy, Some(id));
    p.until(again.deploy.unwrap(), State::Live).await;
    let repeated = p.push_event(&commit, "two").await;
    assert!(repeated.reason.contains("already taken"), "{repeated:?}");
    assert_eq!(repeated.deploy, again.deploy);
    let kept = p.deploys.deliveries(7).await.unwrap();
    assert_eq!(kept.len(), 4);
    assert_eq!((kept[0].status, kept[0].deploy), (202, again.deploy));
}

#[tokio::test]
async fn f4_a_failed_build_and_a_failed_release_command_say_so_and_change_nothing() {
    let p = Place::new().await;
    p.deploy("one").await;
    p.world.told.lock().unwrap().fail_build = true;
    let commit = p.commit("two");
    let id = p.push_event(&commit, "a").await.deploy.unwrap();
    let error = p.until(id, State::Failed).await.error.unwrap();
    assert!(error.contains("[2/3] RUN make"), "{error}");
    p.world.told.lock().unwrap().fail_build = false;
    p.world.told.lock().unwrap().release_exit = 3;
    let id = p.push_event(&commit, "b").await.deploy.unwrap();
    let error = p.until(id, State::Failed).await.error.unwrap();
    assert!(
        error.contains("\"migrate\" ended with exit code 3"),
        "{error}"
    );
    assert_eq!(p.world.count("serve tasks-web-v1-d1-1"), 1);
    assert_eq!(p.world.running(), ["tasks-web-v1-d1-1"]);
    std::fs::remove_file(p.work().join("Dockerfile")).unwrap();
    let id = p.push_event(&p.commit("three"), "c").await.deploy.unwrap();
    let error = p.until(id, State::Failed).await.error.unwrap();
    assert!(error.contains("no Dockerfile"), "{error}");
    let images: Vec<String> = p
        .world
        .told
        .lock()
        .unwrap()
        .images
        .keys()
        .cloned()
        .collect();
    assert_eq!(
        without_marks(&images),
        ["fh-abcdef/tasks:d1"],
        "failed deploys are collected too"
    );
}

#[tokio::test]
async fn f4_a_commit_that_is_gone_is_told_and_nothing_is_built() {
    let p = Place::new().await;
    p.commit("one");
    let id = p.push_event(&"1".repeat(40), "a").await.deploy.unwrap();
    let error = p.until(id, State::Failed).await.error.unwrap();
    assert!(
        error.contains("not in file://") && error.contains("forced push"),
        "{error}"
    );
    assert_eq!(p.world.count("build"), 0);
}

#[tokio::test]
async fn f4_pushes_that_pile_up_collapse_into_the_newest() {
    let p = Place::new().await;
    p.world.told.lock().unwrap().hang.insert("build".into());
    let commit = p.commit("one");
    let first = p.push_event(&commit, "a").await.deploy.unwrap();
    p.until_done("build").await;
    let second = p.push_event(&commit, "b").await.deploy.unwrap();
    let third = p.push_event(&commit, "c").await.deploy.unwrap();
    let old = p.deploys.get(7, second).await.unwrap();
    assert_eq!(old.state, State::Superseded);
    p.deploys.cancel(first, "ana", UnixMs::now()).await.unwrap();
    let cancelled = p.until(first, State::Cancelled).await;
    assert!(cancelled.error.unwrap().contains("cancelled"));
    assert_eq!(
        p.world.count("build killed"),
        1,
        "seen dead before it says so"
    );
    p.until(third, State::Live).await;
    let late = p
        .deploys
        .cancel(third, "ana", UnixMs::now())
        .await
        .unwrap_err();
    assert!(late.to_string().contains("already live"), "{late}");
}

#[tokio::test]
async fn f4_rollback_brings_back_the_release_with_its_settings() {
    let p = Place::new().await;
    p.world
        .told
        .lock()
        .unwrap()
        .env
        .insert("MODE".into(), Secret::new("old"));
    p.deploy("one").await;
    p.world
        .told
        .lock()
        .unwrap()
        .env
        .insert("MODE".into(), Secret::new("new"));
    std::fs::write(
        p.work().join("freehold.toml"),
        APP_FILE.replace("8000", "9000"),
    )
    .unwrap();
    p.deploy("two").await;
    let back = p
        .deploys
        .rollback(7, None, "ana", UnixMs::now())
        .await
        .unwrap();
    p.until(back, State::Live).await;
    let live = p.deploys.live(7).await.unwrap().unwrap();
    assert_eq!(live.release, 1);
    let name = format!("tasks-web-v1-d{back}-1");
    let spec = p.world.told.lock().unwrap().specs[&name].clone();
    assert_eq!((spec.env["MODE"].as_str(), spec.port), ("old", Some(8000)));
    assert_eq!(p.world.running(), [name]);
    assert_eq!(p.world.count("build"), 2, "nothing is built again");
    let forward = p
        .deploys
        .rollback(7, Some(2), "ana", UnixMs::now())
        .await
        .unwrap();
    p.until(forward, State::Live).await;
    let missing = p
        .deploys
        .rollback(7, Some(9), "ana", UnixMs::now())
        .await
        .unwrap_err();
    assert!(missing.to_string().contains("kept are v2, v1"), "{missing}");
}

#[tokio::test]
async fn f4_an_image_needs_no_build_and_uploads_are_taken_from_their_tar() {
    let p = Place::new().await;
    let id = p
        .deploys
        .create(image("r.test:5000/tasks:1"), UnixMs::now())
        .await
        .unwrap();
    p.until(id, State::Live).await;
    assert_eq!(p.world.count("build"), 0);
    let tar = p.folder.path().join("t.tar");
    let mut out = tar::Builder::new(std::fs::File::create(&tar).unwrap());
    out.append_path_with_name(p.work().join("Dockerfile"), "Dockerfile")
        .unwrap();
    out.into_inner().unwrap();
    let bytes = std::fs::read(&tar).unwrap();
    let parts = futures_util::stream::iter(bytes.chunks(100).map(|c| Ok::<_, String>(c.to_vec())));
    let source = p.deploys.spool(parts).await.unwrap();
    let Source::Upload { file, .. } = &source else {
        panic!("{source:?}");
    };
    let kept = p.folder.path().join("builds").join(file);
    assert_eq!(std::fs::read(&kept).unwrap(), bytes);
    let new = NewDeploy {
        source,
        ..image("")
    };
    let id = p.deploys.create(new, UnixMs::now()).await.unwrap();
    p.until(id, State::Live).await;
    assert_eq!(p.world.count("build"), 1);
    assert!(!kept.exists(), "collected after its deploy");
    let broken = futures_util::stream::iter([Ok(vec![1u8]), Err("reset")]);
    assert!(p.deploys.spool(broken).await.is_err());
    // A whole one whose deploy is refused is needed by nobody.
    let whole = futures_util::stream::iter([Ok::<_, String>(vec![1u8; 100])]);
    let source = p.deploys.spool(whole).await.unwrap();
    p.world.told.lock().unwrap().removing = true;
    let new = NewDeploy {
        source,
        ..image("")
    };
    let refused = p.deploys.create(new, UnixMs::now()).await.unwrap_err();
    assert!(refused.to_string().contains("being removed"), "{refused}");
    let left: Vec<_> = std::fs::read_dir(p.folder.path().join("builds"))
        .unwrap()
        .filter(|e| {
            e.as_ref()
                .unwrap()
                .path()
                .extension()
                .is_some_and(|e| e == "tar")
        })
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn f9_what_fetches_piled_up_goes_after_a_deploy() {
    let p = Place::new().await;
    p.deploy("first").await;
    // As fetches that were cut off leave it.
    let packs = p.folder.path().join("repos/7/objects/pack");
    let left = |n: usize| packs.join(format!("tmp_pack_{n}"));
    (0..6).for_each(|n| std::fs::write(left(n), "x").unwrap());
    p.deploy("second").await;
    for _ in 0..3_000 {
        if (0..6).all(|n| !left(n).exists()) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the repository only grows");
}

/// Our tags as far as others could guess them; each has more.
fn without_marks(tags: &[String]) -> Vec<&str> {
    let parts = tags.iter().map(|tag| tag.rsplit_once('-').unwrap());
    parts
        .inspect(|(_, mark)| assert_eq!(mark.len(), 24, "{tags:?}"))
        .map(|(tag, _)| tag)
        .collect()
}

#[tokio::test]
async fn f9_images_beyond_those_kept_are_collected() {
    let p = Place::new().await;
    for n in 0..5 {
        p.deploy(&format!("commit {n}")).await;
    }
    let images: Vec<String> = p
        .world
        .told
        .lock()
        .unwrap()
        .images
        .keys()
        .cloned()
        .collect();
    let kept = ["fh-abcdef/tasks:d4", "fh-abcdef/tasks:d5"];
    assert_eq!(without_marks(&images), kept);
    let gone = p
        .deploys
        .rollback(7, Some(1), "ana", UnixMs::now())
        .await
        .unwrap_err();
    assert!(gone.to_string().contains("already collected"), "{gone}");
}

#[tokio::test]
async fn f4_scaling_down_drains_and_scaling_up_waits_for_health() {
    let p = Place::new().await;
    let id = p.deploy("one").await;
    let name = |n| format!("tasks-web-v1-d{id}-{n}");
    p.scale(3).await;
    p.until_done(&format!("serve {},{},{}", name(1), name(2), name(3)))
        .await;
    let start = p.world.done().len();
    p.scale(1).await;
    p.until_done(&format!("retire {}", name(3))).await;
    let done = p.world.done().split_off(start);
    let at = |what: &str| done.iter().position(|d| d == what).unwrap();
    assert!(at(&format!("serve {}", name(1))) < at("drained"));
    assert!(at("drained") < at(&format!("retire {}", name(2))));
    assert_eq!(p.world.running(), [name(1)]);
}

#[tokio::test]
async fn f4_stop_and_start_and_changed_settings() {
    let p = Place::new().await;
    p.deploy("one").await;
    p.deploys.stop(7, "ana", UnixMs::now()).await.unwrap();
    p.until_done("retire tasks-web-v1-d1-1").await;
    assert!(p.world.running().is_empty());
    assert!(p.deploys.live(7).await.unwrap().unwrap().stopped);
    assert_eq!(
        p.deploys
            .apply_settings(7, "ana", UnixMs::now())
            .await
            .unwrap(),
        None
    );
    let id = p
        .deploys
        .start_app(7, "ana", UnixMs::now())
        .await
        .unwrap()
        .unwrap();
    p.until(id, State::Live).await;
    assert_eq!(p.world.running(), [format!("tasks-web-v2-d{id}-1")]);
    p.world
        .told
        .lock()
        .unwrap()
        .env
        .insert("NEW".into(), Secret::new("yes"));
    let id = p
        .deploys
        .apply_settings(7, "ana", UnixMs::now())
        .await
        .unwrap()
        .unwrap();
    p.until(id, State::Live).await;
    let name = format!("tasks-web-v3-d{id}-1");
    assert_eq!(p.world.running(), [name.as_str()]);
    assert_eq!(p.world.told.lock().unwrap().specs[&name].env["NEW"], "yes");
    assert_eq!(p.world.count("build"), 1);
}

#[tokio::test]
async fn f8_a_release_that_dies_soon_is_replaced_by_the_one_before() {
    let mut p = Place::new().await;
    p.deploy("one").await;
    p.limits.watch = Duration::from_secs(60);
    p.crash().await;
    let commit = p.commit("two");
    let id = p.push_event(&commit, "two").await.deploy.unwrap();
    p.until(id, State::Watching).await;
    let returned = p.dies(id, State::Returned).await;
    assert!(returned.error.unwrap().contains("v1 comes back"));
    let back = id + 1;
    p.until(back, State::Watching).await;
    assert_eq!(p.deploys.live(7).await.unwrap().unwrap().release, 1);
    assert_eq!(p.world.running(), [format!("tasks-web-v1-d{back}-1")]);
    // Watching never blocks the next deploy.
    let third = p
        .push_event(&p.commit("three"), "three")
        .await
        .deploy
        .unwrap();
    p.until(third, State::Watching).await;
    p.until(back, State::Live).await;
}

#[tokio::test]
async fn f4_removing_an_app_takes_all_of_it_and_volumes_only_when_asked() {
    let p = Place::new().await;
    let file = format!("{APP_FILE}[volumes]\nup = \"/up\"\n");
    std::fs::write(p.work().join("freehold.toml"), file).unwrap();
    p.deploy("one").await;
    let marked: Result<(), crate::db::DbError> =
        p.db.write(|tx| crate::jobs::queue_removal(tx, 7, true, UnixMs::now()))
            .await;
    marked.unwrap();
    p.deploys.remove(7, "ana").await.unwrap();
    p.until_done("delete row").await;
    let done = p.world.done();
    for part in [
        "drained",
        "retire tasks-web-v1-d1-1",
        "remove network app-7",
        "remove volume app-7-up",
    ] {
        assert!(done.iter().any(|d| d == part), "{part}: {done:?}");
    }
    assert!(p.world.told.lock().unwrap().images.is_empty());
    assert!(!p.folder.path().join("repos/7").exists());
}

#[tokio::test]
async fn f4_strangers_get_their_401_but_cannot_fill_the_list() {
    let p = Place::new().await;
    let header = |name: &str| (name == "x-github-event").then(|| "push".to_owned());
    let now = UnixMs(60_000_000);
    for _ in 0..40 {
        let incoming = crate::deploy::Incoming {
            app: 7,
            header: &header,
            body: Some(b"{}"),
        };
        assert_eq!(
            p.deploys.take_hook(incoming, now).await.unwrap().status,
            401
        );
    }
    assert_eq!(p.deploys.deliveries(7).await.unwrap().len(), 10);
    let large = crate::deploy::Incoming {
        app: 7,
        header: &header,
        body: None,
    };
    assert_eq!(p.deploys.take_hook(large, now).await.unwrap().status, 413);
}

/// What looks at an app every few seconds opens no seal.
#[tokio::test]
async fn f4_a_release_is_read_without_opening_its_environment() {
    let p = Place::new().await;
    p.deploy("one").await;
    p.db.write(|tx| {
        tx.execute("UPDATE releases SET env = x'00'", [])?;
        Ok::<_, crate::db::DbError>(())
    })
    .await
    .unwrap();
    let live = p.deploys.live(7).await.unwrap().unwrap();
    let release = p.deploys.release(live.release_id).await.unwrap().unwrap();
    let health = release.settings.processes["web"].health.as_deref();
    assert_eq!(health, Some("/healthz"));
    assert_eq!(p.deploys.releases(7).await.unwrap().len(), 1);
    p.deploys.release_env(&release).await.unwrap_err();
}
