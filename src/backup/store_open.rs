//! The rows of work that is not over: backups, checks of them, restores.

use rusqlite::{Connection, Transaction};

use super::row::{Backup, Restore};
use super::store;
use crate::db::DbError;

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
