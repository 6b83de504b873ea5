//! Managed databases: made, shown, attached, opened, removed.

use axum::Json;
use axum::extract::{Extension, Request, State};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::base::clock::UnixMs;
use crate::base::ids::DatabaseName;
use crate::config::units;
use crate::postgres::{self, Attachment, Database, Link, State as Stage};
use crate::supervise::TerminalSize;
use crate::web::answer::{Accepted, AcceptedIf, As, Listed, Terminal};
use crate::web::audit::Telling;
use crate::web::caller::Caller;
use crate::web::error::Failure;
use crate::web::input::{Input, Path, Query};
use crate::web::jobs;
use crate::web::page::{Names, has};
use crate::web::services::App;
use crate::web::terminal;
use crate::wire::apps::Changed;
use crate::wire::databases as wire;
use crate::wire::listing::Listing;
use crate::wire::problem::{Problem, ProblemKind};

fn attachment(link: &Attachment) -> wire::Attachment {
    wire::Attachment {
        app: link.app_name.clone(),
        role: link.role.clone(),
        env_name: link.env_name.clone(),
        state: match link.state {
            Link::Attaching => "attaching",
            Link::Attached => "attached",
            Link::Detaching => "detaching",
            Link::Failed => "failed",
        }
        .into(),
        reason: link.reason.clone(),
    }
}

async fn told(app: &App, database: Database) -> Result<wire::Database, Failure> {
    let links = app.databases.attached(database.id).await?;
    Ok(wire::Database {
        name: database.name.to_string(),
        state: database.state.as_str().into(),
        reason: database.reason,
        version: database.version,
        server_version: database.server_version,
        image: database.image,
        memory_bytes: database.memory_bytes,
        created_ms: database.created.0,
        apps: links.iter().map(attachment).collect(),
    })
}

/// Which databases.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Which {
    /// Only those in this state.
    state: Option<String>,
    /// Only those with this in their name.
    q: Option<String>,
}

/// `GET /api/v1/databases`
pub async fn list(
    State(app): State<App>,
    Query(which): Query<Which>,
    page: Names,
) -> Result<Listed<wire::Database>, Failure> {
    let mut found = app.databases.list().await?;
    found.retain(|d| {
        let in_state = which.state.as_deref().is_none_or(|s| s == d.state.as_str());
        in_state && has(d.name.as_str(), which.q.as_deref())
    });
    let listing = page.of(found, |d| d.name.as_str());
    let mut items = Vec::new();
    for database in listing.items {
        items.push(told(&app, database).await?);
    }
    let next = listing.next;
    Ok(Listed(Listing { items, next }))
}

/// `POST /api/v1/databases`: answers at once; the work follows.
pub async fn create(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Input(new): Input<wire::NewDatabase>,
) -> Result<Accepted<wire::Database>, Failure> {
    let invalid = |text: String| Failure::new(ProblemKind::Invalid, text);
    let defaults = app.settings.borrow().database;
    let name = DatabaseName::parse(&new.name).map_err(|e| invalid(e.0))?;
    let version = match new.version.as_deref() {
        Some(text) => postgres::parse_version(text)?,
        None => defaults.version,
    };
    let memory_bytes = match new.memory.as_deref() {
        Some(text) => units::size(text).map_err(invalid)?,
        None => defaults.memory,
    };
    let new = postgres::NewDatabase {
        name,
        version,
        memory_bytes,
    };
    let made = app.databases.create(new, &caller.who()).await?;
    let job = jobs::about(&app, "database", "database", made.id).await?;
    Ok(Accepted::new(told(&app, made).await?, job))
}

/// `GET /api/v1/databases/{name}`
pub async fn show(
    State(app): State<App>,
    Path(name): Path<String>,
) -> Result<Json<wire::DatabaseDetails>, Failure> {
    let database = app.databases.find(&name).await?;
    let schedule = app.backups.schedule(database.id).await?;
    let seen = match database.state {
        Stage::Ready => Some(app.databases.seen(&database, UnixMs::now())),
        _ => None,
    };
    let inside = seen.as_ref().and_then(|seen| seen.said.clone());
    let silent = seen.as_ref().and_then(|seen| seen.why());
    Ok(Json(wire::DatabaseDetails {
        database: told(&app, database).await?,
        inside: inside.map(|inside| wire::Inside {
            as_of_ms: inside.at.0,
            size_bytes: inside.size_bytes,
            connections: inside.connections,
            max_connections: inside.max_connections,
            databases: inside
                .logical
                .into_iter()
                .map(|l| wire::Logical {
                    name: l.name,
                    owner: l.owner,
                    size_bytes: l.size_bytes,
                })
                .collect(),
        }),
        silent,
        next_backup_ms: schedule.next_due.0,
        backup_at: format!("{:02}:{:02}", schedule.minute / 60, schedule.minute % 60),
    }))
}

/// `DELETE /api/v1/databases/{name}` with the name typed again.
pub async fn remove(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Input(typed): Input<wire::Remove>,
) -> Result<Accepted<wire::Removing>, Failure> {
    let id = app.databases.find(&name).await?.id;
    app.databases
        .remove(&name, &typed.confirm, &caller.who())
        .await?;
    let job = jobs::about(&app, "database", "database", id).await?;
    Ok(Accepted::new(wire::Removing { removing: name }, job))
}

/// `POST /api/v1/databases/{name}/attachments`: answers at once; the work follows, and at its end names
/// the deploy of the app's live image that brings the URL.
pub async fn attach(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Input(wanted): Input<wire::Attach>,
) -> Result<AcceptedIf<wire::Attached>, Failure> {
    let (row, by) = (app.apps.find(&wanted.app).await?, caller.who());
    let env_name = wanted.env_name.as_deref();
    let attached = app
        .databases
        .attach(&name, row.id, row.name.as_str(), env_name, &by)
        .await?;
    let job = match attached.changed {
        true => jobs::about(&app, "attachment", "attachment", attached.link.id).await?,
        false => None,
    };
    let attached = wire::Attached {
        link: attachment(&attached.link),
        change: Changed {
            changed: attached.changed,
            deploy: None,
        },
    };
    Ok(AcceptedIf::new(attached, job))
}

/// `DELETE /api/v1/databases/{name}/attachments/{app}`: answers at once; the work follows, and at its end
/// names the deploy of the app's live image that takes the variable away.
pub async fn detach(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path((name, other)): Path<(String, String)>,
) -> Result<Accepted<Changed>, Failure> {
    let (row, by) = (app.apps.find(&other).await?, caller.who());
    let link = app.databases.detach(&name, row.id, &by).await?;
    let changed = Changed {
        changed: true,
        deploy: None,
    };
    let job = jobs::about(&app, "attachment", "attachment", link).await?;
    Ok(Accepted::new(changed, job))
}

/// `POST /api/v1/databases/{name}/attachments/{app}/reveal`: the URL with the app's password, for
/// those in charge of the app.
pub async fn reveal(
    State(app): State<App>,
    Path((name, other)): Path<(String, String)>,
) -> Result<Json<wire::AttachmentUrl>, Failure> {
    let row = app.apps.find(&other).await?;
    let given = app.databases.given_to(row.id).await?;
    let link = given.into_iter().find(|given| given.database == name);
    let link = link.ok_or_else(|| {
        Failure::from(
            Problem::new(
                ProblemKind::NotFound,
                format!(
                    "the app {} is not attached to the database \"{name}\"",
                    row.name
                ),
            )
            .remedy("`freehold db list` shows which are; `freehold db attach` attaches it."),
        )
    })?;
    Ok(Json(wire::AttachmentUrl {
        env_name: link.env_name,
        url: link.url,
    }))
}

/// How a shell is wanted.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Shell {
    /// The database on the server.
    part: Option<String>,
    /// Lines of the caller's terminal; none without one.
    rows: Option<u16>,
    /// Characters a line.
    columns: Option<u16>,
}

/// `POST /api/v1/databases/{name}/psql`, upgraded to a terminal.
pub async fn psql(
    State(app): State<App>,
    Path(name): Path<String>,
    Query(shell): Query<Shell>,
    telling: Telling,
    request: Request,
) -> Result<As<Terminal>, Failure> {
    let size = shell.rows.zip(shell.columns);
    let size = size.map(|(rows, columns)| TerminalSize { rows, columns });
    let part = shell.part.filter(|part| !part.is_empty());
    telling.tell("part", part.as_deref().unwrap_or("the attached app's"));
    let command = app.databases.psql(&name, part, size).await?;
    let response = terminal::serve(request, async { Ok(command) }).await?;
    Ok(As::new(response))
}
