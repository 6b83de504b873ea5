//! The rows of work that is not over: backups, checks of them, restores, and
//! what is still to be removed from stores.

use rusqlite::{Connection, Transaction, params};

use super::row::{Backup, Restore, Unremoved};
use super::store;
use crate::base::clock::UnixMs;
use crate::db::DbError;

/// Of these something may lie in their store that is to go.
const TO_REMOVE: &str =
    "(b.state = 'expired' OR (b.state = 'failed' AND b.upload_token IS NOT NULL))";

/// Backups that are neither stored nor failed.
pub(super) fn backups(c: &Connection) -> Result<Vec<Backup>, DbError> {
    let sql = format!(
        "{} WHERE b.state IN ('queued', 'running', 'verifying') ORDER BY b.id",
        store::BACKUP
    );
    let mut statement = c.prepare_cached(&sql)?;
    let rows = statement.query_map([], store::backup)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Backups that are being verified.
pub(super) fn in_check(c: &Connection) -> Result<Vec<Backup>, DbError> {
    let sql = format!(
        "{} WHERE b.check_state = 'running' ORDER BY b.id",
        store::BACKUP
    );
    let mut statement = c.prepare_cached(&sql)?;
    let rows = statement.query_map([], store::backup)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Restores that are neither done nor failed.
pub(super) fn restores(c: &Connection) -> Result<Vec<Restore>, DbError> {
    let sql = format!(
        "{} WHERE state NOT IN ('done', 'failed') ORDER BY id",
        store::RESTORE
    );
    let mut statement = c.prepare_cached(&sql)?;
    let rows = statement.query_map([], store::restore)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// As if it had not been asked for.
pub(super) fn forget_check(tx: &Transaction<'_>, id: i64) -> Result<(), DbError> {
    tx.execute(
        "UPDATE backups SET check_state = NULL, check_note = NULL, checked_ms = NULL WHERE id = ?1",
        [id],
    )?;
    Ok(())
}

/// What is to be removed from stores, target by target: of this server, and of
/// those that are no more, because nothing is dumped of them any more.
pub(super) fn to_remove(
    c: &Connection,
    server: i64,
    servers: &[i64],
) -> Result<Vec<Backup>, DbError> {
    let sql = format!(
        "{} WHERE {TO_REMOVE} AND (b.database_id = ?1
            OR b.database_id NOT IN (SELECT value FROM json_each(?2)))
         ORDER BY b.target_id, b.id",
        store::BACKUP
    );
    let mut statement = c.prepare_cached(&sql)?;
    let wanted = params![server, serde_json::to_string(servers)?];
    let rows = statement.query_map(wanted, store::backup)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// These could not be removed; the first time counts.
pub(super) fn set_unremoved(tx: &Transaction<'_>, ids: &[i64], now: UnixMs) -> Result<(), DbError> {
    tx.execute(
        "UPDATE backups SET unremoved_ms = coalesce(unremoved_ms, ?2)
         WHERE id IN (SELECT value FROM json_each(?1))",
        params![serde_json::to_string(ids)?, now.0],
    )?;
    Ok(())
}

/// What retention tried to remove in vain, by target.
pub(super) fn unremoved(c: &Connection) -> Result<Vec<Unremoved>, DbError> {
    let mut statement = c.prepare_cached(&format!(
        "SELECT t.name, count(*), min(b.unremoved_ms), t.fault
         FROM backups b LEFT JOIN backup_targets t ON t.id = b.target_id
         WHERE {TO_REMOVE} AND b.unremoved_ms IS NOT NULL GROUP BY b.target_id ORDER BY t.name"
    ))?;
    let rows = statement.query_map([], |row| {
        Ok(Unremoved {
            target: row.get(0)?,
            count: row.get(1)?,
            since: UnixMs(row.get(2)?),
            why: row.get(3)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
