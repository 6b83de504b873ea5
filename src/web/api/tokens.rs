//! Tokens of programs: made, listed, ended. A program makes none.

use axum::Json;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;

use crate::base::clock::UnixMs;
use crate::users;
use crate::web::caller::Caller;
use crate::web::error::Failure;
use crate::web::input::{Input, number};
use crate::web::services::App;
use crate::web::tokens::{self, Wanted};
use crate::wire::tokens as wire;

fn told(token: users::Token) -> wire::Token {
    wire::Token {
        id: token.id,
        name: token.name,
        mark: token.mark,
        user: token.user.map(|(_, name)| name),
        verb: token.verb.as_str().into(),
        apps: token.apps,
        created_ms: token.created.0,
        expires_ms: token.expires.map(|at| at.0),
        used_ms: token.used.map(|at| at.0),
    }
}

/// `GET /api/v1/tokens`: one's own; on the box, everybody's.
pub async fn list(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Vec<wire::Token>>, Failure> {
    let all = app.users.tokens(tokens::whose(&caller)).await?;
    Ok(Json(all.into_iter().map(told).collect()))
}

/// `POST /api/v1/tokens`
pub async fn create(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Input(new): Input<wire::NewToken>,
) -> Result<(StatusCode, Json<wire::MadeToken>), Failure> {
    let apps = new.apps.as_ref();
    let wanted = Wanted {
        name: &new.name,
        verb: new.verb.as_deref().unwrap_or("deploy"),
        apps: apps.map(|names| names.iter().map(String::as_str).collect()),
        days: new.days.unwrap_or(tokens::DAYS),
    };
    let token = tokens::make(&app, &caller, wanted).await?;
    Ok((StatusCode::CREATED, Json(wire::MadeToken { token })))
}

/// `DELETE /api/v1/tokens/{id}`
pub async fn remove(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<StatusCode, Failure> {
    let id = number(&id, "token")?;
    let (whose, by) = (tokens::whose(&caller), caller.who());
    app.users
        .remove_token(id, whose, &by, UnixMs::now())
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
