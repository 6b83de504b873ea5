//! `/apps/{app}/deploys/{id}`: one deploy, step by step, with its log as it grows.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;

use super::{deploy_log, deploying};
use crate::base::clock::UnixMs;
use crate::deploy::{Deploy, Source, State as Stage};
use crate::web::error::Failure;
use crate::web::pages::frame::{Frame, Section, Theme};
use crate::web::pages::parts::{Badge, Tone};
use crate::web::pages::visit::Visit;
use crate::web::pages::words;
use crate::web::services::App;

/// The page.
#[derive(Clone, Debug, Template)]
#[template(path = "app_deploy.html")]
pub struct View {
    /// What stands around it.
    pub frame: Frame,
    /// The app.
    pub app: String,
    /// Its number.
    pub id: i64,
    /// How far it is.
    pub state: Badge,
    /// It goes on.
    pub running: bool,
    /// It can be cancelled.
    pub can_cancel: bool,
    /// It can be begun again.
    pub can_retry: bool,
    /// Its release can be gone back to.
    pub rollback_to: Option<i64>,
    /// Why it failed.
    pub fault: String,
    /// What to do about it.
    pub remedy: String,
    /// In order.
    pub steps: Vec<Step>,
    /// Up to now.
    pub log: String,
    /// Where the stream goes on.
    pub log_bytes: u64,
    /// Older lines were left out.
    pub log_cut: bool,
    /// Source, commit, who, when.
    pub facts: Vec<(String, String)>,
}

/// A step of the way.
#[derive(Clone, Debug)]
pub struct Step {
    /// Done, under way, failed, to come.
    pub tone: Tone,
    /// "Build".
    pub word: &'static str,
    /// "38 s".
    pub took: String,
}

/// `GET /apps/{app}/deploys/{id}`
pub async fn show(
    State(app): State<App>,
    visit: Visit,
    Path((name, id)): Path<(String, i64)>,
) -> Result<Response, Failure> {
    let row = app.apps.find(&name).await?;
    let deploy = app.deploys.get(row.id, id).await?;
    let serving = app.deploys.live(row.id).await?;
    let entered = app.deploys.steps(id).await?;
    let log = deploy_log::tail(&app.deploys.logs().path(id)).await;
    let now = UnixMs::now();
    let running = !deploy.state.is_settled();
    let goes_back = serving
        .as_ref()
        .is_some_and(|s| s.deploy == id && deploy.returns_to.is_some());
    let before = match (goes_back, deploy.returns_to) {
        (true, Some(release)) => app
            .deploys
            .release(release)
            .await?
            .filter(|r| r.gone.is_none())
            .map(|r| r.number),
        _ => None,
    };
    let path = format!("/apps/{}", row.name);
    let mut frame = visit
        .frame()
        .titled(format!("Deploy {id} · {}", row.name), Section::Overview)
        .under("/", "Apps")
        .under(&path, row.name.to_string())
        .under(format!("{path}/deploys"), "Deploys");
    frame.refresh = match running || deploy.state == Stage::Watching {
        true => 2,
        false => 0,
    };
    let steps = deploying::steps(&deploy, &entered, now);
    Ok(crate::web::pages::render(&View {
        frame,
        app: row.name.to_string(),
        id,
        state: deploying::badge(&deploy, serving.as_ref()),
        running,
        can_cancel: deploy.state.is_before_switch() && !deploy.cancel,
        can_retry: matches!(deploy.state, Stage::Failed | Stage::Cancelled)
            && !matches!(deploy.source, Source::Upload { .. }),
        rollback_to: before,
        fault: deploy.error.clone().unwrap_or_default(),
        remedy: match (deploy.state, &serving) {
            (Stage::Failed, Some(s)) if !s.stopped => {
                format!("Nothing changed for visitors: v{} serves on.", s.release)
            }
            _ => String::new(),
        },
        steps,
        log: log.text,
        log_bytes: log.next,
        log_cut: log.cut,
        facts: facts(&deploy, now),
    }))
}

fn facts(deploy: &Deploy, now: UnixMs) -> Vec<(String, String)> {
    let mut facts = Vec::new();
    let mut fact = |name: &str, value: Option<String>| {
        facts.extend(value.map(|value| (name.to_owned(), value)));
    };
    fact("What", Some(deploy.source.describe()));
    if let Source::Git { url, .. } = &deploy.source {
        fact("Repository", Some(url.to_string()));
    }
    fact("Commit", deploy.commit.clone());
    fact("Title", deploy.title.clone());
    fact("Release", deploy.release.map(|(_, n)| format!("v{n}")));
    fact("Image", deploy.image.clone());
    fact("Why", Some(deploying::by(deploy)));
    fact("Asked for", Some(words::date_time(deploy.created)));
    fact(
        "Took",
        Some(deploying::took(deploy, now)).filter(|t| !t.is_empty()),
    );
    facts
}
