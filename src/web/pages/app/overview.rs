//! `/apps/{app}`: how an app is doing.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;

use super::deploying;
use super::head::{self, AppHead, Tab};
use crate::apps;
use crate::base::clock::UnixMs;
use crate::deploy::{Deploy, Serving, State as Stage};
use crate::supervise::Live;
use crate::web::api::metrics;
use crate::web::error::Failure;
use crate::web::input::Query;
use crate::web::pages::figures;
use crate::web::pages::frame::{Frame, Theme};
use crate::web::pages::overview::Attention;
use crate::web::pages::parts::{Badge, Graph, Over, Strip, Tone, When};
use crate::web::pages::visit::Visit;
use crate::web::pages::words;
use crate::web::replicas;
use crate::web::services::App;
use crate::wire::apps::{Death, LeftOut};

/// The page.
#[derive(Clone, Debug, Template)]
#[template(path = "app_overview.html")]
pub struct View {
    /// What stands around it.
    pub frame: Frame,
    /// Name, state, tabs.
    pub head: AppHead,
    /// What wants its reader.
    pub notices: Vec<Attention>,
    /// Over which time the graphs are.
    pub over: Over,
    /// Requests, p95, errors.
    pub graphs: Vec<Graph>,
    /// Whether deploys stand in them.
    pub has_marks: bool,
    /// Its containers.
    pub replicas: Vec<Replica>,
    /// Why there are none.
    pub nothing_runs: String,
    /// How they died of late, the newest first.
    pub deaths: Vec<DeathLine>,
    /// The last day's checks.
    pub uptime: Strip,
    /// "99.1 %".
    pub uptime_share: String,
    /// What is checked, how often.
    pub uptime_note: String,
    /// The newest.
    pub deploys: Vec<DeployLine>,
    /// Source, databases, release.
    pub facts: Vec<(String, String)>,
}

/// A running container.
#[derive(Clone, Debug)]
pub struct Replica {
    /// web, worker …
    pub process: String,
    /// Healthy, starting, exited …
    pub state: Badge,
    /// Why the edge sends it nothing, or nothing.
    pub left_out: String,
    /// v12.
    pub release: String,
    /// The first digits of its id.
    pub container: String,
    /// Where it listens.
    pub address: String,
    /// Processor and memory.
    pub used: figures::Used,
    /// How often it was started again.
    pub restarts: String,
    /// When it started.
    pub since: Option<When>,
}

/// How a replica died.
#[derive(Clone, Debug)]
pub struct DeathLine {
    /// Its name.
    pub name: String,
    /// In words that follow the name.
    pub why: String,
    /// "3 times in a row", or nothing.
    pub in_a_row: String,
    /// When.
    pub at: When,
    /// The last it wrote.
    pub lines: String,
}

/// A deploy in a short list.
#[derive(Clone, Debug)]
pub struct DeployLine {
    /// Its number.
    pub id: i64,
    /// What is deployed, and who asked.
    pub what: String,
    /// How far it is.
    pub state: Badge,
    /// When it began.
    pub at: When,
}

/// Deaths shown.
const DEATHS: usize = 10;
/// Deploys shown in words.
const SHOWN: usize = 8;
/// Deploys marked in the graphs: all that are kept, since a graph may be of a year.
const MARKED: u32 = 50;

/// `GET /apps/{app}`
pub async fn show(
    State(app): State<App>,
    visit: Visit,
    Path(name): Path<String>,
    Query(asked): Query<metrics::Over>,
) -> Result<Response, Failure> {
    let (row, head) = AppHead::load(&app, &name, Tab::Overview).await?;
    let now = UnixMs::now();
    let live = app.live.borrow().clone();
    let (usages, seen) = (app.monitor.usages(), app.monitor.routes());
    let serving = app.deploys.live(row.id).await?;
    let deploys = app.deploys.list(Some(row.id), MARKED).await?;
    let told = app.monitor.overview(now).await?;
    let told = told
        .apps
        .into_iter()
        .find(|a| a.id == row.id)
        .unwrap_or_default();
    let (over, window) = figures::window(&app.monitor, &asked, now).await?;
    let history = app
        .monitor
        .app_histories(&[row.id], window)
        .await?
        .swap_remove(0);
    let marks: Vec<UnixMs> = deploys
        .iter()
        .filter_map(|d| d.switched)
        .filter(|at| *at > window.start(0))
        .collect();
    let checks = app.monitor.checks(now).await?;
    let every = app.settings.borrow().checks.every;
    let check = checks.iter().find(|c| c.subject == row.subject());
    let mut facts = vec![("Made".to_owned(), words::date(row.created))];
    for given in app.databases.given_to(row.id).await? {
        facts.push((
            "Database".to_owned(),
            format!("{}, as {}", given.database, given.env_name),
        ));
    }
    if let Some(serving) = &serving {
        facts.push(("Serves".to_owned(), format!("v{}", serving.release)));
    }
    if let Some(url) = &row.git_url {
        facts.push(("Source".to_owned(), format!("{url}, branch {}", row.branch)));
    }
    Ok(crate::web::pages::render(&View {
        frame: head.frame(visit).refreshed(5),
        notices: last_failed(&row, &deploys, serving.as_ref())
            .into_iter()
            .chain(notices(row.name.as_str(), head::of(&row, &live)))
            .collect(),
        graphs: over.of(figures::of_app(&history, &told, &marks, now)),
        over,
        has_marks: !marks.is_empty(),
        replicas: head::of(&row, &live)
            .map(|l| {
                let left_out = replicas::left_out(&seen, &l.name);
                let left_out = left_out.as_ref().map(LeftOut::words);
                Replica {
                    left_out: left_out.unwrap_or_default(),
                    ..replica(l, figures::used(l, &usages), now)
                }
            })
            .collect(),
        deaths: deaths(
            head::of(&row, &live),
            |row| replicas::deaths(&app, row),
            now,
        ),
        nothing_runs: match &serving {
            Some(s) if s.stopped => "It was stopped. Start it in its settings.".to_owned(),
            Some(_) => "Its containers are gone; they are made again.".to_owned(),
            None => "Deploy it, and its containers appear here.".to_owned(),
        },
        uptime: check.map_or_else(Strip::default, |c| {
            figures::strip(&c.name, &c.day, c.day_share)
        }),
        uptime_share: figures::share(check.and_then(|c| c.day_share)),
        uptime_note: check.map_or_else(
            || "checked from the moment it has a domain and is deployed".to_owned(),
            |c| format!("{}, every {}", c.url, words::length(every)),
        ),
        deploys: deploys
            .iter()
            .take(SHOWN)
            .map(|d| DeployLine {
                id: d.id,
                what: deploying::what(d),
                state: deploying::badge(d, serving.as_ref()),
                at: When::ago(d.created, now),
            })
            .collect(),
        facts,
        head,
    }))
}

/// The last deploy, when it did not become live.
fn last_failed(
    app: &apps::App,
    deploys: &[Deploy],
    serving: Option<&Serving>,
) -> Option<Attention> {
    let last = deploys.first()?;
    let went = match last.state {
        Stage::Failed => "failed",
        Stage::Returned => "went back",
        _ => return None,
    };
    let (name, id) = (&app.name, last.id);
    let now_serves = serving
        .filter(|s| !s.stopped)
        .map_or_else(String::new, |s| format!("; v{} serves on", s.release));
    Some(Attention {
        tone: Tone::Bad,
        title: format!("Deploy {id} {went}{now_serves}"),
        why: last.error.clone().unwrap_or_default(),
        href: format!("/apps/{name}/deploys/{id}"),
        act: format!("See deploy {id}"),
    })
}

/// What is wrong with the containers, in the supervisor's words.
fn notices<'a>(app: &str, replicas: impl Iterator<Item = &'a Live>) -> Vec<Attention> {
    let mut all = Vec::new();
    for replica in replicas {
        let process = replica.process.as_deref().unwrap_or("container");
        let why = match &replica.state {
            crate::supervise::State::Unhealthy(why) => why.clone(),
            crate::supervise::State::Exited(exit) => format!("It {exit}."),
            _ => continue,
        };
        all.push(Attention {
            tone: Tone::Bad,
            title: format!("A replica of {process} does not serve"),
            why,
            href: format!("/apps/{app}/logs?process={process}"),
            act: "See its log".to_owned(),
        });
    }
    all
}

/// How these died of late, the newest first.
fn deaths<'a>(
    replicas: impl Iterator<Item = &'a Live>,
    of: impl Fn(i64) -> Vec<Death>,
    now: UnixMs,
) -> Vec<DeathLine> {
    let mut all: Vec<(&str, Death)> = replicas
        .flat_map(|live| {
            of(live.row)
                .into_iter()
                .map(|death| (live.name.as_str(), death))
        })
        .collect();
    all.sort_by_key(|(_, death)| std::cmp::Reverse(death.at_ms));
    all.truncate(DEATHS);
    all.into_iter()
        .map(|(name, death)| DeathLine {
            name: name.to_owned(),
            why: death.why,
            in_a_row: match death.in_a_row {
                0 | 1 => String::new(),
                times => format!("{times} times in a row"),
            },
            at: When::ago(UnixMs(death.at_ms), now),
            lines: death.lines.join("\n"),
        })
        .collect()
}

fn replica(live: &Live, used: figures::Used, now: UnixMs) -> Replica {
    let dash = || "–".to_owned();
    Replica {
        process: live.process.clone().unwrap_or_else(dash),
        state: head::container_state(&live.state),
        left_out: String::new(),
        release: live.release.map_or_else(dash, |n| format!("v{n}")),
        container: live
            .container_id
            .as_deref()
            .map_or_else(dash, |id| id.chars().take(12).collect()),
        address: live.address.map_or_else(dash, |a| a.to_string()),
        used,
        restarts: live.restarts.to_string(),
        since: live.started.map(|at| When::ago(at, now)),
    }
}
