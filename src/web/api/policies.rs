//! What a domain asks of requests and does to answers.

use axum::Json;
use axum::extract::{Extension, State};
use serde_json::{Map, Value};

use crate::apps::{self, Domain};
use crate::base::clock::UnixMs;
use crate::base::policies::{Checked as _, Policies, Subfolder};
use crate::deploy::DeployError;
use crate::web::caller::Caller;
use crate::web::error::Failure;
use crate::web::input::{Input, Path};
use crate::web::services::App;
use crate::wire::apps::Changed;
use crate::wire::policies::{DomainPolicies, OwnPolicies};
use crate::wire::problem::ProblemKind;

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
    check_files(&app, row.id, &domain, &sent).await?;
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

/// Whether the live release has the files that a domain is to show: asked where they are others than before, so that
/// whoever sets something else is not kept from it by a release that came since.
///
/// # Errors
/// A sentence that names the key, or the database's.
pub async fn check_files(
    app: &App,
    row: i64,
    domain: &Domain,
    sent: &Map<String, Value>,
) -> Result<(), Failure> {
    let route = app.apps.route_at(row, domain.clone()).await?;
    let stored = route.policies.map(|own| own.told()).unwrap_or_default();
    let is_new = |key: &&str| {
        sent.get(*key)
            .is_some_and(|value| !value.is_null() && stored.get(*key) != Some(value))
    };
    let Some(key) = ["static", "single_page"].into_iter().find(is_new) else {
        return Ok(());
    };
    let folder = sent.get("static").cloned().unwrap_or_default();
    // What is no folder at all is told with all the rest.
    let folder: Option<Subfolder> = serde_json::from_value(folder).unwrap_or_default();
    let folder = folder.filter(|folder| folder.check().is_ok());
    match app.deploys.check_shown(row, folder).await {
        Err(DeployError::Invalid(why)) => {
            Err(Failure::new(ProblemKind::Invalid, format!("{key}: {why}")))
        }
        other => Ok(other?),
    }
}

/// What the live release says of a domain.
#[derive(Default)]
pub struct OfRelease {
    /// What its file says for the domain's process.
    pub app_file: Policies,
    /// There is one, and it is no folder of files.
    runs_containers: bool,
}

impl OfRelease {
    /// # Errors
    /// Only the database's.
    pub async fn load(app: &App, route: &apps::Route) -> Result<Self, Failure> {
        let Some(mut serving) = app.deploys.live(route.app).await? else {
            return Ok(Self::default());
        };
        let facing = serving.facing.remove(&route.process);
        Ok(Self {
            app_file: facing.map(|facing| facing.policies).unwrap_or_default(),
            runs_containers: serving.files.is_none(),
        })
    }
}

/// What holds for a domain, a sentence each.
pub fn words(route: &apps::Route, of_release: &OfRelease) -> Vec<String> {
    match &route.policies {
        Some(own) => {
            let both = own.over(&of_release.app_file);
            let mut all = both.words();
            if of_release.runs_containers && (both.files.is_some() || both.single_page.is_some()) {
                all.push(
                    "The live release runs containers, which answer every path: static and single_page wait for one that is a folder of files."
                        .to_owned(),
                );
            }
            all
        }
        None => vec![
            "What is set for the domain was written by another Freehold and cannot be read, so nothing is served: set it again."
                .to_owned(),
        ],
    }
}

async fn told(app: &App, route: &apps::Route) -> Result<DomainPolicies, Failure> {
    let of_release = OfRelease::load(app, route).await?;
    let own = route.policies.clone().unwrap_or_default();
    Ok(DomainPolicies {
        domain: route.domain.to_string(),
        words: words(route, &of_release),
        passwords_mark: own.passwords_mark(),
        policies: own.told(),
        app_file: of_release.app_file.told(),
    })
}
