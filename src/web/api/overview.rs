//! How everything is doing, with figures.

use axum::Json;
use axum::extract::{Extension, State};

use crate::base::clock::UnixMs;
use crate::web::caller::Caller;
use crate::web::error::Failure;
use crate::web::services::App;
use crate::wire::overview::Overview;

/// `GET /api/v1/overview`
pub async fn show(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Overview>, Failure> {
    let all = app.monitor.overview(UnixMs::now()).await?;
    Ok(Json(match caller.sees_box() {
        true => all,
        false => all.of_apps(|name| caller.sees_app(name)),
    }))
}
