//! The tables `second_factors`, `recovery_codes`, `half_sessions`.

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::second_factor::Standing;
use crate::base::clock::UnixMs;
use crate::db::DbError;

/// A sealed key.
pub(super) struct Factor {
    pub sealed: Vec<u8>,
    pub created: UnixMs,
    pub active: bool,
    pub last_step: i64,
}

pub(super) fn find(c: &Connection, user: i64) -> Result<Option<Factor>, DbError> {
    Ok(c.query_row(
        "SELECT secret, created_ms, active_ms IS NOT NULL, last_step FROM second_factors
         WHERE user_id = ?1",
        [user],
        |r| {
            Ok(Factor {
                sealed: r.get(0)?,
                created: UnixMs(r.get(1)?),
                active: r.get(2)?,
                last_step: r.get(3)?,
            })
        },
    )
    .optional()?)
}

pub(super) fn standing(c: &Connection, user: i64) -> Result<Standing, DbError> {
    Ok(c.query_row(
        "SELECT (SELECT active_ms FROM second_factors WHERE user_id = ?1),
                (SELECT count(*) FROM recovery_codes WHERE user_id = ?1 AND used_ms IS NULL)",
        [user],
        |r| {
            let active: Option<i64> = r.get(0)?;
            Ok(Standing {
                active: active.map(UnixMs),
                codes_left: r.get(1)?,
            })
        },
    )?)
}

/// Another key, not asked for yet.
pub(super) fn begin(
    tx: &Transaction<'_>,
    user: i64,
    sealed: &[u8],
    now: UnixMs,
) -> Result<(), DbError> {
    tx.execute(
        "INSERT INTO second_factors (user_id, secret, created_ms) VALUES (?1, ?2, ?3)
         ON CONFLICT (user_id) DO UPDATE SET
           secret = ?2, created_ms = ?3, active_ms = NULL, last_step = 0",
        params![user, sealed, now.0],
    )?;
    Ok(())
}

pub(super) fn activate(tx: &Transaction<'_>, user: i64, now: UnixMs) -> Result<(), DbError> {
    tx.execute(
        "UPDATE second_factors SET active_ms = ?2 WHERE user_id = ?1",
        params![user, now.0],
    )?;
    Ok(())
}

pub(super) fn spend_step(tx: &Transaction<'_>, user: i64, step: i64) -> Result<(), DbError> {
    tx.execute(
        "UPDATE second_factors SET last_step = ?2 WHERE user_id = ?1",
        params![user, step],
    )?;
    Ok(())
}

/// Whether there was such a code, unused until now.
pub(super) fn spend_recovery(
    tx: &Transaction<'_>,
    user: i64,
    digest: &str,
    now: UnixMs,
) -> Result<bool, DbError> {
    let spent = tx.execute(
        "UPDATE recovery_codes SET used_ms = ?3 WHERE user_id = ?1 AND digest = ?2 AND used_ms IS NULL",
        params![user, digest, now.0],
    )?;
    Ok(spent > 0)
}

/// The digests of all recovery codes, used ones too, in one text.
pub(super) fn codes(c: &Connection, user: i64) -> Result<String, DbError> {
    Ok(c.query_row(
        "SELECT coalesce(group_concat(digest, ''), '')
         FROM (SELECT digest FROM recovery_codes WHERE user_id = ?1 ORDER BY digest)",
        [user],
        |r| r.get(0),
    )?)
}

/// These and no others.
pub(super) fn set_recovery(
    tx: &Transaction<'_>,
    user: i64,
    digests: &[String],
) -> Result<(), DbError> {
    tx.execute("DELETE FROM recovery_codes WHERE user_id = ?1", [user])?;
    for digest in digests {
        tx.execute(
            "INSERT INTO recovery_codes (user_id, digest) VALUES (?1, ?2)",
            params![user, digest],
        )?;
    }
    Ok(())
}

/// Whether there was one that was asked for.
pub(super) fn remove(tx: &Transaction<'_>, user: i64) -> Result<bool, DbError> {
    let active = find(tx, user)?.is_some_and(|factor| factor.active);
    tx.execute("DELETE FROM second_factors WHERE user_id = ?1", [user])?;
    set_recovery(tx, user, &[])?;
    end_halves(tx, user)?;
    Ok(active)
}

pub(super) fn insert_half(
    tx: &Transaction<'_>,
    digest: &str,
    user: i64,
    expires: UnixMs,
    now: UnixMs,
) -> Result<(), DbError> {
    tx.execute("DELETE FROM half_sessions WHERE expires_ms <= ?1", [now.0])?;
    tx.execute(
        "INSERT INTO half_sessions (digest, user_id, expires_ms) VALUES (?1, ?2, ?3)",
        params![digest, user, expires.0],
    )?;
    Ok(())
}

pub(super) fn half(c: &Connection, digest: &str, now: UnixMs) -> Result<Option<i64>, DbError> {
    Ok(c.query_row(
        "SELECT user_id FROM half_sessions WHERE digest = ?1 AND expires_ms > ?2",
        params![digest, now.0],
        |r| r.get(0),
    )
    .optional()?)
}

/// Counts a wrong code; the half-way sign-in ends with the last of `most`.
pub(super) fn half_failed(tx: &Transaction<'_>, digest: &str, most: i64) -> Result<(), DbError> {
    tx.execute(
        "UPDATE half_sessions SET tries = tries + 1 WHERE digest = ?1",
        [digest],
    )?;
    tx.execute(
        "DELETE FROM half_sessions WHERE digest = ?1 AND tries >= ?2",
        params![digest, most],
    )?;
    Ok(())
}

/// Whether it was there to be ended.
pub(super) fn end_half(tx: &Transaction<'_>, digest: &str) -> Result<bool, DbError> {
    Ok(tx.execute("DELETE FROM half_sessions WHERE digest = ?1", [digest])? > 0)
}

pub(super) fn end_halves(tx: &Transaction<'_>, user: i64) -> Result<(), DbError> {
    tx.execute("DELETE FROM half_sessions WHERE user_id = ?1", [user])?;
    Ok(())
}
