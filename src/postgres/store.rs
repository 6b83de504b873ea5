//! The tables `databases` and `attachments`.

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::database::{Attachment, Database, Link, State};
use crate::base::clock::UnixMs;
use crate::base::ids::DatabaseName;
use crate::base::secret::{MasterKey, Secret};
use crate::db::DbError;

const DATABASE: &str = "SELECT id, name, version, image, memory_bytes, state, attempt, reason,
    container_row, server_version, ready_ms, created_ms FROM databases";
const ATTACHMENT: &str =
    "SELECT id, database_id, app_id, app_name, role, env_name, state, reason FROM attachments";

fn unreadable(what: &str) -> rusqlite::Error {
    rusqlite::Error::ToSqlConversionFailure(Box::new(DbError::Unreadable(what.to_owned())))
}

fn database(row: &Row<'_>) -> rusqlite::Result<Database> {
    let name: String = row.get(1)?;
    let state: String = row.get(5)?;
    let memory: i64 = row.get(4)?;
    Ok(Database {
        id: row.get(0)?,
        name: DatabaseName::parse(&name).map_err(|e| unreadable(&e.0))?,
        version: row.get(2)?,
        image: row.get(3)?,
        memory_bytes: u64::try_from(memory).unwrap_or(0),
        state: State::parse(&state).ok_or_else(|| unreadable(&state))?,
        attempt: row.get(6)?,
        reason: row.get(7)?,
        container_row: row.get(8)?,
        server_version: row.get(9)?,
        ready: row.get::<_, Option<i64>>(10)?.map(UnixMs),
        created: UnixMs(row.get(11)?),
    })
}

fn attachment(row: &Row<'_>) -> rusqlite::Result<Attachment> {
    let state: String = row.get(6)?;
    Ok(Attachment {
        id: row.get(0)?,
        database: row.get(1)?,
        app: row.get(2)?,
        app_name: row.get(3)?,
        role: row.get(4)?,
        env_name: row.get(5)?,
        state: Link::parse(&state).ok_or_else(|| unreadable(&state))?,
        reason: row.get(7)?,
    })
}

/// A database to be made.
#[derive(Clone, Debug)]
pub struct NewRow {
    pub name: DatabaseName,
    pub version: u32,
    pub image: String,
    pub memory_bytes: u64,
}

pub(super) fn insert(
    tx: &Transaction<'_>,
    key: &MasterKey,
    new: &NewRow,
    password: &Secret,
    now: UnixMs,
) -> Result<i64, DbError> {
    tx.execute(
        "INSERT INTO databases (name, version, image, memory_bytes, password_sealed, state, created_ms, changed_ms)
         VALUES (?1, ?2, ?3, ?4, x'', 'creating', ?5, ?5)",
        params![
            new.name.as_str(),
            new.version,
            new.image,
            i64::try_from(new.memory_bytes).unwrap_or(i64::MAX),
            now.0
        ],
    )?;
    let id = tx.last_insert_rowid();
    let sealed = key.seal_text(&format!("databases:{id}"), password)?;
    tx.execute(
        "UPDATE databases SET password_sealed = ?2 WHERE id = ?1",
        params![id, sealed],
    )?;
    Ok(id)
}

/// A failed database begins again, perhaps with other wishes.
pub(super) fn begin_again(
    tx: &Transaction<'_>,
    id: i64,
    new: &NewRow,
    now: UnixMs,
) -> Result<(), DbError> {
    tx.execute(
        "UPDATE databases SET version = ?2, image = ?3, memory_bytes = ?4, state = 'creating',
         attempt = attempt + 1, reason = NULL, changed_ms = ?5 WHERE id = ?1",
        params![
            id,
            new.version,
            new.image,
            i64::try_from(new.memory_bytes).unwrap_or(i64::MAX),
            now.0
        ],
    )?;
    Ok(())
}

pub(super) fn password(c: &Connection, key: &MasterKey, id: i64) -> Result<Secret, DbError> {
    let sealed: Vec<u8> = c.query_row(
        "SELECT password_sealed FROM databases WHERE id = ?1",
        [id],
        |r| r.get(0),
    )?;
    Ok(key.open_text(&format!("databases:{id}"), &sealed)?)
}

pub(super) fn all(c: &Connection) -> Result<Vec<Database>, DbError> {
    let mut statement = c.prepare_cached(&format!("{DATABASE} ORDER BY name"))?;
    let rows = statement.query_map([], database)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn by_name(c: &Connection, name: &str) -> Result<Option<Database>, DbError> {
    Ok(
        c.query_row(&format!("{DATABASE} WHERE name = ?1"), [name], database)
            .optional()?,
    )
}

pub(super) fn by_id(c: &Connection, id: i64) -> Result<Option<Database>, DbError> {
    Ok(
        c.query_row(&format!("{DATABASE} WHERE id = ?1"), [id], database)
            .optional()?,
    )
}

/// Moves a database from one state to the next. Says whether it still was in the first: a wish to
/// remove it may have been written down meanwhile, and holds.
pub(super) fn set_state(
    tx: &Transaction<'_>,
    id: i64,
    from: State,
    to: State,
    reason: Option<&str>,
    now: UnixMs,
) -> Result<bool, DbError> {
    let moved = tx.execute(
        "UPDATE databases SET state = ?3, reason = ?4, changed_ms = ?5,
         ready_ms = CASE WHEN ?3 = 'ready' THEN coalesce(ready_ms, ?5) ELSE ready_ms END
         WHERE id = ?1 AND state = ?2",
        params![id, from.as_str(), to.as_str(), reason, now.0],
    )?;
    Ok(moved > 0)
}

/// Says what a database in this state waits for.
pub(super) fn set_reason(
    tx: &Transaction<'_>,
    id: i64,
    state: State,
    reason: &str,
) -> Result<(), DbError> {
    tx.execute(
        "UPDATE databases SET reason = ?3 WHERE id = ?1 AND state = ?2",
        params![id, state.as_str(), reason],
    )?;
    Ok(())
}

pub(super) fn set_container(
    tx: &Transaction<'_>,
    id: i64,
    container: Option<i64>,
) -> Result<(), DbError> {
    tx.execute(
        "UPDATE databases SET container_row = ?2 WHERE id = ?1",
        params![id, container],
    )?;
    Ok(())
}

pub(super) fn set_server_version(
    tx: &Transaction<'_>,
    id: i64,
    version: &str,
) -> Result<(), DbError> {
    tx.execute(
        "UPDATE databases SET server_version = ?2 WHERE id = ?1",
        params![id, version],
    )?;
    Ok(())
}

pub(super) fn delete(tx: &Transaction<'_>, id: i64) -> Result<(), DbError> {
    tx.execute("DELETE FROM attachments WHERE database_id = ?1", [id])?;
    tx.execute("DELETE FROM databases WHERE id = ?1", [id])?;
    Ok(())
}

pub(super) fn insert_attachment(
    tx: &Transaction<'_>,
    key: &MasterKey,
    new: &Attachment,
    password: &Secret,
    now: UnixMs,
) -> Result<i64, DbError> {
    tx.execute(
        "INSERT INTO attachments (database_id, app_id, app_name, role, password_sealed, env_name, state, created_ms, changed_ms)
         VALUES (?1, ?2, ?3, ?4, x'', ?5, ?6, ?7, ?7)",
        params![
            new.database,
            new.app,
            new.app_name,
            new.role,
            new.env_name,
            new.state.as_str(),
            now.0
        ],
    )?;
    let id = tx.last_insert_rowid();
    let sealed = key.seal_text(&format!("attachments:{id}"), password)?;
    tx.execute(
        "UPDATE attachments SET password_sealed = ?2 WHERE id = ?1",
        params![id, sealed],
    )?;
    Ok(id)
}

pub(super) fn attachments(c: &Connection, database: i64) -> Result<Vec<Attachment>, DbError> {
    let mut statement = c.prepare_cached(&format!(
        "{ATTACHMENT} WHERE database_id = ?1 ORDER BY app_name"
    ))?;
    let rows = statement.query_map([database], attachment)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn attachments_of_app(c: &Connection, app: i64) -> Result<Vec<Attachment>, DbError> {
    let mut statement =
        c.prepare_cached(&format!("{ATTACHMENT} WHERE app_id = ?1 ORDER BY env_name"))?;
    let rows = statement.query_map([app], attachment)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Those of apps that still are: an app that was removed stands in nobody's way, even where its
/// role could not be shut out.
pub(super) fn attachments_in_use(
    c: &Connection,
    database: i64,
) -> Result<Vec<Attachment>, DbError> {
    let mut statement = c.prepare_cached(&format!(
        "{ATTACHMENT} WHERE database_id = ?1 AND app_id IN (SELECT id FROM apps) ORDER BY app_name"
    ))?;
    let rows = statement.query_map([database], attachment)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Forgets what failed of apps that are no more: a new app of the name may have the role.
pub(super) fn forget_failed_of_gone(tx: &Transaction<'_>, database: i64) -> Result<(), DbError> {
    tx.execute(
        "DELETE FROM attachments WHERE database_id = ?1 AND state = 'failed'
         AND app_id NOT IN (SELECT id FROM apps)",
        [database],
    )?;
    Ok(())
}

/// Those that are on their way in or out.
pub(super) fn unsettled_attachments(c: &Connection) -> Result<Vec<Attachment>, DbError> {
    let mut statement = c.prepare_cached(&format!(
        "{ATTACHMENT} WHERE state IN ('attaching', 'detaching') ORDER BY id"
    ))?;
    let rows = statement.query_map([], attachment)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn attachment_by_id(c: &Connection, id: i64) -> Result<Option<Attachment>, DbError> {
    Ok(
        c.query_row(&format!("{ATTACHMENT} WHERE id = ?1"), [id], attachment)
            .optional()?,
    )
}

pub(super) fn attachment_password(
    c: &Connection,
    key: &MasterKey,
    id: i64,
) -> Result<Secret, DbError> {
    let sealed: Vec<u8> = c.query_row(
        "SELECT password_sealed FROM attachments WHERE id = ?1",
        [id],
        |r| r.get(0),
    )?;
    Ok(key.open_text(&format!("attachments:{id}"), &sealed)?)
}

/// Moves a link from one state to the next. Says whether it still was in the first.
pub(super) fn set_link(
    tx: &Transaction<'_>,
    id: i64,
    from: Link,
    to: Link,
    reason: Option<&str>,
    now: UnixMs,
) -> Result<bool, DbError> {
    let moved = tx.execute(
        "UPDATE attachments SET state = ?3, reason = ?4, changed_ms = ?5
         WHERE id = ?1 AND state = ?2",
        params![id, from.as_str(), to.as_str(), reason, now.0],
    )?;
    Ok(moved > 0)
}

/// A link whose role is shut out goes.
pub(super) fn delete_detached(tx: &Transaction<'_>, id: i64) -> Result<(), DbError> {
    tx.execute(
        "DELETE FROM attachments WHERE id = ?1 AND state = 'detaching'",
        [id],
    )?;
    Ok(())
}
