//! `/apps/{app}/activity`: what happened to an app.

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use serde::Deserialize;

use super::head::{AppHead, Tab};
use crate::base::clock::UnixMs;
use crate::events;
use crate::web::error::Failure;
use crate::web::page::Page;
use crate::web::pages::frame::{Frame, Theme};
use crate::web::pages::overview::ActivityRow;
use crate::web::pages::parts::{Older, Tone};
use crate::web::pages::visit::Visit;
use crate::web::services::App;

/// The page.
#[derive(Clone, Debug, Template)]
#[template(path = "app_activity.html")]
pub struct View {
    /// What stands around it.
    pub frame: Frame,
    /// Name, state, tabs.
    pub head: AppHead,
    /// Newest first.
    pub activity: Vec<ActivityRow>,
    /// To what was before.
    pub older: Older,
}

/// From where on.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Cursor {
    after: String,
}

/// `GET /apps/{app}/activity`
pub async fn show(
    State(app): State<App>,
    visit: Visit,
    Path(name): Path<String>,
    Query(from): Query<Cursor>,
) -> Result<Response, Failure> {
    let (row, head) = AppHead::load(&app, &name, Tab::Activity).await?;
    let subject = row.subject();
    let page = Page::of_cursor(&from.after)?;
    let slice = page.slice(None);
    let events = app
        .db
        .read(move |c| events::newest(c, Some(&subject), slice))
        .await?;
    let now = UnixMs::now();
    let listing = page.of_rows(events, |e| e.id, |e| ActivityRow::new(e, now));
    let path = format!("/apps/{}/activity", row.name);
    Ok(crate::web::pages::render(&View {
        frame: head.frame(visit).refreshed(10),
        head,
        activity: listing.items,
        older: Older::of((&path, "after"), "activity", &from.after, listing.next),
    }))
}
