//! `/apps/{app}/activity`: what happened to an app.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;

use super::head::{AppHead, Tab};
use crate::base::clock::UnixMs;
use crate::events;
use crate::web::error::Failure;
use crate::web::pages::frame::{Frame, Theme};
use crate::web::pages::overview::ActivityRow;
use crate::web::pages::parts::Tone;
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
}

/// Lines shown.
const SHOWN: u32 = 200;

/// `GET /apps/{app}/activity`
pub async fn show(
    State(app): State<App>,
    visit: Visit,
    Path(name): Path<String>,
) -> Result<Response, Failure> {
    let (row, head) = AppHead::load(&app, &name, Tab::Activity).await?;
    let subject = row.subject();
    let events = app
        .db
        .read(move |c| events::newest(c, Some(&subject), SHOWN))
        .await?;
    let now = UnixMs::now();
    Ok(crate::web::pages::render(&View {
        frame: head.frame(visit).refreshed(10),
        head,
        activity: events
            .into_iter()
            .map(|event| ActivityRow::new(event, now))
            .collect(),
    }))
}
