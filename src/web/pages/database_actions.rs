//! What can be done to a database: attach, detach, back up, restore, remove.

use axum::Form;
use axum::extract::{Path, State};
use axum::response::Response;
use serde::Deserialize;

use super::frame::Section;
use super::visit::{self, Visit};
use super::{confirm, words};
use crate::backup::{Backup, BackupError};
use crate::postgres::Attached;
use crate::web::audit::Telling;
use crate::web::downloads;
use crate::web::error::Failure;
use crate::web::restores;
use crate::web::services::App;

/// An app.
#[derive(Deserialize)]
pub struct Who {
    app: String,
    /// The variable; the usual one when empty.
    #[serde(default)]
    env_name: String,
}

/// `POST /databases/{database}/attach`
pub async fn attach(
    State(app): State<App>,
    visit: Visit,
    Path(name): Path<String>,
    Form(who): Form<Who>,
) -> Result<Response, Failure> {
    let page = format!("/databases/{name}");
    attach_to(&app, visit, (&name, &who.app, &who.env_name), &page).await
}

/// A database.
#[derive(Deserialize)]
pub struct Which {
    database: String,
    /// The variable; the usual one when empty.
    #[serde(default)]
    env_name: String,
}

/// `POST /apps/{app}/attach`
pub async fn attach_from_app(
    State(app): State<App>,
    visit: Visit,
    Path(name): Path<String>,
    Form(which): Form<Which>,
) -> Result<Response, Failure> {
    let page = format!("/apps/{name}/env");
    let wanted = (which.database.as_str(), name.as_str(), &*which.env_name);
    attach_to(&app, visit, wanted, &page).await
}

async fn attach_to(
    app: &App,
    visit: Visit,
    (database, name, env_name): (&str, &str, &str),
    page: &str,
) -> Result<Response, Failure> {
    let (row, by) = (app.apps.find(name).await?, visit.caller.who());
    let env_name = Some(env_name.trim()).filter(|given| !given.is_empty());
    let attached = app
        .databases
        .attach(database, row.id, row.name.as_str(), env_name, &by)
        .await;
    let text = match &attached {
        Ok(Attached { changed: false, .. }) => {
            format!("{name} was attached to {database} before; nothing is different.")
        }
        Ok(Attached { link, .. }) => format!(
            "{name} is being attached to {database} as {}; where it is live, a deploy brings it.",
            link.env_name
        ),
        Err(_) => String::new(),
    };
    visit::back(page, attached, &text)
}

/// `POST /databases/{database}/detach`
pub async fn detach(
    State(app): State<App>,
    visit: Visit,
    Path(name): Path<String>,
    Form(who): Form<Who>,
) -> Result<Response, Failure> {
    let (row, by) = (app.apps.find(&who.app).await?, visit.caller.who());
    let page = format!("/databases/{name}");
    let result = app.databases.detach(&name, row.id, &by).await;
    let text = format!(
        "{} is being detached; where it is live, a deploy takes the variable from it. Its data stays in {name}.",
        who.app
    );
    visit::back(&page, result, &text)
}

/// `POST /databases/{database}/backups`
pub async fn back_up(
    State(app): State<App>,
    Path(name): Path<String>,
    telling: Telling,
) -> Result<Response, Failure> {
    let result = app.backups.now(&name).await;
    if let Ok(made) = &result {
        telling.rows("backups", made.iter().map(|backup| backup.id));
    }
    visit::back(
        &format!("/databases/{name}#backups"),
        result,
        &format!("A backup of {name} is begun; it appears below."),
    )
}

/// A backup of the database in the path; another's is not there.
async fn backup_of(app: &App, name: &str, id: i64) -> Result<Backup, Failure> {
    let (database, backup) = (app.databases.find(name).await?, app.backups.find(id).await?);
    match backup.database == database.id {
        true => Ok(backup),
        false => Err(BackupError::NotFound(id).into()),
    }
}

/// `POST /databases/{database}/backups/{backup}/verify`
pub async fn verify(
    State(app): State<App>,
    Path((name, id)): Path<(String, i64)>,
) -> Result<Response, Failure> {
    let backup = backup_of(&app, &name, id).await?;
    visit::back(
        &format!("/databases/{name}#backups"),
        app.backups.verify(id).await,
        &format!(
            "The backup of {} is unpacked to its last byte; what was found appears below.",
            backup.logical
        ),
    )
}

/// `GET /databases/{database}/backups/{backup}/download`
pub async fn download(
    State(app): State<App>,
    Path((name, id)): Path<(String, i64)>,
) -> Result<Response, Failure> {
    backup_of(&app, &name, id).await?;
    downloads::dump(&app, id).await
}

fn question(visit: Visit, name: &str, title: String) -> confirm::View {
    let page = format!("/databases/{name}");
    confirm::View {
        frame: visit
            .frame()
            .titled(title.clone(), Section::Databases)
            .under("/databases", "Databases")
            .under(&page, name),
        button: title.clone(),
        title,
        lead: String::new(),
        consequences: Vec::new(),
        action: String::new(),
        hidden: Vec::new(),
        also: None,
        typed: confirm::typed(name, false),
        back: page,
    }
}

async fn restore_question(
    app: &App,
    visit: Visit,
    name: &str,
    id: i64,
    wrong: bool,
) -> Result<Response, Failure> {
    app.databases.find(name).await?;
    let backup = app.backups.find(id).await?;
    let at = words::date_time(backup.finished.unwrap_or(backup.created));
    let mut view = question(visit, name, format!("Restore {}", backup.logical));
    view.lead = format!(
        "{} of {at} is read into a new database beside the live one, compared, and then takes its name.",
        backup.logical
    );
    view.consequences = vec![
        (
            format!(
                "What was written to {} after {at} is not in it.",
                backup.logical
            ),
            true,
        ),
        (
            "The database of now is kept under another name until you drop it.".to_owned(),
            false,
        ),
        (
            "Requests wait for the moment of the swap; none fails.".to_owned(),
            false,
        ),
    ];
    view.action = format!("/databases/{name}/restore/{id}");
    view.typed = confirm::typed(&backup.logical, wrong);
    Ok(view.shown(wrong))
}

/// `GET /databases/{database}/restore/{backup}`
pub async fn ask_restore(
    State(app): State<App>,
    visit: Visit,
    Path((name, id)): Path<(String, i64)>,
) -> Result<Response, Failure> {
    restore_question(&app, visit, &name, id, false).await
}

/// `POST /databases/{database}/restore/{backup}`
pub async fn restore(
    State(app): State<App>,
    visit: Visit,
    Path((name, id)): Path<(String, i64)>,
    telling: Telling,
    Form(answer): Form<confirm::Answer>,
) -> Result<Response, Failure> {
    let backup = app.backups.find(id).await?;
    if !answer.is(&backup.logical) {
        return restore_question(&app, visit, &name, id, true).await;
    }
    let result = restores::ask(&app, &visit.caller, &telling, (id, Some(&name))).await;
    visit::back(
        &format!("/databases/{name}#restores-h"),
        result,
        &format!("{} is being restored; follow it below.", backup.logical),
    )
}

async fn drop_question(
    app: &App,
    visit: Visit,
    name: &str,
    id: i64,
    wrong: bool,
) -> Result<Response, Failure> {
    app.databases.find(name).await?;
    let restore = app.backups.find_restore(id).await?;
    let mut view = question(visit, name, format!("Drop {}", restore.kept));
    view.lead = format!(
        "{} is what {} was before the restore. This cannot be undone.",
        restore.kept, restore.logical
    );
    view.consequences = vec![
        (
            format!("{} is deleted with all its rows.", restore.kept),
            true,
        ),
        (format!("{} stays as it is.", restore.logical), false),
    ];
    view.action = format!("/databases/{name}/restores/{id}/confirm");
    view.typed = confirm::typed(&restore.kept, wrong);
    Ok(view.shown(wrong))
}

/// `GET /databases/{database}/restores/{restore}/confirm`
pub async fn ask_drop(
    State(app): State<App>,
    visit: Visit,
    Path((name, id)): Path<(String, i64)>,
) -> Result<Response, Failure> {
    drop_question(&app, visit, &name, id, false).await
}

/// `POST /databases/{database}/restores/{restore}/confirm`
pub async fn drop_old(
    State(app): State<App>,
    visit: Visit,
    Path((name, id)): Path<(String, i64)>,
    Form(answer): Form<confirm::Answer>,
) -> Result<Response, Failure> {
    let restore = app.backups.find_restore(id).await?;
    if !answer.is(&restore.kept) {
        return drop_question(&app, visit, &name, id, true).await;
    }
    let result = app.backups.confirm(id, &visit.caller.who()).await;
    visit::back(
        &format!("/databases/{name}"),
        result,
        &format!("{} is being dropped.", restore.kept),
    )
}

async fn removal_question(
    app: &App,
    visit: Visit,
    name: &str,
    wrong: bool,
) -> Result<Response, Failure> {
    app.databases.find(name).await?;
    let mut view = question(visit, name, format!("Remove {name}"));
    view.lead = format!("The server {name} is stopped and removed. This cannot be undone.");
    view.consequences = vec![
        (
            "Its volume with every database on it is deleted.".to_owned(),
            true,
        ),
        ("Its backups stay where they are.".to_owned(), false),
    ];
    view.action = format!("/databases/{name}/remove");
    view.typed = confirm::typed(name, wrong);
    Ok(view.shown(wrong))
}

/// `GET /databases/{database}/remove`
pub async fn ask_removal(
    State(app): State<App>,
    visit: Visit,
    Path(name): Path<String>,
) -> Result<Response, Failure> {
    removal_question(&app, visit, &name, false).await
}

/// `POST /databases/{database}/remove`
pub async fn remove(
    State(app): State<App>,
    visit: Visit,
    Path(name): Path<String>,
    Form(answer): Form<confirm::Answer>,
) -> Result<Response, Failure> {
    if !answer.is(&name) {
        return removal_question(&app, visit, &name, true).await;
    }
    match app
        .databases
        .remove(&name, &name, &visit.caller.who())
        .await
    {
        Ok(()) => Ok(visit::done(
            "/databases",
            &format!("{name} is being removed."),
        )),
        Err(error) => visit::refused(&format!("/databases/{name}"), error),
    }
}
