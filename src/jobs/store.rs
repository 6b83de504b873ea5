//! The `jobs` table.

use std::collections::HashSet;

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use crate::base::clock::UnixMs;
use crate::db::{DbError, Slice};

use super::{Outcome, WAITS};

/// A job's place in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Waits for its time or its key.
    Queued,
    /// Being done.
    Running,
}

/// A job to be queued.
#[derive(Clone, Debug)]
pub struct NewJob {
    /// Which handler does it.
    pub kind: &'static str,
    /// Jobs of one key run one after another.
    pub key: String,
    /// For the handler; no secrets.
    pub payload: serde_json::Value,
    /// Not before.
    pub run_at: UnixMs,
}

/// A job that is not finished.
#[derive(Clone, Debug)]
pub struct JobRow {
    /// Rising with time.
    pub id: i64,
    /// Which handler does it.
    pub kind: String,
    /// Jobs of one key run one after another.
    pub key: String,
    /// For the handler.
    pub payload: serde_json::Value,
    /// Its place in its life.
    pub state: State,
    /// Not before.
    pub run_at: UnixMs,
    /// How often it was begun.
    pub attempts: u32,
}

/// Queues `job` in the transaction that records the intent.
///
/// # Errors
/// Only the database's.
pub fn enqueue(tx: &Transaction<'_>, now: UnixMs, job: &NewJob) -> Result<i64, DbError> {
    tx.execute(
        "INSERT INTO jobs (kind, key, payload, state, run_at_ms, created_ms) VALUES (?1, ?2, ?3, 'queued', ?4, ?5)",
        params![job.kind, job.key, job.payload.to_string(), job.run_at.0, now.0],
    )?;
    Ok(tx.last_insert_rowid())
}

pub(super) fn requeue_running(tx: &Transaction<'_>) -> Result<usize, DbError> {
    Ok(tx.execute(
        "UPDATE jobs SET state = 'queued' WHERE state = 'running'",
        [],
    )?)
}

pub(super) fn open(connection: &Connection) -> Result<Vec<JobRow>, DbError> {
    let mut statement = connection.prepare_cached(
        "SELECT id, kind, key, payload, state, run_at_ms, attempts FROM jobs
         WHERE state IN ('queued', 'running') ORDER BY id",
    )?;
    let rows = statement.query_map([], |row| {
        let payload: String = row.get(3)?;
        let state: String = row.get(4)?;
        Ok(JobRow {
            id: row.get(0)?,
            kind: row.get(1)?,
            key: row.get(2)?,
            payload: serde_json::from_str(&payload).unwrap_or_default(),
            state: if state == "running" {
                State::Running
            } else {
                State::Queued
            },
            run_at: UnixMs(row.get(5)?),
            attempts: row.get(6)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The rows that open jobs of `kind` work on, by the number that their payload
/// has under `field`.
///
/// # Errors
/// Only the database's.
pub fn worked_on(
    connection: &Connection,
    kind: &str,
    field: &str,
) -> Result<HashSet<i64>, DbError> {
    let mut statement = connection.prepare_cached(
        "SELECT json_extract(payload, '$.' || ?2) FROM jobs
         WHERE kind = ?1 AND state IN ('queued', 'running')",
    )?;
    let rows = statement.query_map([kind, field], |row| row.get::<_, Option<i64>>(0))?;
    let found: Vec<Option<i64>> = rows.collect::<Result<_, _>>()?;
    Ok(found.into_iter().flatten().collect())
}

/// The numbers that open jobs of `kind` list in their payload under `field`.
///
/// # Errors
/// Only the database's.
pub fn listed(connection: &Connection, kind: &str, field: &str) -> Result<HashSet<i64>, DbError> {
    let mut statement = connection.prepare_cached(
        "SELECT one.value FROM jobs, json_each(jobs.payload, '$.' || ?2) AS one
         WHERE jobs.kind = ?1 AND jobs.state IN ('queued', 'running') AND one.type = 'integer'",
    )?;
    let rows = statement.query_map([kind, field], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Takes that list out of the job's payload: it works on none of them any more.
///
/// # Errors
/// Only the database's.
pub fn forget_list(tx: &Transaction<'_>, id: i64, field: &str) -> Result<(), DbError> {
    tx.execute(
        "UPDATE jobs SET payload = json_remove(payload, '$.' || ?2) WHERE id = ?1",
        params![id, field],
    )?;
    Ok(())
}

/// Marks a queued job running; its attempt number, or `None` when it is no longer queued.
pub(super) fn mark_running(
    tx: &Transaction<'_>,
    id: i64,
    now: UnixMs,
) -> Result<Option<u32>, DbError> {
    Ok(tx
        .query_row(
            "UPDATE jobs SET state = 'running', attempts = attempts + 1, started_ms = ?2,
               error = CASE WHEN error = ?3 THEN NULL ELSE error END
             WHERE id = ?1 AND state = 'queued' RETURNING attempts",
            params![id, now.0, WAITS],
            |row| row.get(0),
        )
        .optional()?)
}

pub(super) fn cancel_queued(tx: &Transaction<'_>, id: i64, now: UnixMs) -> Result<(), DbError> {
    tx.execute(
        "UPDATE jobs SET state = 'cancelled', finished_ms = ?2 WHERE id = ?1 AND state = 'queued'",
        params![id, now.0],
    )?;
    Ok(())
}

/// Takes back a job that was never begun, in the transaction that ends what it was to do; false when
/// it has begun, or is over.
///
/// # Errors
/// Only the database's.
pub fn take_back(tx: &Transaction<'_>, id: i64, now: UnixMs) -> Result<bool, DbError> {
    let taken = tx.execute(
        "UPDATE jobs SET state = 'cancelled', finished_ms = ?2
         WHERE id = ?1 AND state = 'queued' AND attempts = 0",
        params![id, now.0],
    )?;
    Ok(taken > 0)
}

/// Notes in a job the deploy that it asked for: whoever follows it is told which.
///
/// # Errors
/// Only the database's.
pub fn note_deploy(tx: &Transaction<'_>, id: i64, deploy: i64) -> Result<(), DbError> {
    tx.execute(
        "UPDATE jobs SET payload = json_set(payload, '$.deploy', ?2) WHERE id = ?1",
        [id, deploy],
    )?;
    Ok(())
}

/// Whether work of this kind and key is open.
pub(super) fn is_open(c: &Connection, kind: &str, key: &str) -> Result<bool, DbError> {
    Ok(c.query_row(
        "SELECT EXISTS (SELECT 1 FROM jobs WHERE kind = ?1 AND key = ?2 AND state IN ('queued', 'running'))",
        [kind, key],
        |row| row.get(0),
    )?)
}

/// Notes why a queued job is not begun.
pub(super) fn note_waiting(tx: &Transaction<'_>, id: i64, why: &str) -> Result<(), DbError> {
    tx.execute(
        "UPDATE jobs SET error = ?2 WHERE id = ?1 AND state = 'queued'",
        params![id, why],
    )?;
    Ok(())
}

/// Whether any work of this key is open.
///
/// # Errors
/// Only the database's.
pub fn is_key_open(c: &Connection, key: &str) -> Result<bool, DbError> {
    Ok(c.query_row(
        "SELECT EXISTS (SELECT 1 FROM jobs WHERE key = ?1 AND state IN ('queued', 'running'))",
        [key],
        |row| row.get(0),
    )?)
}

/// A job that waits for its next try is due now.
///
/// # Errors
/// Only the database's.
pub fn hasten(tx: &Transaction<'_>, id: i64, now: UnixMs) -> Result<(), DbError> {
    tx.execute(
        "UPDATE jobs SET run_at_ms = ?2 WHERE id = ?1 AND state = 'queued'",
        params![id, now.0],
    )?;
    Ok(())
}

/// The clock was set by `by_ms` (below 0: back); `None` when that happened while no daemon ran. What waits for a time
/// that meant the earlier clock waits as long as it had to, and not an hour more. Forward it is due early at worst.
///
/// # Errors
/// Only the database's.
pub fn clock_set(tx: &Transaction<'_>, by_ms: Option<i64>, now: UnixMs) -> Result<(), DbError> {
    match by_ms {
        Some(by) => tx.execute(
            "UPDATE jobs SET run_at_ms = max(?1, run_at_ms + ?2)
             WHERE state = 'queued' AND run_at_ms > ?1 AND ?2 < 0",
            params![now.0, by],
        )?,
        // Begun or queued at a time that has not come yet.
        None => tx.execute(
            "UPDATE jobs SET run_at_ms = ?1
             WHERE state = 'queued' AND run_at_ms > ?1 AND max(created_ms, coalesce(started_ms, 0)) > ?1",
            [now.0],
        )?,
    };
    Ok(())
}

/// All work of this kind and key that is not over is done, by what else the transaction does.
pub(super) fn settle(
    tx: &Transaction<'_>,
    kind: &str,
    key: &str,
    now: UnixMs,
) -> Result<(), DbError> {
    tx.execute(
        "UPDATE jobs SET state = 'done', error = NULL, finished_ms = ?3
         WHERE kind = ?1 AND key = ?2 AND state IN ('queued', 'running')",
        params![kind, key, now.0],
    )?;
    Ok(())
}

/// This job is done, by what else the transaction does: cut off after it, it is not begun again.
///
/// # Errors
/// Only the database's.
pub fn done(tx: &Transaction<'_>, id: i64, now: UnixMs) -> Result<(), DbError> {
    finish(tx, id, &Outcome::Done, now)
}

pub(super) fn finish(
    tx: &Transaction<'_>,
    id: i64,
    outcome: &Outcome,
    now: UnixMs,
) -> Result<(), DbError> {
    match outcome {
        Outcome::Done => tx.execute(
            "UPDATE jobs SET state = 'done', error = NULL, finished_ms = ?2 WHERE id = ?1",
            params![id, now.0],
        )?,
        Outcome::Failed(why) => tx.execute(
            "UPDATE jobs SET state = 'failed', error = ?3, finished_ms = ?2 WHERE id = ?1",
            params![id, now.0, why],
        )?,
        Outcome::Cancelled => tx.execute(
            "UPDATE jobs SET state = 'cancelled', error = NULL, finished_ms = ?2 WHERE id = ?1",
            params![id, now.0],
        )?,
        Outcome::Again { at, why } => tx.execute(
            "UPDATE jobs SET state = 'queued', error = ?3, run_at_ms = ?2 WHERE id = ?1",
            params![id, at.0, why],
        )?,
    };
    tx.execute(
        "DELETE FROM jobs WHERE state IN ('done', 'failed', 'cancelled') AND id < ?1 - 5000",
        [id],
    )?;
    Ok(())
}

/// A job, finished or not, for those who follow it.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// Its row.
    pub id: i64,
    /// Which handler does it.
    pub kind: String,
    /// Jobs of one key run one after another.
    pub key: String,
    /// For the handler.
    pub payload: serde_json::Value,
    /// `queued`, `running`, `done`, `failed`, `cancelled`.
    pub state: String,
    /// How often it was begun.
    pub attempts: u32,
    /// When it was queued.
    pub created: UnixMs,
    /// When it was last begun.
    pub started: Option<UnixMs>,
    /// When it ended.
    pub finished: Option<UnixMs>,
    /// Why it failed, or is run again.
    pub error: Option<String>,
}

const TOLD: &str = "SELECT id, kind, key, payload, state, attempts, created_ms, started_ms, finished_ms, error FROM jobs";

fn told(row: &rusqlite::Row<'_>) -> rusqlite::Result<Told> {
    let payload: String = row.get(3)?;
    Ok(Told {
        id: row.get(0)?,
        kind: row.get(1)?,
        key: row.get(2)?,
        payload: serde_json::from_str(&payload).unwrap_or_default(),
        state: row.get(4)?,
        attempts: row.get(5)?,
        created: UnixMs(row.get(6)?),
        started: row.get::<_, Option<i64>>(7)?.map(UnixMs),
        finished: row.get::<_, Option<i64>>(8)?.map(UnixMs),
        error: row.get(9)?,
    })
}

/// One job.
///
/// # Errors
/// Only the database's.
pub fn by_id(c: &Connection, id: i64) -> Result<Option<Told>, DbError> {
    let mut statement = c.prepare_cached(&format!("{TOLD} WHERE id = ?1"))?;
    Ok(statement.query_row([id], told).optional()?)
}

/// The newest job of this kind whose payload names `id` as its `field`.
///
/// # Errors
/// Only the database's.
pub fn newest_about(
    c: &Connection,
    kind: &str,
    field: &str,
    id: i64,
) -> Result<Option<Told>, DbError> {
    let mut statement = c.prepare_cached(&format!(
        "{TOLD} WHERE kind = ?1 AND json_extract(payload, ?2) = ?3 ORDER BY id DESC LIMIT 1"
    ))?;
    let place = format!("$.{field}");
    Ok(statement
        .query_row(params![kind, place, id], told)
        .optional()?)
}

/// The newest first: of these kinds, of these keys (all when `None`). A slice's state is
/// one of the table's, or `open` for those that are not over.
///
/// # Errors
/// Only the database's.
pub fn newest(
    c: &Connection,
    kinds: &[&str],
    keys: Option<&[String]>,
    slice: &Slice,
) -> Result<Vec<Told>, DbError> {
    let list = |all: serde_json::Value| all.to_string();
    let kinds = list(kinds.into());
    let keys = keys.map(|keys| list(keys.into()));
    let mut statement = c.prepare_cached(&format!(
        "{TOLD} WHERE kind IN (SELECT value FROM json_each(?1))
         AND (?2 IS NULL OR key IN (SELECT value FROM json_each(?2)))
         AND (?3 IS NULL OR id < ?3)
         AND (?4 IS NULL OR state = ?4 OR (?4 = 'open' AND state IN ('queued', 'running')))
         ORDER BY id DESC LIMIT ?5"
    ))?;
    let wanted = params![kinds, keys, slice.before, slice.state, slice.limit];
    let rows = statement.query_map(wanted, told)?;
    Ok(rows.collect::<Result<_, _>>()?)
}
