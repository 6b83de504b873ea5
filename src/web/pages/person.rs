//! `/settings/people/{user}`: somebody's sessions and second factor, for whoever is in charge of them.
//!
//! For a laptop that was lost and a telephone that broke: what they themselves would
//! do on their account's page, done by another. Only owners see and touch owners.

use askama::Template;
use axum::Form;
use axum::extract::{Path, State};
use axum::response::Response;
use serde::Deserialize;

use super::account::{Session, session_rows};
use super::frame::{Frame, Section, Theme};
use super::people::PAGE;
use super::visit::{self, Visit};
use crate::base::clock::UnixMs;
use crate::users::Role;
use crate::web::audit::Telling;
use crate::web::error::Failure;
use crate::web::people;
use crate::web::services::App;

/// The page.
#[derive(Clone, Debug, Template)]
#[template(path = "person.html")]
pub struct View {
    /// What stands around it.
    pub frame: Frame,
    /// What they sign in with.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// A developer's apps.
    pub apps: Vec<String>,
    /// Asked in, and not come in yet: there is nothing of theirs to end.
    pub invited: bool,
    /// Whether a code is asked of them beside the password.
    pub second_factor: bool,
    /// Last seen first.
    pub sessions: Vec<Session>,
}

fn address(name: &str) -> String {
    format!("{PAGE}/{name}")
}

/// `GET /settings/people/{user}`
pub async fn show(
    State(app): State<App>,
    visit: Visit,
    Path(name): Path<String>,
) -> Result<Response, Failure> {
    people::in_charge_of(&app, &visit.caller, &name).await?;
    let now = UnixMs::now();
    let person = app.users.person(&name, now).await?;
    let sessions = match person.id {
        Some(id) => app.users.sessions(id, now).await?,
        None => Vec::new(),
    };
    let own = visit.caller.session_digest();
    Ok(super::render(&View {
        frame: visit
            .frame()
            .titled(person.name.clone(), Section::Settings)
            .under("/settings", "Settings")
            .under(PAGE, "People"),
        role: person.role,
        apps: person.apps,
        invited: person.id.is_none(),
        second_factor: person.second_factor,
        sessions: session_rows(sessions, own.as_deref(), now),
        name: person.name,
    }))
}

/// One of their sessions.
#[derive(Deserialize)]
pub struct Which {
    mark: String,
}

/// `POST /settings/people/{user}/sessions/end`
pub async fn end_session(
    State(app): State<App>,
    visit: Visit,
    Path(name): Path<String>,
    telling: Telling,
    Form(which): Form<Which>,
) -> Result<Response, Failure> {
    let user = people::row_of(&app, &visit.caller, &name).await?;
    let ended = app
        .users
        .end_session(user, &which.mark, visit.caller.by(), UnixMs::now())
        .await;
    if ended.is_ok() {
        telling.tell("session", which.mark);
    }
    let text = format!("That session of {name} is ended.");
    visit::back(&format!("{}#sessions", address(&name)), ended, &text)
}

/// `POST /settings/people/{user}/sessions/end-all`
pub async fn end_sessions(
    State(app): State<App>,
    visit: Visit,
    Path(name): Path<String>,
) -> Result<Response, Failure> {
    let user = people::row_of(&app, &visit.caller, &name).await?;
    let by = visit.caller.by();
    let ended = app
        .users
        .end_sessions((user, &name), by, UnixMs::now())
        .await?;
    let text = match ended {
        0 => format!("{name} had no session."),
        1 => format!("The session of {name} is ended."),
        n => format!("All {n} sessions of {name} are ended."),
    };
    Ok(visit::done(&format!("{}#sessions", address(&name)), &text))
}

/// `POST /settings/people/{user}/second-factor/off`
pub async fn second_factor_off(
    State(app): State<App>,
    visit: Visit,
    Path(name): Path<String>,
) -> Result<Response, Failure> {
    people::in_charge_of(&app, &visit.caller, &name).await?;
    let by = visit.caller.by();
    let off = app
        .users
        .remove_second_factor(&name, by, UnixMs::now())
        .await;
    let text = format!("The second factor of {name} is off.");
    visit::back(&format!("{}#second", address(&name)), off, &text)
}
