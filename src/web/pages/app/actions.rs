//! What can be done to an app as a whole: deploy, go back, cancel, restart, stop, start, remove.

use axum::Form;
use axum::extract::{Path, State};
use axum::response::Response;
use serde::Deserialize;

use super::act::Act;
use super::head::{AppHead, Tab};
use crate::deploy::{Cause, DeployError, NewDeploy, Source};
use crate::web::audit::Telling;
use crate::web::error::Failure;
use crate::web::pages::confirm;
use crate::web::pages::frame::Section;
use crate::web::pages::see;
use crate::web::pages::visit::{self, Visit};
use crate::web::services::App;

/// What is to be deployed; nothing given is the newest commit of the app's own branch.
#[derive(Default, Deserialize)]
pub struct Wanted {
    /// A branch or a whole commit id.
    #[serde(default)]
    reference: String,
    #[serde(default)]
    image: String,
    /// Built though an image of the commit is kept.
    #[serde(default)]
    rebuild: bool,
    /// A deploy to do again.
    #[serde(default)]
    again: Option<i64>,
}

/// `POST /apps/{app}/deploys`
pub async fn deploy(
    State(app): State<App>,
    act: Act,
    Form(wanted): Form<Wanted>,
) -> Result<Response, Failure> {
    let source = match source(&app, act.row.id, &wanted).await {
        Ok(source) => source,
        Err(failure) => return visit::refused(&act.page("/deploys"), failure),
    };
    begin(&app, &act, source).await
}

/// Begins the deploy that a person asked for.
pub(super) async fn begin(app: &App, act: &Act, source: Source) -> Result<Response, Failure> {
    let new = NewDeploy {
        app: act.row.id,
        source,
        cause: Cause::Person,
        by: act.by.clone(),
        delivery: None,
        title: None,
    };
    let result = app.deploys.create(new, act.now).await;
    begun(act, result)
}

/// To the page of the deploy that was begun, or back with why none was.
///
/// # Errors
/// Faults of ours and of what is outside.
pub fn begun(act: &Act, deploy: Result<i64, DeployError>) -> Result<Response, Failure> {
    match deploy {
        Ok(id) => Ok(see(&act.page(&format!("/deploys/{id}")))),
        Err(error) => visit::refused(&act.page("/deploys"), error),
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
    let reference = Some(wanted.reference.trim()).filter(|given| !given.is_empty());
    let source = Source::of_git(own.remote.url, own.branch, reference);
    let source = source.map_err(|e| DeployError::Invalid(e.to_string()))?;
    Ok(source.rebuilt(wanted.rebuild))
}

/// A release to go back to.
#[derive(Deserialize)]
pub struct Back {
    release: Option<i64>,
}

/// `POST /apps/{app}/rollback`
pub async fn rollback(
    State(app): State<App>,
    act: Act,
    Form(back): Form<Back>,
) -> Result<Response, Failure> {
    let (row, release) = (act.row.id, back.release);
    let result = app.deploys.rollback(row, release, &act.by, act.now).await;
    begun(&act, result)
}

/// `POST /apps/{app}/deploys/{id}/cancel`
pub async fn cancel(
    State(app): State<App>,
    act: Act,
    Path((_, id)): Path<(String, i64)>,
) -> Result<Response, Failure> {
    let deploy = app.deploys.get(act.row.id, id).await?;
    let result = app.deploys.cancel(deploy.id, &act.by, act.now).await;
    let page = act.page(&format!("/deploys/{id}"));
    visit::back(&page, result, "The deploy is being cancelled.")
}

/// `POST /apps/{app}/restart`
pub async fn restart(State(app): State<App>, act: Act) -> Result<Response, Failure> {
    let result = app.deploys.restart(act.row.id, &act.by, act.now).await;
    let text = "Restarting: new replicas take over from the old ones.";
    visit::back(&act.page("/deploys"), result, text)
}

/// `POST /apps/{app}/stop`
pub async fn stop(State(app): State<App>, act: Act) -> Result<Response, Failure> {
    let result = app.deploys.stop(act.row.id, &act.by, act.now).await;
    let text = "The app is stopped. Its addresses answer 503 until it is started.";
    visit::back(&act.page(""), result, text)
}

/// `POST /apps/{app}/start`
pub async fn start(State(app): State<App>, act: Act) -> Result<Response, Failure> {
    let result = app.deploys.start_app(act.row.id, &act.by, act.now).await;
    visit::back(&act.page(""), result, "The app is starting.")
}

async fn question(
    app: &App,
    visit: Visit,
    name: &str,
    (volumes, wrong): (bool, bool),
) -> Result<Response, Failure> {
    let (_, head) = AppHead::load(app, name, Tab::Settings).await?;
    let view = confirm::View {
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
                "Its volumes stay, unless you tick below that they go too.".to_owned(),
                false,
            ),
            ("Databases and their backups stay.".to_owned(), false),
        ],
        action: format!("/apps/{}/remove", head.name),
        hidden: Vec::new(),
        also: Some(confirm::Also {
            name: "volumes",
            label: "Also delete its volumes, with what is in them".to_owned(),
            ticked: volumes,
        }),
        typed: confirm::typed(&head.name, wrong),
        button: format!("Remove {}", head.name),
        back: format!("/apps/{}/settings", head.name),
    };
    Ok(view.shown(wrong))
}

/// `GET /apps/{app}/remove`
pub async fn ask_removal(
    State(app): State<App>,
    visit: Visit,
    Path(name): Path<String>,
) -> Result<Response, Failure> {
    question(&app, visit, &name, (false, false)).await
}

/// The name again, and whether the volumes go too: as everywhere, they stay unless somebody says so.
#[derive(Deserialize)]
pub struct Removal {
    #[serde(flatten)]
    answer: confirm::Answer,
    /// There when it was ticked.
    volumes: Option<String>,
}

/// `POST /apps/{app}/remove`
pub async fn remove(
    State(app): State<App>,
    visit: Visit,
    act: Act,
    telling: Telling,
    Form(removal): Form<Removal>,
) -> Result<Response, Failure> {
    let name = act.row.name.as_str();
    let volumes = removal.volumes.is_some();
    if !removal.answer.is(name) {
        return question(&app, visit, name, (volumes, true)).await;
    }
    let (row, by) = (act.row.id, &act.by);
    app.apps.begin_removal(row, volumes, by, act.now).await?;
    let result = app.deploys.remove(row, by).await;
    if result.is_ok() {
        telling.volumes(volumes);
    }
    visit::back("/", result, &format!("{name} is being removed."))
}
