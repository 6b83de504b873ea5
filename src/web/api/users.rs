//! The setup link, made only on the box.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use crate::base::clock::UnixMs;
use crate::web::error::Failure;
use crate::web::services::App;

/// `POST /api/v1/setup-link`: a new one-time path under the dashboard's address.
pub async fn setup_link(State(app): State<App>) -> Result<Json<Value>, Failure> {
    let token = app.users.new_setup_link(UnixMs::now()).await?;
    Ok(Json(json!({
        "address": app.dashboard_url(),
        "path": format!("/setup/{}", token.expose()),
        "set_up": app.users.is_set_up().await?,
    })))
}
