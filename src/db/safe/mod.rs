//! What keeps `state.db` from being the only copy of itself: snapshots and a journal of changes, in `state.safe/`.
//!
//! Before a transaction is committed its statements stand in the journal, synced; only then it is acknowledged. Every
//! hour a snapshot of the whole is taken and the journal begins anew after it. So whatever becomes of the database,
//! the newest snapshot and the journal since give it back ([`recover`]), and what they cannot give back has a name.
//! Every change has a number; the database holds that of its newest ([`held`]), in the same transaction.

mod capture;
mod journal;
mod notice;
mod nul;
mod record;
mod recover;
mod replay;
#[cfg(test)]
mod saboteur;
mod snapshot;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Transaction};
use tokio::sync::Notify;

use super::{Db, DbError};
use crate::base::clock::UnixMs;
use journal::Journal;
use record::Change;

pub(super) use capture::Capture;
pub use capture::note;
pub(super) use journal::Written;
pub use notice::{Recovery, confirm, is_short, mark_told};
pub(super) use recover::{Usable, usable};
#[cfg(test)]
pub use saboteur::Saboteur;
#[cfg(test)]
pub use tests::until_closed;

/// A snapshot is taken before its hour has come when the journal has grown by this since the last one (bytes).
const LARGE: u64 = 64 * 1024 * 1024;
/// A file of the journal is followed by another from this size on (bytes): one is read as a whole.
const FILE: u64 = 16 * 1024 * 1024;

/// Where the snapshots and the journal of the database at `path` lie.
pub(super) fn folder(path: &Path) -> PathBuf {
    path.with_extension("safe")
}

/// Whether the database at `path` could be made anew.
pub fn has_snapshots(path: &Path) -> bool {
    snapshot::all(&folder(path)).is_ok_and(|all| !all.is_empty())
}

/// The newest change that the database holds; `None` for one that knows no journal.
fn held(connection: &Connection) -> Result<Option<u64>, DbError> {
    let known: bool = connection.query_row(
        "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'journal')",
        [],
        |row| row.get(0),
    )?;
    if !known {
        return Ok(None);
    }
    let number: Option<i64> = connection
        .query_row("SELECT at FROM journal", [], |row| row.get(0))
        .optional()?;
    Ok(number.map(|n| u64::try_from(n).unwrap_or(0)))
}

/// Writes that `number` is the newest change, in its own transaction.
fn hold(connection: &Connection, number: u64) -> Result<(), DbError> {
    let mut statement = connection.prepare_cached("UPDATE journal SET at = ?1 WHERE one = 1")?;
    statement.execute([i64::try_from(number).unwrap_or(i64::MAX)])?;
    Ok(())
}

/// Beside the one writer: writes every change ahead.
pub(super) struct Keeper {
    capture: Capture,
    journal: Journal,
    /// Bytes in the journal since the last snapshot.
    grown: u64,
    schema: i64,
    large: Arc<Notify>,
    #[cfg(test)]
    saboteur: Saboteur,
}

impl Keeper {
    /// Keeps the database at `path`, whose writer is `connection`. A snapshot is taken at once where none would do
    /// as a beginning, and where the file was just made from one.
    pub(super) fn of(
        connection: &mut Connection,
        path: &Path,
        used: &Usable,
        large: Arc<Notify>,
        #[cfg(test)] saboteur: Saboteur,
    ) -> Result<Self, DbError> {
        let folder = folder(path);
        let number = held(connection)?.unwrap_or(0);
        let schema: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        let newest = snapshot::all(&folder)
            .unwrap_or_default()
            .into_iter()
            .next();
        let reaches = used.tail.as_ref().map(|tail| tail.reach.last);
        let follows = newest
            .as_ref()
            .is_some_and(|s| s.number == number || reaches == Some(number));
        if (used.anew || !follows)
            && let Err(error) = snapshot::take(connection, &folder, UnixMs::now())
        {
            tracing::error!(%error, "no first snapshot could be taken of the state; it is tried again");
        }
        nul::watch(connection)?;
        let capture = Capture::of(connection)?;
        #[cfg(test)]
        let capture = match saboteur.deaf {
            true => Capture::deaf(),
            false => capture,
        };
        Ok(Self {
            capture,
            journal: Journal::after(&folder, number, used.tail.as_ref()),
            grown: 0,
            schema,
            large,
            #[cfg(test)]
            saboteur,
        })
    }

    /// What the transaction under way ran so far.
    pub(super) fn capture(&self) -> &Capture {
        &self.capture
    }

    /// Writes down what `tx` is about to commit, which changed so many rows. Nothing where it changed nothing.
    ///
    /// # Errors
    /// When the journal cannot be written; then it must not be committed.
    pub(super) fn ahead(
        &mut self,
        tx: &Transaction<'_>,
        rows: u64,
    ) -> Result<Option<Written>, DbError> {
        let (mut statements, about) = self.capture.take()?;
        let noted = nul::take(tx)?;
        let rows = rows - noted.notes.min(rows) + noted.statements.len() as u64;
        statements.extend(noted.statements);
        #[cfg(test)]
        if self.saboteur.no_journal {
            return Ok(None);
        }
        if statements.is_empty() || (rows == 0 && !statements.iter().any(|s| capture::is_schema(s)))
        {
            return Ok(None);
        }
        hold(tx, self.journal.number() + 1)?;
        drop(self.capture.take());
        let change = Change {
            at_ms: UnixMs::now(),
            schema: self.schema,
            about,
            rows,
            statements,
        };
        Ok(Some(self.journal.append(&change)?))
    }

    /// Commits `tx` while the journal is synced beside it, which costs less than one after the other. Returns when
    /// both are on the disk.
    ///
    /// # Errors
    /// Why it was not committed; or that it was, but is not safe in the journal.
    pub(super) fn commit(
        &mut self,
        tx: Transaction<'_>,
        written: Option<&Written>,
    ) -> Result<(), DbError> {
        let Some(written) = written else {
            return Ok(tx.commit()?);
        };
        #[cfg(test)]
        if self.saboteur.acknowledged_before_sync || self.saboteur.cuts_now() {
            tx.commit()?;
            return match self.saboteur.acknowledged_before_sync {
                true => Ok(()),
                false => self.after_answers(Some(written)),
            };
        }
        let (synced, committed) = std::thread::scope(|scope| {
            let journal = &self.journal;
            let beside = std::thread::Builder::new()
                .name("db-journal".into())
                .spawn_scoped(scope, || journal.sync());
            let committed = tx.commit().map_err(DbError::from);
            let synced = match beside {
                Ok(beside) => beside.join().unwrap_or_else(|_| Err(DbError::closed())),
                Err(_) => journal.sync(),
            };
            (synced, committed)
        });
        match (&committed, synced) {
            (Err(_), _) => self.journal.give_up(written),
            (Ok(()), Err(error)) => {
                tracing::error!(%error, "the journal of changes could not be synced; it goes on in a new file, after a snapshot");
                self.journal.turn();
                self.large.notify_one();
                return Err(DbError::Unavailable(format!(
                    "the change was made, but the journal of changes cannot be synced: {error}"
                )));
            }
            (Ok(()), Ok(())) => {
                self.journal.kept(written.number);
                self.grown += written.length;
                if self.journal.length() > FILE {
                    self.journal.turn();
                }
                if self.grown > LARGE {
                    self.large.notify_one();
                }
            }
        }
        committed
    }

    /// The sync that a saboteur left out until everybody was answered.
    ///
    /// # Errors
    /// That the power went before it.
    #[cfg(test)]
    pub(super) fn after_answers(&mut self, written: Option<&Written>) -> Result<(), DbError> {
        if let Some(written) = written
            && self.saboteur.cuts_now()
        {
            self.journal.give_up(written);
        }
        match self.saboteur.power_is_cut() {
            true => Err(DbError::closed()),
            false => Ok(()),
        }
    }

    /// A snapshot was taken: the next change begins a new file.
    pub(super) fn turn(&mut self) {
        self.grown = 0;
        self.journal.turn();
    }
}

/// Takes a snapshot of what `connection` sees of the database at `path`.
pub(super) fn take(connection: &Connection, path: &Path, now: UnixMs) -> Result<(), DbError> {
    snapshot::take(connection, &folder(path), now).map(|_| ())
}

impl Db {
    /// Bytes that the journal takes on the disk: since the oldest snapshot that is kept, and more and more of them
    /// while none can be taken.
    pub fn journal_bytes(&self) -> u64 {
        journal::bytes(&folder(self.path()))
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_bases;
