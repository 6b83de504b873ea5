//! `/apps/{app}/deploys`: every deploy, and the ways to begin one.

use std::collections::BTreeSet;

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use serde::Deserialize;

use super::head::{AppHead, Tab};
use super::{deploying, upload};
use crate::base::clock::UnixMs;
use crate::web::error::Failure;
use crate::web::page::Page;
use crate::web::pages::frame::{Frame, Theme};
use crate::web::pages::parts::{Badge, Field, Older, When};
use crate::web::pages::visit::Visit;
use crate::web::services::App;

/// The page.
#[derive(Clone, Debug, Template)]
#[template(path = "app_deploys.html")]
pub struct View {
    /// What stands around it.
    pub frame: Frame,
    /// Name, state, tabs.
    pub head: AppHead,
    /// Newest first.
    pub deploys: Vec<Deploy>,
    /// To those before.
    pub older: Older,
    /// The repository; empty without one.
    pub source: String,
    /// A branch or a commit, if not the newest of the app's own branch.
    pub reference: Field,
    /// An image's reference.
    pub image: Field,
    /// The part of a folder that is a site.
    pub site: Field,
    /// A folder's tar.
    pub folder: Field,
}

/// A row.
#[derive(Clone, Debug)]
pub struct Deploy {
    /// Its number.
    pub id: i64,
    /// How far it is.
    pub state: Badge,
    /// "4f2a91c Sort tasks by date".
    pub what: String,
    /// "push by Ana".
    pub by: String,
    /// "v12", or nothing; and that it cannot be read, where that is so.
    pub release: String,
    /// "48 s".
    pub took: String,
    /// When it began.
    pub at: When,
    /// Its release serves now.
    pub current: bool,
    /// It can be cancelled.
    pub running: bool,
    /// Its release can be gone back to.
    pub rollback_to: Option<i64>,
}

/// From where on.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Cursor {
    after: String,
}

/// What to deploy from git; the app's own branch stands there.
pub fn reference(own: &str) -> Field {
    Field::code("reference", "Branch or commit")
        .value(own)
        .needed()
        .hint("A branch’s newest commit, or one commit by its whole id.")
}

/// What of a folder is a site.
pub fn site() -> Field {
    Field::code(upload::SITE, "Serve it as a site")
        .like("dist")
        .hint("The folder in it that is the site, without an image; . is all of it. Empty: as its freehold.toml says.")
}

/// The tar of a folder.
pub fn folder() -> Field {
    Field::file(upload::FIELD, "Its tar", ".tar")
        .needed()
        .hint("Not compressed, with the Dockerfile at its root, where it is no site.")
}

/// `GET /apps/{app}/deploys`
pub async fn show(
    State(app): State<App>,
    visit: Visit,
    Path(name): Path<String>,
    Query(from): Query<Cursor>,
) -> Result<Response, Failure> {
    let (row, head) = AppHead::load(&app, &name, Tab::Deploys).await?;
    let now = UnixMs::now();
    let page = Page::of_cursor(&from.after)?;
    let found = app.deploys.list(Some(row.id), page.slice(None)).await?;
    let deploys = page.of_rows(found, |d| d.id, |d| d);
    let serving = app.deploys.live(row.id).await?;
    let releases = app.deploys.releases(row.id).await?;
    let unreadable: BTreeSet<i64> = releases
        .iter()
        .filter(|r| r.unreadable)
        .map(|r| r.number)
        .collect();
    let mut kept: BTreeSet<i64> = releases
        .into_iter()
        .filter(|r| r.gone.is_none() && r.live.is_some() && !r.unreadable)
        .map(|r| r.number)
        .collect();
    if let Some(serving) = &serving {
        kept.remove(&serving.release);
    }
    let rows = deploys
        .items
        .iter()
        .map(|d| {
            let release = d.release.map(|(_, number)| number);
            Deploy {
                id: d.id,
                state: deploying::badge(d, serving.as_ref()),
                what: deploying::what(d),
                by: deploying::by(d),
                release: match release {
                    None => String::new(),
                    Some(n) if unreadable.contains(&n) => format!("v{n}, unreadable"),
                    Some(n) => format!("v{n}"),
                },
                took: deploying::took(d, now),
                at: When::ago(d.created, now),
                current: serving.as_ref().is_some_and(|s| s.deploy == d.id),
                running: d.state.is_before_switch() && !d.cancel,
                // One button a release: at the newest deploy of it.
                rollback_to: release.filter(|n| d.state.is_success() && kept.remove(n)),
            }
        })
        .collect();
    let path = format!("/apps/{}/deploys", row.name);
    Ok(crate::web::pages::render(&View {
        frame: head.frame(visit).refreshed(3),
        head,
        deploys: rows,
        older: Older::of((&path, "after"), "deploys", &from.after, deploys.next),
        source: row.git_url.clone().unwrap_or_default(),
        reference: reference(&row.branch),
        image: Field::code("image", "Image")
            .like("registry.example.com/shop:1.4")
            .needed()
            .hint("A private registry’s user and password stand in the settings."),
        site: site(),
        folder: folder(),
    }))
}
