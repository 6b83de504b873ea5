//! `freehold top`: the box and its apps, live.

use std::time::Duration;

use clap::Args;

use super::Global;
use super::client::Client;
use super::output::{self, Fail};
use super::style;
use crate::wire::overview::{App, Machine, Overview, Urgency};

/// The box and its apps, live
///
/// Drawn anew every 2 s on a terminal, until Ctrl-C; printed once anywhere else.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  freehold top\n  freehold top --once")]
pub struct Arguments {
    /// Show it once and end
    #[arg(long)]
    once: bool,
}

/// Between two looks.
const EVERY: Duration = Duration::from_secs(2);

/// Runs until Ctrl-C; once where nobody watches.
///
/// # Errors
/// That the daemon cannot be reached.
pub async fn run(client: &Client, global: &Global, arguments: Arguments) -> Result<(), Fail> {
    let once = arguments.once || global.json || !style::stdout().terminal;
    loop {
        let overview: Overview = client.get("/api/v1/overview").await?;
        if global.json {
            output::json(&overview);
            return Ok(());
        }
        if !once {
            // Home, and everything below cleared.
            output::line("\x1b[H\x1b[2J\x1b[3J");
        }
        show(&overview);
        if once {
            return Ok(());
        }
        tokio::time::sleep(EVERY).await;
    }
}

fn show(overview: &Overview) {
    match &overview.machine {
        Some(machine) => show_machine(machine),
        None => output::line("The box has not been measured yet."),
    }
    output::line("");
    if overview.apps.is_empty() {
        output::line("No app yet: freehold app create NAME");
    } else {
        let head = [
            "APP", "STATE", "REQ/S", "P95", "5XX", "UP 24 H", "CORES", "MEMORY", "RELEASE",
        ];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        rows.extend(overview.apps.iter().map(row));
        output::table(&rows);
    }
    for item in &overview.attention {
        let mark = match item.level {
            Urgency::Bad => "!!",
            Urgency::Warning => " !",
        };
        output::line("");
        output::line(format!("{mark} {}", item.what));
        output::line(format!("   {}", item.why));
        output::line(format!("   {}", item.remedy));
    }
}

fn show_machine(m: &Machine) {
    let percent = |part: u64, whole: u64| (part * 100).checked_div(whole).unwrap_or(0);
    let megabytes = |bytes: u64| bytes / (1 << 20);
    let cpu = m
        .cpu
        .map_or_else(|| "-".into(), |share| format!("{:.0} %", share * 100.0));
    output::line(format!(
        "{}  {}  up {} d {} h",
        m.name,
        m.system,
        m.uptime_s / 86_400,
        m.uptime_s % 86_400 / 3_600
    ));
    output::line(format!(
        "CPU {cpu} of {} cores  load {:.2} {:.2} {:.2}",
        m.cores, m.load[0], m.load[1], m.load[2]
    ));
    for (name, used, total) in [
        ("Memory", m.memory_used, m.memory_total),
        ("Swap", m.swap_used, m.swap_total),
        ("Disk", m.disk_used, m.disk_total),
    ] {
        output::line(format!(
            "{name:<7}{:>3} %  {} of {} MB",
            percent(used, total),
            megabytes(used),
            megabytes(total)
        ));
    }
}

fn row(app: &App) -> Vec<String> {
    let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".into());
    let usage = app.usage;
    vec![
        app.name.clone(),
        format!("{:?}", app.state).to_lowercase(),
        or_dash(app.rate.map(|r| format!("{r:.1}"))),
        or_dash(app.p95_ms.map(|ms| format!("{ms:.0} ms"))),
        or_dash(app.error_share.map(|s| format!("{:.1} %", s * 100.0))),
        or_dash(app.up_share.map(|s| format!("{:.2} %", s * 100.0))),
        or_dash(usage.and_then(|u| u.cpu).map(|c| format!("{c:.2}"))),
        or_dash(usage.map(|u| format!("{} MB", u.memory >> 20))),
        or_dash(app.release.map(|n| format!("v{n}"))),
    ]
}
