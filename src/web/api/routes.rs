//! What passes through the edge.

use axum::Json;
use axum::extract::{Extension, State};

use crate::web::caller::Caller;
use crate::web::services::App;
use crate::wire::routes::Routes;

/// `GET /api/v1/routes`
pub async fn show(State(app): State<App>, Extension(caller): Extension<Caller>) -> Json<Routes> {
    Json(seen_by(&app, &caller))
}

/// As far as the caller may see it: the whole, or the routes of apps of theirs.
pub fn seen_by(app: &App, caller: &Caller) -> Routes {
    let all = app.monitor.routes();
    match caller.sees_box() {
        true => all,
        false => all.of_apps(|name| caller.sees_app(name)),
    }
}
