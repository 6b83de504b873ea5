//! `freehold env`: an app's environment.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use http::Method;

use super::Global;
use super::app::path;
use super::client::Client;
use super::confirm::confirm;
use super::deploy::follow;
use super::output::{self, Fail};
use crate::apps::env;
use crate::base::clock::UnixMs;
use crate::wire::apps::{Changed, EnvChange, EnvEntry, EnvReveal, EnvValue};

/// The environment of an app
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  freehold env shop                       # the names\n  freehold env shop --values              # with values\n  freehold env shop set API_KEY=s3cret MODE=live"
)]
pub struct Arguments {
    /// The app
    name: String,
    /// Show the values too, in a form that `import` reads; that they were shown is audited
    #[arg(long)]
    values: bool,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Set variables, byte for byte as given
    ///
    /// No shell or file comes in between. A live app gets new containers with it, without a lost request; one that is
    /// stopped has it when it starts.
    #[command(
        after_help = "Examples:\n  freehold env shop set API_KEY=s3cret MODE=live\n  freehold env shop set 'MOTD=Two words' --detach"
    )]
    Set {
        /// NAME=value
        #[arg(required = true, value_name = "NAME=VALUE")]
        pairs: Vec<String>,
        /// Do not wait for the new containers
        #[arg(long)]
        detach: bool,
    },
    /// Remove variables
    ///
    /// What they held is gone. On a terminal the variable's name has to be typed, for several the app's; elsewhere --yes
    /// says it.
    #[command(
        after_help = "Examples:\n  freehold env shop unset MODE\n  freehold env shop unset MODE API_KEY --yes --detach"
    )]
    Unset {
        /// Their names
        #[arg(required = true)]
        names: Vec<String>,
        /// Do not ask for the name
        #[arg(long)]
        yes: bool,
        /// Do not wait for the new containers
        #[arg(long)]
        detach: bool,
    },
    /// Set all that a file of NAME=value lines says
    #[command(
        after_help = "Examples:\n  freehold env shop import .env\n  freehold env shop import .env --detach\n  freehold env shop --values | freehold env blog import -"
    )]
    Import {
        /// The file; - for standard input
        file: String,
        /// Do not wait for the new containers
        #[arg(long)]
        detach: bool,
    },
}

/// Runs the verb.
///
/// # Errors
/// The daemon's problem, or that it cannot be reached.
pub async fn run(client: &Client, global: &Global, given: Arguments) -> Result<(), Fail> {
    let usage = |e: crate::apps::AppError| Fail::usage(e.to_string());
    let (change, detach) = match given.verb {
        None => return show(client, global, &given.name, given.values).await,
        Some(Verb::Set { pairs, detach }) => {
            let mut set = BTreeMap::new();
            for pair in pairs {
                let (name, value) = env::read_pair(&pair).map_err(usage)?;
                set.insert(name.to_string(), value);
            }
            let unset = Vec::new();
            (EnvChange { set, unset }, detach)
        }
        Some(Verb::Unset { names, yes, detach }) => {
            let asked = match names.as_slice() {
                [one] => one,
                _ => &given.name,
            };
            let what = format!("This removes {} from {}", names.join(", "), given.name);
            confirm(&what, asked, yes)?;
            let set = BTreeMap::new();
            (EnvChange { set, unset: names }, detach)
        }
        Some(Verb::Import { file, detach }) => {
            let text = match file.as_str() {
                "-" => std::io::read_to_string(std::io::stdin()),
                file => std::fs::read_to_string(file),
            };
            let text = text.map_err(|e| Fail::usage(format!("{file} cannot be read: {e}")))?;
            let all = env::read_file(&text).map_err(|e| Fail::usage(format!("{file}, {e}")))?;
            let set = all.into_iter().map(|(n, v)| (n.to_string(), v)).collect();
            let unset = Vec::new();
            (EnvChange { set, unset }, detach)
        }
    };
    let target = format!("{}/env", path(&given.name));
    let changed: Changed = client.send(Method::PATCH, &target, &change).await?;
    match changed.deploy {
        Some(deploy) if !detach => follow(client, global, &given.name, deploy).await,
        _ => {
            match global.json {
                true => output::json(&changed),
                false => output::line(words(&given.name, &changed)),
            }
            Ok(())
        }
    }
}

/// What was changed, and when the app has it.
fn words(app: &str, changed: &Changed) -> String {
    match changed.deploy {
        _ if !changed.changed => "Nothing was different.".to_owned(),
        Some(deploy) => {
            format!("The environment is changed; deploy {deploy} brings it to {app}.")
        }
        None => format!(
            "The environment is changed. Nothing of {app} runs; it has it when the app starts, or is next deployed."
        ),
    }
}

async fn show(client: &Client, global: &Global, name: &str, values: bool) -> Result<(), Fail> {
    if values {
        return reveal(client, global, name).await;
    }
    let all: Vec<EnvEntry> = client.list(&format!("{}/env", path(name))).await?;
    if global.json {
        output::json(&all);
        return Ok(());
    }
    let mut rows = vec![vec!["NAME".to_owned(), "SET".to_owned()]];
    for entry in all {
        rows.push(vec![entry.name, UnixMs(entry.set_ms).iso()]);
    }
    output::table(&rows);
    Ok(())
}

async fn reveal(client: &Client, global: &Global, name: &str) -> Result<(), Fail> {
    let target = format!("{}/env/reveal", path(name));
    let which = EnvReveal::default();
    let all: Vec<EnvValue> = client.send(Method::POST, &target, &which).await?;
    if global.json {
        output::json(&all);
        return Ok(());
    }
    let pairs = all.iter().map(|e| (e.name.as_str(), e.value.expose()));
    output::line(env::write_file(pairs).trim_end_matches('\n'));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f4_a_changed_environment_says_when_the_app_has_it() {
        let said = |changed, deploy| words("shop", &Changed { changed, deploy });
        assert_eq!(said(false, None), "Nothing was different.");
        assert!(said(true, Some(4)).ends_with("deploy 4 brings it to shop."));
        assert!(said(true, None).contains("when the app starts"));
    }
}
