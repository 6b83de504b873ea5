//! What is asked whether it answers, and when it did not.

use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::base::clock::UnixMs;
use crate::monitor::MonitorError;
use crate::web::answer::{Created, Listed, NoContent};
use crate::web::audit::Telling;
use crate::web::error::Failure;
use crate::web::input::{Input, Path, Query};
use crate::web::page::{Page, has};
use crate::web::services::App;
use crate::wire::checks::{Check, CheckState, Incident, NewCheck};
use crate::wire::problem::ProblemKind;

impl From<MonitorError> for Failure {
    fn from(error: MonitorError) -> Self {
        let kind = match error {
            MonitorError::Db(error) => return error.into(),
            MonitorError::Invalid(_) => ProblemKind::Invalid,
            MonitorError::NotFound(_) => ProblemKind::NotFound,
            MonitorError::Already(_) => ProblemKind::Conflict,
            MonitorError::World(_) => ProblemKind::Unavailable,
        };
        Self::new(kind, error.to_string())
    }
}

/// Which checks.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Those {
    /// Only those that stand so.
    state: Option<CheckState>,
    /// Only those with this in their name or address.
    q: Option<String>,
}

/// `GET /api/v1/checks`
pub async fn list(
    State(app): State<App>,
    Query(those): Query<Those>,
    page: Page,
) -> Result<Listed<Check>, Failure> {
    let mut all = app.monitor.checks(UnixMs::now()).await?;
    let q = those.q.as_deref();
    all.retain(|c| those.state.is_none_or(|s| s == c.state) && (has(&c.name, q) || has(&c.url, q)));
    Ok(Listed(page.of(all, |c| c.id)))
}

/// `GET /api/v1/checks/{check}`
pub async fn show(State(app): State<App>, Path(id): Path<i64>) -> Result<Json<Check>, Failure> {
    Ok(Json(find(&app, id).await?))
}

async fn find(app: &App, id: i64) -> Result<Check, Failure> {
    let all = app.monitor.checks(UnixMs::now()).await?;
    let found = all.into_iter().find(|c| c.id == id);
    Ok(found.ok_or(MonitorError::NotFound(id))?)
}

/// `POST /api/v1/checks`
pub async fn add(
    State(app): State<App>,
    telling: Telling,
    Input(new): Input<NewCheck>,
) -> Result<Created<Check>, Failure> {
    let id = app.monitor.add_check(&new.name, &new.url).await?;
    telling.made(id);
    Ok(Created(find(&app, id).await?))
}

/// `DELETE /api/v1/checks/{check}`
pub async fn remove(State(app): State<App>, Path(id): Path<i64>) -> Result<NoContent, Failure> {
    app.monitor.remove_check(id).await?;
    Ok(NoContent)
}

/// Whether an incident is over.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Stand {
    /// Not yet.
    Open,
    /// It is.
    Closed,
}

/// Which incidents.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Which {
    /// Only those that are so.
    state: Option<Stand>,
}

/// `GET /api/v1/incidents`
pub async fn incidents(
    State(app): State<App>,
    Query(which): Query<Which>,
    page: Page,
) -> Result<Listed<Incident>, Failure> {
    let state = which.state.map(|stand| match stand {
        Stand::Open => "open".to_owned(),
        Stand::Closed => "closed".to_owned(),
    });
    let found = app.monitor.incident_rows(page.slice(state)).await?;
    Ok(Listed(page.of_rows(found, |i| i.id, |i| i)))
}
