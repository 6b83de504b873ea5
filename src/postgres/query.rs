//! Statements, sent to a server through `psql` in its own container: on its
//! input, never in its arguments.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Databases;
use super::database::Database;
use super::error::PostgresError;
use super::spec;
use crate::base::hearsay::one_line;
use crate::supervise::{ExecOutput, SuperviseError};

/// A statement that is not back by then is given up.
pub(super) const QUICK: Duration = Duration::from_secs(30);
/// How long a server that does not run just now is waited for.
const BACK_UP: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// Creating from a template, ANALYZE, dropping.
pub(super) const SLOW: Duration = Duration::from_secs(600);

/// Keeps the statements that follow out of the server's log: they hold a password.
pub(super) const UNLOGGED: &str = "SET log_statement = 'none'; SET log_min_error_statement = 'panic'; \
     SET log_min_duration_statement = -1;\n";

impl Databases {
    /// Runs `statements` in the database `logical`; the rows of what they select.
    pub(super) async fn sql(
        &self,
        database: &Database,
        logical: &str,
        statements: &str,
        limit: Duration,
    ) -> Result<Vec<Vec<String>>, PostgresError> {
        let said = self
            .exec(
                database,
                spec::psql(logical),
                Some(statements.as_bytes().to_vec()),
                limit,
            )
            .await?;
        if said.code != 0 {
            return Err(PostgresError::Refused(reason(&String::from_utf8_lossy(
                &said.err,
            ))));
        }
        Ok(rows(&String::from_utf8_lossy(&said.out)))
    }

    /// Runs a short command in the server's container. A daemon that has just
    /// started does not know yet that the container runs, and a server may be
    /// on its way back up: both are waited for.
    pub(super) async fn exec(
        &self,
        database: &Database,
        argv: Vec<String>,
        stdin: Option<Vec<u8>>,
        limit: Duration,
    ) -> Result<ExecOutput, PostgresError> {
        let Some(row) = database.container_row else {
            return Err(PostgresError::Conflict(format!(
                "the database {} is {}: it has no server to ask yet",
                database.name,
                database.state.as_str()
            )));
        };
        let begun = tokio::time::Instant::now();
        loop {
            let said = self
                .supervisor
                .exec(row, argv.clone(), BTreeMap::new(), stdin.clone(), limit)
                .await;
            match said {
                Err(SuperviseError::NotFound(_)) if begun.elapsed() < BACK_UP => {
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
                other => return Ok(other?),
            }
        }
    }
}

/// The first error `psql` tells of, without its own place names.
pub(super) fn reason(text: &str) -> String {
    let line = text
        .lines()
        .find(|l| l.contains("ERROR:") || l.contains("FATAL:") || l.contains("error:"))
        .or_else(|| text.lines().find(|l| !l.trim().is_empty()))
        .unwrap_or("no reason given");
    let at = ["ERROR:", "FATAL:", "error:"]
        .iter()
        .filter_map(|word| line.find(word).map(|at| at + word.len()))
        .min()
        .unwrap_or(0);
    let (_, said) = line.split_at(at);
    one_line(said, 300)
}

pub(super) fn rows(out: &str) -> Vec<Vec<String>> {
    let out = out.strip_suffix('\n').unwrap_or(out);
    if out.is_empty() {
        return Vec::new();
    }
    out.split('\u{1e}')
        .map(|row| row.split('\u{1f}').map(str::to_owned).collect())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f3_rows_and_fields_may_hold_anything_but_their_separators() {
        assert!(rows("").is_empty());
        assert_eq!(
            rows("a\nb\u{1f}|\u{1e}c\u{1f}\n"),
            [["a\nb", "|"], ["c", ""]]
        );
    }

    #[test]
    fn f3_the_servers_reason_is_found() {
        assert_eq!(
            reason("psql:<stdin>:3: ERROR:  role \"x\" does not exist\nLINE 1"),
            "role \"x\" does not exist"
        );
        assert_eq!(
            reason("psql: error: connection to server failed: FATAL:  no"),
            "connection to server failed: FATAL: no"
        );
        assert_eq!(reason(""), "no reason given");
    }
}
