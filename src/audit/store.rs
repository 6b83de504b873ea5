//! The tables `audit` and `audit_outcomes`: added to and read, nothing else.

use rusqlite::{Connection, Transaction, params};
use serde_json::{Map, Value};

use super::facts::cut;
use super::{End, Entry, Filter, Intent, Outcome};
use crate::base::clock::UnixMs;
use crate::db::DbError;

/// Characters kept of a name.
const NAME: usize = 100;
/// Characters kept of a sentence.
const DETAIL: usize = 600;

/// The intent; its id.
pub(super) fn begin(tx: &Transaction<'_>, intent: &Intent, now: UnixMs) -> Result<i64, DbError> {
    let Intent {
        who,
        action,
        subject,
    } = intent;
    tx.execute(
        "INSERT INTO audit (at_ms, who_kind, who_id, who, via, address, request, action, subject_kind, subject_id, subject)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        params![
            now.0,
            who.kind.as_str(),
            who.id,
            cut(&who.name, NAME),
            cut(&who.via, NAME),
            cut(&who.address, NAME),
            cut(&who.request, NAME),
            cut(action, NAME),
            subject.kind,
            subject.id,
            cut(&subject.name, NAME),
        ],
    )?;
    Ok(tx.last_insert_rowid())
}

/// The outcome of the intent `id`.
pub(super) fn end(
    tx: &Transaction<'_>,
    id: i64,
    outcome: &Outcome,
    now: UnixMs,
) -> Result<(), DbError> {
    tx.execute(
        "INSERT INTO audit_outcomes (audit_id, at_ms, status, detail, was, became)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            id,
            now.0,
            outcome.status,
            cut(&outcome.detail, DETAIL),
            Value::Object(outcome.was.clone()).to_string(),
            Value::Object(outcome.became.clone()).to_string(),
        ],
    )?;
    Ok(())
}

/// `text` as part of a LIKE pattern with `\` as its escape.
fn literal(text: &str) -> String {
    let mut pattern = String::new();
    for c in text.chars() {
        if matches!(c, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

/// Those that fit, newest first.
pub(super) fn list(c: &Connection, filter: &Filter, limit: u32) -> Result<Vec<Entry>, DbError> {
    let (subject_kind, subject) = match filter.subject.as_deref().map(|s| s.split_once(':')) {
        Some(Some((kind, name))) => (Some(kind), Some(name)),
        Some(None) => (None, filter.subject.as_deref()),
        None => (None, None),
    };
    let begins = filter
        .action
        .as_deref()
        .map(|a| format!("{}.%", literal(a)));
    let text = filter.text.as_deref().map(|t| format!("%{}%", literal(t)));
    let mut statement = c.prepare_cached(
        r"SELECT a.id, a.at_ms, a.who_kind, a.who_id, a.who, a.via, a.address, a.request, a.action,
                 a.subject_kind, a.subject_id, a.subject, o.at_ms, o.status, o.detail, o.was, o.became
          FROM audit a LEFT JOIN audit_outcomes o ON o.audit_id = a.id
          WHERE (?1 IS NULL OR a.id < ?1)
            AND (?2 IS NULL OR a.who = ?2 COLLATE NOCASE OR a.via = ?2 COLLATE NOCASE OR a.who_kind = ?2)
            AND (?3 IS NULL OR a.action = ?3 OR a.action LIKE ?4 ESCAPE '\')
            AND (?5 IS NULL OR a.subject_kind = ?5)
            AND (?6 IS NULL OR a.subject = ?6)
            AND (?7 IS NULL OR a.at_ms >= ?7)
            AND (?8 IS NULL OR a.at_ms <= ?8)
            AND (?9 IS NULL OR a.who LIKE ?9 ESCAPE '\' OR a.via LIKE ?9 ESCAPE '\' OR a.address LIKE ?9 ESCAPE '\'
                 OR a.request LIKE ?9 ESCAPE '\' OR a.action LIKE ?9 ESCAPE '\' OR a.subject LIKE ?9 ESCAPE '\'
                 OR o.detail LIKE ?9 ESCAPE '\' OR o.was LIKE ?9 ESCAPE '\' OR o.became LIKE ?9 ESCAPE '\')
          ORDER BY a.id DESC LIMIT ?10",
    )?;
    let rows = statement.query_map(
        params![
            filter.before,
            filter.who,
            filter.action,
            begins,
            subject_kind,
            subject,
            filter.since.map(|at| at.0),
            filter.until.map(|at| at.0),
            text,
            limit,
        ],
        read,
    )?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Entry> {
    let fields = |column: usize| -> rusqlite::Result<Map<String, Value>> {
        let text: String = row.get(column)?;
        Ok(serde_json::from_str(&text).unwrap_or_default())
    };
    let end: Option<End> = match row.get::<_, Option<i64>>(12)? {
        None => None,
        Some(at) => Some(End {
            at: UnixMs(at),
            status: row.get(13)?,
            detail: row.get(14)?,
            was: fields(15)?,
            became: fields(16)?,
        }),
    };
    let made = end
        .as_ref()
        .and_then(|end| end.became.get(super::MADE)?.as_i64());
    Ok(Entry {
        id: row.get(0)?,
        at: UnixMs(row.get(1)?),
        kind: row.get(2)?,
        who_id: row.get(3)?,
        who: row.get(4)?,
        via: row.get(5)?,
        address: row.get(6)?,
        request: row.get(7)?,
        action: row.get(8)?,
        subject_kind: row.get(9)?,
        subject_id: row.get::<_, Option<i64>>(10)?.or(made),
        subject: row.get(11)?,
        end,
        open: false,
    })
}
