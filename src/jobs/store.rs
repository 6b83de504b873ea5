//! The `jobs` table.

use std::collections::HashSet;

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use crate::base::clock::UnixMs;
use crate::db::DbError;

use super::Outcome;

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

/// Marks a queued job running; its attempt number, or `None` when it is no longer queued.
pub(super) fn mark_running(
    tx: &Transaction<'_>,
    id: i64,
    now: UnixMs,
) -> Result<Option<u32>, DbError> {
    Ok(tx
        .query_row(
            "UPDATE jobs SET state = 'running', attempts = attempts + 1, started_ms = ?2
             WHERE id = ?1 AND state = 'queued' RETURNING attempts",
            params![id, now.0],
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
