//! The table `backup_targets`.

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::row::Target;
use super::target::NewTarget;
use crate::base::clock::UnixMs;
use crate::base::secret::{MasterKey, Secret};
use crate::db::DbError;

const TARGET: &str = "SELECT id, name, place, endpoint, region, path_style, is_default, used_ms, fault, created_ms FROM backup_targets";

fn target(row: &Row<'_>) -> rusqlite::Result<Target> {
    Ok(Target {
        id: row.get(0)?,
        name: row.get(1)?,
        place: row.get(2)?,
        endpoint: row.get(3)?,
        region: row.get(4)?,
        path_style: row.get(5)?,
        is_default: row.get(6)?,
        used: row.get::<_, Option<i64>>(7)?.map(UnixMs),
        fault: row.get(8)?,
        created: UnixMs(row.get(9)?),
    })
}

/// Writes a target down; the first one, or one that asks, gets the dumps.
pub(super) fn insert(
    tx: &Transaction<'_>,
    key: &MasterKey,
    new: &NewTarget,
    now: UnixMs,
) -> Result<i64, DbError> {
    let first: bool = tx.query_row(
        "SELECT NOT EXISTS (SELECT 1 FROM backup_targets)",
        [],
        |r| r.get(0),
    )?;
    let default = first || new.make_default;
    if default {
        tx.execute("UPDATE backup_targets SET is_default = 0", [])?;
    }
    tx.execute(
        "INSERT INTO backup_targets (name, place, endpoint, region, path_style, is_default, created_ms, used_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7)",
        params![
            new.name.as_str(),
            new.place,
            new.options.endpoint,
            new.options.region,
            new.options.path_style,
            default,
            now.0
        ],
    )?;
    let id = tx.last_insert_rowid();
    if let (Some(access), Some(secret)) = (&new.access_key, &new.secret_key) {
        let access = key.seal(&format!("backup_targets:{id}:access"), access.as_bytes())?;
        let secret = key.seal_text(&format!("backup_targets:{id}:secret"), secret)?;
        tx.execute(
            "UPDATE backup_targets SET access_key_sealed = ?2, secret_key_sealed = ?3 WHERE id = ?1",
            params![id, access, secret],
        )?;
    }
    Ok(id)
}

pub(super) fn all(c: &Connection) -> Result<Vec<Target>, DbError> {
    let mut statement = c.prepare_cached(&format!("{TARGET} ORDER BY name"))?;
    let rows = statement.query_map([], target)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn by_name(c: &Connection, name: &str) -> Result<Option<Target>, DbError> {
    Ok(
        c.query_row(&format!("{TARGET} WHERE name = ?1"), [name], target)
            .optional()?,
    )
}

pub(super) fn by_id(c: &Connection, id: i64) -> Result<Option<Target>, DbError> {
    Ok(
        c.query_row(&format!("{TARGET} WHERE id = ?1"), [id], target)
            .optional()?,
    )
}

pub(super) fn default_id(c: &Connection) -> Result<Option<i64>, DbError> {
    Ok(c.query_row(
        "SELECT id FROM backup_targets WHERE is_default = 1",
        [],
        |r| r.get(0),
    )
    .optional()?)
}

/// Access key and secret; empty for folders.
pub(super) fn credentials(
    c: &Connection,
    key: &MasterKey,
    id: i64,
) -> Result<Option<(String, Secret)>, DbError> {
    let sealed: (Option<Vec<u8>>, Option<Vec<u8>>) = c.query_row(
        "SELECT access_key_sealed, secret_key_sealed FROM backup_targets WHERE id = ?1",
        [id],
        |r| Ok((r.get(0)?, r.get(1)?)),
    )?;
    let (Some(access), Some(secret)) = sealed else {
        return Ok(None);
    };
    let access = key.open_text(&format!("backup_targets:{id}:access"), &access)?;
    let secret = key.open_text(&format!("backup_targets:{id}:secret"), &secret)?;
    Ok(Some((access.expose().to_owned(), secret)))
}

pub(super) fn set_used(
    tx: &Transaction<'_>,
    id: i64,
    fault: Option<&str>,
    now: UnixMs,
) -> Result<(), DbError> {
    tx.execute(
        "UPDATE backup_targets SET used_ms = ?2, fault = ?3 WHERE id = ?1",
        params![id, now.0, fault],
    )?;
    Ok(())
}

/// Backups that are stored there, or on their way.
pub(super) fn backups_there(c: &Connection, id: i64) -> Result<i64, DbError> {
    Ok(c.query_row(
        "SELECT count(*) FROM backups WHERE target_id = ?1 AND state NOT IN ('failed')",
        [id],
        |r| r.get(0),
    )?)
}

/// Removes the target with the rows of what lies there; the objects stay.
pub(super) fn delete(tx: &Transaction<'_>, id: i64) -> Result<(), DbError> {
    tx.execute("DELETE FROM backups WHERE target_id = ?1", [id])?;
    tx.execute("DELETE FROM backup_targets WHERE id = ?1", [id])?;
    tx.execute(
        "UPDATE backup_targets SET is_default = 1 WHERE id = (SELECT min(id) FROM backup_targets)
         AND NOT EXISTS (SELECT 1 FROM backup_targets WHERE is_default = 1)",
        [],
    )?;
    Ok(())
}

pub(super) fn make_default(tx: &Transaction<'_>, id: i64) -> Result<(), DbError> {
    tx.execute("UPDATE backup_targets SET is_default = 0", [])?;
    tx.execute(
        "UPDATE backup_targets SET is_default = 1 WHERE id = ?1",
        [id],
    )?;
    Ok(())
}
