//! One's own second factor: how it stands, set up, confirmed, turned off, new recovery codes.

use axum::Json;
use axum::extract::{Extension, State};
use axum::http::HeaderMap;

use crate::base::clock::UnixMs;
use crate::base::secret::Secret;
use crate::web::answer::{Created, NoContent};
use crate::web::auth;
use crate::web::caller::Caller;
use crate::web::error::Failure;
use crate::web::input::Input;
use crate::web::services::App;
use crate::wire::problem::{Problem, ProblemKind};
use crate::wire::second_factor as wire;

/// The row, the name and the session of whoever signed in.
fn person(caller: &Caller) -> Result<(i64, &str, &str), Failure> {
    match caller {
        Caller::User {
            id, name, token, ..
        } => Ok((*id, name, token)),
        _ => Err(Problem::new(
            ProblemKind::Conflict,
            "only somebody who signed in has a second factor",
        )
        .remedy("On the box, `freehold user reset NAME` makes a link that turns theirs off.")
        .into()),
    }
}

fn told(recovery_codes: Vec<Secret>) -> Json<wire::RecoveryCodes> {
    Json(wire::RecoveryCodes { recovery_codes })
}

/// `GET /api/v1/account/second-factor`
pub async fn show(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<wire::SecondFactor>, Failure> {
    let (user, ..) = person(&caller)?;
    let standing = app.users.second_factor(user).await?;
    Ok(Json(wire::SecondFactor {
        active_since_ms: standing.active.map(|at| at.0),
        recovery_codes_left: standing.codes_left,
    }))
}

/// `POST /api/v1/account/second-factor`: a key; it counts once a code was right.
pub async fn offer(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
) -> Result<Created<wire::SecondFactorKey>, Failure> {
    let (user, ..) = person(&caller)?;
    let now = UnixMs::now();
    app.users.offer_second_factor(user, now).await?;
    let issuer = format!("Freehold {}", app.dashboard_url().replace("https://", ""));
    let offer = app.users.offered_second_factor(user, &issuer, now).await?;
    let offer = offer.ok_or_else(|| {
        Failure::new(
            ProblemKind::Conflict,
            "another request changed it meanwhile",
        )
    })?;
    let key = wire::SecondFactorKey {
        key: offer.key,
        url: offer.url,
    };
    Ok(Created(key))
}

/// `POST /api/v1/account/second-factor/confirm`: on from now on; the recovery codes are in this answer and nowhere else.
pub async fn confirm(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    Input(given): Input<wire::SecondFactorCode>,
) -> Result<Json<wire::RecoveryCodes>, Failure> {
    let (user, _, token) = person(&caller)?;
    let from = auth::origin(&headers);
    let codes = app
        .users
        .activate_second_factor((user, token), &given.code, &from, UnixMs::now())
        .await?;
    Ok(told(codes))
}

/// `POST /api/v1/account/second-factor/recovery-codes`: new ones.
pub async fn recovery_codes(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<wire::RecoveryCodes>, Failure> {
    let (user, ..) = person(&caller)?;
    Ok(told(
        app.users.new_recovery_codes(user, UnixMs::now()).await?,
    ))
}

/// `DELETE /api/v1/account/second-factor`
pub async fn remove(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
) -> Result<NoContent, Failure> {
    let (_, name, _) = person(&caller)?;
    app.users
        .remove_second_factor(name, caller.by(), UnixMs::now())
        .await?;
    Ok(NoContent)
}
