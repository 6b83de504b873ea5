//! Long work: listed, shown, followed, cancelled.

use std::convert::Infallible;
use std::time::Duration;

use axum::Json;
use axum::extract::{Extension, State};
use axum::http::HeaderMap;
use axum::response::sse::{Event as Message, KeepAlive, Sse};
use futures_util::{Stream, stream};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::base::clock::UnixMs;
use crate::base::sabotage::Sabotage;
use crate::base::secret::sha256_hex;
use crate::jobs::{self as queue, Told};
use crate::web::answer::Listed;
use crate::web::caller::Caller;
use crate::web::error::Failure;
use crate::web::input::{Path, Query};
use crate::web::jobs;
use crate::web::page::Page;
use crate::web::services::App;
use crate::wire::jobs::{Job, JobState};
use crate::wire::listing::Listing;
use crate::wire::problem::{Problem, ProblemKind};

/// Whether work is over.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Stand {
    /// It waits or is being done.
    Open,
}

/// Which jobs.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Which {
    /// Only those of this app.
    app: Option<String>,
    /// Only those that are so.
    state: Option<Stand>,
}

/// `GET /api/v1/jobs`
pub async fn list(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Query(which): Query<Which>,
    page: Page,
) -> Result<Listed<Job>, Failure> {
    let keys = jobs::keys(&app, &caller, which.app.as_deref()).await?;
    let slice = page.slice(which.state.map(|Stand::Open| "open".to_owned()));
    let rows = app
        .db
        .read(move |c| queue::newest(c, jobs::KINDS, keys.as_deref(), &slice))
        .await?;
    let listing: Listing<Told> = page.of_rows(rows, |row| row.id, |row| row);
    let mut items = Vec::new();
    for row in listing.items {
        items.push(jobs::view(&app, row).await?);
    }
    let next = listing.next;
    Ok(Listed(Listing { items, next }))
}

/// `GET /api/v1/jobs/{id}`
pub async fn show(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<i64>,
) -> Result<Json<Job>, Failure> {
    Ok(Json(jobs::find(&app, &caller, id).await?))
}

/// How long a cancel waits to see the work dead.
const SEEN_DEAD: Duration = Duration::from_secs(20);

/// `POST /api/v1/jobs/{id}/cancel`: answers when the work was seen dead.
pub async fn cancel(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<i64>,
) -> Result<Json<Job>, Failure> {
    Ok(Json(end(&app, &caller, id).await?))
}

/// Cancels a job, and says so only when it is cancelled.
///
/// # Errors
/// That it cannot be, or may not be by `caller`.
pub async fn end(app: &App, caller: &Caller, id: i64) -> Result<Job, Failure> {
    let job = jobs::find(app, caller, id).await?;
    if job.state == JobState::Cancelled {
        return Ok(job);
    }
    if !job.cancellable {
        return Err(too_late(&job).into());
    }
    let grant = caller.grant();
    let (may, remedy) = match job.app.as_deref() {
        Some(name) => (
            grant.is_some_and(|grant| grant.deploys_app(name)),
            "Ask who may deploy the app.",
        ),
        None => (
            grant.is_some_and(|grant| grant.changes_box()),
            "Ask an admin of this box to do it.",
        ),
    };
    if !may {
        return Err(
            Problem::new(ProblemKind::Forbidden, "you may not cancel this")
                .remedy(remedy)
                .into(),
        );
    }
    if Sabotage::EmptyCancel.is_on() {
        let state = JobState::Cancelled;
        return Ok(Job { state, ..job });
    }
    match job.kind.as_str() {
        "deploy" => {
            let row = app.db.read(move |c| queue::by_id(c, id)).await?;
            let deploy = row.and_then(|row| row.payload["deploy"].as_i64());
            let deploy = deploy.ok_or_else(|| too_late(&job))?;
            let (by, now) = (caller.who(), UnixMs::now());
            app.deploys.cancel(deploy, &by, now).await?;
        }
        _ => app.backups.cancel(id, &caller.who()).await?,
    }
    let mut commits = app.db.commits();
    let dead = tokio::time::timeout(SEEN_DEAD, async {
        loop {
            commits.mark_unchanged();
            let job = jobs::find(app, caller, id).await?;
            if job.state.is_over() || commits.changed().await.is_err() {
                return Ok::<Job, Failure>(job);
            }
        }
    });
    match dead.await {
        Ok(Ok(job)) if job.state == JobState::Cancelled => Ok(job),
        Ok(Ok(job)) => Err(too_late(&job).into()),
        Ok(Err(failure)) => Err(failure),
        Err(_) => Err(Problem::new(
            ProblemKind::Unavailable,
            format!("job {id} was told to stop, and has not ended yet"),
        )
        .remedy("Follow it until it has.")
        .into()),
    }
}

fn too_late(job: &Job) -> Problem {
    let detail = match job.state.is_over() {
        true => format!("job {} is {}", job.id, job.state.as_str()),
        false => format!(
            "job {} ({}) is {} and goes on to its end: it cannot be left half done",
            job.id,
            job.what,
            job.state.as_str()
        ),
    };
    Problem::new(ProblemKind::Conflict, detail)
        .remedy("A deploy can be cancelled until it moves the traffic, a backup until it is stored, a check at any time, a restore until it takes the live database's name; nothing else.")
}

/// `GET /api/v1/jobs/{id}/events`: server-sent events, `job` with each change and `end`
/// with the last. `Last-Event-ID` leaves out what its reader has.
pub async fn follow(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<i64>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Message, Infallible>>>, Failure> {
    jobs::find(&app, &caller, id).await?;
    let seen = headers.get("last-event-id").and_then(|v| v.to_str().ok());
    let begun = Some((seen.unwrap_or_default().to_owned(), app.db.commits()));
    let messages = stream::unfold(begun, move |at| {
        let (app, caller) = (app.clone(), caller.clone());
        async move {
            let (mut seen, mut commits) = at?;
            loop {
                commits.mark_unchanged();
                let job = jobs::find(&app, &caller, id).await.ok()?;
                let json = serde_json::to_string(&job).ok()?;
                let mark = sha256_hex(json.as_bytes())[..16].to_owned();
                let over = job.state.is_over();
                if over || mark != seen {
                    let name = if over { "end" } else { "job" };
                    let message = Message::default().event(name).id(&mark).data(json);
                    seen = mark;
                    return Some((Ok(message), (!over).then_some((seen, commits))));
                }
                commits.changed().await.ok()?;
            }
        }
    });
    let alive = KeepAlive::new().interval(Duration::from_secs(15));
    Ok(Sse::new(messages).keep_alive(alive))
}
