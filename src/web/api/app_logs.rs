//! What an app's containers write, and commands run in and beside them.

use std::collections::VecDeque;

use axum::extract::{Extension, Request, State};
use futures_util::{Stream, StreamExt, stream};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::apps;
use crate::base::clock::UnixMs;
use crate::events::{self, Level, NewEvent};
use crate::supervise::{Kind, Live, Spec, SuperviseError};
use crate::web::answer::{As, Lines, Terminal};
use crate::web::caller::Caller;
use crate::web::error::Failure;
use crate::web::input::{Path, Query};
use crate::web::services::App;
use crate::web::terminal;
use crate::wire::apps::AppLine;
use crate::wire::problem::ProblemKind;
use crate::wire::terminal::TerminalForm;

/// Which lines.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Which {
    /// Only this process.
    process: Option<String>,
    /// The last so many of each container; 200 when absent, and of what came since then all. 10,000 lines and 8 MB of
    /// a container at most: what is older is left out.
    tail: Option<u32>,
    /// Only since then.
    since_ms: Option<i64>,
    /// Those to come too.
    #[serde(default)]
    follow: bool,
}

/// Lines told of a container at most.
const MOST_LINES: u32 = 10_000;
/// Bytes of text held of a container at most, while its lines wait to be put in order.
const MOST_BYTES: usize = 8 << 20;

/// The last lines that have no more than `most` bytes of text.
async fn newest(lines: impl Stream<Item = AppLine>, most: usize) -> VecDeque<AppLine> {
    let mut held: VecDeque<AppLine> = VecDeque::new();
    let mut bytes = 0;
    let mut lines = std::pin::pin!(lines);
    while let Some(line) = lines.next().await {
        bytes += line.text.len();
        held.push_back(line);
        while bytes > most
            && let Some(oldest) = held.pop_front()
        {
            bytes -= oldest.text.len();
        }
    }
    held
}

/// `GET /api/v1/apps/{app}/logs`: newline-delimited JSON, oldest first.
pub async fn show(
    State(app): State<App>,
    Path(name): Path<String>,
    Query(which): Query<Which>,
) -> Result<As<Lines<AppLine>>, Failure> {
    let row = app.apps.find(&name).await?;
    let containers = containers(&app, &row, which.process.as_deref());
    let tail = match which.since_ms {
        Some(_) => which.tail.unwrap_or(MOST_LINES),
        None => which.tail.unwrap_or(200),
    };
    let tail = Some(tail.min(MOST_LINES));
    let mut streams = Vec::new();
    for one in containers {
        let lines = app
            .supervisor
            .logs(one.row, tail, which.since_ms, which.follow)
            .await;
        let lines = match lines {
            Ok(lines) => lines,
            Err(SuperviseError::NotFound(_)) => continue,
            Err(error) => return Err(Failure::new(ProblemKind::Outside, error.to_string())),
        };
        let process = one.process.clone().unwrap_or_default();
        streams.push(lines.filter_map(move |line| {
            let told = line.ok().map(|line| AppLine {
                at_ms: line.at_ms,
                container: one.name.clone(),
                process: process.clone(),
                text: line.text,
            });
            std::future::ready(told)
        }));
    }
    let json = |line: AppLine| {
        serde_json::to_string(&line)
            .map(|json| json + "\n")
            .map_err(std::io::Error::other)
    };
    let kind = "application/x-ndjson";
    if which.follow {
        let all = stream::select_all(streams.into_iter().map(Box::pin));
        return Ok(As::new(super::deploys::streamed(kind, all.map(json))));
    }
    let mut all: Vec<AppLine> = Vec::new();
    for lines in streams {
        all.extend(newest(lines, MOST_BYTES).await);
    }
    all.sort_by_key(|line| line.at_ms);
    let all = stream::iter(all).map(json);
    Ok(As::new(super::deploys::streamed(kind, all)))
}

/// The app's replicas, those that serve first.
fn containers(app: &App, row: &apps::App, process: Option<&str>) -> Vec<Live> {
    let owner = row.subject();
    let live = app.live.borrow().clone();
    let mut all: Vec<Live> = live
        .iter()
        .filter(|l| l.owner == owner && l.kind == Kind::Replica)
        .filter(|l| process.is_none_or(|p| l.process.as_deref() == Some(p)))
        .cloned()
        .collect();
    all.sort_by_key(|l| (!l.is_healthy(), l.row));
    all
}

/// `POST /api/v1/apps/{app}/exec` upgraded: a command inside a running replica.
pub async fn exec(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Query(form): Query<TerminalForm>,
    request: Request,
) -> Result<As<Terminal>, Failure> {
    let row = app.apps.find(&name).await?;
    let (words, size) = terminal::words(&form)?;
    let container = inside(&app, &row, &caller, form.process.as_deref()).await?;
    let start = app
        .supervisor
        .exec_interactive(container.row, words, Default::default(), size);
    Ok(As::new(terminal::serve(request, start).await?))
}

/// `POST /api/v1/apps/{app}/run` upgraded: a command in a container of its own.
pub async fn run(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Query(form): Query<TerminalForm>,
    request: Request,
) -> Result<As<Terminal>, Failure> {
    let row = app.apps.find(&name).await?;
    let (words, size) = terminal::words(&form)?;
    let spec = one_off(&app, &row, &caller, words).await?;
    let start = app.supervisor.run_interactive(spec, size);
    Ok(As::new(terminal::serve(request, start).await?))
}

/// The app's processes of which a replica runs, `web` first.
pub fn processes(app: &App, row: &apps::App) -> Vec<String> {
    let live = containers(app, row, None).into_iter();
    let mut names: Vec<String> = live.filter_map(|l| l.process).collect();
    names.sort_by_key(|name| (name != "web", name.clone()));
    names.dedup();
    names
}

/// The replica of `process`, or of `web`, in which a command is run, noted on the app's activity: the same for a terminal
/// and a page.
///
/// # Errors
/// When none runs.
pub async fn inside(
    app: &App,
    row: &apps::App,
    caller: &Caller,
    process: Option<&str>,
) -> Result<Live, Failure> {
    let process = process.unwrap_or("web");
    let Some(container) = containers(app, row, Some(process)).into_iter().next() else {
        let detail = format!(
            "no replica of {process} runs: see `freehold app show {}`",
            row.name
        );
        return Err(Failure::new(ProblemKind::Conflict, detail));
    };
    let what = format!("ran a command in {}", container.name);
    note(app, row, caller, &what).await?;
    Ok(container)
}

/// The container in which `words` are run beside the app, noted on its activity: the same for a terminal and a page.
///
/// # Errors
/// When nothing of the app is live.
pub async fn one_off(
    app: &App,
    row: &apps::App,
    caller: &Caller,
    words: Vec<String>,
) -> Result<Spec, Failure> {
    let spec = app.deploys.one_off(row.id, words).await?;
    let what = "ran a command in a container of its own";
    note(app, row, caller, what).await?;
    Ok(spec)
}

/// A line on the app's activity; not the words, which may hold secrets.
async fn note(app: &App, row: &apps::App, caller: &Caller, what: &str) -> Result<(), Failure> {
    let message = format!("{} {what}.", caller.who());
    let event = NewEvent::new("app.command", Level::Info, row.subject(), message);
    app.db
        .write(move |tx| events::record(tx, UnixMs::now(), &event))
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a6_of_a_long_log_the_end_is_held_and_no_more() {
        let line = |n: i64| AppLine {
            at_ms: n,
            container: "shop-web".into(),
            process: "web".into(),
            text: "x".repeat(100),
        };
        let held = newest(stream::iter((0..1_000).map(line)), 1_050).await;
        let held: Vec<i64> = held.iter().map(|l| l.at_ms).collect();
        assert_eq!(held, (990..1_000).collect::<Vec<_>>());
        assert!(newest(stream::iter([line(1)]), 10).await.is_empty());
    }
}
