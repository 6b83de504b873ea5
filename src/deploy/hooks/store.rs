//! The table `deliveries`: the newest of every app.

use rusqlite::{Connection, Transaction, params};

use crate::base::clock::UnixMs;
use crate::db::DbError;

/// Kept of every app.
const KEPT: u32 = 50;

/// What a git host told us and what we answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Its row.
    pub id: i64,
    /// When.
    pub at: UnixMs,
    /// Who spoke.
    pub host: String,
    /// The host's id of it.
    pub delivery: Option<String>,
    /// The event's name.
    pub event: String,
    /// The status that was answered.
    pub status: u16,
    /// The sentence that was answered.
    pub reason: String,
    /// The deploy it started.
    pub deploy: Option<i64>,
}

pub(in crate::deploy) fn insert(
    tx: &Transaction<'_>,
    app: i64,
    delivery: &Delivery,
) -> Result<(), DbError> {
    tx.execute(
        "INSERT INTO deliveries (app_id, at_ms, host, delivery, event, status, reason, deploy_id)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![
            app,
            delivery.at.0,
            delivery.host,
            delivery.delivery,
            delivery.event,
            delivery.status,
            delivery.reason,
            delivery.deploy
        ],
    )?;
    tx.execute(
        "DELETE FROM deliveries WHERE app_id = ?1 AND id NOT IN
            (SELECT id FROM deliveries WHERE app_id = ?1 ORDER BY id DESC LIMIT ?2)",
        params![app, KEPT],
    )?;
    Ok(())
}

pub(in crate::deploy) fn newest(c: &Connection, app: i64) -> Result<Vec<Delivery>, DbError> {
    let mut statement = c.prepare_cached(
        "SELECT id, at_ms, host, delivery, event, status, reason, deploy_id FROM deliveries
         WHERE app_id = ?1 ORDER BY id DESC",
    )?;
    let rows = statement.query_map([app], |r| {
        Ok(Delivery {
            id: r.get(0)?,
            at: UnixMs(r.get(1)?),
            host: r.get(2)?,
            delivery: r.get(3)?,
            event: r.get(4)?,
            status: r.get(5)?,
            reason: r.get(6)?,
            deploy: r.get(7)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
