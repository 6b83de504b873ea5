//! Deploys: asked for, listed, followed, cancelled; releases gone back to.

use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, header};
use axum::response::sse::{Event as Message, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::base::clock::UnixMs;
use crate::deploy::hooks::Delivery;
use crate::deploy::{Cause, Deploy, NewDeploy, Site, Source};
use crate::git::{Branch, GitUrl};
use crate::web::answer::{Accepted, As, DeployLog, Listed};
use crate::web::caller::Caller;
use crate::web::error::Failure;
use crate::web::input::{Input, Path, Query};
use crate::web::jobs;
use crate::web::page::Page;
use crate::web::services::App;
use crate::wire::deploys::{self as wire, DeployForm, LogPart, Queued, RollbackForm};
use crate::wire::listing::Listing;
use crate::wire::problem::ProblemKind;

/// Which deploys.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Which {
    /// Only those in this state.
    state: Option<String>,
}

/// `GET /api/v1/apps/{app}/deploys`
pub async fn list(
    State(app): State<App>,
    Path(name): Path<String>,
    Query(which): Query<Which>,
    page: Page,
) -> Result<Listed<wire::Deploy>, Failure> {
    let row = app.apps.find(&name).await?;
    let slice = page.slice(which.state);
    let all = app.deploys.list(Some(row.id), slice).await?;
    Ok(Listed(page.of_rows(all, |d| d.id, |d| told(&name, d))))
}

/// `GET /api/v1/apps/{app}/deploys/{id}`
pub async fn show(
    State(app): State<App>,
    Path((name, id)): Path<(String, i64)>,
) -> Result<Json<wire::Deploy>, Failure> {
    let row = app.apps.find(&name).await?;
    Ok(Json(whole(&app, &name, row.id, id).await?))
}

/// `POST /api/v1/apps/{app}/deploys`: from git or an image.
pub async fn create(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Input(form): Input<DeployForm>,
) -> Result<Accepted<Queued>, Failure> {
    let row = app.apps.find(&name).await?;
    let source = match form.image {
        Some(_) if form.git_url.is_some() || form.git_ref.is_some() => {
            return Err(Failure::new(
                ProblemKind::Invalid,
                "a deploy comes from an image or from git, not from both",
            ));
        }
        Some(_) if form.rebuild => {
            return Err(Failure::new(
                ProblemKind::Invalid,
                "an image is pulled, not built: leave rebuild away",
            ));
        }
        Some(reference) => Source::Image { reference },
        None => {
            let source = from_git(&app, row.id, form.git_url, form.git_ref).await?;
            source.rebuilt(form.rebuild)
        }
    };
    queue(&app, row.id, source, &caller).await
}

async fn from_git(
    app: &App,
    id: i64,
    url: Option<String>,
    reference: Option<String>,
) -> Result<Source, Failure> {
    let invalid = |e: crate::git::InvalidGit| Failure::new(ProblemKind::Invalid, e.0);
    let own = app.apps.git(id).await?;
    let url = match url {
        Some(url) => Some(GitUrl::parse(&url).map_err(invalid)?),
        None => own.as_ref().map(|own| own.remote.url.clone()),
    };
    let Some(url) = url else {
        return Err(Failure::new(
            ProblemKind::Invalid,
            "the app has no repository: give one with --git, a folder, or an image with --image",
        ));
    };
    let own_branch = match own {
        Some(own) => own.branch,
        None => Branch::parse("main").map_err(invalid)?,
    };
    Source::of_git(url, own_branch, reference.as_deref()).map_err(invalid)
}

/// What a folder that is sent is.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Sent {
    /// The folder of it that is the site: it becomes a release of files without an image, as `static` under `[build]` of
    /// freehold.toml makes it. `.` is all of it.
    #[serde(rename = "static")]
    files: Option<String>,
    /// Of a site: paths that are no file are its `index.html`'s; as freehold.toml says, without.
    single_page: Option<bool>,
}

impl Sent {
    fn site(self) -> Result<Option<Site>, Failure> {
        let wrong = |why: &str| Failure::new(ProblemKind::Invalid, why);
        match self.files {
            Some(folder) => Site::parse(&folder, self.single_page)
                .map(Some)
                .map_err(|why| wrong(&why)),
            None if self.single_page.is_some() => Err(wrong(
                "single_page is for a folder of files: say which with static",
            )),
            None => Ok(None),
        }
    }
}

/// `POST /api/v1/apps/{app}/deploys/upload`: the body is a tar of the folder.
pub async fn upload(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Query(sent): Query<Sent>,
    body: Body,
) -> Result<Accepted<Queued>, Failure> {
    let row = app.apps.find(&name).await?;
    let site = sent.site()?;
    let source = app.deploys.spool(body.into_data_stream()).await?;
    queue(&app, row.id, source.as_site(site), &caller).await
}

async fn queue(
    app: &App,
    id: i64,
    source: Source,
    caller: &Caller,
) -> Result<Accepted<Queued>, Failure> {
    let new = NewDeploy {
        app: id,
        source,
        cause: Cause::Person,
        by: caller.who(),
        delivery: None,
        title: None,
    };
    let deploy = app.deploys.create(new, UnixMs::now()).await?;
    let job = jobs::of_deploy(app, Some(deploy)).await?;
    Ok(Accepted::new(Queued { deploy }, job))
}

/// `POST /api/v1/apps/{app}/deploys/{id}/cancel`
pub async fn cancel(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path((name, id)): Path<(String, i64)>,
) -> Result<Accepted<wire::Deploy>, Failure> {
    let row = app.apps.find(&name).await?;
    app.deploys.get(row.id, id).await?;
    app.deploys.cancel(id, &caller.who(), UnixMs::now()).await?;
    let deploy = whole(&app, &name, row.id, id).await?;
    let job = jobs::of_deploy(&app, Some(id)).await?;
    Ok(Accepted::new(deploy, job))
}

/// `POST /api/v1/apps/{app}/rollback`
pub async fn rollback(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Input(form): Input<RollbackForm>,
) -> Result<Accepted<Queued>, Failure> {
    let row = app.apps.find(&name).await?;
    let deploy = app
        .deploys
        .rollback(row.id, form.release, &caller.who(), UnixMs::now())
        .await?;
    let job = jobs::of_deploy(&app, Some(deploy)).await?;
    Ok(Accepted::new(Queued { deploy }, job))
}

/// `GET /api/v1/apps/{app}/releases`
pub async fn releases(
    State(app): State<App>,
    Path(name): Path<String>,
    page: Page,
) -> Result<Listed<wire::Release>, Failure> {
    let row = app.apps.find(&name).await?;
    let live = app.deploys.live(row.id).await?;
    let all = app.deploys.releases(row.id).await?;
    let releases = all.into_iter().map(|r| wire::Release {
        live: live.as_ref().is_some_and(|l| l.release_id == r.id),
        kept: r.gone.is_none() && r.live.is_some() && !r.unreadable,
        unreadable: r.unreadable,
        number: r.number,
        image: r.image,
        commit: r.commit,
        title: r.title,
        created_ms: r.created.0,
        live_ms: r.live.map(|t| t.0),
    });
    let releases = releases.collect();
    Ok(Listed(page.of(releases, |r: &wire::Release| r.number)))
}

/// `GET /api/v1/apps/{app}/deliveries`
pub async fn deliveries(
    State(app): State<App>,
    Path(name): Path<String>,
    page: Page,
) -> Result<Listed<wire::Delivery>, Failure> {
    let row = app.apps.find(&name).await?;
    let all = app.deploys.deliveries(row.id).await?;
    let told = |d: Delivery| wire::Delivery {
        at_ms: d.at.0,
        host: d.host,
        delivery: d.delivery,
        event: d.event,
        status: d.status,
        reason: d.reason,
        deploy: d.deploy,
    };
    let listing = page.of(all, |d| d.id);
    Ok(Listed(Listing {
        items: listing.items.into_iter().map(told).collect(),
        next: listing.next,
    }))
}

/// Where in a log to begin.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct From {
    /// A line's `next`; the beginning when absent.
    #[serde(default)]
    from: u64,
}

/// `GET /api/v1/apps/{app}/deploys/{id}/log`: the log as it grows, until the
/// deploy's work is over. Server-sent events when asked for, plain text for
/// `Accept: text/plain`, else newline-delimited JSON that ends with the deploy.
pub async fn log(
    State(app): State<App>,
    Path((name, id)): Path<(String, i64)>,
    Query(from): Query<From>,
    headers: HeaderMap,
) -> Result<As<DeployLog>, Failure> {
    let row = app.apps.find(&name).await?;
    app.deploys.get(row.id, id).await?;
    let accept = headers
        .get(header::ACCEPT)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default();
    let parts = parts(app.clone(), name, row.id, id, from.from);
    if accept.contains("text/event-stream") {
        let messages = parts.map(|part| {
            let name = match part {
                LogPart::Line { .. } => "line",
                LogPart::End(_) => "end",
            };
            Message::default()
                .event(name)
                .json_data(part)
                .map_err(std::io::Error::other)
        });
        let stream = Sse::new(messages).keep_alive(KeepAlive::default());
        return Ok(As::new(stream));
    }
    if accept.contains("text/plain") {
        let lines = parts.filter_map(|part| async move {
            match part {
                LogPart::Line { text, .. } => Some(Ok::<_, std::io::Error>(text + "\n")),
                LogPart::End(_) => None,
            }
        });
        return Ok(As::new(streamed("text/plain; charset=utf-8", lines)));
    }
    let lines = parts.map(|part| {
        serde_json::to_string(&part)
            .map(|json| json + "\n")
            .map_err(std::io::Error::other)
    });
    Ok(As::new(streamed("application/x-ndjson", lines)))
}

/// A body that is sent as it comes.
pub fn streamed(
    kind: &'static str,
    lines: impl Stream<Item = Result<String, std::io::Error>> + Send + 'static,
) -> Response {
    ([(header::CONTENT_TYPE, kind)], Body::from_stream(lines)).into_response()
}

fn parts(
    app: App,
    name: String,
    row: i64,
    id: i64,
    from: u64,
) -> impl Stream<Item = LogPart> + Send + 'static {
    let lines = app
        .deploys
        .logs()
        .follow(id, from)
        .map(|line| LogPart::Line {
            at_ms: line.at.0,
            text: line.text,
            next: line.next,
        });
    let end = futures_util::stream::once(async move {
        let deploy = whole(&app, &name, row, id).await.ok()?;
        Some(LogPart::End(Box::new(deploy)))
    });
    lines.chain(end.filter_map(std::future::ready))
}

async fn whole(app: &App, name: &str, row: i64, id: i64) -> Result<wire::Deploy, Failure> {
    let deploy = app.deploys.get(row, id).await?;
    let steps = app.deploys.steps(id).await?;
    let mut told = told(name, deploy);
    told.steps = steps
        .into_iter()
        .map(|(state, begun)| wire::Step {
            state: state.to_string(),
            begun_ms: begun.0,
        })
        .collect();
    Ok(told)
}

fn told(name: &str, d: Deploy) -> wire::Deploy {
    let source = match &d.source {
        Source::Git { .. } => "git",
        Source::Upload { .. } => "upload",
        Source::Image { .. } => "image",
        Source::Release { .. } => "release",
        Source::Settings => "settings",
    };
    let planned = match &d.source {
        Source::Git { commit, .. } => commit.as_ref().map(ToString::to_string),
        _ => None,
    };
    wire::Deploy {
        id: d.id,
        app: name.to_owned(),
        state: d.state.to_string(),
        settled: d.state.is_settled(),
        success: d.state.is_success(),
        source: source.to_owned(),
        from: d.source.describe(),
        cause: d.cause.as_str().to_owned(),
        by: d.by,
        commit: d.commit.or(planned),
        title: d.title,
        release: d.release.map(|(_, number)| number),
        error: d.error,
        created_ms: d.created.0,
        started_ms: d.started.map(|t| t.0),
        switched_ms: d.switched.map(|t| t.0),
        finished_ms: d.finished.map(|t| t.0),
        steps: Vec::new(),
    }
}
