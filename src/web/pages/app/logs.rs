//! `/apps/{app}/logs`: what the app's containers say, searched and followed.

use std::convert::Infallible;
use std::time::Duration;

use askama::Template;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt, stream};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::head::{self, AppHead, Tab};
use crate::apps;
use crate::base::clock::UnixMs;
use crate::docker::LogLine;
use crate::supervise::Live;
use crate::web::error::Failure;
use crate::web::pages::frame::{Frame, Theme};
use crate::web::pages::parts::Field;
use crate::web::pages::visit::Visit;
use crate::web::pages::words;
use crate::web::services::App;

/// The page.
#[derive(Clone, Debug, Template)]
#[template(path = "app_logs.html")]
pub struct View {
    /// What stands around it.
    pub frame: Frame,
    /// Name, state, tabs.
    pub head: AppHead,
    /// Which process.
    pub process: Field,
    /// How far back.
    pub since: Field,
    /// Only lines with this in them.
    pub grep: Field,
    /// "web, last hour".
    pub heading: String,
    /// Where the same comes as plain text, followed.
    pub stream: String,
    /// Up to now.
    pub log: String,
    /// Why there is none.
    pub fault: String,
}

/// What is shown.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Filter {
    #[serde(default)]
    process: String,
    #[serde(default)]
    since: String,
    #[serde(default)]
    grep: String,
}

/// How far back: value, words, seconds.
const SINCE: [(&str, &str, u64); 4] = [
    ("15m", "15 minutes", 900),
    ("1h", "1 hour", 3_600),
    ("6h", "6 hours", 21_600),
    ("24h", "1 day", 86_400),
];
/// Lines of each container, at most.
const LINES: u32 = 400;
/// How long the page waits for what was already said.
const PATIENCE: Duration = Duration::from_millis(1_500);

impl Filter {
    fn since(&self) -> (&'static str, &'static str, u64) {
        SINCE
            .into_iter()
            .find(|(value, ..)| *value == self.since)
            .unwrap_or(SINCE[0])
    }

    fn address(&self, app: &str) -> String {
        let part = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        format!(
            "/apps/{app}/logs/stream?process={}&since={}&grep={}",
            part(&self.process),
            self.since().0,
            part(&self.grep)
        )
    }

    fn lets(&self, line: &str) -> bool {
        self.grep.is_empty() || line.to_lowercase().contains(&self.grep.to_lowercase())
    }
}

/// The lines of all containers that fit, each with the process that said it.
async fn lines(
    app: &App,
    row: &apps::App,
    filter: &Filter,
    follow: bool,
) -> (impl Stream<Item = (LogLine, String)> + Send + use<>, String) {
    let live = app.live.borrow().clone();
    let since = UnixMs::now().minus(Duration::from_secs(filter.since().2));
    let chosen: Vec<&Live> = head::of(row, &live)
        .filter(|l| filter.process.is_empty() || l.process.as_deref() == Some(&filter.process))
        .collect();
    let (mut streams, mut fault) = (Vec::new(), String::new());
    for live in chosen {
        let process = live.process.clone().unwrap_or_default();
        match app
            .supervisor
            .logs(live.row, Some(LINES), Some(since.0), follow)
            .await
        {
            Ok(lines) => streams.push(
                lines
                    .filter_map(|line| std::future::ready(line.ok()))
                    .map(move |line| (line, process.clone()))
                    .boxed(),
            ),
            Err(error) => fault = error.to_string(),
        }
    }
    (stream::select_all(streams), fault)
}

fn told(line: &LogLine, process: &str) -> String {
    format!(
        "{}  {process}  {}\n",
        words::clock(UnixMs(line.at_ms)),
        line.text
    )
}

/// `GET /apps/{app}/logs`
pub async fn show(
    State(app): State<App>,
    visit: Visit,
    Path(name): Path<String>,
    Query(filter): Query<Filter>,
) -> Result<Response, Failure> {
    let (row, head) = AppHead::load(&app, &name, Tab::Logs).await?;
    let (lines, fault) = lines(&app, &row, &filter, false).await;
    let mut said: Vec<(LogLine, String)> = lines
        .filter(|(line, _)| std::future::ready(filter.lets(&line.text)))
        .take_until(tokio::time::sleep(PATIENCE))
        .collect()
        .await;
    said.sort_by_key(|(line, _)| line.at_ms);
    let live = app.live.borrow().clone();
    let mut processes: Vec<String> = head::of(&row, &live)
        .filter_map(|l| l.process.clone())
        .collect();
    processes.sort();
    processes.dedup();
    let choices = std::iter::once((String::new(), "All".to_owned()))
        .chain(processes.into_iter().map(|p| (p.clone(), p)))
        .collect();
    Ok(crate::web::pages::render(&View {
        frame: head.frame(visit),
        process: Field::choice("process", "Process", choices).value(&filter.process),
        since: Field::choice(
            "since",
            "Since",
            SINCE
                .into_iter()
                .map(|(value, text, _)| (value.to_owned(), text.to_owned()))
                .collect(),
        )
        .value(filter.since().0),
        grep: Field::code("grep", "Lines with").value(&filter.grep),
        heading: format!(
            "{}, last {}",
            match filter.process.as_str() {
                "" => "All processes",
                process => process,
            },
            filter.since().1
        ),
        stream: filter.address(&head.name),
        log: said
            .iter()
            .map(|(line, process)| told(line, process))
            .collect(),
        fault,
        head,
    }))
}

/// `GET /apps/{app}/logs/stream`
pub async fn stream(
    State(app): State<App>,
    Path(name): Path<String>,
    Query(filter): Query<Filter>,
) -> Result<Response, Failure> {
    let row = app.apps.find(&name).await?;
    let (lines, _) = lines(&app, &row, &filter, true).await;
    let body = lines
        .filter(move |(line, _)| std::future::ready(filter.lets(&line.text)))
        .map(|(line, process)| Ok::<_, Infallible>(told(&line, &process)));
    Ok((
        [(header::CONTENT_TYPE, "text/plain; charset=utf-8")],
        Body::from_stream(body),
    )
        .into_response())
}
