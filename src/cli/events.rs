//! `freehold events`: what happened, and with --follow what happens.

use std::time::Duration;

use clap::Args;
use http::Method;

use super::Global;
use super::app::path as path_of_app;
use super::client::{Client, full, segment};
use super::messages::Messages;
use super::output::{self, Fail};
use crate::events::{Event, Level};
use crate::wire::apps::AppDetail;
use crate::wire::listing::Listing;
use crate::wire::problem::ProblemKind;

/// What happened on the box or to an app, newest first
///
/// With --follow what happens from now on, as it happens, until Ctrl-C: a daemon that starts again is waited for, and what
/// happened meanwhile is told too. It takes who may see the box; with --json it is one object a line.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  freehold events\n  freehold events shop\n  freehold events --level error\n  freehold events --subject app:7 --limit 200 --json\n  freehold events --follow\n  freehold events shop --follow --json"
)]
pub struct Arguments {
    /// The app; the whole box when absent
    name: Option<String>,
    /// Only of this: `app:7`, `database:3`, `box`
    #[arg(long, conflicts_with = "name")]
    subject: Option<String>,
    /// Only those that want so much of their reader: info, warning, error
    #[arg(long)]
    level: Option<String>,
    /// At most so many
    #[arg(long, default_value_t = 50)]
    limit: u32,
    /// Go on with what happens, from now on
    #[arg(long, conflicts_with = "limit")]
    follow: bool,
}

/// Runs the verb.
///
/// # Errors
/// The daemon's problem, or that it cannot be reached.
pub async fn run(client: &Client, global: &Global, given: Arguments) -> Result<(), Fail> {
    let level = given.level.as_deref().map(level).transpose()?;
    if given.follow {
        return follow(client, global, &given, level).await;
    }
    let place = match &given.name {
        Some(name) => format!("{}/events", path_of_app(name)),
        None => "/api/v1/events".to_owned(),
    };
    let mut path = format!("{place}?limit={}", given.limit);
    for (name, value) in [("subject", &given.subject), ("level", &given.level)] {
        if let Some(value) = value {
            path.push_str(&format!("&{name}={}", segment(value)));
        }
    }
    let all: Vec<Event> = client.list(&path).await?;
    if global.json {
        output::json(&all);
        return Ok(());
    }
    let mut rows = vec![["WHEN", "LEVEL", "WHAT"].map(str::to_owned).to_vec()];
    rows.extend(
        all.into_iter()
            .map(|e| vec![e.at_ms.to_string(), e.level.as_str().to_owned(), e.message]),
    );
    output::table(&rows);
    Ok(())
}

fn level(text: &str) -> Result<Level, Fail> {
    let level = Level::ALL.into_iter().find(|level| level.as_str() == text);
    let names = Level::ALL.map(Level::as_str).join(", ");
    level.ok_or_else(|| Fail::usage(format!("--level is one of {names}")))
}

/// What is told, and how far.
struct Told {
    json: bool,
    level: Option<Level>,
    /// `&subject=app%3A7`, or nothing.
    subject: String,
    /// The newest event that was told, or that was there before the first.
    last: i64,
}

/// Between a stream's end and the next, at first and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));

async fn follow(
    client: &Client,
    global: &Global,
    given: &Arguments,
    level: Option<Level>,
) -> Result<(), Fail> {
    let subject = match &given.name {
        Some(name) => {
            let app: AppDetail = client.get(&path_of_app(name)).await?;
            Some(format!("app:{}", app.summary.id))
        }
        None => given.subject.clone(),
    };
    let subject = subject.map(|s| format!("&subject={}", segment(&s)));
    let subject = subject.unwrap_or_default();
    // The first answer is not waited for: what is wrong from the beginning is told at once.
    let newest: Listing<Event> = client
        .get(&format!("/api/v1/events?limit=1{subject}"))
        .await?;
    let mut told = Told {
        json: global.json,
        level,
        subject,
        last: newest.items.first().map_or(0, |event| event.id),
    };
    let (mut pause, mut waits) = (PAUSE.0, false);
    loop {
        match watch(client, &mut told).await {
            Ok(()) => (pause, waits) = (PAUSE.0, false),
            Err(fail) if passes(&fail) => {
                if !waits {
                    output::note("the daemon does not answer; it is asked again until it does");
                }
                waits = true;
                pause = (pause * 2).min(PAUSE.1);
            }
            Err(fail) => return Err(fail),
        }
        tokio::time::sleep(pause).await;
    }
}

/// Whether a daemon that starts again ends it.
fn passes(fail: &Fail) -> bool {
    match fail {
        Fail::Unreachable(_) => true,
        Fail::Problem(problem) => {
            matches!(
                problem.kind,
                ProblemKind::Unavailable | ProblemKind::Outside
            )
        }
        _ => false,
    }
}

/// Tells what happened since the last, and what happens while the daemon is there.
async fn watch(client: &Client, told: &mut Told) -> Result<(), Fail> {
    let path = format!(
        "/api/v1/events/stream{}",
        told.subject.replacen('&', "?", 1)
    );
    let answer = client.request(Method::GET, &path, full(""), None).await?;
    let mut messages = Messages::of(answer);
    // Listed once the stream is open: what happens in between comes twice, and is told once.
    catch_up(client, told).await?;
    while let Some(message) = messages.next().await? {
        match message.event.as_str() {
            "event" => {
                let event = serde_json::from_str(&message.data);
                let event = event.map_err(|e| {
                    Fail::internal(format!("an event of the daemon's is not understood: {e}"))
                })?;
                told.tell(event);
            }
            // More happened than was read in time.
            "missed" => catch_up(client, told).await?,
            _ => {}
        }
    }
    Ok(())
}

/// Tells what is written since the last, oldest first.
async fn catch_up(client: &Client, told: &mut Told) -> Result<(), Fail> {
    let mut fresh: Vec<Event> = Vec::new();
    let mut after = String::new();
    loop {
        let path = format!("/api/v1/events?limit=200{}{after}", told.subject);
        let piece: Listing<Event> = client.get(&path).await?;
        let listed = piece.items.len();
        let newer = piece.items.into_iter().take_while(|e| e.id > told.last);
        let before = fresh.len();
        fresh.extend(newer);
        match piece.next {
            Some(next) if fresh.len() - before == listed => {
                after = format!("&after={}", segment(&next));
            }
            _ => break,
        }
    }
    fresh.into_iter().rev().for_each(|event| told.tell(event));
    Ok(())
}

impl Told {
    /// Prints an event, unless it was or is not wanted.
    fn tell(&mut self, event: Event) {
        if event.id <= self.last {
            return;
        }
        self.last = event.id;
        if self.level.is_some_and(|level| level != event.level) {
            return;
        }
        if self.json {
            output::line(serde_json::to_string(&event).unwrap_or_default());
            return;
        }
        let level = event.level.as_str();
        output::line(format!("{}  {level:<7}  {}", event.at_ms, event.message));
    }
}
