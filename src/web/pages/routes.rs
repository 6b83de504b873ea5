//! `/routes`: what passes through the edge, by route, process and replica.

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::frame::{Frame, Section, Theme};
use super::parts::{Badge, Tone};
use super::visit::Visit;
use super::words;
use crate::web::api::routes::seen_by;
use crate::web::services::App;
use crate::wire::routes::{
    EdgeFigures, EdgeTotals, LatencyFigures, RouteFigures, Routes, TargetFigures,
};

/// The page.
#[derive(Clone, Debug, Template)]
#[template(path = "routes.html")]
pub struct View {
    /// What stands around it.
    pub frame: Frame,
    /// By host and path.
    pub routes: Vec<Line>,
    /// By app and process.
    pub processes: Vec<Line>,
    /// Where requests go.
    pub targets: Vec<Line>,
    /// The edge as a whole; empty for who sees single apps.
    pub edge: Vec<(String, String)>,
}

/// A row of any of the three tables.
#[derive(Clone, Debug)]
pub struct Line {
    /// "shop.example.com/api".
    pub name: String,
    /// "shop, web"; the address of a target, and why it is left out.
    pub note: String,
    /// The page of its app.
    pub href: String,
    /// Held, without a replica; of a target, left out.
    pub state: Option<Badge>,
    /// Requests a second over the last minute; of a target, requests in all.
    pub rate: String,
    /// "8 ms", and "95 %: 21 ms, 99 %: 40 ms".
    pub latency: (String, String),
    /// Not over yet.
    pub in_flight: u64,
    /// "1,204", and "2xx 1,200, 5xx 4".
    pub answers: (u64, String),
    /// "12 KiB in, 4 MiB out".
    pub bytes: String,
    /// Without a proper answer of the app.
    pub failed: u64,
    /// "refused: 12 by rate, 3 by access"; of a target "left out 3 times".
    pub beside: String,
}

/// `GET /routes`
pub async fn show(State(app): State<App>, visit: Visit) -> Response {
    let routes = seen_by(&app, &visit.caller);
    let frame = visit.frame().titled("Routes", Section::Box).refreshed(10);
    super::render(&view(frame, routes))
}

/// What the page shows of the figures.
pub fn view(frame: Frame, told: Routes) -> View {
    let mut targets: Vec<&TargetFigures> = told.routes.iter().flat_map(|r| &r.targets).collect();
    targets.sort_by(|one, other| (&one.key, &one.address).cmp(&(&other.key, &other.address)));
    targets.dedup_by(|one, other| (&one.key, &one.address) == (&other.key, &other.address));
    View {
        frame,
        targets: targets.into_iter().map(target).collect(),
        processes: told
            .processes
            .iter()
            .map(|process| Line {
                href: format!("/apps/{}", process.app),
                ..line(
                    format!("{}, {}", process.app, process.process),
                    &process.figures,
                )
            })
            .collect(),
        routes: told.routes.iter().map(route).collect(),
        edge: told.edge.as_ref().map(edge).unwrap_or_default(),
    }
}

fn route(route: &RouteFigures) -> Line {
    let path = if route.path == "/" { "" } else { &route.path };
    let name = match route.host.as_str() {
        "" => "the box’s address".to_owned(),
        host => format!("{host}{path}"),
    };
    Line {
        note: match (&route.app, &route.process) {
            (Some(app), Some(process)) => format!("{app}, {process}"),
            _ => String::new(),
        },
        href: route
            .app
            .as_ref()
            .map(|app| format!("/apps/{app}"))
            .unwrap_or_default(),
        state: match (route.paused, route.targets.is_empty()) {
            (true, _) => Some(Badge::new(Tone::Warn, "Held")),
            (false, true) => Some(Badge::new(Tone::Bad, "Nobody answers")),
            (false, false) => None,
        },
        ..line(name, &route.figures)
    }
}

fn target(target: &TargetFigures) -> Line {
    let name = target.container.as_ref().unwrap_or(&target.key);
    Line {
        note: match &target.last_left_out {
            Some(left_out) => format!("{}, {}", target.address, left_out.words()),
            None => target.address.clone(),
        },
        state: target.left_out.then(|| Badge::new(Tone::Warn, "Left out")),
        beside: match target.times_left_out {
            0 => String::new(),
            1 => "left out once".to_owned(),
            times => format!("left out {times} times"),
        },
        ..line(name.clone(), &target.figures)
    }
}

fn line(name: String, figures: &EdgeFigures) -> Line {
    let minute = figures.minute.as_ref();
    let latency = minute.map_or(&figures.latency, |minute| &minute.latency);
    Line {
        name,
        note: String::new(),
        href: String::new(),
        state: None,
        rate: minute.map_or("–".to_owned(), |minute| words::rate(minute.per_second)),
        latency: quickly(latency),
        in_flight: figures.in_flight,
        answers: (figures.requests, classes(figures.classes)),
        bytes: format!(
            "{} in, {} out",
            words::bytes(figures.bytes_in),
            words::bytes(figures.bytes_out)
        ),
        failed: figures.failed,
        beside: refused(figures),
    }
}

fn quickly(latency: &LatencyFigures) -> (String, String) {
    match (latency.p50_ms, latency.p95_ms, latency.p99_ms) {
        (Some(p50), Some(p95), Some(p99)) => (
            words::millis(p50),
            format!("95 %: {}, 99 %: {}", words::millis(p95), words::millis(p99)),
        ),
        _ => ("–".to_owned(), String::new()),
    }
}

/// What the route's policies did not let through.
fn refused(figures: &EdgeFigures) -> String {
    match (figures.rate_limited, figures.denied) {
        (0, 0) => String::new(),
        (rate, 0) => format!("refused: {rate} by rate"),
        (0, denied) => format!("refused: {denied} by access"),
        (rate, denied) => format!("refused: {rate} by rate, {denied} by access"),
    }
}

fn classes(classes: [u64; 5]) -> String {
    let named = classes.iter().zip(1..).filter(|(count, _)| **count > 0);
    let named: Vec<String> = named
        .map(|(count, class)| format!("{class}xx {count}"))
        .collect();
    named.join(", ")
}

fn edge(totals: &EdgeTotals) -> Vec<(String, String)> {
    let open = (
        "Open connections".to_owned(),
        totals.connections.to_string(),
    );
    let held = ("Requests held".to_owned(), totals.held.to_string());
    let refused = totals
        .refused
        .iter()
        .map(|one| (format!("Refused: {}", one.reason), one.count.to_string()));
    let dropped = (
        "Entries of the access log dropped".to_owned(),
        totals.log_dropped.to_string(),
    );
    [open, held]
        .into_iter()
        .chain(refused)
        .chain([dropped])
        .collect()
}
