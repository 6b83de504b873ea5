//! One look at everything.

use axum::Json;
use axum::extract::State;

use crate::web::services::App;
use crate::wire::status::Status;

/// `GET /api/v1/status`
pub async fn show(State(app): State<App>) -> Json<Status> {
    Json(app.about.status().await)
}
