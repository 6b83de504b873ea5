//! The dashboard's pages: one file a page, each a view (display-ready data and
//! a template) and its thin handlers.
//!
//! Views are pure: what the domains tell goes in, words and drawings come out. Every action is a
//! plain form answered by a redirect; the script only keeps what is shown up to date.

pub mod account;
pub mod activity;
mod agent;
pub mod app;
pub mod assets;
pub mod audit;
mod backup_words;
pub mod box_page;
mod certificate;
pub mod checks;
mod confirm;
pub mod confirm_password;
pub mod database;
pub mod database_actions;
pub mod database_sql;
pub mod databases;
pub mod doctor;
mod figures;
mod frame;
pub mod jobs;
pub mod overview;
mod parts;
pub mod people;
pub mod person;
pub mod problem;
mod qr;
mod ran;
pub mod routes;
pub mod second_factor;
pub mod settings;
pub mod setup;
pub mod sign_in;
pub mod sign_in_code;
pub mod targets;
pub mod visit;
mod words;

#[cfg(test)]
mod preview;

use askama::Template;
use axum::http::{HeaderValue, header};
use axum::response::{Html, IntoResponse, Response};

use super::auth;
use super::error::Failure;
use crate::base::secret::Secret;
use crate::users::Entered;
use crate::wire::problem::ProblemKind;

/// A template as a page.
pub fn render(view: &impl Template) -> Response {
    match view.render() {
        Ok(html) => Html(html).into_response(),
        Err(error) => {
            tracing::error!(%error, "a page could not be rendered");
            Failure::new(ProblemKind::Internal, "this page could not be drawn").into_response()
        }
    }
}

/// POST, then GET: after a change the browser is sent to `to`.
pub fn see(to: &str) -> Response {
    axum::response::Redirect::to(to).into_response()
}

/// `see` with the cookies of somebody who came in.
pub fn see_signed_in(to: &str, entered: &Entered) -> Response {
    let mut answer = with_session(see(to), &entered.session);
    add_cookie(&mut answer, auth::DEVICE, &entered.device, 400 * DAY);
    answer
}

/// `answer` with the session's new cookie.
pub fn with_session(mut answer: Response, session: &Secret) -> Response {
    add_cookie(&mut answer, auth::COOKIE, session, 14 * DAY);
    answer
}

/// To the code, after the password.
pub fn see_half_way(half: &Secret) -> Response {
    let mut answer = see("/sign-in/code");
    add_cookie(&mut answer, auth::HALF, half, 300);
    answer
}

/// Takes a cookie away.
pub fn drop_cookie(answer: &mut Response, name: &str) {
    add_cookie(answer, name, &Secret::new(""), 0);
}

const DAY: u32 = 24 * 3600;

fn add_cookie(answer: &mut Response, name: &str, value: &Secret, seconds: u32) {
    let cookie = format!(
        "{name}={}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age={seconds}",
        value.expose()
    );
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        answer.headers_mut().append(header::SET_COOKIE, cookie);
    }
}
