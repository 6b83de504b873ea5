//! What a box holds, counted before and after: bad input changes nothing of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};

/// Every row, by table.
pub type Census = BTreeMap<String, BTreeSet<String>>;

/// Tables that tell what happened rather than what is, or that move by themselves: the queue, orders of certificates,
/// the checks that follow the domains.
const TELLING: &[&str] = &[
    "events",
    "jobs",
    // A refusal stands in the log of who did what.
    "audit",
    "audit_outcomes",
    // How far the journal of changes goes, those to the audit log among them.
    "journal",
    "deliveries",
    "checks",
    "incidents",
    "acme_accounts",
    "certificate_names",
    "certificates",
    "certificate_orders",
    "certificate_challenges",
    "setup_links",
];
/// Columns that tell how something went.
const HOW_IT_WENT: &[&str] = &["used_ms", "fault", "next_due_ms", "alarm_ms"];

/// Reads the state of the box whose data lies in `data`, without the tables of `but`.
pub fn of(data: &Path, but: &[&str]) -> Census {
    let connection =
        Connection::open_with_flags(data.join("state.db"), OpenFlags::SQLITE_OPEN_READ_ONLY)
            .unwrap();
    connection
        .busy_timeout(std::time::Duration::from_secs(60))
        .unwrap();
    let mut tables = connection
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
        .unwrap();
    let names: Vec<String> = tables
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    names
        .into_iter()
        .filter(|name| !TELLING.contains(&name.as_str()) && !but.contains(&name.as_str()))
        .map(|name| {
            let rows = rows(&connection, &name);
            (name, rows)
        })
        .collect()
}

fn rows(connection: &Connection, table: &str) -> BTreeSet<String> {
    let mut all = connection
        .prepare(&format!("SELECT * FROM \"{table}\""))
        .unwrap();
    let columns: Vec<String> = all.column_names().map(str::to_owned).collect();
    let found = all
        .query_map([], |row| {
            let mut text = String::new();
            for (at, column) in columns.iter().enumerate() {
                if HOW_IT_WENT.contains(&column.as_str()) {
                    continue;
                }
                let value = match row.get_ref(at)? {
                    ValueRef::Null => "-".to_owned(),
                    ValueRef::Integer(n) => n.to_string(),
                    ValueRef::Real(n) => n.to_string(),
                    ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
                    ValueRef::Blob(bytes) => hex::encode(bytes),
                };
                text.push_str(&format!("{column}={value} "));
            }
            Ok(text)
        })
        .unwrap();
    found.map(Result::unwrap).collect()
}

/// What is in one and not in the other; nothing when they are equal.
pub fn difference(before: &Census, after: &Census) -> String {
    let mut said = String::new();
    let none = BTreeSet::new();
    let tables: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for table in tables {
        let was = before.get(table).unwrap_or(&none);
        let is = after.get(table).unwrap_or(&none);
        for row in was.difference(is) {
            said.push_str(&format!("\n  {table} lost: {row:.400}"));
        }
        for row in is.difference(was) {
            said.push_str(&format!("\n  {table} gained: {row:.400}"));
        }
    }
    said
}
