//! What is wrong with the box, and how to mend it.

use axum::Json;
use axum::extract::State;

use crate::base::clock::UnixMs;
use crate::db::{self, DbError};
use crate::events::{self, Level, NewEvent};
use crate::web::answer::NoContent;
use crate::web::error::Failure;
use crate::web::services::App;
use crate::wire::doctor::Report;

/// `GET /api/v1/doctor`
pub async fn show(State(app): State<App>) -> Json<Report> {
    Json(app.about.doctor().await)
}

/// `POST /api/v1/doctor/confirm`: after the state was made anew. Nothing happens where there is nothing to confirm.
pub async fn confirm(State(app): State<App>) -> Result<NoContent, Failure> {
    let now = UnixMs::now();
    let done: Result<(), DbError> = app
        .db
        .write(move |tx| {
            if db::confirm_recoveries(tx, now)? > 0 {
                let words = "The state that was made anew was confirmed: what no row knows is removed again.";
                let event = NewEvent::new("state.confirmed", Level::Info, "box", words);
                events::record(tx, now, &event)?;
            }
            Ok(())
        })
        .await;
    done?;
    Ok(NoContent)
}
