//! Work that is cut off, or whose outcome cannot be written: nothing of it stays in its store, and none is done twice.

use super::cancelled::begun;
use super::*;
use crate::backup::PLAN_JOB;
use crate::backup::error::BackupError;
use crate::backup::row::Backup;
use crate::jobs::Outcome;
use crate::objects::Upload;

/// The one backup of a night, in work, and the files that lie in its folder.
async fn in_work(a: &Machine) -> std::path::PathBuf {
    std::fs::create_dir(a.folder.path().join("backups")).unwrap();
    a_night(a, UnixMs::now(), &[("shop", BackupState::Running)]).await;
    let key = a.backups.find(1).await.unwrap().key;
    a.folder.path().join("backups").join(key)
}

/// That backup, and its dump on the way into the folder.
async fn under_way(a: &Machine) -> (Backup, Upload) {
    let backup = a.backups.find(1).await.unwrap();
    let objects = a.backups.store(backup.target).await.unwrap();
    let mut upload = objects.begin(&backup.key, 5).await.unwrap();
    upload.write(b"PGDMP").await.unwrap();
    (backup, upload)
}

fn files(below: &std::path::Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(below).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push(path.display().to_string()),
        }
    }
    found
}

/// Failed, and nothing of it left, also by its row.
async fn is_gone(a: &Machine) {
    let failed = a.backups.find(1).await.unwrap();
    assert_eq!(
        (failed.state, failed.upload_token),
        (BackupState::Failed, None)
    );
    let left = files(&a.folder.path().join("backups"));
    assert!(left.is_empty(), "{left:?}");
}

/// The disk was full when the file had its name already: its size could not be noted.
#[tokio::test]
async fn n7_a_dump_that_is_whole_but_could_not_be_noted_does_not_stay_in_its_folder() {
    let a = a_box().await;
    in_work(&a).await;
    let (backup, upload) = under_way(&a).await;
    upload.finish().await.unwrap();
    let why = BackupError::Db(DbError::Unreadable("no space".into()));
    let outcome = a.backups.fail(&backup, why, 1).await;
    assert!(matches!(outcome, Outcome::Failed(_)), "{outcome:?}");
    is_gone(&a).await;
}

/// Its job panicked, or met its limit of time, in the middle of the dump.
#[tokio::test]
async fn n5_a_dump_whose_work_broke_off_leaves_no_half_a_file_in_its_folder() {
    let a = a_box().await;
    in_work(&a).await;
    let (_, upload) = under_way(&a).await;
    drop(upload);
    assert_eq!(files(&a.folder.path().join("backups")).len(), 1);
    let gone: Result<usize, DbError> =
        a.db.write(|tx| Ok(tx.execute("UPDATE jobs SET state = 'failed'", [])?))
            .await;
    gone.unwrap();
    a.backups.reap().await;
    is_gone(&a).await;
}

/// The disk it lies on is away: it is removed when it is back.
#[tokio::test]
async fn n5_what_a_failed_dump_left_on_a_disk_that_is_away_is_not_forgotten() {
    let a = a_box().await;
    let file = in_work(&a).await;
    let (here, away) = (
        a.folder.path().join("backups"),
        a.folder.path().join("away"),
    );
    let backup = a.backups.find(1).await.unwrap();
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, "PGDMP").unwrap();
    std::fs::rename(&here, &away).unwrap();
    let why = BackupError::Work("it broke off".into());
    a.backups.fail(&backup, why, 1).await;
    let failed = a.backups.find(1).await.unwrap();
    assert!(failed.upload_token.is_some(), "its mark is kept");
    std::fs::rename(&away, &here).unwrap();
    a.backups.retain(3, UnixMs::now()).await.unwrap();
    is_gone(&a).await;
}

/// Killed when the night's dumps were written down, and before their plan was: they are not written down again.
#[tokio::test]
async fn n5_a_night_that_is_planned_is_not_planned_again_after_a_kill() {
    let a = a_box().await;
    let part = |name: &str| Part {
        name: name.into(),
        owner: "app".into(),
        roles: Vec::new(),
        size_bytes: 1,
        has_content: true,
    };
    *a.server.parts.lock().unwrap() = vec![part("blog"), part("shop")];
    let next = a.backups.look(UnixMs::now()).await.unwrap().unwrap();
    a.backups.look(next).await.unwrap();
    let (context, payload) = begun(&a, PLAN_JOB).await;
    assert_eq!(a.backups.run_plan(context, payload).await, Outcome::Done);
    // What the next daemon takes up.
    let taken_up: Result<usize, DbError> =
        a.db.write(|tx| {
            let cut = "UPDATE jobs SET state = 'queued' WHERE state = 'running'";
            Ok(tx.execute(cut, [])?)
        })
        .await;
    assert_eq!(taken_up.unwrap(), 0, "nothing is");
    let planned = a.db.read(|c| {
        let all =
            "SELECT group_concat(logical, ' ') FROM (SELECT logical FROM backups ORDER BY id)";
        Ok::<String, DbError>(c.query_row(all, [], |r| r.get(0))?)
    });
    assert_eq!(planned.await.unwrap(), "blog shop");

    // A plan that could not be made is tried again.
    a.server.parts.lock().unwrap().clear();
    let next = a.backups.look(next).await.unwrap().unwrap();
    a.backups.look(next).await.unwrap();
    let (context, payload) = begun(&a, PLAN_JOB).await;
    let outcome = a.backups.run_plan(context, payload).await;
    assert!(matches!(outcome, Outcome::Again { .. }), "{outcome:?}");
}
