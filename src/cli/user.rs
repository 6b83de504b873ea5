//! `freehold user`: who may come in, and as what.

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};

use super::Global;
use super::client::{Client, full, segment};
use super::confirm::confirm;
use super::output::{self, Fail};
use super::show::maybe_time;
use crate::wire::sessions::{Ended, Session};
use crate::wire::users::{NewUser, User, UserChange, UserLink};

/// Who may come in, and as what
#[derive(Debug, Args)]
#[command(
    after_help = "Roles:\n  owner      everything\n  admin      everything but owners\n  viewer     sees everything but secrets, changes nothing\n  developer  everything of the apps named with --app, and sees no others\n\nadd, change, reset and second-factor-off are for a person: they work on the box and in the dashboard. A box that is used\nfrom elsewhere lets a token in, and a token makes nobody.\n\nExamples:\n  freehold user add ana@example.com --role developer --app shop\n  freehold user change ana@example.com --role admin\n  sudo freehold user reset      # a new one-time setup link for the owner"
)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

/// Whom the link without a name is for.
const OWNER: &str = "owner";

#[derive(Debug, Subcommand)]
enum Verb {
    /// Ask somebody in: prints a one-time link to send them
    #[command(
        after_help = "Examples:\n  freehold user add ana@example.com --role developer --app shop\n  freehold user add bo@example.com --role admin --json"
    )]
    Add {
        /// What they will sign in with, such as an e-mail address
        name: String,
        /// owner, admin, viewer or developer
        #[arg(long)]
        role: String,
        /// An app of a developer; may be given again
        #[arg(long = "app", value_name = "APP")]
        apps: Vec<String>,
    },
    /// Everybody, and those asked in
    #[command(after_help = "Examples:\n  freehold user list\n  freehold user list --json")]
    List,
    /// Give somebody another role, or other apps
    #[command(
        after_help = "Examples:\n  freehold user change ana@example.com --role admin\n  freehold user change ana@example.com --app shop --app blog"
    )]
    Change {
        /// The user
        name: String,
        /// owner, admin, viewer or developer
        #[arg(long)]
        role: Option<String>,
        /// An app of a developer; may be given again, and replaces those of now
        #[arg(long = "app", value_name = "APP")]
        apps: Vec<String>,
    },
    /// Take somebody out; their sessions end
    ///
    /// Tokens they made end with them. On a terminal the name has to be typed; elsewhere --yes says it.
    #[command(
        after_help = "Examples:\n  freehold user rm ana@example.com\n  freehold user rm ana@example.com --yes"
    )]
    Rm {
        /// The user
        name: String,
        /// Do not ask for the name
        #[arg(long)]
        yes: bool,
    },
    /// Where somebody is signed in; with `end`, not any more
    #[command(
        after_help = "Examples:\n  freehold user sessions ana@example.com\n  freehold user sessions ana@example.com --json"
    )]
    Sessions {
        /// The user
        name: String,
        #[command(subcommand)]
        what: Option<SessionsVerb>,
    },
    /// Turn somebody's second factor off: for one who lost their authenticator and knows their password
    ///
    /// From then on their password alone lets them in. On a terminal the name has to be typed; elsewhere --yes says it.
    #[command(
        after_help = "Examples:\n  freehold user second-factor-off ana@example.com\n  freehold user second-factor-off ana@example.com --yes --json"
    )]
    SecondFactorOff {
        /// The user
        name: String,
        /// Do not ask for the name
        #[arg(long)]
        yes: bool,
    },
    /// Print a one-time link by which a password is set anew; the owner's without a name
    ///
    /// Every session of theirs ends at once, so the name has to be typed on a terminal; elsewhere --yes says it. Without a
    /// name it works on the box alone, also when nobody can sign in any more; it asks for "owner", once that one has come in.
    #[command(
        after_help = "Examples:\n  freehold user reset ana@example.com\n  freehold user reset ana@example.com --yes\n  sudo freehold user reset\n  sudo freehold user reset --yes"
    )]
    Reset {
        /// The user
        name: Option<String>,
        /// Do not ask for the name
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, Subcommand)]
enum SessionsVerb {
    /// End one, or all of them
    ///
    /// The user's name has to be typed on a terminal; elsewhere --yes says it.
    #[command(
        after_help = "Examples:\n  freehold user sessions ana@example.com end\n  freehold user sessions ana@example.com end --yes\n  freehold user sessions ana@example.com end 3f9a1c --yes"
    )]
    End {
        /// Its mark in the list; all of them when absent
        mark: Option<String>,
        /// Do not ask for the name
        #[arg(long)]
        yes: bool,
    },
}

/// Runs the verb.
///
/// # Errors
/// The daemon's problem, or that it cannot be reached.
pub async fn run(client: &Client, global: &Global, arguments: Arguments) -> Result<(), Fail> {
    let one = |name: &str| format!("/api/v1/users/{}", segment(name));
    match arguments.verb {
        Verb::Add { name, role, apps } => {
            let new = NewUser { name, role, apps };
            let made: UserLink = client.send(Method::POST, "/api/v1/users", &new).await?;
            linked(global, &made, "The link works once, for three days.");
        }
        Verb::List => {
            let all: Vec<User> = client.list("/api/v1/users").await?;
            list(global, &all);
        }
        Verb::Change { name, role, apps } => {
            let change = UserChange {
                role,
                apps: Some(apps).filter(|apps| !apps.is_empty()),
            };
            let user: User = client.send(Method::PATCH, &one(&name), &change).await?;
            match global.json {
                true => output::json(&user),
                false => output::line(format!("{} is {} now.", user.name, user.role)),
            }
        }
        Verb::Rm { name, yes } => {
            let what = format!("This takes {name} out; their sessions and tokens end");
            confirm(&what, &name, yes)?;
            let _gone: Value = client
                .json(Method::DELETE, &one(&name), full(""), None)
                .await?;
            output::either(global.json, &json!({ "user": name }), || {
                output::line(format!("{name} is taken out."));
            });
        }
        Verb::Sessions { name, what } => {
            let all = format!("{}/sessions", one(&name));
            match what {
                None => sessions(global, &client.list::<Session>(&all).await?),
                Some(SessionsVerb::End {
                    mark: Some(mark),
                    yes,
                }) => {
                    let what = format!("This ends the session {mark} of {name}");
                    confirm(&what, &name, yes)?;
                    let path = format!("{all}/{}", segment(&mark));
                    let _gone: Value = client.json(Method::DELETE, &path, full(""), None).await?;
                    output::either(global.json, &Ended { ended: 1 }, || {
                        output::line(format!("The session {mark} of {name} is ended."));
                    });
                }
                Some(SessionsVerb::End { mark: None, yes }) => {
                    let what = format!("This ends every session of {name}");
                    confirm(&what, &name, yes)?;
                    let ended: Ended = client.json(Method::DELETE, &all, full(""), None).await?;
                    output::either(global.json, &ended, || {
                        output::line(format!("{} sessions of {name} are ended.", ended.ended));
                    });
                }
            }
        }
        Verb::SecondFactorOff { name, yes } => {
            let what = format!(
                "This turns the second factor of {name} off; their password alone lets them in"
            );
            confirm(&what, &name, yes)?;
            let path = format!("{}/second-factor", one(&name));
            let _gone: Value = client.json(Method::DELETE, &path, full(""), None).await?;
            output::either(global.json, &json!({ "user": name }), || {
                output::line(format!("The second factor of {name} is off."));
            });
        }
        Verb::Reset {
            name: Some(name),
            yes,
        } => {
            let what = format!("This makes a new link for {name} and ends every session of theirs");
            confirm(&what, &name, yes)?;
            let path = format!("{}/reset", one(&name));
            let made: UserLink = client.send(Method::POST, &path, &Value::Null).await?;
            linked(global, &made, "The link works once, for a day.");
        }
        Verb::Reset { name: None, yes } => {
            // The first link of a new box, and one after it, end nothing.
            let all: Vec<User> = client.list("/api/v1/users").await?;
            let has_come_in = |user: &User| user.name == OWNER && user.invited_until_ms.is_none();
            if all.iter().any(has_come_in) {
                let what = "This makes a new link for the owner and ends every session of theirs";
                confirm(what, OWNER, yes)?;
            }
            let path = "/api/v1/setup-link";
            let made: Value = client.send(Method::POST, path, &Value::Null).await?;
            if global.json {
                output::json(&made);
                return Ok(());
            }
            let text = |key: &str| made.get(key).and_then(Value::as_str).unwrap_or_default();
            output::line(format!("{}{}", text("address"), text("path")));
            output::line("The link works once, for a day.");
            let left = made.get("tokens_left").and_then(Value::as_u64);
            tokens_left(left.unwrap_or(0), "the owner");
        }
    }
    Ok(())
}

/// That programs still come in, and how to end that.
fn tokens_left(count: u64, name: &str) {
    let what = match count {
        0 => return,
        1 => format!("A token of {name} goes on"),
        n => format!("{n} tokens of {name} go on"),
    };
    output::line(format!(
        "{what}: `freehold token list` shows them, `freehold token rm` ends one."
    ));
}

fn linked(global: &Global, made: &UserLink, life: &str) {
    if global.json {
        return output::json(made);
    }
    output::line(made.link.expose());
    output::line(life);
    tokens_left(u64::try_from(made.tokens_left).unwrap_or(0), &made.name);
}

fn sessions(global: &Global, all: &[Session]) {
    if global.json {
        return output::json(&all);
    }
    let head = ["MARK", "LAST SEEN", "BEGAN", "FROM", "BROWSER"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(all.iter().map(|s| {
        vec![
            s.mark.clone(),
            maybe_time(Some(s.seen_ms)),
            maybe_time(Some(s.created_ms)),
            s.address.clone(),
            s.agent.chars().take(60).collect(),
        ]
    }));
    output::table(&rows);
}

fn list(global: &Global, all: &[User]) {
    if global.json {
        return output::json(&all);
    }
    let mut rows = vec![vec![
        "NAME".into(),
        "ROLE".into(),
        "APPS".into(),
        "SECOND FACTOR".into(),
        "LAST SEEN".into(),
    ]];
    rows.extend(all.iter().map(|user| {
        let seen = match user.invited_until_ms {
            Some(_) => "asked in".to_owned(),
            None => maybe_time(user.seen_ms),
        };
        vec![
            user.name.clone(),
            user.role.clone(),
            user.apps.join(", "),
            match user.second_factor {
                true => "on".into(),
                false => String::new(),
            },
            seen,
        ]
    }));
    output::table(&rows);
}
