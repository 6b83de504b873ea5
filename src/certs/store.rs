//! The tables of this domain: names, certificates, the box's CA. Orders and
//! accounts are in [`orders`].

pub(super) mod orders;

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use crate::base::clock::UnixMs;
use crate::db::DbError;

use super::timing::Life;
use super::wanted::{Source, Wanted};

/// A row of `certificate_names`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NameRow {
    pub(super) host: String,
    pub(super) source: Source,
    pub(super) failures: u32,
    pub(super) error: Option<String>,
    pub(super) warning: Option<String>,
    pub(super) next_try: Option<UnixMs>,
    pub(super) told_days: Option<u32>,
    pub(super) added: UnixMs,
}

/// A row of `certificates`, the key still sealed.
#[derive(Clone, Debug)]
pub(super) struct CertRow {
    pub(super) id: i64,
    pub(super) host: String,
    pub(super) source: String,
    pub(super) directory: Option<String>,
    pub(super) chain_pem: String,
    pub(super) key_sealed: Vec<u8>,
    pub(super) life: Life,
    pub(super) issuer: String,
    pub(super) issued: UnixMs,
    pub(super) ari_at: Option<UnixMs>,
    pub(super) ari_check: Option<UnixMs>,
}

/// A certificate to be put in service.
pub(super) struct NewCert {
    pub(super) host: String,
    pub(super) source: &'static str,
    pub(super) directory: Option<String>,
    pub(super) chain_pem: String,
    pub(super) key_sealed: Vec<u8>,
    pub(super) life: Life,
    pub(super) issuer: String,
}

/// The root in PEM and its sealed key.
pub(super) fn box_ca(connection: &Connection) -> Result<Option<(String, Vec<u8>)>, DbError> {
    Ok(connection
        .query_row(
            "SELECT root_pem, key_sealed FROM box_ca WHERE id = 1",
            [],
            |r| Ok((r.get(0)?, r.get(1)?)),
        )
        .optional()?)
}

/// Keeps a first root; a root that is there stays.
pub(super) fn keep_box_ca(
    tx: &Transaction<'_>,
    root_pem: &str,
    key_sealed: &[u8],
    now: UnixMs,
) -> Result<(), DbError> {
    tx.execute(
        "INSERT OR IGNORE INTO box_ca (id, root_pem, key_sealed, created_ms) VALUES (1, ?1, ?2, ?3)",
        params![root_pem, key_sealed, now.0],
    )?;
    Ok(())
}

pub(super) fn names(connection: &Connection) -> Result<Vec<NameRow>, DbError> {
    let mut statement = connection.prepare_cached(
        "SELECT host, source, cert_path, key_path, failures, error, warning, next_try_ms, told_days,
             added_ms
         FROM certificate_names ORDER BY host",
    )?;
    let rows = statement.query_map([], name_of)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn name(connection: &Connection, host: &str) -> Result<Option<NameRow>, DbError> {
    Ok(connection
        .query_row(
            "SELECT host, source, cert_path, key_path, failures, error, warning, next_try_ms, told_days,
             added_ms
             FROM certificate_names WHERE host = ?1",
            [host],
            name_of,
        )
        .optional()?)
}

fn name_of(row: &Row<'_>) -> rusqlite::Result<NameRow> {
    let word: String = row.get(1)?;
    let cert: Option<String> = row.get(2)?;
    let key: Option<String> = row.get(3)?;
    let source = match (word.as_str(), cert, key) {
        ("files", Some(cert), Some(key)) => Source::Files {
            cert: cert.into(),
            key: key.into(),
        },
        ("acme", _, _) => Source::Acme,
        _ => Source::Internal,
    };
    Ok(NameRow {
        host: row.get(0)?,
        source,
        failures: row.get(4)?,
        error: row.get(5)?,
        warning: row.get(6)?,
        next_try: row.get::<_, Option<i64>>(7)?.map(UnixMs),
        told_days: row.get(8)?,
        added: UnixMs(row.get(9)?),
    })
}

/// Makes the table hold exactly `wanted`: a name that stays keeps how it went,
/// one that goes takes its open order along.
pub(super) fn keep_names(
    tx: &Transaction<'_>,
    wanted: &[Wanted],
    now: UnixMs,
) -> Result<(), DbError> {
    for old in names(tx)? {
        let stays = wanted
            .iter()
            .any(|w| w.host == old.host && w.source == old.source);
        if !stays {
            tx.execute("DELETE FROM certificate_names WHERE host = ?1", [&old.host])?;
            orders::give_up_open(tx, &old.host, "The name is no longer used.", now)?;
        }
    }
    for w in wanted {
        let (cert, key) = match &w.source {
            Source::Files { cert, key } => (
                Some(cert.display().to_string()),
                Some(key.display().to_string()),
            ),
            _ => (None, None),
        };
        tx.execute(
            "INSERT OR IGNORE INTO certificate_names (host, source, cert_path, key_path, added_ms)
             VALUES (?1, ?2, ?3, ?4, ?5)",
            params![w.host, w.source.word(), cert, key, now.0],
        )?;
    }
    tx.execute(
        "DELETE FROM certificates WHERE not_after_ms < ?1
         AND host NOT IN (SELECT host FROM certificate_names)",
        [now.0],
    )?;
    Ok(())
}

/// Writes how the last try for a name failed and when the next one is.
pub(super) fn name_failed(
    tx: &Transaction<'_>,
    host: &str,
    failures: u32,
    error: &str,
    next_try: Option<UnixMs>,
) -> Result<(), DbError> {
    tx.execute(
        "UPDATE certificate_names SET failures = ?2, error = ?3, next_try_ms = ?4 WHERE host = ?1",
        params![host, failures, error, next_try.map(|t| t.0)],
    )?;
    Ok(())
}

/// Writes that nothing is wrong with a name; `warning` stays as it is.
pub(super) fn name_well(tx: &Transaction<'_>, host: &str) -> Result<(), DbError> {
    tx.execute(
        "UPDATE certificate_names SET failures = 0, error = NULL, next_try_ms = NULL, told_days = NULL
         WHERE host = ?1",
        [host],
    )?;
    Ok(())
}

pub(super) fn name_warned(
    tx: &Transaction<'_>,
    host: &str,
    warning: Option<&str>,
) -> Result<(), DbError> {
    tx.execute(
        "UPDATE certificate_names SET warning = ?2 WHERE host = ?1",
        params![host, warning],
    )?;
    Ok(())
}

pub(super) fn name_told(tx: &Transaction<'_>, host: &str, days: u32) -> Result<(), DbError> {
    tx.execute(
        "UPDATE certificate_names SET told_days = ?2 WHERE host = ?1",
        params![host, days],
    )?;
    Ok(())
}

/// Lets the next try be now.
pub(super) fn name_at_once(tx: &Transaction<'_>, host: &str) -> Result<bool, DbError> {
    Ok(tx.execute(
        "UPDATE certificate_names SET next_try_ms = 0 WHERE host = ?1 AND failures > 0",
        [host],
    )? > 0)
}

/// Lets the next try for every failed name of an ACME server be now.
pub(super) fn failed_names_at_once(tx: &Transaction<'_>) -> Result<(), DbError> {
    tx.execute(
        "UPDATE certificate_names SET next_try_ms = 0 WHERE source = 'acme' AND failures > 0",
        [],
    )?;
    Ok(())
}

/// The clock was set: no name waits longer for its next try than it had to, nor than any name ever has to.
pub(super) fn clock_set(
    tx: &Transaction<'_>,
    by_ms: Option<i64>,
    longest: Duration,
    now: UnixMs,
) -> Result<(), DbError> {
    match by_ms {
        Some(by) => tx.execute(
            "UPDATE certificate_names SET next_try_ms = max(?1, next_try_ms + ?2)
             WHERE next_try_ms > ?1 AND ?2 < 0",
            params![now.0, by],
        )?,
        None => tx.execute(
            "UPDATE certificate_names SET next_try_ms = ?1 WHERE next_try_ms > ?2",
            [now.0, now.plus(longest).0],
        )?,
    };
    Ok(())
}

pub(super) fn certificates(connection: &Connection) -> Result<Vec<CertRow>, DbError> {
    let mut statement = connection.prepare_cached(&format!("{CERT} ORDER BY host"))?;
    let rows = statement.query_map([], cert_of)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn certificate(
    connection: &Connection,
    host: &str,
    source: &str,
) -> Result<Option<CertRow>, DbError> {
    Ok(connection
        .query_row(
            &format!("{CERT} WHERE host = ?1 AND source = ?2"),
            [host, source],
            cert_of,
        )
        .optional()?)
}

const CERT: &str =
    "SELECT id, host, source, directory, chain_pem, key_sealed, not_before_ms, not_after_ms,
     issuer, issued_ms, ari_at_ms, ari_check_ms FROM certificates";

fn cert_of(row: &Row<'_>) -> rusqlite::Result<CertRow> {
    Ok(CertRow {
        id: row.get(0)?,
        host: row.get(1)?,
        source: row.get(2)?,
        directory: row.get(3)?,
        chain_pem: row.get(4)?,
        key_sealed: row.get(5)?,
        life: Life {
            not_before: UnixMs(row.get(6)?),
            not_after: UnixMs(row.get(7)?),
        },
        issuer: row.get(8)?,
        issued: UnixMs(row.get(9)?),
        ari_at: row.get::<_, Option<i64>>(10)?.map(UnixMs),
        ari_check: row.get::<_, Option<i64>>(11)?.map(UnixMs),
    })
}

/// Puts a certificate in service in the place of the one before. The row gets
/// a new id, never used before, which is how the served set notices. Says whether one was replaced.
pub(super) fn serve(tx: &Transaction<'_>, new: &NewCert, now: UnixMs) -> Result<bool, DbError> {
    let replaced = tx.execute(
        "DELETE FROM certificates WHERE host = ?1 AND source = ?2",
        [new.host.as_str(), new.source],
    )? > 0;
    tx.execute(
        "INSERT INTO certificates (host, source, directory, chain_pem, key_sealed, not_before_ms,
             not_after_ms, issuer, issued_ms, ari_check_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        params![
            new.host,
            new.source,
            new.directory,
            new.chain_pem,
            new.key_sealed,
            new.life.not_before.0,
            new.life.not_after.0,
            new.issuer,
            now.0,
            new.directory.as_ref().map(|_| now.0),
        ],
    )?;
    name_well(tx, &new.host)?;
    Ok(replaced)
}

/// Writes what the server's renewal information said: when to renew, when to ask again.
pub(super) fn renewal_info(
    tx: &Transaction<'_>,
    id: i64,
    at: Option<UnixMs>,
    check: Option<UnixMs>,
) -> Result<(), DbError> {
    tx.execute(
        "UPDATE certificates SET ari_at_ms = coalesce(?2, ari_at_ms), ari_check_ms = ?3 WHERE id = ?1",
        params![id, at.map(|t| t.0), check.map(|t| t.0)],
    )?;
    Ok(())
}
