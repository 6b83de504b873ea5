//! Connections and their pragmas, in one place.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::{DbError, Kind};

pub(super) const BUSY: Duration = Duration::from_secs(5);

/// The writing connection. Nothing is built on a state that is not whole: `safe::usable` has read it. The figures are
/// most of what a year leaves behind, and nothing stands on them: `Db::check` reads those once the box serves.
pub(super) fn writer(path: &Path, kind: Kind) -> Result<Connection, DbError> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "cache_size", -1024)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(
        None,
        "synchronous",
        match kind {
            Kind::State => "FULL",
            Kind::Metrics => "NORMAL",
        },
    )?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "journal_size_limit", 16 * 1024 * 1024)?;
    Ok(connection)
}

/// Reads the whole file, page by page.
pub(super) fn whole(connection: &Connection, path: &Path, kind: Kind) -> Result<(), DbError> {
    let found: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    // What was read for this is not what is read next.
    connection.execute_batch("PRAGMA shrink_memory")?;
    if found == "ok" {
        return Ok(());
    }
    Err(match kind {
        Kind::State => damaged(path, found),
        Kind::Metrics => DbError::Damaged {
            path: path.display().to_string(),
            what: found,
            remedy: "it holds figures alone, so `systemctl stop freehold`, move the file away, `systemctl start freehold` begins them anew",
        },
    })
}

/// The state is damaged, and nothing of ours brings it back.
pub(super) fn damaged(path: &Path, what: String) -> DbError {
    DbError::Damaged {
        path: path.display().to_string(),
        what,
        remedy: "restore it from a copy of state.db",
    }
}

pub(super) fn reader(path: &Path) -> Result<Connection, DbError> {
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "query_only", true)?;
    connection.pragma_update(None, "cache_size", -512)?;
    Ok(connection)
}
