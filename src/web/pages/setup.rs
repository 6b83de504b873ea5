//! The one-time link: set one's password, be signed in.

use askama::Template;
use axum::Form;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::frame::{Frame, Theme};
use super::parts::Field;
use super::sign_in::end_earlier;
use super::visit::Visit;
use crate::base::clock::UnixMs;
use crate::base::secret::Secret;
use crate::users::UserError;
use crate::web::audit::Telling;
use crate::web::auth;
use crate::web::error::Failure;
use crate::web::services::App;

/// The page.
#[derive(Clone, Debug, Template)]
#[template(path = "setup.html")]
pub struct View {
    /// What stands around it.
    pub frame: Frame,
    /// Of the link.
    pub token: String,
    /// Whom it is for.
    pub user: String,
    /// Password, and again.
    pub fields: [Field; 2],
}

/// The page for the link `token`, with what was wrong with the last try.
pub fn view(visit: Visit, token: String, user: String, fault: &str, fault_again: &str) -> View {
    let mut frame = visit.frame();
    "Set your password".clone_into(&mut frame.title);
    View {
        frame,
        token,
        user,
        fields: [
            Field::password("password", "Password", "new-password")
                .hint("10 characters or more. A sentence is easier to remember than a riddle.")
                .fault(fault),
            Field::password("again", "The same again", "new-password").fault(fault_again),
        ],
    }
}

/// `GET /setup/{token}`
pub async fn show(
    State(app): State<App>,
    Path(token): Path<String>,
    visit: Visit,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let from = auth::origin(&headers);
    let user = app.users.link_is_for(&token, &from, UnixMs::now()).await?;
    Ok(super::render(&view(visit, token, user, "", "")))
}

/// The form's fields.
#[derive(Deserialize)]
pub struct Fields {
    password: Secret,
    again: Secret,
}

/// `POST /setup/{token}`
pub async fn submit(
    State(app): State<App>,
    Path(token): Path<String>,
    visit: Visit,
    headers: HeaderMap,
    telling: Telling,
    Form(fields): Form<Fields>,
) -> Result<Response, Failure> {
    let from = auth::origin(&headers);
    let user = app.users.link_is_for(&token, &from, UnixMs::now()).await?;
    if fields.password != fields.again {
        let page = view(
            visit,
            token,
            user,
            "",
            "This is not the same password as above.",
        );
        return Ok((StatusCode::UNPROCESSABLE_ENTITY, super::render(&page)).into_response());
    }
    match app
        .users
        .set_up(&token, fields.password, from, UnixMs::now())
        .await
    {
        Ok(entered) => {
            telling.session(&entered.session);
            end_earlier(&app, &visit.caller).await?;
            Ok(super::see_signed_in("/", &entered))
        }
        Err(error @ UserError::PasswordRule(_)) => {
            let page = view(visit, token, user, &error.to_string(), "");
            Ok((StatusCode::UNPROCESSABLE_ENTITY, super::render(&page)).into_response())
        }
        Err(other) => Err(other.into()),
    }
}
