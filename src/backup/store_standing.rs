//! How the backups of each database on a server stand, read from `backups`.

use rusqlite::{Connection, OptionalExtension, params};

use super::cancel::TAKEN_BACK;
use super::row::{ALL_PARTS, Backup};
use super::standing::Standing;
use super::state::BackupState;
use super::store;
use crate::base::clock::UnixMs;
use crate::db::DbError;

/// The databases on a server that a good backup is wanted of: those that were
/// there when its databases were last written down to be dumped. One that was
/// dropped since is left out at the next time.
fn wanted(c: &Connection, server: i64) -> Result<Vec<(String, UnixMs)>, DbError> {
    let mut statement = c.prepare_cached(
        "SELECT logical, (SELECT min(f.created_ms) FROM backups f
                WHERE f.database_id = ?1 AND f.logical = b.logical)
         FROM backups b WHERE database_id = ?1 AND logical <> ?2 AND created_ms >=
            (SELECT max(created_ms) FROM backups
                WHERE database_id = ?1 AND logical <> ?2 AND cause <> 'retry')
         GROUP BY logical ORDER BY logical",
    )?;
    let rows = statement.query_map(params![server, ALL_PARTS], |r| {
        Ok((r.get(0)?, UnixMs(r.get(1)?)))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn newest_stored(c: &Connection, server: i64, logical: &str) -> Result<Option<Backup>, DbError> {
    let sql = format!(
        "{} WHERE b.database_id = ?1 AND b.logical = ?2 AND b.state = 'stored'
         ORDER BY b.finished_ms DESC, b.id DESC LIMIT 1",
        store::BACKUP
    );
    let mut statement = c.prepare_cached(&sql)?;
    Ok(statement
        .query_row(params![server, logical], store::backup)
        .optional()?)
}

/// The last one that ended, when it failed; what somebody took back did not. A dump of the whole server that
/// could not be begun failed for each of its databases.
fn failed_last(c: &Connection, server: i64, logical: &str) -> Result<Option<Backup>, DbError> {
    let sql = format!(
        "{} WHERE b.database_id = ?1 AND b.logical IN (?2, ?3) AND (b.state = 'stored' OR
            (b.state = 'failed' AND substr(ifnull(b.reason, ''), 1, length(?4)) <> ?4))
         ORDER BY b.finished_ms DESC, b.id DESC LIMIT 1",
        store::BACKUP
    );
    let mut statement = c.prepare_cached(&sql)?;
    let last = statement
        .query_row(
            params![server, logical, ALL_PARTS, TAKEN_BACK],
            store::backup,
        )
        .optional()?;
    Ok(last.filter(|b| b.state == BackupState::Failed))
}

/// One for each database on the server; one for the server itself while
/// nothing of it was ever written down to be dumped.
pub(super) fn standings(
    c: &Connection,
    server: i64,
    born: UnixMs,
) -> Result<Vec<Standing>, DbError> {
    let wanted = wanted(c, server)?;
    if wanted.is_empty() {
        return Ok(vec![Standing {
            logical: None,
            since: born,
            newest: None,
            failed: failed_last(c, server, ALL_PARTS)?,
        }]);
    }
    wanted
        .into_iter()
        .map(|(logical, since)| {
            Ok(Standing {
                newest: newest_stored(c, server, &logical)?,
                failed: failed_last(c, server, &logical)?,
                logical: Some(logical),
                since,
            })
        })
        .collect()
}
