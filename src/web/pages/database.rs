//! `/databases/{name}`: one database, its backups and the way back.

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use serde::Deserialize;

use super::frame::{Frame, Section, Theme};
use super::parts::{Badge, Field, Older, When};
use super::visit::Visit;
use super::{backup_words, databases, words};
use crate::backup;
use crate::base::clock::UnixMs;
use crate::postgres;
use crate::web::error::Failure;
use crate::web::page::Page;
use crate::web::services::App;

/// The page.
#[derive(Clone, Debug, Template)]
#[template(path = "database.html")]
pub struct View {
    /// What stands around it.
    pub frame: Frame,
    /// The database.
    pub name: String,
    /// Running, starting, failing.
    pub state: Badge,
    /// Why it does not run, and what to do.
    pub fault: String,
    /// Name, value, note.
    pub tiles: Vec<(String, String, String)>,
    /// When the server said its size and connections.
    pub as_of: Option<When>,
    /// Why nothing newer is known of them.
    pub silent: String,
    /// "Every day at 02:17; next in 19 h; 7 daily, 4 weekly, 12 monthly kept".
    pub schedule: String,
    /// Newest first.
    pub backups: Vec<Backup>,
    /// To those before.
    pub older_backups: Older,
    /// Newest first.
    pub restores: Vec<Restore>,
    /// To those before.
    pub older_restores: Older,
    /// Name, and role or database there.
    pub apps: Vec<(String, String)>,
    /// Apps that could be attached.
    pub attach: Field,
    /// The variable it would find its URL in.
    pub attach_as: Field,
}

/// A backup.
#[derive(Clone, Debug)]
pub struct Backup {
    /// Its number.
    pub id: i64,
    /// When it was made.
    pub at: When,
    /// The same in words, for the button's name.
    pub label: String,
    /// The database on the server.
    pub logical: String,
    /// Running, stored, proven, failed.
    pub state: Badge,
    /// Why it failed.
    pub note: String,
    /// The target.
    pub target: String,
    /// Of the dump.
    pub size: String,
    /// How long it ran.
    pub took: String,
    /// The first digits.
    pub sha256: String,
    /// Stored or proven.
    pub restorable: bool,
}

/// A restore.
#[derive(Clone, Debug)]
pub struct Restore {
    /// "backup of 21 Nov, 02:17; the old database is kept as main_before_3".
    pub what: String,
    /// How far it is.
    pub state: Badge,
    /// When it began.
    pub at: When,
    /// Its number, while the database before it is kept.
    pub keeps: Option<i64>,
}

/// From where on each list is shown.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Cursor {
    after: String,
    restores_after: String,
}

/// `GET /databases/{database}`
pub async fn show(
    State(app): State<App>,
    visit: Visit,
    Path(name): Path<String>,
    Query(from): Query<Cursor>,
) -> Result<Response, Failure> {
    let now = UnixMs::now();
    let database = app.databases.find(&name).await?;
    let attached = app.databases.attached(database.id).await?;
    let page = Page::of_cursor(&from.after)?;
    let found = app.backups.list_of(Some(database.id), page.slice(None));
    let backups = page.of_rows(found.await?, |b| b.id, |b| line(&b, now));
    let page = Page::of_cursor(&from.restores_after)?;
    let found = app.backups.restores(Some(database.id), page.slice(None));
    let restores = page.of_rows(found.await?, |r| r.id, |r| restore(&r, now));
    let place = |part: &str| format!("/databases/{}#{part}", database.name);
    let schedule = app.backups.schedule(database.id).await?;
    let seen = databases::seen(&app, &database, now);
    let inside = seen.as_ref().and_then(|seen| seen.said.as_ref());
    let apps = app.apps.list().await?;
    // One that failed can be tried again.
    let held = attached
        .iter()
        .filter(|link| link.state != postgres::Link::Failed);
    let uses: Vec<i64> = held.map(|link| link.app).collect();
    let choices = apps
        .iter()
        .filter(|a| !a.removing && !uses.contains(&a.id))
        .map(|a| (a.name.to_string(), a.name.to_string()))
        .collect();
    Ok(super::render(&View {
        frame: visit
            .frame()
            .titled(database.name.to_string(), Section::Databases)
            .under("/databases", "Databases")
            .refreshed(4),
        name: database.name.to_string(),
        state: databases::state(&database),
        fault: database.reason.clone().unwrap_or_default(),
        tiles: tiles(&database, inside),
        as_of: inside.map(|i| When::ago(i.at, now)),
        silent: seen.as_ref().and_then(|s| s.why()).unwrap_or_default(),
        schedule: format!(
            "Every day at {:02}:{:02}, next {}",
            schedule.minute / 60,
            schedule.minute % 60,
            words::until(schedule.next_due, now)
        ),
        backups: backups.items,
        older_backups: Older::of(
            (&place("backups"), "after"),
            "backups",
            &from.after,
            backups.next,
        ),
        restores: restores.items,
        older_restores: Older::of(
            (&place("restores-h"), "restores_after"),
            "restores",
            &from.restores_after,
            restores.next,
        ),
        apps: attached
            .into_iter()
            .map(|link| {
                let what = format!("as {}, role {}{}", link.env_name, link.role, way(&link));
                (link.app_name, what)
            })
            .collect(),
        attach: Field::choice("app", "App", choices),
        attach_as: attach_as(),
    }))
}

/// The variable that an app finds its URL in.
pub fn attach_as() -> Field {
    Field::code("env_name", "Variable").like(postgres::DATABASE_URL)
}

/// What stands between an attachment and its use; nothing once it is made.
pub fn way(link: &postgres::Attachment) -> String {
    match (link.state, &link.reason) {
        (postgres::Link::Attached, _) => String::new(),
        (postgres::Link::Attaching, _) => "; attaching".to_owned(),
        (postgres::Link::Detaching, _) => "; detaching".to_owned(),
        (postgres::Link::Failed, Some(why)) => format!("; failed: {why}"),
        (postgres::Link::Failed, None) => "; failed".to_owned(),
    }
}

fn tiles(
    database: &postgres::Database,
    inside: Option<&postgres::Inside>,
) -> Vec<(String, String, String)> {
    let tile = |name: &str, value: String, note: String| (name.to_owned(), value, note);
    let dash = || "–".to_owned();
    vec![
        tile(
            "Version",
            databases::version(database),
            database.image.clone(),
        ),
        tile(
            "Size",
            inside.map_or_else(dash, |i| words::bytes(i.size_bytes)),
            inside.map_or_else(String::new, |i| words::count(i.logical.len(), "database")),
        ),
        tile(
            "Connections",
            inside.map_or_else(dash, |i| i.connections.to_string()),
            inside.map_or_else(String::new, |i| format!("of {}", i.max_connections)),
        ),
        tile(
            "Memory limit",
            words::bytes(database.memory_bytes),
            String::new(),
        ),
    ]
}

fn line(backup: &backup::Backup, now: UnixMs) -> Backup {
    let at = backup.finished.or(backup.started).unwrap_or(backup.created);
    Backup {
        id: backup.id,
        at: When::ago(at, now),
        label: format!("{}, {}", backup.logical, words::date_time(at)),
        logical: backup.logical.clone(),
        state: backup_words::badge(backup),
        note: backup_words::note(backup, now),
        target: backup.place().to_owned(),
        size: backup.size_bytes.map_or_else(String::new, words::bytes),
        took: backup_words::took(backup),
        sha256: backup
            .sha256
            .as_deref()
            .map_or_else(String::new, |hash| hash.chars().take(12).collect()),
        restorable: backup.state == backup::BackupState::Stored,
    }
}

fn restore(restore: &backup::Restore, now: UnixMs) -> Restore {
    let done = restore.state == backup::RestoreState::Done;
    let kept = match (done, restore.confirmed, &restore.reason) {
        (true, None, _) => format!(" The one before it is kept as {}.", restore.kept),
        (true, Some(_), _) => " The one before it was dropped.".to_owned(),
        (false, _, Some(reason)) => format!(" {reason}"),
        (false, _, None) => String::new(),
    };
    Restore {
        what: format!("{} from backup {}.{kept}", restore.logical, restore.backup),
        state: backup_words::restore_badge(restore),
        at: When::ago(restore.created, now),
        keeps: (done && restore.confirmed.is_none()).then_some(restore.id),
    }
}
