//! `freehold deploy` and what belongs to it: list, follow, cancel, rollback.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use futures_util::StreamExt;
use http::Method;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use serde_json::Value;
use tokio_util::io::ReaderStream;

use super::Global;
use super::app::path;
use super::client::{Body, Client, full};
use super::lines::Lines;
use super::output::{self, Fail};
use super::progress::Progress;
use super::typed;
use crate::base::clock::UnixMs;
use crate::deploy::Site;
use crate::docker::pack_context;
use crate::wire::apps::{AppDetail, AppForm};
use crate::wire::deploys::{Deploy, DeployForm, LogPart, Queued, RollbackForm};

/// Deploy a folder, a commit or an image
///
/// The work that makes a release live: fetch, build, release command, start, health, switch, drain. Its log is streamed
/// here; before the switch nothing live is touched, and a release that fails leaves the one before serving. Ctrl-C ends
/// the watching, not the deploy: `freehold cancel` does that.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  freehold deploy --app shop                    # this folder\n  freehold deploy ./shop --app shop\n  freehold deploy ./site --app docs --static dist --single-page\n  freehold deploy --app shop --git https://github.com/you/shop.git --ref main\n  freehold deploy --app shop --image registry.example.com/shop:1.2"
)]
pub struct Arguments {
    /// The folder; the present one when nothing else is given
    #[arg(conflicts_with_all = ["image", "git", "reference"])]
    dir: Option<PathBuf>,
    /// The app
    #[arg(long)]
    app: String,
    /// An image of a registry
    #[arg(long, value_name = "REF")]
    image: Option<String>,
    /// A repository
    #[arg(long, value_name = "URL", conflicts_with = "image")]
    git: Option<String>,
    /// A branch or a whole commit id
    #[arg(long = "ref", value_name = "REF", conflicts_with = "image")]
    reference: Option<String>,
    /// The name at the image's registry; kept with the app
    #[arg(long, value_name = "USER", requires = "image")]
    registry_user: Option<String>,
    /// The password there; safer in FREEHOLD_REGISTRY_PASSWORD or, as -, on standard input: arguments show in `ps`
    #[arg(long, env = "FREEHOLD_REGISTRY_PASSWORD", hide_env_values = true)]
    registry_password: Option<String>,
    /// Build though an image of the commit is kept, as when its base image moved; a folder is always built
    #[arg(long, conflicts_with = "image")]
    rebuild: bool,
    /// The folder is a site, without an image: this part of it is served, such as dist; . is all of it
    #[arg(long = "static", value_name = "FOLDER", conflicts_with_all = ["image", "git", "reference"])]
    files: Option<String>,
    /// Of a site: answer who goes to a path that is no file with its index.html
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", requires = "files")]
    single_page: Option<bool>,
    /// Do not wait for its end
    #[arg(long)]
    detach: bool,
}

/// The largest folder that is packed; how much it takes is the box's to say (`[build] upload`).
const LARGEST: u64 = 64 << 30;
/// How often the time of a deploy is drawn again.
const TURN: Duration = Duration::from_millis(200);
/// How long a daemon that restarts is waited for.
const AWAY: Duration = Duration::from_secs(60);

/// Runs `freehold deploy`.
///
/// # Errors
/// The daemon's problem, or why the deploy failed.
pub async fn run(client: &Client, global: &Global, given: Arguments) -> Result<(), Fail> {
    let app = given.app.clone();
    if let Some(user) = given.registry_user {
        // What stands before the first / is the registry, when it looks like a host.
        let image = given.image.as_deref().unwrap_or_default();
        let host = image.split_once('/').map(|(host, _)| host);
        let host = host.filter(|h| h.contains(['.', ':']) || *h == "localhost");
        let form = AppForm {
            registry_host: host.map(str::to_owned),
            registry_user: Some(user),
            registry_password: typed::secret(given.registry_password)?,
            ..AppForm::default()
        };
        let _kept: AppDetail = client.send(Method::PATCH, &path(&app), &form).await?;
    }
    let deploys = format!("{}/deploys", path(&app));
    let from_elsewhere = given.image.is_some() || given.git.is_some() || given.reference.is_some();
    let queued: Queued = if from_elsewhere {
        let form = DeployForm {
            image: given.image,
            git_url: given.git,
            git_ref: given.reference,
            rebuild: given.rebuild,
        };
        client.send(Method::POST, &deploys, &form).await?
    } else {
        let dir = given.dir.unwrap_or_else(|| PathBuf::from("."));
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        if let Some(folder) = &given.files {
            // Before anything is packed.
            Site::parse(folder, given.single_page).map_err(Fail::usage)?;
            query.append_pair("static", folder);
        }
        if let Some(single_page) = given.single_page {
            query.append_pair("single_page", if single_page { "true" } else { "false" });
        }
        let to = match query.finish() {
            none if none.is_empty() => format!("{deploys}/upload"),
            query => format!("{deploys}/upload?{query}"),
        };
        send_folder(client, global, &to, dir).await?
    };
    if given.detach {
        match global.json {
            true => output::json(&queued),
            false => output::line(format!("Deploy {} is queued.", queued.deploy)),
        }
        return Ok(());
    }
    follow(client, global, &app, queued.deploy).await
}

async fn send_folder(
    client: &Client,
    global: &Global,
    to: &str,
    dir: PathBuf,
) -> Result<Queued, Fail> {
    let unreadable = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::StorageFull => Fail::Failed(format!(
            "{} cannot be packed: the disk of {} is full; free some space there, or name another folder in TMPDIR",
            dir.display(),
            std::env::temp_dir().display()
        )),
        _ => Fail::usage(format!("{} cannot be sent: {e}", dir.display())),
    };
    if !dir.is_dir() {
        return Err(Fail::usage(format!(
            "{} is no folder: give the one with the app's Dockerfile in it",
            dir.display()
        )));
    }
    let name = crate::base::secret::random_id(12).map_err(|e| Fail::internal(e.to_string()))?;
    let tar = std::env::temp_dir().join(format!("freehold-{name}.tar"));
    let dockerfile = dockerfile(&dir);
    let mut progress = Progress::of_state(global, format!("Sending {}", dir.display()));
    progress.state("packing");
    let packed = pack_context(dir.clone(), dockerfile, tar.clone(), LARGEST).await;
    drop(progress);
    let sent = match packed {
        Err(error) => Err(unreadable(error)),
        Ok(_) => match tokio::fs::File::open(&tar).await {
            Err(error) => Err(unreadable(error)),
            Ok(file) => {
                let size = file.metadata().await.ok().map(|m| m.len());
                let what = format!("Sending {}", dir.display());
                let mut progress = Progress::of_bytes(global, what, size);
                let frames = ReaderStream::with_capacity(file, 64 << 10).map(move |read| {
                    read.map(|bytes| {
                        progress.add(bytes.len() as u64);
                        Frame::data(bytes)
                    })
                });
                let body: Body = BodyExt::boxed(StreamBody::new(frames));
                client
                    .json(Method::POST, to, body, Some("application/x-tar"))
                    .await
            }
        },
    };
    if let Err(error) = std::fs::remove_file(&tar)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(%error, "the packed folder could not be removed");
    }
    sent
}

/// The Dockerfile that freehold.toml names, so that packing keeps it.
fn dockerfile(dir: &std::path::Path) -> String {
    let file = std::fs::read_to_string(dir.join(crate::deploy::FILE_NAME)).unwrap_or_default();
    match crate::deploy::AppFile::parse(&file) {
        Ok(settings) => settings.dockerfile,
        Err(_) => "Dockerfile".into(),
    }
}

/// Shows a deploy's log until its work is over.
///
/// # Errors
/// [`Fail::Failed`] with the reason when its release did not become live.
pub async fn follow(client: &Client, global: &Global, app: &str, deploy: i64) -> Result<(), Fail> {
    let mut from = 0;
    let mut progress = Progress::of_state(global, format!("Deploy {deploy} of {app}"));
    let mut away: Option<Instant> = None;
    loop {
        let opened = &mut false;
        let read = read_log(
            client,
            global,
            (app, deploy),
            (&mut from, opened),
            &mut progress,
        )
        .await;
        // However often it goes away, each time it has as long to come back.
        if *opened {
            away = None;
        }
        match read {
            Ok(Some(end)) if end.settled => {
                drop(progress);
                return finished(global, &end);
            }
            // The daemon went away in the middle; the deploy goes on after its start.
            Ok(_) | Err(Fail::Unreachable(_))
                if away.get_or_insert_with(Instant::now).elapsed() < AWAY =>
            {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            Ok(_) => {
                return Err(Fail::Unreachable(format!(
                    "the log of deploy {deploy} broke off; see `freehold deploys {app}`"
                )));
            }
            Err(other) => return Err(other),
        }
    }
}

async fn read_log(
    client: &Client,
    global: &Global,
    (app, deploy): (&str, i64),
    (from, opened): (&mut u64, &mut bool),
    progress: &mut Progress,
) -> Result<Option<Deploy>, Fail> {
    let target = format!("{}/deploys/{deploy}/log?from={from}", path(app));
    let answer = client.request(Method::GET, &target, full(""), None).await?;
    *opened = true;
    let mut lines = Lines::of(answer);
    loop {
        let part = tokio::select! {
            part = lines.next::<LogPart>() => part?,
            () = tokio::time::sleep(TURN) => {
                progress.state("");
                continue;
            }
        };
        let Some(part) = part else { return Ok(None) };
        match part {
            LogPart::Line { text, next, .. } => {
                *from = next;
                if !global.json {
                    progress.above(|| output::line(text));
                }
            }
            LogPart::End(end) => return Ok(Some(*end)),
        }
    }
}

fn finished(global: &Global, deploy: &Deploy) -> Result<(), Fail> {
    if global.json {
        output::json(deploy);
    }
    let release = deploy.release.map(|r| format!("v{r}")).unwrap_or_default();
    match deploy.state.as_str() {
        _ if deploy.success => {
            if !global.json {
                let took = deploy
                    .switched_ms
                    .map(|at| UnixMs(at).since(UnixMs(deploy.created_ms)).as_secs());
                output::line(format!(
                    "{} {release} is live after {} s.",
                    deploy.app,
                    took.unwrap_or(0)
                ));
            }
            Ok(())
        }
        state => {
            let how = match state {
                "failed" => "failed",
                "cancelled" => "was cancelled",
                "superseded" => "gave way to a newer one",
                "returned" => "was live and died",
                other => other,
            };
            // The whole story stands in the log above.
            let why = deploy.error.as_deref().and_then(|e| e.lines().next());
            Err(Fail::Ended(format!(
                "deploy {} {how}: {}",
                deploy.id,
                why.unwrap_or("no reason was given")
            )))
        }
    }
}

fn nothing_yet(app: &str) -> Fail {
    Fail::not_found(format!("nothing was deployed to {app} yet"))
}

/// The deploys of an app
///
/// Newest first. With --follow the log of the newest is shown until its work is over, and its end decides the exit code.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  freehold deploys shop\n  freehold deploys shop --follow")]
pub struct ListArguments {
    /// The app
    name: String,
    /// Show the newest one's log until its work is over
    #[arg(long, short)]
    follow: bool,
    /// At most so many
    #[arg(long, default_value_t = 20)]
    limit: u32,
}

/// Runs `freehold deploys`.
///
/// # Errors
/// The daemon's problem, or that it cannot be reached.
pub async fn list(client: &Client, global: &Global, given: ListArguments) -> Result<(), Fail> {
    let target = format!("{}/deploys?limit={}", path(&given.name), given.limit);
    let all: Vec<Deploy> = client.list(&target).await?;
    if given.follow {
        return match all.first() {
            Some(newest) => follow(client, global, &given.name, newest.id).await,
            None => Err(nothing_yet(&given.name)),
        };
    }
    if global.json {
        output::json(&all);
        return Ok(());
    }
    let heading = ["DEPLOY", "STATE", "RELEASE", "WHEN", "FROM", "BY"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    for deploy in &all {
        rows.push(vec![
            deploy.id.to_string(),
            deploy.state.clone(),
            deploy.release.map(|r| format!("v{r}")).unwrap_or_default(),
            UnixMs(deploy.created_ms).iso(),
            deploy.title.clone().unwrap_or_else(|| deploy.from.clone()),
            deploy.by.clone(),
        ]);
    }
    output::table(&rows);
    Ok(())
}

/// Go back to an earlier release
///
/// Its image and settings go live again by a deploy: started beside what runs, health-checked, switched. Databases are
/// not touched.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  freehold rollback shop         # the release before\n  freehold rollback shop v3"
)]
pub struct RollbackArguments {
    /// The app
    name: String,
    /// The release, such as v3
    release: Option<String>,
}

/// Runs `freehold rollback`.
///
/// # Errors
/// The daemon's problem, or why the deploy failed.
pub async fn rollback(
    client: &Client,
    global: &Global,
    given: RollbackArguments,
) -> Result<(), Fail> {
    let release = match given.release {
        None => None,
        Some(text) => Some(
            text.trim_start_matches('v')
                .parse()
                .map_err(|_| Fail::usage(format!("\"{text}\" is no release: write it like v3")))?,
        ),
    };
    let target = format!("{}/rollback", path(&given.name));
    let form = RollbackForm { release };
    let queued: Queued = client.send(Method::POST, &target, &form).await?;
    follow(client, global, &given.name, queued.deploy).await
}

/// Stop a deploy that has not moved the traffic yet
///
/// It says so only when the work was seen dead, builds included.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  freehold cancel shop\n  freehold cancel shop 41")]
pub struct CancelArguments {
    /// The app
    name: String,
    /// The deploy; the newest when not given
    deploy: Option<i64>,
}

/// Runs `freehold cancel`; returns when the work was seen dead.
///
/// # Errors
/// The daemon's problem, or that it cannot be reached.
pub async fn cancel(client: &Client, global: &Global, given: CancelArguments) -> Result<(), Fail> {
    let base = format!("{}/deploys", path(&given.name));
    let id = match given.deploy {
        Some(id) => id,
        None => {
            let all: Vec<Deploy> = client.list(&format!("{base}?limit=1")).await?;
            let newest = all.first().map(|d| d.id);
            newest.ok_or_else(|| nothing_yet(&given.name))?
        }
    };
    let target = format!("{base}/{id}/cancel");
    let mut deploy: Deploy = client.send(Method::POST, &target, &Value::Null).await?;
    let mut progress = Progress::of_state(global, format!("Cancelling deploy {id}"));
    while !deploy.settled {
        progress.state(&deploy.state);
        tokio::time::sleep(Duration::from_millis(300)).await;
        deploy = client.get(&format!("{base}/{id}")).await?;
    }
    drop(progress);
    output::either(global.json, &deploy, || {
        if deploy.state == "cancelled" {
            output::line(format!("Deploy {id} is cancelled."));
        }
    });
    match deploy.state.as_str() {
        "cancelled" => Ok(()),
        state => Err(Fail::Ended(format!(
            "deploy {id} ended first: it is {state}"
        ))),
    }
}
