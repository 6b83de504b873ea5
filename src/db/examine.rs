//! A look at the database itself, while it is in use.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::{Db, DbError, Kind, migrations, open};

/// How the database is.
#[derive(Clone, Debug)]
pub struct Examination {
    /// Its file.
    pub path: PathBuf,
    /// What SQLite's quick check says: `ok` when nothing is wrong.
    pub check: String,
    /// How long that took.
    pub took: Duration,
    /// Bytes of the write-ahead log.
    pub wal: u64,
    /// Steps of the schema that are done, and those this program knows.
    pub steps: (i64, i64),
}

impl Db {
    /// Whether the file is whole. Reads all of it, beside what goes on, on a connection of its
    /// own: the readers of pages are not held up.
    ///
    /// # Errors
    /// [`DbError::Damaged`] with what is wrong first, or that it cannot be read at all.
    pub async fn check(&self) -> Result<(), DbError> {
        let inner = std::sync::Arc::clone(&self.inner);
        let checked = tokio::task::spawn_blocking(move || {
            open::whole(&open::reader(&inner.path)?, &inner.path, inner.kind)
        });
        checked
            .await
            .map_err(|_| DbError::Unavailable("the check of the file broke off".into()))?
    }

    /// Checks the state database as it is on the disk. Reads all of it.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn examine(&self) -> Result<Examination, DbError> {
        let path = self.inner.path.clone();
        let wal = path.with_extension("db-wal");
        self.read(move |c| {
            let begun = Instant::now();
            let check = c.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
            let took = begun.elapsed();
            let done = c.query_row("PRAGMA user_version", [], |row| row.get(0))?;
            Ok(Examination {
                path,
                check,
                took,
                wal: std::fs::metadata(&wal).map_or(0, |m| m.len()),
                steps: (done, migrations::known(Kind::State)),
            })
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Overwrites pages in the middle of the file, as a dying disk does.
    fn damage(path: &std::path::Path) {
        use std::io::{Seek as _, Write as _};
        let length = std::fs::metadata(path).unwrap().len();
        let mut file = std::fs::File::options().write(true).open(path).unwrap();
        file.seek(std::io::SeekFrom::Start(length / 2)).unwrap();
        file.write_all(&[0x5a; 16_384]).unwrap();
    }

    async fn filled(path: &std::path::Path, kind: Kind, insert: &'static str) {
        let db = Db::open(path, kind).unwrap();
        let written: Result<(), DbError> = db
            .write(move |tx| {
                for n in 0..5_000 {
                    tx.execute(insert, [n])?;
                }
                Ok(())
            })
            .await;
        written.unwrap();
        assert!(db.check().await.is_ok());
        drop(db);
        // The writer's thread closes the file, and the log goes into it.
        while path.with_extension("db-wal").exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        damage(path);
    }

    #[tokio::test]
    async fn a1_a_damaged_state_is_not_opened_and_damaged_figures_are_found_once_they_are_looked_through()
     {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state.db");
        let insert = "INSERT INTO events (at_ms, kind, level, subject, message, data)
            VALUES (?1, 'a', 'info', 'b', 'a sentence that takes its room in the file', '{}')";
        filled(&state, Kind::State, insert).await;
        // With its snapshots it would be made anew.
        std::fs::remove_dir_all(state.with_extension("safe")).unwrap();
        let Err(error @ DbError::Damaged { .. }) = Db::open(&state, Kind::State) else {
            panic!("a damaged state was opened");
        };
        assert!(
            error.to_string().contains("restore it from a copy"),
            "{error}"
        );

        let metrics = folder.path().join("metrics.db");
        let insert =
            "INSERT INTO check_rollups (step_s, check_id, at_ms, up, down, millis_sum, millis_max)
            VALUES (60, 1, ?1, 1, 0, 5, 5)";
        filled(&metrics, Kind::Metrics, insert).await;
        let db = Db::open(&metrics, Kind::Metrics).unwrap();
        let error = db.check().await.unwrap_err();
        assert!(matches!(error, DbError::Damaged { .. }), "{error}");
        assert!(error.to_string().contains("move the file away"), "{error}");
    }

    #[tokio::test]
    async fn a7_a_database_is_examined_while_it_is_in_use() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(&folder.path().join("state.db"), Kind::State).unwrap();
        db.set_meta("k", "v".to_owned()).await.unwrap();
        let seen = db.examine().await.unwrap();
        assert_eq!(seen.check, "ok");
        assert_eq!(seen.steps.0, seen.steps.1);
        assert!(seen.path.ends_with("state.db") && seen.wal > 0);
    }
}
