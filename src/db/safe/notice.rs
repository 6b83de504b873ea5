//! What is told of a recovery: rows in the database that was made anew, until a person confirms them.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, Transaction, params};

use super::replay::Replayed;
use crate::base::clock::UnixMs;
use crate::db::{Db, DbError};

/// A recovery that nobody has confirmed yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// Its row.
    pub id: i64,
    /// When.
    pub at: UnixMs,
    /// What was wrong with the file: "it was gone".
    pub why: String,
    /// When the snapshot was made that it began with.
    pub snapshot: UnixMs,
    /// Changes of the journal that were made again.
    pub replayed: u64,
    /// Where the damaged file lies, if there was one.
    pub aside: Option<PathBuf>,
    /// What could not be brought back, a sentence each.
    pub losses: Vec<String>,
    /// Whether the event of it was written.
    pub told: bool,
}

/// What is known before the changes are made again.
pub(super) struct Made<'a> {
    pub(super) at: UnixMs,
    pub(super) why: &'a str,
    pub(super) snapshot: UnixMs,
    pub(super) aside: Option<&'a Path>,
    /// Whether the file said up to which change it went: one that is gone does not, and of its journal the end may be gone, too.
    pub(super) knows_its_end: bool,
}

/// Losses listed by name; how many more there are is said.
const LISTED: usize = 200;
/// Numbers left free where something is or may be missing: it may have used them.
const SPARE: i64 = 1_000;

/// Writes it down. Where something is missing, or nobody can know that nothing is, numbers that the missing part may have
/// given to what runs are not given again: what is new would take the place of what runs.
pub(super) fn write(tx: &Transaction<'_>, made: &Made<'_>, done: &Replayed) -> Result<(), DbError> {
    let highest: i64 = tx.query_row("SELECT coalesce(max(id), 0) FROM containers", [], |r| {
        r.get(0)
    })?;
    let containers = match done.losses.is_empty() && made.knows_its_end {
        true => 0,
        false => {
            // A table that never had a row has none of its own there.
            tx.execute(
                "INSERT INTO sqlite_sequence (name, seq) SELECT name, 0 FROM sqlite_schema
                 WHERE type = 'table' AND name IN ('apps', 'deploys', 'databases')
                   AND name NOT IN (SELECT name FROM sqlite_sequence)",
                [],
            )?;
            tx.execute(
                "UPDATE sqlite_sequence SET seq = seq + ?1 WHERE name IN ('apps', 'deploys', 'databases')",
                [SPARE],
            )?;
            highest + SPARE
        }
    };
    tx.execute(
        "INSERT INTO recoveries (at_ms, why, snapshot_ms, replayed, aside, containers) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            made.at.0,
            made.why,
            made.snapshot.0,
            i64::try_from(done.made).unwrap_or(i64::MAX),
            made.aside.map(|p| p.display().to_string()).unwrap_or_default(),
            containers
        ],
    )?;
    let id = tx.last_insert_rowid();
    let more = done.losses.len().saturating_sub(LISTED);
    let rest = (more > 0).then(|| format!("And {more} more; the daemon's log names them."));
    for (n, what) in done.losses.iter().enumerate() {
        tracing::error!(what, "lost");
        if n < LISTED {
            loss(tx, id, n, what)?;
        }
    }
    if let Some(rest) = rest {
        loss(tx, id, LISTED, &rest)?;
    }
    Ok(())
}

fn loss(tx: &Transaction<'_>, id: i64, n: usize, what: &str) -> Result<(), DbError> {
    tx.execute(
        "INSERT INTO recovery_losses (recovery_id, n, what) VALUES (?1, ?2, ?3)",
        params![id, i64::try_from(n).unwrap_or(i64::MAX), what],
    )?;
    Ok(())
}

fn open(connection: &Connection) -> Result<Vec<Recovery>, DbError> {
    let mut statement = connection.prepare_cached(
        "SELECT id, at_ms, why, snapshot_ms, replayed, aside, told_ms IS NOT NULL FROM recoveries
         WHERE confirmed_ms IS NULL ORDER BY id",
    )?;
    let rows = statement.query_map([], |row| {
        let aside: String = row.get(5)?;
        Ok(Recovery {
            id: row.get(0)?,
            at: UnixMs(row.get(1)?),
            why: row.get(2)?,
            snapshot: UnixMs(row.get(3)?),
            replayed: u64::try_from(row.get::<_, i64>(4)?).unwrap_or(0),
            aside: (!aside.is_empty()).then(|| aside.into()),
            losses: Vec::new(),
            told: row.get(6)?,
        })
    })?;
    let mut found: Vec<Recovery> = rows.collect::<Result<_, _>>()?;
    let mut losses = connection
        .prepare_cached("SELECT what FROM recovery_losses WHERE recovery_id = ?1 ORDER BY n")?;
    for recovery in &mut found {
        let rows = losses.query_map([recovery.id], |row| row.get(0))?;
        recovery.losses = rows.collect::<Result<_, _>>()?;
    }
    Ok(found)
}

/// Whether something that was there is missing and nobody has confirmed it yet: work that is noted may be done already,
/// or be meant for what was there before.
///
/// # Errors
/// Only the database's.
pub fn is_short(connection: &Connection) -> Result<bool, DbError> {
    let mut statement = connection.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM recoveries JOIN recovery_losses ON recovery_id = id
         WHERE confirmed_ms IS NULL)",
    )?;
    Ok(statement.query_row([], |row| row.get(0))?)
}

/// Notes that the event of a recovery is written, in the transaction of the event.
///
/// # Errors
/// Only the database's.
pub fn mark_told(tx: &Transaction<'_>, id: i64, now: UnixMs) -> Result<(), DbError> {
    tx.execute(
        "UPDATE recoveries SET told_ms = ?2 WHERE id = ?1",
        params![id, now.0],
    )?;
    Ok(())
}

/// Notes that a person has looked and says that all is well. Says how many recoveries that ends.
///
/// # Errors
/// Only the database's.
pub fn confirm(tx: &Transaction<'_>, now: UnixMs) -> Result<usize, DbError> {
    Ok(tx.execute(
        "UPDATE recoveries SET confirmed_ms = ?1 WHERE confirmed_ms IS NULL",
        [now.0],
    )?)
}

impl Db {
    /// Recoveries that nobody has confirmed yet, oldest first. While there is one, nothing that runs is removed
    /// because the database does not know it.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn recoveries(&self) -> Result<Vec<Recovery>, DbError> {
        self.read(open).await
    }
}
