//! Tokens of programs: made, listed, ended. A program makes none.

use axum::Json;
use axum::extract::{Extension, State};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::base::clock::UnixMs;
use crate::users::{self, UserError};
use crate::web::answer::{Created, Listed, NoContent};
use crate::web::audit::Telling;
use crate::web::caller::Caller;
use crate::web::error::Failure;
use crate::web::input::{Input, Path, Query};
use crate::web::page::{Page, has};
use crate::web::services::App;
use crate::web::tokens::{self, Wanted};
use crate::wire::tokens as wire;

fn told(token: users::Token) -> wire::Token {
    wire::Token {
        id: token.id,
        name: token.name,
        mark: token.mark,
        kind: tokens::kind(token.deploys).into(),
        user: token.user.map(|(_, name)| name),
        verb: token.verb.as_str().into(),
        apps: token.apps,
        created_ms: token.created.0,
        expires_ms: token.expires.map(|at| at.0),
        used_ms: token.used.map(|at| at.0),
    }
}

/// Which tokens.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Which {
    /// Only those with this in their name.
    q: Option<String>,
}

/// `GET /api/v1/tokens`: one's own; on the box, everybody's.
pub async fn list(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Query(which): Query<Which>,
    page: Page,
) -> Result<Listed<wire::Token>, Failure> {
    let mut all = app.users.tokens(tokens::whose(&caller)).await?;
    all.retain(|token| has(&token.name, which.q.as_deref()));
    let all = all.into_iter().map(told).collect();
    Ok(Listed(page.of(all, |token: &wire::Token| token.id)))
}

/// `GET /api/v1/tokens/{id}`
pub async fn show(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<i64>,
) -> Result<Json<wire::Token>, Failure> {
    let all = app.users.tokens(tokens::whose(&caller)).await?;
    let found = all.into_iter().find(|token| token.id == id);
    Ok(Json(told(found.ok_or(UserError::NoToken(id))?)))
}

/// `POST /api/v1/tokens`
pub async fn create(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    telling: Telling,
    Input(new): Input<wire::NewToken>,
) -> Result<Created<wire::MadeToken>, Failure> {
    let apps = new.apps.as_ref();
    let wanted = Wanted {
        name: &new.name,
        kind: new.kind.as_deref().unwrap_or(tokens::kind(false)),
        verb: new.verb.as_deref().unwrap_or("deploy"),
        apps: apps.map(|names| names.iter().map(String::as_str).collect()),
        days: new.days.unwrap_or(tokens::DAYS),
    };
    let made = tokens::make(&app, &caller, &telling, wanted).await?;
    Ok(Created(wire::MadeToken {
        id: made.id,
        mark: made.mark,
        token: made.token,
    }))
}

/// `DELETE /api/v1/tokens/{id}`
pub async fn remove(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<i64>,
) -> Result<NoContent, Failure> {
    let (whose, by) = (tokens::whose(&caller), caller.who());
    app.users
        .remove_token(id, whose, &by, UnixMs::now())
        .await?;
    Ok(NoContent)
}
