//! `/sign-in/code`: the code after the password.

use askama::Template;
use axum::Form;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::frame::{Frame, Theme};
use super::parts::Field;
use super::second_factor::code_field;
use super::sign_in::end_earlier;
use super::visit::{self, Visit};
use crate::base::clock::UnixMs;
use crate::users::UserError;
use crate::web::audit::Telling;
use crate::web::auth;
use crate::web::error::Failure;
use crate::web::services::App;

/// The page.
#[derive(Clone, Debug, Template)]
#[template(path = "sign_in_code.html")]
pub struct View {
    /// What stands around it.
    pub frame: Frame,
    /// The code.
    pub code: Field,
}

/// The page, with what was wrong with the last try.
pub fn view(visit: Visit, fault: String) -> View {
    let mut frame = visit.frame();
    "Your code".clone_into(&mut frame.title);
    View {
        frame,
        code: code_field(fault),
    }
}

/// `GET /sign-in/code`
pub async fn show(
    State(app): State<App>,
    visit: Visit,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let half = auth::cookie(&headers, auth::HALF).unwrap_or_default();
    match app.users.who_is_half_way(&half, UnixMs::now()).await? {
        Some(_) => Ok(super::render(&view(visit, String::new()))),
        None => Ok(super::see("/sign-in")),
    }
}

/// A code.
#[derive(Deserialize)]
pub struct Given {
    code: String,
}

/// `POST /sign-in/code`
pub async fn submit(
    State(app): State<App>,
    visit: Visit,
    headers: HeaderMap,
    telling: Telling,
    Form(given): Form<Given>,
) -> Result<Response, Failure> {
    let half = auth::cookie(&headers, auth::HALF).unwrap_or_default();
    let from = auth::origin(&headers);
    let error = match app
        .users
        .finish_sign_in(&half, &given.code, from, UnixMs::now())
        .await
    {
        Ok(entered) => {
            telling.session(&entered.session);
            end_earlier(&app, &visit.caller).await?;
            let mut answer = super::see_signed_in("/", &entered);
            super::drop_cookie(&mut answer, auth::HALF);
            return Ok(answer);
        }
        Err(error) => error,
    };
    let status = match error {
        UserError::WrongCode => StatusCode::UNAUTHORIZED,
        UserError::SlowDown(_) => StatusCode::TOO_MANY_REQUESTS,
        UserError::HalfWayOver => return Ok(visit::failed("/sign-in", &error.to_string())),
        other => return Err(other.into()),
    };
    let page = super::render(&view(visit, error.to_string()));
    Ok((status, page).into_response())
}
