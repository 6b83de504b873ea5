//! What is wrong with the box, and how to mend it.

use axum::Json;
use axum::extract::State;

use crate::web::services::App;
use crate::wire::doctor::Report;

/// `GET /api/v1/doctor`
pub async fn show(State(app): State<App>) -> Json<Report> {
    Json(app.about.doctor().await)
}
