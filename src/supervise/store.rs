//! The rows of desired containers and of networks.

use std::collections::HashSet;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use crate::base::clock::UnixMs;
use crate::base::secret::{MasterKey, sha256_hex};
use crate::db::DbError;

use super::live::Exit;
use super::plan::Desired;
use super::run::JobEnd;
use super::spec::{Kind, Spec};

/// A row without its spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) id: i64,
    pub(super) desired: Desired,
    pub(super) grace: Duration,
    pub(super) spec_hash: String,
    pub(super) started: Option<UnixMs>,
}

/// A row with its spec still sealed.
#[derive(Clone, Debug)]
pub(super) struct SealedRow {
    pub(super) row: Row,
    pub(super) name: String,
    pub(super) spec: Vec<u8>,
}

impl Desired {
    fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Held => "held",
            Self::Ended => "ended",
            Self::Gone => "gone",
        }
    }

    fn parse(text: &str) -> Result<Self, DbError> {
        [Self::Running, Self::Held, Self::Ended, Self::Gone]
            .into_iter()
            .find(|d| d.as_str() == text)
            .ok_or_else(|| DbError::Unreadable(format!("containers.desired is \"{text}\"")))
    }
}

fn context(name: &str) -> String {
    format!("containers:{name}")
}

/// Opens a sealed spec.
pub(super) fn open(key: &MasterKey, sealed: &SealedRow) -> Result<Spec, DbError> {
    let bytes = key.open(&context(&sealed.name), &sealed.spec)?;
    Ok(serde_json::from_slice(&bytes)?)
}

/// Writes the wish down. The same name with an equal spec keeps its row and its
/// hash; with another spec the row takes the new one.
pub(super) fn want(
    tx: &Transaction<'_>,
    key: &MasterKey,
    spec: &Spec,
    desired: Desired,
    now: UnixMs,
) -> Result<Row, DbError> {
    let text = serde_json::to_vec(spec)?;
    let hash = sha256_hex(&text);
    let grace_ms = ms(spec.stop_grace);
    let present = by_name(tx, &spec.name)?;
    if let Some(present) = present {
        // A job that is under way is never begun anew, whatever changed around it.
        if spec.kind == Kind::Job && present.row.desired == Desired::Running {
            return Ok(present.row);
        }
        let same = open(key, &present).is_ok_and(|old| old == *spec);
        if same && present.row.desired == desired {
            return Ok(present.row);
        }
        let hash = match same {
            true => present.row.spec_hash.clone(),
            false => hash,
        };
        let sealed = key.seal(&context(&spec.name), &text)?;
        tx.execute(
            "UPDATE containers SET kind = ?2, owner = ?3, spec = ?4, spec_hash = ?5, desired = ?6, grace_ms = ?7,
                    started_ms = NULL, exit_code = NULL, exit_oom = 0, exit_ms = NULL, exit_errors = '[]'
             WHERE id = ?1",
            params![present.row.id, spec.kind.as_str(), spec.owner, sealed, hash, desired.as_str(), grace_ms],
        )?;
        return Ok(Row {
            id: present.row.id,
            desired,
            grace: spec.stop_grace,
            spec_hash: hash,
            started: None,
        });
    }
    let sealed = key.seal(&context(&spec.name), &text)?;
    tx.execute(
        // After a recovery numbers are left out that containers may carry which it has forgotten.
        "INSERT INTO containers (id, name, kind, owner, spec, spec_hash, desired, grace_ms, created_ms)
         VALUES (max((SELECT coalesce(max(id), 0) + 1 FROM containers), (SELECT coalesce(max(containers), 0) FROM recoveries)),
                 ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![
            spec.name,
            spec.kind.as_str(),
            spec.owner,
            sealed,
            hash,
            desired.as_str(),
            grace_ms,
            now.0
        ],
    )?;
    Ok(Row {
        id: tx.last_insert_rowid(),
        desired,
        grace: spec.stop_grace,
        spec_hash: hash,
        started: None,
    })
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

const COLUMNS: &str = "id, desired, grace_ms, spec_hash, started_ms, name, spec";

fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<(SealedRow, String)> {
    let grace_ms: i64 = row.get(2)?;
    let sealed = SealedRow {
        row: Row {
            id: row.get(0)?,
            desired: Desired::Gone,
            grace: Duration::from_millis(u64::try_from(grace_ms).unwrap_or(0)),
            spec_hash: row.get(3)?,
            started: row.get::<_, Option<i64>>(4)?.map(UnixMs),
        },
        name: row.get(5)?,
        spec: row.get(6)?,
    };
    Ok((sealed, row.get(1)?))
}

fn with_desired((mut sealed, desired): (SealedRow, String)) -> Result<SealedRow, DbError> {
    sealed.row.desired = Desired::parse(&desired)?;
    Ok(sealed)
}

/// The rows, and the ids of those that say what this program does not know.
#[derive(Debug, Default)]
pub(super) struct Rows {
    pub(super) rows: Vec<SealedRow>,
    pub(super) unreadable: HashSet<i64>,
}

/// Every row.
pub(super) fn all(connection: &Connection) -> Result<Rows, DbError> {
    let mut statement = connection.prepare_cached(&format!("SELECT {COLUMNS} FROM containers"))?;
    let mut found = Rows::default();
    for read in statement.query_map([], read)? {
        let read = read?;
        let (id, name) = (read.0.row.id, read.0.name.clone());
        match with_desired(read) {
            Ok(row) => found.rows.push(row),
            Err(error) => {
                tracing::error!(name, %error, "a container's row cannot be read; it is left alone");
                found.unreadable.insert(id);
            }
        }
    }
    Ok(found)
}

/// The row of that name.
pub(super) fn by_name(connection: &Connection, name: &str) -> Result<Option<SealedRow>, DbError> {
    let mut statement =
        connection.prepare_cached(&format!("SELECT {COLUMNS} FROM containers WHERE name = ?1"))?;
    let row = statement.query_row([name], read).optional()?;
    row.map(with_desired).transpose()
}

/// Writes that the row's container is to be gone after `grace`.
pub(super) fn retire(tx: &Transaction<'_>, id: i64, grace: Duration) -> Result<(), DbError> {
    tx.execute(
        "UPDATE containers SET desired = 'gone', grace_ms = ?2 WHERE id = ?1",
        params![id, ms(grace)],
    )?;
    Ok(())
}

/// What earlier daemons held is to be gone: nobody holds it any more.
pub(super) fn release_held(tx: &Transaction<'_>) -> Result<usize, DbError> {
    Ok(tx.execute(
        "UPDATE containers SET desired = 'gone', grace_ms = 0 WHERE desired = 'held'",
        [],
    )?)
}

/// Before a job's start, so that it never runs twice.
pub(super) fn mark_started(tx: &Transaction<'_>, id: i64, now: UnixMs) -> Result<(), DbError> {
    tx.execute(
        "UPDATE containers SET started_ms = ?2 WHERE id = ?1 AND started_ms IS NULL",
        params![id, now.0],
    )?;
    Ok(())
}

/// A job's result; its container may go.
pub(super) fn end(tx: &Transaction<'_>, id: i64, end: &JobEnd) -> Result<(), DbError> {
    tx.execute(
        "UPDATE containers SET desired = 'ended', exit_code = ?2, exit_oom = ?3, exit_ms = ?4, exit_errors = ?5, grace_ms = 0
         WHERE id = ?1 AND desired <> 'ended'",
        params![
            id,
            end.exit.code,
            end.exit.oom,
            end.exit.at.0,
            serde_json::to_string(&end.errors)?
        ],
    )?;
    Ok(())
}

/// The result of an ended job.
pub(super) fn result(connection: &Connection, name: &str) -> Result<Option<JobEnd>, DbError> {
    let row = connection
        .query_row(
            "SELECT exit_code, exit_oom, exit_ms, exit_errors FROM containers
             WHERE name = ?1 AND desired = 'ended' AND exit_code IS NOT NULL",
            [name],
            |row| {
                Ok((
                    Exit {
                        code: row.get(0)?,
                        oom: row.get(1)?,
                        at: UnixMs(row.get::<_, Option<i64>>(2)?.unwrap_or(0)),
                    },
                    row.get::<_, String>(3)?,
                ))
            },
        )
        .optional()?;
    row.map(|(exit, errors)| {
        Ok(JobEnd {
            exit,
            errors: serde_json::from_str(&errors)?,
        })
    })
    .transpose()
}

/// Removes a row whose container is gone.
pub(super) fn forget(tx: &Transaction<'_>, id: i64) -> Result<(), DbError> {
    tx.execute(
        "DELETE FROM containers WHERE id = ?1 AND desired = 'gone'",
        [id],
    )?;
    Ok(())
}

/// Whether a job's container of this owner may be there whose name begins so.
pub(super) fn is_job_left(c: &Connection, owner: &str, begins: &str) -> Result<bool, DbError> {
    Ok(c.query_row(
        "SELECT EXISTS (SELECT 1 FROM containers WHERE kind = 'job' AND owner = ?1 AND desired <> 'ended'
           AND substr(name, 1, length(?2)) = ?2)",
        [owner, begins],
        |row| row.get(0),
    )?)
}

/// Removes job results that ended before `before`.
pub(super) fn forget_results(tx: &Transaction<'_>, before: UnixMs) -> Result<usize, DbError> {
    Ok(tx.execute(
        "DELETE FROM containers WHERE desired = 'ended' AND exit_ms < ?1",
        [before.0],
    )?)
}

/// Names and subnets of our networks.
pub(super) fn networks(connection: &Connection) -> Result<Vec<(String, String)>, DbError> {
    let mut statement = connection.prepare_cached("SELECT name, subnet FROM networks")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Gives `subnet` to the network; false when another took it meanwhile.
pub(super) fn give_subnet(
    tx: &Transaction<'_>,
    name: &str,
    subnet: &str,
    now: UnixMs,
) -> Result<bool, DbError> {
    let done = tx.execute(
        "INSERT INTO networks (name, subnet, created_ms) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
        params![name, subnet, now.0],
    )?;
    Ok(done == 1)
}

/// Takes the network's subnet back.
pub(super) fn free_subnet(tx: &Transaction<'_>, name: &str) -> Result<(), DbError> {
    tx.execute("DELETE FROM networks WHERE name = ?1", [name])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::{Db, Kind as DbKind};
    use std::sync::Arc;

    async fn db() -> (tempfile::TempDir, Db) {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(&folder.path().join("state.db"), DbKind::State).unwrap();
        (folder, db)
    }

    /// Whoever tells that work is dead asks this: an engine that is away has not said so yet.
    #[tokio::test]
    async fn n6_a_jobs_container_is_left_until_its_row_is_gone() {
        let (_folder, db) = db().await;
        let key = Arc::new(MasterKey::from_bytes(&[7; 32]).unwrap());
        let spec = Spec::new(Kind::Job, "dump-1-2", "database:3", "postgres:17");
        let row = db
            .write(move |tx| want(tx, &key, &spec, Desired::Held, UnixMs(1)))
            .await
            .unwrap();
        let is_left = async |owner: &'static str, begins: &'static str| {
            db.read(move |c| is_job_left(c, owner, begins))
                .await
                .unwrap()
        };
        assert!(is_left("database:3", "dump-1-").await);
        assert!(!is_left("database:3", "dump-11-").await);
        assert!(!is_left("database:33", "dump-1-").await);
        db.write(move |tx| retire(tx, row.id, Duration::ZERO))
            .await
            .unwrap();
        assert!(is_left("database:3", "dump-1-").await, "told, and not seen");
        db.write(move |tx| forget(tx, row.id)).await.unwrap();
        assert!(!is_left("database:3", "dump-1-").await);
    }

    #[tokio::test]
    async fn f8_the_same_wish_is_the_same_row_and_secrets_are_sealed() {
        let (_folder, db) = db().await;
        let key = Arc::new(MasterKey::from_bytes(&[7; 32]).unwrap());
        let mut spec = Spec::new(Kind::Replica, "web-1", "app:1", "tasks:1");
        spec.env.insert("PASSWORD".into(), "hunter2-$\"\n".into());
        let write = |spec: Spec| {
            let (db, key) = (db.clone(), key.clone());
            async move {
                db.write(move |tx| want(tx, &key, &spec, Desired::Running, UnixMs(1)))
                    .await
                    .unwrap()
            }
        };
        let one = write(spec.clone()).await;
        let two = write(spec.clone()).await;
        assert_eq!(one, two);
        let sealed = db.read(|c| by_name(c, "web-1")).await.unwrap().unwrap();
        assert!(!sealed.spec.windows(7).any(|w| w == b"hunter2"));
        assert_eq!(open(&key, &sealed).unwrap(), spec);
        spec.image = "tasks:2".into();
        let three = write(spec).await;
        assert_eq!(three.id, one.id);
        assert_ne!(three.spec_hash, one.spec_hash);
    }

    #[tokio::test]
    async fn f4_a_jobs_result_is_kept_under_its_name() {
        let (_folder, db) = db().await;
        let key = MasterKey::from_bytes(&[7; 32]).unwrap();
        let spec = Spec::new(Kind::Job, "deploy-1-release", "app:1", "tasks:1");
        let kept = JobEnd {
            exit: Exit {
                code: 3,
                oom: false,
                at: UnixMs(9),
            },
            errors: vec!["why".into()],
        };
        let written = kept.clone();
        db.write(move |tx| {
            let row = want(tx, &key, &spec, Desired::Running, UnixMs(1))?;
            end(tx, row.id, &written)
        })
        .await
        .unwrap();
        let found = db.read(|c| result(c, "deploy-1-release")).await.unwrap();
        assert_eq!(found, Some(kept));
        let gone = db.write(|tx| forget_results(tx, UnixMs(10))).await.unwrap();
        assert_eq!(gone, 1);
    }
}
