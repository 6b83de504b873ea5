//! `/box`: the machine, its containers, its edge.

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::app::head;
use super::frame::{Frame, Section, Theme};
use super::parts::{Badge, Graph, Over, When};
use super::visit::Visit;
use super::{figures, words};
use crate::apps;
use crate::base::clock::UnixMs;
use crate::postgres;
use crate::supervise::{Kind, Live};
use crate::web::api::metrics;
use crate::web::error::Failure;
use crate::web::input::Query;
use crate::web::services::App;

/// The page.
#[derive(Clone, Debug, Template)]
#[template(path = "box_page.html")]
pub struct View {
    /// What stands around it.
    pub frame: Frame,
    /// "Debian 13, 2 cores, 3.8 GiB, up 41 days".
    pub summary: String,
    /// Over which time the graphs are.
    pub over: Over,
    /// CPU, memory, disk, network.
    pub graphs: Vec<Graph>,
    /// "6 of Freehold's, 2 of others".
    pub containers_note: String,
    /// Of ours.
    pub containers: Vec<Container>,
    /// About the machine.
    pub facts: Vec<(String, String)>,
    /// How it is reached.
    pub edge: Vec<(String, String)>,
}

/// A container.
#[derive(Clone, Debug)]
pub struct Container {
    /// Its name at the engine.
    pub name: String,
    /// "shop, web".
    pub owner: String,
    /// The page of it.
    pub href: String,
    /// Healthy, starting …
    pub state: Badge,
    /// Processor and memory.
    pub used: figures::Used,
    /// How often it was brought back.
    pub restarts: String,
    /// When it started.
    pub since: Option<When>,
}

/// `GET /box`
pub async fn show(
    State(app): State<App>,
    visit: Visit,
    Query(asked): Query<metrics::Over>,
) -> Result<Response, Failure> {
    let now = UnixMs::now();
    let told = app.monitor.overview(now).await?;
    let (over, window) = figures::window(&app.monitor, &asked, now).await?;
    let history = app.monitor.box_history(window).await?;
    let machine = told.machine.as_ref();
    let apps = app.apps.list().await?;
    let databases = app.databases.list().await?;
    let live = app.live.borrow().clone();
    let usages = app.monitor.usages();
    let mut graphs = figures::of_box(&history, machine, now);
    graphs.extend(figures::of_box_more(&history, machine, now));
    let host = app.monitor.host();
    let fact = |name: &str, value: String| (name.to_owned(), value);
    let mut facts = vec![
        fact("Name", host.name.clone()),
        fact("System", host.system.clone()),
        fact("Kernel", host.kernel.clone()),
        fact("Processor", host.processor.clone()),
        fact(
            "Docker",
            match (&told.engine.version, &told.engine.unreachable) {
                (Some(version), _) => version.clone(),
                (None, Some(why)) => format!("does not answer: {why}"),
                (None, None) => "not asked yet".to_owned(),
            },
        ),
    ];
    if let Some(m) = machine {
        let [one, five, fifteen] = m.load;
        facts.push(fact("Load", format!("{one:.2}, {five:.2}, {fifteen:.2}")));
        facts.push(fact(
            "Swap",
            match m.swap_total {
                0 => "none".to_owned(),
                total => format!("{} of {}", words::bytes(m.swap_used), words::bytes(total)),
            },
        ));
        let up = std::time::Duration::from_secs(m.uptime_s);
        facts.push(fact("Up for", words::length(up)));
    }
    Ok(super::render(&View {
        frame: visit.frame().titled("Box", Section::Box).refreshed(10),
        summary: match machine {
            Some(m) => format!(
                "{}, {}, {} of memory",
                host.system,
                words::count(m.cores as usize, "core"),
                words::bytes(m.memory_total)
            ),
            None => host.system.clone(),
        },
        graphs: over.of(graphs),
        over,
        containers_note: words::count(live.len(), "container"),
        containers: live
            .iter()
            .map(|l| {
                let usage = figures::used(l, &usages);
                container(l, usage, &apps, &databases, now)
            })
            .collect(),
        facts,
        edge: vec![
            fact("Dashboard", app.dashboard_url()),
            fact("https", app.listen.https.to_string()),
            fact("http", app.listen.http.to_string()),
        ],
    }))
}

/// Whose a container is, and the page of that.
fn owner(live: &Live, apps: &[apps::App], databases: &[postgres::Database]) -> (String, String) {
    let process = live.process.as_deref().unwrap_or("one-off");
    if let Some(app) = apps.iter().find(|a| a.subject() == live.owner) {
        let what = match live.kind {
            Kind::Replica => process.to_owned(),
            _ => "one-off".to_owned(),
        };
        return (
            format!("{}, {what}", app.name),
            format!("/apps/{}", app.name),
        );
    }
    match databases.iter().find(|d| d.subject() == live.owner) {
        Some(database) => (
            format!("the database {}", database.name),
            format!("/databases/{}", database.name),
        ),
        None => (live.owner.clone(), String::new()),
    }
}

fn container(
    live: &Live,
    used: figures::Used,
    apps: &[apps::App],
    databases: &[postgres::Database],
    now: UnixMs,
) -> Container {
    let (owner, href) = owner(live, apps, databases);
    Container {
        name: live.name.clone(),
        owner,
        href,
        state: head::container_state(&live.state),
        used,
        restarts: live.restarts.to_string(),
        since: live.started.map(|at| When::ago(at, now)),
    }
}
