//! The table `sessions`.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::store::role;
use super::{Grant, Origin, SESSION_IDLE, SESSION_LIFE, Verb};
use crate::base::clock::UnixMs;
use crate::db::DbError;

/// Who a request comes from.
#[derive(Clone, Debug)]
pub struct Session {
    /// The user's row.
    pub user: i64,
    /// The user's name.
    pub name: String,
    /// What they may do.
    pub grant: Grant,
    /// When this session was last noted.
    pub seen: UnixMs,
    /// When the password was last given in it.
    pub confirmed: UnixMs,
}

/// A session as its owner sees it in the list.
#[derive(Clone, Debug)]
pub struct SessionRow {
    /// The first characters of the digest, to tell sessions apart.
    pub mark: String,
    /// When it began.
    pub created: UnixMs,
    /// When it was last noted.
    pub seen: UnixMs,
    /// When it ends unless it is used.
    pub expires: UnixMs,
    /// Where it began.
    pub address: String,
    /// The browser's own words.
    pub agent: String,
}

/// A session about to begin.
pub(super) struct Beginning<'a> {
    pub digest: &'a str,
    pub user: i64,
    pub from: &'a Origin,
    pub device: i64,
    pub expires: UnixMs,
}

/// Characters of a digest by which a session is told; the queries below say so again.
pub(super) const MARK: usize = 8;

/// Sessions of one user.
pub(super) const OF_ONE: u32 = 100;

/// How far ahead of now a session may have begun: a clock that was an hour wrong signs nobody out, and one that was a year
/// ahead lets nobody stay in for that year.
const AHEAD: Duration = Duration::from_secs(24 * 3600);

/// When a session that counts now has begun at the latest.
fn begun_by(now: UnixMs) -> UnixMs {
    now.plus(AHEAD)
}

/// Begins a session; it ends those seen longest ago when there are too many.
pub(super) fn insert(
    tx: &Transaction<'_>,
    new: &Beginning<'_>,
    now: UnixMs,
) -> Result<(), DbError> {
    // And the user's own of a time to come, which would be there again with it. Others' stay: it may be now that the clock is
    // wrong.
    tx.execute(
        "DELETE FROM sessions WHERE expires_ms <= ?1 OR (created_ms > ?2 AND user_id = ?3)",
        params![now.0, begun_by(now).0, new.user],
    )?;
    let address = new.from.address.map(|a| a.to_string()).unwrap_or_default();
    let agent: String = new.from.agent.chars().take(200).collect();
    tx.execute(
        "INSERT INTO sessions
           (digest, user_id, created_ms, seen_ms, confirmed_ms, expires_ms, address, agent, device_id)
         VALUES (?1, ?2, ?3, ?3, ?3, ?4, ?5, ?6, ?7)",
        params![
            new.digest,
            new.user,
            now.0,
            new.expires.0,
            address,
            agent,
            new.device
        ],
    )?;
    // The list shows all there are: those seen longest ago end.
    tx.execute(
        "DELETE FROM sessions WHERE user_id = ?1 AND digest NOT IN
           (SELECT digest FROM sessions WHERE user_id = ?1
            ORDER BY seen_ms DESC, created_ms DESC, rowid DESC LIMIT ?2)",
        params![new.user, OF_ONE],
    )?;
    Ok(())
}

pub(super) fn find(c: &Connection, digest: &str, now: UnixMs) -> Result<Option<Session>, DbError> {
    Ok(c.query_row(
        "SELECT u.id, u.name, s.seen_ms, u.role,
                (SELECT json_group_array(a.name) FROM user_apps ua JOIN apps a ON a.id = ua.app_id
                 WHERE ua.user_id = u.id),
                s.confirmed_ms
         FROM sessions s JOIN users u ON u.id = s.user_id
         WHERE s.digest = ?1 AND s.expires_ms > ?2 AND s.created_ms <= ?3",
        params![digest, now.0, begun_by(now).0],
        |r| {
            let apps: String = r.get(4)?;
            Ok(Session {
                user: r.get(0)?,
                name: r.get(1)?,
                grant: Grant {
                    role: role(r, 3)?,
                    apps: serde_json::from_str(&apps).unwrap_or_default(),
                    verb: Verb::Change,
                },
                seen: UnixMs(r.get(2)?),
                confirmed: UnixMs(r.get(5)?),
            })
        },
    )
    .optional()?)
}

/// Seen now: it goes on, up to the whole life of a session.
pub(super) fn touch(tx: &Transaction<'_>, digest: &str, now: UnixMs) -> Result<(), DbError> {
    let life = i64::try_from(SESSION_LIFE.as_millis()).unwrap_or(i64::MAX);
    tx.execute(
        "UPDATE sessions SET seen_ms = ?2, expires_ms = min(?3, created_ms + ?4) WHERE digest = ?1",
        params![digest, now.0, now.plus(SESSION_IDLE).0, life],
    )?;
    Ok(())
}

/// The session goes on under another cookie, its password just given. False when it is gone.
pub(super) fn renew(
    tx: &Transaction<'_>,
    old: &str,
    new: &str,
    user: i64,
    now: UnixMs,
) -> Result<bool, DbError> {
    let renewed = tx.execute(
        "UPDATE sessions SET digest = ?2, confirmed_ms = ?4 WHERE digest = ?1 AND user_id = ?3",
        params![old, new, user, now.0],
    )?;
    Ok(renewed > 0)
}

pub(super) fn end(tx: &Transaction<'_>, digest: &str) -> Result<(), DbError> {
    tx.execute("DELETE FROM sessions WHERE digest = ?1", [digest])?;
    Ok(())
}

/// Ends the session with this mark, and makes its browser a stranger again. False when there is none.
pub(super) fn end_marked(tx: &Transaction<'_>, user: i64, mark: &str) -> Result<bool, DbError> {
    tx.execute(
        "DELETE FROM devices WHERE user_id = ?1 AND id IN
         (SELECT device_id FROM sessions WHERE user_id = ?1 AND substr(digest, 1, 8) = ?2)",
        params![user, mark],
    )?;
    let ended = tx.execute(
        "DELETE FROM sessions WHERE user_id = ?1 AND substr(digest, 1, 8) = ?2",
        params![user, mark],
    )?;
    Ok(ended > 0)
}

/// Ends all sessions of `user`, but the one with the digest `keep`; how many.
pub(super) fn end_all(
    tx: &Transaction<'_>,
    user: i64,
    keep: Option<&str>,
) -> Result<usize, DbError> {
    Ok(tx.execute(
        "DELETE FROM sessions WHERE user_id = ?1 AND digest IS NOT ?2",
        params![user, keep],
    )?)
}

pub(super) fn list(c: &Connection, user: i64, now: UnixMs) -> Result<Vec<SessionRow>, DbError> {
    let mut statement = c.prepare_cached(
        "SELECT substr(digest, 1, 8), created_ms, seen_ms, expires_ms, address, agent FROM sessions
         WHERE user_id = ?1 AND expires_ms > ?2 AND created_ms <= ?3 ORDER BY seen_ms DESC",
    )?;
    let rows = statement.query_map(params![user, now.0, begun_by(now).0], |r| {
        Ok(SessionRow {
            mark: r.get(0)?,
            created: UnixMs(r.get(1)?),
            seen: UnixMs(r.get(2)?),
            expires: UnixMs(r.get(3)?),
            address: r.get(4)?,
            agent: r.get(5)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
