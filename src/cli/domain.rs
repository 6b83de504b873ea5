//! `freehold domain`, `scale` and `maintenance`: how an app is reached and how
//! much of it runs.

use clap::{Args, Subcommand, ValueEnum};
use http::Method;

use super::Global;
use super::app::path;
use super::client::{Client, full};
use super::confirm::confirm;
use super::deploy::follow;
use super::output::{self, Fail};
use super::policies::{self, Options};
use crate::wire::apps::{Changed, Domain, DomainLine, ScaleForm, Switch};

/// Where an app answers
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  freehold domain add shop shop.example.com\n  freehold domain list shop"
)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Give an app a domain; its certificate comes by itself
    ///
    /// Point the name's A or AAAA record to this box first: the certificate is ordered as soon as it leads here. With
    /// a path, only requests below it go to the app; the longest path wins.
    #[command(
        after_help = "Examples:\n  freehold domain add shop shop.example.com\n  freehold domain add shop shop.example.com/api --process api\n  freehold domain add shop www.example.com --redirect https://example.com"
    )]
    Add {
        /// The app
        name: String,
        /// HOST or HOST/PATH
        domain: String,
        /// Which process answers
        #[arg(long, default_value = "web")]
        process: String,
        /// Send everybody elsewhere, as to the same name without www
        #[arg(long, value_name = "URL")]
        redirect: Option<String>,
    },
    /// Say what a domain asks of requests and does to answers
    ///
    /// In force at once, without a deploy. An option sets its key anew; users, header rules and error pages are put beside
    /// those that are there; what no option names stays. A key that is set here goes before the same key of the app's
    /// freehold.toml. docs/policies.md says what each does.
    #[command(
        after_help = "Examples:\n  freehold domain set shop www.example.com --redirect https://example.com\n  freehold domain set shop staging.example.com --basic-auth ana < password.txt\n  freehold domain set shop example.com/login --rate 10/minute\n  freehold domain set shop example.com --hsts 365 --compress --error-page 503=down.html\n  freehold domain set shop admin.example.com --allow 10.0.0.0/8 --allow 2001:db8::/32\n  freehold domain set shop example.com/api --strip-prefix --header 'request set x-api: 2'\n  freehold domain set shop example.com --reset hsts"
    )]
    Set {
        /// The app
        name: String,
        /// HOST or HOST/PATH
        domain: String,
        #[command(flatten)]
        options: Box<Options>,
    },
    /// What a domain asks of requests and does to answers
    #[command(
        after_help = "Examples:\n  freehold domain show shop example.com\n  freehold domain show shop example.com/api --json"
    )]
    Show {
        /// The app
        name: String,
        /// HOST or HOST/PATH
        domain: String,
    },
    /// Take a domain from an app
    ///
    /// Its visitors reach the app there no more, and its certificate is not renewed. On a terminal the domain has to be
    /// typed; elsewhere --yes says it.
    #[command(
        after_help = "Examples:\n  freehold domain rm shop shop.example.com\n  freehold domain rm shop shop.example.com/api --yes"
    )]
    Rm {
        /// The app
        name: String,
        /// HOST or HOST/PATH
        domain: String,
        /// Do not ask for the domain
        #[arg(long)]
        yes: bool,
    },
    /// The domains of an app, and how their certificates stand
    #[command(
        after_help = "Examples:\n  freehold domain list shop\n  freehold domain list shop --json"
    )]
    List {
        /// The app
        name: String,
    },
}

/// Runs `freehold domain`.
///
/// # Errors
/// The daemon's problem, or that it cannot be reached.
pub async fn run(client: &Client, global: &Global, given: Arguments) -> Result<(), Fail> {
    match given.verb {
        Verb::Add {
            name,
            domain,
            process,
            redirect,
        } => {
            let form = Domain { domain, process };
            let target = format!("{}/domains", path(&name));
            let added: Domain = client.send(Method::POST, &target, &form).await?;
            if let Some(to) = redirect {
                let options = Options::redirects(vec![to]);
                return policies::set(client, global, (&name, &added.domain), &options).await;
            }
            match global.json {
                true => output::json(&added),
                false => output::line(format!("https://{} leads to {name}.", added.domain)),
            }
        }
        Verb::Set {
            name,
            domain,
            options,
        } => policies::set(client, global, (&name, &domain), &options).await?,
        Verb::Show { name, domain } => policies::show(client, global, &name, &domain).await?,
        Verb::Rm { name, domain, yes } => {
            let what = format!("This takes {domain} from {name}: visitors reach it there no more");
            confirm(&what, &domain, yes)?;
            let encoded =
                percent_encoding::utf8_percent_encode(&domain, percent_encoding::NON_ALPHANUMERIC);
            let target = format!("{}/domains?domain={encoded}", path(&name));
            let gone: Changed = client.json(Method::DELETE, &target, full(""), None).await?;
            output::either(global.json, &gone, || {
                output::line(format!("{domain} leads to {name} no more."));
            });
        }
        Verb::List { name } => {
            let all: Vec<DomainLine> = client.list(&format!("{}/domains", path(&name))).await?;
            if global.json {
                output::json(&all);
                return Ok(());
            }
            let mut rows = vec![
                ["DOMAIN", "PROCESS", "CERTIFICATE"]
                    .map(str::to_owned)
                    .to_vec(),
            ];
            rows.extend(
                all.iter()
                    .map(|d| vec![d.domain.clone(), d.process.clone(), d.certificate.clone()]),
            );
            output::table(&rows);
            for line in &all {
                if let Some(pending) = &line.pending {
                    output::line(format!("{}: {pending}", line.domain));
                }
            }
        }
    }
    Ok(())
}

/// How many replicas of a process run and what each may use
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  freehold scale shop web=2\n  freehold scale shop web=1..4\n  freehold scale shop worker --memory 512M --cpus 0.5"
)]
pub struct ScaleArguments {
    /// The app
    name: String,
    /// PROCESS, PROCESS=N or PROCESS=MIN..MAX
    process: String,
    /// The memory of each replica, such as 512M
    #[arg(long)]
    memory: Option<String>,
    /// The processor share of each replica, such as 0.5
    #[arg(long)]
    cpus: Option<String>,
}

/// Runs `freehold scale`.
///
/// # Errors
/// The daemon's problem, or that it cannot be reached.
pub async fn scale(client: &Client, global: &Global, given: ScaleArguments) -> Result<(), Fail> {
    let (process, replicas) = match given.process.split_once('=') {
        Some((process, replicas)) => (process.to_owned(), Some(replicas.to_owned())),
        None => (given.process, None),
    };
    if replicas.is_none() && given.memory.is_none() && given.cpus.is_none() {
        return Err(Fail::usage(
            "nothing to change: write PROCESS=N, --memory or --cpus",
        ));
    }
    let form = ScaleForm {
        process,
        replicas,
        memory: given.memory,
        cpus: given.cpus,
    };
    let target = format!("{}/scale", path(&given.name));
    let changed: Changed = client.send(Method::POST, &target, &form).await?;
    match changed.deploy {
        Some(deploy) => follow(client, global, &given.name, deploy).await,
        None => {
            output::either(global.json, &changed, || {
                output::line(match changed.changed {
                    true => format!("{} is being scaled.", given.name),
                    false => format!("{} was scaled so before; nothing is different.", given.name),
                });
            });
            Ok(())
        }
    }
}

/// A maintenance page instead of the app
///
/// Requests are held as long as `[hold] time` says, then answered 503 with a page; the app runs on. It ends by itself
/// when its time is over; switched on again, it lasts so long from then.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  freehold maintenance shop on              # for a day at most\n  freehold maintenance shop on --for 2h\n  freehold maintenance shop off"
)]
pub struct MaintenanceArguments {
    /// The app
    name: String,
    /// on or off
    position: Position,
    /// How long at most, from 1m to 30d; 24h when not given
    #[arg(long = "for", value_name = "TIME")]
    lasts: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Position {
    On,
    Off,
}

/// Runs `freehold maintenance`.
///
/// # Errors
/// The daemon's problem, or that it cannot be reached.
pub async fn maintenance(
    client: &Client,
    global: &Global,
    given: MaintenanceArguments,
) -> Result<(), Fail> {
    let on = given.position == Position::On;
    let word = match (on, &given.lasts) {
        (true, Some(time)) => format!("on for {time}"),
        (true, None) => "on for 24h".to_owned(),
        (false, _) => "off".to_owned(),
    };
    let switch = Switch {
        on,
        lasts: given.lasts,
    };
    let target = format!("{}/maintenance", path(&given.name));
    let changed: Changed = client.send(Method::POST, &target, &switch).await?;
    output::either(global.json, &changed, || {
        output::line(format!("Maintenance of {} is {word}.", given.name));
    });
    Ok(())
}
