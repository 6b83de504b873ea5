//! An app's environment: names for all who see it, values by a reveal only.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Extension, State};

use crate::apps::EnvName;
use crate::base::clock::UnixMs;
use crate::web::answer::{AcceptedIf, ListedWhole};
use crate::web::audit::Telling;
use crate::web::caller::Caller;
use crate::web::error::Failure;
use crate::web::input::{Input, Path};
use crate::web::jobs;
use crate::web::page::Whole;
use crate::web::services::App;
use crate::wire::apps::{Changed, EnvChange, EnvEntry, EnvReveal, EnvValue};
use crate::wire::problem::{Problem, ProblemKind};

/// `GET /api/v1/apps/{app}/env`
pub async fn list(
    State(app): State<App>,
    Path(name): Path<String>,
    page: Whole,
) -> Result<ListedWhole<EnvEntry>, Failure> {
    let row = app.apps.find(&name).await?;
    let names = app.apps.env_names(row.id).await?;
    let entries = names.into_iter().map(|(name, set)| EnvEntry {
        name,
        set_ms: set.0,
    });
    let entries: Vec<EnvEntry> = entries.collect();
    Ok(ListedWhole(page.of(entries, |entry| &entry.name)))
}

/// `POST /api/v1/apps/{app}/env/reveal`: the values, of all or of those that are named. That they
/// were shown, and to whom, stands in the audit log.
pub async fn reveal(
    State(app): State<App>,
    telling: Telling,
    Path(name): Path<String>,
    Input(which): Input<EnvReveal>,
) -> Result<Json<Vec<EnvValue>>, Failure> {
    let row = app.apps.find(&name).await?;
    let set = app.apps.env_names(row.id).await?;
    let mut values = app.apps.env(row.id).await?;
    if let Some(wanted) = &which.names {
        if let Some(none) = wanted.iter().find(|name| !values.contains_key(*name)) {
            return Err(no_variable(&name, none));
        }
        values.retain(|name, _| wanted.contains(name));
    }
    telling.names("shown", values.keys().map(String::as_str));
    let told = set.into_iter().filter_map(|(name, set)| {
        Some(EnvValue {
            value: values.remove(&name)?,
            name,
            set_ms: set.0,
        })
    });
    Ok(Json(told.collect()))
}

/// That the app has no variable of that name.
pub fn no_variable(app: &str, name: &str) -> Failure {
    let shown: String = name.chars().take(60).collect();
    Problem::new(
        ProblemKind::NotFound,
        format!("the app {app} has no variable \"{shown}\" of its own"),
    )
    .remedy(format!("`freehold env {app}` lists those it has."))
    .into()
}

/// `PATCH /api/v1/apps/{app}/env`: all of it in one step, then brought to the
/// containers by a deploy of the live image.
pub async fn change(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Input(change): Input<EnvChange>,
) -> Result<AcceptedIf<Changed>, Failure> {
    let row = app.apps.find(&name).await?;
    let mut changes = BTreeMap::new();
    for name in change.unset {
        changes.insert(EnvName::parse(&name)?, None);
    }
    for (name, value) in change.set {
        changes.insert(EnvName::parse(&name)?, Some(value));
    }
    let (by, now) = (caller.who(), UnixMs::now());
    let changed = app.apps.change_env(row.id, changes, &by, now).await?;
    let deploy = match changed {
        true => {
            let asked = app.deploys.apply_settings(row.id, &by, now).await;
            asked.map_err(Failure::once_changed)?
        }
        false => None,
    };
    let job = jobs::of_deploy(&app, deploy).await?;
    Ok(AcceptedIf::new(Changed { changed, deploy }, job))
}
