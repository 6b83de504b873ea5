//! No text with a NUL in it comes into the state.
//!
//! What SQLite tells of a statement ends each text at its first NUL, so the journal would hold another value than the
//! database, and nothing would show it. The one writer refuses such a text instead, by triggers of its own connection,
//! which no file holds; whoever wanted to write it gets the error. Bytes may hold what they like.

use rusqlite::Connection;

use crate::db::DbError;

/// Has `connection` refuse them from now on, in every table that is there.
///
/// # Errors
/// Only the database's.
pub(super) fn refuse(connection: &Connection) -> Result<(), DbError> {
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    let mut tables = connection.prepare(
        r#"SELECT t.name, group_concat('instr(CAST(NEW."' || c.name || '" AS BLOB), x''00'')', ' OR ')
         FROM main.sqlite_schema t, pragma_table_info(t.name) c
         WHERE t.type = 'table' AND substr(t.name, 1, 7) <> 'sqlite_' AND c.type NOT IN ('INTEGER', 'BLOB')
         GROUP BY t.name"#,
    )?;
    let found = tables.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let found: Vec<(String, String)> = found.collect::<Result<_, _>>()?;
    for (table, has_one) in found {
        for event in ["INSERT", "UPDATE"] {
            connection.execute_batch(&format!(
                r#"CREATE TEMP TRIGGER "no NUL {event} {table}" BEFORE {event} ON main."{table}" WHEN {has_one}
                 BEGIN SELECT RAISE(ABORT, 'a text with a NUL character in it cannot be kept ({table})'); END"#
            ))?;
        }
    }
    Ok(())
}
