//! The table `app_pause_owners`.

use rusqlite::{Connection, Transaction, params};

use super::Pause;
use crate::apps::maintenance::LONGEST;
use crate::base::clock::UnixMs;
use crate::db::DbError;

pub(super) fn pause(
    tx: &Transaction<'_>,
    owner: &str,
    apps: &[i64],
    since: UnixMs,
    until: UnixMs,
) -> Result<(), DbError> {
    for app in apps {
        tx.execute(
            "INSERT INTO app_pause_owners (app_id, owner, since_ms, until_ms) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (app_id, owner) DO UPDATE SET until_ms = excluded.until_ms",
            params![app, owner, since.0, until.0],
        )?;
    }
    Ok(())
}

pub(super) fn resume(tx: &Transaction<'_>, owner: &str) -> Result<(), DbError> {
    tx.execute("DELETE FROM app_pause_owners WHERE owner = ?1", [owner])?;
    Ok(())
}

pub(super) fn clock_set(
    tx: &Transaction<'_>,
    by_ms: Option<i64>,
    now: UnixMs,
) -> Result<(), DbError> {
    match by_ms {
        Some(by) => {
            tx.execute(
                "UPDATE apps SET maintenance_until_ms = maintenance_until_ms + ?1
                 WHERE maintenance = 1 AND maintenance_until_ms < 1 << 60",
                [by],
            )?;
            tx.execute(
            // What began since the clock was set, at most moments ago, is by the new time already.
            "UPDATE app_pause_owners SET since_ms = since_ms + ?2, until_ms = until_ms + ?2
             WHERE CASE WHEN ?2 > 0 THEN since_ms <= ?1 - ?2 ELSE since_ms NOT BETWEEN ?1 - 2000 AND ?1 END
               AND until_ms < 1 << 60",
            params![now.0, by],
            )?
        }
        None => {
            tx.execute(
                "UPDATE apps SET maintenance_until_ms = ?1
                 WHERE maintenance = 1 AND maintenance_until_ms BETWEEN ?1 AND 1 << 60",
                [now.plus(LONGEST).0],
            )?;
            tx.execute(
            "UPDATE app_pause_owners SET since_ms = ?1, until_ms = ?1 + (until_ms - since_ms) WHERE since_ms > ?1",
            [now.0],
            )?
        }
    };
    Ok(())
}

/// Takes away those whose deadline is over.
pub(in crate::apps) fn end(tx: &Transaction<'_>, now: UnixMs) -> Result<(), DbError> {
    tx.execute("DELETE FROM app_pause_owners WHERE until_ms <= ?1", [now.0])?;
    Ok(())
}

pub(super) fn all(c: &Connection) -> Result<Vec<Pause>, DbError> {
    let mut statement = c.prepare_cached(
        "SELECT app_id, min(since_ms), max(until_ms) FROM app_pause_owners GROUP BY app_id",
    )?;
    let rows = statement.query_map([], |row| {
        Ok(Pause {
            app: row.get(0)?,
            since: UnixMs(row.get(1)?),
            until: UnixMs(row.get(2)?),
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
