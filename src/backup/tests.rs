//! The schedule at work, with servers that need no engine.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::ports::{Answer, Found, Part, Server, Servers, Traffic, Trouble};
use super::{Backups, Parts};
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
struct OneServer;

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
        Box::pin(async {
            Ok(vec![Server {
                id: 3,
                name: "main".into(),
                version: 17,
                ready: true,
            }])
        })
    }
    fn parts(&self, _: i64) -> Answer<'_, Vec<Part>> {
        refuse()
    }
    fn side(&self, _: i64, _: String, _: Vec<String>, _: String) -> Answer<'_, Spec> {
        refuse()
    }
    fn dbname(&self, part: &str) -> String {
        part.to_owned()
    }
    fn derived(&self, base: &str, suffix: &str) -> String {
        format!("{base}{suffix}")
    }
    fn make_fresh(&self, _: i64, _: String, _: String, _: String) -> Answer<'_, ()> {
        refuse()
    }
    fn found(&self, _: i64, _: String) -> Answer<'_, Found> {
        refuse()
    }
    fn swap(&self, _: i64, _: String, _: String, _: String) -> Answer<'_, ()> {
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
    fn pause(&self, _: Vec<i64>, _: Duration) -> Answer<'_, ()> {
        refuse()
    }
    fn resume(&self, _: Vec<i64>) -> Answer<'_, ()> {
        refuse()
    }
}

struct Machine {
    folder: tempfile::TempDir,
    db: Db,
    backups: Backups,
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
    let backups = Backups::new(Parts {
        db: db.clone(),
        key,
        config,
        installation,
        data_dir: folder.path().to_owned(),
        client: HttpClient::new(None).unwrap(),
        supervisor,
        servers: Arc::new(OneServer),
        traffic: Arc::new(OneServer),
    });
    Machine {
        folder,
        db,
        backups,
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
    let seen = a.backups.attention(born.plus(30 * HOUR)).await.unwrap();
    assert!(seen[0].what.contains("never had a good backup"), "{seen:?}");
    assert!(seen[1].what.contains("own disk"), "{seen:?}");
    assert!(seen[1].remedy.contains("freehold target add"));
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
