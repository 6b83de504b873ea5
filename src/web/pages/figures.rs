//! Figures over time as graphs, sparks and strips.

use super::parts::strip::Bar as StripBar;
use super::parts::{Graph, Over, Spark, Strip, Tone};
use super::words;
use crate::base::clock::UnixMs;
use crate::monitor::{self, Monitor, MonitorError, Usages, Window};
use crate::supervise::Live;
use crate::web::api::metrics;
use crate::web::error::Failure;
use crate::wire::checks::Bar;
use crate::wire::metrics::{AppHistory, BoxHistory};
use crate::wire::overview::{Machine, Urgency};

/// Of an app's answers: a share of 5xx above this is bad, any below is worth a look.
const MANY_ERRORS: f64 = 0.01;

fn peak(series: &[Option<f64>], told: impl Fn(f64) -> String) -> String {
    let highest = series.iter().flatten().copied().reduce(f64::max);
    highest.map_or_else(String::new, |v| format!("peak {}", told(v)))
}

fn from(first: UnixMs, now: UnixMs) -> String {
    words::ago(first, now)
}

#[allow(clippy::cast_precision_loss)]
fn float(series: &[Option<u64>]) -> Vec<Option<f64>> {
    series.iter().map(|v| v.map(|v| v as f64)).collect()
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn bytes(value: f64) -> String {
    words::bytes(value.max(0.0) as u64)
}

/// A box younger than this many slots of the day is shown by the hour.
const YOUNG: usize = 4;

/// The time graphs are drawn over, and what it is called: what is asked for, else as [`usual`] has it.
///
/// # Errors
/// That what is asked for is no range, or the database's.
pub async fn window(
    monitor: &Monitor,
    asked: &metrics::Over,
    now: UnixMs,
) -> Result<(Over, Window), Failure> {
    if let Some((name, window)) = asked.named(now)? {
        return Ok((Over::new(name), window));
    }
    let (over, window, _) = usual(monitor, now).await?;
    Ok((over, window))
}

/// The last day, or the last hour while there is no more; with the box over it.
pub async fn usual(
    monitor: &Monitor,
    now: UnixMs,
) -> Result<(Over, Window, BoxHistory), MonitorError> {
    let day = Window::day(now);
    let measured = monitor.box_history(day).await?;
    if measured.cpu.iter().flatten().count() >= YOUNG {
        return Ok((Over::new("day"), day, measured));
    }
    let hour = Window::named("hour", now).unwrap_or(day);
    Ok((Over::new("hour"), hour, monitor.box_history(hour).await?))
}

/// CPU, memory and disk.
#[allow(clippy::cast_precision_loss)]
pub fn of_box(history: &BoxHistory, machine: Option<&Machine>, now: UnixMs) -> Vec<Graph> {
    let from = from(history.from_ms, now);
    let memory = float(&history.memory_used);
    let disk = float(&history.disk_used);
    let total = |of: fn(&Machine) -> u64| machine.map(|m| of(m) as f64).filter(|t| *t > 0.0);
    let mut graphs = vec![
        Graph::new("CPU", &history.cpu, Some(1.0)).axis(&from, peak(&history.cpu, words::percent)),
        Graph::new("Memory", &memory, total(|m| m.memory_total)).axis(&from, peak(&memory, bytes)),
        Graph::new("Disk", &disk, total(|m| m.disk_total)).axis(&from, peak(&disk, bytes)),
    ];
    let Some(machine) = machine else {
        return graphs;
    };
    let [cpu, memory, disk] = &mut graphs[..] else {
        return graphs;
    };
    if let Some(share) = machine.cpu {
        cpu.now = words::percent(share);
    }
    cpu.of = format!("of {}", words::count(machine.cores as usize, "core"));
    memory.now = words::bytes(machine.memory_used);
    memory.of = format!("of {}", words::bytes(machine.memory_total));
    disk.now = words::bytes(machine.disk_used);
    disk.of = format!("of {}", words::bytes(machine.disk_total));
    if let Some(days) = machine.disk_full_in_days.filter(|d| *d < 60.0) {
        disk.peak = format!("full in about {days:.0} days");
    }
    disk.tone = monitor::disk(machine).map(|attention| match attention.level {
        Urgency::Bad => Tone::Bad,
        Urgency::Warning => Tone::Warn,
    });
    graphs
}

/// Load, swap and network.
pub fn of_box_more(history: &BoxHistory, machine: Option<&Machine>, now: UnixMs) -> Vec<Graph> {
    let from = from(history.from_ms, now);
    #[allow(clippy::cast_precision_loss)]
    let per_second = |series: &[Option<u64>]| -> Vec<Option<f64>> {
        let step = history.step_s.max(1) as f64;
        float(series)
            .into_iter()
            .map(|v| v.map(|v| v / step))
            .collect()
    };
    let rate = |v: f64| format!("{}/s", bytes(v));
    let (received, sent) = (per_second(&history.received), per_second(&history.sent));
    let last = |series: &[Option<f64>]| {
        series
            .iter()
            .rev()
            .flatten()
            .next()
            .map_or_else(String::new, |v| rate(*v))
    };
    let mut load =
        Graph::new("Load", &history.load, None).axis(&from, peak(&history.load, words::rate));
    if let Some(machine) = machine {
        load = load.now(words::rate(machine.load[0]), "over a minute");
    }
    vec![
        load,
        Graph::new("Received", &received, None)
            .now(last(&received), "")
            .axis(&from, peak(&received, rate)),
        Graph::new("Sent", &sent, None)
            .now(last(&sent), "")
            .axis(&from, peak(&sent, rate)),
    ]
}

/// What an app answered: requests, p95, errors. `marks` are when it was deployed.
#[allow(clippy::cast_precision_loss)]
pub fn of_app(
    history: &AppHistory,
    newest: &crate::wire::overview::App,
    marks: &[UnixMs],
    now: UnixMs,
) -> Vec<Graph> {
    let from_ms = history.from_ms;
    let from = from(from_ms, now);
    let span = now.since(from_ms).as_secs_f64().max(1.0);
    let marks: Vec<f64> = marks
        .iter()
        .filter(|at| **at > from_ms)
        .map(|at| at.since(from_ms).as_secs_f64() / span)
        .collect();
    let dash = || "–".to_owned();
    let errors = errors_tone(newest.error_share);
    let mut shown = Graph::new("5xx answers", &history.error_share, Some(0.05))
        .now(
            newest.error_share.map_or_else(dash, words::percent),
            "of 5 minutes",
        )
        .axis(&from, peak(&history.error_share, words::percent))
        .marks(&marks);
    if history.server_errors > 0 {
        shown = shown.tone(if errors == Tone::Ok {
            Tone::Warn
        } else {
            Tone::Bad
        });
    }
    vec![
        Graph::new("Requests per second", &history.rate, None)
            .now(
                newest.rate.map_or_else(dash, words::rate),
                format!("{} in all", history.requests),
            )
            .axis(&from, peak(&history.rate, words::rate))
            .marks(&marks),
        Graph::new("95th percentile", &history.p95_ms, None)
            .now(
                newest.p95_ms.map_or_else(dash, words::millis),
                "of 5 minutes",
            )
            .axis(&from, peak(&history.p95_ms, words::millis))
            .marks(&marks),
        shown,
    ]
}

/// Whether a share of 5xx is worth looking at.
pub fn errors_tone(share: Option<f64>) -> Tone {
    match share {
        None => Tone::Idle,
        Some(share) if share >= MANY_ERRORS => Tone::Bad,
        Some(share) if share > 0.0 => Tone::Warn,
        Some(_) => Tone::Ok,
    }
}

/// An app's requests as a small line.
pub fn spark(history: Option<&AppHistory>) -> Spark {
    history.map_or_else(Spark::default, |h| Spark::new(&h.rate))
}

/// A check's day as bars.
pub fn strip(name: &str, bars: &[Bar], share: Option<f64>) -> Strip {
    let told = |bar: &Bar| {
        let at = words::date_time(bar.from_ms);
        match (bar.up, bar.down) {
            (0, 0) => format!("{at}: not asked"),
            (up, 0) => format!("{at}: answered {up} of {up}"),
            (up, down) => format!("{at}: answered {up} of {}", up + down),
        }
    };
    Strip {
        bars: bars
            .iter()
            .map(|bar| StripBar {
                tone: match (bar.up, bar.down) {
                    (0, 0) => Tone::Idle,
                    (_, 0) => Tone::Ok,
                    (up, down) if up > down * 4 => Tone::Warn,
                    _ => Tone::Bad,
                },
                title: told(bar),
            })
            .collect(),
        summary: match share {
            Some(share) => format!(
                "{name}: {} of the last day’s checks were answered",
                words::percent(share)
            ),
            None => format!("{name}: not checked in the last day"),
        },
    }
}

/// What a container uses, in words.
#[derive(Clone, Debug, Default)]
pub struct Used {
    /// "0.12 cores".
    pub cpu: String,
    /// "84 MiB".
    pub memory: String,
    /// "of 512 MiB"; empty without a limit.
    pub limit: String,
}

/// What a container that runs uses.
pub fn used(live: &Live, usages: &Usages) -> Used {
    let dash = || "–".to_owned();
    let id = live.container_id.as_ref();
    let usage = id.and_then(|id| Some(usages.get(id)?.usage));
    let limit = usage.and_then(|u| u.memory_limit);
    Used {
        cpu: usage.and_then(|u| u.cpu).map_or_else(dash, words::cores),
        memory: usage.map_or_else(dash, |u| words::bytes(u.memory)),
        limit: limit.map_or_else(String::new, |l| format!("of {}", words::bytes(l))),
    }
}

/// A share of checks answered, in words.
pub fn share(share: Option<f64>) -> String {
    share.map_or_else(|| "not checked yet".to_owned(), words::percent)
}
