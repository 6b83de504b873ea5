//! Every page with made-up data, rendered into `target/pages` to be looked at.

mod app;
mod overview;
mod rest;
mod routes;

use std::path::Path;
use std::time::Duration;

use askama::Template;
use axum::http::{HeaderMap, HeaderValue};

use super::frame::{Frame, Section};
use super::parts::Older;
use super::visit::Visit;
use crate::base::clock::UnixMs;
use crate::web::caller::Caller;

pub(super) const NOW: UnixMs = UnixMs(1_795_250_000_000);

pub(super) fn ago(seconds: u64) -> UnixMs {
    NOW.minus(Duration::from_secs(seconds))
}

pub(super) fn ahead(seconds: u64) -> UnixMs {
    NOW.plus(Duration::from_secs(seconds))
}

pub(super) fn visit(path: &str) -> Visit {
    let mut headers = HeaderMap::new();
    headers.insert("host", HeaderValue::from_static("panel.example.com"));
    let mut known = axum::http::Extensions::new();
    known.insert(Caller::Local { uid: 0 });
    Visit::read(&headers, path, &known)
}

pub(super) fn frame(path: &str, title: &str, section: Section) -> Frame {
    visit(path).frame().titled(title, section)
}

/// A day that looks like one: a wave, some noise, always the same.
pub(super) fn day(low: f64, high: f64, seed: u32) -> Vec<Option<f64>> {
    let mut noise = seed.wrapping_mul(2_654_435_761).max(1);
    (0..144)
        .map(|step| {
            noise ^= noise << 13;
            noise ^= noise >> 17;
            noise ^= noise << 5;
            let jitter = f64::from(noise % 1000) / 1000.0;
            let wave = (1.0 - (f64::from(step) / 144.0 * std::f64::consts::TAU).cos()) / 2.0;
            Some(low + (high - low) * (0.75 * wave + 0.25 * jitter))
        })
        .collect()
}

/// A list that goes on after `next`.
pub(super) fn older(path: &str, what: &'static str, next: &str) -> Older {
    Older::of((path, "after"), what, "", Some(next.to_owned()))
}

fn write(name: &str, page: &impl Template) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/pages");
    std::fs::create_dir_all(&folder).unwrap();
    let html = page.render().unwrap();
    for bad in ["style=\"", "<style", "onclick", "javascript:", "http://cdn"] {
        assert!(!html.contains(bad), "{name} has {bad}");
    }
    std::fs::write(folder.join(format!("{name}.html")), html).unwrap();
}

#[test]
fn f10_every_page_renders_without_inline_style_or_script() {
    write("overview", &overview::busy());
    write("overview-new", &overview::new());
    write("activity", &overview::all_activity());
    write("app", &app::overview_page());
    write("app-new", &app::overview_new());
    write("app-deploys", &app::deploys_page());
    write("app-deploy", &app::deploy_page(true));
    write("app-deploy-failed", &app::deploy_page(false));
    write("app-logs", &app::logs_page());
    write("app-env", &app::env_page());
    write("app-domains", &app::domains_page());
    write("app-domain-policies", &app::policies_page());
    write("app-activity", &app::activity_list());
    write("app-settings", &app::settings_page());
    write("app-run", &app::run_page(false));
    write("app-exec", &app::run_page(true));
    write("new-app", &app::new_app());
    write("databases", &rest::databases_page());
    write("database", &rest::database_page());
    write("database-sql", &rest::database_sql_page());
    write("box", &rest::box_view());
    write("doctor", &rest::doctor_page());
    write("routes", &routes::routes_page());
    write("checks", &rest::checks_page());
    write("settings", &rest::settings_page());
    write("account", &rest::account_page());
    write("people", &rest::people_page());
    write("person", &rest::person_page());
    write("audit", &rest::audit_page());
    write("confirm", &rest::remove_app());
    write("setup", &rest::setup_page());
    write("sign-in", &rest::sign_in_page());
    write("problem", &rest::problem_page());
}
