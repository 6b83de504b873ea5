//! The schedule at work, with servers that need no engine.

mod cancelled;
mod cut_off;
mod gone;
mod retain;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};

use super::ports::{Answer, Found, Part, Server, Servers, Traffic, Trouble};
use super::row::{ALL_PARTS, Cause, NewBackup};
use super::{BackupState, Backups, Parts, RestoreState, store};
use crate::base::clock::UnixMs;
use crate::base::ids::InstallationId;
use crate::base::secret::MasterKey;
use crate::base::shutdown::{Shutdown, Tasks};
use crate::config::Config;
use crate::db::{Db, DbError, Kind};
use crate::docker::Engine;
use crate::events;
use crate::http_client::HttpClient;
use crate::supervise::{Spec, Supervisor};

/// One server, `main`, with one part; it cannot be dumped.
struct OneServer {
    ready: AtomicBool,
    removed: AtomicBool,
    /// A side container is refused once this is open.
    gate: Semaphore,
    /// One was asked for.
    asked: AtomicBool,
    /// Refuses side containers for now only.
    away: AtomicBool,
    /// What it says is on it; it says nothing where that is empty.
    parts: Mutex<Vec<Part>>,
}

fn refuse<T: Send + 'static>() -> Answer<'static, T> {
    Box::pin(async {
        Err(Trouble {
            why: "there is no engine here".into(),
            passing: false,
        })
    })
}

impl Servers for OneServer {
    fn list(&self) -> Answer<'_, Vec<Server>> {
        let all = match self.removed.load(Ordering::SeqCst) {
            true => Vec::new(),
            false => vec![Server {
                id: 3,
                name: "main".into(),
                version: 17,
                ready: self.ready.load(Ordering::SeqCst),
            }],
        };
        Box::pin(async { Ok(all) })
    }
    fn parts(&self, _: i64) -> Answer<'_, Vec<Part>> {
        let parts = self.parts.lock().unwrap().clone();
        match parts.is_empty() {
            true => refuse(),
            false => Box::pin(async { Ok(parts) }),
        }
    }
    fn side(&self, _: i64, _: String, _: Vec<String>, _: String) -> Answer<'_, Spec> {
        Box::pin(async {
            self.asked.store(true, Ordering::SeqCst);
            drop(self.gate.acquire().await);
            match self.away.load(Ordering::SeqCst) {
                true => Err(Trouble {
                    why: "it does not answer".into(),
                    passing: true,
                }),
                false => refuse().await,
            }
        })
    }
    fn end_sessions(&self, _: i64, _: &'static str, _: String) -> Answer<'_, ()> {
        Box::pin(async { Ok(()) })
    }
    fn dbname(&self, part: &str) -> String {
        part.to_owned()
    }
    fn derived(&self, base: &str, suffix: &str) -> String {
        format!("{base}{suffix}")
    }
    fn make_fresh(&self, _: i64, _: String, _: String, _: (String, Vec<String>)) -> Answer<'_, ()> {
        Box::pin(async {
            self.asked.store(true, Ordering::SeqCst);
            drop(self.gate.acquire().await);
            refuse().await
        })
    }
    fn found(&self, _: i64, _: String) -> Answer<'_, Found> {
        refuse()
    }
    fn swap(&self, _: i64, _: String, _: String, _: String) -> Answer<'_, ()> {
        refuse()
    }
    fn open_doors(&self, _: i64, _: String) -> Answer<'_, ()> {
        refuse()
    }
    fn drop_part(&self, _: i64, _: String) -> Answer<'_, ()> {
        refuse()
    }
    fn apps(&self, _: i64, _: String) -> Answer<'_, Vec<i64>> {
        refuse()
    }
}

impl Traffic for OneServer {
    fn pause(&self, _: String, _: Vec<i64>, _: Duration) -> Answer<'_, ()> {
        refuse()
    }
    fn resume(&self, _: String) -> Answer<'_, ()> {
        refuse()
    }
}

struct Machine {
    folder: tempfile::TempDir,
    db: Db,
    backups: Backups,
    server: Arc<OneServer>,
    _config: watch::Sender<Arc<Config>>,
}

async fn a_box() -> Machine {
    let folder = tempfile::tempdir().unwrap();
    let db = Db::open(&folder.path().join("state.db"), Kind::State).unwrap();
    let key = Arc::new(MasterKey::from_bytes(&[7; 32]).unwrap());
    let engine = Engine::connect(&format!("unix://{}/none.sock", folder.path().display())).unwrap();
    let installation = InstallationId::parse("box").unwrap();
    let tasks = Tasks::new(Shutdown::new());
    let supervisor = Supervisor::start(
        engine,
        db.clone(),
        Arc::clone(&key),
        &installation,
        &Config::default(),
        &tasks,
    )
    .await
    .unwrap();
    let (sender, config) = watch::channel(Arc::new(Config::default()));
    let server = Arc::new(OneServer {
        ready: AtomicBool::new(true),
        removed: AtomicBool::new(false),
        gate: Semaphore::new(1),
        asked: AtomicBool::new(false),
        away: AtomicBool::new(false),
        parts: Mutex::default(),
    });
    let backups = Backups::new(Parts {
        db: db.clone(),
        key,
        config,
        installation,
        data_dir: folder.path().to_owned(),
        client: HttpClient::new(None).unwrap(),
        supervisor,
        servers: server.clone(),
        traffic: server.clone(),
    });
    Machine {
        folder,
        db,
        backups,
        server,
        _config: sender,
    }
}

async fn told(db: &Db, kind: &str) -> usize {
    let all = db
        .read(|c| events::newest(c, Some("database:3"), 100))
        .await;
    let all: Vec<events::Event> = all.unwrap();
    all.iter().filter(|e| e.kind == kind).count()
}

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn f6_a_schedule_from_birth_and_an_alarm_when_a_good_backup_is_missing() {
    let a = a_box().await;
    let born = UnixMs::now();
    let next = a.backups.look(born).await.unwrap().unwrap();
    assert!(next > born && next <= born.plus(24 * HOUR));
    let shown = a.backups.schedule(3).await.unwrap();
    assert_eq!(shown.next_due, next);
    assert!((120..300).contains(&shown.minute), "{}", shown.minute);

    // Its time comes: the work is queued once, and the next day's time is set.
    let after = a.backups.look(next).await.unwrap().unwrap();
    assert!(after > next);
    let queued: i64 =
        a.db.read(|c| {
            let count = "SELECT count(*) FROM jobs WHERE kind = ?1";
            Ok::<_, DbError>(c.query_row(count, [super::PLAN_JOB], |r| r.get(0))?)
        })
        .await
        .unwrap();
    assert_eq!(queued, 1);
    assert_eq!(told(&a.db, "backup.missing").await, 0);

    // Nothing good comes of it: told once a day.
    for (hours, times) in [(28, 1), (29, 1), (53, 2)] {
        a.backups.look(born.plus(hours * HOUR)).await.unwrap();
        assert_eq!(told(&a.db, "backup.missing").await, times, "{hours} h");
    }
    let seen = a.backups.standings(3, born).await.unwrap();
    assert!(seen.len() == 1 && seen[0].logical.is_none(), "{seen:?}");
    assert!(seen[0].newest.is_none() && seen[0].since == born);
}

/// Writes the rows of one night's dumps down, as the loop does, each with how it ended.
async fn a_night(a: &Machine, at: UnixMs, ended: &'static [(&'static str, BackupState)]) {
    let this = a.backups.clone();
    let written: Result<(), DbError> =
        a.db.write(move |tx| {
            for (logical, state) in ended {
                let new = NewBackup {
                    database: 3,
                    database_name: "main".into(),
                    logical: (*logical).into(),
                    owner: "app".into(),
                    roles: Vec::new(),
                    server_version: 17,
                    expected_bytes: 0,
                    cause: Cause::Schedule,
                    attempt: 1,
                    due: at,
                };
                let id = this.insert(tx, &new, at)?;
                let why = (*state == BackupState::Failed).then_some("its disk is full");
                store::set_state(tx, id, *state, why, at)?;
            }
            Ok(())
        })
        .await;
    written.unwrap();
}

async fn missing_words(db: &Db) -> Vec<String> {
    let all = db
        .read(|c| events::newest(c, Some("database:3"), 100))
        .await;
    let all: Vec<events::Event> = all.unwrap();
    let mut words: Vec<String> = all
        .into_iter()
        .filter(|e| e.kind == "backup.missing")
        .map(|e| e.message)
        .collect();
    words.reverse();
    words
}

#[tokio::test]
async fn f6_a_database_that_fails_every_night_is_told_of_though_its_neighbour_is_stored() {
    use BackupState::{Failed, Stored};
    let a = a_box().await;
    let born = UnixMs::now().minus(300 * HOUR);
    a.backups.look(born).await.unwrap();
    a_night(&a, born, &[("blog", Stored), ("shop", Stored)]).await;
    for night in 1..=3 {
        let ended = &[("blog", Stored), ("shop", Failed)];
        a_night(&a, born.plus(night * 24 * HOUR), ended).await;
    }
    let now = born.plus(75 * HOUR);
    a.backups.look(now).await.unwrap();
    let of_shop = "The database shop on main has had no good backup for 75 hours.";
    assert_eq!(missing_words(&a.db).await, [of_shop]);
    let standings = a.backups.standings(3, born).await.unwrap();
    let newest = |at: usize| standings[at].newest.as_ref().and_then(|b| b.finished);
    assert_eq!(newest(0), Some(born.plus(72 * HOUR)));
    assert_eq!(newest(1), Some(born));
    assert!(standings[0].failed.is_none() && standings[1].failed.is_some());

    // The neighbour's turn comes while the first was told an hour ago; both are said by name.
    let later = born.plus((72 + 28) * HOUR);
    a.backups.look(later.minus(2 * HOUR)).await.unwrap();
    a.backups.look(later).await.unwrap();
    let told = missing_words(&a.db).await;
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(
        told[1].contains("blog on main has had no good backup for 28 hours"),
        "{told:?}"
    );
    assert!(told[2].contains("shop on main"), "{told:?}");

    // A database that is dropped is no longer waited for from the next night on.
    a_night(&a, later, &[("blog", Stored)]).await;
    a.backups.look(later.plus(26 * HOUR)).await.unwrap();
    assert_eq!(missing_words(&a.db).await.len(), 3);
}

#[tokio::test]
async fn f8_what_nothing_works_on_any_more_is_ended_in_words_and_tried_again() {
    let a = a_box().await;
    let born = UnixMs::now();
    a_night(
        &a,
        born,
        &[
            ("blog", BackupState::Running),
            ("shop", BackupState::Stored),
        ],
    )
    .await;
    let asked: Result<i64, DbError> =
        a.db.write(move |tx| {
            store::set_check(tx, 2, "running", None, born)?;
            let of = store::by_id(tx, 2)?.unwrap();
            let names = |_| ("fresh".to_owned(), "kept".to_owned());
            let restore = store::insert_restore(tx, &of, 3, names, born)?;
            store::set_restore_state(tx, restore, RestoreState::Swapping, None, born)?;
            Ok(restore)
        })
        .await;
    let restore = asked.unwrap();
    // While its job is open, the dump is its job's.
    a.backups.reap().await;
    assert_eq!(a.backups.find(1).await.unwrap().state, BackupState::Running);
    assert_eq!(a.backups.find(2).await.unwrap().check_state, None);
    let ended = a.backups.find_restore(restore).await.unwrap();
    assert_eq!(ended.state, RestoreState::Failed);
    assert!(ended.reason.unwrap().contains("broke off unexpectedly"));
    let all =
        a.db.read(|c| events::newest(c, Some("database:3"), 9))
            .await;
    let all: Vec<events::Event> = all.unwrap();
    let said = all.iter().find(|e| e.kind == "restore.failed").unwrap();
    assert!(
        said.message.contains("shop may refuse connections"),
        "{}",
        said.message
    );

    // Its job panicked.
    let gone: Result<(), DbError> =
        a.db.write(|tx| {
            tx.execute("UPDATE jobs SET state = 'failed'", [])?;
            Ok(())
        })
        .await;
    gone.unwrap();
    a.backups.reap().await;
    let failed = a.backups.find(1).await.unwrap();
    assert_eq!(failed.state, BackupState::Failed);
    assert!(failed.reason.unwrap().contains("broke off unexpectedly"));
    let retry = a.backups.find(3).await.unwrap();
    assert_eq!(
        (retry.cause, retry.attempt, retry.logical.as_str()),
        (Cause::Retry, 2, "blog")
    );
    a.backups.reap().await;
    assert_eq!(a.backups.find(3).await.unwrap().state, BackupState::Queued);
}

#[tokio::test]
async fn f6_a_night_that_could_not_be_begun_is_a_failure_of_every_database() {
    let a = a_box().await;
    let born = UnixMs::now().minus(300 * HOUR);
    a.backups.look(born).await.unwrap();
    a_night(&a, born, &[("blog", BackupState::Stored)]).await;
    a_night(
        &a,
        born.plus(24 * HOUR),
        &[(ALL_PARTS, BackupState::Failed)],
    )
    .await;
    let seen = a.backups.standings(3, born).await.unwrap();
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert_eq!(seen[0].logical.as_deref(), Some("blog"));
    assert!(seen[0].newest.is_some());
    let failed = seen[0].failed.as_ref().unwrap();
    assert_eq!(failed.reason.as_deref(), Some("its disk is full"));
    a.backups.look(born.plus(28 * HOUR)).await.unwrap();
    let told = missing_words(&a.db).await;
    assert!(told[0].contains("blog on main has had no good"), "{told:?}");
}

#[tokio::test]
async fn f6_targets_are_tried_before_they_are_added_and_sealed() {
    use super::target::NewTarget;
    use crate::base::ids::TargetName;
    use crate::base::secret::Secret;
    use crate::objects::S3Options;
    let a = a_box().await;
    let target = |name: &str, place: String| NewTarget {
        name: TargetName::parse(name).unwrap(),
        place,
        options: S3Options::default(),
        access_key: None,
        secret_key: None::<Secret>,
        make_default: false,
    };
    let missing = format!("dir://{}/usb", a.folder.path().display());
    let own = a
        .backups
        .add_target(target("own", missing.clone()), "ada")
        .await
        .unwrap_err();
    assert!(own.to_string().contains("own folder"), "{own}");
    let elsewhere = tempfile::tempdir().unwrap();
    let place = format!("dir://{}", elsewhere.path().display());
    let none = a
        .backups
        .add_target(target("usb", format!("{place}/usb")), "ada")
        .await
        .unwrap_err();
    assert!(none.to_string().contains("mount its disk"), "{none}");
    assert!(a.backups.targets().await.unwrap().is_empty());
    let bucket = a
        .backups
        .add_target(target("s3", "s3://bucket".into()), "ada")
        .await
        .unwrap_err();
    assert!(
        bucket.to_string().contains("FREEHOLD_SECRET_KEY"),
        "{bucket}"
    );

    let added = a
        .backups
        .add_target(target("usb", place.clone()), "ada")
        .await
        .unwrap();
    assert!(added.is_default);
    let twice = a
        .backups
        .add_target(target("usb", place), "ada")
        .await
        .unwrap_err();
    assert!(twice.to_string().contains("already"), "{twice}");
    a.backups.remove_target("usb", false, "ada").await.unwrap();
    assert!(a.backups.targets().await.unwrap().is_empty());
}
