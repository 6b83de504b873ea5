//! Releases that are folders of files: live without an image, back again, cut off and collected.

use std::path::PathBuf;
use std::time::Duration;

use super::world::{APP_FILE, Place};
use crate::base::clock::UnixMs;
use crate::deploy::{Cause, Files, NewDeploy, Source, State};

const STATIC_FILE: &str = "[build]\nstatic = \"dist\"\n";

/// The next commit is a folder with this page.
fn write(p: &Place, page: &str) {
    let dist = p.work().join("dist");
    std::fs::create_dir_all(&dist).unwrap();
    std::fs::write(dist.join("index.html"), page).unwrap();
    std::fs::write(p.work().join("freehold.toml"), STATIC_FILE).unwrap();
}

async fn deploy(p: &Place, page: &str) -> i64 {
    write(p, page);
    p.deploy(page).await
}

/// The page that is served.
async fn page(p: &Place) -> String {
    let live = p.deploys.live(7).await.unwrap().unwrap();
    let folder = live.files.unwrap().folder(p.folder.path());
    std::fs::read_to_string(folder.join("index.html")).unwrap()
}

fn folder(p: &Place, deploy: i64) -> PathBuf {
    let files = Files {
        app: 7,
        deploy,
        single_page: false,
    };
    files.folder(p.folder.path())
}

async fn until_gone(path: &std::path::Path) {
    for _ in 0..3_000 {
        if !path.exists() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{} stays", path.display());
}

#[tokio::test]
async fn e6_a_folder_goes_live_without_image_or_container_and_containers_before_it_end() {
    let p = Place::new().await;
    let containers = p.deploy("containers").await;
    let built = p.world.count("build");
    let id = deploy(&p, "files").await;
    assert_eq!(page(&p).await, "files");
    assert_eq!(p.world.count("build"), built);
    assert!(p.world.running().is_empty(), "{:?}", p.world.running());
    let done = p.world.done();
    let at = |wanted: &str| done.iter().rposition(|d| d == wanted).unwrap();
    assert!(at("serve ") < at(&format!("retire tasks-web-v1-d{containers}-1")));
    let log = p.log(id).await;
    for part in [
        "1 files are served.",
        "the edge serves it itself",
        "v2 gets the traffic",
    ] {
        assert!(log.contains(part), "{part} is not in\n{log}");
    }
    let refused = p.deploys.one_off(7, vec!["sh".into()]).await.unwrap_err();
    assert!(refused.to_string().contains("folder of files"), "{refused}");
    // Back to containers, and what was a folder is none.
    std::fs::write(p.work().join("freehold.toml"), APP_FILE).unwrap();
    let back = p.deploy("again").await;
    assert_eq!(p.world.running(), [format!("tasks-web-v3-d{back}-1")]);
    assert_eq!(p.deploys.live(7).await.unwrap().unwrap().files, None);
}

#[tokio::test]
async fn e6_rollback_is_another_folder_and_old_ones_are_collected() {
    let p = Place::new().await;
    let first = deploy(&p, "one").await;
    let second = deploy(&p, "two").await;
    let now = UnixMs::now();
    let back = p.deploys.rollback(7, Some(1), "ana", now).await.unwrap();
    p.until(back, State::Live).await;
    assert_eq!(page(&p).await, "one");
    assert!(folder(&p, second).exists(), "it can be gone back to");
    let third = deploy(&p, "three").await;
    let fourth = deploy(&p, "four").await;
    assert_eq!(page(&p).await, "four");
    until_gone(&folder(&p, first)).await;
    until_gone(&folder(&p, second)).await;
    assert!(folder(&p, third).exists() && folder(&p, fourth).exists());
    let marked: Result<(), crate::db::DbError> =
        p.db.write(move |tx| crate::jobs::queue_removal(tx, 7, false, now))
            .await;
    marked.unwrap();
    p.deploys.remove(7, "ana").await.unwrap();
    p.until_done("delete row").await;
    assert!(!p.folder.path().join("static/7").exists());
}

#[tokio::test]
async fn e6_an_uploaded_folder_goes_live_and_a_stopped_one_starts_again() {
    let p = Place::new().await;
    let tar = p.folder.path().join("t.tar");
    let mut out = tar::Builder::new(std::fs::File::create(&tar).unwrap());
    write(&p, "uploaded");
    out.append_dir_all("dist", p.work().join("dist")).unwrap();
    let file = p.work().join("freehold.toml");
    out.append_path_with_name(file, "freehold.toml").unwrap();
    out.into_inner().unwrap();
    let bytes = std::fs::read(&tar).unwrap();
    let parts = futures_util::stream::iter([Ok::<_, String>(bytes)]);
    let new = NewDeploy {
        app: 7,
        source: p.deploys.spool(parts).await.unwrap(),
        cause: Cause::Person,
        by: "ana".into(),
        delivery: None,
        title: None,
    };
    assert!(matches!(new.source, Source::Upload { .. }));
    let id = p.deploys.create(new, UnixMs::now()).await.unwrap();
    p.until(id, State::Live).await;
    assert_eq!(page(&p).await, "uploaded");
    p.deploys.stop(7, "ana", UnixMs::now()).await.unwrap();
    let started = p.deploys.start_app(7, "ana", UnixMs::now()).await.unwrap();
    p.until(started.unwrap(), State::Live).await;
    assert_eq!(page(&p).await, "uploaded");
    assert!(p.world.running().is_empty());
}

#[tokio::test]
async fn e6_a_tree_without_the_folder_fails_and_the_release_before_serves_on() {
    let p = Place::new().await;
    deploy(&p, "one").await;
    std::fs::remove_dir_all(p.work().join("dist")).unwrap();
    let commit = p.commit("two");
    let id = p.push_event(&commit, "two").await.deploy.unwrap();
    let row = p.until(id, State::Failed).await;
    let error = row.error.unwrap();
    assert!(error.contains("no files in the folder dist"), "{error}");
    assert_eq!(page(&p).await, "one");
    until_gone(&folder(&p, id)).await;
}

#[tokio::test]
async fn e6_a_folder_s_deploy_that_is_cut_off_is_taken_up() {
    for what in ["switched", "drained"] {
        let mut p = Place::new().await;
        p.deploy("containers").await;
        write(&p, "files");
        let commit = p.commit("files");
        p.world.told.lock().unwrap().hang.insert(what.into());
        let id = p.push_event(&commit, "files").await.deploy.unwrap();
        p.until_hung(what).await;
        p.crash().await;
        p.until(id, State::Live).await;
        assert_eq!(page(&p).await, "files", "cut in {what}");
        assert!(p.world.running().is_empty(), "cut in {what}");
    }
}

/// The daemon dies when the files are copied and the release is not written yet.
#[tokio::test]
async fn e6_a_folder_that_was_copied_before_a_crash_is_copied_anew() {
    let mut p = Place::new().await;
    deploy(&p, "one").await;
    write(&p, "two");
    let commit = p.commit("two");
    // The place to build is taken, so that the deploy waits before it.
    let id = {
        let _place = p.deploys.0.builds.try_take().unwrap();
        let id = p.push_event(&commit, "two").await.deploy.unwrap();
        p.until(id, State::Building).await;
        let half = folder(&p, id);
        std::fs::create_dir_all(&half).unwrap();
        std::fs::write(half.join("index.html"), "half").unwrap();
        std::fs::write(half.join("left.html"), "half").unwrap();
        p.tasks.finish(Duration::from_secs(5)).await;
        id
    };
    p.crash().await;
    p.until(id, State::Live).await;
    assert_eq!(page(&p).await, "two");
    assert!(!folder(&p, id).join("left.html").exists());
}

#[tokio::test]
async fn e6_a_folder_that_lost_files_is_not_gone_back_to() {
    let p = Place::new().await;
    std::fs::create_dir_all(p.work().join("dist")).unwrap();
    std::fs::write(p.work().join("dist/app.js"), "run()").unwrap();
    let first = deploy(&p, "one").await;
    deploy(&p, "two").await;
    std::fs::remove_file(folder(&p, first).join("app.js")).unwrap();
    let now = UnixMs::now();
    let back = p.deploys.rollback(7, Some(1), "ana", now).await.unwrap();
    let row = p.until(back, State::Failed).await;
    let error = row.error.unwrap();
    assert!(error.contains("1 of its 2 files"), "{error}");
    assert_eq!(page(&p).await, "two");
    // Nor where nothing is left.
    std::fs::remove_dir_all(folder(&p, first)).unwrap();
    let back = p.deploys.rollback(7, Some(1), "ana", now).await.unwrap();
    let row = p.until(back, State::Failed).await;
    let error = row.error.unwrap();
    assert!(error.contains("v1 cannot go live"), "{error}");
    assert_eq!(page(&p).await, "two");
}

/// A release says that it is gone before the first of its files is.
#[tokio::test]
async fn e6_a_folder_is_collected_only_when_no_release_has_it() {
    let p = Place::new().await;
    let first = deploy(&p, "one").await;
    deploy(&p, "two").await;
    let change = |sql: &'static str| {
        p.db.write(move |tx| {
            tx.execute_batch(sql)?;
            Ok::<_, crate::db::DbError>(())
        })
    };
    let full = "CREATE TRIGGER full BEFORE UPDATE OF gone_ms ON releases
        BEGIN SELECT RAISE(ABORT, 'the disk is full'); END";
    change(full).await.unwrap();
    deploy(&p, "three").await;
    // The next one begins when the one before has collected.
    deploy(&p, "four").await;
    assert!(folder(&p, first).join("index.html").exists());
    assert!(folder(&p, first).with_extension("manifest").exists());
    change("DROP TRIGGER full").await.unwrap();
    deploy(&p, "five").await;
    until_gone(&folder(&p, first)).await;
    until_gone(&folder(&p, first).with_extension("manifest")).await;
}
