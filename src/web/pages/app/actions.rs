//! What can be done to an app as a whole: deploy, go back, cancel, restart, stop, start, remove.

use axum::Form;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::head::{AppHead, Tab};
use crate::base::clock::UnixMs;
use crate::deploy::{Cause, DeployError, NewDeploy, Source};
use crate::git::Branch;
use crate::web::error::Failure;
use crate::web::pages::confirm;
use crate::web::pages::frame::Section;
use crate::web::pages::visit::{self, Visit};
use crate::web::services::App;

/// What is to be deployed; nothing given is the newest commit of the app's own branch.
#[derive(Default, Deserialize)]
pub struct Wanted {
    #[serde(default)]
    branch: String,
    #[serde(default)]
    image: String,
    /// A deploy to do again.
    #[serde(default)]
    again: Option<i64>,
}

/// `POST /apps/{app}/deploys`
pub async fn deploy(
    State(app): State<App>,
    visit: Visit,
    Path(name): Path<String>,
    Form(wanted): Form<Wanted>,
) -> Result<Response, Failure> {
    let row = app.apps.find(&name).await?;
    let page = format!("/apps/{name}/deploys");
    let source = match source(&app, row.id, &wanted).await {
        Ok(source) => source,
        Err(failure) => return visit::back::<(), _>(&page, Err(failure), ""),
    };
    let new = NewDeploy {
        app: row.id,
        source,
        cause: Cause::Person,
        by: visit.caller.who(),
        delivery: None,
        title: None,
    };
    match app.deploys.create(new, UnixMs::now()).await {
        Ok(id) => Ok(crate::web::pages::see(&format!("{page}/{id}"))),
        Err(error) => visit::back::<(), _>(&page, Err(error), ""),
    }
}

async fn source(app: &App, row: i64, wanted: &Wanted) -> Result<Source, Failure> {
    if let Some(id) = wanted.again {
        return Ok(app.deploys.get(row, id).await?.source);
    }
    let image = wanted.image.trim();
    if !image.is_empty() {
        return Ok(Source::Image {
            reference: image.to_owned(),
        });
    }
    let own = app.apps.git(row).await?.ok_or_else(|| {
        DeployError::Invalid(
            "the app has no repository: set one in its settings, or deploy an image".to_owned(),
        )
    })?;
    Ok(Source::Git {
        url: own.remote.url,
        branch: match wanted.branch.trim() {
            "" => own.branch,
            other => Branch::parse(other).map_err(|e| DeployError::Invalid(e.to_string()))?,
        },
        commit: None,
    })
}

/// A release to go back to.
#[derive(Deserialize)]
pub struct Back {
    release: Option<i64>,
}

/// `POST /apps/{app}/rollback`
pub async fn rollback(
    State(app): State<App>,
    visit: Visit,
    Path(name): Path<String>,
    Form(back): Form<Back>,
) -> Result<Response, Failure> {
    let row = app.apps.find(&name).await?;
    let (by, now) = (visit.caller.who(), UnixMs::now());
    let page = format!("/apps/{name}/deploys");
    match app.deploys.rollback(row.id, back.release, &by, now).await {
        Ok(id) => Ok(crate::web::pages::see(&format!("{page}/{id}"))),
        Err(error) => visit::back::<(), _>(&page, Err(error), ""),
    }
}

/// `POST /apps/{app}/deploys/{id}/cancel`
pub async fn cancel(
    State(app): State<App>,
    visit: Visit,
    Path((name, id)): Path<(String, i64)>,
) -> Result<Response, Failure> {
    let row = app.apps.find(&name).await?;
    let deploy = app.deploys.get(row.id, id).await?;
    let by = visit.caller.who();
    let result = app.deploys.cancel(deploy.id, &by, UnixMs::now()).await;
    visit::back(
        &format!("/apps/{name}/deploys/{id}"),
        result,
        "The deploy is being cancelled.",
    )
}

/// `POST /apps/{app}/restart`
pub async fn restart(
    State(app): State<App>,
    visit: Visit,
    Path(name): Path<String>,
) -> Result<Response, Failure> {
    let row = app.apps.find(&name).await?;
    let by = visit.caller.who();
    let result = app.deploys.restart(row.id, &by, UnixMs::now()).await;
    visit::back(
        &format!("/apps/{name}/deploys"),
        result,
        "Restarting: new replicas take over from the old ones.",
    )
}

/// `POST /apps/{app}/stop`
pub async fn stop(
    State(app): State<App>,
    visit: Visit,
    Path(name): Path<String>,
) -> Result<Response, Failure> {
    let row = app.apps.find(&name).await?;
    let by = visit.caller.who();
    let result = app.deploys.stop(row.id, &by, UnixMs::now()).await;
    visit::back(
        &format!("/apps/{name}"),
        result,
        "The app is stopped. Its addresses answer 503 until it is started.",
    )
}

/// `POST /apps/{app}/start`
pub async fn start(
    State(app): State<App>,
    visit: Visit,
    Path(name): Path<String>,
) -> Result<Response, Failure> {
    let row = app.apps.find(&name).await?;
    let by = visit.caller.who();
    let result = app.deploys.start_app(row.id, &by, UnixMs::now()).await;
    visit::back(&format!("/apps/{name}"), result, "The app is starting.")
}

async fn question(
    app: &App,
    visit: Visit,
    name: &str,
    wrong: bool,
) -> Result<confirm::View, Failure> {
    let (_, head) = AppHead::load(app, name, Tab::Settings).await?;
    Ok(confirm::View {
        frame: visit
            .frame()
            .titled(format!("Remove {}", head.name), Section::Overview)
            .under("/", "Apps")
            .under(format!("/apps/{}", head.name), head.name.clone()),
        title: format!("Remove {}", head.name),
        lead: format!(
            "{} stops answering at once. This cannot be undone.",
            head.name
        ),
        consequences: vec![
            (
                "Its releases, variables, domains and figures are deleted.".to_owned(),
                true,
            ),
            (
                "Its volumes are deleted with what is in them.".to_owned(),
                true,
            ),
            ("Databases and their backups stay.".to_owned(), false),
        ],
        action: format!("/apps/{}/remove", head.name),
        hidden: Vec::new(),
        typed: confirm::typed(&head.name, wrong),
        button: format!("Remove {}", head.name),
        back: format!("/apps/{}/settings", head.name),
    })
}

/// `GET /apps/{app}/remove`
pub async fn ask_removal(
    State(app): State<App>,
    visit: Visit,
    Path(name): Path<String>,
) -> Result<Response, Failure> {
    let view = question(&app, visit, &name, false).await?;
    Ok(crate::web::pages::render(&view))
}

/// `POST /apps/{app}/remove`
pub async fn remove(
    State(app): State<App>,
    visit: Visit,
    Path(name): Path<String>,
    Form(answer): Form<confirm::Answer>,
) -> Result<Response, Failure> {
    let row = app.apps.find(&name).await?;
    if !answer.is(&name) {
        let view = question(&app, visit, &name, true).await?;
        let page = crate::web::pages::render(&view);
        return Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response());
    }
    let (by, now) = (visit.caller.who(), UnixMs::now());
    app.apps.begin_removal(row.id, &by, now).await?;
    let result = app.deploys.remove(row.id, true, &by, now).await;
    visit::back("/", result, &format!("{name} is being removed."))
}
