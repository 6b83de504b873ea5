//! The tables `deploys`, `deploy_steps` and `app_live`.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use crate::base::clock::UnixMs;
use crate::base::log_share::LogShare;
use crate::db::{DbError, Slice};

use super::cache::BuildTime;
use super::row::{Cause, Deploy, Facing, NewDeploy, Serving};
use super::state::State;
use super::static_folder::Files;

const DEPLOY: &str = "SELECT d.id, d.app_id, d.state, d.source, d.cause, d.by_whom, d.commit_id,
    d.title, d.image, d.release_id, r.number, d.returns_to, d.cancel, d.error, d.created_ms,
    d.started_ms, d.state_ms, d.switched_ms, d.finished_ms
    FROM deploys d LEFT JOIN releases r ON r.id = d.release_id";

fn odd(column: usize, why: String) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, why.into())
}

fn deploy(row: &Row<'_>) -> rusqlite::Result<Deploy> {
    let state: String = row.get(2)?;
    let source: String = row.get(3)?;
    let cause: String = row.get(4)?;
    let release: Option<i64> = row.get(9)?;
    let number: Option<i64> = row.get(10)?;
    let time = |at: usize| -> rusqlite::Result<Option<UnixMs>> {
        Ok(row.get::<_, Option<i64>>(at)?.map(UnixMs))
    };
    Ok(Deploy {
        id: row.get(0)?,
        app: row.get(1)?,
        state: State::parse(&state).ok_or_else(|| odd(2, format!("deploy state {state}")))?,
        source: serde_json::from_str(&source).map_err(|e| odd(3, e.to_string()))?,
        cause: Cause::parse(&cause),
        by: row.get(5)?,
        commit: row.get(6)?,
        title: row.get(7)?,
        image: row.get(8)?,
        release: release.zip(number),
        returns_to: row.get(11)?,
        cancel: row.get(12)?,
        error: row.get(13)?,
        created: UnixMs(row.get(14)?),
        started: time(15)?,
        state_since: UnixMs(row.get(16)?),
        switched: time(17)?,
        finished: time(18)?,
    })
}

pub(super) fn insert(tx: &Transaction<'_>, new: &NewDeploy, now: UnixMs) -> Result<i64, DbError> {
    tx.execute(
        "INSERT INTO deploys (app_id, state, source, cause, by_whom, delivery, title, created_ms, state_ms)
         VALUES (?1, 'queued', ?2, ?3, ?4, ?5, ?6, ?7, ?7)",
        params![
            new.app,
            new.source.to_json(),
            new.cause.as_str(),
            new.by,
            new.delivery,
            new.title,
            now.0
        ],
    )?;
    let id = tx.last_insert_rowid();
    step(tx, id, State::Queued, now)?;
    Ok(id)
}

fn step(tx: &Transaction<'_>, id: i64, state: State, now: UnixMs) -> Result<(), DbError> {
    tx.execute(
        "INSERT INTO deploy_steps (deploy_id, state, begun_ms) VALUES (?1, ?2, ?3)
         ON CONFLICT (deploy_id, state) DO NOTHING",
        params![id, state.as_str(), now.0],
    )?;
    Ok(())
}

pub(super) fn by_id(c: &Connection, id: i64) -> Result<Option<Deploy>, DbError> {
    let mut statement = c.prepare_cached(&format!("{DEPLOY} WHERE d.id = ?1"))?;
    Ok(statement.query_row([id], deploy).optional()?)
}

/// The newest first, of one app or of all.
pub(super) fn newest(
    c: &Connection,
    app: Option<i64>,
    slice: &Slice,
) -> Result<Vec<Deploy>, DbError> {
    let mut statement = c.prepare_cached(&format!(
        "{DEPLOY} WHERE (?1 IS NULL OR d.app_id = ?1)
         AND (?2 IS NULL OR d.id < ?2) AND (?3 IS NULL OR d.state = ?3) ORDER BY d.id DESC LIMIT ?4"
    ))?;
    let wanted = params![app, slice.before, slice.state, slice.limit];
    let rows = statement.query_map(wanted, deploy)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The newest of every app.
pub(super) fn last_of_each(c: &Connection) -> Result<Vec<Deploy>, DbError> {
    let mut statement = c.prepare_cached(&format!(
        "{DEPLOY} WHERE d.id IN (SELECT max(id) FROM deploys GROUP BY app_id)"
    ))?;
    let rows = statement.query_map([], deploy)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The newest of every app that came to an end of its own or is on the way to one: neither cancelled nor superseded.
pub(super) fn last_outcome_of_each(c: &Connection) -> Result<Vec<Deploy>, DbError> {
    let mut statement = c.prepare_cached(&format!(
        "{DEPLOY} WHERE d.id IN (SELECT max(id) FROM deploys
            WHERE state NOT IN ('cancelled', 'superseded') GROUP BY app_id)"
    ))?;
    let rows = statement.query_map([], deploy)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Those whose job is not settled.
pub(super) fn unsettled(c: &Connection) -> Result<Vec<Deploy>, DbError> {
    let mut statement = c.prepare_cached(&format!(
        "{DEPLOY} WHERE d.state IN ('queued', 'fetching', 'building', 'releasing', 'starting',
            'checking', 'switching', 'draining') ORDER BY d.id"
    ))?;
    let rows = statement.query_map([], deploy)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The apps that are marked as going away.
pub(super) fn going_away(c: &Connection) -> Result<Vec<i64>, DbError> {
    let mut statement = c.prepare_cached("SELECT id FROM apps WHERE removing = 1 ORDER BY id")?;
    let rows = statement.query_map([], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Those that are live and watched.
pub(super) fn watching(c: &Connection) -> Result<Vec<Deploy>, DbError> {
    let mut statement = c.prepare_cached(&format!(
        "{DEPLOY} WHERE d.state = 'watching' ORDER BY d.id"
    ))?;
    let rows = statement.query_map([], deploy)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn by_delivery(
    c: &Connection,
    app: i64,
    delivery: &str,
) -> Result<Option<Deploy>, DbError> {
    let mut statement = c.prepare_cached(&format!(
        "{DEPLOY} WHERE d.app_id = ?1 AND d.delivery = ?2 ORDER BY d.id DESC LIMIT 1"
    ))?;
    Ok(statement
        .query_row(params![app, delivery], deploy)
        .optional()?)
}

/// The deploy, no longer kept, that this delivery led to.
pub(super) fn taken_by(c: &Connection, app: i64, delivery: &str) -> Result<Option<i64>, DbError> {
    let mut statement = c.prepare_cached(
        "SELECT deploy_id FROM taken_deliveries WHERE app_id = ?1 AND delivery = ?2",
    )?;
    Ok(statement
        .query_row(params![app, delivery], |r| r.get(0))
        .optional()?)
}

/// Deliveries remembered of each app beyond those of the deploys that are kept.
const DELIVERIES_TAKEN: u32 = 10_000;

/// What a step found out.
#[derive(Clone, Debug, Default)]
pub(super) struct Change {
    pub commit: Option<String>,
    pub title: Option<String>,
    pub image: Option<String>,
    pub release: Option<i64>,
    pub error: Option<String>,
}

/// Moves a deploy from one state to the next. Says whether it still was in the first, and, where the
/// switch begins, whether nobody has taken it back: a cancel that was answered holds.
pub(super) fn enter(
    tx: &Transaction<'_>,
    id: i64,
    from: State,
    to: State,
    change: &Change,
    now: UnixMs,
) -> Result<bool, DbError> {
    let moved = tx.execute(
        "UPDATE deploys SET state = ?3, state_ms = ?4,
            started_ms = CASE WHEN ?3 IN ('superseded', 'cancelled') THEN started_ms
                ELSE coalesce(started_ms, ?4) END,
            switched_ms = CASE WHEN ?3 = 'draining' THEN coalesce(switched_ms, ?4) ELSE switched_ms END,
            finished_ms = CASE WHEN ?5 THEN coalesce(finished_ms, ?4) ELSE finished_ms END,
            commit_id = coalesce(?6, commit_id), title = coalesce(?7, title),
            image = coalesce(?8, image), release_id = coalesce(?9, release_id),
            error = coalesce(?10, error)
         WHERE id = ?1 AND state = ?2 AND (cancel = 0 OR ?3 <> 'switching')",
        params![
            id,
            from.as_str(),
            to.as_str(),
            now.0,
            to.is_settled(),
            change.commit,
            change.title,
            change.image,
            change.release,
            change.error
        ],
    )?;
    if moved > 0 {
        step(tx, id, to, now)?;
    }
    Ok(moved > 0)
}

pub(super) fn ask_cancel(tx: &Transaction<'_>, id: i64) -> Result<(), DbError> {
    tx.execute("UPDATE deploys SET cancel = 1 WHERE id = ?1", [id])?;
    Ok(())
}

/// Deploys of the app that have not begun, with what they are for.
pub(super) fn queued(c: &Connection, app: i64) -> Result<Vec<(i64, Cause)>, DbError> {
    let mut statement = c.prepare_cached(
        "SELECT id, cause FROM deploys WHERE app_id = ?1 AND state = 'queued' ORDER BY id",
    )?;
    let rows = statement.query_map([app], |r| {
        let word: String = r.get(1)?;
        Ok((r.get(0)?, Cause::parse(&word)))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn steps(c: &Connection, id: i64) -> Result<Vec<(State, UnixMs)>, DbError> {
    let mut statement = c.prepare_cached(
        "SELECT state, begun_ms FROM deploy_steps WHERE deploy_id = ?1 ORDER BY begun_ms",
    )?;
    let rows = statement.query_map([id], |r| {
        let word: String = r.get(0)?;
        let state = State::parse(&word).ok_or_else(|| odd(0, word))?;
        Ok((state, UnixMs(r.get(1)?)))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

const LIVE: &str =
    "SELECT l.app_id, l.release_id, r.number, l.deploy_id, l.replicas, l.stopped, l.since_ms, l.settings_changed,
        r.settings, r.settings -> '$.access_log', r.image
    FROM app_live l JOIN releases r ON r.id = l.release_id";

fn serving(row: &Row<'_>) -> rusqlite::Result<Serving> {
    let (replicas, settings): (String, String) = (row.get(4)?, row.get(8)?);
    let share: Option<String> = row.get(9)?;
    let image: String = row.get(10)?;
    Ok(Serving {
        files: Files::parse(&image),
        app: row.get(0)?,
        release_id: row.get(1)?,
        release: row.get(2)?,
        deploy: row.get(3)?,
        replicas: serde_json::from_str(&replicas).map_err(|e| odd(4, e.to_string()))?,
        facing: Facing::of(&settings),
        stopped: row.get(5)?,
        since: UnixMs(row.get(6)?),
        settings_changed: row.get(7)?,
        access_log: share
            .map(|text| serde_json::from_str::<Option<LogShare>>(&text))
            .transpose()
            .map_err(|e| odd(9, e.to_string()))?
            .flatten(),
    })
}

pub(super) fn live(c: &Connection, app: i64) -> Result<Option<Serving>, DbError> {
    let mut statement = c.prepare_cached(&format!("{LIVE} WHERE l.app_id = ?1"))?;
    Ok(statement.query_row([app], serving).optional()?)
}

pub(super) fn all_live(c: &Connection) -> Result<Vec<Serving>, DbError> {
    let mut statement = c.prepare_cached(LIVE)?;
    let rows = statement.query_map([], serving)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The switch: this deploy's containers are live from now on. The second time is nothing, and an app
/// that was stopped since the first time stays so. Refused, with the newer deploy's number, when one
/// has switched: this one's containers may be gone already.
pub(super) fn set_live(
    tx: &Transaction<'_>,
    app: i64,
    release: i64,
    deploy: i64,
    replicas: &BTreeMap<String, Vec<String>>,
    now: UnixMs,
) -> Result<Option<i64>, DbError> {
    let before = live(tx, app)?;
    if before.as_ref().is_some_and(|b| b.deploy == deploy) {
        return Ok(None);
    }
    if let Some(newer) = before.as_ref().filter(|b| b.deploy > deploy) {
        return Ok(Some(newer.deploy));
    }
    tx.execute(
        "INSERT INTO app_live (app_id, release_id, deploy_id, replicas, stopped, since_ms)
         VALUES (?1, ?2, ?3, ?4, 0, ?5)
         ON CONFLICT (app_id) DO UPDATE SET release_id = excluded.release_id,
            deploy_id = excluded.deploy_id, replicas = excluded.replicas, stopped = 0,
            since_ms = excluded.since_ms,
            -- The same release once more has what it had.
            settings_changed = CASE WHEN release_id = excluded.release_id THEN settings_changed ELSE 0 END",
        params![
            app,
            release,
            deploy,
            serde_json::to_string(replicas)?,
            now.0
        ],
    )?;
    tx.execute(
        "UPDATE releases SET live_ms = coalesce(live_ms, ?2) WHERE id = ?1",
        params![release, now.0],
    )?;
    let returns_to = before.map(|b| b.release_id).filter(|id| *id != release);
    tx.execute(
        "UPDATE deploys SET returns_to = ?2 WHERE id = ?1",
        params![deploy, returns_to],
    )?;
    Ok(None)
}

pub(super) fn set_replicas(
    tx: &Transaction<'_>,
    app: i64,
    replicas: &BTreeMap<String, Vec<String>>,
) -> Result<(), DbError> {
    tx.execute(
        "UPDATE app_live SET replicas = ?2 WHERE app_id = ?1",
        params![app, serde_json::to_string(replicas)?],
    )?;
    Ok(())
}

/// Notes that settings were changed which a stopped app has to have when it starts.
pub(super) fn owe_settings(tx: &Transaction<'_>, app: i64) -> Result<(), DbError> {
    tx.execute(
        "UPDATE app_live SET settings_changed = 1 WHERE app_id = ?1 AND stopped = 1",
        [app],
    )?;
    Ok(())
}

/// The app runs no more. Settings whose deploy that cut off are owed to its start.
pub(super) fn stop(tx: &Transaction<'_>, app: i64) -> Result<bool, DbError> {
    let changed = tx.execute(
        "UPDATE app_live SET replicas = '{}', stopped = 1,
            settings_changed = max(settings_changed, EXISTS (
                SELECT 1 FROM deploys d WHERE d.app_id = ?1 AND d.id > app_live.deploy_id
                AND d.cause = 'settings' AND (d.finished_ms IS NULL OR d.state IN ('cancelled', 'superseded'))))
         WHERE app_id = ?1 AND stopped = 0",
        [app],
    )?;
    Ok(changed > 0)
}

/// Deletes the app's oldest settled deploys beyond `keep`; gives their ids. The deliveries that led to
/// them stay taken.
pub(super) fn trim(tx: &Transaction<'_>, app: i64, keep: u32) -> Result<Vec<i64>, DbError> {
    let mut statement = tx.prepare_cached(
        "DELETE FROM deploys WHERE app_id = ?1 AND finished_ms IS NOT NULL AND id NOT IN
            (SELECT id FROM deploys WHERE app_id = ?1 ORDER BY id DESC LIMIT ?2)
         AND id NOT IN (SELECT deploy_id FROM app_live WHERE app_id = ?1) RETURNING id, state, delivery",
    )?;
    let rows = statement.query_map(params![app, keep], |r| {
        Ok((
            r.get(0)?,
            r.get::<_, String>(1)?,
            r.get::<_, Option<String>>(2)?,
        ))
    })?;
    let gone = rows.collect::<Result<Vec<(i64, _, _)>, _>>()?;
    for (id, state, delivery) in &gone {
        let taken = State::parse(state).is_none_or(|state| !state.may_repeat());
        if let Some(delivery) = delivery.as_ref().filter(|_| taken) {
            tx.prepare_cached("INSERT OR REPLACE INTO taken_deliveries (app_id, delivery, deploy_id) VALUES (?1, ?2, ?3)")?
                .execute(params![app, delivery, id])?;
        }
    }
    if !gone.is_empty() {
        tx.prepare_cached(
            "DELETE FROM taken_deliveries WHERE app_id = ?1 AND deploy_id <
                (SELECT deploy_id FROM taken_deliveries WHERE app_id = ?1 ORDER BY deploy_id DESC LIMIT 1 OFFSET ?2)",
        )?
        .execute(params![app, DELIVERIES_TAKEN - 1])?;
    }
    Ok(gone.into_iter().map(|(id, ..)| id).collect())
}

/// The longest that a build of ours is taken to have run when nobody saw its end, milliseconds: what came into the cache
/// while the box was off, or the daemon, is not ours.
const UNSEEN: i64 = 3_600_000;

/// A build of this deploy begins; one before it that nobody saw end has ended.
pub(super) fn begin_build(tx: &Transaction<'_>, deploy: i64, now: UnixMs) -> Result<(), DbError> {
    end_build(tx, deploy, now)?;
    tx.execute(
        "INSERT INTO build_times (deploy_id, begun_ms) VALUES (?1, ?2)",
        params![deploy, now.0],
    )?;
    Ok(())
}

/// The builds of this deploy are over.
pub(super) fn end_build(tx: &Transaction<'_>, deploy: i64, now: UnixMs) -> Result<(), DbError> {
    tx.execute(
        "UPDATE build_times SET ended_ms = min(?2, begun_ms + ?3) WHERE deploy_id = ?1 AND ended_ms IS NULL",
        params![deploy, now.0, UNSEEN],
    )?;
    Ok(())
}

/// Ends builds whose deploy went on without saying so, as after a death of the daemon.
pub(super) fn close_builds(tx: &Transaction<'_>, now: UnixMs) -> Result<(), DbError> {
    tx.execute(
        "UPDATE build_times SET ended_ms = min(?1, begun_ms + ?3) WHERE ended_ms IS NULL
         AND deploy_id NOT IN (SELECT id FROM deploys WHERE state = ?2)",
        params![now.0, State::Building.as_str(), UNSEEN],
    )?;
    Ok(())
}

pub(super) fn build_times(c: &Connection) -> Result<Vec<BuildTime>, DbError> {
    let mut statement = c.prepare_cached("SELECT id, begun_ms, ended_ms FROM build_times")?;
    let rows = statement.query_map([], |r| {
        Ok(BuildTime {
            id: r.get(0)?,
            begun: UnixMs(r.get(1)?),
            ended: r.get::<_, Option<i64>>(2)?.map(UnixMs),
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn forget_builds(tx: &Transaction<'_>, ids: &[i64]) -> Result<(), DbError> {
    let mut statement = tx.prepare_cached("DELETE FROM build_times WHERE id = ?1")?;
    for id in ids {
        statement.execute([id])?;
    }
    Ok(())
}
