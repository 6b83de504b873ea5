//! The tables `audit` and `audit_outcomes`: added to and read, nothing else.

use rusqlite::{Connection, Transaction, params, params_from_iter};
use serde_json::{Map, Value};

use super::facts::cut;
use super::{End, Entry, Filter, Intent, Outcome};
use crate::base::clock::UnixMs;
use crate::db::{self, DbError};

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
    db::note(&subject.name, action);
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
    let mut wanted = Wanted::default();
    if let Some(before) = filter.before {
        wanted.that("a.id < ?", before);
    }
    if let Some(who) = &filter.who {
        wanted.that(
            "(a.who = ? COLLATE NOCASE OR a.via = ? COLLATE NOCASE OR a.who_kind = ?)",
            who.clone(),
        );
    }
    if let Some(action) = &filter.action {
        wanted.that(
            "(a.action = ? OR lower(substr(a.action, 1, length(?) + 1)) = lower(? || '.'))",
            action.clone(),
        );
    }
    if let Some(subject) = &filter.subject {
        let name = match subject.split_once(':') {
            Some((kind, name)) => {
                wanted.that("a.subject_kind = ?", kind.to_owned());
                name
            }
            None => subject,
        };
        wanted.that("a.subject = ?", name.to_owned());
    }
    if let Some(since) = filter.since {
        wanted.that("a.at_ms >= ?", since.0);
    }
    if let Some(until) = filter.until {
        wanted.that("a.at_ms <= ?", until.0);
    }
    if let Some(text) = &filter.text {
        wanted.that(ANYWHERE, format!("%{}%", literal(text)));
    }
    let (conditions, mut values) = (wanted.conditions, wanted.values);
    values.push(limit.into());
    // Only what is asked for is compared: an export reads every row there is.
    let mut statement = c.prepare_cached(&format!(
        "SELECT a.id, a.at_ms, a.who_kind, a.who_id, a.who, a.via, a.address, a.request, a.action,
                a.subject_kind, a.subject_id, a.subject, o.at_ms, o.status, o.detail, o.was, o.became
         FROM audit a LEFT JOIN audit_outcomes o ON o.audit_id = a.id
         WHERE 1 {conditions} ORDER BY a.id DESC LIMIT ?{}",
        values.len()
    ))?;
    let rows = statement.query_map(params_from_iter(values), read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Stands anywhere in an entry.
const ANYWHERE: &str =
    "(a.who LIKE ? ESCAPE '\\' OR a.via LIKE ? ESCAPE '\\' OR a.address LIKE ? ESCAPE '\\'
    OR a.request LIKE ? ESCAPE '\\' OR a.action LIKE ? ESCAPE '\\' OR a.subject LIKE ? ESCAPE '\\'
    OR o.detail LIKE ? ESCAPE '\\' OR o.was LIKE ? ESCAPE '\\' OR o.became LIKE ? ESCAPE '\\')";

/// What an entry has to fit, as a list of conditions and the values in them.
#[derive(Default)]
struct Wanted {
    conditions: String,
    values: Vec<rusqlite::types::Value>,
}

impl Wanted {
    /// `condition` holds; each `?` in it is `value`.
    fn that(&mut self, condition: &str, value: impl Into<rusqlite::types::Value>) {
        self.values.push(value.into());
        let numbered = condition.replace('?', &format!("?{}", self.values.len()));
        self.conditions.push_str(" AND ");
        self.conditions.push_str(&numbered);
    }
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
