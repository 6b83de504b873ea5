//! Backup targets.

use axum::Json;
use axum::extract::{Extension, State};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::backup::{NewTarget, Target};
use crate::base::ids::TargetName;
use crate::objects::S3Options;
use crate::web::answer::{Created, Listed, NoContent};
use crate::web::audit::Telling;
use crate::web::caller::Caller;
use crate::web::error::Failure;
use crate::web::input::{Input, Path, Query};
use crate::web::page::{Names, has};
use crate::web::services::App;
use crate::wire::backups as wire;
use crate::wire::problem::ProblemKind;

fn told(target: Target) -> wire::Target {
    wire::Target {
        name: target.name,
        place: target.place,
        endpoint: target.endpoint,
        region: target.region,
        default: target.is_default,
        used_ms: target.used.map(|at| at.0),
        fault: target.fault,
        created_ms: target.created.0,
    }
}

/// Which targets.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Which {
    /// Only those with this in their name or place.
    q: Option<String>,
}

/// `GET /api/v1/targets`
pub async fn list(
    State(app): State<App>,
    Query(which): Query<Which>,
    page: Names,
) -> Result<Listed<wire::Target>, Failure> {
    let mut all: Vec<wire::Target> = app.backups.targets().await?.into_iter().map(told).collect();
    let q = which.q.as_deref();
    all.retain(|target| has(&target.name, q) || has(&target.place, q));
    Ok(Listed(page.of(all, |target| &target.name)))
}

/// `GET /api/v1/targets/{name}`
pub async fn show(
    State(app): State<App>,
    Path(name): Path<String>,
) -> Result<Json<wire::Target>, Failure> {
    Ok(Json(told(app.backups.target(&name).await?)))
}

/// `POST /api/v1/targets`: tried out first, then added.
pub async fn add(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Input(new): Input<wire::NewTarget>,
) -> Result<Created<wire::Target>, Failure> {
    let name = TargetName::parse(&new.name).map_err(|e| Failure::new(ProblemKind::Invalid, e.0))?;
    let new = NewTarget {
        name,
        place: new.place,
        options: S3Options {
            endpoint: new.endpoint,
            region: new.region,
            path_style: new.path_style,
        },
        access_key: new.access_key,
        secret_key: new.secret_key,
        make_default: new.default,
    };
    let target = app.backups.add_target(new, &caller.who()).await?;
    Ok(Created(told(target)))
}

/// Whether the list of what lies there may go, too.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Removal {
    /// It may go although backups lie there.
    #[serde(default)]
    forget: bool,
}

/// `DELETE /api/v1/targets/{name}`
pub async fn remove(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Query(removal): Query<Removal>,
) -> Result<NoContent, Failure> {
    app.backups
        .remove_target(&name, removal.forget, &caller.who())
        .await?;
    Ok(NoContent)
}

/// `POST /api/v1/targets/{name}/test`
pub async fn test(
    State(app): State<App>,
    Path(name): Path<String>,
    telling: Telling,
) -> Result<Json<wire::Target>, Failure> {
    app.backups.test_target(&name).await?;
    telling.tell("works", true);
    Ok(Json(told(app.backups.target(&name).await?)))
}

/// `POST /api/v1/targets/{name}/default`: dumps go there from now on.
pub async fn make_default(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<Json<wire::Target>, Failure> {
    app.backups.use_target(&name, &caller.who()).await?;
    Ok(Json(told(app.backups.target(&name).await?)))
}
