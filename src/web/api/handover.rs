//! Another Freehold takes this one's place, and no request is lost.

use axum::Json;
use axum::extract::State;

use crate::web::error::Failure;
use crate::web::handover::NoHandover;
use crate::web::input::Input;
use crate::web::services::App;
use crate::wire::handover::{BeginHandover, Handover};
use crate::wire::problem::ProblemKind;

/// `GET /api/v1/handover`
pub async fn show(State(app): State<App>) -> Json<Handover> {
    Json(app.handovers.standing())
}

/// `POST /api/v1/handover`: begins one. How it ends is asked with the other; requests wait while the box passes over.
pub async fn begin(
    State(app): State<App>,
    Input(asked): Input<BeginHandover>,
) -> Result<Json<Handover>, Failure> {
    let refused = |why: String| Failure::new(ProblemKind::Conflict, why);
    let now = app.handovers.standing();
    if now.pid != asked.pid {
        return Err(refused(format!(
            "it is not process {} that answers here: a handover may have been over in between; ask GET /api/v1/handover who does",
            asked.pid
        )));
    }
    let begun = app.handovers.ask().await;
    begun.map(Json).map_err(|why| match why {
        NoHandover::NotFollowed => refused("this Freehold was not started by systemd, and whoever started it would take a handover for its end: end it and start it again".into()),
        NoHandover::Busy => refused("another Freehold is taking over already, or this one is on its way down: ask GET /api/v1/handover how that stands".into()),
    })
}
