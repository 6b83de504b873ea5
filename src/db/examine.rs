//! A look at the database itself, while it is in use.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::{Db, DbError, Kind, migrations};

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

    #[tokio::test]
    async fn a7_a_database_is_examined_while_it_is_in_use() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(&folder.path().join("state.db"), Kind::State).unwrap();
        let seen = db.examine().await.unwrap();
        assert_eq!(seen.check, "ok");
        assert_eq!(seen.steps.0, seen.steps.1);
        assert!(seen.path.ends_with("state.db") && seen.wal > 0);
    }
}
