//! The table `tokens`.

use std::collections::BTreeSet;

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::store::{self, Numbered};
use super::tokens::{NewToken, Program, Token};
use super::{Grant, Role, Verb};
use crate::base::clock::UnixMs;
use crate::db::DbError;

/// A token about to be kept.
pub(super) struct Row {
    pub digest: String,
    pub mark: String,
    pub new: NewToken,
}

fn verb(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<Verb> {
    let text: String = row.get(column)?;
    Verb::parse(&text).ok_or_else(|| {
        let what = format!("{text} is no verb");
        rusqlite::Error::FromSqlConversionFailure(column, Type::Text, what.into())
    })
}

pub(super) fn count(c: &Connection, user: Option<i64>) -> Result<usize, DbError> {
    let count: i64 = c.query_row(
        "SELECT count(*) FROM tokens WHERE user_id IS ?1",
        [user],
        |r| r.get(0),
    )?;
    Ok(usize::try_from(count).unwrap_or(usize::MAX))
}

/// Tokens of the user of that name that have not ended.
pub(super) fn count_live(c: &Connection, name: &str, now: UnixMs) -> Result<usize, DbError> {
    let count: i64 = c.query_row(
        "SELECT count(*) FROM tokens t JOIN users u ON u.id = t.user_id
         WHERE u.name = ?1 AND (t.expires_ms IS NULL OR t.expires_ms > ?2)",
        params![name, now.0],
        |r| r.get(0),
    )?;
    Ok(usize::try_from(count).unwrap_or(usize::MAX))
}

/// Its number.
pub(super) fn insert(tx: &Transaction<'_>, row: &Row, now: UnixMs) -> Result<i64, DbError> {
    let apps = row.new.apps.as_ref();
    let id = store::fresh_id(tx, Numbered::Tokens)?;
    tx.execute(
        "INSERT INTO tokens (digest, mark, name, user_id, verb, apps, created_ms, expires_ms, app_id, id)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        params![
            row.digest,
            row.mark,
            row.new.name,
            row.new.user,
            row.new.verb.as_str(),
            apps.map(|ids| serde_json::json!(ids).to_string()),
            now.0,
            row.new.expires.map(|at| at.0),
            row.new.deploys,
            id
        ],
    )?;
    Ok(id)
}

/// Whole: there are so many of one user at most, and so many users.
pub(super) fn list(c: &Connection, user: Option<i64>) -> Result<Vec<Token>, DbError> {
    let mut statement = c.prepare_cached(
        "SELECT t.id, t.mark, t.name, t.user_id, u.name, t.verb, t.apps IS NULL,
                (SELECT json_group_array(a.name) FROM apps a, json_each(t.apps) j WHERE a.id = j.value),
                t.created_ms, t.expires_ms, t.used_ms, t.app_id IS NOT NULL
         FROM tokens t LEFT JOIN users u ON u.id = t.user_id
         WHERE ?1 IS NULL OR t.user_id = ?1 ORDER BY t.id DESC",
    )?;
    let rows = statement.query_map([user], |r| {
        let id: Option<i64> = r.get(3)?;
        let name: Option<String> = r.get(4)?;
        let every: bool = r.get(6)?;
        let apps: String = r.get(7)?;
        let expires: Option<i64> = r.get(9)?;
        let used: Option<i64> = r.get(10)?;
        Ok(Token {
            id: r.get(0)?,
            mark: r.get(1)?,
            name: r.get(2)?,
            user: id.zip(name),
            deploys: r.get(11)?,
            verb: verb(r, 5)?,
            apps: match every {
                true => None,
                false => serde_json::from_str(&apps).ok(),
            },
            created: UnixMs(r.get(8)?),
            expires: expires.map(UnixMs),
            used: used.map(UnixMs),
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The name of the token that is gone now.
pub(super) fn remove(
    tx: &Transaction<'_>,
    id: i64,
    user: Option<i64>,
) -> Result<Option<String>, DbError> {
    Ok(tx
        .query_row(
            "DELETE FROM tokens WHERE id = ?1 AND (?2 IS NULL OR user_id = ?2) RETURNING name",
            params![id, user],
            |r| r.get(0),
        )
        .optional()?)
}

/// What a token is found by.
enum Key<'a> {
    Digest(&'a str),
    Row(i64),
}

/// The program of a token that has not ended, and when it was last here.
pub(super) fn find(
    c: &Connection,
    digest: &str,
    now: UnixMs,
) -> Result<Option<(Program, Option<UnixMs>)>, DbError> {
    by_key(c, &Key::Digest(digest), now)
}

/// What the token of this row may do now, unless it has ended.
pub(super) fn grant_of(c: &Connection, id: i64, now: UnixMs) -> Result<Option<Grant>, DbError> {
    let found = by_key(c, &Key::Row(id), now)?;
    Ok(found.map(|(program, _)| program.grant))
}

fn by_key(
    c: &Connection,
    key: &Key<'_>,
    now: UnixMs,
) -> Result<Option<(Program, Option<UnixMs>)>, DbError> {
    let (digest, id) = match key {
        Key::Digest(digest) => (Some(*digest), None),
        Key::Row(id) => (None, Some(*id)),
    };
    Ok(c.query_row(
        "SELECT t.name, u.name, u.role,
                (SELECT json_group_array(a.name) FROM user_apps ua JOIN apps a ON a.id = ua.app_id
                 WHERE ua.user_id = t.user_id),
                t.verb, t.apps IS NULL,
                (SELECT json_group_array(a.name) FROM apps a, json_each(t.apps) j WHERE a.id = j.value),
                t.used_ms, t.id
         FROM tokens t LEFT JOIN users u ON u.id = t.user_id
         WHERE (t.digest = ?1 OR t.id = ?3) AND (t.expires_ms IS NULL OR t.expires_ms > ?2)",
        params![digest, now.0, id],
        |r| {
            let names = |column: usize| -> rusqlite::Result<BTreeSet<String>> {
                let text: String = r.get(column)?;
                Ok(serde_json::from_str(&text).unwrap_or_default())
            };
            let role: Option<String> = r.get(2)?;
            let user = match role {
                None => Grant::everything(),
                Some(role) => Grant {
                    // A role nobody knows sees nothing.
                    role: Role::parse(&role).unwrap_or(Role::Developer),
                    apps: names(3)?,
                    verb: Verb::Change,
                },
            };
            let every: bool = r.get(5)?;
            let apps = match every {
                true => None,
                false => Some(names(6)?),
            };
            let used: Option<i64> = r.get(7)?;
            let program = Program {
                id: r.get(8)?,
                name: r.get(0)?,
                user: r.get(1)?,
                grant: user.narrowed(apps, verb(r, 4)?),
            };
            Ok((program, used.map(UnixMs)))
        },
    )
    .optional()?)
}

pub(super) fn touch(tx: &Transaction<'_>, digest: &str, now: UnixMs) -> Result<(), DbError> {
    tx.execute(
        "UPDATE tokens SET used_ms = ?2 WHERE digest = ?1",
        params![digest, now.0],
    )?;
    Ok(())
}
