//! The whole way: changes, damage, and what is there afterwards.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use rusqlite::Connection;

use super::super::{Db, DbError, Kind};
use super::*;

/// A folder with a database in it.
pub(super) struct Box {
    pub(super) folder: tempfile::TempDir,
}

impl Box {
    pub(super) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.folder.path().join("state.db")
    }

    pub(super) fn open(&self) -> Db {
        Db::open(&self.path(), Kind::State).unwrap()
    }

    pub(super) fn files(&self, prefix: &str) -> Vec<PathBuf> {
        let read = |folder: &Path| -> Vec<PathBuf> {
            fs::read_dir(folder)
                .map(|entries| entries.map(|e| e.unwrap().path()).collect())
                .unwrap_or_default()
        };
        let mut all = read(self.folder.path());
        all.extend(read(&folder(&self.path())));
        all.retain(|path| {
            path.file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .starts_with(prefix)
        });
        all.sort();
        all
    }

    /// Closes the database, as a daemon that ends does, and waits until its files are left alone.
    pub(super) async fn close(&self, db: Db) {
        drop(db);
        until_closed(self.folder.path());
        // A reader may have been the last to let go of it: then the log is still there.
        let wal = self.path().with_extension("db-wal");
        if wal.exists() {
            let connection = Connection::open(self.path()).unwrap();
            connection
                .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
                .unwrap();
            drop(connection);
        }
        assert!(!wal.exists());
    }

    /// Ends it as kill -9 does: the log stays as it is.
    pub(super) async fn killed(&self, db: Db) {
        let wal = fs::read(self.path().with_extension("db-wal")).unwrap();
        let main = fs::read(self.path()).unwrap();
        self.close(db).await;
        fs::write(self.path(), main).unwrap();
        fs::write(self.path().with_extension("db-wal"), wal).unwrap();
    }
}

/// The writer's thread lets go of its files a moment after the last handle. A test that keeps one itself waits in vain.
pub fn until_closed(folder: &Path) {
    let is_open = || {
        let all = fs::read_dir("/proc/self/fd").unwrap();
        all.flatten()
            .filter_map(|fd| fs::read_link(fd.path()).ok())
            .filter(|file| file.parent() == Some(folder))
            .any(|file| !file.to_string_lossy().ends_with("(deleted)"))
    };
    let begun = std::time::Instant::now();
    while is_open() && begun.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub(super) async fn set(db: &Db, key: &'static str, value: &str) -> Result<(), DbError> {
    db.set_meta(key, value.to_owned()).await
}

/// Everything in a database but what tells of its own keeping.
pub(super) fn dump(path: &Path) -> Vec<String> {
    let connection = Connection::open(path).unwrap();
    let mut tables = connection
        .prepare(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT IN
             ('recoveries', 'recovery_losses', 'sqlite_sequence') ORDER BY name",
        )
        .unwrap();
    let names: Vec<String> = tables
        .query_map([], |r| r.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let mut lines = Vec::new();
    for name in names {
        let mut rows = connection
            .prepare(&format!("SELECT * FROM {name}"))
            .unwrap();
        let columns = rows.column_count();
        let read = rows.query_map([], |row| {
            let cells: Vec<String> = (0..columns)
                .map(|n| format!("{:?}", row.get_ref(n).unwrap()))
                .collect();
            Ok(format!("{name} {}", cells.join(" ")))
        });
        lines.extend(read.unwrap().map(Result::unwrap));
    }
    lines
}

#[tokio::test]
async fn n7_a_deleted_state_is_there_again_with_every_acknowledged_change() {
    let place = Box::new();
    let db = place.open();
    set(&db, "installation", "abc").await.unwrap();
    db.snapshot(UnixMs::now()).await.unwrap();
    set(&db, "a", "it's \"x\"\n;").await.unwrap();
    set(&db, "a", "second").await.unwrap();
    assert!(db.recoveries().await.unwrap().is_empty());
    place.close(db).await;
    let before = dump(&place.path());
    fs::remove_file(place.path()).unwrap();

    let db = place.open();
    let told = db.recoveries().await.unwrap();
    assert_eq!(told.len(), 1);
    assert!(told[0].losses.is_empty(), "{:?}", told[0].losses);
    assert_eq!((told[0].why.as_str(), told[0].replayed), ("it was gone", 2));
    assert!(told[0].aside.is_none() && !told[0].told);
    assert_eq!(db.meta("a").await.unwrap().as_deref(), Some("second"));
    // And it goes on, through another one.
    set(&db, "b", "later").await.unwrap();
    place.close(db).await;
    let now = dump(&place.path());
    assert_eq!(
        now.iter().filter(|line| line.starts_with("meta")).count(),
        before
            .iter()
            .filter(|line| line.starts_with("meta"))
            .count()
            + 1
    );
    fs::remove_file(place.path()).unwrap();
    let db = place.open();
    assert_eq!(db.recoveries().await.unwrap().len(), 2);
    place.close(db).await;
    assert_eq!(dump(&place.path()), now);
}

#[tokio::test]
async fn n7_a_torn_page_is_found_and_the_damaged_file_is_kept() {
    let place = Box::new();
    let db = place.open();
    let filled: Result<(), DbError> = db
        .write(|tx| {
            for n in 0..2_000 {
                tx.execute(
                    "INSERT INTO events (at_ms, kind, level, subject, message) VALUES (?1, 'k', 'info', 's', 'a sentence')",
                    [n],
                )?;
            }
            Ok(())
        })
        .await;
    filled.unwrap();
    place.close(db).await;
    let before = dump(&place.path());
    let file = fs::File::options().write(true).open(place.path()).unwrap();
    let half = file.metadata().unwrap().len() / 2;
    file.write_all_at(&[0x5a; 8_192], half / 4_096 * 4_096)
        .unwrap();

    let db = place.open();
    let told = db.recoveries().await.unwrap().remove(0);
    assert!(told.why.contains("damaged"), "{}", told.why);
    assert!(told.losses.is_empty(), "{:?}", told.losses);
    let aside = told.aside.unwrap();
    let kept = fs::read(&aside).unwrap();
    assert!(kept.windows(8_192).any(|w| w == [0x5a; 8_192]));
    place.close(db).await;
    assert_eq!(dump(&place.path()), before);
}

#[tokio::test]
async fn n7_a_log_that_was_cut_is_noticed_though_sqlite_finds_nothing_wrong() {
    let place = Box::new();
    place.close(place.open()).await;
    let db = place.open();
    for n in 0..20 {
        set(&db, "n", &n.to_string()).await.unwrap();
    }
    place.killed(db).await;
    let wal = place.path().with_extension("db-wal");
    let length = fs::metadata(&wal).unwrap().len();
    let file = fs::File::options().write(true).open(&wal).unwrap();
    file.set_len(length / 2).unwrap();

    let db = place.open();
    let told = db.recoveries().await.unwrap().remove(0);
    assert!(
        told.why.contains("acknowledged changes were not in it"),
        "{}",
        told.why
    );
    assert_eq!(db.meta("n").await.unwrap().as_deref(), Some("19"));
    let aside = place.files("state.db.damaged");
    assert!(aside.iter().any(|f| f.to_str().unwrap().ends_with("-wal")));
    assert!(aside.len() >= 2, "the file and its log: {aside:?}");
}

#[tokio::test]
async fn n7_a_daemon_that_was_killed_is_not_damage() {
    let place = Box::new();
    let db = place.open();
    set(&db, "a", "1").await.unwrap();
    place.killed(db).await;
    let db = place.open();
    assert!(db.recoveries().await.unwrap().is_empty());
    place.close(db).await;
    // Killed between the journal and the commit: nobody was answered, and nothing is made of it.
    let mut journal = Journal::after(&folder(&place.path()), 1, None);
    let change = Change {
        at_ms: UnixMs(1),
        schema: 1,
        about: vec!["meta".into()],
        rows: 1,
        statements: vec!["INSERT INTO meta (key, value) VALUES ('b', '2')".into()],
    };
    journal.append(&change).unwrap();
    let db = place.open();
    assert!(db.recoveries().await.unwrap().is_empty());
    assert_eq!(db.meta("b").await.unwrap().as_deref(), Some("2"));
    set(&db, "c", "3").await.unwrap();
    place.close(db).await;
    fs::remove_file(place.path()).unwrap();
    let db = place.open();
    assert!(db.recoveries().await.unwrap()[0].losses.is_empty());
    assert_eq!(db.meta("b").await.unwrap().as_deref(), Some("2"));
    assert_eq!(db.meta("c").await.unwrap().as_deref(), Some("3"));
}

#[tokio::test]
async fn n7_what_cannot_be_brought_back_is_listed_by_name() {
    let place = Box::new();
    let db = place.open();
    for (key, about) in [("a", "app:1"), ("b", "app:2"), ("c", "app:3")] {
        let noted: Result<(), DbError> = db
            .write(move |tx| {
                super::note(about, "it was set");
                tx.execute("INSERT INTO meta (key, value) VALUES (?1, 'v')", [key])?;
                Ok(())
            })
            .await;
        noted.unwrap();
    }
    let hangs: Result<(), DbError> = db
        .write(|tx| {
            super::note("app:9", "shop was renamed");
            tx.execute("UPDATE meta SET value = 'w' WHERE key = 'b'", [])?;
            Ok(())
        })
        .await;
    hangs.unwrap();
    place.close(db).await;
    // The disk took a part of the journal with the database: the second record.
    let path = place.files("journal-").remove(0);
    let bytes = fs::read(&path).unwrap();
    let at = bytes.windows(5).position(|w| w == b"app:2").unwrap();
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.write_all_at(&[0xff; 16], at as u64).unwrap();
    fs::remove_file(place.path()).unwrap();

    let db = place.open();
    let told = db.recoveries().await.unwrap().remove(0);
    assert_eq!(told.losses.len(), 3, "{:?}", told.losses);
    assert_eq!(told.losses[0], "Change 2 cannot be read in the journal.");
    assert!(
        told.losses[1].contains("app:3: it was set")
            && told.losses[2].contains("app:9: shop was renamed"),
        "{:?}",
        told.losses
    );
    // What came later is not done to what is not there: the state is that of one moment.
    assert!(db.meta("a").await.unwrap().is_some() && db.meta("c").await.unwrap().is_none());
    // What runs may carry the numbers of what was lost.
    let floor: i64 = db
        .read(|c| {
            Ok::<_, DbError>(c.query_row("SELECT containers FROM recoveries", [], |r| r.get(0))?)
        })
        .await
        .unwrap();
    assert!(floor >= 1_000);
}

#[tokio::test]
async fn n7_an_older_snapshot_does_when_the_newest_is_damaged_too() {
    let place = Box::new();
    let db = place.open();
    for n in 1..=5 {
        set(&db, "n", &n.to_string()).await.unwrap();
        db.snapshot(UnixMs(n)).await.unwrap();
    }
    set(&db, "n", "6").await.unwrap();
    let snapshots = place.files("snapshot-");
    assert_eq!(snapshots.len(), 3, "three are kept: {snapshots:?}");
    assert_eq!(
        place.files("journal-").len(),
        3,
        "and the journal since the oldest"
    );
    place.close(db).await;
    fs::remove_file(place.path()).unwrap();
    for newer in &snapshots[1..] {
        let file = fs::File::options().write(true).open(newer).unwrap();
        file.write_all_at(b"!", 5_000).unwrap();
    }
    let db = place.open();
    let told = db.recoveries().await.unwrap().remove(0);
    assert_eq!((told.snapshot, told.replayed), (UnixMs(3), 3));
    assert_eq!(db.meta("n").await.unwrap().as_deref(), Some("6"));
    place.close(db).await;
    // Without any that is whole it is not guessed.
    for snapshot in place.files("snapshot-") {
        fs::write(snapshot, "nothing").unwrap();
    }
    fs::remove_file(place.path()).unwrap();
    let Err(error) = Db::open(&place.path(), Kind::State) else {
        panic!("opened from nothing");
    };
    assert!(
        error.to_string().contains("no snapshot of it can be used"),
        "{error}"
    );
    assert!(!place.path().exists());
}

#[tokio::test]
async fn n7_a_recovery_that_broke_off_is_done_again() {
    let place = Box::new();
    let db = place.open();
    set(&db, "a", "1").await.unwrap();
    place.close(db).await;
    // The damaged file was moved aside, its successor stands beside, half written.
    fs::rename(place.path(), place.folder.path().join("state.db.damaged-1")).unwrap();
    fs::write(place.path().with_extension("recovering"), "half").unwrap();
    let db = place.open();
    assert_eq!(db.recoveries().await.unwrap().len(), 1);
    assert_eq!(db.meta("a").await.unwrap().as_deref(), Some("1"));
    assert!(!place.path().with_extension("recovering").exists());
}

#[tokio::test]
async fn n7_a_journal_that_cannot_be_written_fails_the_change_and_not_the_daemon() {
    let place = Box::new();
    let db = place.open();
    db.snapshot(UnixMs(1)).await.unwrap();
    let safe = folder(&place.path());
    let away = place.folder.path().join("away");
    fs::rename(&safe, &away).unwrap();
    fs::write(&safe, "a file in its place").unwrap();
    let error = set(&db, "a", "1").await.unwrap_err();
    assert!(
        error.to_string().contains("the change was not made"),
        "{error}"
    );
    assert_eq!(db.meta("a").await.unwrap(), None);
    fs::remove_file(&safe).unwrap();
    fs::rename(&away, &safe).unwrap();
    set(&db, "a", "2").await.unwrap();
    place.close(db).await;
    fs::remove_file(place.path()).unwrap();
    let db = place.open();
    assert_eq!(db.meta("a").await.unwrap().as_deref(), Some("2"));
}

#[tokio::test]
async fn n7_confirmed_is_done_with() {
    let place = Box::new();
    place.close(place.open()).await;
    fs::remove_file(place.path()).unwrap();
    let db = place.open();
    assert_eq!(db.recoveries().await.unwrap().len(), 1);
    let confirmed: Result<usize, DbError> = db.write(|tx| confirm(tx, UnixMs(5))).await;
    assert_eq!(confirmed.unwrap(), 1);
    assert!(db.recoveries().await.unwrap().is_empty());
}

/// Works that wait together: each keeps or loses its own.
#[tokio::test]
async fn n7_works_that_share_a_sync_do_not_share_their_fate() {
    let place = Box::new();
    let db = place.open();
    let (go, gate) = std::sync::mpsc::channel::<()>();
    let held = db.write(move |_| {
        gate.recv().ok();
        Ok::<_, DbError>(())
    });
    let insert = |key: &'static str, bad: u8| {
        let db = db.clone();
        async move {
            db.write(move |tx| {
                tx.execute("INSERT INTO meta (key, value) VALUES (?1, 'v')", [key])?;
                match bad {
                    0 => Ok(()),
                    1 => Err(DbError::Unavailable("no".into())),
                    _ => panic!("on purpose"),
                }
            })
            .await
        }
    };
    let all = async {
        let (a, b, c, d) = tokio::join!(
            insert("a", 0),
            insert("b", 1),
            insert("c", 2),
            insert("d", 0)
        );
        (a.is_ok(), b.is_ok(), c.is_ok(), d.is_ok())
    };
    let open = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        go.send(()).unwrap();
    };
    let (held, all, ()) = tokio::join!(held, all, open);
    held.unwrap();
    assert_eq!(all, (true, false, false, true));
    let number = db.read(held_of).await.unwrap();
    assert_eq!(number, 1, "one record, one sync");
    place.close(db).await;
    let before = dump(&place.path());
    fs::remove_file(place.path()).unwrap();
    place.close(place.open()).await;
    assert_eq!(dump(&place.path()), before);
    assert!(
        before
            .iter()
            .any(|l| l.contains("meta") && l.contains("[100]")),
        "{before:?}"
    );
}

fn held_of(connection: &Connection) -> Result<u64, DbError> {
    Ok(super::held(connection)?.unwrap_or(0))
}

/// The power goes at the sync of the third change. What was acknowledged before is there again, unless a saboteur
/// takes the protection away.
async fn after_a_power_cut(saboteur: Saboteur) -> (usize, Option<String>) {
    let place = Box::new();
    let db = Db::open_with(&place.path(), Kind::State, saboteur.clone()).unwrap();
    let mut acknowledged = 0;
    for n in 1..=4 {
        if n == 3 {
            // Behind it nothing is left to do for the one before.
            db.write(|_| Ok::<_, DbError>(())).await.unwrap();
            saboteur.cut.store(true, Ordering::SeqCst);
        }
        if set(&db, "n", &n.to_string()).await.is_err() {
            break;
        }
        acknowledged = n;
    }
    place.close(db).await;
    for file in place.files("state.db") {
        fs::remove_file(file).unwrap();
    }
    let db = place.open();
    (acknowledged, db.meta("n").await.unwrap())
}

#[tokio::test]
async fn n7_what_was_acknowledged_before_the_power_went_is_there_again() {
    let (acknowledged, found) = after_a_power_cut(Saboteur::default()).await;
    assert_eq!((acknowledged, found.as_deref()), (2, Some("2")));
}

#[tokio::test]
async fn n7_without_the_journal_or_its_sync_acknowledged_changes_are_missed() {
    let (acknowledged, found) = after_a_power_cut(Saboteur {
        acknowledged_before_sync: true,
        ..Saboteur::default()
    })
    .await;
    assert_eq!((acknowledged, found.as_deref()), (3, Some("2")));
    let (acknowledged, found) = after_a_power_cut(Saboteur {
        no_journal: true,
        ..Saboteur::default()
    })
    .await;
    assert_eq!((acknowledged, found), (4, None));
}

/// What a change costs, with the journal and without; figures alone, nothing is asked of them.
#[tokio::test]
#[ignore = "figures alone: cargo test --lib n7_cost -- --ignored --nocapture"]
async fn n7_cost_of_a_change() {
    let mut told = Vec::new();
    for no_journal in [true, false, true, false] {
        let place = Box::new();
        let saboteur = Saboteur {
            no_journal,
            ..Saboteur::default()
        };
        let db = Db::open_with(&place.path(), Kind::State, saboteur).unwrap();
        let begun = std::time::Instant::now();
        for n in 0..200 {
            set(&db, "n", &n.to_string()).await.unwrap();
        }
        let one = begun.elapsed() / 200;
        let begun = std::time::Instant::now();
        for _ in 0..10 {
            futures_util::future::join_all((0..32).map(|_| set(&db, "n", "x"))).await;
        }
        let many = begun.elapsed() / 320;
        told.push(format!(
            "journal {}: {one:?} alone, {many:?} of 32 together",
            !no_journal
        ));
    }
    println!("{told:#?}");
}

/// An upgrade was taken back with the state from before it; then the upgrade comes again.
#[tokio::test]
async fn n7_an_older_freeholds_state_that_was_put_back_is_used_as_it_is() {
    let place = Box::new();
    let db = place.open();
    set(&db, "k", "of the newer").await.unwrap();
    place.close(db).await;
    fs::remove_file(place.path()).unwrap();
    let mut older = Connection::open(place.path()).unwrap();
    crate::db::migrations::migrate_to(&mut older, Kind::State, 21).unwrap();
    older
        .execute(
            "INSERT INTO meta (key, value) VALUES ('k', 'of the older')",
            [],
        )
        .unwrap();
    drop(older);
    let db = place.open();
    assert_eq!(db.meta("k").await.unwrap().as_deref(), Some("of the older"));
    assert_eq!(db.recoveries().await.unwrap().len(), 0);
    assert_eq!(place.files("state.safe.aside-").len(), 1);
    // Its own snapshots begin.
    assert!(has_snapshots(&place.path()));
}

#[tokio::test]
async fn n7_a_state_that_is_whole_is_used_though_its_journal_cannot_be_read() {
    let place = Box::new();
    let db = place.open();
    set(&db, "k", "v").await.unwrap();
    place.close(db).await;
    fs::remove_dir_all(folder(&place.path())).unwrap();
    // Nobody can list the files of a file, whoever asks.
    fs::write(folder(&place.path()), "").unwrap();
    let opened = Db::open(&place.path(), Kind::State);
    let db = opened.unwrap();
    assert_eq!(db.meta("k").await.unwrap().as_deref(), Some("v"));
}
