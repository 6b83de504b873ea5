//! SQLite: `state.db` (every commit synced) and `metrics.db` (synced at checkpoints).
//!
//! One writer thread a database owns the only writing connection; readers are
//! read-only connections lent to the blocking pool. SQL stands here and in the
//! domains' `store.rs` files, nowhere else. [`Db::commits`] ticks after every
//! commit, which is how events and jobs are noticed without polling.

mod error;
mod examine;
mod meta;
mod migrations;
mod open;
mod reserve;
mod safe;
mod slice;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, Transaction};
use tokio::sync::{Notify, Semaphore, mpsc, oneshot, watch};

pub use error::DbError;
pub use examine::Examination;
pub use safe::has_snapshots;
pub use safe::{
    Recovery, confirm as confirm_recoveries, is_short, mark_told as mark_recovery_told, note,
};
#[cfg(test)]
pub use safe::{Saboteur, until_closed};
pub use slice::Slice;

use crate::base::clock::UnixMs;
use writer::{Job, Message, Writer};

/// Which of the two databases, and so how it is synced and migrated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What should be: never loses an acknowledged change.
    State,
    /// What was measured: may lose the last seconds in a power cut.
    Metrics,
}

/// Readers at work at once, per database.
const READERS: usize = 4;
/// Writes queued before callers wait.
const WRITE_QUEUE: usize = 256;
/// How long a read may wait for one of the readers.
const READ_WAIT: Duration = Duration::from_secs(10);

/// A handle on one database; cheap to clone.
#[derive(Clone)]
pub struct Db {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    kind: Kind,
    writer: mpsc::Sender<Message>,
    readers: Mutex<Vec<Connection>>,
    /// Snapshots are taken one after another.
    snapshots: Mutex<()>,
    permits: Semaphore,
    commits: watch::Sender<u64>,
    /// The journal has grown so far that a snapshot is due.
    large: Arc<Notify>,
}

impl Db {
    /// Opens or makes the database at `path`, migrates it and starts its writer. State is
    /// read through first, and made anew from its last snapshot and its journal where it is damaged, short of
    /// acknowledged changes, or gone ([`Db::recoveries`] says so); figures are checked by [`Db::check`] when there is
    /// time for it.
    ///
    /// # Errors
    /// When the file cannot be opened, is damaged state that nothing brings back, or was written by a newer Freehold.
    pub fn open(path: &Path, kind: Kind) -> Result<Self, DbError> {
        Self::open_with(
            path,
            kind,
            #[cfg(test)]
            Saboteur::default(),
        )
    }

    /// As [`Self::open`], and in tests with something taken away.
    pub(crate) fn open_with(
        path: &Path,
        kind: Kind,
        #[cfg(test)] saboteur: Saboteur,
    ) -> Result<Self, DbError> {
        let reserves = match kind {
            Kind::State => vec![
                reserve::Reserve::to_start_with(path),
                reserve::Reserve::beside(path),
            ],
            Kind::Metrics => Vec::new(),
        };
        if let Some(first) = reserves.first() {
            first.release_if_full();
        }
        let used = match kind {
            Kind::State => safe::usable(path, UnixMs::now())?,
            Kind::Metrics => safe::Usable::default(),
        };
        let mut connection = open::writer(path, kind)?;
        migrations::migrate(&mut connection, kind)?;
        if kind == Kind::State {
            // A log that is lost must not leave an older Freehold's state behind, which is used as it is.
            connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        }
        for reserve in &reserves {
            reserve.keep();
        }
        let large = Arc::new(Notify::new());
        let keeper = match kind {
            Kind::State => Some(safe::Keeper::of(
                &mut connection,
                path,
                &used,
                Arc::clone(&large),
                #[cfg(test)]
                saboteur,
            )?),
            Kind::Metrics => None,
        };
        let (sender, queue) = mpsc::channel(WRITE_QUEUE);
        let writer = Writer {
            connection,
            path: path.to_owned(),
            keeper,
            reserves,
        };
        std::thread::Builder::new()
            .name(format!("db-{}", kind.name()))
            .spawn(move || writer.run(queue))
            .map_err(|e| DbError::Unavailable(format!("the writer thread did not start: {e}")))?;
        Ok(Self {
            inner: Arc::new(Inner {
                path: path.to_owned(),
                kind,
                writer: sender,
                readers: Mutex::new(Vec::new()),
                snapshots: Mutex::new(()),
                permits: Semaphore::new(READERS),
                commits: watch::Sender::new(0),
                large,
            }),
        })
    }

    /// Runs `work` in one write transaction and commits it when it returns `Ok`.
    ///
    /// # Errors
    /// What `work` returned (then nothing was changed), or why the commit failed.
    pub async fn write<T, E>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        let (answer, done) = oneshot::channel();
        let job = Message::Work(Box::new(Job {
            work: Some(work),
            result: None,
            answer,
            inner: Arc::clone(&self.inner),
        }));
        self.inner
            .writer
            .send(job)
            .await
            .map_err(|_| DbError::closed())?;
        done.await
            .map_err(|_| E::from(DbError::Unavailable("a write panicked".into())))?
    }

    /// Runs `work` on a read-only connection, seeing one consistent state.
    ///
    /// # Errors
    /// What `work` returned, or that no reader could be had.
    pub async fn read<T, E>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        let permit = tokio::time::timeout(READ_WAIT, self.inner.permits.acquire())
            .await
            .map_err(|_| DbError::Unavailable("every reader was busy for 10 s".into()))?
            .map_err(|_| DbError::closed())?;
        let inner = Arc::clone(&self.inner);
        let result = tokio::task::spawn_blocking(move || {
            let idle = lock(&inner.readers).pop();
            let connection = match idle {
                Some(connection) => connection,
                None => open::reader(&inner.path)?,
            };
            let result = (|| {
                let view = connection.unchecked_transaction().map_err(DbError::from)?;
                work(&view)
            })();
            lock(&inner.readers).push(connection);
            result
        })
        .await
        .map_err(|e| {
            E::from(if e.is_cancelled() {
                DbError::closed()
            } else {
                DbError::Unavailable("a read panicked".into())
            })
        })?;
        drop(permit);
        result
    }

    /// Takes a snapshot of the whole, from which a damaged file can be made anew, and lets the journal go on in a new
    /// file. Reads all of it, beside what goes on.
    ///
    /// # Errors
    /// That the disk is too full, or that the copy is not whole: then the database is damaged.
    pub async fn snapshot(&self, now: UnixMs) -> Result<(), DbError> {
        let inner = Arc::clone(&self.inner);
        let taken = tokio::task::spawn_blocking(move || {
            let _alone = lock(&inner.snapshots);
            safe::take(&open::reader(&inner.path)?, &inner.path, now)
        });
        taken
            .await
            .map_err(|_| DbError::Unavailable("the snapshot broke off".into()))??;
        self.inner
            .writer
            .send(Message::Turn)
            .await
            .map_err(|_| DbError::closed())
    }

    /// Resolves when the journal has grown so far that a snapshot is due before its hour.
    pub async fn journal_is_large(&self) {
        self.inner.large.notified().await;
    }

    /// Ends the writer after what waits for it, and lets go of the files: when this returns nothing more is written, and
    /// whoever tries to is told so.
    pub async fn close(&self) {
        let (ended, end) = oneshot::channel();
        if self.inner.writer.send(Message::Close(ended)).await.is_ok() && end.await.is_err() {
            tracing::debug!("the writer was gone before it was told to end");
        }
        lock(&self.inner.readers).clear();
    }

    /// Ticks after every commit of this process.
    pub fn commits(&self) -> watch::Receiver<u64> {
        self.inner.commits.subscribe()
    }

    /// Where the file lies.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }
}

/// Whether this program could open the state at `path`, which another one may be using: it can be read, and is of a
/// version that is known here. One that is not there is well.
///
/// # Errors
/// What is in the way.
pub fn look(path: &Path) -> Result<(), DbError> {
    if !path
        .try_exists()
        .map_err(|e| DbError::Unavailable(format!("{}: {e}", path.display())))?
    {
        return Ok(());
    }
    migrations::knows(&open::reader(path)?, Kind::State)
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Metrics => "metrics",
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn db(folder: &tempfile::TempDir) -> Db {
        Db::open(&folder.path().join("state.db"), Kind::State).unwrap()
    }

    #[tokio::test]
    async fn a_refused_write_changes_nothing_and_does_not_tick() {
        let folder = tempfile::tempdir().unwrap();
        let db = db(&folder);
        let before = *db.commits().borrow();
        let refused: Result<(), DbError> = db
            .write(|tx| {
                tx.execute("INSERT INTO meta (key, value) VALUES ('a', 'b')", [])?;
                Err(DbError::Unavailable("no".into()))
            })
            .await;
        assert!(refused.is_err());
        let rows: i64 = db
            .read(|c| Ok::<_, DbError>(c.query_row("SELECT count(*) FROM meta", [], |r| r.get(0))?))
            .await
            .unwrap();
        assert_eq!(rows, 0);
        assert_eq!(*db.commits().borrow(), before);
    }

    #[tokio::test]
    async fn f8_a_write_that_panics_changes_nothing_and_the_next_is_done() {
        let folder = tempfile::tempdir().unwrap();
        let db = db(&folder);
        let insert = "INSERT INTO meta (key, value) VALUES ('a', 'b')";
        let lost: Result<(), DbError> = db
            .write(move |tx| {
                tx.execute(insert, [])?;
                panic!("on purpose")
            })
            .await;
        assert!(lost.unwrap_err().to_string().contains("panicked"));
        let rows: Result<usize, DbError> = db.write(move |tx| Ok(tx.execute(insert, [])?)).await;
        assert_eq!(rows.unwrap(), 1);
    }

    #[tokio::test]
    async fn n4_a_closed_database_is_the_next_ones() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        look(&path).unwrap();
        let first = Db::open(&path, Kind::State).unwrap();
        look(&path).unwrap();
        let set = |db: &Db, value: &str| {
            let (db, value) = (db.clone(), value.to_owned());
            async move { db.set_meta("a", value).await }
        };
        set(&first, "1").await.unwrap();
        first.close().await;
        let second = Db::open(&path, Kind::State).unwrap();
        assert!(set(&first, "2").await.is_err());
        first.close().await;
        set(&second, "3").await.unwrap();
        let held: String = second
            .read(|c| {
                let sql = "SELECT value FROM meta WHERE key = 'a'";
                Ok::<_, DbError>(c.query_row(sql, [], |r| r.get(0))?)
            })
            .await
            .unwrap();
        assert_eq!(held, "3");
        assert!(second.recoveries().await.unwrap().is_empty());
        // What a newer program wrote is not for this one.
        let newer = migrations::known(Kind::State) + 1;
        let raise: Result<(), DbError> = second
            .write(move |tx| Ok(tx.pragma_update(None, "user_version", newer)?))
            .await;
        raise.unwrap();
        assert!(matches!(look(&path), Err(DbError::Newer { .. })));
    }

    #[tokio::test]
    async fn reads_cannot_write() {
        let folder = tempfile::tempdir().unwrap();
        let db = db(&folder);
        let refused: Result<usize, DbError> = db
            .read(|c| Ok(c.execute("INSERT INTO meta (key, value) VALUES ('a', 'b')", [])?))
            .await;
        assert!(refused.is_err());
    }
}
