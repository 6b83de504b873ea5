//! Backups and restores: asked for, listed, checked, brought back, downloaded.

use axum::Json;
use axum::extract::{Extension, State};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::backup::{Backup, Restore};
use crate::web::answer::{Accepted, As, Dump, Listed};
use crate::web::audit::Telling;
use crate::web::caller::Caller;
use crate::web::downloads;
use crate::web::error::Failure;
use crate::web::input::{Input, Path, Query};
use crate::web::jobs;
use crate::web::page::Page;
use crate::web::restores;
use crate::web::services::App;
use crate::wire::backups as wire;
use crate::wire::listing::Listing;

fn told(backup: Backup) -> wire::Backup {
    wire::Backup {
        id: backup.id,
        database: backup.database_name,
        part: backup.logical,
        owner: backup.owner,
        state: backup.state.as_str().into(),
        reason: backup.reason,
        cause: backup.cause.as_str().into(),
        attempt: backup.attempt,
        target: backup.target_name,
        key: backup.key,
        size_bytes: backup.size_bytes,
        sha256: backup.sha256,
        tables: backup.contents.map(|c| c.tables),
        created_ms: backup.created.0,
        due_ms: backup.due.0,
        started_ms: backup.started.map(|at| at.0),
        finished_ms: backup.finished.map(|at| at.0),
        check: backup.check_state,
        check_note: backup.check_note,
        checked_ms: backup.checked.map(|at| at.0),
    }
}

fn told_restore(restore: Restore) -> wire::Restore {
    wire::Restore {
        id: restore.id,
        backup: restore.backup,
        part: restore.logical,
        kept: restore.kept,
        state: restore.state.as_str().into(),
        reason: restore.reason,
        tables: restore.tables,
        rows: restore.rows,
        created_ms: restore.created.0,
        finished_ms: restore.finished.map(|at| at.0),
        confirmed_ms: restore.confirmed.map(|at| at.0),
    }
}

/// Which backups.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Which {
    /// Of this server; all when absent.
    database: Option<String>,
    /// Only those in this state.
    state: Option<String>,
}

/// `GET /api/v1/backups`
pub async fn list(
    State(app): State<App>,
    Query(which): Query<Which>,
    page: Page,
) -> Result<Listed<wire::Backup>, Failure> {
    let slice = page.slice(which.state);
    let found = app.backups.list(which.database.as_deref(), slice).await?;
    Ok(Listed(page.of_rows(found, |b| b.id, told)))
}

/// `POST /api/v1/databases/{name}/backups`: one for each database on the server; the job
/// is the first one's.
pub async fn now(
    State(app): State<App>,
    Path(name): Path<String>,
    telling: Telling,
) -> Result<Accepted<Listing<wire::Backup>>, Failure> {
    let made = app.backups.now(&name).await?;
    telling.rows("backups", made.iter().map(|backup| backup.id));
    let job = match made.first() {
        Some(first) => jobs::about(&app, "backup", "backup", first.id).await?,
        None => None,
    };
    let items = made.into_iter().map(told).collect();
    Ok(Accepted::new(Listing { items, next: None }, job))
}

/// `GET /api/v1/backups/{id}`
pub async fn show(
    State(app): State<App>,
    Path(id): Path<i64>,
) -> Result<Json<wire::Backup>, Failure> {
    Ok(Json(told(app.backups.find(id).await?)))
}

/// `POST /api/v1/backups/{id}/verify`: unpacked to its last byte, into nothing.
pub async fn verify(
    State(app): State<App>,
    Path(id): Path<i64>,
) -> Result<Accepted<wire::Backup>, Failure> {
    let backup = app.backups.verify(id).await?;
    let job = jobs::about(&app, "backup.check", "backup", id).await?;
    Ok(Accepted::new(told(backup), job))
}

/// `POST /api/v1/backups/{id}/restore`
pub async fn restore(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<i64>,
    telling: Telling,
    Input(ask): Input<wire::AskRestore>,
) -> Result<Accepted<wire::Restore>, Failure> {
    let restore = restores::ask(&app, &caller, &telling, (id, ask.into.as_deref())).await?;
    let job = jobs::about(&app, "restore", "restore", restore.id).await?;
    Ok(Accepted::new(told_restore(restore), job))
}

/// `GET /api/v1/backups/{id}/download`: the dump as `pg_dump` wrote it.
pub async fn download(State(app): State<App>, Path(id): Path<i64>) -> Result<As<Dump>, Failure> {
    Ok(As::new(downloads::dump(&app, id).await?))
}

/// `GET /api/v1/restores`
pub async fn restores(
    State(app): State<App>,
    Query(which): Query<Which>,
    page: Page,
) -> Result<Listed<wire::Restore>, Failure> {
    let server = match which.database {
        Some(name) => Some(app.databases.find(&name).await?.id),
        None => None,
    };
    let slice = page.slice(which.state);
    let found = app.backups.restores(server, slice).await?;
    Ok(Listed(page.of_rows(found, |r| r.id, told_restore)))
}

/// `GET /api/v1/restores/{id}`
pub async fn show_restore(
    State(app): State<App>,
    Path(id): Path<i64>,
) -> Result<Json<wire::Restore>, Failure> {
    Ok(Json(told_restore(app.backups.find_restore(id).await?)))
}

/// `POST /api/v1/restores/{id}/confirm`: the old database goes.
pub async fn confirm(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<i64>,
) -> Result<Accepted<wire::Restore>, Failure> {
    let restore = app.backups.confirm(id, &caller.who()).await?;
    let job = jobs::about(&app, "restore.confirm", "restore", id).await?;
    Ok(Accepted::new(told_restore(restore), job))
}
