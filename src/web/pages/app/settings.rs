//! `/apps/{app}/settings`: scale, source, webhook, stop and removal.

use askama::Template;
use std::time::Duration;

use axum::Form;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::act::Act;
use super::head::{self, AppHead, Tab};
use crate::apps::{self, RegistryLogin, Scale, SourceChange, maintenance, registry_host};
use crate::base::clock::UnixMs;
use crate::base::secret::Secret;
use crate::git::{Branch, GitUrl};
use crate::supervise::Live;
use crate::web::error::Failure;
use crate::web::pages::frame::{Frame, Theme};
use crate::web::pages::parts::{Badge, Field, Tone, When};
use crate::web::pages::visit::{self, Visit};
use crate::web::pages::words;
use crate::web::scaling;
use crate::web::services::App;
use crate::wire::apps::{Changed, ScaleForm};

/// The page.
#[derive(Clone, Debug, Template)]
#[template(path = "app_settings.html")]
pub struct View {
    /// What stands around it.
    pub frame: Frame,
    /// Name, state, tabs.
    pub head: AppHead,
    /// Each with its scale.
    pub processes: Vec<Process>,
    /// Its git URL.
    pub repository: Field,
    /// The branch that is deployed.
    pub branch: Field,
    /// For a private repository.
    pub token: Field,
    /// The image registry.
    pub registry_host: Field,
    /// The name there.
    pub registry_user: Field,
    /// And its password.
    pub registry_password: Field,
    /// Where pushes are told.
    pub hook_url: String,
    /// Only when it was asked for.
    pub hook_secret: String,
    /// Newest first.
    pub deliveries: Vec<Delivery>,
    /// It is stopped on purpose.
    pub stopped: bool,
    /// A maintenance page answers.
    pub maintenance: bool,
    /// Until when, if it is so.
    pub maintenance_until: String,
    /// How long it is switched on for.
    pub maintenance_for: Field,
    /// What becomes of requests meanwhile.
    pub held: String,
}

/// A process and what it may use.
#[derive(Clone, Debug)]
pub struct Process {
    /// web, worker …
    pub name: String,
    /// "2 running".
    pub now: String,
    /// How many.
    pub replicas: Field,
    /// Limit.
    pub memory: Field,
    /// Limit.
    pub cpus: Field,
}

/// A call of the webhook.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// "push of main, 4f2a91c: deploy 31".
    pub what: String,
    /// Its answer: "202 taken".
    pub state: Badge,
    /// When it came.
    pub at: When,
}

/// What is wrong with the source that was typed.
#[derive(Default)]
struct SourceFaults {
    repository: String,
    branch: String,
}

/// An amount of memory as it is typed, and not rounded: what the form shows is sent back with it.
fn memory(bytes: u64) -> String {
    match bytes % (1 << 20) {
        0 => format!("{}M", bytes >> 20),
        _ => bytes.to_string(),
    }
}

fn process(name: &str, scale: Option<&Scale>, running: usize) -> Process {
    let text = |value: Option<String>| value.unwrap_or_default();
    let scale = scale.copied().unwrap_or_default();
    let replicas = match (scale.min, scale.max) {
        (Some(min), Some(max)) if min == max => min.to_string(),
        (Some(min), Some(max)) => format!("{min}..{max}"),
        _ => String::new(),
    };
    #[allow(clippy::cast_precision_loss)]
    let cpus = scale.nano_cpus.map(|n| (n as f64 / 1e9).to_string());
    let id = |field: Field| field.within(name);
    Process {
        name: name.to_owned(),
        now: format!("{running} running"),
        replicas: id(Field::code("replicas", "Replicas")
            .like("1 or 1..4")
            .value(replicas)),
        memory: id(Field::code("memory", "Memory")
            .like("512M")
            .value(text(scale.memory_bytes.map(memory)))),
        cpus: id(Field::code("cpus", "CPUs").like("0.5").value(text(cpus))),
    }
}

/// Every process that runs or was scaled, `web` first.
async fn processes(app: &App, row: &apps::App) -> Result<Vec<Process>, Failure> {
    let scale = app.apps.scale(row.id).await?;
    let live = app.live.borrow().clone();
    let running: Vec<&Live> = head::of(row, &live).collect();
    let mut names: Vec<&str> = scale
        .keys()
        .map(String::as_str)
        .chain(running.iter().filter_map(|l| l.process.as_deref()))
        .collect();
    names.sort_unstable_by_key(|name| (*name != "web", *name));
    names.dedup();
    Ok(names
        .into_iter()
        .map(|name| {
            let count = running
                .iter()
                .filter(|l| l.process.as_deref() == Some(name))
                .count();
            process(name, scale.get(name), count)
        })
        .collect())
}

async fn page(
    app: &App,
    visit: Visit,
    name: &str,
    source: Option<(&Source, SourceFaults)>,
    hook_secret: String,
) -> Result<Response, Failure> {
    let (row, head) = AppHead::load(app, name, Tab::Settings).await?;
    let (typed, faults) = match source {
        Some((typed, faults)) => ((typed.repository.clone(), typed.branch.clone()), faults),
        None => (
            (row.git_url.clone().unwrap_or_default(), row.branch.clone()),
            SourceFaults::default(),
        ),
    };
    let serving = app.deploys.live(row.id).await?;
    let deliveries = app.deploys.deliveries(row.id).await?;
    let now = UnixMs::now();
    let mut token =
        Field::password("token", "Access token", "off").hint(match row.has_git_credentials {
            true => "One is kept. Left empty, it stays.",
            false => "Only for a private repository over https.",
        });
    token.required = false;
    let mut password = Field::password("registry_password", "Password or token", "off");
    password.required = false;
    Ok(crate::web::pages::render(&View {
        processes: processes(app, &row).await?,
        frame: head.frame(visit),
        repository: Field::code("repository", "Repository")
            .like("https://git.example.com/ana/shop.git")
            .value(typed.0)
            .fault(faults.repository),
        branch: Field::code("branch", "Branch")
            .needed()
            .value(typed.1)
            .fault(faults.branch),
        token,
        registry_host: Field::code("registry_host", "Registry")
            .like("ghcr.io")
            .hint("Left empty, Docker Hub. No other registry is told the password.")
            .value(row.registry_host.clone().unwrap_or_default()),
        registry_user: Field::code("registry_user", "User")
            .value(row.registry_user.clone().unwrap_or_default())
            .hint("Left empty, the sign-in is forgotten."),
        registry_password: password,
        hook_url: format!("{}/hooks/{}", app.dashboard_url(), row.name),
        hook_secret,
        deliveries: deliveries
            .into_iter()
            .map(|d| Delivery {
                what: format!("{} {}: {}", d.host, d.event, d.reason),
                state: match d.status {
                    200 | 201 => Badge::new(Tone::Ok, d.status.to_string()),
                    202 if d.deploy.is_some() => Badge::new(Tone::Ok, "202"),
                    202 => Badge::new(Tone::Idle, "202"),
                    status => Badge::new(Tone::Bad, status.to_string()),
                },
                at: When::ago(d.at, now),
            })
            .collect(),
        stopped: serving.is_some_and(|s| s.stopped),
        maintenance: row.maintenance,
        maintenance_until: row
            .maintenance_until
            .map(words::date_time)
            .unwrap_or_default(),
        maintenance_for: maintenance_for(),
        held: held(app.settings.borrow().hold.time),
        head,
    }))
}

/// `GET /apps/{app}/settings`
pub async fn show(
    State(app): State<App>,
    visit: Visit,
    Path(name): Path<String>,
) -> Result<Response, Failure> {
    page(&app, visit, &name, None, String::new()).await
}

/// The page with the webhook's secret on it, this once.
pub(super) async fn with_secret(
    app: &App,
    visit: Visit,
    name: &str,
    secret: &Secret,
) -> Result<Response, Failure> {
    page(app, visit, name, None, secret.expose().to_owned()).await
}

/// Where the code comes from.
#[derive(Deserialize)]
pub struct Source {
    #[serde(default)]
    repository: String,
    branch: String,
    #[serde(default)]
    token: Secret,
}

/// `POST /apps/{app}/source`
pub async fn source(
    State(app): State<App>,
    visit: Visit,
    act: Act,
    Form(given): Form<Source>,
) -> Result<Response, Failure> {
    let mut faults = SourceFaults::default();
    let url = match given.repository.trim() {
        "" => None,
        text => GitUrl::parse(text)
            .map_err(|e| faults.repository = e.to_string())
            .ok(),
    };
    let branch = Branch::parse(given.branch.trim())
        .map_err(|e| faults.branch = e.to_string())
        .ok();
    if !faults.repository.is_empty() || !faults.branch.is_empty() {
        let page = page(
            &app,
            visit,
            act.row.name.as_str(),
            Some((&given, faults)),
            String::new(),
        )
        .await?;
        return Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response());
    }
    let change = SourceChange {
        git_url: url,
        branch,
        git_token: Some(given.token).filter(|t| !t.expose().is_empty()),
        ..SourceChange::default()
    };
    changed(&app, &act, change, "The source is saved.").await
}

/// The sign-in at a registry.
#[derive(Deserialize)]
pub struct Registry {
    #[serde(default)]
    registry_host: String,
    #[serde(default)]
    registry_user: String,
    #[serde(default)]
    registry_password: Secret,
}

/// `POST /apps/{app}/registry`
pub async fn registry(
    State(app): State<App>,
    act: Act,
    Form(given): Form<Registry>,
) -> Result<Response, Failure> {
    let host = match registry_host(&given.registry_host) {
        Ok(host) => host,
        Err(error) => return visit::back(&act.page("/settings#registry"), Err::<(), _>(error), ""),
    };
    let change = SourceChange {
        registry: Some(RegistryLogin {
            host,
            user: given.registry_user.trim().to_owned(),
            password: given.registry_password,
        }),
        ..SourceChange::default()
    };
    changed(&app, &act, change, "The sign-in is saved.").await
}

async fn changed(
    app: &App,
    act: &Act,
    change: SourceChange,
    text: &str,
) -> Result<Response, Failure> {
    let changing = app.apps.change_source(act.row.id, change, &act.by, act.now);
    visit::back(&act.page("/settings#source"), changing.await, text)
}

/// A process and its scale.
#[derive(Deserialize)]
pub struct Scaling {
    process: String,
    #[serde(default)]
    replicas: String,
    #[serde(default)]
    memory: String,
    #[serde(default)]
    cpus: String,
}

impl Scaling {
    /// As the API is asked: a field that is left empty is not given.
    fn form(self) -> ScaleForm {
        let given = |text: String| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        ScaleForm {
            process: self.process,
            replicas: given(self.replicas),
            memory: given(self.memory),
            cpus: given(self.cpus),
        }
    }
}

/// `POST /apps/{app}/scale`
pub async fn scale(
    State(app): State<App>,
    act: Act,
    Form(given): Form<Scaling>,
) -> Result<Response, Failure> {
    let page = act.page("/settings");
    let form = given.form();
    let process = words::quoted(&form.process);
    match scaling::change(&app, &act.row, &form, &act.by).await {
        Ok((Changed { changed: false, .. }, _)) => {
            let text = format!("{process} was scaled so before; nothing is different.");
            Ok(visit::done(&page, &text))
        }
        Ok((Changed { deploy, .. }, _)) => {
            let brings = deploy.map(|id| format!(" Deploy {id} brings it to the app."));
            let text = format!("{process} is scaled.{}", brings.unwrap_or_default());
            Ok(visit::done(&page, &text))
        }
        Err(error) => visit::refused(&page, error),
    }
}

pub(in crate::web::pages) fn maintenance_for() -> Field {
    Field::code("for", "For at most").needed().value("24h")
}

/// What the edge does with requests of an app in maintenance.
fn held(time: Duration) -> String {
    match time.is_zero() {
        true => "Requests are answered 503 with a page meanwhile".to_owned(),
        false => format!(
            "Requests are held for {} meanwhile ([hold] time) and then answered 503 with a page",
            words::length(time)
        ),
    }
}

/// On, for how long, or off.
#[derive(Deserialize)]
pub struct Switch {
    on: bool,
    #[serde(default, rename = "for")]
    lasts: Option<String>,
}

/// `POST /apps/{app}/maintenance`
pub async fn maintenance(
    State(app): State<App>,
    act: Act,
    Form(switch): Form<Switch>,
) -> Result<Response, Failure> {
    let page = act.page("/settings");
    let lasts = match maintenance::lasts(switch.on, switch.lasts.as_deref()) {
        Ok(lasts) => lasts,
        Err(error) => return visit::refused(&page, error),
    };
    let (id, now) = (act.row.id, act.now);
    let result = app.apps.set_maintenance(id, lasts, &act.by, now).await;
    let text = match lasts {
        Some(time) => format!(
            "A maintenance page answers now, until {} at the latest.",
            words::date_time(now.plus(time))
        ),
        None => "Requests go to the app again.".to_owned(),
    };
    visit::back(&page, result, &text)
}
