//! `/apps/{app}/domains`: where an app answers, and how its certificates stand.

use askama::Template;
use axum::Form;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::act::Act;
use super::head::{AppHead, Tab};
use super::policies;
use crate::apps;
use crate::base::clock::UnixMs;
use crate::base::ids::ProcessName;
use crate::certs::{CertStatus, box_addresses};
use crate::web::api::policies::{OfRelease, words};
use crate::web::error::Failure;
use crate::web::pages::certificate;
use crate::web::pages::frame::{Frame, Theme};
use crate::web::pages::parts::{Badge, Field, Tone, When};
use crate::web::pages::visit::{self, Visit};
use crate::web::services::App;

/// The page.
#[derive(Clone, Debug, Template)]
#[template(path = "app_domains.html")]
pub struct View {
    /// What stands around it.
    pub frame: Frame,
    /// Name, state, tabs.
    pub head: AppHead,
    /// In order of adding.
    pub domains: Vec<Domain>,
    /// The one to add.
    pub domain: Field,
    /// What a record must point at.
    pub box_address: String,
}

/// A domain.
#[derive(Clone, Debug)]
pub struct Domain {
    /// `shop.example.com` or `shop.example.com/api`.
    pub name: String,
    /// The same to follow.
    pub url: String,
    /// What hinders its certificate, and what to do.
    pub note: String,
    /// Valid, ordered, failed …
    pub state: Badge,
    /// Who issued it.
    pub issuer: String,
    /// When it ends.
    pub expires: Option<When>,
    /// What it asks of requests and does to answers.
    pub words: Vec<String>,
    /// Where that is changed.
    pub policies: String,
}

async fn page(
    app: &App,
    visit: Visit,
    name: &str,
    typed: &str,
    fault: &str,
) -> Result<Response, Failure> {
    let (row, head) = AppHead::load(app, name, Tab::Domains).await?;
    let routes = app.apps.routes(Some(row.id)).await?;
    let certificates = app.certs.statuses().await?;
    let now = UnixMs::now();
    let mut domains = Vec::new();
    for route in &routes {
        domains.push(Domain {
            words: words(route, &OfRelease::load(app, route).await?),
            policies: policies::address(name, &route.domain.to_string()),
            ..line(route, &certificates, now)
        });
    }
    Ok(crate::web::pages::render(&View {
        frame: head.frame(visit).refreshed(5),
        head,
        domains,
        domain: Field::code("domain", "Host, and path if only a part")
            .needed()
            .like("shop.example.com")
            .value(typed)
            .fault(fault),
        box_address: box_addresses()
            .iter()
            .find(|a| !a.is_loopback())
            .map(ToString::to_string)
            .unwrap_or_default(),
    }))
}

fn line(route: &apps::Route, certificates: &[CertStatus], now: UnixMs) -> Domain {
    let status = certificates
        .iter()
        .find(|c| c.host == route.domain.host.as_str());
    Domain {
        name: route.domain.to_string(),
        url: format!("https://{}", route.domain),
        note: status.map_or_else(String::new, |s| certificate::note(s, now)),
        state: status.map_or_else(|| Badge::new(Tone::Busy, "Pending"), certificate::badge),
        issuer: status.map_or_else(|| "–".to_owned(), certificate::issuer),
        expires: status
            .and_then(|s| s.not_after)
            .map(|at| When::until(at, now)),
        words: Vec::new(),
        policies: String::new(),
    }
}

/// `GET /apps/{app}/domains`
pub async fn show(
    State(app): State<App>,
    visit: Visit,
    Path(name): Path<String>,
) -> Result<Response, Failure> {
    page(&app, visit, &name, "", "").await
}

/// A domain.
#[derive(Deserialize)]
pub struct Given {
    domain: String,
}

/// `POST /apps/{app}/domains`
pub async fn add(
    State(app): State<App>,
    visit: Visit,
    act: Act,
    Form(given): Form<Given>,
) -> Result<Response, Failure> {
    let added = match apps::Domain::parse(given.domain.trim()) {
        Ok(domain) => {
            let process = ProcessName::parse("web").map_err(apps::AppError::from)?;
            app.apps
                .add_domain(
                    act.row.id,
                    domain,
                    process,
                    (&act.by, visit.caller.over()),
                    act.now,
                )
                .await
        }
        Err(error) => Err(error),
    };
    match added.map_err(Failure::from) {
        Ok(()) => Ok(visit::done(
            &act.page("/domains"),
            &format!(
                "{} is added. Its certificate is on its way.",
                given.domain.trim()
            ),
        )),
        Err(failure) => {
            let words = failure.words_for_a_form().ok_or(failure)?;
            let page = page(&app, visit, act.row.name.as_str(), &given.domain, &words).await?;
            Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response())
        }
    }
}

/// `POST /apps/{app}/domains/remove`
pub async fn remove(
    State(app): State<App>,
    act: Act,
    Form(given): Form<Given>,
) -> Result<Response, Failure> {
    let domain = apps::Domain::parse(&given.domain)?;
    let removed = app
        .apps
        .remove_domain(act.row.id, domain, &act.by, act.now)
        .await;
    let text = format!("{} is removed.", given.domain);
    visit::back(&act.page("/domains"), removed, &text)
}
