//! `/settings`: backup targets, the box's CA, the owner's password and sessions.

use askama::Template;
use axum::Form;
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::frame::{Frame, Section, Theme};
use super::parts::{Badge, Field, When};
use super::visit::{self, Visit};
use super::{agent, targets, words};
use crate::base::clock::UnixMs;
use crate::base::secret::Secret;
use crate::users::UserError;
use crate::web::caller::Caller;
use crate::web::error::Failure;
use crate::web::services::App;

/// The page.
#[derive(Clone, Debug, Template)]
#[template(path = "settings.html")]
pub struct View {
    /// What stands around it.
    pub frame: Frame,
    /// By name.
    pub targets: Vec<Target>,
    /// Of the one to add.
    pub target_fields: Vec<Field>,
    /// The form is shown: there is a fault in it, or no target yet.
    pub target_open: bool,
    /// SHA-256 of the root.
    pub ca_fingerprint: String,
    /// Who is signed in.
    pub user: String,
    /// Old, new, again.
    pub password_fields: Vec<Field>,
    /// Newest first.
    pub sessions: Vec<Session>,
    /// Version, data folder, installation.
    pub about: Vec<(String, String)>,
}

/// A backup target.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its name.
    pub name: String,
    /// `s3://bucket/prefix at https://…`, `dir:///path`.
    pub location: String,
    /// Whether the last use went well.
    pub state: Badge,
    /// Why not.
    pub note: String,
    /// New databases go there.
    pub default: bool,
}

/// A session.
#[derive(Clone, Debug)]
pub struct Session {
    /// "Firefox on Linux, 203.0.113.7".
    pub what: String,
    /// The one this page is seen in.
    pub own: bool,
    /// Last request.
    pub at: When,
}

/// What was wrong with the password form.
#[derive(Default)]
struct PasswordFaults {
    current: String,
    new: String,
    again: String,
}

/// The page after a target was refused.
pub(super) async fn with_target(
    app: &App,
    visit: Visit,
    faulty: targets::Typed,
) -> Result<Response, Failure> {
    page(app, visit, PasswordFaults::default(), faulty).await
}

async fn page(
    app: &App,
    visit: Visit,
    faults: PasswordFaults,
    faulty: targets::Typed,
) -> Result<Response, Failure> {
    let now = UnixMs::now();
    let known = app.backups.targets().await?;
    let root = app.certs.root();
    let (user, sessions) = match &visit.caller {
        Caller::User { id, name, .. } => (name.clone(), app.users.sessions(*id, now).await?),
        _ => (crate::users::OWNER.to_owned(), Vec::new()),
    };
    let own = visit.session_mark();
    let settings = app.settings.borrow().clone();
    Ok(super::render(&View {
        frame: visit.frame().titled("Settings", Section::Settings),
        target_open: known.is_empty() || faulty.open,
        targets: known.into_iter().map(targets::line).collect(),
        target_fields: targets::fields(&faulty),
        ca_fingerprint: root.fingerprint,
        user,
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
            })
            .collect(),
        about: vec![
            ("Version".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
            ("Installation".to_owned(), app.installation.to_string()),
            ("Dashboard".to_owned(), app.dashboard_url()),
            ("Data".to_owned(), settings.data_dir.display().to_string()),
            ("Time".to_owned(), words::date_time(now)),
        ],
    }))
}

/// `GET /settings`, and `GET /settings?add` with the form for a target open.
pub async fn show(
    State(app): State<App>,
    visit: Visit,
    RawQuery(query): RawQuery,
) -> Result<Response, Failure> {
    let typed = targets::Typed::empty(query.as_deref() == Some("add"));
    page(&app, visit, PasswordFaults::default(), typed).await
}

/// `GET /settings/ca.pem`
pub async fn root(State(app): State<App>) -> Response {
    (
        [
            (header::CONTENT_TYPE, "application/x-pem-file"),
            (
                header::CONTENT_DISPOSITION,
                "attachment; filename=\"freehold-ca.pem\"",
            ),
        ],
        app.certs.root().pem,
    )
        .into_response()
}

/// The password form.
#[derive(Deserialize)]
pub struct Change {
    current: Secret,
    password: Secret,
    again: Secret,
}

/// `POST /settings/password`
pub async fn password(
    State(app): State<App>,
    visit: Visit,
    Form(change): Form<Change>,
) -> Result<Response, Failure> {
    let Caller::User { id, token, .. } = &visit.caller else {
        return Ok(visit::failed(
            "/settings#password",
            "Only somebody who signed in has a password; on the box, freehold user reset makes a setup link.",
        ));
    };
    let mut faults = PasswordFaults::default();
    if change.password == change.again {
        match app
            .users
            .change_password(*id, change.current, change.password, token, UnixMs::now())
            .await
        {
            Ok(()) => return Ok(visit::done("/settings", "Your password is changed.")),
            Err(error @ UserError::WrongPassword) => faults.current = error.to_string(),
            Err(error @ UserError::PasswordRule(_)) => faults.new = error.to_string(),
            Err(other) => return Err(other.into()),
        }
    } else {
        "This is not the same password as above.".clone_into(&mut faults.again);
    }
    let page = page(&app, visit, faults, targets::Typed::default()).await?;
    Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response())
}
