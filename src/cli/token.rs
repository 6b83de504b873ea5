//! `freehold token`: how programs come in.

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};

use super::Global;
use super::client::{Client, full};
use super::confirm::confirm;
use super::output::{self, Fail};
use super::show::maybe_time;
use crate::wire::tokens::{MadeToken, NewToken, Token};

/// Tokens of programs
#[derive(Debug, Args)]
#[command(
    after_help = "Verbs:\n  read    look\n  deploy  look, deploy, roll back (the default)\n  change  everything its maker may\n\nExamples:\n  freehold token add \"CI of shop\" --kind deploy --app shop\n  freehold token add laptop --verb change --days 0\n  freehold token list"
)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a token: it is printed once
    ///
    /// It is stored as a hash: what is printed now cannot be shown again.
    #[command(
        after_help = "Examples:\n  freehold token add \"CI of my-app\" --app shop\n  freehold token add laptop --verb change --days 0"
    )]
    Add {
        /// What it is for
        name: String,
        /// personal, or deploy: for one --app, which it does nothing but deploy, and goes with
        #[arg(long, default_value = "personal")]
        kind: String,
        /// read, deploy or change
        #[arg(long, default_value = "deploy")]
        verb: String,
        /// An app it is for, may be given again; every app when absent
        #[arg(long = "app", value_name = "APP")]
        apps: Vec<String>,
        /// Days until it ends; 0 is never
        #[arg(long, default_value_t = 90)]
        days: u32,
    },
    /// All tokens, with their last use
    #[command(after_help = "Examples:\n  freehold token list\n  freehold token list --json")]
    List,
    /// End a token
    ///
    /// Whatever uses it is refused from then on. On a terminal its name has to be typed; elsewhere --yes says it.
    #[command(after_help = "Examples:\n  freehold token rm 3\n  freehold token rm 3 --yes")]
    Rm {
        /// Its number in the list
        id: i64,
        /// Do not ask for its name
        #[arg(long)]
        yes: bool,
    },
}

/// Runs the verb.
///
/// # Errors
/// The daemon's problem, or that it cannot be reached.
pub async fn run(client: &Client, global: &Global, arguments: Arguments) -> Result<(), Fail> {
    match arguments.verb {
        Verb::Add {
            name,
            kind,
            verb,
            apps,
            days,
        } => {
            let new = NewToken {
                name,
                kind: Some(kind),
                verb: Some(verb),
                apps: Some(apps).filter(|apps| !apps.is_empty()),
                days: Some(days),
            };
            let made: MadeToken = client.send(Method::POST, "/api/v1/tokens", &new).await?;
            match global.json {
                true => output::json(&made),
                false => output::line(made.token.expose()),
            }
        }
        Verb::List => list(global, &client.list::<Token>("/api/v1/tokens").await?),
        Verb::Rm { id, yes } => {
            let all: Vec<Token> = client.list("/api/v1/tokens").await?;
            let Some(token) = all.iter().find(|t| t.id == id) else {
                return Err(Fail::not_found(format!(
                    "there is no token {id}: `freehold token list` shows those there are"
                )));
            };
            let what = format!(
                "This ends the token {}; what uses it is refused",
                token.name
            );
            confirm(&what, &token.name, yes)?;
            let path = format!("/api/v1/tokens/{id}");
            let _gone: Value = client.json(Method::DELETE, &path, full(""), None).await?;
            output::either(global.json, &json!({ "token": id }), || {
                output::line(format!("The token {id} is ended."));
            });
        }
    }
    Ok(())
}

fn list(global: &Global, all: &[Token]) {
    if global.json {
        return output::json(&all);
    }
    let head = [
        "ID",
        "NAME",
        "KIND",
        "WHOSE",
        "MAY",
        "APPS",
        "ENDS",
        "LAST USED",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(all.iter().map(|token| {
        let whose = token.user.clone().unwrap_or_else(|| "the box".into());
        let apps = match &token.apps {
            None => "all".to_owned(),
            Some(apps) => apps.join(", "),
        };
        vec![
            token.id.to_string(),
            token.name.clone(),
            token.kind.clone(),
            whose,
            token.verb.clone(),
            apps,
            maybe_time(token.expires_ms),
            maybe_time(token.used_ms),
        ]
    }));
    output::table(&rows);
}
