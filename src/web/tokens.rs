//! Making a token: what pages and API have in common.

use std::time::Duration;

use super::audit::Telling;
use super::caller::Caller;
use super::error::Failure;
use super::people;
use super::services::App;
use crate::base::clock::UnixMs;
use crate::users::{Made, NewToken, Verb};
use crate::wire::problem::{Problem, ProblemKind};

/// Days a token lasts when nobody says.
pub const DAYS: u32 = 90;
/// The longest, ten years.
const MOST_DAYS: u32 = 3_650;

/// The word for a kind of token.
pub fn kind(deploys: bool) -> &'static str {
    match deploys {
        true => "deploy",
        false => "personal",
    }
}

/// What was asked for.
pub struct Wanted<'a> {
    /// What it is for.
    pub name: &'a str,
    /// `personal` or `deploy`.
    pub kind: &'a str,
    /// `read`, `deploy` or `change`.
    pub verb: &'a str,
    /// Names of apps; all of its maker's when none.
    pub apps: Option<Vec<&'a str>>,
    /// Days until it ends; 0 is never.
    pub days: u32,
}

/// Whose tokens `caller` sees and ends: their own, and the box's owner everybody's.
pub fn whose(caller: &Caller) -> Option<i64> {
    match caller {
        Caller::User { id, .. } => Some(*id),
        _ => None,
    }
}

/// Makes a token of `caller`'s; it is told here and nowhere else.
///
/// # Errors
/// What is wrong with it, or an app that is not there for them.
pub async fn make(
    app: &App,
    caller: &Caller,
    telling: &Telling,
    wanted: Wanted<'_>,
) -> Result<Made, Failure> {
    let invalid = |text: &str| Failure::new(ProblemKind::Invalid, text);
    let verb = Verb::parse(wanted.verb.trim())
        .ok_or_else(|| invalid("a token's verb is one of read, deploy, change"))?;
    if wanted.days > MOST_DAYS {
        return Err(invalid("a token lasts up to 3650 days, or for ever with 0"));
    }
    let apps = match wanted.apps {
        None => None,
        Some(names) => {
            let names = people::names(names.into_iter())?;
            // None is every app: a list that a program made empty must not become that.
            if names.is_empty() {
                return Err(Problem::new(
                    ProblemKind::Invalid,
                    "a token is for the apps that are named, and none is",
                )
                .remedy("Name at least one, or leave the apps out for all that you may see.")
                .into());
            }
            for name in &names {
                if !caller.sees_app(name) {
                    return Err(crate::apps::AppError::NotFound((*name).to_owned()).into());
                }
            }
            Some(people::apps(app, names.into_iter()).await?)
        }
    };
    let deploys = match (wanted.kind.trim(), apps.as_deref()) {
        ("personal", _) => None,
        ("deploy", Some(&[app])) if verb == Verb::Deploy => Some(app),
        ("deploy", _) => {
            return Err(invalid(
                "a deploy token is for one app, and its verb is deploy",
            ));
        }
        _ => return Err(invalid("a token's kind is one of personal, deploy")),
    };
    let now = UnixMs::now();
    let life = Duration::from_secs(u64::from(wanted.days) * 24 * 3600);
    let new = NewToken {
        name: wanted.name.to_owned(),
        user: whose(caller),
        verb,
        apps,
        deploys,
        expires: (wanted.days > 0).then(|| now.plus(life)),
    };
    let made = app.users.new_token(new, &caller.who(), now).await?;
    telling.made(made.id);
    Ok(made)
}
