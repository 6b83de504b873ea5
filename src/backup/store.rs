//! The tables `backups`, `restores` and `backup_schedules`.

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::archive::Contents;
use super::row::{Backup, Cause, NewBackup, Restore, Schedule};
use super::state::{BackupState, RestoreState};
use crate::base::clock::UnixMs;
use crate::db::{DbError, Slice};

pub(super) const BACKUP: &str = "SELECT b.id, b.database_id, b.database_name, b.logical, b.owner, b.server_version,
    b.expected_bytes, b.target_id, t.name, b.object_key, b.upload_token, b.state, b.cause, b.attempt,
    b.reason, b.size_bytes, b.sha256, b.contents, b.created_ms, b.due_ms, b.started_ms, b.finished_ms,
    b.check_state, b.check_note, b.checked_ms, b.roles
    FROM backups b LEFT JOIN backup_targets t ON t.id = b.target_id";
pub(super) const RESTORE: &str =
    "SELECT id, backup_id, database_id, logical, fresh, kept, state, reason,
    tables_found, rows_found, created_ms, finished_ms, confirmed_ms FROM restores";

fn unreadable(what: &str) -> rusqlite::Error {
    rusqlite::Error::ToSqlConversionFailure(Box::new(DbError::Unreadable(what.to_owned())))
}

fn unsigned(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<u64>> {
    Ok(row
        .get::<_, Option<i64>>(at)?
        .map(|n| u64::try_from(n).unwrap_or(0)))
}

fn time(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<UnixMs>> {
    Ok(row.get::<_, Option<i64>>(at)?.map(UnixMs))
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn backup(row: &Row<'_>) -> rusqlite::Result<Backup> {
    let state: String = row.get(11)?;
    let cause: String = row.get(12)?;
    let contents: Option<String> = row.get(17)?;
    let roles: Option<String> = row.get(25)?;
    Ok(Backup {
        id: row.get(0)?,
        database: row.get(1)?,
        database_name: row.get(2)?,
        logical: row.get(3)?,
        owner: row.get(4)?,
        roles: roles
            .and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or_default(),
        server_version: row.get(5)?,
        expected_bytes: unsigned(row, 6)?.unwrap_or(0),
        target: row.get(7)?,
        target_name: row.get(8)?,
        key: row.get(9)?,
        upload_token: row.get(10)?,
        state: BackupState::parse(&state).ok_or_else(|| unreadable(&state))?,
        cause: Cause::parse(&cause),
        attempt: row.get(13)?,
        reason: row.get(14)?,
        size_bytes: unsigned(row, 15)?,
        sha256: row.get(16)?,
        contents: contents.and_then(|text| serde_json::from_str(&text).ok()),
        created: UnixMs(row.get(18)?),
        due: UnixMs(row.get(19)?),
        started: time(row, 20)?,
        finished: time(row, 21)?,
        check_state: row.get(22)?,
        check_note: row.get(23)?,
        checked: time(row, 24)?,
    })
}

pub(super) fn restore(row: &Row<'_>) -> rusqlite::Result<Restore> {
    let state: String = row.get(6)?;
    Ok(Restore {
        id: row.get(0)?,
        backup: row.get(1)?,
        database: row.get(2)?,
        logical: row.get(3)?,
        fresh: row.get(4)?,
        kept: row.get(5)?,
        state: RestoreState::parse(&state).ok_or_else(|| unreadable(&state))?,
        reason: row.get(7)?,
        tables: unsigned(row, 8)?,
        rows: unsigned(row, 9)?,
        created: UnixMs(row.get(10)?),
        finished: time(row, 11)?,
        confirmed: time(row, 12)?,
    })
}

/// Writes a backup down; its key is made from its number.
pub(super) fn insert(
    tx: &Transaction<'_>,
    new: &NewBackup,
    target: Option<i64>,
    key: impl FnOnce(i64) -> String,
    now: UnixMs,
) -> Result<i64, DbError> {
    tx.execute(
        "INSERT INTO backups (database_id, database_name, logical, owner, server_version, expected_bytes,
            target_id, object_key, state, cause, attempt, created_ms, due_ms, roles)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, '', 'queued', ?8, ?9, ?10, ?11, ?12)",
        params![
            new.database,
            new.database_name,
            new.logical,
            new.owner,
            new.server_version,
            signed(new.expected_bytes),
            target,
            new.cause.as_str(),
            new.attempt,
            now.0,
            new.due.0,
            serde_json::to_string(&new.roles)?,
        ],
    )?;
    let id = tx.last_insert_rowid();
    tx.execute(
        "UPDATE backups SET object_key = ?2 WHERE id = ?1",
        params![id, key(id)],
    )?;
    Ok(id)
}

pub(super) fn by_id(c: &Connection, id: i64) -> Result<Option<Backup>, DbError> {
    Ok(
        c.query_row(&format!("{BACKUP} WHERE b.id = ?1"), [id], backup)
            .optional()?,
    )
}

/// The newest first: of one server, or of all.
pub(super) fn list(
    c: &Connection,
    database: Option<i64>,
    slice: &Slice,
) -> Result<Vec<Backup>, DbError> {
    let mut statement = c.prepare_cached(&format!(
        "{BACKUP} WHERE (?1 IS NULL OR b.database_id = ?1) AND b.state <> 'expired'
         AND (?2 IS NULL OR b.id < ?2) AND (?3 IS NULL OR b.state = ?3) ORDER BY b.id DESC LIMIT ?4"
    ))?;
    let wanted = params![database, slice.before, slice.state, slice.limit];
    let rows = statement.query_map(wanted, backup)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// All of one server in this state.
pub(super) fn in_state(
    c: &Connection,
    database: i64,
    state: BackupState,
) -> Result<Vec<Backup>, DbError> {
    let mut statement = c.prepare_cached(&format!(
        "{BACKUP} WHERE b.database_id = ?1 AND b.state = ?2 ORDER BY b.id"
    ))?;
    let rows = statement.query_map(params![database, state.as_str()], backup)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn set_state(
    tx: &Transaction<'_>,
    id: i64,
    state: BackupState,
    reason: Option<&str>,
    now: UnixMs,
) -> Result<(), DbError> {
    tx.execute(
        "UPDATE backups SET state = ?2, reason = ?3,
            started_ms = CASE WHEN ?2 = 'running' THEN ?4 ELSE started_ms END,
            finished_ms = CASE WHEN ?2 IN ('stored', 'failed') THEN ?4 ELSE finished_ms END
         WHERE id = ?1",
        params![id, state.as_str(), reason, now.0],
    )?;
    Ok(())
}

/// Notes in a backup that is not ended that it is to end as cancelled, unless that was noted before.
pub(super) fn ask_cancel(tx: &Transaction<'_>, id: i64, reason: &str) -> Result<bool, DbError> {
    let noted = tx.execute(
        "UPDATE backups SET reason = CASE WHEN substr(reason, 1, length(?3)) = ?3 THEN reason ELSE ?2 END
         WHERE id = ?1 AND state IN ('queued', 'running', 'verifying')",
        params![id, reason, super::cancel::TAKEN_BACK],
    )?;
    Ok(noted > 0)
}

/// Notes a wish to take back a check that runs; the first who said so stays.
pub(super) fn ask_cancel_check(
    tx: &Transaction<'_>,
    backup: i64,
    reason: &str,
) -> Result<bool, DbError> {
    let noted = tx.execute(
        "UPDATE backups SET check_note = coalesce(check_note, ?2) WHERE id = ?1 AND check_state = 'running'",
        params![backup, reason],
    )?;
    Ok(noted > 0)
}

/// Notes a wish to take back a restore that has not begun to take the live one's name.
pub(super) fn ask_cancel_restore(
    tx: &Transaction<'_>,
    id: i64,
    reason: &str,
) -> Result<bool, DbError> {
    let noted = tx.execute(
        "UPDATE restores SET reason = coalesce(reason, ?2)
         WHERE id = ?1 AND state IN ('queued', 'loading', 'comparing')",
        params![id, reason],
    )?;
    Ok(noted > 0)
}

pub(super) fn set_upload(
    tx: &Transaction<'_>,
    id: i64,
    token: Option<&str>,
) -> Result<(), DbError> {
    tx.execute(
        "UPDATE backups SET upload_token = ?2 WHERE id = ?1",
        params![id, token],
    )?;
    Ok(())
}

pub(super) fn set_written(
    tx: &Transaction<'_>,
    id: i64,
    size: u64,
    sha256: &str,
) -> Result<(), DbError> {
    tx.execute(
        "UPDATE backups SET size_bytes = ?2, sha256 = ?3, upload_token = NULL WHERE id = ?1",
        params![id, signed(size), sha256],
    )?;
    Ok(())
}

pub(super) fn set_contents(
    tx: &Transaction<'_>,
    id: i64,
    contents: Contents,
) -> Result<(), DbError> {
    tx.execute(
        "UPDATE backups SET contents = ?2 WHERE id = ?1",
        params![id, serde_json::to_string(&contents)?],
    )?;
    Ok(())
}

pub(super) fn set_check(
    tx: &Transaction<'_>,
    id: i64,
    state: &str,
    note: Option<&str>,
    now: UnixMs,
) -> Result<(), DbError> {
    tx.execute(
        "UPDATE backups SET check_state = ?2, check_note = ?3, checked_ms = ?4 WHERE id = ?1",
        params![id, state, note, now.0],
    )?;
    Ok(())
}

pub(super) fn delete(tx: &Transaction<'_>, id: i64) -> Result<(), DbError> {
    tx.execute("DELETE FROM backups WHERE id = ?1", [id])?;
    Ok(())
}

/// Failed ones are shown for a while, then forgotten: but not before what they
/// left in their store is gone, since nothing else knows of it.
pub(super) fn forget_failed(tx: &Transaction<'_>, before: UnixMs) -> Result<(), DbError> {
    tx.execute(
        "DELETE FROM backups WHERE state = 'failed' AND finished_ms < ?1 AND upload_token IS NULL",
        [before.0],
    )?;
    Ok(())
}

/// Restores that are over, with nothing of them left on their server, are
/// listed for a while, then forgotten.
pub(super) fn forget_restores(tx: &Transaction<'_>, before: UnixMs) -> Result<(), DbError> {
    tx.execute(
        "DELETE FROM restores WHERE finished_ms < ?1
         AND (state = 'failed' OR (state = 'done' AND confirmed_ms IS NOT NULL))",
        [before.0],
    )?;
    Ok(())
}

pub(super) fn insert_restore(
    tx: &Transaction<'_>,
    backup: &Backup,
    server: i64,
    names: impl FnOnce(i64) -> (String, String),
    now: UnixMs,
) -> Result<i64, DbError> {
    tx.execute(
        "INSERT INTO restores (backup_id, database_id, logical, fresh, kept, state, created_ms)
         VALUES (?1, ?2, ?3, '', '', 'queued', ?4)",
        params![backup.id, server, backup.logical, now.0],
    )?;
    let id = tx.last_insert_rowid();
    let (fresh, kept) = names(id);
    tx.execute(
        "UPDATE restores SET fresh = ?2, kept = ?3 WHERE id = ?1",
        params![id, fresh, kept],
    )?;
    Ok(id)
}

pub(super) fn restore_by_id(c: &Connection, id: i64) -> Result<Option<Restore>, DbError> {
    Ok(
        c.query_row(&format!("{RESTORE} WHERE id = ?1"), [id], restore)
            .optional()?,
    )
}

pub(super) fn restores(
    c: &Connection,
    database: Option<i64>,
    slice: &Slice,
) -> Result<Vec<Restore>, DbError> {
    let mut statement = c.prepare_cached(&format!(
        "{RESTORE} WHERE (?1 IS NULL OR database_id = ?1)
         AND (?2 IS NULL OR id < ?2) AND (?3 IS NULL OR state = ?3) ORDER BY id DESC LIMIT ?4"
    ))?;
    let wanted = params![database, slice.before, slice.state, slice.limit];
    let rows = statement.query_map(wanted, restore)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn set_restore_state(
    tx: &Transaction<'_>,
    id: i64,
    state: RestoreState,
    reason: Option<&str>,
    now: UnixMs,
) -> Result<(), DbError> {
    tx.execute(
        "UPDATE restores SET state = ?2, reason = ?3,
            finished_ms = CASE WHEN ?2 IN ('done', 'failed') THEN ?4 ELSE finished_ms END
         WHERE id = ?1",
        params![id, state.as_str(), reason, now.0],
    )?;
    Ok(())
}

pub(super) fn set_restore_found(
    tx: &Transaction<'_>,
    id: i64,
    tables: u64,
    rows: u64,
) -> Result<(), DbError> {
    tx.execute(
        "UPDATE restores SET tables_found = ?2, rows_found = ?3 WHERE id = ?1",
        params![id, signed(tables), signed(rows)],
    )?;
    Ok(())
}

pub(super) fn set_confirmed(tx: &Transaction<'_>, id: i64, now: UnixMs) -> Result<(), DbError> {
    tx.execute(
        "UPDATE restores SET confirmed_ms = ?2 WHERE id = ?1",
        params![id, now.0],
    )?;
    Ok(())
}

/// Names on a server that restores made: dumps leave them out.
pub(super) fn restore_names(c: &Connection, database: i64) -> Result<Vec<String>, DbError> {
    let mut statement = c.prepare_cached(
        "SELECT fresh FROM restores WHERE database_id = ?1 UNION SELECT kept FROM restores WHERE database_id = ?1",
    )?;
    let rows = statement.query_map([database], |r| r.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn schedule(c: &Connection, database: i64) -> Result<Option<Schedule>, DbError> {
    Ok(c.query_row(
        "SELECT minute, next_due_ms, alarm_ms, created_ms FROM backup_schedules WHERE database_id = ?1",
        [database],
        |row| {
            Ok(Schedule {
                minute: row.get(0)?,
                next_due: UnixMs(row.get(1)?),
                alarm: time(row, 2)?,
                created: UnixMs(row.get(3)?),
            })
        },
    )
    .optional()?)
}

pub(super) fn set_schedule(
    tx: &Transaction<'_>,
    database: i64,
    minute: u32,
    next_due: UnixMs,
    now: UnixMs,
) -> Result<(), DbError> {
    tx.execute(
        "INSERT INTO backup_schedules (database_id, minute, next_due_ms, created_ms) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (database_id) DO UPDATE SET minute = excluded.minute, next_due_ms = excluded.next_due_ms",
        params![database, minute, next_due.0, now.0],
    )?;
    Ok(())
}

pub(super) fn set_alarm(tx: &Transaction<'_>, database: i64, now: UnixMs) -> Result<(), DbError> {
    tx.execute(
        "UPDATE backup_schedules SET alarm_ms = ?2 WHERE database_id = ?1",
        params![database, now.0],
    )?;
    Ok(())
}

/// The servers that have a schedule.
pub(super) fn scheduled(c: &Connection) -> Result<Vec<i64>, DbError> {
    let mut statement = c.prepare_cached("SELECT database_id FROM backup_schedules")?;
    let rows = statement.query_map([], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Servers that are no more need no schedule; what was stored of them stays.
pub(super) fn keep_schedules(tx: &Transaction<'_>, of: &[i64]) -> Result<(), DbError> {
    let list = serde_json::to_string(of)?;
    tx.execute(
        "DELETE FROM backup_schedules WHERE database_id NOT IN (SELECT value FROM json_each(?1))",
        [list],
    )?;
    Ok(())
}
