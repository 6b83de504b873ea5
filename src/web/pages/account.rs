//! `/account`: one's own password and sessions.

use askama::Template;
use axum::Form;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::agent;
use super::frame::{Frame, Section, Theme};
use super::parts::{Field, When};
use super::visit::{self, Visit};
use crate::base::clock::UnixMs;
use crate::base::secret::Secret;
use crate::users::{Role, UserError};
use crate::web::caller::Caller;
use crate::web::error::Failure;
use crate::web::services::App;

/// The page.
#[derive(Clone, Debug, Template)]
#[template(path = "account.html")]
pub struct View {
    /// What stands around it.
    pub frame: Frame,
    /// Who is signed in; empty over the box's own socket.
    pub user: String,
    /// What they may do.
    pub role: Role,
    /// A developer's apps.
    pub apps: Vec<String>,
    /// Old, new, again.
    pub password_fields: Vec<Field>,
    /// Newest first.
    pub sessions: Vec<Session>,
}

/// A session.
#[derive(Clone, Debug)]
pub struct Session {
    /// Tells it from the others.
    pub mark: String,
    /// "Firefox on Linux, 203.0.113.7".
    pub what: String,
    /// The one this page is seen in.
    pub own: bool,
    /// Last request.
    pub at: When,
}

/// What was wrong with the password form.
#[derive(Default)]
struct Faults {
    current: String,
    new: String,
    again: String,
}

async fn page(app: &App, visit: Visit, faults: Faults) -> Result<Response, Failure> {
    let now = UnixMs::now();
    let (user, role, apps, sessions) = match &visit.caller {
        Caller::User {
            id, name, grant, ..
        } => {
            let sessions = app.users.sessions(*id, now).await?;
            let apps = grant.apps.iter().cloned().collect();
            (name.clone(), grant.role, apps, sessions)
        }
        _ => (String::new(), Role::Owner, Vec::new(), Vec::new()),
    };
    let own = visit.session_mark();
    Ok(super::render(&View {
        frame: visit.frame().titled("Account", Section::Account),
        user,
        role,
        apps,
        password_fields: vec![
            Field::password("current", "Password now", "current-password").fault(faults.current),
            Field::password("password", "New password", "new-password")
                .hint("10 characters or more.")
                .fault(faults.new),
            Field::password("again", "The same again", "new-password").fault(faults.again),
        ],
        sessions: sessions
            .into_iter()
            .map(|s| Session {
                what: match s.address.as_str() {
                    "" => agent::told(&s.agent),
                    address => format!("{}, {address}", agent::told(&s.agent)),
                },
                own: own.as_ref().is_some_and(|own| own.starts_with(&s.mark)),
                at: When::ago(s.seen, now),
                mark: s.mark,
            })
            .collect(),
    }))
}

/// `GET /account`
pub async fn show(State(app): State<App>, visit: Visit) -> Result<Response, Failure> {
    page(&app, visit, Faults::default()).await
}

/// The password form.
#[derive(Deserialize)]
pub struct Change {
    current: Secret,
    password: Secret,
    again: Secret,
}

/// `POST /account/password`
pub async fn password(
    State(app): State<App>,
    visit: Visit,
    Form(change): Form<Change>,
) -> Result<Response, Failure> {
    let Caller::User { id, token, .. } = &visit.caller else {
        return Ok(visit::failed(
            "/account",
            "Only somebody who signed in has a password; on the box, freehold user reset makes a setup link.",
        ));
    };
    let mut faults = Faults::default();
    if change.password == change.again {
        match app
            .users
            .change_password(*id, change.current, change.password, token, UnixMs::now())
            .await
        {
            Ok(()) => return Ok(visit::done("/account", "Your password is changed.")),
            Err(error @ UserError::WrongPassword) => faults.current = error.to_string(),
            Err(error @ UserError::PasswordRule(_)) => faults.new = error.to_string(),
            Err(other) => return Err(other.into()),
        }
    } else {
        "This is not the same password as above.".clone_into(&mut faults.again);
    }
    let page = page(&app, visit, faults).await?;
    Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response())
}

/// A session of one's own.
#[derive(Deserialize)]
pub struct Which {
    mark: String,
}

/// `POST /account/sessions/end`
pub async fn end_session(
    State(app): State<App>,
    visit: Visit,
    Form(which): Form<Which>,
) -> Result<Response, Failure> {
    if let Caller::User { id, .. } = &visit.caller {
        app.users.end_session(*id, &which.mark).await?;
    }
    Ok(visit::done("/account#sessions", "That session is ended."))
}
