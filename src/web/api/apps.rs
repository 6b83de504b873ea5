//! Apps: made, shown, changed, stopped, removed.

use axum::Json;
use axum::extract::{Extension, State};
use schemars::{JsonSchema, Schema};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::apps::{self, AppError, NewApp, RegistryLogin, SourceChange};
use crate::base::clock::UnixMs;
use crate::base::ids::AppName;
use crate::base::secret::Secret;
use crate::deploy::{Deploy, Serving};
use crate::git::{Branch, GitUrl};
use crate::monitor::Usages;
use crate::supervise::{Kind, Live, State as Container};
use crate::web::answer::{Accepted, AcceptedIf, Created, Listed};
use crate::web::audit::Telling;
use crate::web::caller::Caller;
use crate::web::error::Failure;
use crate::web::input::{Input, Path, Query};
use crate::web::jobs;
use crate::web::page::{Names, has};
use crate::web::replicas;
use crate::web::services::App;
use crate::wire::apps::{
    AppDetail, AppForm, AppSummary, Changed, Removal, Replica, Scale, Webhook, WebhookSecret,
};
use crate::wire::databases::Removing;
use crate::wire::problem::ProblemKind;
use crate::wire::routes::Routes;

/// Which apps.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Which {
    /// Only those in this state.
    state: Option<String>,
    /// Only those with this in their name or a domain.
    q: Option<String>,
}

/// `GET /api/v1/apps`
pub async fn list(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Query(which): Query<Which>,
    page: Names,
) -> Result<Listed<AppSummary>, Failure> {
    let mut all = app.apps.list().await?;
    all.retain(|row| caller.sees_app(row.name.as_str()));
    let routes = app.apps.routes(None).await?;
    let serving = app.deploys.serving().await?;
    let last = app.deploys.last_of_each().await?;
    let live = app.live.borrow().clone();
    let summaries = all.iter().map(|row| {
        let domains = routes.iter().filter(|r| r.app == row.id);
        summary(
            row,
            domains.map(|r| r.domain.to_string()).collect(),
            serving.iter().find(|s| s.app == row.id),
            last.iter().find(|d| d.app == row.id),
            &live,
        )
    });
    let q = which.q.as_deref();
    let wanted = summaries.filter(|app| {
        which.state.as_ref().is_none_or(|state| *state == app.state)
            && (has(&app.name, q) || app.domains.iter().any(|domain| has(domain, q)))
    });
    Ok(Listed(page.of(wanted.collect(), |app| &app.name)))
}

/// `GET /api/v1/apps/{app}`
pub async fn show(
    State(app): State<App>,
    Path(name): Path<String>,
) -> Result<Json<AppDetail>, Failure> {
    let row = app.apps.find(&name).await?;
    Ok(Json(detail(&app, row).await?))
}

async fn detail(app: &App, row: apps::App) -> Result<AppDetail, Failure> {
    let routes = app.apps.routes(Some(row.id)).await?;
    let serving = app.deploys.live(row.id).await?;
    let last = app.deploys.list(Some(row.id), 1).await?;
    let live = app.live.borrow().clone();
    let (usages, seen) = (app.monitor.usages(), app.monitor.routes());
    let scale = app.apps.scale(row.id).await?;
    let owner = row.subject();
    let replicas = live
        .iter()
        .filter(|l| l.owner == owner && l.kind == Kind::Replica);
    Ok(AppDetail {
        summary: summary(
            &row,
            routes.iter().map(|r| r.domain.to_string()).collect(),
            serving.as_ref(),
            last.first(),
            &live,
        ),
        webhook: Webhook {
            url: webhook_url(app, &row),
            mark: row.webhook_mark.clone(),
        },
        git_url: row.git_url,
        git_branch: row.branch,
        has_git_credentials: row.has_git_credentials,
        registry_host: row.registry_host,
        registry_user: row.registry_user,
        credentials_mark: row.credentials_mark,
        maintenance: row.maintenance,
        replicas: replicas.map(|l| replica(app, l, &usages, &seen)).collect(),
        maintenance_until_ms: row.maintenance_until.map(|at| at.0),
        scale: scale
            .into_iter()
            .map(|(process, s)| {
                let scale = Scale {
                    min: s.min,
                    max: s.max,
                    memory_bytes: s.memory_bytes,
                    nano_cpus: s.nano_cpus,
                };
                (process, scale)
            })
            .collect(),
    })
}

/// An app to be made: with its name.
#[derive(Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(transform = named)]
pub struct Made(AppForm);

fn named(schema: &mut Schema) {
    schema.insert("required".into(), json!(["name"]));
    if let Some(name) = schema.pointer_mut("/properties/name") {
        name["type"] = json!("string");
        name["pattern"] = json!("^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$");
    }
}

/// What to change of an app: it keeps its name.
#[derive(Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(transform = nameless)]
pub struct Change(AppForm);

fn nameless(schema: &mut Schema) {
    if let Some(Value::Object(fields)) = schema.pointer_mut("/properties") {
        fields.remove("name");
    }
}

/// `POST /api/v1/apps`
pub async fn create(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Input(Made(form)): Input<Made>,
) -> Result<Created<AppDetail>, Failure> {
    let name = form.name.clone().unwrap_or_default();
    let name = AppName::parse(&name).map_err(AppError::from)?;
    let source = source(form)?;
    let made = app
        .apps
        .create(NewApp { name, source }, &caller.who(), UnixMs::now())
        .await?;
    Ok(Created(detail(&app, made).await?))
}

/// `PATCH /api/v1/apps/{app}`: what is absent stays.
pub async fn change(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Input(Change(form)): Input<Change>,
) -> Result<Json<AppDetail>, Failure> {
    let row = app.apps.find(&name).await?;
    if form.name.is_some() {
        return Err(Failure::new(
            ProblemKind::Invalid,
            "an app keeps its name: make another one and remove this",
        ));
    }
    let change = source(form)?;
    app.apps
        .change_source(row.id, change, &caller.who(), UnixMs::now())
        .await?;
    let row = app.apps.find(&name).await?;
    Ok(Json(detail(&app, row).await?))
}

fn source(form: AppForm) -> Result<SourceChange, AppError> {
    let given = |text: &Option<String>| text.clone().filter(|t| !t.is_empty());
    let registry = match (form.registry_user, form.registry_password) {
        (Some(user), password) => Some(RegistryLogin {
            host: apps::registry_host(form.registry_host.as_deref().unwrap_or_default())?,
            user,
            password: password.unwrap_or_else(|| Secret::new("")),
        }),
        (None, Some(_)) => {
            return Err(AppError::Invalid(
                "a registry password needs the user's name too".into(),
            ));
        }
        (None, None) => None,
    };
    Ok(SourceChange {
        git_url: given(&form.git_url)
            .map(|url| GitUrl::parse(&url))
            .transpose()?,
        branch: given(&form.git_branch)
            .map(|branch| Branch::parse(&branch))
            .transpose()?,
        git_token: form.git_token,
        git_key: form.git_key,
        registry,
    })
}

/// `POST /api/v1/apps/{app}/stop`
pub async fn stop(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<Accepted<Changed>, Failure> {
    let row = app.apps.find(&name).await?;
    app.deploys
        .stop(row.id, &caller.who(), UnixMs::now())
        .await?;
    let changed = Changed {
        changed: true,
        deploy: None,
    };
    let job = jobs::about(&app, "app.replicas", "app", row.id).await?;
    Ok(Accepted::new(changed, job))
}

/// `POST /api/v1/apps/{app}/start`
pub async fn start(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<AcceptedIf<Changed>, Failure> {
    let row = app.apps.find(&name).await?;
    let deploy = app
        .deploys
        .start_app(row.id, &caller.who(), UnixMs::now())
        .await?;
    let changed = Changed {
        changed: deploy.is_some(),
        deploy,
    };
    let job = jobs::of_deploy(&app, changed.deploy).await?;
    Ok(AcceptedIf::new(changed, job))
}

/// `POST /api/v1/apps/{app}/restart`
pub async fn restart(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<Accepted<Changed>, Failure> {
    let row = app.apps.find(&name).await?;
    let deploy = app
        .deploys
        .restart(row.id, &caller.who(), UnixMs::now())
        .await?;
    let changed = Changed {
        changed: true,
        deploy: Some(deploy),
    };
    let job = jobs::of_deploy(&app, changed.deploy).await?;
    Ok(Accepted::new(changed, job))
}

/// `POST /api/v1/apps/{app}/webhook-secret`: a new secret. The old one ends with
/// this answer.
pub async fn replace_webhook_secret(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<Json<WebhookSecret>, Failure> {
    let row = app.apps.find(&name).await?;
    let (by, now) = (caller.who(), UnixMs::now());
    let secret = app.apps.replace_webhook_secret(row.id, &by, now).await?;
    let url = webhook_url(&app, &row);
    Ok(Json(WebhookSecret { url, secret }))
}

/// `POST /api/v1/apps/{app}/webhook-secret/reveal`: whoever knows it can deploy.
pub async fn reveal_webhook_secret(
    State(app): State<App>,
    Path(name): Path<String>,
    telling: Telling,
) -> Result<Json<WebhookSecret>, Failure> {
    let row = app.apps.find(&name).await?;
    let secret = app.apps.webhook_secret(row.id).await?;
    telling.names("shown", ["webhook_secret"].into_iter());
    let url = webhook_url(&app, &row);
    Ok(Json(WebhookSecret { url, secret }))
}

fn webhook_url(app: &App, row: &apps::App) -> String {
    format!("{}/hooks/{}", app.dashboard_url(), row.name)
}

/// `DELETE /api/v1/apps/{app}`: queued; the app is gone when it is shown no more.
pub async fn remove(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Query(how): Query<Removal>,
    telling: Telling,
) -> Result<Accepted<Removing>, Failure> {
    let row = app.apps.find(&name).await?;
    let (by, now) = (caller.who(), UnixMs::now());
    app.apps
        .begin_removal(row.id, how.volumes, &by, now)
        .await?;
    app.deploys.remove(row.id, &by).await?;
    telling.volumes(how.volumes);
    let removing = row.name.to_string();
    let job = jobs::about(&app, "app.remove", "app", row.id).await?;
    Ok(Accepted::new(Removing { removing }, job))
}

fn summary(
    row: &apps::App,
    domains: Vec<String>,
    serving: Option<&Serving>,
    last: Option<&Deploy>,
    live: &[Live],
) -> AppSummary {
    AppSummary {
        id: row.id,
        name: row.name.to_string(),
        state: state(row, serving, live).to_owned(),
        release: serving.map(|s| s.release),
        domains,
        last_deploy: last.map(|d| d.state.to_string()),
        created_ms: row.created.0,
    }
}

/// How an app is doing, in a few words.
fn state(row: &apps::App, serving: Option<&Serving>, live: &[Live]) -> &'static str {
    if row.removing {
        return "being removed";
    }
    let Some(serving) = serving else {
        return "not deployed";
    };
    if serving.stopped {
        return "stopped";
    }
    if row.maintenance {
        return "maintenance";
    }
    let mine: Vec<&Live> = live.iter().filter(|l| serving.has(&l.name)).collect();
    let healthy = mine.iter().filter(|l| l.is_healthy()).count();
    let starting = mine
        .iter()
        .any(|l| matches!(l.state, Container::Starting | Container::Waiting(_)));
    let wanted = serving.replicas.values().map(Vec::len).sum::<usize>();
    match healthy {
        n if n == wanted => "running",
        0 if starting => "starting",
        0 => "failing",
        _ => "partly running",
    }
}

fn replica(app: &App, live: &Live, usages: &Usages, seen: &Routes) -> Replica {
    let state = match &live.state {
        Container::Waiting(why) if why.is_empty() => "waiting".to_owned(),
        Container::Waiting(why) => format!("waiting: {why}"),
        Container::Refused(why) => format!("refused: {why}"),
        Container::Starting => "starting".to_owned(),
        Container::Healthy => "healthy".to_owned(),
        Container::Unhealthy(why) => format!("unhealthy: {why}"),
        Container::Exited(exit) => exit.to_string(),
        Container::Retiring => "stopping".to_owned(),
    };
    Replica {
        name: live.name.clone(),
        process: live.process.clone().unwrap_or_default(),
        release: live.release,
        state,
        restarts: live.restarts,
        started_ms: live.started.map(|s| s.0),
        usage: live
            .container_id
            .as_ref()
            .and_then(|id| Some(usages.get(id)?.usage)),
        left_out: replicas::left_out(seen, &live.name),
        deaths: replicas::deaths(app, live.row),
    }
}
