//! The rows of what happened. Written here and nowhere else; following them is left to `mod.rs`.

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::{Event, Level, NewEvent};
use crate::base::clock::UnixMs;
use crate::db::{self, DbError, Slice};

/// When the last event was, by the clock of then.
///
/// # Errors
/// Only the database's.
pub fn newest_time(c: &Connection) -> Result<Option<UnixMs>, DbError> {
    let newest = "SELECT at_ms FROM events ORDER BY id DESC LIMIT 1";
    let at = c.query_row(newest, [], |row| row.get(0)).optional()?;
    Ok(at.map(UnixMs))
}

/// Records `event` in the transaction of the change it tells of.
///
/// # Errors
/// Only the database's.
pub fn record(tx: &Transaction<'_>, now: UnixMs, event: &NewEvent) -> Result<i64, DbError> {
    tx.execute(
        "INSERT INTO events (at_ms, kind, level, subject, message, data) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            now.0,
            event.kind,
            event.level.as_str(),
            event.subject,
            event.message,
            event.data.to_string()
        ],
    )?;
    db::note(&event.subject, &event.message);
    Ok(tx.last_insert_rowid())
}

/// The newest events first: of one subject, or of all when `subject` is `None`; a slice's
/// state is their level.
///
/// # Errors
/// Only the database's.
pub fn newest(
    connection: &Connection,
    subject: Option<&str>,
    slice: impl Into<Slice>,
) -> Result<Vec<Event>, DbError> {
    let slice = slice.into();
    let mut statement = connection.prepare_cached(
        "SELECT id, at_ms, kind, level, subject, message, data FROM events
         WHERE (?1 IS NULL OR subject = ?1) AND (?2 IS NULL OR id < ?2) AND (?3 IS NULL OR level = ?3)
         ORDER BY id DESC LIMIT ?4",
    )?;
    let wanted = params![subject, slice.before, slice.state, slice.limit];
    let rows = statement.query_map(wanted, read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Those after `id`, oldest first, a batch at a time.
pub(super) fn after(connection: &Connection, id: i64) -> Result<Vec<Event>, DbError> {
    let mut statement = connection.prepare_cached(
        "SELECT id, at_ms, kind, level, subject, message, data FROM events
         WHERE id > ?1 ORDER BY id LIMIT 500",
    )?;
    let rows = statement.query_map([id], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Event> {
    let level: String = row.get(3)?;
    let data: String = row.get(6)?;
    Ok(Event {
        id: row.get(0)?,
        at_ms: UnixMs(row.get(1)?),
        kind: row.get(2)?,
        level: Level::parse(&level),
        subject: row.get(4)?,
        message: row.get(5)?,
        data: serde_json::from_str(&data).unwrap_or_default(),
    })
}

/// The newest event's id, 0 before the first.
pub(super) fn last(connection: &Connection) -> Result<i64, DbError> {
    let id = connection
        .query_row("SELECT max(id) FROM events", [], |row| {
            row.get::<_, Option<i64>>(0)
        })
        .optional()?;
    Ok(id.flatten().unwrap_or(0))
}

/// Removes those before `id`.
pub(super) fn forget(tx: &Transaction<'_>, id: i64) -> Result<usize, DbError> {
    Ok(tx.execute("DELETE FROM events WHERE id < ?1", [id])?)
}
