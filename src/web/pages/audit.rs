//! `/settings/audit`: who did what, searched and read.

use askama::Template;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::Value;

use super::frame::{Frame, Section, Theme};
use super::parts::{Badge, Field, Tone, When};
use super::visit::Visit;
use super::words;
use crate::base::clock::UnixMs;
use crate::config::units;
use crate::web::api::audit::{Which, piece};
use crate::web::error::Failure;
use crate::web::page::Page;
use crate::web::services::App;
use crate::wire::audit as wire;
use crate::wire::listing::Listing;

/// The page.
#[derive(Clone, Debug, Template)]
#[template(path = "audit.html")]
pub struct View {
    /// What stands around it.
    pub frame: Frame,
    /// A name to look for.
    pub who: Field,
    /// An action to look for.
    pub action: Field,
    /// A subject to look for.
    pub subject: Field,
    /// Text to look for.
    pub text: Field,
    /// Not before.
    pub since: Field,
    /// Not after.
    pub until: Field,
    /// Something is looked for.
    pub searched: bool,
    /// Where all that fit are exported.
    pub export: String,
    /// Newest first.
    pub rows: Vec<Row>,
    /// Where the older ones are; empty at the end.
    pub older: String,
}

/// An entry.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its number.
    pub id: i64,
    /// When.
    pub at: When,
    /// Who.
    pub who: String,
    /// By which token, from which address.
    pub from: String,
    /// What.
    pub action: String,
    /// On what.
    pub subject: String,
    /// What kind that is.
    pub kind: String,
    /// How it ended.
    pub state: Badge,
    /// A sentence where not all went well.
    pub detail: String,
    /// "2 changes".
    pub summary: String,
    /// What differs.
    pub changes: Vec<Change>,
    /// The request's id.
    pub request: String,
}

/// A field that differs.
#[derive(Clone, Debug)]
pub struct Change {
    /// Which.
    pub field: String,
    /// Before; empty when it was not there.
    pub was: String,
    /// After; empty when it is gone.
    pub became: String,
}

/// What was typed into the form.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Typed {
    who: String,
    action: String,
    subject: String,
    q: String,
    since: String,
    until: String,
    after: String,
}

/// A moment as people write it: `7d` ago, or a day.
fn moment(text: &str, now: UnixMs, end: bool) -> Result<Option<UnixMs>, String> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    if let Ok(day) = text.parse::<jiff::civil::Date>() {
        let day = match end {
            true => day.tomorrow(),
            false => Ok(day),
        };
        let start = day.and_then(|day| day.to_zoned(jiff::tz::TimeZone::system()));
        let start = start.map_err(|_| format!("\"{text}\" is no day of this calendar"))?;
        let at = start.timestamp().as_millisecond();
        return Ok(Some(UnixMs(if end { at - 1 } else { at })));
    }
    match units::duration(text) {
        Ok(past) => Ok(Some(now.minus(past))),
        Err(_) => {
            let shown: String = text.chars().take(40).collect();
            Err(format!(
                "\"{shown}\" is no moment: write a day like 2026-11-28, or how long ago, like 7d"
            ))
        }
    }
}

/// An entry for the page.
pub fn row(entry: wire::Entry, now: UnixMs) -> Row {
    let mut from = Vec::new();
    match entry.who.kind.as_str() {
        "token" => from.push(format!("by the token {}", entry.who.via)),
        _ if !entry.who.via.is_empty() => from.push(entry.who.via.clone()),
        _ => {}
    }
    if !entry.address.is_empty() {
        from.push(entry.address.clone());
    }
    let tone = match entry.state.as_str() {
        "done" => Tone::Ok,
        "refused" => Tone::Warn,
        "under way" => Tone::Busy,
        _ => Tone::Bad,
    };
    let mut word = entry.state.clone();
    if let Some(first) = word.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    let changes = changes(&entry);
    let (kind, subject) = match entry.subject {
        Some(subject) => (subject.kind, subject.name),
        None => Default::default(),
    };
    Row {
        id: entry.id,
        at: When::ago(UnixMs(entry.at_ms), now),
        who: match entry.who.kind.as_str() {
            "local" => format!("{} on the box", entry.who.name),
            "webhook" => format!("a push of {}", entry.who.name),
            _ => entry.who.name,
        },
        from: from.join(", "),
        action: entry.action,
        subject,
        kind,
        state: Badge::new(tone, word),
        detail: entry.detail,
        summary: words::count(changes.len(), "detail"),
        changes,
        request: entry.request,
    }
}

fn changes(entry: &wire::Entry) -> Vec<Change> {
    let mut fields: Vec<&String> = entry.before.keys().chain(entry.after.keys()).collect();
    fields.sort();
    fields.dedup();
    let text = |value: Option<&Value>| match value {
        None => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(all)) => {
            let parts = all.iter().map(|v| match v {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            });
            parts.collect::<Vec<_>>().join(", ")
        }
        Some(other) => other.to_string(),
    };
    fields
        .into_iter()
        .map(|field| Change {
            field: field.clone(),
            was: text(entry.before.get(field)),
            became: text(entry.after.get(field)),
        })
        .collect()
}

/// The query by which the API gives the same.
fn query(which: &Which) -> String {
    let all = [
        ("who", which.who.clone()),
        ("action", which.action.clone()),
        ("subject", which.subject.clone()),
        ("q", which.q.clone()),
        ("since_ms", which.since_ms.map(|n| n.to_string())),
        ("until_ms", which.until_ms.map(|n| n.to_string())),
    ];
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    let given = all.into_iter().filter_map(|(name, value)| {
        let value = value.filter(|text| !text.is_empty())?;
        Some((name, value))
    });
    query.extend_pairs(given);
    query.finish()
}

/// `GET /settings/audit`
pub async fn show(
    State(app): State<App>,
    visit: Visit,
    Query(typed): Query<Typed>,
) -> Result<Response, Failure> {
    let now = UnixMs::now();
    let (since, until) = (
        moment(&typed.since, now, false),
        moment(&typed.until, now, true),
    );
    let fault = |read: &Result<_, String>| read.as_ref().err().cloned().unwrap_or_default();
    let faults = (fault(&since), fault(&until));
    let faulty = since.is_err() || until.is_err();
    let which = Which {
        who: Some(typed.who.clone()),
        action: Some(typed.action.clone()),
        subject: Some(typed.subject.clone()),
        q: Some(typed.q.clone()),
        since_ms: since.ok().flatten().map(|at| at.0),
        until_ms: until.ok().flatten().map(|at| at.0),
    };
    let found = match faulty {
        true => Listing {
            items: Vec::new(),
            next: None,
        },
        false => piece(&app, &which, &Page::of_cursor(&typed.after)?).await?,
    };
    let kept = [
        ("who", typed.who.as_str()),
        ("action", &typed.action),
        ("subject", &typed.subject),
        ("q", &typed.q),
        ("since", &typed.since),
        ("until", &typed.until),
    ];
    let older = found.next.map(|next| {
        let all = kept.iter().copied().chain([("after", next.as_str())]);
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(all.filter(|(_, value)| !value.is_empty()));
        format!("/settings/audit?{}", query.finish())
    });
    let view = View {
        frame: visit
            .frame()
            .titled("Audit log", Section::Settings)
            .under("/settings", "Settings"),
        searched: kept.iter().any(|(_, value)| !value.is_empty()),
        export: format!("/api/v1/audit/export?{}", query(&which)),
        rows: found.items.into_iter().map(|e| row(e, now)).collect(),
        older: older.unwrap_or_default(),
        who: Field::code("who", "Who")
            .like("ana, or user, token, local, webhook")
            .value(typed.who),
        action: Field::code("action", "What")
            .like("app.env")
            .value(typed.action),
        subject: Field::code("subject", "On")
            .like("shop, or app:shop")
            .value(typed.subject),
        text: Field::code("q", "Anywhere in it")
            .like("192.0.2.7")
            .value(typed.q),
        since: Field::code("since", "Since")
            .like("7d or 2026-11-28")
            .value(typed.since)
            .fault(faults.0),
        until: Field::code("until", "Until")
            .like("2026-11-28")
            .value(typed.until)
            .fault(faults.1),
    };
    let page = super::render(&view);
    Ok(match faulty {
        true => (StatusCode::UNPROCESSABLE_ENTITY, page).into_response(),
        false => page,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a5_moments_are_days_or_how_long_ago() {
        let now = UnixMs(1_795_250_000_000);
        assert_eq!(moment(" ", now, false), Ok(None));
        let week = moment("7d", now, false).unwrap().unwrap();
        assert_eq!(now.since(week).as_secs(), 7 * 24 * 3600);
        let begin = moment("2026-11-20", now, false).unwrap().unwrap();
        let end = moment("2026-11-20", now, true).unwrap().unwrap();
        assert_eq!(end.since(begin).as_millis() + 1, 24 * 3600 * 1000);
        assert!(
            moment("yesterday", now, false)
                .unwrap_err()
                .contains("like 7d")
        );
    }
}
