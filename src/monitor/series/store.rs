//! The SQL of the rollups.

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use crate::base::clock::UnixMs;
use crate::db::DbError;

use super::super::latency::Latency;
use super::super::step::{Step, Window};
use super::read::{BoxSlot, CheckSlot, TrafficSlot};
use super::{BoxSample, CheckSample, LastCheck, TrafficSample};

fn int(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn uint(row: &Row<'_>, at: usize) -> rusqlite::Result<u64> {
    Ok(u64::try_from(row.get::<_, i64>(at)?).unwrap_or(0))
}

pub(super) fn add_box(tx: &Transaction<'_>, at: UnixMs, s: &BoxSample) -> Result<(), DbError> {
    let mut statement = tx.prepare_cached(
        "INSERT INTO box_rollups (step_s, at_ms, samples, cpu_sum, cpu_max, memory_sum, memory_max,
            memory_total, swap_max, disk_used, disk_total, load_sum, received, sent)
         VALUES (?1, ?2, 1, ?3, ?3, ?4, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
         ON CONFLICT DO UPDATE SET samples = samples + 1,
            cpu_sum = cpu_sum + excluded.cpu_sum, cpu_max = max(cpu_max, excluded.cpu_max),
            memory_sum = memory_sum + excluded.memory_sum,
            memory_max = max(memory_max, excluded.memory_max), memory_total = excluded.memory_total,
            swap_max = max(swap_max, excluded.swap_max),
            disk_used = excluded.disk_used, disk_total = excluded.disk_total,
            load_sum = load_sum + excluded.load_sum,
            received = received + excluded.received, sent = sent + excluded.sent",
    )?;
    for step in Step::ALL {
        statement.execute(params![
            step.seconds(),
            step.slot(at).0,
            s.cpu,
            int(s.memory_used),
            int(s.memory_total),
            int(s.swap_used),
            int(s.disk_used),
            int(s.disk_total),
            s.load,
            int(s.received),
            int(s.sent),
        ])?;
    }
    Ok(())
}

pub(super) fn add_traffic(
    tx: &Transaction<'_>,
    at: UnixMs,
    s: &TrafficSample,
) -> Result<(), DbError> {
    let mut stored = tx.prepare_cached(
        "SELECT latency FROM traffic_rollups WHERE step_s = ?1 AND subject = ?2 AND at_ms = ?3",
    )?;
    let mut write = tx.prepare_cached(
        "INSERT INTO traffic_rollups (step_s, subject, at_ms, requests, client_errors,
            server_errors, failures, received, sent, latency)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
         ON CONFLICT DO UPDATE SET requests = requests + excluded.requests,
            client_errors = client_errors + excluded.client_errors,
            server_errors = server_errors + excluded.server_errors,
            failures = failures + excluded.failures,
            received = received + excluded.received, sent = sent + excluded.sent,
            latency = excluded.latency",
    )?;
    for step in Step::ALL {
        let slot = step.slot(at).0;
        let before: Option<Vec<u8>> = stored
            .query_row(params![step.seconds(), s.subject, slot], |row| row.get(0))
            .optional()?;
        let mut latency = before.map(|b| Latency::from_bytes(&b)).unwrap_or_default();
        latency.merge(&s.latency);
        write.execute(params![
            step.seconds(),
            s.subject,
            slot,
            int(s.requests),
            int(s.client_errors),
            int(s.server_errors),
            int(s.failures),
            int(s.received),
            int(s.sent),
            latency.to_bytes(),
        ])?;
    }
    Ok(())
}

pub(super) fn add_check(tx: &Transaction<'_>, at: UnixMs, s: &CheckSample) -> Result<(), DbError> {
    let up = i64::from(s.failed.is_none());
    let (stage, why) = s.failed.clone().unzip();
    tx.execute(
        "INSERT INTO check_last (check_id, at_ms, up, stage, why, millis) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT DO UPDATE SET at_ms = excluded.at_ms, up = excluded.up,
            stage = excluded.stage, why = excluded.why, millis = excluded.millis",
        params![s.check, at.0, up, stage, why, int(s.millis)],
    )?;
    let millis = if up == 1 { int(s.millis) } else { 0 };
    let mut write = tx.prepare_cached(
        "INSERT INTO check_rollups (step_s, check_id, at_ms, up, down, millis_sum, millis_max)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6)
         ON CONFLICT DO UPDATE SET up = up + excluded.up, down = down + excluded.down,
            millis_sum = millis_sum + excluded.millis_sum,
            millis_max = max(millis_max, excluded.millis_max)",
    )?;
    for step in Step::OF_CHECKS {
        write.execute(params![
            step.seconds(),
            s.check,
            step.slot(at).0,
            up,
            1 - up,
            millis
        ])?;
    }
    Ok(())
}

pub(super) fn prune(tx: &Transaction<'_>, now: UnixMs) -> Result<usize, DbError> {
    let mut removed = 0;
    for step in Step::ALL {
        let oldest = step.slot(now.minus(step.kept())).0;
        removed += tx.execute(
            "DELETE FROM box_rollups WHERE step_s = ?1 AND at_ms < ?2",
            params![step.seconds(), oldest],
        )?;
        // Subject by subject, each found by the key: by time alone all that is kept would be read.
        for (table, whose) in [
            ("traffic_rollups", "subject"),
            ("check_rollups", "check_id"),
        ] {
            removed += tx.execute(
                &format!(
                    "WITH RECURSIVE each (one) AS (
                        SELECT min({whose}) FROM {table} WHERE step_s = ?1
                        UNION ALL
                        SELECT (SELECT min({whose}) FROM {table} WHERE step_s = ?1 AND {whose} > one)
                        FROM each WHERE one IS NOT NULL)
                     DELETE FROM {table} WHERE step_s = ?1 AND at_ms < ?2
                        AND {whose} IN (SELECT one FROM each WHERE one IS NOT NULL)"
                ),
                params![step.seconds(), oldest],
            )?;
        }
    }
    Ok(removed)
}

pub(super) fn forget_check(tx: &Transaction<'_>, check: i64) -> Result<(), DbError> {
    tx.execute("DELETE FROM check_last WHERE check_id = ?1", [check])?;
    for step in Step::OF_CHECKS {
        tx.execute(
            "DELETE FROM check_rollups WHERE step_s = ?1 AND check_id = ?2",
            params![step.seconds(), check],
        )?;
    }
    Ok(())
}

pub(super) fn box_slots(c: &Connection, w: Window) -> Result<Vec<Option<BoxSlot>>, DbError> {
    let mut statement = c.prepare_cached(
        "SELECT at_ms, cpu_sum / samples, cpu_max, memory_sum / samples, memory_max, memory_total,
            swap_max, disk_used, disk_total, load_sum / samples, received, sent
         FROM box_rollups WHERE step_s = ?1 AND at_ms >= ?2 ORDER BY at_ms LIMIT ?3",
    )?;
    let mut slots = vec![None; w.slots];
    let mut rows = statement.query(params![w.step.seconds(), w.from.0, rows_of(w)])?;
    while let Some(row) = rows.next()? {
        let Some(index) = w.index(UnixMs(row.get(0)?)) else {
            continue;
        };
        slots[index] = Some(BoxSlot {
            cpu: row.get(1)?,
            cpu_max: row.get(2)?,
            memory_used: uint(row, 3)?,
            memory_max: uint(row, 4)?,
            memory_total: uint(row, 5)?,
            swap_max: uint(row, 6)?,
            disk_used: uint(row, 7)?,
            disk_total: uint(row, 8)?,
            load: row.get(9)?,
            received: uint(row, 10)?,
            sent: uint(row, 11)?,
        });
    }
    Ok(slots)
}

pub(super) fn traffic_slots(
    c: &Connection,
    subject: &str,
    w: Window,
    measured: &[bool],
) -> Result<Vec<Option<TrafficSlot>>, DbError> {
    let mut statement = c.prepare_cached(
        "SELECT at_ms, requests, client_errors, server_errors, failures, received, sent, latency
         FROM traffic_rollups WHERE step_s = ?1 AND subject = ?2 AND at_ms >= ?3
         ORDER BY at_ms LIMIT ?4",
    )?;
    let mut slots: Vec<Option<TrafficSlot>> = (0..w.slots)
        .map(|at| {
            measured
                .get(at)
                .is_some_and(|m| *m)
                .then(TrafficSlot::default)
        })
        .collect();
    let mut rows = statement.query(params![w.step.seconds(), subject, w.from.0, rows_of(w)])?;
    while let Some(row) = rows.next()? {
        let Some(index) = w.index(UnixMs(row.get(0)?)) else {
            continue;
        };
        slots[index] = Some(TrafficSlot {
            requests: uint(row, 1)?,
            client_errors: uint(row, 2)?,
            server_errors: uint(row, 3)?,
            failures: uint(row, 4)?,
            received: uint(row, 5)?,
            sent: uint(row, 6)?,
            latency: Latency::from_bytes(row.get_ref(7)?.as_blob().unwrap_or(&[])),
        });
    }
    Ok(slots)
}

pub(super) fn check_slots(
    c: &Connection,
    check: i64,
    w: Window,
) -> Result<Vec<CheckSlot>, DbError> {
    let mut statement = c.prepare_cached(
        "SELECT at_ms, up, down, millis_sum, millis_max FROM check_rollups
         WHERE step_s = ?1 AND check_id = ?2 AND at_ms >= ?3 ORDER BY at_ms LIMIT ?4",
    )?;
    let mut slots = vec![CheckSlot::default(); w.slots];
    let mut rows = statement.query(params![w.step.seconds(), check, w.from.0, rows_of(w)])?;
    while let Some(row) = rows.next()? {
        let Some(index) = w.index(UnixMs(row.get(0)?)) else {
            continue;
        };
        slots[index] = CheckSlot {
            up: uint(row, 1)?,
            down: uint(row, 2)?,
            millis_sum: uint(row, 3)?,
            millis_max: uint(row, 4)?,
        };
    }
    Ok(slots)
}

/// All slots of `w` as one.
pub(super) fn check_sum(c: &Connection, check: i64, w: Window) -> Result<CheckSlot, DbError> {
    let mut statement = c.prepare_cached(
        "SELECT ifnull(sum(up), 0), ifnull(sum(down), 0), ifnull(sum(millis_sum), 0), ifnull(max(millis_max), 0)
         FROM check_rollups WHERE step_s = ?1 AND check_id = ?2 AND at_ms BETWEEN ?3 AND ?4",
    )?;
    // A clock that was put back may have left slots beyond the window.
    let last = w.start(w.slots.saturating_sub(1));
    Ok(
        statement.query_row(params![w.step.seconds(), check, w.from.0, last.0], |row| {
            Ok(CheckSlot {
                up: uint(row, 0)?,
                down: uint(row, 1)?,
                millis_sum: uint(row, 2)?,
                millis_max: uint(row, 3)?,
            })
        })?,
    )
}

fn rows_of(w: Window) -> i64 {
    i64::try_from(w.slots).unwrap_or(i64::MAX)
}

pub(super) fn last_checks(c: &Connection) -> Result<Vec<(i64, LastCheck)>, DbError> {
    let mut statement =
        c.prepare_cached("SELECT check_id, at_ms, up, stage, why, millis FROM check_last")?;
    let rows = statement.query_map([], |row| {
        Ok((
            row.get(0)?,
            LastCheck {
                at: UnixMs(row.get(1)?),
                up: row.get::<_, i64>(2)? == 1,
                stage: row.get(3)?,
                why: row.get(4)?,
                millis: uint(row, 5)?,
            },
        ))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
