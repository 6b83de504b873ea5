//! What stands on top of each of an app's pages: name, state, address, tabs.

use crate::apps;
use crate::deploy::Serving;
use crate::supervise::{Kind, Live, State};
use crate::web::error::Failure;
use crate::web::pages::frame::{Frame, Section};
use crate::web::pages::parts::{Badge, Tone};
use crate::web::pages::visit::Visit;
use crate::web::services::App;

/// An app's pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tab {
    /// State, replicas, graphs.
    Overview,
    /// Deploys and releases.
    Deploys,
    /// What the containers say.
    Logs,
    /// Environment and databases.
    Env,
    /// Hosts and certificates.
    Domains,
    /// What happened.
    Activity,
    /// Source, scale, webhook, removal.
    Settings,
}

impl Tab {
    /// All, with address below the app's and word.
    pub const ALL: [(Self, &'static str, &'static str); 7] = [
        (Self::Overview, "", "Overview"),
        (Self::Deploys, "/deploys", "Deploys"),
        (Self::Logs, "/logs", "Logs"),
        (Self::Env, "/env", "Environment"),
        (Self::Domains, "/domains", "Domains"),
        (Self::Activity, "/activity", "Activity"),
        (Self::Settings, "/settings", "Settings"),
    ];
}

/// The head.
#[derive(Clone, Debug)]
pub struct AppHead {
    /// The app.
    pub name: String,
    /// Running, starting, failing, stopped.
    pub state: Badge,
    /// Where it answers.
    pub url: Option<String>,
    /// Whether there is a source to deploy again from.
    pub can_deploy: bool,
    /// This page's.
    pub tab: Tab,
}

impl AppHead {
    /// The app called `name`, and the head of its page `tab`.
    ///
    /// # Errors
    /// When there is no such app.
    pub async fn load(app: &App, name: &str, tab: Tab) -> Result<(apps::App, Self), Failure> {
        let row = app.apps.find(name).await?;
        let routes = app.apps.routes(Some(row.id)).await?;
        let serving = app.deploys.live(row.id).await?;
        let live = app.live.borrow().clone();
        let head = Self {
            name: row.name.to_string(),
            state: state(&row, serving.as_ref(), &live),
            url: routes.first().map(|r| format!("https://{}", r.domain)),
            can_deploy: row.git_url.is_some() && !row.removing,
            tab,
        };
        Ok((row, head))
    }

    /// The frame of this page of the app.
    pub fn frame(&self, visit: Visit) -> Frame {
        let word = Tab::ALL
            .iter()
            .find(|(tab, ..)| *tab == self.tab)
            .map_or("", |(.., word)| word);
        visit
            .frame()
            .titled(format!("{} · {word}", self.name), Section::Overview)
            .under("/", "Apps")
    }
}

/// How an app is doing, by the replicas that are meant to serve.
pub fn state(app: &apps::App, serving: Option<&Serving>, live: &[Live]) -> Badge {
    if app.removing {
        return Badge::new(Tone::Busy, "Being removed");
    }
    let Some(serving) = serving else {
        return Badge::new(Tone::Idle, "Not deployed");
    };
    if serving.stopped {
        return Badge::new(Tone::Idle, "Stopped");
    }
    let replicas: Vec<&Live> = of(app, live).filter(|l| serving.has(&l.name)).collect();
    let healthy = replicas.iter().filter(|r| r.is_healthy()).count();
    let starting = replicas
        .iter()
        .any(|r| matches!(r.state, State::Starting | State::Waiting(_)));
    match (replicas.len(), healthy) {
        (0, _) => Badge::new(Tone::Bad, "Not running"),
        _ if app.maintenance => Badge::new(Tone::Warn, "Maintenance"),
        (all, healthy) if all == healthy => Badge::new(Tone::Ok, "Running"),
        (_, 0) if starting => Badge::new(Tone::Busy, "Starting"),
        (_, 0) => Badge::new(Tone::Bad, "Failing"),
        _ if starting => Badge::new(Tone::Ok, "Running"),
        _ => Badge::new(Tone::Warn, "Partly running"),
    }
}

/// The replicas of `app` that are meant to go on.
pub fn of<'a>(app: &apps::App, live: &'a [Live]) -> impl Iterator<Item = &'a Live> {
    let owner = app.subject();
    live.iter()
        .filter(move |l| l.kind == Kind::Replica && l.owner == owner && l.state != State::Retiring)
}

/// What the supervisor says of one container, as a badge.
pub fn container_state(state: &State) -> Badge {
    match state {
        State::Waiting(why) if why.is_empty() => Badge::new(Tone::Busy, "Waiting"),
        State::Waiting(why) => Badge::new(Tone::Warn, format!("Waiting: {why}")),
        State::Refused(why) => Badge::new(Tone::Bad, format!("Not started: {why}")),
        State::Starting => Badge::new(Tone::Busy, "Starting"),
        State::Healthy => Badge::new(Tone::Ok, "Healthy"),
        State::Unhealthy(_) => Badge::new(Tone::Bad, "Unhealthy"),
        State::Exited(exit) if exit.oom => Badge::new(Tone::Bad, "Out of memory"),
        State::Exited(exit) => Badge::new(Tone::Bad, format!("Exited, code {}", exit.code)),
        State::Retiring => Badge::new(Tone::Idle, "Draining"),
    }
}
