//! Sign-in and sign-out.

use askama::Template;
use axum::Form;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::frame::{Frame, Theme};
use super::parts::Field;
use super::visit::Visit;
use crate::base::clock::UnixMs;
use crate::base::secret::Secret;
use crate::users::{SignedIn, UserError};
use crate::web::audit::{Note, Telling};
use crate::web::auth;
use crate::web::caller::Caller;
use crate::web::error::Failure;
use crate::web::services::App;

/// The page.
#[derive(Clone, Debug, Template)]
#[template(path = "sign_in.html")]
pub struct View {
    /// What stands around it.
    pub frame: Frame,
    /// Name and password.
    pub fields: [Field; 2],
    /// Whether there is a password to sign in with.
    pub set_up: bool,
}

/// The page, with what was wrong with the last try.
pub fn view(visit: Visit, name: &str, fault: &str, set_up: bool) -> View {
    let mut frame = visit.frame();
    "Sign in".clone_into(&mut frame.title);
    let mut who = Field::code("name", "Name").needed().value(name);
    who.autocomplete = "username";
    View {
        frame,
        fields: [
            who,
            Field::password("password", "Password", "current-password").fault(fault),
        ],
        set_up,
    }
}

/// `GET /sign-in`
pub async fn show(State(app): State<App>, visit: Visit) -> Result<Response, Failure> {
    if visit.caller != Caller::Nobody {
        return Ok(super::see("/"));
    }
    let set_up = app.users.is_set_up().await?;
    Ok(super::render(&view(visit, crate::users::OWNER, "", set_up)))
}

/// The form's fields.
#[derive(Deserialize)]
pub struct Fields {
    name: String,
    password: Secret,
}

/// `POST /sign-in`
pub async fn submit(
    State(app): State<App>,
    visit: Visit,
    headers: HeaderMap,
    telling: Telling,
    Form(fields): Form<Fields>,
) -> Result<Response, Failure> {
    let from = auth::origin(&headers);
    let status = match app
        .users
        .sign_in(&fields.name, fields.password, from, UnixMs::now())
        .await
    {
        Ok(SignedIn::Half(half)) => {
            let mut answer = super::see_half_way(&half);
            // Nobody is in yet, and the log is not to say so.
            answer.extensions_mut().insert(Note {
                status: None,
                detail: "the password was right; the code is still to come".to_owned(),
            });
            return Ok(answer);
        }
        Ok(SignedIn::Whole(entered)) => {
            telling.session(&entered.session);
            end_earlier(&app, &visit.caller).await?;
            return Ok(super::see_signed_in("/", &entered));
        }
        Err(error @ UserError::WrongPassword) => (StatusCode::UNAUTHORIZED, error),
        Err(error @ UserError::SlowDown(_)) => (StatusCode::TOO_MANY_REQUESTS, error),
        Err(error @ UserError::Busy) => (StatusCode::SERVICE_UNAVAILABLE, error),
        Err(other) => return Err(other.into()),
    };
    let page = super::render(&view(visit, &fields.name, &status.1.to_string(), true));
    Ok((status.0, page).into_response())
}

/// The session this browser had until now leads nowhere any more.
pub async fn end_earlier(app: &App, caller: &Caller) -> Result<(), Failure> {
    if let Caller::User { token, .. } = caller {
        app.users.sign_out(token).await?;
    }
    Ok(())
}

/// `POST /sign-out`
pub async fn sign_out(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Failure> {
    end_earlier(&app, &caller).await?;
    let gone = format!(
        "{}=; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0",
        auth::COOKIE
    );
    Ok(([(header::SET_COOKIE, gone)], super::see("/sign-in")).into_response())
}
