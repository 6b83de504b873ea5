//! `freehold db`: managed Postgres databases.

use std::time::Duration;

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};

use super::client::{Client, segment};
use super::confirm::confirm;
use super::output::{self, Fail};
use super::progress::Progress;
use super::show::{bytes, time};
use super::{Global, job, terminal};
use crate::wire::apps::Changed;
use crate::wire::databases::{
    Attach, Attached, AttachmentUrl, Database, DatabaseDetails, NewDatabase, Remove,
};
use crate::wire::jobs::WithJob;

/// Postgres databases
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  freehold db create main\n  freehold db create main --version 16 --memory 1G\n  freehold db attach main tasks     # the app tasks gets DATABASE_URL, by a deploy when it is live\n  freehold db url main tasks         # its URL, with the password\n  freehold db psql main"
)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Start a Postgres and wait until it answers a query
    ///
    /// A Postgres server of its own, in a container with this memory and a network of its own, dumped every day.
    #[command(
        after_help = "Examples:\n  freehold db create main\n  freehold db create main --version 16 --memory 1G\n  freehold db create main --no-wait"
    )]
    Create {
        /// Its name
        name: String,
        /// Major version (13 to 18)
        #[arg(long)]
        version: Option<String>,
        /// Memory limit, such as 512M
        #[arg(long)]
        memory: Option<String>,
        /// Return at once
        #[arg(long)]
        no_wait: bool,
    },
    /// All databases
    #[command(after_help = "Examples:\n  freehold db list\n  freehold db list --json")]
    List,
    /// One database: state, size, connections, apps
    #[command(after_help = "Examples:\n  freehold db show main\n  freehold db show main --json")]
    Show {
        /// Its name
        name: String,
    },
    /// Remove a database with all its data
    ///
    /// Apps have to be detached first. Backups that are stored stay at their target. On a terminal its name has to be
    /// typed; elsewhere --yes says it.
    #[command(after_help = "Examples:\n  freehold db rm main\n  freehold db rm main --yes")]
    Rm {
        /// Its name
        name: String,
        /// Do not ask for the name
        #[arg(long)]
        yes: bool,
    },
    /// Give an app its own role and database
    ///
    /// The app finds the address in DATABASE_URL, or in the variable named with --as. An app that is live gets it by
    /// a deploy.
    #[command(
        after_help = "Examples:\n  freehold db attach main shop\n  freehold db attach main shop --as ORDERS_URL"
    )]
    Attach {
        /// The database server
        name: String,
        /// The app
        app: String,
        /// The variable the app finds it in, instead of DATABASE_URL
        #[arg(long = "as")]
        env_name: Option<String>,
        /// Return at once
        #[arg(long)]
        no_wait: bool,
    },
    /// Take an app's access away; its data stays
    ///
    /// The app loses its role and its address. On a terminal the app's name has to be typed; elsewhere --yes says it.
    #[command(
        after_help = "Examples:\n  freehold db detach main shop\n  freehold db detach main shop --yes"
    )]
    Detach {
        /// The database server
        name: String,
        /// The app
        app: String,
        /// Do not ask for the name
        #[arg(long)]
        yes: bool,
        /// Return at once
        #[arg(long)]
        no_wait: bool,
    },
    /// The URL an app is given; that it was shown is audited
    #[command(
        after_help = "Examples:\n  freehold db url main tasks\n  freehold db url main tasks --json"
    )]
    Url {
        /// The database server
        name: String,
        /// The attached app
        app: String,
    },
    /// Open psql
    ///
    /// It runs beside the server, with the server's own version; nothing is installed here. Commands may also come on
    /// standard input.
    #[command(
        after_help = "Examples:\n  freehold db psql main\n  freehold db psql main --part shop\n  echo 'select 1' | freehold db psql main"
    )]
    Psql {
        /// The database server
        name: String,
        /// The database on it; the attached app's when there is one app only
        #[arg(long)]
        part: Option<String>,
    },
}

/// Runs the verb.
///
/// # Errors
/// The daemon's problem, or that it cannot be reached.
pub async fn run(client: &Client, global: &Global, arguments: Arguments) -> Result<(), Fail> {
    match arguments.verb {
        Verb::Create {
            name,
            version,
            memory,
            no_wait,
        } => {
            let new = NewDatabase {
                name,
                version,
                memory,
            };
            let mut made: Database = client.send(Method::POST, "/api/v1/databases", &new).await?;
            if !no_wait {
                made = wait(client, global, &made.name).await?;
            }
            said(global, &made, || {
                output::line(match made.state.as_str() {
                    "ready" => format!(
                        "{} is ready: Postgres {}.",
                        made.name,
                        made.server_version.as_deref().unwrap_or_default()
                    ),
                    state => format!("{} is {state}.", made.name),
                });
            });
        }
        Verb::List => {
            let all: Vec<Database> = client.list("/api/v1/databases").await?;
            said(global, &all, || list(&all));
        }
        Verb::Show { name } => {
            let details: DatabaseDetails = client.get(&path(&name)).await?;
            said(global, &details, || show(&details));
        }
        Verb::Rm { name, yes } => {
            let _there: DatabaseDetails = client.get(&path(&name)).await?;
            confirm(
                &format!("This removes {name} with all its data"),
                &name,
                yes,
            )?;
            let body = Remove {
                confirm: name.clone(),
            };
            let _accepted: Value = client.send(Method::DELETE, &path(&name), &body).await?;
            said(global, &json!({ "database": name }), || {
                output::line(format!("{name} and its data are being removed."));
            });
        }
        Verb::Attach {
            name,
            app,
            env_name,
            no_wait,
        } => {
            let what = format!("Attaching {app} to {name}");
            let body = Attach { app, env_name };
            let target = format!("{}/attachments", path(&name));
            let answer: WithJob<Attached> = client.send(Method::POST, &target, &body).await?;
            let mut attached = answer.what;
            if let Some(job) = answer.job.filter(|_| !no_wait) {
                attached.change.deploy = job::over(client, global, job, &what).await?.deploy;
                "attached".clone_into(&mut attached.link.state);
            }
            said(global, &attached, || {
                output::line(attached_words(&name, &attached));
            });
        }
        Verb::Detach {
            name,
            app,
            yes,
            no_wait,
        } => {
            let what = format!("This takes {app} its access to {name}; its data stays");
            confirm(&what, &app, yes)?;
            let target = format!("{}/attachments/{}", path(&name), segment(&app));
            let answer: WithJob<Changed> =
                client.send(Method::DELETE, &target, &Value::Null).await?;
            let mut done = answer.what;
            let followed = answer.job.filter(|_| !no_wait);
            let over = followed.is_some();
            if let Some(job) = followed {
                let what = format!("Detaching {app} from {name}");
                done.deploy = job::over(client, global, job, &what).await?.deploy;
            }
            said(global, &done, || {
                output::line(match over {
                    true => detached_words(&name, &app, &done),
                    false => format!("{app} is being detached; its data stays in {name}."),
                });
            });
        }
        Verb::Url { name, app } => {
            let target = format!("{}/attachments/{}/reveal", path(&name), segment(&app));
            let told: AttachmentUrl = client.send(Method::POST, &target, &Value::Null).await?;
            match global.json {
                true => output::json(&told),
                false => output::line(told.url.expose()),
            }
        }
        Verb::Psql { name, part } => {
            let part = part.map(|p| segment(&p)).unwrap_or_default();
            let path = format!("{}/psql?part={part}", path(&name));
            terminal::run(client, global, &path, true, true).await?;
        }
    }
    Ok(())
}

fn attached_words(name: &str, attached: &Attached) -> String {
    let Attached { link, change } = attached;
    let (app, variable) = (&link.app, &link.env_name);
    match change.deploy {
        _ if link.state == "attaching" => {
            format!("{app} is being attached to {name}; it gets {variable} when that is done.")
        }
        _ if !change.changed => {
            format!("{app} was attached to {name} before, in {variable}; nothing is different.")
        }
        Some(deploy) => {
            format!("{app} is attached to {name}; deploy {deploy} brings it {variable}.")
        }
        None => {
            format!(
                "{app} is attached to {name}; it gets {variable} when it is next deployed or started."
            )
        }
    }
}

fn detached_words(name: &str, app: &str, change: &Changed) -> String {
    let data = format!("its data stays in {name}");
    match change.deploy {
        Some(deploy) => {
            format!("{app} is detached, and deploy {deploy} takes the variable from it; {data}.")
        }
        None => format!("{app} is detached; {data}."),
    }
}

fn path(name: &str) -> String {
    format!("/api/v1/databases/{}", segment(name))
}

pub(super) fn said(global: &Global, value: &impl serde::Serialize, words: impl FnOnce()) {
    output::either(global.json, value, words);
}

/// Until it is ready, or why not.
async fn wait(client: &Client, global: &Global, name: &str) -> Result<Database, Fail> {
    let mut progress = Progress::of_state(global, format!("Making {name}"));
    loop {
        let shown: DatabaseDetails = client.get(&path(name)).await?;
        let database = shown.database;
        match database.state.as_str() {
            "ready" => return Ok(database),
            "failed" => {
                return Err(Fail::Ended(database.reason.unwrap_or_default()));
            }
            _ => {}
        }
        let now = match &database.reason {
            Some(why) => format!("{}: {why}", database.state),
            None => database.state.clone(),
        };
        progress.state(&now);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

fn list(all: &[Database]) {
    if all.is_empty() {
        output::line("No databases yet: freehold db create main");
        return;
    }
    let mut rows = vec![
        ["NAME", "STATE", "POSTGRES", "MEMORY", "APPS"]
            .map(str::to_owned)
            .to_vec(),
    ];
    rows.extend(all.iter().map(|d| {
        let apps: Vec<&str> = d.apps.iter().map(|a| a.app.as_str()).collect();
        vec![
            d.name.clone(),
            d.state.clone(),
            d.server_version
                .clone()
                .unwrap_or_else(|| d.version.to_string()),
            bytes(d.memory_bytes),
            if apps.is_empty() {
                "-".into()
            } else {
                apps.join(", ")
            },
        ]
    }));
    output::table(&rows);
}

fn show(details: &DatabaseDetails) {
    let database = &details.database;
    output::line(format!(
        "{} is {}, {} with {} of memory",
        database.name,
        database.state,
        database.image,
        bytes(database.memory_bytes)
    ));
    if let Some(why) = &database.reason {
        output::line(format!("  {why}"));
    }
    if let Some(version) = &database.server_version {
        output::line(format!("Postgres {version}"));
    }
    if let Some(inside) = &details.inside {
        output::line(format!(
            "{} on disk, {} of {} connections, as of {}",
            bytes(inside.size_bytes),
            inside.connections,
            inside.max_connections,
            time(inside.as_of_ms)
        ));
        for part in &inside.databases {
            output::line(format!(
                "  {} ({}), owned by {}",
                part.name,
                bytes(part.size_bytes),
                part.owner
            ));
        }
    }
    if let Some(why) = &details.silent {
        let what = match details.inside {
            Some(_) => "Nothing newer is known",
            None => "What is inside is not known",
        };
        output::line(format!("{what}: {why}"));
    }
    for app in &database.apps {
        output::line(format!("{} is {}: {}", app.app, app.state, app.env_name));
    }
    output::line(format!(
        "Dumped every day at {}, next {}",
        details.backup_at,
        time(details.next_backup_ms)
    ));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::databases::Attachment;

    #[test]
    fn f3_one_sentence_says_what_became_of_the_app() {
        let said = |changed, deploy| {
            let link = Attachment {
                app: "shop".into(),
                role: "shop".into(),
                env_name: "DATABASE_URL".into(),
                state: "attached".into(),
                reason: None,
            };
            let change = Changed { changed, deploy };
            attached_words("main", &Attached { link, change })
        };
        assert_eq!(
            said(true, Some(4)),
            "shop is attached to main; deploy 4 brings it DATABASE_URL."
        );
        assert!(said(true, None).ends_with("when it is next deployed or started."));
        assert!(said(false, None).contains("nothing is different"));
        let gone = Changed {
            changed: true,
            deploy: Some(5),
        };
        assert_eq!(
            detached_words("main", "shop", &gone),
            "shop is detached, and deploy 5 takes the variable from it; its data stays in main."
        );
    }
}
