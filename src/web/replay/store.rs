//! The `replays` table.

use rusqlite::{OptionalExtension, Transaction, params};

use crate::base::clock::UnixMs;
use crate::base::secret::MasterKey;
use crate::db::DbError;

use super::{Asked, Found, Kept};

/// Rows kept of one caller.
const OF_ONE: u32 = 500;

/// Takes the key for this request, or says what it was taken for.
pub(super) fn take(
    tx: &Transaction<'_>,
    key: &MasterKey,
    asked: &Asked,
    now: UnixMs,
    oldest: UnixMs,
) -> Result<Found, DbError> {
    tx.execute("DELETE FROM replays WHERE created_ms < ?1", [oldest.0])?;
    let row = tx
        .query_row(
            "SELECT fingerprint, status, answer FROM replays WHERE caller = ?1 AND key = ?2 AND route = ?3",
            params![asked.caller, asked.key, asked.route],
            |row| {
                Ok((
                    row.get::<_, String>(0)?,
                    row.get::<_, Option<u16>>(1)?,
                    row.get::<_, Option<Vec<u8>>>(2)?,
                ))
            },
        )
        .optional()?;
    let Some((fingerprint, status, answer)) = row else {
        tx.execute(
            "INSERT INTO replays (caller, key, route, fingerprint, created_ms) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![asked.caller, asked.key, asked.route, asked.fingerprint, now.0],
        )?;
        // The oldest of a caller who keeps making keys give way.
        tx.execute(
            "DELETE FROM replays WHERE caller = ?1 AND rowid NOT IN
                (SELECT rowid FROM replays WHERE caller = ?1 ORDER BY created_ms DESC, rowid DESC LIMIT ?2)",
            params![asked.caller, OF_ONE],
        )?;
        return Ok(Found::Free);
    };
    if fingerprint != asked.fingerprint {
        return Ok(Found::Other);
    }
    let (Some(status), Some(answer)) = (status, answer) else {
        return Ok(Found::InWork);
    };
    let plain = key.open(&asked.context(), &answer)?;
    let mut kept: Kept = serde_json::from_slice(&plain).unwrap_or_default();
    kept.status = status;
    Ok(Found::Done(kept))
}

/// Keeps what was answered.
pub(super) fn keep(
    tx: &Transaction<'_>,
    key: &MasterKey,
    asked: &Asked,
    kept: &Kept,
) -> Result<(), DbError> {
    let plain = serde_json::to_vec(kept).unwrap_or_default();
    let sealed = key.seal(&asked.context(), &plain)?;
    tx.execute(
        "UPDATE replays SET status = ?4, answer = ?5 WHERE caller = ?1 AND key = ?2 AND route = ?3",
        params![asked.caller, asked.key, asked.route, kept.status, sealed],
    )?;
    Ok(())
}

/// Gives the key free: nothing was made.
pub(super) fn release(tx: &Transaction<'_>, asked: &Asked) -> Result<(), DbError> {
    tx.execute(
        "DELETE FROM replays WHERE caller = ?1 AND key = ?2 AND route = ?3 AND status IS NULL",
        params![asked.caller, asked.key, asked.route],
    )?;
    Ok(())
}
