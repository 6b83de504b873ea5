//! Sessions: one's own, and for an admin those of others.

use axum::Json;
use axum::extract::{Extension, State};

use crate::base::clock::UnixMs;
use crate::users::{SessionRow, UserError};
use crate::web::answer::{Listed, NoContent};
use crate::web::caller::Caller;
use crate::web::error::Failure;
use crate::web::input::Path;
use crate::web::page::Names;
use crate::web::people;
use crate::web::services::App;
use crate::wire::sessions as wire;

fn told(row: SessionRow, own: Option<&str>) -> wire::Session {
    wire::Session {
        own: own.is_some_and(|own| own.starts_with(&row.mark)),
        mark: row.mark,
        created_ms: row.created.0,
        seen_ms: row.seen.0,
        expires_ms: row.expires.0,
        address: row.address,
        agent: row.agent,
    }
}

async fn sessions(
    app: &App,
    caller: &Caller,
    user: Option<i64>,
) -> Result<Vec<wire::Session>, Failure> {
    let Some(user) = user else {
        return Ok(Vec::new());
    };
    let own = caller.session_digest();
    let all = app.users.sessions(user, UnixMs::now()).await?;
    let told = all.into_iter().map(|row| told(row, own.as_deref()));
    Ok(told.collect())
}

/// `GET /api/v1/sessions`: one's own; over the box's own socket there are none.
pub async fn list(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    page: Names,
) -> Result<Listed<wire::Session>, Failure> {
    let user = match &caller {
        Caller::User { id, .. } => Some(*id),
        _ => None,
    };
    let all = sessions(&app, &caller, user).await?;
    Ok(Listed(page.of(all, |s| &s.mark)))
}

/// `DELETE /api/v1/sessions/{mark}`: one of one's own.
pub async fn end(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(mark): Path<String>,
) -> Result<NoContent, Failure> {
    let Caller::User { id, .. } = &caller else {
        return Err(UserError::NoSession.into());
    };
    app.users
        .end_session(*id, &mark, caller.by(), UnixMs::now())
        .await?;
    Ok(NoContent)
}

/// `GET /api/v1/users/{user}/sessions`
pub async fn list_of(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    page: Names,
) -> Result<Listed<wire::Session>, Failure> {
    people::in_charge_of(&app, &caller, &name).await?;
    let user = app.users.person(&name, UnixMs::now()).await?.id;
    let all = sessions(&app, &caller, user).await?;
    Ok(Listed(page.of(all, |s| &s.mark)))
}

/// `DELETE /api/v1/users/{user}/sessions/{mark}`
pub async fn end_of(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path((name, mark)): Path<(String, String)>,
) -> Result<NoContent, Failure> {
    let user = people::row_of(&app, &caller, &name).await?;
    app.users
        .end_session(user, &mark, caller.by(), UnixMs::now())
        .await?;
    Ok(NoContent)
}

/// `DELETE /api/v1/users/{user}/sessions`: all of them.
pub async fn end_all_of(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<Json<wire::Ended>, Failure> {
    let user = people::row_of(&app, &caller, &name).await?;
    let by = caller.by();
    let ended = app
        .users
        .end_sessions((user, &name), by, UnixMs::now())
        .await?;
    Ok(Json(wire::Ended { ended }))
}
