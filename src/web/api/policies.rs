//! What a domain asks of requests and does to answers.

use axum::Json;
use axum::extract::{Extension, State};

use crate::apps::{self, Domain};
use crate::base::clock::UnixMs;
use crate::base::policies::Policies;
use crate::web::caller::Caller;
use crate::web::error::Failure;
use crate::web::input::{Input, Path};
use crate::web::services::App;
use crate::wire::apps::Changed;
use crate::wire::policies::{DomainPolicies, OwnPolicies};

/// `GET /api/v1/apps/{app}/domains/{domain}/policies`
pub async fn show(
    State(app): State<App>,
    Path((name, domain)): Path<(String, String)>,
) -> Result<Json<DomainPolicies>, Failure> {
    let row = app.apps.find(&name).await?;
    let route = app.apps.route_at(row.id, Domain::parse(&domain)?).await?;
    told(&app, &route).await.map(Json)
}

/// `PUT /api/v1/apps/{app}/domains/{domain}/policies`: in force with the answer's coming, or a moment later.
pub async fn set(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path((name, domain)): Path<(String, String)>,
    Input(OwnPolicies(sent)): Input<OwnPolicies>,
) -> Result<Json<DomainPolicies>, Failure> {
    let row = app.apps.find(&name).await?;
    let domain = Domain::parse(&domain)?;
    app.apps
        .set_policies(
            row.id,
            domain.clone(),
            sent,
            None,
            &caller.who(),
            UnixMs::now(),
        )
        .await?;
    let route = app.apps.route_at(row.id, domain).await?;
    told(&app, &route).await.map(Json)
}

/// `DELETE /api/v1/apps/{app}/domains/{domain}/policies`
pub async fn remove(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path((name, domain)): Path<(String, String)>,
) -> Result<Json<Changed>, Failure> {
    let row = app.apps.find(&name).await?;
    let none = OwnPolicies::default().0;
    let changed = app
        .apps
        .set_policies(
            row.id,
            Domain::parse(&domain)?,
            none,
            None,
            &caller.who(),
            UnixMs::now(),
        )
        .await?;
    Ok(Json(Changed {
        changed,
        deploy: None,
    }))
}

/// What the live release's file says for this process.
///
/// # Errors
/// Only the database's.
pub async fn of_app_file(app: &App, route: &apps::Route) -> Result<Policies, Failure> {
    let serving = app.deploys.live(route.app).await?;
    let facing = serving.and_then(|mut serving| serving.facing.remove(&route.process));
    Ok(facing.map(|facing| facing.policies).unwrap_or_default())
}

/// What holds for a domain, a sentence each.
pub fn words(route: &apps::Route, app_file: &Policies) -> Vec<String> {
    match &route.policies {
        Some(own) => own.over(app_file).words(),
        None => vec![
            "What is set for the domain was written by another Freehold and cannot be read, so nothing is served: set it again."
                .to_owned(),
        ],
    }
}

async fn told(app: &App, route: &apps::Route) -> Result<DomainPolicies, Failure> {
    let app_file = of_app_file(app, route).await?;
    let own = route.policies.clone().unwrap_or_default();
    Ok(DomainPolicies {
        domain: route.domain.to_string(),
        words: words(route, &app_file),
        passwords_mark: own.passwords_mark(),
        policies: own.told(),
        app_file: app_file.told(),
    })
}
