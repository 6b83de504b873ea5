//! `/settings`: backup targets, the box's CA, who may come in.

use askama::Template;
use axum::extract::{RawQuery, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::frame::{Frame, Section, Theme};
use super::parts::{Badge, Field};
use super::visit::Visit;
use super::{targets, words};
use crate::base::clock::UnixMs;
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
    /// Those who may come in: name and role.
    pub people: Vec<(String, &'static str)>,
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

/// The page after a target was refused.
pub(super) async fn with_target(
    app: &App,
    visit: Visit,
    faulty: targets::Typed,
) -> Result<Response, Failure> {
    page(app, visit, faulty).await
}

async fn page(app: &App, visit: Visit, faulty: targets::Typed) -> Result<Response, Failure> {
    let now = UnixMs::now();
    let known = app.backups.targets().await?;
    let root = app.certs.root();
    let people = app.users.people(now).await?;
    let settings = app.settings.borrow().clone();
    Ok(super::render(&View {
        frame: visit.frame().titled("Settings", Section::Settings),
        target_open: known.is_empty() || faulty.open,
        targets: known.into_iter().map(targets::line).collect(),
        target_fields: targets::fields(&faulty),
        ca_fingerprint: root.fingerprint,
        people: people
            .into_iter()
            .map(|p| (p.name, p.role.as_str()))
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
    page(&app, visit, typed).await
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
