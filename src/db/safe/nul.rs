//! Texts with a NUL in them, which the journal has to be told of apart.
//!
//! What SQLite tells of a statement ends each text at its first NUL, so the journal would hold another value than the
//! database, and nothing would show it. Triggers of the one writer's own connection, which no file holds, note the rows
//! that got such a text; before the commit a statement each is added that sets it byte for byte. Last words of
//! containers may hold anything, so they are not refused. Where a row has no number, or may not be changed, a text with
//! a NUL is: there stand names and what people did. Bytes may hold what they like anywhere.

use rusqlite::{Connection, Transaction};

use crate::db::DbError;

/// The columns of a table that may hold text.
const TEXTS: &str =
    "SELECT name FROM pragma_table_info(?1) WHERE type NOT IN ('INTEGER', 'BLOB') ORDER BY cid";
/// The tables, and whether their rows have numbers and may be changed.
const TABLES: &str = "SELECT name, NOT (sql LIKE '%WITHOUT ROWID%' OR EXISTS (
        SELECT 1 FROM main.sqlite_schema g
        WHERE g.type = 'trigger' AND g.tbl_name = t.name AND g.sql LIKE '% UPDATE %'))
    FROM main.sqlite_schema t WHERE type = 'table' AND substr(name, 1, 7) <> 'sqlite_'";

/// Has `connection` note them from now on, in every table that is there.
///
/// # Errors
/// Only the database's.
pub(super) fn watch(connection: &Connection) -> Result<(), DbError> {
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.execute_batch("CREATE TEMP TABLE nul_texts (of TEXT, id INTEGER)")?;
    let mut tables = connection.prepare(TABLES)?;
    let found = tables.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let found: Vec<(String, bool)> = found.collect::<Result<_, _>>()?;
    for (table, can_be_set) in found {
        let columns = texts(connection, &table)?;
        let has_one: Vec<String> = columns
            .iter()
            .map(|c| format!(r#"instr(CAST(NEW."{c}" AS BLOB), x'00')"#))
            .collect();
        if has_one.is_empty() {
            continue;
        }
        let has_one = has_one.join(" OR ");
        let (when, then) = match can_be_set {
            true => (
                "AFTER",
                format!("INSERT INTO nul_texts VALUES ('{table}', NEW.rowid)"),
            ),
            false => (
                "BEFORE",
                format!(
                    "SELECT RAISE(ABORT, 'a text with a NUL character in it cannot be kept ({table})')"
                ),
            ),
        };
        for event in ["INSERT", "UPDATE"] {
            connection.execute_batch(&format!(
                r#"CREATE TEMP TRIGGER "NUL {event} {table}" {when} {event} ON main."{table}" WHEN {has_one}
                 BEGIN {then}; END"#
            ))?;
        }
    }
    Ok(())
}

fn texts(connection: &Connection, table: &str) -> Result<Vec<String>, DbError> {
    let mut columns = connection.prepare_cached(TEXTS)?;
    let names = columns.query_map([table], |row| row.get(0))?;
    Ok(names.collect::<Result<_, _>>()?)
}

/// What was noted of the transaction under way.
#[derive(Debug, Default)]
pub(super) struct Noted {
    /// Rows that the notes themselves are.
    pub(super) notes: u64,
    /// What sets the texts, a row each.
    pub(super) statements: Vec<String>,
}

/// Takes the notes.
///
/// # Errors
/// Only the database's.
pub(super) fn take(tx: &Transaction<'_>) -> Result<Noted, DbError> {
    let mut noted = Noted::default();
    let mut notes = tx.prepare_cached("SELECT of, id FROM nul_texts")?;
    let rows = notes.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mut rows: Vec<(String, i64)> = rows.collect::<Result<_, _>>()?;
    if rows.is_empty() {
        return Ok(noted);
    }
    noted.notes = rows.len() as u64;
    rows.sort();
    rows.dedup();
    for (table, id) in rows {
        for column in texts(tx, &table)? {
            // As it is now: it may have been changed again, or be gone.
            let mut text = tx.prepare(&format!(
                r#"SELECT quote(CAST("{column}" AS BLOB)) FROM main."{table}"
                   WHERE rowid = ?1 AND instr(CAST("{column}" AS BLOB), x'00')"#
            ))?;
            let texts = text.query_map([id], |row| row.get::<_, String>(0))?;
            for bytes in texts {
                noted.statements.push(format!(
                    r#"UPDATE "{table}" SET "{column}" = CAST({} AS TEXT) WHERE rowid = {id}"#,
                    bytes?
                ));
            }
        }
    }
    tx.execute("DELETE FROM nul_texts", [])?;
    Ok(noted)
}
