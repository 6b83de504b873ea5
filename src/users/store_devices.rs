//! The table `devices`, and the counts of wrong tries.

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::throttle::{Subject, Tally};
use crate::base::clock::UnixMs;
use crate::db::DbError;

/// Browsers an account knows at most; the ones not seen for longest are forgotten.
const MOST: i64 = 50;

/// The row of the browser with this cookie, where this account knows it.
pub(super) fn known(
    c: &Connection,
    digest: &str,
    user: i64,
) -> Result<Option<(i64, Tally)>, DbError> {
    Ok(c.query_row(
        "SELECT id, failures, failed_ms FROM devices WHERE digest = ?1 AND user_id = ?2",
        params![digest, user],
        |r| {
            let tally = Tally {
                failures: r.get(1)?,
                last: UnixMs(r.get(2)?),
            };
            Ok((r.get(0)?, tally))
        },
    )
    .optional()?)
}

/// Somebody came in by this browser: it has another cookie from now on, for everybody who knows it.
pub(super) fn came_in(
    tx: &Transaction<'_>,
    old: Option<&str>,
    new: &str,
    user: i64,
    now: UnixMs,
) -> Result<i64, DbError> {
    if let Some(old) = old {
        tx.execute(
            "UPDATE devices SET digest = ?2 WHERE digest = ?1",
            params![old, new],
        )?;
    }
    let id = tx.query_row(
        "INSERT INTO devices (digest, user_id, created_ms, seen_ms) VALUES (?1, ?2, ?3, ?3)
         ON CONFLICT (digest, user_id) DO UPDATE SET seen_ms = ?3, failures = 0
         RETURNING id",
        params![new, user, now.0],
        |r| r.get(0),
    )?;
    tx.execute(
        "DELETE FROM devices WHERE user_id = ?1 AND id NOT IN
         (SELECT id FROM devices WHERE user_id = ?1 ORDER BY seen_ms DESC, id DESC LIMIT ?2)",
        params![user, MOST],
    )?;
    Ok(id)
}

/// Every browser is a stranger to this account again, but the one of the session `keep`.
pub(super) fn forget(tx: &Transaction<'_>, user: i64, keep: Option<&str>) -> Result<(), DbError> {
    tx.execute(
        "DELETE FROM devices WHERE user_id = ?1 AND id IS NOT
         (SELECT device_id FROM sessions WHERE digest = ?2)",
        params![user, keep],
    )?;
    Ok(())
}

/// What is on an account or a browser; the other subjects have no row.
pub(super) fn set_tally(
    tx: &Transaction<'_>,
    subject: Subject,
    tally: Tally,
) -> Result<(), DbError> {
    let (sql, id) = match subject {
        Subject::Account(id) => (
            "UPDATE users SET failures = ?2, failed_ms = ?3 WHERE id = ?1",
            id,
        ),
        Subject::Device(id) => (
            "UPDATE devices SET failures = ?2, failed_ms = ?3 WHERE id = ?1",
            id,
        ),
        Subject::Address(_) | Subject::Name(_) => return Ok(()),
    };
    tx.execute(sql, params![id, tally.failures, tally.last.0])?;
    Ok(())
}
