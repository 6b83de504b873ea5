//! One's own account: a new password.

use axum::extract::{Extension, State};
use axum::http::HeaderMap;

use crate::base::clock::UnixMs;
use crate::users::Proof;
use crate::web::answer::Renewed;
use crate::web::audit::Telling;
use crate::web::auth;
use crate::web::caller::Caller;
use crate::web::error::Failure;
use crate::web::input::Input;
use crate::web::services::App;
use crate::wire::problem::{Problem, ProblemKind};
use crate::wire::sessions::{NewPassword, PasswordChanged};

/// `POST /api/v1/account/password`: asks for the one of now itself, so that a session alone changes nothing; it
/// goes on under the cookie of this answer.
pub async fn password(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    telling: Telling,
    Input(given): Input<NewPassword>,
) -> Result<Renewed<PasswordChanged>, Failure> {
    let Caller::User {
        id, name, token, ..
    } = &caller
    else {
        return Err(Problem::new(
            ProblemKind::Conflict,
            "there is no password to change here: only somebody who signed in has one",
        )
        .remedy("On the box, `freehold user reset NAME` makes a link that sets a new one.")
        .into());
    };
    let proof = Proof {
        password: given.current,
        code: given.code.unwrap_or_default(),
    };
    let (from, now) = (auth::origin(&headers), UnixMs::now());
    let session = app
        .users
        .change_password((*id, token), proof, given.password, &from, now)
        .await?;
    telling.session(&session);
    let tokens_left = app.users.tokens_that_go_on(name, now).await;
    Ok(Renewed {
        body: PasswordChanged { tokens_left },
        session,
    })
}
