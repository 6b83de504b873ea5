//! Retention where targets refuse: what one does not give up holds up nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::{store_open, store_targets, target::NewTarget};
use super::*;
use crate::base::ids::TargetName;
use crate::base::secret::Secret;
use crate::objects::S3Options;

/// A store that hangs up on everybody; how often it was asked.
async fn dead_store() -> (String, Arc<AtomicUsize>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    (endpoint, asked)
}

fn target(name: &str, place: &str, endpoint: Option<String>) -> NewTarget {
    NewTarget {
        name: TargetName::parse(name).unwrap(),
        place: place.to_owned(),
        options: S3Options {
            endpoint,
            ..S3Options::default()
        },
        access_key: Some("key".into()),
        secret_key: Some(Secret::new("secret")),
        make_default: false,
    }
}

async fn add(a: &Machine, new: NewTarget) -> i64 {
    let key = MasterKey::from_bytes(&[7; 32]).unwrap();
    let added: Result<i64, DbError> =
        a.db.write(move |tx| store_targets::insert(tx, &key, &new, UnixMs(1)))
            .await;
    added.unwrap()
}

/// A row of a backup that lies in `place`, with the mark of an upload; its number and key.
async fn row(
    a: &Machine,
    place: Option<i64>,
    state: BackupState,
    mark: Option<&'static str>,
) -> (i64, String) {
    let this = a.backups.clone();
    let made: Result<(i64, String), DbError> =
        a.db.write(move |tx| {
            let new = NewBackup {
                database: 3,
                database_name: "main".into(),
                logical: "shop".into(),
                owner: "app".into(),
                roles: Vec::new(),
                server_version: 17,
                expected_bytes: 0,
                cause: Cause::Schedule,
                attempt: 1,
                due: UnixMs(1),
            };
            let id = this.insert(tx, &new, UnixMs(1))?;
            store::set_state(tx, id, BackupState::Failed, None, UnixMs(1))?;
            store::set_state(tx, id, state, None, UnixMs(1))?;
            store::set_upload(tx, id, mark)?;
            let set = "UPDATE backups SET target_id = ?2 WHERE id = ?1";
            tx.execute(set, rusqlite::params![id, place])?;
            let key = store::by_id(tx, id)?.map(|b| b.key);
            Ok((id, key.unwrap_or_default()))
        })
        .await;
    made.unwrap()
}

async fn ids(db: &Db) -> Vec<i64> {
    let all: Result<Vec<i64>, DbError> = db
        .read(|c| {
            let mut statement = c.prepare("SELECT id FROM backups ORDER BY id")?;
            let rows = statement.query_map([], |r| r.get(0))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await;
    all.unwrap()
}

#[tokio::test]
async fn f6_a_dead_target_holds_up_no_other_and_is_told() {
    let a = a_box().await;
    let (endpoint, asked) = dead_store().await;
    let usb = tempfile::tempdir().unwrap();
    let away = add(&a, target("away", "s3://dumps", Some(endpoint))).await;
    let place = format!("dir://{}", usb.path().display());
    let disk = add(&a, target("usb", &place, None)).await;

    let mut stays = Vec::new();
    for _ in 0..2 {
        stays.push(row(&a, Some(away), BackupState::Expired, None).await.0);
    }
    // Older than failed ones are shown: its mark is all that knows of what it left.
    let marked = row(&a, Some(away), BackupState::Failed, Some("-")).await.0;
    stays.push(marked);
    let (refused, key) = row(&a, Some(disk), BackupState::Expired, None).await;
    stays.push(refused);
    // A folder in an object's place cannot be removed as one.
    let in_place = usb.path().join(key);
    std::fs::create_dir_all(in_place.join("x")).unwrap();
    let (_, gone) = row(&a, Some(disk), BackupState::Expired, None).await;
    let gone = usb.path().join(gone);
    std::fs::write(&gone, "dump").unwrap();
    let over = row(&a, Some(disk), BackupState::Failed, None).await.0;

    let now = UnixMs::now();
    let error = a.backups.retain(3, now).await.unwrap_err();
    assert!(
        error.to_string().contains("store cannot be used"),
        "{error}"
    );
    assert!(!gone.exists(), "a dead target kept another's object");
    assert_eq!(ids(&a.db).await, stays);
    assert!(!stays.contains(&over), "it left nothing and is old");
    let once = asked.load(Ordering::SeqCst);
    assert!(once <= 6, "one dead target was waited for {once} times");

    let left = a.backups.unremoved().await.unwrap();
    let told: Vec<_> = left
        .iter()
        .map(|l| (l.target.as_deref(), l.count, l.since))
        .collect();
    assert_eq!(told, [(Some("away"), 3, now), (Some("usb"), 1, now)]);
    assert!(left[0].why.as_ref().unwrap().contains("127.0.0.1"));

    // The first time is remembered.
    let later = now.plus(HOUR);
    let again: Result<(), DbError> =
        a.db.write(move |tx| store_open::set_unremoved(tx, &[marked], later))
            .await;
    again.unwrap();
    assert_eq!(a.backups.unremoved().await.unwrap()[0].since, now);

    // What a removed server left is removed with another's.
    let elsewhere: Result<(), DbError> =
        a.db.write(move |tx| {
            store_targets::delete(tx, away)?;
            tx.execute("UPDATE backups SET database_id = 99", [])?;
            Ok(())
        })
        .await;
    elsewhere.unwrap();
    std::fs::remove_dir_all(in_place).unwrap();
    // A disk that is not mounted gives nothing up, and is not believed to hold nothing.
    let unmounted = usb.path().with_extension("away");
    std::fs::rename(usb.path(), &unmounted).unwrap();
    let error = a.backups.retain(3, later).await.unwrap_err();
    assert!(error.to_string().contains("mount its disk"), "{error}");
    assert_eq!(ids(&a.db).await, [refused]);
    std::fs::rename(&unmounted, usb.path()).unwrap();
    a.backups.retain(3, later).await.unwrap();
    assert_eq!(ids(&a.db).await, Vec::<i64>::new());
    assert_eq!(a.backups.unremoved().await.unwrap(), []);
}

/// The oldest of many, by now past their time, is being restored; into which server is all the same.
#[tokio::test]
async fn f6_what_is_being_restored_is_not_removed_meanwhile() {
    let a = a_box().await;
    std::fs::create_dir(a.folder.path().join("backups")).unwrap();
    let mut made = Vec::new();
    for _ in 0..40 {
        made.push(row(&a, None, BackupState::Stored, None).await.0);
    }
    let restored = made[0];
    let asked: Result<i64, DbError> =
        a.db.write(move |tx| {
            // A day apart each from 11 March 2026 on: of the first ones none is the last of its week.
            tx.execute(
                "UPDATE backups SET created_ms = 1773144000000 + id * 86400000",
                [],
            )?;
            let of = store::by_id(tx, restored)?.unwrap();
            let names = |_| ("fresh".to_owned(), "kept".to_owned());
            store::insert_restore(tx, &of, 99, names, UnixMs(1))
        })
        .await;
    let restore = asked.unwrap();
    let now = UnixMs::now();
    a.backups.retain(3, now).await.unwrap();
    let left = ids(&a.db).await;
    assert!(left.contains(&restored), "{left:?}");
    assert!(!left.contains(&made[1]), "{left:?}");
    let over: Result<(), DbError> = a
        .db
        .write(move |tx| store::set_restore_state(tx, restore, RestoreState::Done, None, UnixMs(2)))
        .await;
    over.unwrap();
    a.backups.retain(3, now).await.unwrap();
    assert!(!ids(&a.db).await.contains(&restored));
}
