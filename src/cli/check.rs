//! `freehold check`: what is asked whether it answers.

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};

use super::Global;
use super::client::{Client, full};
use super::confirm::confirm;
use super::output::{self, Fail};
use crate::base::clock::UnixMs;
use crate::wire::checks::{Check, CheckState, Incident, NewCheck};

/// What is asked whether it answers
///
/// Every domain of an app is checked by itself, through the box's own edge; addresses of others are added here.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  freehold check list\n  freehold check incidents\n  freehold check add docs https://docs.example.com/"
)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Every check and how it stands
    #[command(after_help = "Examples:\n  freehold check list\n  freehold check list --json")]
    List,
    /// The times a check was not answered, newest first
    #[command(
        after_help = "Examples:\n  freehold check incidents\n  freehold check incidents --json"
    )]
    Incidents,
    /// Check an address of your own every 30 s
    ///
    /// From 500 on an answer counts as down, and none within 10 s does. Two quick rechecks come before an
    /// incident begins.
    #[command(
        after_help = "Examples:\n  freehold check add docs https://docs.example.com/\n  freehold check add partner https://api.partner.example/healthz --json"
    )]
    Add {
        /// What to call it
        name: String,
        /// http:// or https://
        url: String,
    },
    /// Stop checking an address that was added by hand
    ///
    /// Its figures go with it. The check of an app's domain ends with the domain.
    #[command(after_help = "Examples:\n  freehold check rm docs\n  freehold check rm docs --yes")]
    Rm {
        /// Its name
        name: String,
        /// Do not ask for the name
        #[arg(long)]
        yes: bool,
    },
}

/// Runs the verb.
///
/// # Errors
/// The daemon's problem.
pub async fn run(client: &Client, global: &Global, arguments: Arguments) -> Result<(), Fail> {
    match arguments.verb {
        Verb::List => list(client, global).await,
        Verb::Incidents => incidents(client, global).await,
        Verb::Add { name, url } => {
            let new = NewCheck { name, url };
            let made: Check = client.send(Method::POST, "/api/v1/checks", &new).await?;
            if global.json {
                output::json(&made);
            } else {
                output::line(format!("{} is checked from now on.", made.url));
            }
            Ok(())
        }
        Verb::Rm { name, yes } => {
            let all: Vec<Check> = client.list("/api/v1/checks").await?;
            let Some(check) = all.iter().find(|c| c.by_hand && c.name == name) else {
                return Err(Fail::not_found(format!(
                    "there is no check \"{name}\" that was added by hand; `freehold check list` shows all"
                )));
            };
            let what = format!("This ends the check {name} with its figures");
            confirm(&what, &name, yes)?;
            let path = format!("/api/v1/checks/{}", check.id);
            let _gone: Value = client.json(Method::DELETE, &path, full(""), None).await?;
            output::either(global.json, &json!({ "check": name }), || {
                output::line(format!("{} is not checked any more.", check.url));
            });
            Ok(())
        }
    }
}

async fn list(client: &Client, global: &Global) -> Result<(), Fail> {
    let all: Vec<Check> = client.list("/api/v1/checks").await?;
    if global.json {
        output::json(&all);
        return Ok(());
    }
    if all.is_empty() {
        output::line("Nothing is checked yet. A domain is, from the moment its app is live.");
        return Ok(());
    }
    let head = ["NAME", "STATE", "LAST DAY", "ANSWER", "ADDRESS"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(all.iter().map(|check| {
        vec![
            check.name.clone(),
            match check.state {
                CheckState::Pending => "pending".into(),
                CheckState::Up => "up".into(),
                CheckState::Paused => "paused".into(),
                CheckState::Down => {
                    format!("down: {}", check.why.as_deref().unwrap_or("no answer"))
                }
            },
            check
                .day_share
                .map_or_else(|| "-".into(), |s| format!("{:.2} %", s * 100.0)),
            check
                .millis
                .map_or_else(|| "-".into(), |ms| format!("{ms} ms")),
            check.url.clone(),
        ]
    }));
    output::table(&rows);
    Ok(())
}

async fn incidents(client: &Client, global: &Global) -> Result<(), Fail> {
    let all: Vec<Incident> = client.list("/api/v1/incidents?limit=100").await?;
    if global.json {
        output::json(&all);
        return Ok(());
    }
    let mut rows = vec![
        ["CHECK", "BEGAN", "OVER", "WHY"]
            .map(str::to_owned)
            .to_vec(),
    ];
    rows.extend(all.into_iter().map(|i| {
        let over = i
            .closed_ms
            .map_or_else(|| "not yet".to_owned(), |at: UnixMs| at.to_string());
        vec![i.name, i.opened_ms.to_string(), over, i.why]
    }));
    output::table(&rows);
    Ok(())
}
