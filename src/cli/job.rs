//! `freehold jobs` and `freehold job`: long work listed, shown, followed, cancelled.

use std::time::Duration;

use clap::{Args, Subcommand};
use http::Method;
use serde_json::Value;

use super::Global;
use super::client::{Client, segment};
use super::output::{self, Fail};
use super::progress::Progress;
use crate::base::clock::UnixMs;
use crate::wire::jobs::{Job, JobState};

/// How often a job that is waited for is looked at.
const LOOK: Duration = Duration::from_millis(300);

/// Long work, newest first
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  freehold jobs\n  freehold jobs --open\n  freehold jobs --app shop --json"
)]
pub struct ListArguments {
    /// Only work that waits or is being done
    #[arg(long)]
    open: bool,
    /// Only work on this app
    #[arg(long, value_name = "NAME")]
    app: Option<String>,
    /// At most so many
    #[arg(long, default_value_t = 20)]
    limit: u32,
}

/// One piece of long work
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  freehold job show 12\n  freehold job follow 12       until it is over; exit code 6 when it failed\n  freehold job cancel 12"
)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// How it stands
    #[command(after_help = "Examples:\n  freehold job show 12\n  freehold job show 12 --json")]
    Show {
        /// Its number
        id: i64,
    },
    /// Wait until it is over; the exit code is 6 when it failed
    #[command(after_help = "Examples:\n  freehold job follow 12\n  freehold job follow 12 --json")]
    Follow {
        /// Its number
        id: i64,
    },
    /// Take it back; returns when it was seen dead
    #[command(after_help = "Examples:\n  freehold job cancel 12\n  freehold job cancel 12 --json")]
    Cancel {
        /// Its number
        id: i64,
    },
}

fn path(id: i64) -> String {
    format!("/api/v1/jobs/{id}")
}

/// Runs `freehold jobs`.
///
/// # Errors
/// The daemon's problem, or that it cannot be reached.
pub async fn list(client: &Client, global: &Global, given: ListArguments) -> Result<(), Fail> {
    let mut path = format!("/api/v1/jobs?limit={}", given.limit);
    if given.open {
        path.push_str("&state=open");
    }
    if let Some(app) = &given.app {
        path.push_str(&format!("&app={}", segment(app)));
    }
    let all: Vec<Job> = client.list(&path).await?;
    if global.json {
        output::json(&all);
        return Ok(());
    }
    let mut rows = vec![
        ["JOB", "WHAT", "STATE", "ASKED FOR"]
            .map(str::to_owned)
            .to_vec(),
    ];
    rows.extend(all.iter().map(|job| {
        vec![
            job.id.to_string(),
            job.what.clone(),
            job.state.as_str().to_owned(),
            UnixMs(job.created_ms).to_string(),
        ]
    }));
    output::table(&rows);
    Ok(())
}

/// Runs `freehold job`.
///
/// # Errors
/// The daemon's problem, or that the job failed.
pub async fn run(client: &Client, global: &Global, given: Arguments) -> Result<(), Fail> {
    match given.verb {
        Verb::Show { id } => {
            let job: Job = client.get(&path(id)).await?;
            tell(global, &job);
            Ok(())
        }
        Verb::Cancel { id } => {
            let target = format!("{}/cancel", path(id));
            let job: Job = client.send(Method::POST, &target, &Value::Null).await?;
            tell(global, &job);
            Ok(())
        }
        Verb::Follow { id } => follow(client, global, id).await,
    }
}

async fn follow(client: &Client, global: &Global, id: i64) -> Result<(), Fail> {
    let mut last = None;
    loop {
        let job: Job = client.get(&path(id)).await?;
        if !global.json && last != Some(job.state) {
            output::line(format!("{}: {}", job.what, job.state.as_str()));
        }
        last = Some(job.state);
        if job.state.is_over() {
            if global.json {
                output::json(&job);
            }
            return match job.state {
                JobState::Done => Ok(()),
                _ => Err(Fail::Ended(ended(&job))),
            };
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Waits until `job` is over, and shows how `what` goes.
///
/// # Errors
/// That it ended in another way than it should, or that the daemon cannot be reached any more.
pub async fn finished(
    client: &Client,
    global: &Global,
    mut job: Job,
    what: &str,
) -> Result<(), Fail> {
    let mut progress = Progress::of_state(global, what);
    while !job.state.is_over() {
        // It may be long until the next try.
        if let (JobState::Queued, Some(why)) = (job.state, &job.error) {
            let why = &why.detail;
            return Err(Fail::Ended(format!(
                "{what} did not succeed yet and is tried again by itself: {why}"
            )));
        }
        progress.state(job.state.as_str());
        tokio::time::sleep(LOOK).await;
        job = client.get(&path(job.id)).await?;
    }
    drop(progress);
    match job.state {
        JobState::Done => Ok(()),
        _ => Err(Fail::Ended(ended(&job))),
    }
}

/// Waits until `job` is over, through all its tries, and shows how `what` goes.
///
/// # Errors
/// That it ended in another way than it should, or that the daemon cannot be reached any more.
pub async fn over(client: &Client, global: &Global, mut job: Job, what: &str) -> Result<Job, Fail> {
    let mut progress = Progress::of_state(global, what);
    while !job.state.is_over() {
        progress.state(&match &job.error {
            Some(why) => format!("{}: {}", job.state.as_str(), why.detail),
            None => job.state.as_str().to_owned(),
        });
        tokio::time::sleep(LOOK).await;
        job = client.get(&path(job.id)).await?;
    }
    drop(progress);
    match job.state {
        JobState::Done => Ok(job),
        _ => Err(Fail::Ended(ended(&job))),
    }
}

fn ended(job: &Job) -> String {
    let why = job.error.as_ref().map(|e| format!(": {}", e.detail));
    format!(
        "{} is {}{}",
        job.what,
        job.state.as_str(),
        why.unwrap_or_default()
    )
}

fn tell(global: &Global, job: &Job) {
    if global.json {
        output::json(job);
        return;
    }
    output::line(format!("Job {}: {}", job.id, ended(job)));
    if let Some(resource) = &job.resource {
        output::line(format!("  {resource}"));
    }
}
