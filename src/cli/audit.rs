//! `freehold audit`: who did what, searched or exported.

use clap::Args;
use http::Method;
use http_body_util::BodyExt;
use serde_json::Value;
use tokio::io::AsyncWriteExt;

use super::Global;
use super::client::{Client, full};
use super::output::{self, Fail};
use super::show::time;
use crate::base::clock::UnixMs;
use crate::config::units;
use crate::wire::audit::Entry;

/// Who did what, from where, and what it changed
///
/// States: done, refused, failed, under way, and cut off, after which how things stand now has to be looked at.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  freehold audit                                  # the newest entries\n  freehold audit --app shop --since 7d\n  freehold audit --who ana --action app.env       # also what was revealed\n  freehold audit --grep 192.0.2.7 --changes\n  freehold audit --since 90d --export > audit.ndjson"
)]
pub struct Arguments {
    /// A user or a token by its name, or a kind: user, token, local, webhook, nobody, file
    #[arg(long)]
    who: Option<String>,
    /// Only what was done to this app
    #[arg(long, conflicts_with = "subject")]
    app: Option<String>,
    /// Only what was done to this: a name, or with its kind, such as database:main
    #[arg(long)]
    subject: Option<String>,
    /// An action, or the beginning of some: app.env
    #[arg(long)]
    action: Option<String>,
    /// Not longer ago: 1h, 7d
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Not more lately: 1h, 7d
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Only entries that contain this text
    #[arg(long, value_name = "TEXT")]
    grep: Option<String>,
    /// At most this many, newest first
    #[arg(long, short = 'n', default_value_t = 50)]
    lines: u32,
    /// What differs, too, a line a field
    #[arg(long)]
    changes: bool,
    /// All that fit, as newline-delimited JSON
    #[arg(long)]
    export: bool,
}

/// Runs the verb.
///
/// # Errors
/// The daemon's problem, or that it cannot be reached.
pub async fn run(client: &Client, global: &Global, given: Arguments) -> Result<(), Fail> {
    let query = query(&given)?;
    if given.export {
        return export(client, &query).await;
    }
    let path = format!("/api/v1/audit?{query}&limit={}", given.lines.max(1));
    let all: Vec<Entry> = client.list(&path).await?;
    match global.json {
        true => output::json(&all),
        false if all.is_empty() => output::line("Nothing fits."),
        false => show(&all, given.changes),
    }
    Ok(())
}

fn query(given: &Arguments) -> Result<String, Fail> {
    let ago = |text: &Option<String>| match text {
        None => Ok(None),
        Some(text) => units::duration(text)
            .map(|past| Some(UnixMs::now().minus(past).0.to_string()))
            .map_err(Fail::usage),
    };
    let subject = match &given.app {
        Some(app) => Some(format!("app:{app}")),
        None => given.subject.clone(),
    };
    let pairs = [
        ("who", given.who.clone()),
        ("action", given.action.clone()),
        ("subject", subject),
        ("since_ms", ago(&given.since)?),
        ("until_ms", ago(&given.until)?),
        ("q", given.grep.clone()),
    ];
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(
        pairs
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    Ok(query.finish())
}

/// The daemon's lines as they come; nothing is kept.
async fn export(client: &Client, query: &str) -> Result<(), Fail> {
    let path = format!("/api/v1/audit/export?{query}");
    let response = client.request(Method::GET, &path, full(""), None).await?;
    let mut body = response.into_body();
    let mut out = tokio::io::stdout();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| {
            Fail::Failed(format!(
                "the export was cut off, this is not all of it: {e}"
            ))
        })?;
        if let Ok(data) = frame.into_data() {
            // A closed pipe (`| head`) is no fault.
            if out.write_all(&data).await.is_err() {
                return Ok(());
            }
        }
    }
    out.flush()
        .await
        .map_err(|e| Fail::Failed(format!("the export could not be written: {e}")))
}

fn show(all: &[Entry], changes: bool) {
    let head = ["WHEN", "WHO", "FROM", "WHAT", "ON", "STATE"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for entry in all {
        rows.push(vec![
            time(entry.at_ms),
            who(entry),
            entry.address.clone(),
            entry.action.clone(),
            entry.subject.as_ref().map_or_else(
                || "the box".to_owned(),
                |subject| format!("{} {}", subject.kind, subject.name),
            ),
            match entry.detail.as_str() {
                "" => entry.state.clone(),
                detail => format!("{}: {detail}", entry.state),
            },
        ]);
        if changes {
            rows.extend(differences(entry).into_iter().map(|line| vec![line]));
        }
    }
    match changes {
        false => output::table(&rows),
        true => rows.iter().for_each(|row| output::line(row.join("  "))),
    }
}

fn who(entry: &Entry) -> String {
    match (entry.who.kind.as_str(), entry.who.via.as_str()) {
        ("local", _) => format!("{} on the box", entry.who.name),
        ("token", via) => format!("{} by the token {via}", entry.who.name),
        _ => entry.who.name.clone(),
    }
}

/// `    git_branch: main -> next`.
fn differences(entry: &Entry) -> Vec<String> {
    let text = |value: Option<&Value>| match value {
        None => "(none)".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    let mut fields: Vec<&String> = entry.before.keys().chain(entry.after.keys()).collect();
    fields.sort();
    fields.dedup();
    fields
        .into_iter()
        .map(|field| {
            let (was, became) = (entry.before.get(field), entry.after.get(field));
            format!("    {field}: {} -> {}", text(was), text(became))
        })
        .collect()
}
