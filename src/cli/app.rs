//! `freehold app`: apps made, shown, changed, stopped, removed.

use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use http::Method;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::Global;
use super::client::{Client, full};
use super::confirm::confirm;
use super::deploy::follow;
use super::output::{self, Fail};
use super::progress::Progress;
use super::typed;
use crate::base::clock::UnixMs;
use crate::base::secret::Secret;
use crate::wire::apps::{AppDetail, AppForm, AppSummary, Changed, WebhookSecret};
use crate::wire::jobs::Job;
use crate::wire::overview::Usage;
use crate::wire::problem::ProblemKind;
use crate::wire::status::Status;

/// Apps
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  freehold app create shop --git https://github.com/you/shop.git --branch main\n  freehold app show shop\n  freehold app rm shop"
)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make an app
    ///
    /// A name is all it takes; code comes with the first deploy. With a repository, pushes to its branch are
    /// deployed: `freehold app webhook` prints where the git host tells of them. A private repository needs --git-
    /// token or --git-key-file; they are kept sealed and never shown again.
    #[command(
        after_help = "Examples:\n  freehold app create shop\n  freehold app create shop --git https://github.com/you/shop.git --branch main\n  FREEHOLD_GIT_TOKEN=… freehold app create shop --git https://git.example.com/you/shop.git"
    )]
    Create {
        /// Lower-case letters, digits, hyphens
        name: String,
        #[command(flatten)]
        source: Source,
    },
    /// Change where an app's code or image comes from
    ///
    /// What is not given stays as it is. Nothing is deployed by this: the next deploy takes it up.
    #[command(
        after_help = "Examples:\n  freehold app set shop --branch main\n  freehold app set shop --git ssh://git@github.com/you/shop.git --git-key-file deploy.key"
    )]
    Set {
        /// The app
        name: String,
        #[command(flatten)]
        source: Source,
    },
    /// All apps
    ///
    /// State, live release, last deploy and domains of each app you may see.
    #[command(after_help = "Examples:\n  freehold app list\n  freehold app list --json")]
    List,
    /// One app: state, replicas, domains, webhook
    #[command(after_help = "Examples:\n  freehold app show shop\n  freehold app show shop --json")]
    Show {
        /// The app
        name: String,
    },
    /// Where the git host tells of pushes, and what signs them; that it was shown is audited
    ///
    /// With --new-secret the old secret ends at once, so the app's name has to be typed on a terminal; elsewhere --yes
    /// says it.
    #[command(
        after_help = "Examples:\n  freehold app webhook shop\n  freehold app webhook shop --new-secret\n  freehold app webhook shop --new-secret --yes"
    )]
    Webhook {
        /// The app
        name: String,
        /// Make another secret; events signed with the old one are refused from then on
        #[arg(long)]
        new_secret: bool,
        /// Do not ask for the app's name
        #[arg(long, requires = "new_secret")]
        yes: bool,
    },
    /// Remove an app; its databases stay
    ///
    /// Its containers, releases, settings and domains go; its volumes stay unless --volumes is given, its databases
    /// stay in any case. On a terminal its name has to be typed; elsewhere --yes says it.
    #[command(
        after_help = "Examples:\n  freehold app rm shop\n  freehold app rm shop --yes --volumes"
    )]
    Rm {
        /// The app
        name: String,
        /// Do not ask for the name
        #[arg(long)]
        yes: bool,
        /// Its volumes with their data too
        #[arg(long)]
        volumes: bool,
    },
    /// Start a stopped app
    ///
    /// The release that was live before is started again, with what was set meanwhile, health-checked, and gets the
    /// traffic.
    #[command(
        after_help = "Examples:\n  freehold app start shop\n  freehold app start shop --json"
    )]
    Start {
        /// The app
        name: String,
    },
    /// Stop an app: it finishes what it began, and ends
    ///
    /// It finishes the requests it began (drain), and ends. Its domains answer that it is stopped.
    #[command(after_help = "Examples:\n  freehold app stop shop\n  freehold app stop shop --json")]
    Stop {
        /// The app
        name: String,
    },
    /// New containers beside the old ones, without a lost request
    #[command(
        after_help = "Examples:\n  freehold app restart shop\n  freehold app restart shop --json"
    )]
    Restart {
        /// The app
        name: String,
    },
}

#[derive(Debug, Args)]
struct Source {
    /// The repository, https or ssh
    #[arg(long, value_name = "URL")]
    git: Option<String>,
    /// The branch whose pushes are deployed
    #[arg(long)]
    branch: Option<String>,
    /// For a private repository over https; safer in FREEHOLD_GIT_TOKEN or, as -, on standard input: arguments show in `ps`
    #[arg(long, env = "FREEHOLD_GIT_TOKEN", hide_env_values = true)]
    git_token: Option<String>,
    /// File with a private key, for a private repository over ssh
    #[arg(long, value_name = "FILE")]
    git_key_file: Option<std::path::PathBuf>,
    /// The image registry that user and password are for; Docker Hub when absent
    #[arg(long, value_name = "HOST", requires = "registry_user")]
    registry: Option<String>,
    /// The name there; empty forgets the sign-in
    #[arg(long, value_name = "USER")]
    registry_user: Option<String>,
    /// The password there; safer in FREEHOLD_REGISTRY_PASSWORD or, as -, on standard input: arguments show in `ps`
    #[arg(long, env = "FREEHOLD_REGISTRY_PASSWORD", hide_env_values = true)]
    registry_password: Option<String>,
}

impl Source {
    fn form(self, name: Option<String>) -> Result<AppForm, Fail> {
        let stdin = Some("-");
        if self.git_token.as_deref() == stdin && self.registry_password.as_deref() == stdin {
            return Err(Fail::usage(
                "only one of --git-token and --registry-password can come on standard input: give the other in FREEHOLD_GIT_TOKEN or FREEHOLD_REGISTRY_PASSWORD",
            ));
        }
        let of_the_environment = std::env::var("FREEHOLD_REGISTRY_PASSWORD").ok();
        if self.registry_user.is_none() && self.registry_password != of_the_environment {
            return Err(Fail::usage(
                "--registry-password is given without --registry-user: name who it is the password of",
            ));
        }
        let git_key = match self.git_key_file {
            None => None,
            Some(file) => Some(Secret::new(std::fs::read_to_string(&file).map_err(
                |e| Fail::usage(format!("{} cannot be read: {e}", file.display())),
            )?)),
        };
        Ok(AppForm {
            name,
            git_url: self.git,
            git_branch: self.branch,
            git_token: typed::secret(self.git_token)?,
            git_key,
            registry_password: match self.registry_user {
                Some(_) => typed::secret(self.registry_password)?,
                None => None,
            },
            registry_host: self.registry,
            registry_user: self.registry_user,
        })
    }
}

/// The API's path of an app.
pub fn path(name: &str) -> String {
    let name = percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC);
    format!("/api/v1/apps/{name}")
}

/// How long the removal of an app is waited for.
const REMOVAL: Duration = Duration::from_secs(180);
/// After this long it is looked at whether anything holds it up.
const HELD_UP: Duration = Duration::from_secs(5);
/// Looks in a row at which the engine has to be away: one that is busy misses one.
const SILENT: u32 = 3;

/// Runs the verb.
///
/// # Errors
/// The daemon's problem, or that it cannot be reached.
pub async fn run(client: &Client, global: &Global, arguments: Arguments) -> Result<(), Fail> {
    match arguments.verb {
        Verb::Create { name, source } => {
            let form = source.form(Some(name))?;
            let made: AppDetail = client.send(Method::POST, "/api/v1/apps", &form).await?;
            show(global, &made);
            Ok(())
        }
        Verb::Set { name, source } => {
            let form = source.form(None)?;
            let changed: AppDetail = client.send(Method::PATCH, &path(&name), &form).await?;
            show(global, &changed);
            Ok(())
        }
        Verb::List => {
            let all: Vec<AppSummary> = client.list("/api/v1/apps").await?;
            list(global, &all);
            Ok(())
        }
        Verb::Show { name } => {
            let app: AppDetail = client.get(&path(&name)).await?;
            show(global, &app);
            Ok(())
        }
        Verb::Webhook {
            name,
            new_secret,
            yes,
        } => {
            if new_secret {
                let what = format!(
                    "This ends the webhook secret of {name}; pushes signed with it are refused"
                );
                confirm(&what, &name, yes)?;
            }
            let what = match new_secret {
                true => "webhook-secret",
                false => "webhook-secret/reveal",
            };
            let hook: WebhookSecret = post(client, &name, what).await?;
            if global.json {
                output::json(&hook);
                return Ok(());
            }
            output::line(format!("  webhook {}", hook.url));
            output::line(format!("  secret  {}", hook.secret.expose()));
            if new_secret {
                output::line(
                    "Events signed with the old secret are refused now: give the git host this one.",
                );
            }
            Ok(())
        }
        Verb::Rm { name, yes, volumes } => remove(client, global, &name, yes, volumes).await,
        Verb::Stop { name } => {
            let stopped: Changed = post(client, &name, "stop").await?;
            output::either(global.json, &stopped, || {
                output::line(match stopped.changed {
                    true => format!("{name} is stopping."),
                    false => format!("{name} was stopped already."),
                });
            });
            Ok(())
        }
        Verb::Start { name } => {
            let started: Changed = post(client, &name, "start").await?;
            match started.deploy {
                Some(deploy) => follow(client, global, &name, deploy).await,
                None => {
                    output::either(global.json, &started, || {
                        output::line(format!("{name} is running already."));
                    });
                    Ok(())
                }
            }
        }
        Verb::Restart { name } => {
            let restarted: Changed = post(client, &name, "restart").await?;
            match restarted.deploy {
                Some(deploy) => follow(client, global, &name, deploy).await,
                None => {
                    output::either(global.json, &restarted, || {
                        output::line(format!("{name} had nothing to restart."));
                    });
                    Ok(())
                }
            }
        }
    }
}

async fn post<T: DeserializeOwned>(client: &Client, name: &str, what: &str) -> Result<T, Fail> {
    let path = format!("{}/{what}", path(name));
    client.send(Method::POST, &path, &Value::Null).await
}

/// What holds a removal up, when it does: the engine that is away, or what its last try met. Who may not see the box, or
/// no longer the job, goes on waiting.
async fn held_up(client: &Client, job: Option<i64>, silent: &mut u32) -> Option<String> {
    if let Ok(status) = client.get::<Status>("/api/v1/status").await {
        match status.engine.error {
            Some(why) if *silent + 1 == SILENT => return Some(why),
            Some(_) => *silent += 1,
            None => *silent = 0,
        }
    }
    let job: Job = client.get(&format!("/api/v1/jobs/{}", job?)).await.ok()?;
    // One that met something twice is not about to get over it.
    job.error.filter(|_| job.attempts > 1).map(|e| e.detail)
}

async fn remove(
    client: &Client,
    global: &Global,
    name: &str,
    yes: bool,
    volumes: bool,
) -> Result<(), Fail> {
    let _there: AppDetail = client.get(&path(name)).await?;
    let what = match volumes {
        true => format!("This removes {name}, what runs of it and its volumes with their data"),
        false => format!("This removes {name} and what runs of it"),
    };
    confirm(&what, name, yes)?;
    let target = format!("{}?volumes={volumes}", path(name));
    let accepted: Value = client.json(Method::DELETE, &target, full(""), None).await?;
    let job = accepted["job"]["id"].as_i64();
    let begun = Instant::now();
    let mut progress = Progress::of_state(global, format!("Removing {name}"));
    let mut silent = 0;
    while begun.elapsed() < REMOVAL {
        progress.state("containers end first");
        match client.get::<AppDetail>(&path(name)).await {
            Err(Fail::Problem(problem)) if problem.kind == ProblemKind::NotFound => {
                drop(progress);
                output::either(
                    global.json,
                    &json!({ "app": name, "volumes": volumes }),
                    || {
                        output::line(format!("{name} is removed."));
                    },
                );
                return Ok(());
            }
            Err(other) => return Err(other),
            Ok(_) => tokio::time::sleep(Duration::from_millis(300)).await,
        }
        if begun.elapsed() > HELD_UP
            && let Some(why) = held_up(client, job, &mut silent).await
        {
            drop(progress);
            return Err(Fail::Ended(format!(
                "{name} is not removed yet: {why}. The removal goes on by itself when that has passed"
            )));
        }
    }
    Err(Fail::Ended(format!(
        "{name} is still being removed; its activity tells what holds it up"
    )))
}

fn list(global: &Global, all: &[AppSummary]) {
    if global.json {
        return output::json(&all);
    }
    if all.is_empty() {
        return output::line("There are no apps yet: make one with `freehold app create NAME`.");
    }
    let heading = ["APP", "STATE", "RELEASE", "LAST DEPLOY", "DOMAINS"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    for app in all {
        rows.push(vec![
            app.name.clone(),
            app.state.clone(),
            app.release.map(|r| format!("v{r}")).unwrap_or_default(),
            app.last_deploy.clone().unwrap_or_default(),
            app.domains.join(" "),
        ]);
    }
    output::table(&rows);
}

fn show(global: &Global, app: &AppDetail) {
    if global.json {
        return output::json(app);
    }
    let summary = &app.summary;
    let release = summary.release.map(|r| format!(", v{r} is live"));
    output::line(format!(
        "{}: {}{}",
        summary.name,
        summary.state,
        release.unwrap_or_default()
    ));
    for domain in &summary.domains {
        output::line(format!("  https://{domain}"));
    }
    match &app.git_url {
        Some(url) => output::line(format!("  from {url}, branch {}", app.git_branch)),
        None => output::line("  no repository; deploy a folder or an image"),
    }
    output::line(format!(
        "  webhook {}, its secret by `freehold app webhook {}`",
        app.webhook.url, summary.name
    ));
    if !app.replicas.is_empty() {
        output::line("");
    }
    for replica in &app.replicas {
        let since = replica.started_ms.map(|ms| UnixMs(ms).iso());
        output::line(format!(
            "  {}  {}  since {}{}{}",
            replica.name,
            replica.state,
            since.unwrap_or_else(|| "-".into()),
            replica.usage.map_or_else(String::new, uses),
            match replica.restarts {
                0 => String::new(),
                n => format!(", brought back {n} times"),
            }
        ));
        if let Some(left_out) = &replica.left_out {
            output::line(format!("    {}", left_out.words()));
        }
        for death in &replica.deaths {
            output::line(format!(
                "    {} it {}",
                UnixMs(death.at_ms).iso(),
                death.why
            ));
        }
        // Whole lines of the newest one: the others' are in `--json`.
        let newest = replica.deaths.first().map(|death| &death.lines);
        for line in newest.into_iter().flatten() {
            output::line(format!("      | {line}"));
        }
    }
}

fn uses(usage: Usage) -> String {
    let memory = usage.memory >> 20;
    match usage.cpu {
        Some(cores) => format!(", uses {memory} MB and {cores:.2} cores"),
        None => format!(", uses {memory} MB"),
    }
}
