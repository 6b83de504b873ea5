//! What every action on an app begins with: which app, who, when.

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use axum::response::Response;

use crate::apps;
use crate::base::clock::UnixMs;
use crate::web::caller::Caller;
use crate::web::error::Failure;
use crate::web::pages::visit;
use crate::web::services::App;
use crate::wire::problem::ProblemKind;

/// A visitor's action on the app that the path names.
pub struct Act {
    /// The app.
    pub row: apps::App,
    /// Who acts, for its activity.
    pub by: String,
    /// When.
    pub now: UnixMs,
}

impl Act {
    /// A page of the app, such as `/settings`.
    pub fn page(&self, rest: &str) -> String {
        format!("/apps/{}{rest}", self.row.name)
    }
}

impl FromRequestParts<App> for Act {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        let named = RawPathParams::from_request_parts(parts, app)
            .await
            .map_err(|_| Failure::new(ProblemKind::NotFound, "this names no app"))?;
        let name = named.iter().find(|(key, _)| *key == "app");
        let row = app.apps.find(name.map_or("", |(_, name)| name)).await?;
        let caller = parts.extensions.get::<Caller>();
        Ok(Self {
            row,
            by: caller.unwrap_or(&Caller::Nobody).who(),
            now: UnixMs::now(),
        })
    }
}

/// What was changed goes to the app's containers with a deploy of its live
/// image; `page` says so after `text`.
///
/// # Errors
/// When the deploy cannot be queued.
pub async fn brought(
    app: &App,
    row: i64,
    by: &str,
    page: &str,
    text: String,
) -> Result<Response, Failure> {
    let asked = app.deploys.apply_settings(row, by, UnixMs::now()).await;
    let deploy = asked.map_err(Failure::once_changed)?;
    let text = match deploy {
        Some(id) => format!("{text} Deploy {id} brings it to the app."),
        None => text,
    };
    Ok(visit::done(page, &text))
}
