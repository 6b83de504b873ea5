//! An app's environment. Values are shown only when asked for.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Extension, State};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::apps::EnvName;
use crate::base::clock::UnixMs;
use crate::web::answer::Listed;
use crate::web::caller::Caller;
use crate::web::error::Failure;
use crate::web::input::{Input, Path, Query};
use crate::web::page::Page;
use crate::web::services::App;
use crate::wire::apps::{Changed, EnvChange, EnvEntry};

/// What to show.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct What {
    /// The values too.
    #[serde(default)]
    values: bool,
}

/// `GET /api/v1/apps/{app}/env`
pub async fn list(
    State(app): State<App>,
    Path(name): Path<String>,
    Query(what): Query<What>,
    page: Page,
) -> Result<Listed<EnvEntry>, Failure> {
    let row = app.apps.find(&name).await?;
    let names = app.apps.env_names(row.id).await?;
    let mut values = match what.values {
        true => app.apps.env(row.id).await?,
        false => BTreeMap::new(),
    };
    let entries = names.into_iter().map(|(name, set)| EnvEntry {
        value: values.remove(&name),
        name,
        set_ms: set.0,
    });
    let entries: Vec<EnvEntry> = entries.collect();
    Ok(Listed(page.by_name(entries, |entry| &entry.name)?))
}

/// `PATCH /api/v1/apps/{app}/env`: all of it in one step, then brought to the
/// containers by a deploy of the live image.
pub async fn change(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Input(change): Input<EnvChange>,
) -> Result<Json<Changed>, Failure> {
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
        true => app.deploys.apply_settings(row.id, &by, now).await?,
        false => None,
    };
    Ok(Json(Changed { changed, deploy }))
}
