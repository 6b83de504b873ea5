//! `/jobs`: long work, what is being done first seen.

use askama::Template;
use axum::extract::{Extension, Path, Query, State};
use axum::response::Response;
use serde::Deserialize;

use super::frame::{Frame, Section, Theme};
use super::parts::{Badge, Older, Tone, When};
use super::visit::{self, Visit};
use crate::base::clock::UnixMs;
use crate::jobs::{self as queue, Told};
use crate::web::api::jobs::end;
use crate::web::caller::Caller;
use crate::web::error::Failure;
use crate::web::jobs;
use crate::web::page::Page;
use crate::web::services::App;
use crate::wire::jobs::{Job, JobState};
use crate::wire::listing::Listing;

/// The page.
#[derive(Clone, Debug, Template)]
#[template(path = "jobs.html")]
pub struct View {
    /// What stands around it.
    pub frame: Frame,
    /// Newest first.
    pub jobs: Vec<Line>,
    /// To those before.
    pub older: Older,
}

/// A job.
#[derive(Clone, Debug)]
pub struct Line {
    /// Its number.
    pub id: i64,
    /// "Deploy 12 of shop".
    pub what: String,
    /// Where it can be seen.
    pub href: String,
    /// How it stands.
    pub state: Badge,
    /// Why it failed.
    pub note: String,
    /// When it was asked for.
    pub at: When,
    /// Whether it can be taken back.
    pub cancellable: bool,
}

impl Line {
    /// Of `job`, told at `now`.
    pub fn new(job: Job, now: UnixMs) -> Self {
        let tone = match job.state {
            JobState::Done => Tone::Ok,
            JobState::Failed => Tone::Bad,
            JobState::Running => Tone::Busy,
            JobState::Queued | JobState::Cancelled => Tone::Idle,
        };
        Self {
            id: job.id,
            href: job.resource.as_deref().map(page_of).unwrap_or_default(),
            what: job.what,
            state: Badge::new(tone, job.state.as_str()),
            note: job.error.map(|e| e.detail).unwrap_or_default(),
            at: When::ago(UnixMs(job.created_ms), now),
            cancellable: job.cancellable,
        }
    }
}

/// The page of a resource.
fn page_of(resource: &str) -> String {
    let path = resource.strip_prefix("/api/v1").unwrap_or(resource);
    match path.starts_with("/apps/") || path.starts_with("/databases/") {
        true => path.to_owned(),
        false => "/databases".into(),
    }
}

/// From where on.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Cursor {
    after: String,
}

/// `GET /jobs`
pub async fn show(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    visit: Visit,
    Query(from): Query<Cursor>,
) -> Result<Response, Failure> {
    let keys = jobs::keys(&app, &caller, None).await?;
    let page = Page::of_cursor(&from.after)?;
    let slice = page.slice(None);
    let rows = app
        .db
        .read(move |c| queue::newest(c, jobs::KINDS, keys.as_deref(), &slice))
        .await?;
    let listing: Listing<Told> = page.of_rows(rows, |row| row.id, |row| row);
    let now = UnixMs::now();
    let mut lines = Vec::new();
    for row in listing.items {
        lines.push(Line::new(jobs::view(&app, row).await?, now));
    }
    Ok(super::render(&View {
        frame: visit.frame().titled("Jobs", Section::Box).refreshed(5),
        jobs: lines,
        older: Older::of(("/jobs", "after"), "jobs", &from.after, listing.next),
    }))
}

/// `POST /jobs/{id}/cancel`
pub async fn cancel(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<i64>,
) -> Result<Response, Failure> {
    let job = end(&app, &caller, id).await?;
    Ok(visit::done("/jobs", &format!("{} is cancelled.", job.what)))
}
