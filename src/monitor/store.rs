//! The SQL of checks and incidents.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use crate::base::clock::UnixMs;
use crate::db::{DbError, Slice};
use crate::events::{self, Level, NewEvent};

use super::ports::WantedCheck;
use super::probe::Failure;

/// A check as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckRow {
    /// Its row.
    pub id: i64,
    /// `app:7`, or `check`.
    pub subject: String,
    /// The app's name, or its own.
    pub name: String,
    /// Added by a person, not born of a domain.
    pub by_hand: bool,
    /// What is asked.
    pub url: String,
    /// Whether only 200 to 399 is an answer.
    pub strict: bool,
    /// Whether it is asked now.
    pub active: bool,
    /// Whether it ever answered.
    pub proven: bool,
    /// When it was made.
    pub created: UnixMs,
    /// The open incident.
    pub open: Option<IncidentRow>,
}

/// A time a check was not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IncidentRow {
    /// Its row.
    pub id: i64,
    /// Of which check.
    pub check: i64,
    /// When it began.
    pub opened: UnixMs,
    /// When it was over.
    pub closed: Option<UnixMs>,
    /// Where it failed.
    pub stage: String,
    /// Why.
    pub why: String,
}

pub(super) fn checks(c: &Connection) -> Result<Vec<CheckRow>, DbError> {
    let mut statement = c.prepare_cached(
        "SELECT c.id, c.subject, c.name, c.origin = 'person', c.url, c.strict, c.active, c.proven,
            c.created_ms, i.id, i.check_id, i.opened_ms, i.closed_ms, i.stage, i.why
         FROM checks c LEFT JOIN incidents i ON i.check_id = c.id AND i.closed_ms IS NULL
         ORDER BY c.name, c.url",
    )?;
    let rows = statement.query_map([], |row| {
        let open: Option<i64> = row.get(9)?;
        Ok(CheckRow {
            id: row.get(0)?,
            subject: row.get(1)?,
            name: row.get(2)?,
            by_hand: row.get(3)?,
            url: row.get(4)?,
            strict: row.get(5)?,
            active: row.get(6)?,
            proven: row.get(7)?,
            created: UnixMs(row.get(8)?),
            open: open.map(|_| incident(row, 9)).transpose()?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn incident(row: &Row<'_>, at: usize) -> rusqlite::Result<IncidentRow> {
    Ok(IncidentRow {
        id: row.get(at)?,
        check: row.get(at + 1)?,
        opened: UnixMs(row.get(at + 2)?),
        closed: row.get::<_, Option<i64>>(at + 3)?.map(UnixMs),
        stage: row.get(at + 4)?,
        why: row.get(at + 5)?,
    })
}

/// The newest first; a slice's state is `open` or `closed`.
pub(super) fn incident_slice(
    c: &Connection,
    slice: &Slice,
) -> Result<Vec<(IncidentRow, String, String)>, DbError> {
    let mut statement = c.prepare_cached(
        "SELECT i.id, i.check_id, i.opened_ms, i.closed_ms, i.stage, i.why, c.name, c.url
         FROM incidents i JOIN checks c ON c.id = i.check_id
         WHERE (?1 IS NULL OR i.id < ?1)
           AND (?2 IS NULL OR ?2 = CASE WHEN i.closed_ms IS NULL THEN 'open' ELSE 'closed' END)
         ORDER BY i.id DESC LIMIT ?3",
    )?;
    let wanted = rusqlite::params![slice.before, slice.state, slice.limit];
    let rows = statement.query_map(wanted, |row| {
        Ok((incident(row, 0)?, row.get(6)?, row.get(7)?))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Makes the checks of domains those that are wanted; gives back the ids of those that are gone.
pub(super) fn reconcile(
    tx: &Transaction<'_>,
    wanted: &[WantedCheck],
    now: UnixMs,
) -> Result<Vec<i64>, DbError> {
    let mut gone = Vec::new();
    for known in checks(tx)?.iter().filter(|c| !c.by_hand) {
        match wanted.iter().find(|w| w.url == known.url) {
            None => {
                tx.execute("DELETE FROM checks WHERE id = ?1", [known.id])?;
                gone.push(known.id);
            }
            // It starts to count anew when its app is started again.
            Some(w) if w.active != known.active => {
                tx.execute(
                    "UPDATE checks SET proven = 0, created_ms = ?2 WHERE id = ?1",
                    params![known.id, now.0],
                )?;
                tx.execute(
                    "UPDATE incidents SET closed_ms = ?2 WHERE check_id = ?1 AND closed_ms IS NULL",
                    params![known.id, now.0],
                )?;
            }
            Some(_) => {}
        }
    }
    for w in wanted {
        tx.execute(
            "INSERT INTO checks (subject, name, origin, url, strict, active, created_ms)
             VALUES (?1, ?2, 'domain', ?3, ?4, ?5, ?6)
             ON CONFLICT (origin, url) DO UPDATE SET subject = excluded.subject,
                name = excluded.name, strict = excluded.strict, active = excluded.active",
            params![w.subject, w.name, w.url, w.strict, w.active, now.0],
        )?;
    }
    Ok(gone)
}

/// Adds a check of a person's own; `None` when the address is already asked.
pub(super) fn add(
    tx: &Transaction<'_>,
    name: &str,
    url: &str,
    now: UnixMs,
) -> Result<Option<i64>, DbError> {
    let id = tx
        .query_row(
            "INSERT INTO checks (subject, name, origin, url, strict, created_ms)
             VALUES ('check', ?1, 'person', ?2, 1, ?3) ON CONFLICT DO NOTHING RETURNING id",
            params![name, url, now.0],
            |row| row.get(0),
        )
        .optional()?;
    if id.is_some() {
        let event = NewEvent::new(
            "check.added",
            Level::Info,
            "check",
            format!("{url} is checked from now on."),
        );
        events::record(tx, now, &event)?;
    }
    Ok(id)
}

/// Removes a check of a person's own; whether there was one.
pub(super) fn remove(tx: &Transaction<'_>, id: i64, now: UnixMs) -> Result<bool, DbError> {
    let url: Option<String> = tx
        .query_row(
            "DELETE FROM checks WHERE id = ?1 AND origin = 'person' RETURNING url",
            [id],
            |row| row.get(0),
        )
        .optional()?;
    if let Some(url) = &url {
        let event = NewEvent::new(
            "check.removed",
            Level::Info,
            "check",
            format!("{url} is not checked any more."),
        );
        events::record(tx, now, &event)?;
    }
    Ok(url.is_some())
}

pub(super) fn mark_proven(tx: &Transaction<'_>, id: i64) -> Result<(), DbError> {
    tx.execute("UPDATE checks SET proven = 1 WHERE id = ?1", [id])?;
    Ok(())
}

/// How long an incident that is over is kept, and how many of them at most: a
/// check that flaps must not fill the database.
const KEPT_FOR: Duration = Duration::from_secs(400 * 86_400);
const KEPT: u32 = 5_000;

/// Forgets incidents that are over, the old ones and those beyond the newest few thousand.
fn trim_incidents(tx: &Transaction<'_>, now: UnixMs) -> Result<(), DbError> {
    tx.execute(
        "DELETE FROM incidents WHERE closed_ms IS NOT NULL AND (closed_ms < ?1 OR id <=
            (SELECT id FROM incidents WHERE closed_ms IS NOT NULL ORDER BY id DESC LIMIT 1 OFFSET ?2))",
        params![now.minus(KEPT_FOR).0, KEPT],
    )?;
    Ok(())
}

/// Opens an incident, unless one is open or the check is gone.
pub(super) fn open_incident(
    tx: &Transaction<'_>,
    check: &CheckRow,
    failure: &Failure,
    now: UnixMs,
) -> Result<(), DbError> {
    let opened = tx.execute(
        "INSERT INTO incidents (check_id, opened_ms, stage, why)
         SELECT id, ?2, ?3, ?4 FROM checks WHERE id = ?1 ON CONFLICT DO NOTHING",
        params![check.id, now.0, failure.stage.as_str(), failure.why],
    )?;
    if opened == 1 {
        // What is written here is all that lets them grow.
        trim_incidents(tx, now)?;
        let told = format!("{} does not answer: {}.", check.url, failure.why);
        let event = NewEvent::new("check.down", Level::Error, check.subject.clone(), told)
            .with(serde_json::json!({ "check": check.id, "stage": failure.stage.as_str() }));
        events::record(tx, now, &event)?;
    }
    Ok(())
}

/// Closes the open incident, if there is one.
pub(super) fn close_incident(
    tx: &Transaction<'_>,
    check: &CheckRow,
    now: UnixMs,
) -> Result<(), DbError> {
    mark_proven(tx, check.id)?;
    let opened: Option<i64> = tx
        .query_row(
            "UPDATE incidents SET closed_ms = ?2 WHERE check_id = ?1 AND closed_ms IS NULL
             RETURNING opened_ms",
            params![check.id, now.0],
            |row| row.get(0),
        )
        .optional()?;
    if let Some(opened) = opened {
        let lasted = now.since(UnixMs(opened)).as_secs();
        let lasted = match lasted {
            0..=119 => format!("{lasted} s"),
            _ => format!("{} min", lasted / 60),
        };
        let told = format!("{} answers again after {lasted}.", check.url);
        let event = NewEvent::new("check.up", Level::Info, check.subject.clone(), told)
            .with(serde_json::json!({ "check": check.id }));
        events::record(tx, now, &event)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::{Db, Kind};
    use crate::monitor::probe::Stage;

    #[tokio::test]
    async fn f7_incidents_that_are_over_are_kept_for_their_time_and_number() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(&folder.path().join("state.db"), Kind::State).unwrap();
        let now = UnixMs(1_800_000_000_000);
        let old = now.minus(Duration::from_secs(401 * 86_400)).0;
        let kept: Result<Vec<(i64, bool)>, DbError> = db
            .write(move |tx| {
                for url in ["https://a.test/", "https://b.test/"] {
                    add(tx, "shop", url, now)?;
                }
                let insert = "INSERT INTO incidents (check_id, opened_ms, closed_ms, stage, why)
                    VALUES (?1, ?2, ?3, 'tcp', 'no')";
                // Open since before its time is over: it stays.
                tx.execute(insert, params![2, old, None::<i64>])?;
                tx.execute(insert, params![1, old, old])?;
                for _ in 0..KEPT + 7 {
                    tx.execute(insert, params![1, now.0, now.0])?;
                }
                let check = checks(tx)?.remove(0);
                let failure = Failure {
                    stage: Stage::Http,
                    why: "no".into(),
                };
                open_incident(tx, &check, &failure, now)?;
                let mut statement =
                    tx.prepare("SELECT id, closed_ms IS NULL FROM incidents ORDER BY id")?;
                let rows = statement.query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?;
                Ok(rows.collect::<Result<_, _>>()?)
            })
            .await;
        let kept = kept.unwrap();
        let open: Vec<i64> = kept.iter().filter(|k| k.1).map(|k| k.0).collect();
        assert_eq!(open, [1, i64::from(KEPT) + 10]);
        let over: Vec<i64> = kept.iter().filter(|k| !k.1).map(|k| k.0).collect();
        assert_eq!(over.len(), KEPT as usize);
        assert_eq!(over[0], 10, "the oldest go first");
    }
}
