//! What is asked whether it answers, and when it did not.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::Deserialize;

use crate::base::clock::UnixMs;
use crate::monitor::MonitorError;
use crate::web::error::Failure;
use crate::web::services::App;
use crate::wire::checks::{Check, Incident, NewCheck};
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

/// `GET /api/v1/checks`
pub async fn list(State(app): State<App>) -> Result<Json<Vec<Check>>, Failure> {
    Ok(Json(app.monitor.checks(UnixMs::now()).await?))
}

/// `POST /api/v1/checks`
pub async fn add(
    State(app): State<App>,
    Json(new): Json<NewCheck>,
) -> Result<(StatusCode, Json<Check>), Failure> {
    let id = app.monitor.add_check(&new.name, &new.url).await?;
    let all = app.monitor.checks(UnixMs::now()).await?;
    let made = all
        .into_iter()
        .find(|c| c.id == id)
        .ok_or(MonitorError::NotFound(id))?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// `DELETE /api/v1/checks/{check}`
pub async fn remove(State(app): State<App>, Path(id): Path<i64>) -> Result<StatusCode, Failure> {
    app.monitor.remove_check(id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// How many.
#[derive(Debug, Deserialize)]
pub struct Which {
    /// Open ones first, then the newest; 50 when absent, 500 at most.
    limit: Option<u32>,
}

/// `GET /api/v1/incidents`
pub async fn incidents(
    State(app): State<App>,
    Query(which): Query<Which>,
) -> Result<Json<Vec<Incident>>, Failure> {
    let limit = which.limit.unwrap_or(50).min(500);
    Ok(Json(app.monitor.incidents(limit).await?))
}
