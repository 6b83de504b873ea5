//! The tables `users`, `user_apps`, `setup_links`, `sessions`.

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::{Grant, Origin, Person, Role, Verb};
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

/// A one-time link: whom it is for, and what they become when they are not there yet.
pub(super) struct Link {
    pub digest: String,
    pub user: String,
    pub role: Role,
    pub apps: Vec<i64>,
    pub made_by: String,
}

fn role(row: &Row<'_>, column: usize) -> rusqlite::Result<Role> {
    let text: String = row.get(column)?;
    Role::parse(&text).ok_or_else(|| {
        let what = format!("{text} is no role");
        rusqlite::Error::FromSqlConversionFailure(column, Type::Text, what.into())
    })
}

pub(super) fn insert_link(
    tx: &Transaction<'_>,
    link: &Link,
    now: UnixMs,
    expires: UnixMs,
) -> Result<(), DbError> {
    tx.execute("DELETE FROM setup_links WHERE user_name = ?1", [&link.user])?;
    tx.execute(
        "INSERT INTO setup_links (digest, created_ms, expires_ms, user_name, role, apps, made_by)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            link.digest,
            now.0,
            expires.0,
            link.user,
            link.role.as_str(),
            serde_json::json!(link.apps).to_string(),
            link.made_by
        ],
    )?;
    Ok(())
}

pub(super) fn open_link(
    c: &Connection,
    digest: &str,
    now: UnixMs,
) -> Result<Option<Link>, DbError> {
    Ok(c.query_row(
        "SELECT digest, user_name, role, apps, made_by FROM setup_links
         WHERE digest = ?1 AND used_ms IS NULL AND expires_ms > ?2",
        params![digest, now.0],
        |r| {
            let apps: String = r.get(3)?;
            Ok(Link {
                digest: r.get(0)?,
                user: r.get(1)?,
                role: role(r, 2)?,
                apps: serde_json::from_str(&apps).unwrap_or_default(),
                made_by: r.get(4)?,
            })
        },
    )
    .optional()?)
}

/// Ids of the apps that the newest unused link for `name` gives.
pub(super) fn invited_for(c: &Connection, name: &str) -> Result<Vec<i64>, DbError> {
    let apps: Option<String> = c
        .query_row(
            "SELECT apps FROM setup_links WHERE user_name = ?1 AND used_ms IS NULL
             ORDER BY created_ms DESC LIMIT 1",
            [name],
            |r| r.get(0),
        )
        .optional()?;
    Ok(apps
        .and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_default())
}

pub(super) fn use_link(tx: &Transaction<'_>, digest: &str, now: UnixMs) -> Result<(), DbError> {
    tx.execute(
        "UPDATE setup_links SET used_ms = ?2 WHERE digest = ?1",
        params![digest, now.0],
    )?;
    Ok(())
}

/// Sets the password of the user the link is for; makes them where there is none.
pub(super) fn upsert_user(
    tx: &Transaction<'_>,
    link: &Link,
    hash: &str,
    now: UnixMs,
) -> Result<i64, DbError> {
    if let Some((user, _)) = user_by_name(tx, &link.user)? {
        set_hash(tx, user, hash)?;
        return Ok(user);
    }
    let user = tx.query_row(
        "INSERT INTO users (name, role, password_hash, created_ms) VALUES (?1, ?2, ?3, ?4) RETURNING id",
        params![link.user, link.role.as_str(), hash, now.0],
        |r| r.get(0),
    )?;
    set_apps(tx, user, &link.apps)?;
    Ok(user)
}

/// What is no app any more is left out.
fn set_apps(tx: &Transaction<'_>, user: i64, apps: &[i64]) -> Result<(), DbError> {
    tx.execute("DELETE FROM user_apps WHERE user_id = ?1", [user])?;
    for app in apps {
        tx.execute(
            "INSERT OR IGNORE INTO user_apps (user_id, app_id) SELECT ?1, id FROM apps WHERE id = ?2",
            params![user, app],
        )?;
    }
    Ok(())
}

pub(super) fn set_role(
    tx: &Transaction<'_>,
    user: i64,
    role: Role,
    apps: &[i64],
) -> Result<(), DbError> {
    tx.execute(
        "UPDATE users SET role = ?2 WHERE id = ?1",
        params![user, role.as_str()],
    )?;
    set_apps(tx, user, apps)
}

/// Whether anybody was there to be removed; an invitation goes too.
pub(super) fn remove_user(tx: &Transaction<'_>, name: &str) -> Result<bool, DbError> {
    let links = tx.execute(
        "DELETE FROM setup_links WHERE user_name = ?1 AND used_ms IS NULL",
        [name],
    )?;
    let users = tx.execute("DELETE FROM users WHERE name = ?1", [name])?;
    Ok(links + users > 0)
}

/// How many owners there are.
pub(super) fn owners(c: &Connection) -> Result<i64, DbError> {
    Ok(
        c.query_row("SELECT count(*) FROM users WHERE role = 'owner'", [], |r| {
            r.get(0)
        })?,
    )
}

/// Users, and those asked in whose link is open.
pub(super) fn people(c: &Connection, now: UnixMs) -> Result<Vec<Person>, DbError> {
    let mut statement = c.prepare_cached(
        "SELECT u.id, u.name, u.role,
                (SELECT json_group_array(a.name) FROM user_apps ua JOIN apps a ON a.id = ua.app_id
                 WHERE ua.user_id = u.id) AS apps,
                u.created_ms, (SELECT max(seen_ms) FROM sessions s WHERE s.user_id = u.id), NULL
         FROM users u
         UNION ALL
         SELECT NULL, l.user_name, l.role,
                (SELECT json_group_array(a.name) FROM apps a, json_each(l.apps) j WHERE a.id = j.value),
                l.created_ms, NULL, l.expires_ms
         FROM setup_links l
         WHERE l.used_ms IS NULL AND l.expires_ms > ?1
           AND NOT EXISTS (SELECT 1 FROM users u WHERE u.name = l.user_name)
         ORDER BY 2 LIMIT 1000",
    )?;
    let rows = statement.query_map([now.0], |r| {
        let apps: String = r.get(3)?;
        let seen: Option<i64> = r.get(5)?;
        let until: Option<i64> = r.get(6)?;
        Ok(Person {
            id: r.get(0)?,
            name: r.get(1)?,
            role: role(r, 2)?,
            apps: serde_json::from_str(&apps).unwrap_or_default(),
            since: UnixMs(r.get(4)?),
            seen: seen.map(UnixMs),
            invited_until: until.map(UnixMs),
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn user_by_name(c: &Connection, name: &str) -> Result<Option<(i64, String)>, DbError> {
    Ok(c.query_row(
        "SELECT id, password_hash FROM users WHERE name = ?1",
        [name],
        |r| Ok((r.get(0)?, r.get(1)?)),
    )
    .optional()?)
}

/// Name and password hash.
pub(super) fn user_by_id(c: &Connection, user: i64) -> Result<Option<(String, String)>, DbError> {
    Ok(c.query_row(
        "SELECT name, password_hash FROM users WHERE id = ?1",
        [user],
        |r| Ok((r.get(0)?, r.get(1)?)),
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
        "SELECT u.id, u.name, s.seen_ms, u.role,
                (SELECT json_group_array(a.name) FROM user_apps ua JOIN apps a ON a.id = ua.app_id
                 WHERE ua.user_id = u.id)
         FROM sessions s JOIN users u ON u.id = s.user_id
         WHERE s.digest = ?1 AND s.expires_ms > ?2",
        params![digest, now.0],
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

pub(super) fn end_session_of(tx: &Transaction<'_>, user: i64, mark: &str) -> Result<(), DbError> {
    tx.execute(
        "DELETE FROM sessions WHERE user_id = ?1 AND substr(digest, 1, 8) = ?2",
        params![user, mark],
    )?;
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
