//! The tables `users`, `user_apps`, `setup_links`.

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::sign_in::Account;
use super::throttle::Tally;
use super::{Person, Role};
use crate::base::clock::UnixMs;
use crate::db::DbError;

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
    /// The maker's row; none for the box itself.
    pub maker: Option<i64>,
}

pub(super) fn role(row: &Row<'_>, column: usize) -> rusqlite::Result<Role> {
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
        "INSERT INTO setup_links
           (digest, created_ms, expires_ms, user_name, role, apps, made_by, maker_id)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![
            link.digest,
            now.0,
            expires.0,
            link.user,
            link.role.as_str(),
            serde_json::json!(link.apps).to_string(),
            link.made_by,
            link.maker
        ],
    )?;
    Ok(())
}

/// One that was made further ahead of now than it is good for was made while the clock was ahead: it opens nothing, here and
/// in the queries below, or it would be good until the clock is there again.
pub(super) fn open_link(
    c: &Connection,
    digest: &str,
    now: UnixMs,
) -> Result<Option<Link>, DbError> {
    Ok(c.query_row(
        "SELECT digest, user_name, role, apps, made_by, maker_id FROM setup_links
         WHERE digest = ?1 AND used_ms IS NULL AND expires_ms > ?2 AND 2 * created_ms - expires_ms <= ?2",
        params![digest, now.0],
        |r| {
            let apps: String = r.get(3)?;
            Ok(Link {
                digest: r.get(0)?,
                user: r.get(1)?,
                role: role(r, 2)?,
                apps: serde_json::from_str(&apps).unwrap_or_default(),
                made_by: r.get(4)?,
                maker: r.get(5)?,
            })
        },
    )
    .optional()?)
}

/// What the open link for `name` gives: the role, and ids of apps.
pub(super) fn open_link_for(
    c: &Connection,
    name: &str,
    now: UnixMs,
) -> Result<Option<(Role, Vec<i64>)>, DbError> {
    Ok(c.query_row(
        "SELECT role, apps FROM setup_links
         WHERE user_name = ?1 AND used_ms IS NULL AND expires_ms > ?2
         ORDER BY created_ms DESC LIMIT 1",
        params![name, now.0],
        |r| {
            let apps: String = r.get(1)?;
            Ok((role(r, 0)?, serde_json::from_str(&apps).unwrap_or_default()))
        },
    )
    .optional()?)
}

/// The digest of the open link for `name`.
pub(super) fn open_link_digest(
    c: &Connection,
    name: &str,
    now: UnixMs,
) -> Result<Option<String>, DbError> {
    Ok(c.query_row(
        "SELECT digest FROM setup_links
         WHERE user_name = ?1 AND used_ms IS NULL AND expires_ms > ?2 AND 2 * created_ms - expires_ms <= ?2
         ORDER BY created_ms DESC LIMIT 1",
        params![name, now.0],
        |r| r.get(0),
    )
    .optional()?)
}

/// Ends the open links for `name`: who has one would come in past what changed.
pub(super) fn end_links_for(tx: &Transaction<'_>, name: &str) -> Result<usize, DbError> {
    Ok(tx.execute(
        "DELETE FROM setup_links WHERE user_name = ?1 AND used_ms IS NULL",
        [name],
    )?)
}

/// Ends the open links that `user` made.
pub(super) fn end_links_by(tx: &Transaction<'_>, user: i64) -> Result<(), DbError> {
    tx.execute(
        "DELETE FROM setup_links WHERE maker_id = ?1 AND used_ms IS NULL",
        [user],
    )?;
    Ok(())
}

/// Users, and those asked in: how many there are.
pub(super) fn count(c: &Connection, now: UnixMs) -> Result<usize, DbError> {
    let count: i64 = c.query_row(
        "SELECT (SELECT count(*) FROM users)
              + (SELECT count(*) FROM setup_links l WHERE l.used_ms IS NULL AND l.expires_ms > ?1
                   AND 2 * l.created_ms - l.expires_ms <= ?1
                   AND NOT EXISTS (SELECT 1 FROM users u WHERE u.name = l.user_name))",
        [now.0],
        |r| r.get(0),
    )?;
    Ok(usize::try_from(count).unwrap_or(usize::MAX))
}

/// The role of a user.
pub(super) fn role_of(c: &Connection, user: i64) -> Result<Option<Role>, DbError> {
    Ok(
        c.query_row("SELECT role FROM users WHERE id = ?1", [user], |r| {
            role(r, 0)
        })
        .optional()?,
    )
}

pub(super) fn use_link(tx: &Transaction<'_>, digest: &str, now: UnixMs) -> Result<(), DbError> {
    tx.execute(
        "UPDATE setup_links SET used_ms = ?2 WHERE digest = ?1",
        params![digest, now.0],
    )?;
    Ok(())
}

/// The tables whose rows are told by their id long after they are gone: in the audit log, in answers
/// kept for requests that are sent again.
#[derive(Clone, Copy)]
pub(super) enum Numbered {
    Users,
    Tokens,
}

/// An id for a new row: one that no row had before, not even one that is gone.
pub(super) fn fresh_id(tx: &Transaction<'_>, table: Numbered) -> Result<i64, DbError> {
    let sql = match table {
        Numbered::Users => {
            "INSERT INTO meta (key, value)
             SELECT 'last_id.users', coalesce(max(id), 0) + 1 FROM users WHERE true
             ON CONFLICT (key) DO UPDATE SET value = max(CAST(value AS INTEGER) + 1, CAST(excluded.value AS INTEGER))
             RETURNING CAST(value AS INTEGER)"
        }
        Numbered::Tokens => {
            "INSERT INTO meta (key, value)
             SELECT 'last_id.tokens', coalesce(max(id), 0) + 1 FROM tokens WHERE true
             ON CONFLICT (key) DO UPDATE SET value = max(CAST(value AS INTEGER) + 1, CAST(excluded.value AS INTEGER))
             RETURNING CAST(value AS INTEGER)"
        }
    };
    Ok(tx.query_row(sql, [], |r| r.get(0))?)
}

/// Sets the password of the user the link is for; makes them where there is none.
pub(super) fn upsert_user(
    tx: &Transaction<'_>,
    link: &Link,
    hash: &str,
    now: UnixMs,
) -> Result<i64, DbError> {
    if let Some(account) = account_by_name(tx, &link.user)? {
        set_hash(tx, account.id, hash)?;
        return Ok(account.id);
    }
    let user = fresh_id(tx, Numbered::Users)?;
    tx.execute(
        "INSERT INTO users (id, name, role, password_hash, created_ms) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![user, link.user, link.role.as_str(), hash, now.0],
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

/// Whether anybody was there to be removed; an invitation goes too, and so do the links they made, by the schema.
pub(super) fn remove_user(tx: &Transaction<'_>, name: &str) -> Result<bool, DbError> {
    let links = end_links_for(tx, name)?;
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

/// Users, and those asked in whose link is open: whole, for there are so many at most.
pub(super) fn people(c: &Connection, now: UnixMs) -> Result<Vec<Person>, DbError> {
    let mut statement = c.prepare_cached(
        "SELECT u.id, u.name, u.role,
                (SELECT json_group_array(a.name) FROM user_apps ua JOIN apps a ON a.id = ua.app_id
                 WHERE ua.user_id = u.id) AS apps,
                u.created_ms, (SELECT max(seen_ms) FROM sessions s WHERE s.user_id = u.id), NULL,
                EXISTS (SELECT 1 FROM second_factors f WHERE f.user_id = u.id AND f.active_ms IS NOT NULL)
         FROM users u
         UNION ALL
         SELECT NULL, l.user_name, l.role,
                (SELECT json_group_array(a.name) FROM apps a, json_each(l.apps) j WHERE a.id = j.value),
                l.created_ms, NULL, l.expires_ms, 0
         FROM setup_links l
         WHERE l.used_ms IS NULL AND l.expires_ms > ?1 AND 2 * l.created_ms - l.expires_ms <= ?1
           AND NOT EXISTS (SELECT 1 FROM users u WHERE u.name = l.user_name)
         ORDER BY 2",
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
            second_factor: r.get(7)?,
            invited_until: until.map(UnixMs),
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn account(row: &Row<'_>) -> rusqlite::Result<Account> {
    Ok(Account {
        id: row.get(0)?,
        name: row.get(1)?,
        hash: row.get(2)?,
        tally: Tally {
            failures: row.get(3)?,
            last: UnixMs(row.get(4)?),
        },
    })
}

pub(super) fn account_by_name(c: &Connection, name: &str) -> Result<Option<Account>, DbError> {
    Ok(c.query_row(
        "SELECT id, name, password_hash, failures, failed_ms FROM users WHERE name = ?1",
        [name],
        account,
    )
    .optional()?)
}

pub(super) fn account_by_id(c: &Connection, user: i64) -> Result<Option<Account>, DbError> {
    Ok(c.query_row(
        "SELECT id, name, password_hash, failures, failed_ms FROM users WHERE id = ?1",
        [user],
        account,
    )
    .optional()?)
}

/// A new password; wrong tries at the old one are forgotten.
pub(super) fn set_hash(tx: &Transaction<'_>, user: i64, hash: &str) -> Result<(), DbError> {
    tx.execute(
        "UPDATE users SET password_hash = ?2, failures = 0 WHERE id = ?1",
        params![user, hash],
    )?;
    Ok(())
}
