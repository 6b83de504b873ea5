//! What there is to go back to, and how it went: `freehold releases`, `deliveries`, `metrics`.

use clap::Args;

use super::Global;
use super::client::{Client, segment};
use super::output::{self, Fail};
use crate::base::clock::UnixMs;
use crate::wire::deploys::{Delivery, Release};
use crate::wire::metrics::{AppHistory, BoxHistory};

/// The releases of an app, newest first
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  freehold releases shop\n  freehold releases shop --json\n  freehold rollback shop v3"
)]
pub struct ReleaseArguments {
    /// The app
    name: String,
}

/// What git hosts told us of an app, newest first
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  freehold deliveries shop\n  freehold deliveries shop --json")]
pub struct DeliveryArguments {
    /// The app
    name: String,
}

/// Figures over time, of the box or of an app
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  freehold metrics\n  freehold metrics shop --over week\n  freehold metrics shop --json      # every slot"
)]
pub struct MetricArguments {
    /// The app; the box when absent
    name: Option<String>,
    /// hour, day, week, month or year
    #[arg(long, default_value = "day")]
    over: String,
}

fn heading<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(str::to_owned).to_vec()
}

/// Runs `freehold releases`.
///
/// # Errors
/// The daemon's problem, or that it cannot be reached.
pub async fn releases(
    client: &Client,
    global: &Global,
    given: ReleaseArguments,
) -> Result<(), Fail> {
    let path = format!("/api/v1/apps/{}/releases", segment(&given.name));
    let all: Vec<Release> = client.list(&path).await?;
    if global.json {
        output::json(&all);
        return Ok(());
    }
    let mut rows = vec![heading(["RELEASE", "STATE", "MADE", "WHAT"])];
    rows.extend(all.into_iter().map(|r| {
        let state = match (r.live, r.kept) {
            (true, _) => "live",
            (false, true) => "kept",
            (false, false) => "gone",
        };
        let what = r.title.or(r.commit).unwrap_or(r.image);
        vec![
            format!("v{}", r.number),
            state.to_owned(),
            UnixMs(r.created_ms).to_string(),
            what,
        ]
    }));
    output::table(&rows);
    Ok(())
}

/// Runs `freehold deliveries`.
///
/// # Errors
/// The daemon's problem, or that it cannot be reached.
pub async fn deliveries(
    client: &Client,
    global: &Global,
    given: DeliveryArguments,
) -> Result<(), Fail> {
    let path = format!("/api/v1/apps/{}/deliveries", segment(&given.name));
    let all: Vec<Delivery> = client.list(&path).await?;
    if global.json {
        output::json(&all);
        return Ok(());
    }
    let mut rows = vec![heading(["WHEN", "HOST", "EVENT", "ANSWER", "WHY"])];
    rows.extend(all.into_iter().map(|d| {
        vec![
            UnixMs(d.at_ms).to_string(),
            d.host,
            d.event,
            d.status.to_string(),
            d.reason,
        ]
    }));
    output::table(&rows);
    Ok(())
}

/// Runs `freehold metrics`.
///
/// # Errors
/// The daemon's problem, or that it cannot be reached.
pub async fn metrics(client: &Client, global: &Global, given: MetricArguments) -> Result<(), Fail> {
    let over = segment(&given.over);
    let rows = match given.name {
        Some(name) => {
            let path = format!("/api/v1/metrics/apps/{}?over={over}", segment(&name));
            let all: AppHistory = client.get(&path).await?;
            if global.json {
                output::json(&all);
                return Ok(());
            }
            vec![
                vec!["requests".into(), all.requests.to_string()],
                vec!["server errors".into(), all.server_errors.to_string()],
                vec!["95 of 100 answered in".into(), millis(all.p95_ms_whole)],
                vec!["busiest slot".into(), rate(&all.rate)],
            ]
        }
        None => {
            let all: BoxHistory = client
                .get(&format!("/api/v1/metrics/box?over={over}"))
                .await?;
            if global.json {
                output::json(&all);
                return Ok(());
            }
            vec![
                vec!["processor, busiest slot".into(), share(&all.cpu)],
                vec!["memory, most in use".into(), bytes(&all.memory_used)],
                vec!["swap, most in use".into(), bytes(&all.swap_used)],
                vec!["disk, taken".into(), bytes(&all.disk_used)],
            ]
        }
    };
    output::table(&rows);
    Ok(())
}

fn most(all: &[Option<f64>]) -> Option<f64> {
    all.iter().flatten().copied().reduce(f64::max)
}

fn share(all: &[Option<f64>]) -> String {
    most(all).map_or_else(nothing, |share| format!("{:.0} %", share * 100.0))
}

fn rate(all: &[Option<f64>]) -> String {
    most(all).map_or_else(nothing, |rate| format!("{rate:.1} a second"))
}

fn millis(one: Option<f64>) -> String {
    one.map_or_else(nothing, |ms| format!("{ms:.0} ms"))
}

fn bytes(all: &[Option<u64>]) -> String {
    let most = all.iter().flatten().max();
    most.map_or_else(nothing, |bytes| format!("{} MB", bytes >> 20))
}

fn nothing() -> String {
    "not measured yet".to_owned()
}
