//! The tables `users`, `setup_links`, `sessions`.

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::{Origin, Role};
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
    pub role: Role,
    /// When this session was last noted.
    pub seen: UnixMs,
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
    /// Where it began.
    pub address: String,
    /// The browser's own words.
    pub agent: String,
}

pub(super) fn any_user(c: &Connection) -> Result<bool, DbError> {
    Ok(c.query_row("SELECT EXISTS (SELECT 1 FROM users)", [], |r| r.get(0))?)
}

pub(super) fn insert_link(
    tx: &Transaction<'_>,
    digest: &str,
    now: UnixMs,
    expires: UnixMs,
) -> Result<(), DbError> {
    tx.execute("DELETE FROM setup_links", [])?;
    tx.execute(
        "INSERT INTO setup_links (digest, created_ms, expires_ms) VALUES (?1, ?2, ?3)",
        params![digest, now.0, expires.0],
    )?;
    Ok(())
}

pub(super) fn link_open(c: &Connection, digest: &str, now: UnixMs) -> Result<bool, DbError> {
    Ok(c.query_row(
        "SELECT EXISTS (SELECT 1 FROM setup_links WHERE digest = ?1 AND used_ms IS NULL AND expires_ms > ?2)",
        params![digest, now.0],
        |r| r.get(0),
    )?)
}

pub(super) fn use_link(tx: &Transaction<'_>, digest: &str, now: UnixMs) -> Result<bool, DbError> {
    Ok(tx.execute(
        "UPDATE setup_links SET used_ms = ?2 WHERE digest = ?1 AND used_ms IS NULL AND expires_ms > ?2",
        params![digest, now.0],
    )? == 1)
}

pub(super) fn upsert_owner(
    tx: &Transaction<'_>,
    name: &str,
    hash: &str,
    now: UnixMs,
) -> Result<i64, DbError> {
    Ok(tx.query_row(
        "INSERT INTO users (name, role, password_hash, created_ms) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (name) DO UPDATE SET password_hash = excluded.password_hash RETURNING id",
        params![name, Role::Owner.as_str(), hash, now.0],
        |r| r.get(0),
    )?)
}

pub(super) fn user_by_name(c: &Connection, name: &str) -> Result<Option<(i64, String)>, DbError> {
    Ok(c.query_row(
        "SELECT id, password_hash FROM users WHERE name = ?1",
        [name],
        |r| Ok((r.get(0)?, r.get(1)?)),
    )
    .optional()?)
}

pub(super) fn hash_of(c: &Connection, user: i64) -> Result<Option<String>, DbError> {
    Ok(c.query_row(
        "SELECT password_hash FROM users WHERE id = ?1",
        [user],
        |r| r.get(0),
    )
    .optional()?)
}

pub(super) fn set_hash(tx: &Transaction<'_>, user: i64, hash: &str) -> Result<(), DbError> {
    tx.execute(
        "UPDATE users SET password_hash = ?2 WHERE id = ?1",
        params![user, hash],
    )?;
    Ok(())
}

pub(super) fn insert_session(
    tx: &Transaction<'_>,
    digest: &str,
    user: i64,
    from: &Origin,
    now: UnixMs,
    expires: UnixMs,
) -> Result<(), DbError> {
    let address = from.address.map(|a| a.to_string()).unwrap_or_default();
    let agent: String = from.agent.chars().take(200).collect();
    tx.execute(
        "INSERT INTO sessions (digest, user_id, created_ms, seen_ms, expires_ms, address, agent)
         VALUES (?1, ?2, ?3, ?3, ?4, ?5, ?6)",
        params![digest, user, now.0, expires.0, address, agent],
    )?;
    Ok(())
}

pub(super) fn session(
    c: &Connection,
    digest: &str,
    now: UnixMs,
) -> Result<Option<Session>, DbError> {
    Ok(c.query_row(
        "SELECT u.id, u.name, s.seen_ms FROM sessions s JOIN users u ON u.id = s.user_id
         WHERE s.digest = ?1 AND s.expires_ms > ?2",
        params![digest, now.0],
        |r| {
            Ok(Session {
                user: r.get(0)?,
                name: r.get(1)?,
                role: Role::Owner,
                seen: UnixMs(r.get(2)?),
            })
        },
    )
    .optional()?)
}

pub(super) fn touch_session(
    tx: &Transaction<'_>,
    digest: &str,
    now: UnixMs,
    expires: UnixMs,
) -> Result<(), DbError> {
    tx.execute(
        "UPDATE sessions SET seen_ms = ?2, expires_ms = ?3 WHERE digest = ?1",
        params![digest, now.0, expires.0],
    )?;
    Ok(())
}

pub(super) fn end_session(tx: &Transaction<'_>, digest: &str) -> Result<(), DbError> {
    tx.execute("DELETE FROM sessions WHERE digest = ?1", [digest])?;
    Ok(())
}

pub(super) fn end_sessions(tx: &Transaction<'_>, user: i64) -> Result<(), DbError> {
    tx.execute("DELETE FROM sessions WHERE user_id = ?1", [user])?;
    Ok(())
}

pub(super) fn end_other_sessions(
    tx: &Transaction<'_>,
    user: i64,
    keep: &str,
) -> Result<(), DbError> {
    tx.execute(
        "DELETE FROM sessions WHERE user_id = ?1 AND digest <> ?2",
        params![user, keep],
    )?;
    Ok(())
}

pub(super) fn remove_expired(tx: &Transaction<'_>, now: UnixMs) -> Result<(), DbError> {
    tx.execute("DELETE FROM sessions WHERE expires_ms <= ?1", [now.0])?;
    Ok(())
}

pub(super) fn sessions(c: &Connection, user: i64, now: UnixMs) -> Result<Vec<SessionRow>, DbError> {
    let mut statement = c.prepare_cached(
        "SELECT substr(digest, 1, 8), created_ms, seen_ms, address, agent FROM sessions
         WHERE user_id = ?1 AND expires_ms > ?2 ORDER BY seen_ms DESC LIMIT 100",
    )?;
    let rows = statement.query_map(params![user, now.0], |r| {
        Ok(SessionRow {
            mark: r.get(0)?,
            created: UnixMs(r.get(1)?),
            seen: UnixMs(r.get(2)?),
            address: r.get(3)?,
            agent: r.get(4)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
