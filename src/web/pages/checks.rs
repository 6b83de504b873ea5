//! `/checks`: what is asked whether it answers, and when it did not.

use askama::Template;
use axum::Form;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::frame::{Frame, Section, Theme};
use super::parts::{Badge, Field, Older, Strip, Tone, When};
use super::visit::{self, Visit};
use super::{figures, words};
use crate::base::clock::UnixMs;
use crate::db::Slice;
use crate::monitor::MonitorError;
use crate::web::audit::Telling;
use crate::web::error::Failure;
use crate::web::page::Page;
use crate::web::services::App;
use crate::wire::checks;

/// The page.
#[derive(Clone, Debug, Template)]
#[template(path = "checks.html")]
pub struct View {
    /// What stands around it.
    pub frame: Frame,
    /// By name.
    pub checks: Vec<Check>,
    /// Those that last, then those that are over, newest first.
    pub incidents: Vec<Incident>,
    /// To those that were over before.
    pub older: Older,
    /// Of the one to add.
    pub name: Field,
    /// Of the one to add.
    pub url: Field,
}

/// A check.
#[derive(Clone, Debug)]
pub struct Check {
    /// Its number, when it was added by hand.
    pub by_hand: Option<i64>,
    /// The app, or the name it was given.
    pub name: String,
    /// Its page.
    pub href: String,
    /// What is asked.
    pub url: String,
    /// Up, down, not asked yet.
    pub state: Badge,
    /// Why it is down.
    pub note: String,
    /// The last day.
    pub day: Strip,
    /// "99.1 %".
    pub share_day: String,
    /// "99.9 %".
    pub share_month: String,
    /// Of the last answer.
    pub latency: String,
    /// When it was last asked.
    pub at: Option<When>,
}

/// A time it did not answer.
#[derive(Clone, Debug)]
pub struct Incident {
    /// The check.
    pub name: String,
    /// "TLS: the certificate expired".
    pub why: String,
    /// Open or over.
    pub state: Badge,
    /// When it began.
    pub at: When,
    /// "12 min"; empty while it lasts.
    pub lasted: String,
}

/// From where on.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Cursor {
    after: String,
}

#[derive(Default)]
struct Typed {
    name: String,
    url: String,
    fault: String,
}

async fn page(app: &App, visit: Visit, typed: Typed, from: Cursor) -> Result<Response, Failure> {
    let now = UnixMs::now();
    let checks = app.monitor.checks(now).await?;
    let page = Page::of_cursor(&from.after)?;
    let mut incidents = match from.after.as_str() {
        "" => app.monitor.incident_rows(open()).await?,
        _ => Vec::new(),
    };
    let over = page.slice(Some("closed".to_owned()));
    let over = app.monitor.incident_rows(over).await?;
    let over = page.of_rows(over, |i| i.id, |i| i);
    incidents.extend(over.items);
    Ok(super::render(&View {
        frame: visit
            .frame()
            .titled("Checks", Section::Checks)
            .refreshed(10),
        checks: checks.iter().map(|c| line(c, now)).collect(),
        incidents: incidents.into_iter().map(|i| incident(i, now)).collect(),
        older: Older::of(
            ("/checks#incidents-h", "after"),
            "incidents",
            &from.after,
            over.next,
        ),
        name: Field::text("name", "Name")
            .needed()
            .like("Website")
            .value(typed.name),
        url: Field::code("url", "Address")
            .needed()
            .like("https://shop.example.com/healthz")
            .value(typed.url)
            .fault(typed.fault),
    }))
}

/// All that last: a check has one at most.
fn open() -> Slice {
    Slice {
        before: None,
        state: Some("open".to_owned()),
        limit: u32::MAX,
    }
}

fn line(check: &checks::Check, now: UnixMs) -> Check {
    Check {
        by_hand: check.by_hand.then_some(check.id),
        name: check.name.clone(),
        href: match check.subject.starts_with("app:") {
            true => format!("/apps/{}", check.name),
            false => String::new(),
        },
        url: check.url.clone(),
        state: match check.state {
            checks::CheckState::Pending => Badge::new(Tone::Idle, "Not up yet"),
            checks::CheckState::Up => Badge::new(Tone::Ok, "Up"),
            checks::CheckState::Down => Badge::new(Tone::Bad, "Down"),
            checks::CheckState::Paused => Badge::new(Tone::Idle, "Paused"),
        },
        note: check.why.clone().unwrap_or_default(),
        day: figures::strip(&check.name, &check.day, check.day_share),
        share_day: check
            .day_share
            .map_or_else(|| "–".to_owned(), words::percent),
        share_month: check
            .month_share
            .map_or_else(|| "–".to_owned(), words::percent),
        #[allow(clippy::cast_precision_loss)]
        latency: check
            .millis
            .map_or_else(|| "–".to_owned(), |ms| words::millis(ms as f64)),
        at: check.asked_ms.map(|at| When::ago(at, now)),
    }
}

fn incident(incident: checks::Incident, now: UnixMs) -> Incident {
    Incident {
        name: incident.name,
        why: format!("{}: {}", incident.stage.to_uppercase(), incident.why),
        state: match incident.closed_ms {
            None => Badge::new(Tone::Bad, "Open"),
            Some(_) => Badge::new(Tone::Ok, "Over"),
        },
        at: When::ago(incident.opened_ms, now),
        lasted: incident.closed_ms.map_or_else(String::new, |end| {
            words::length(end.since(incident.opened_ms))
        }),
    }
}

/// `GET /checks`
pub async fn show(
    State(app): State<App>,
    visit: Visit,
    Query(from): Query<Cursor>,
) -> Result<Response, Failure> {
    page(&app, visit, Typed::default(), from).await
}

/// The form's fields.
#[derive(Deserialize)]
pub struct Given {
    name: String,
    url: String,
}

/// `POST /checks`
pub async fn add(
    State(app): State<App>,
    visit: Visit,
    telling: Telling,
    Form(given): Form<Given>,
) -> Result<Response, Failure> {
    match app.monitor.add_check(&given.name, &given.url).await {
        Ok(id) => {
            telling.made(id);
            let text = format!("{} is checked from now on.", given.name);
            Ok(visit::done("/checks", &text))
        }
        Err(error @ (MonitorError::Invalid(_) | MonitorError::Already(_))) => {
            let typed = Typed {
                name: given.name,
                url: given.url,
                fault: error.to_string(),
            };
            let page = page(&app, visit, typed, Cursor::default()).await?;
            Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response())
        }
        Err(other) => Err(other.into()),
    }
}

/// `POST /checks/{id}/remove`
pub async fn remove(State(app): State<App>, Path(id): Path<i64>) -> Result<Response, Failure> {
    let result = app.monitor.remove_check(id).await;
    visit::back("/checks", result, "The check is removed.")
}
