//! Where an app answers, its maintenance page and its scale.

use axum::Json;
use axum::extract::{Extension, State};

use crate::apps::{AppError, Domain, maintenance};
use crate::base::clock::UnixMs;
use crate::base::ids::ProcessName;
use crate::web::answer::{AcceptedIf, ListedWhole};
use crate::web::caller::Caller;
use crate::web::error::Failure;
use crate::web::input::{Input, Path, Query};
use crate::web::page::Whole;
use crate::web::scaling;
use crate::web::services::App;
use crate::wire::apps::{self as wire, Changed, ScaleForm, Switch};

/// `GET /api/v1/apps/{app}/domains`
pub async fn list(
    State(app): State<App>,
    Path(name): Path<String>,
    page: Whole,
) -> Result<ListedWhole<wire::DomainLine>, Failure> {
    let row = app.apps.find(&name).await?;
    let routes = app.apps.routes(Some(row.id)).await?;
    let certificates = app.certs.statuses().await?;
    let now = UnixMs::now();
    let domains = routes.into_iter().map(|route| {
        let host = route.domain.host.as_str();
        let status = certificates.iter().find(|c| c.host == host);
        wire::DomainLine {
            domain: route.domain.to_string(),
            process: route.process,
            certificate: status.map_or("waiting", |s| s.state.as_str()).to_owned(),
            not_after_ms: status.and_then(|s| s.not_after).map(|t| t.0),
            pending: status.and_then(|s| s.pending(now)),
        }
    });
    let domains: Vec<wire::DomainLine> = domains.collect();
    Ok(ListedWhole(page.of(domains, |line| &line.domain)))
}

/// `POST /api/v1/apps/{app}/domains`
pub async fn add(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Input(form): Input<wire::Domain>,
) -> Result<Json<wire::Domain>, Failure> {
    let row = app.apps.find(&name).await?;
    let domain = Domain::parse(&form.domain)?;
    let process = ProcessName::parse(&form.process).map_err(AppError::from)?;
    let added = wire::Domain {
        domain: domain.to_string(),
        process: process.to_string(),
    };
    app.apps
        .add_domain(
            row.id,
            domain,
            process,
            (&caller.who(), caller.over()),
            UnixMs::now(),
        )
        .await?;
    Ok(Json(added))
}

/// `DELETE /api/v1/apps/{app}/domains?domain=…`
pub async fn remove(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Query(form): Query<wire::Domain>,
) -> Result<Json<Changed>, Failure> {
    let row = app.apps.find(&name).await?;
    let domain = Domain::parse(&form.domain)?;
    app.apps
        .remove_domain(row.id, domain, &caller.who(), UnixMs::now())
        .await?;
    Ok(Json(Changed {
        changed: true,
        deploy: None,
    }))
}

/// `POST /api/v1/apps/{app}/maintenance`: on for a time, or off.
pub async fn maintenance(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Input(switch): Input<Switch>,
) -> Result<Json<Changed>, Failure> {
    let row = app.apps.find(&name).await?;
    let lasts = maintenance::lasts(switch.on, switch.lasts.as_deref())?;
    let changed = app
        .apps
        .set_maintenance(row.id, lasts, &caller.who(), UnixMs::now())
        .await?;
    Ok(Json(Changed {
        changed,
        deploy: None,
    }))
}

/// `POST /api/v1/apps/{app}/scale`: more or fewer replicas at once; another
/// memory or processor limit by new containers beside the old ones.
pub async fn scale(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Input(form): Input<ScaleForm>,
) -> Result<AcceptedIf<Changed>, Failure> {
    let row = app.apps.find(&name).await?;
    let (changed, job) = scaling::change(&app, &row, &form, &caller.who()).await?;
    Ok(AcceptedIf::new(changed, job))
}
