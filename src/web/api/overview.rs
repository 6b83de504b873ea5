//! How everything is doing, with figures.

use axum::Json;
use axum::extract::State;

use crate::base::clock::UnixMs;
use crate::web::error::Failure;
use crate::web::services::App;
use crate::wire::overview::Overview;

/// `GET /api/v1/overview`
pub async fn show(State(app): State<App>) -> Result<Json<Overview>, Failure> {
    Ok(Json(app.monitor.overview(UnixMs::now()).await?))
}
