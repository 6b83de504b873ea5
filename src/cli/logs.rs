//! `freehold logs`: what an app's containers write.

use clap::Args;
use http::Method;
use regex_automata::meta::Regex;

use super::Global;
use super::app::path;
use super::client::{Client, full};
use super::lines::Lines;
use super::output::{self, Fail};
use crate::base::clock::UnixMs;
use crate::config::units;
use crate::wire::apps::AppLine;

/// What an app writes
///
/// The lines of all its containers in order, of each the newest 10,000 at most, those of ended ones as long as the engine
/// keeps them. With --json one object a line.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  freehold logs shop\n  freehold logs shop -f --process worker\n  freehold logs shop --since 1h --grep 'error|panic'"
)]
pub struct Arguments {
    /// The app
    name: String,
    /// Go on as lines come
    #[arg(long, short)]
    follow: bool,
    /// Only this process
    #[arg(long)]
    process: Option<String>,
    /// Only the last while, such as 30m or 1h
    #[arg(long)]
    since: Option<String>,
    /// Only lines that match this regular expression
    #[arg(long, value_name = "RE")]
    grep: Option<String>,
    /// The last so many lines of each container
    #[arg(long, short = 'n')]
    lines: Option<u32>,
}

/// Runs the verb.
///
/// # Errors
/// The daemon's problem, or that it cannot be reached.
pub async fn run(client: &Client, global: &Global, given: Arguments) -> Result<(), Fail> {
    let wanted = match &given.grep {
        None => None,
        Some(text) => Some(Regex::new(text).map_err(|e| {
            let why = std::error::Error::source(&e).map(ToString::to_string);
            let why = why.unwrap_or_else(|| e.to_string());
            Fail::usage(format!("--grep is no regular expression: {why}"))
        })?),
    };
    let mut query = format!("follow={}", given.follow);
    if let Some(since) = &given.since {
        let past = units::duration(since).map_err(Fail::usage)?;
        query.push_str(&format!("&since_ms={}", UnixMs::now().minus(past).0));
    }
    if let Some(process) = &given.process {
        let process =
            percent_encoding::utf8_percent_encode(process, percent_encoding::NON_ALPHANUMERIC);
        query.push_str(&format!("&process={process}"));
    }
    if let Some(lines) = given.lines {
        query.push_str(&format!("&tail={lines}"));
    }
    let target = format!("{}/logs?{query}", path(&given.name));
    let answer = client.request(Method::GET, &target, full(""), None).await?;
    let mut lines = Lines::of(answer);
    while let Some(line) = lines.next::<AppLine>().await? {
        if wanted.as_ref().is_some_and(|re| !re.is_match(&line.text)) {
            continue;
        }
        if global.json {
            output::line(serde_json::to_string(&line).unwrap_or_default());
        } else {
            let at = UnixMs(line.at_ms).iso();
            output::line(format!("{at} {} {}", line.container, line.text));
        }
    }
    match lines.cut() {
        false => Ok(()),
        true => Err(Fail::Unreachable(
            "the log broke off: the daemon went away, or who asks may no longer read it".to_owned(),
        )),
    }
}
