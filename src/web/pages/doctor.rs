//! `/box/doctor`: what was examined, how it stands, what to do.

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::frame::{Frame, Section, Theme};
use super::parts::{Badge, Tone};
use super::visit::Visit;
use super::words;
use crate::web::services::App;
use crate::wire::doctor::{Area, Condition, Examined, Report};

/// The page.
#[derive(Clone, Debug, Template)]
#[template(path = "doctor.html")]
pub struct View {
    /// What stands around it.
    pub frame: Frame,
    /// "2 things do not work, 1 wants a look".
    pub summary: String,
    /// What wants somebody, the worst first.
    pub wrong: Vec<Line>,
    /// What is as it should be.
    pub right: Vec<Line>,
}

/// One thing that was examined.
#[derive(Clone, Debug)]
pub struct Line {
    /// "Docker".
    pub area: &'static str,
    /// What was examined.
    pub what: String,
    /// ok, look, fails.
    pub state: Badge,
    /// What was seen.
    pub seen: String,
    /// Why it matters.
    pub why: String,
    /// What to do.
    pub remedy: String,
}

/// `GET /box/doctor`
pub async fn show(State(app): State<App>, visit: Visit) -> Response {
    let report = app.about.doctor().await;
    super::render(&view(visit.frame().titled("Doctor", Section::Box), &report))
}

/// What the page shows of a report.
pub fn view(frame: Frame, report: &Report) -> View {
    let of = |wanted: fn(Condition) -> bool| {
        let mut all: Vec<&Examined> = report.checks.iter().filter(|c| wanted(c.state)).collect();
        all.sort_by_key(|c| (std::cmp::Reverse(c.state), c.area));
        all.into_iter().map(line).collect::<Vec<Line>>()
    };
    View {
        frame,
        summary: summary(report),
        wrong: of(|state| state != Condition::Ok),
        right: of(|state| state == Condition::Ok),
    }
}

fn summary(report: &Report) -> String {
    let count = |state| report.checks.iter().filter(|c| c.state == state).count();
    let looked = words::count(report.checks.len(), "check");
    match (count(Condition::Fail), count(Condition::Warn)) {
        (0, 0) => format!("All is well: {looked} in {} ms", report.took_ms),
        (0, warn) => format!("{looked} in {} ms; {}", report.took_ms, wants(warn)),
        (fail, 0) => format!("{looked} in {} ms; {}", report.took_ms, fails(fail)),
        (fail, warn) => format!(
            "{looked} in {} ms; {}, {}",
            report.took_ms,
            fails(fail),
            wants(warn)
        ),
    }
}

fn fails(count: usize) -> String {
    match count {
        1 => "one does not work".into(),
        n => format!("{n} do not work"),
    }
}

fn wants(count: usize) -> String {
    match count {
        1 => "one wants a look".into(),
        n => format!("{n} want a look"),
    }
}

fn line(check: &Examined) -> Line {
    Line {
        area: match check.area {
            Area::Daemon => "Daemon",
            Area::Monitoring => "Monitoring",
            Area::Engine => "Docker",
            Area::Ports => "Ports",
            Area::Dns => "DNS",
            Area::Clock => "Clock",
            Area::Disk => "Disk",
            Area::Memory => "Memory",
            Area::Firewall => "Firewall",
            Area::Certificates => "Certificates",
            Area::Backups => "Backups",
            Area::Database => "Database",
            Area::Permissions => "Permissions",
        },
        what: check.what.clone(),
        state: match check.state {
            Condition::Ok => Badge::new(Tone::Ok, "ok"),
            Condition::Warn => Badge::new(Tone::Warn, "look"),
            Condition::Fail => Badge::new(Tone::Bad, "fails"),
        },
        seen: check.seen.clone(),
        why: check.why.clone(),
        remedy: check.remedy.clone(),
    }
}
