//! `/databases`: every database, and the form for one more.

use std::sync::Arc;

use askama::Template;
use axum::Form;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::frame::{Frame, Section, Theme};
use super::parts::{Badge, Field, Tone, When};
use super::visit::{self, Visit};
use super::{backup_words, words};
use crate::apps::parse_bytes;
use crate::backup::Backup;
use crate::base::clock::UnixMs;
use crate::base::ids::DatabaseName;
use crate::postgres::{self, NewDatabase, PostgresError};
use crate::web::error::Failure;
use crate::web::services::App;

/// The page.
#[derive(Clone, Debug, Template)]
#[template(path = "databases.html")]
pub struct View {
    /// What stands around it.
    pub frame: Frame,
    /// By name.
    pub databases: Vec<Database>,
    /// Of the one to make.
    pub name: Field,
    /// Of the one to make.
    pub version: Field,
    /// Of the one to make.
    pub memory: Field,
}

/// A row.
#[derive(Clone, Debug)]
pub struct Database {
    /// Its name.
    pub name: String,
    /// "Postgres 17.6".
    pub version: String,
    /// Running, starting, failing.
    pub state: Badge,
    /// On disk.
    pub size: String,
    /// "4 of 100".
    pub connections: String,
    /// When the server said both.
    pub as_of: Option<When>,
    /// Attached.
    pub apps: Vec<String>,
    /// State of the newest backup.
    pub backup: Badge,
    /// When it ended.
    pub backup_at: Option<When>,
}

/// The state of a server as a badge.
pub fn state(database: &postgres::Database) -> Badge {
    match database.state {
        postgres::State::Creating => Badge::new(Tone::Busy, "Being made"),
        postgres::State::Starting => Badge::new(Tone::Busy, "Starting"),
        postgres::State::Verifying => Badge::new(Tone::Busy, "Being checked"),
        postgres::State::Ready => Badge::new(Tone::Ok, "Running"),
        postgres::State::Failed => Badge::new(Tone::Bad, "Failed"),
        postgres::State::Removing => Badge::new(Tone::Busy, "Being removed"),
    }
}

/// What is known of the inside of a server in service.
pub fn seen(app: &App, database: &postgres::Database, now: UnixMs) -> Option<Arc<postgres::Seen>> {
    (database.state == postgres::State::Ready).then(|| app.databases.seen(database, now))
}

/// "Postgres 17.5".
pub fn version(database: &postgres::Database) -> String {
    let said = database.server_version.as_deref().unwrap_or_default();
    match said.split_whitespace().next() {
        Some(exact) => format!("Postgres {exact}"),
        None => format!("Postgres {}", database.version),
    }
}

/// What the form sends.
#[derive(Clone, Debug, Deserialize)]
pub struct Given {
    #[serde(default)]
    name: String,
    #[serde(default)]
    version: String,
    #[serde(default)]
    memory: String,
}

/// What is wrong with it.
#[derive(Clone, Debug, Default)]
struct Faults {
    name: String,
    memory: String,
}

async fn page(app: &App, visit: Visit, given: &Given, faults: Faults) -> Result<Response, Failure> {
    let now = UnixMs::now();
    let backups = app.backups.list_of(None, 500).await?;
    let mut rows = Vec::new();
    for database in app.databases.list().await? {
        let apps = app.databases.attached(database.id).await?;
        let newest: Option<&Backup> = backups.iter().find(|b| b.database == database.id);
        let seen = seen(app, &database, now);
        let inside = seen.as_ref().and_then(|seen| seen.said.as_ref());
        let dash = || "–".to_owned();
        rows.push(Database {
            name: database.name.to_string(),
            version: version(&database),
            state: state(&database),
            size: inside.map_or_else(dash, |i| words::bytes(i.size_bytes)),
            connections: inside.map_or_else(dash, |i| {
                format!("{} of {}", i.connections, i.max_connections)
            }),
            as_of: inside.map(|i| When::ago(i.at, now)),
            apps: apps.into_iter().map(|a| a.app_name).collect(),
            backup: newest.map_or_else(|| Badge::new(Tone::Idle, "None yet"), backup_words::badge),
            backup_at: newest.map(|b| When::ago(b.finished.unwrap_or(b.created), now)),
        });
    }
    let versions = postgres::SUPPORTED
        .iter()
        .rev()
        .map(|v| (v.to_string(), format!("Postgres {v}")))
        .collect();
    let version = match given.version.as_str() {
        "" => "17",
        version => version,
    };
    Ok(super::render(&View {
        frame: visit
            .frame()
            .titled("Databases", Section::Databases)
            .refreshed(15),
        databases: rows,
        name: Field::code("name", "Name")
            .needed()
            .like("main")
            .value(&given.name)
            .fault(faults.name),
        version: Field::choice("version", "Version", versions).value(version),
        memory: Field::code("memory", "Memory")
            .like("512M")
            .value(&given.memory)
            .fault(faults.memory),
    }))
}

/// `GET /databases`
pub async fn show(State(app): State<App>, visit: Visit) -> Result<Response, Failure> {
    let given = Given {
        name: String::new(),
        version: String::new(),
        memory: "512M".to_owned(),
    };
    page(&app, visit, &given, Faults::default()).await
}

/// `POST /databases`
pub async fn create(
    State(app): State<App>,
    visit: Visit,
    Form(given): Form<Given>,
) -> Result<Response, Failure> {
    let mut faults = Faults::default();
    let name = DatabaseName::parse(given.name.trim()).map_err(|e| faults.name = e.to_string());
    let memory = match given.memory.trim() {
        "" => Some(512 << 20),
        text => parse_bytes(text),
    };
    if memory.is_none() {
        "This is not an amount of memory: write it like 512M or 1G.".clone_into(&mut faults.memory);
    }
    let version = postgres::parse_version(&given.version)?;
    if let (Ok(name), Some(memory_bytes)) = (name, memory) {
        let new = NewDatabase {
            name: name.clone(),
            version,
            memory_bytes,
        };
        match app.databases.create(new, &visit.caller.who()).await {
            Ok(_) => {
                return Ok(visit::done(
                    &format!("/databases/{name}"),
                    &format!("{name} is being made. It is ready when it answers a query."),
                ));
            }
            Err(error @ PostgresError::NameTaken(_)) => faults.name = error.to_string(),
            Err(error @ PostgresError::Invalid(_)) => faults.memory = error.to_string(),
            Err(other) => return Err(other.into()),
        }
    }
    let page = page(&app, visit, &given, faults).await?;
    Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response())
}
