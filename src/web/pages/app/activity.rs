//! `/apps/{app}/activity`: what happened to an app.

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::response::Response;

use super::head::{AppHead, Tab};
use crate::base::clock::UnixMs;
use crate::web::api::events::piece;
use crate::web::error::Failure;
use crate::web::page::Page;
use crate::web::pages::activity::Asked;
use crate::web::pages::frame::{Frame, Theme};
use crate::web::pages::overview::ActivityRow;
use crate::web::pages::parts::{Field, Older, Tone};
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
    /// Which level.
    pub level: Field,
    /// Whether not all of it is asked for.
    pub filtered: bool,
    /// Newest first.
    pub activity: Vec<ActivityRow>,
    /// To what was before.
    pub older: Older,
}

/// `GET /apps/{app}/activity`
pub async fn show(
    State(app): State<App>,
    visit: Visit,
    Path(name): Path<String>,
    Query(asked): Query<Asked>,
) -> Result<Response, Failure> {
    let (row, head) = AppHead::load(&app, &name, Tab::Activity).await?;
    let asked = asked.of_all();
    let page = Page::of_cursor(&asked.after)?;
    let found = piece(&app, Some(row.subject()), asked.level()?, &page).await?;
    let now = UnixMs::now();
    let path = asked.path(&format!("/apps/{}/activity", row.name));
    let lines = found.items.into_iter();
    Ok(crate::web::pages::render(&View {
        frame: head.frame(visit).refreshed(10),
        head,
        level: asked.field(),
        filtered: asked.filters(),
        activity: lines.map(|event| ActivityRow::new(event, now)).collect(),
        older: Older::of((&path, "after"), "activity", &asked.after, found.next),
    }))
}
