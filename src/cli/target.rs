//! `freehold target`: where backups go.

use std::io::{IsTerminal, Read};

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};

use super::Global;
use super::client::{Client, segment};
use super::confirm::confirm;
use super::db::said;
use super::output::{self, Fail};
use super::show::maybe_time;
use crate::base::secret::Secret;
use crate::wire::backups::{NewTarget, Target};

/// The variable a bucket's secret is taken from.
const SECRET: &str = "FREEHOLD_SECRET_KEY";

/// Where backups go
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  freehold target add usb dir:///mnt/usb\n  freehold target test offsite"
)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Try a place out and add it; the secret key comes from FREEHOLD_SECRET_KEY or standard input
    ///
    /// A folder is dir:///path, a bucket is s3://bucket/prefix. A small object is stored, read back and removed
    /// before the target counts. The secret key never stands on the command line, which every user of the box can
    /// read.
    #[command(
        after_help = "Examples:\n  FREEHOLD_SECRET_KEY=… freehold target add offsite s3://my-dumps/box-1 --endpoint https://s3.example.com --access-key AKID\n  freehold target add offsite s3://my-dumps --region eu-central-1 --access-key AKID < secret.txt\n  freehold target add usb dir:///mnt/usb"
    )]
    Add(Box<Add>),
    /// All targets
    #[command(after_help = "Examples:\n  freehold target list\n  freehold target list --json")]
    List,
    /// Store a small object, read it back, remove it
    #[command(
        after_help = "Examples:\n  freehold target test offsite\n  freehold target test offsite --json"
    )]
    Test {
        /// Its name
        name: String,
    },
    /// Send dumps there from now on
    #[command(
        after_help = "Examples:\n  freehold target use offsite\n  freehold target use usb --json"
    )]
    Use {
        /// Its name
        name: String,
    },
    /// Forget a target; what is stored there stays there
    ///
    /// A target with backups on it is only removed with --forget. On a terminal its name has to be typed; elsewhere
    /// --yes says it.
    #[command(
        after_help = "Examples:\n  freehold target rm offsite\n  freehold target rm offsite --forget --yes"
    )]
    Rm {
        /// Its name
        name: String,
        /// Forget the list of the backups that lie there, too
        #[arg(long)]
        forget: bool,
        /// Do not ask for the name
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, Args)]
struct Add {
    /// Its name
    name: String,
    /// s3://bucket/prefix or dir:///path
    place: String,
    /// The store's address; Amazon's when not given
    #[arg(long)]
    endpoint: Option<String>,
    /// The region; us-east-1 when not given
    #[arg(long)]
    region: Option<String>,
    /// The access key
    #[arg(long, env = "FREEHOLD_ACCESS_KEY", hide_env_values = true)]
    access_key: Option<String>,
    /// https://host/bucket rather than https://bucket.host; decided by the endpoint when not given
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    path_style: Option<bool>,
    /// Send dumps there from now on; the first target's do in any case
    #[arg(long)]
    default: bool,
}

/// Runs the verb.
///
/// # Errors
/// The daemon's problem, or that it cannot be reached.
pub async fn run(client: &Client, global: &Global, arguments: Arguments) -> Result<(), Fail> {
    match arguments.verb {
        Verb::Add(add) => {
            let secret_key = if add.place.starts_with("s3://") {
                Some(secret()?)
            } else {
                None
            };
            let new = NewTarget {
                name: add.name,
                place: add.place,
                endpoint: add.endpoint,
                region: add.region,
                path_style: add.path_style,
                access_key: add.access_key,
                secret_key,
                default: add.default,
            };
            let target: Target = client.send(Method::POST, "/api/v1/targets", &new).await?;
            said(global, &target, || {
                output::line(format!(
                    "{} works{}.",
                    target.name,
                    if target.default {
                        ", and dumps go there from now on"
                    } else {
                        ""
                    }
                ));
            });
        }
        Verb::List => {
            let all: Vec<Target> = client.list("/api/v1/targets").await?;
            said(global, &all, || list(&all));
        }
        Verb::Test { name } => {
            let target: Target = client
                .send(Method::POST, &format!("{}/test", path(&name)), &Value::Null)
                .await?;
            said(global, &target, || output::line(format!("{name} works.")));
        }
        Verb::Use { name } => {
            let target: Target = client
                .send(
                    Method::POST,
                    &format!("{}/default", path(&name)),
                    &Value::Null,
                )
                .await?;
            said(global, &target, || {
                output::line(format!("Dumps go to {name} from now on."));
            });
        }
        Verb::Rm { name, forget, yes } => {
            let all: Vec<Target> = client.list("/api/v1/targets").await?;
            if !all.iter().any(|t| t.name == name) {
                return Err(Fail::not_found(format!(
                    "there is no target \"{name}\": `freehold target list` shows those there are"
                )));
            }
            let what = match forget {
                true => format!("This forgets {name} and the list of the backups there"),
                false => format!("This forgets {name}"),
            };
            confirm(&what, &name, yes)?;
            let path = format!("{}?forget={forget}", path(&name));
            let _gone: Value = client.send(Method::DELETE, &path, &Value::Null).await?;
            said(global, &json!({ "target": name, "forgot": forget }), || {
                output::line(format!(
                    "{name} is forgotten; what is stored there stays there."
                ));
            });
        }
    }
    Ok(())
}

fn path(name: &str) -> String {
    format!("/api/v1/targets/{}", segment(name))
}

/// From the environment or standard input, never from the command line, which
/// every user of the box can read.
fn secret() -> Result<Secret, Fail> {
    if let Ok(text) = std::env::var(SECRET) {
        return Ok(Secret::new(text));
    }
    if std::io::stdin().is_terminal() {
        return Err(Fail::usage(format!(
            "the bucket's secret key is missing: give it in {SECRET}, or on standard input as in `freehold target add … < secret.txt`"
        )));
    }
    let mut text = String::new();
    std::io::stdin()
        .take(4096)
        .read_to_string(&mut text)
        .map_err(|e| Fail::usage(format!("the secret key cannot be read: {e}")))?;
    let secret = text.trim_end_matches(['\r', '\n']);
    if secret.is_empty() {
        return Err(Fail::usage(format!(
            "the bucket's secret key is missing: give it in {SECRET} or on standard input"
        )));
    }
    Ok(Secret::new(secret))
}

fn list(all: &[Target]) {
    if all.is_empty() {
        output::line("No targets: dumps lie on this box's own disk and are lost with it.");
        output::line("Add one: freehold target add offsite s3://bucket/prefix --access-key …");
        return;
    }
    let mut rows = vec![
        ["NAME", "PLACE", "AT", "DUMPS GO", "LAST USED", "FAULT"]
            .map(str::to_owned)
            .to_vec(),
    ];
    rows.extend(all.iter().map(|t| {
        vec![
            t.name.clone(),
            t.place.clone(),
            t.endpoint.clone().unwrap_or_else(|| "-".into()),
            if t.default { "here" } else { "-" }.into(),
            maybe_time(t.used_ms),
            t.fault.clone().unwrap_or_else(|| "-".into()),
        ]
    }));
    output::table(&rows);
}
