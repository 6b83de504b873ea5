//! The table `releases`.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use crate::base::clock::UnixMs;
use crate::base::secret::{MasterKey, Secret};
use crate::db::DbError;
use crate::deploy::app_file::AppFile;
use crate::deploy::row::{NewRelease, Release};

const RELEASE: &str = "SELECT id, app_id, number, image, image_tag, settings, commit_id, title,
    created_ms, live_ms, gone_ms FROM releases";

fn context(app: i64, number: i64) -> String {
    format!("release:{app}:{number}")
}

fn release(row: &Row<'_>) -> rusqlite::Result<Release> {
    let settings: String = row.get(5)?;
    let odd = |e: serde_json::Error| {
        rusqlite::Error::FromSqlConversionFailure(5, rusqlite::types::Type::Text, e.into())
    };
    with_settings(row, Some(serde_json::from_str(&settings).map_err(odd)?))
}

/// As one of many: what cannot be read of it hides none of the others.
fn listed(row: &Row<'_>) -> rusqlite::Result<Release> {
    let settings: String = row.get(5)?;
    with_settings(row, serde_json::from_str(&settings).ok())
}

fn with_settings(row: &Row<'_>, settings: Option<AppFile>) -> rusqlite::Result<Release> {
    let time = |at: usize| -> rusqlite::Result<Option<UnixMs>> {
        Ok(row.get::<_, Option<i64>>(at)?.map(UnixMs))
    };
    Ok(Release {
        id: row.get(0)?,
        app: row.get(1)?,
        number: row.get(2)?,
        image: row.get(3)?,
        image_tag: row.get(4)?,
        unreadable: settings.is_none(),
        settings: settings.unwrap_or_default(),
        commit: row.get(6)?,
        title: row.get(7)?,
        created: UnixMs(row.get(8)?),
        live: time(9)?,
        gone: time(10)?,
    })
}

pub(in crate::deploy) fn insert(
    tx: &Transaction<'_>,
    key: &MasterKey,
    app: i64,
    new: &NewRelease,
    now: UnixMs,
) -> Result<(i64, i64), DbError> {
    let number: i64 = tx.query_row(
        "SELECT coalesce(max(number), 0) + 1 FROM releases WHERE app_id = ?1",
        [app],
        |r| r.get(0),
    )?;
    let env = key.seal(&context(app, number), &serde_json::to_vec(&new.env)?)?;
    tx.execute(
        "INSERT INTO releases (app_id, number, image, image_tag, settings, env, commit_id, title, created_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        params![
            app,
            number,
            new.image,
            new.image_tag,
            serde_json::to_string(&new.settings)?,
            env,
            new.commit,
            new.title,
            now.0
        ],
    )?;
    Ok((tx.last_insert_rowid(), number))
}

pub(in crate::deploy) fn by_id(c: &Connection, id: i64) -> Result<Option<Release>, DbError> {
    let mut statement = c.prepare_cached(&format!("{RELEASE} WHERE id = ?1"))?;
    Ok(statement.query_row([id], release).optional()?)
}

/// The newest first, those too whose settings cannot be read.
pub(in crate::deploy) fn of_app(c: &Connection, app: i64) -> Result<Vec<Release>, DbError> {
    let mut statement =
        c.prepare_cached(&format!("{RELEASE} WHERE app_id = ?1 ORDER BY number DESC"))?;
    let rows = statement.query_map([app], listed)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The newest release of `commit` that went live and is still kept.
pub(in crate::deploy) fn of_commit(
    c: &Connection,
    app: i64,
    commit: &str,
) -> Result<Option<Release>, DbError> {
    let mut statement = c.prepare_cached(&format!(
        "{RELEASE} WHERE app_id = ?1 AND commit_id = ?2 AND live_ms IS NOT NULL AND gone_ms IS NULL
         ORDER BY number DESC LIMIT 1"
    ))?;
    Ok(statement
        .query_row(params![app, commit], listed)
        .optional()?)
}

/// The app's environment when the release was made.
pub(in crate::deploy) fn env(
    c: &Connection,
    key: &MasterKey,
    release: &Release,
) -> Result<BTreeMap<String, Secret>, DbError> {
    let sealed: Vec<u8> = c.query_row(
        "SELECT env FROM releases WHERE id = ?1",
        [release.id],
        |r| r.get(0),
    )?;
    let plain = key.open(&context(release.app, release.number), &sealed)?;
    Ok(serde_json::from_slice(&plain)?)
}

/// The release that was live before the present one and is still kept.
pub(in crate::deploy) fn before_live(
    c: &Connection,
    app: i64,
) -> Result<Option<(i64, i64)>, DbError> {
    Ok(c.query_row(
        "SELECT r.id, r.number FROM deploys d JOIN releases r ON r.id = d.release_id
         WHERE d.app_id = ?1 AND d.switched_ms IS NOT NULL AND r.gone_ms IS NULL
            AND r.id <> (SELECT release_id FROM app_live WHERE app_id = ?1)
            AND d.state <> 'returned'
         ORDER BY d.switched_ms DESC LIMIT 1",
        [app],
        |r| Ok((r.get(0)?, r.get(1)?)),
    )
    .optional()?)
}

pub(in crate::deploy) fn mark_gone(
    tx: &Transaction<'_>,
    id: i64,
    now: UnixMs,
) -> Result<(), DbError> {
    tx.execute(
        "UPDATE releases SET gone_ms = coalesce(gone_ms, ?2) WHERE id = ?1",
        params![id, now.0],
    )?;
    Ok(())
}
