//! `freehold backup`: dumps made, checked and brought back.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use http::Method;
use http_body_util::BodyExt as _;
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;

use super::Global;
use super::client::{Client, full, segment};
use super::confirm::confirm;
use super::db::said;
use super::job;
use super::output::{self, Fail};
use super::progress::Progress;
use super::show::{bytes, maybe_time, time};
use crate::wire::backups::{AskRestore, Backup, Restore};
use crate::wire::jobs::WithJob;
use crate::wire::listing::Listing;

/// Backups and restores
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  freehold backup now main          # dump every database of main, and wait\n  freehold backup list main\n  freehold backup restore 12        # bring backup 12 back; the database before it is kept\n  freehold backup confirm 3         # restore 3 is right: drop the one before it\n  freehold backup download 12 -o tasks.dump      # pg_restore opens it"
)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Dump every database of a server now
    ///
    /// Stored means: read back from its target and compared. Each database of the server is a backup of its own.
    #[command(
        after_help = "Examples:\n  freehold backup now main\n  freehold backup now main --no-wait"
    )]
    Now {
        /// The database server
        database: String,
        /// Return at once
        #[arg(long)]
        no_wait: bool,
    },
    /// Backups, newest first
    #[command(
        after_help = "Examples:\n  freehold backup list\n  freehold backup list main --limit 5\n  freehold backup list --json"
    )]
    List {
        /// Of this database server only
        database: Option<String>,
        /// At most this many
        #[arg(long, default_value_t = 30)]
        limit: u32,
    },
    /// One backup
    #[command(
        after_help = "Examples:\n  freehold backup show 12\n  freehold backup show 12 --json"
    )]
    Show {
        /// Its number
        id: i64,
    },
    /// Read a stored backup back and unpack it to its last byte
    #[command(
        after_help = "Examples:\n  freehold backup verify 12\n  freehold backup verify 12 --json"
    )]
    Verify {
        /// Its number
        id: i64,
    },
    /// Bring a backup back in the place of the live database, which is kept
    ///
    /// It is restored into a new database, which takes the live one's place by a rename while the app's requests are
    /// held. The one before is kept until `freehold backup confirm`. On a terminal the database's name has to be
    /// typed; elsewhere --yes says it.
    #[command(
        after_help = "Examples:\n  freehold backup restore 12\n  freehold backup restore 12 --into main --yes"
    )]
    Restore {
        /// Its number
        id: i64,
        /// To another server than its own
        #[arg(long)]
        into: Option<String>,
        /// Return at once
        #[arg(long)]
        no_wait: bool,
        /// Do not ask for the database's name
        #[arg(long)]
        yes: bool,
    },
    /// Restores, newest first
    #[command(
        after_help = "Examples:\n  freehold backup restores\n  freehold backup restores main --json"
    )]
    Restores {
        /// Of this database server only
        database: Option<String>,
    },
    /// A restore is right: drop the database it replaced
    ///
    /// What was live before the restore is gone after this. On a terminal the name of the kept database has to be
    /// typed; elsewhere --yes says it.
    #[command(
        after_help = "Examples:\n  freehold backup confirm 3\n  freehold backup confirm 3 --yes\n  freehold backup confirm 3 --yes --no-wait"
    )]
    Confirm {
        /// The restore's number
        id: i64,
        /// Return at once
        #[arg(long)]
        no_wait: bool,
        /// Do not ask for the kept database's name
        #[arg(long)]
        yes: bool,
    },
    /// Save a dump as a file that pg_restore opens
    ///
    /// The file gets its name only when all of it came and its SHA-256 is the stored one.
    #[command(
        after_help = "Examples:\n  freehold backup download 12 -o tasks.dump\n  freehold backup download 12 -o - > tasks.dump"
    )]
    Download {
        /// Its number
        id: i64,
        /// The file; standard output when it is `-`
        #[arg(short, long)]
        output: Option<PathBuf>,
    },
}

const LOOK: Duration = Duration::from_millis(300);

/// Runs the verb.
///
/// # Errors
/// The daemon's problem, that it cannot be reached, or that the work failed.
pub async fn run(client: &Client, global: &Global, arguments: Arguments) -> Result<(), Fail> {
    match arguments.verb {
        Verb::Now { database, no_wait } => now(client, global, &database, no_wait).await,
        Verb::List { database, limit } => {
            let mut path = format!("/api/v1/backups?limit={limit}");
            if let Some(name) = &database {
                path.push_str(&format!("&database={}", segment(name)));
            }
            let all: Vec<Backup> = client.list(&path).await?;
            said(global, &all, || list(&all));
            Ok(())
        }
        Verb::Show { id } => {
            let backup: Backup = client.get(&path(id)).await?;
            said(global, &backup, || show(&backup));
            Ok(())
        }
        Verb::Verify { id } => verify(client, global, id).await,
        Verb::Restore {
            id,
            into,
            no_wait,
            yes,
        } => {
            let backup: Backup = client.get(&path(id)).await?;
            let what = format!(
                "This puts {} of {} in the place of the live one, which is kept",
                backup.part,
                time(backup.created_ms)
            );
            confirm(&what, &backup.part, yes)?;
            restore(client, global, id, into, no_wait).await
        }
        Verb::Restores { database } => {
            let path = match &database {
                Some(name) => format!("/api/v1/restores?database={}", segment(name)),
                None => "/api/v1/restores".into(),
            };
            let all: Vec<Restore> = client.list(&path).await?;
            said(global, &all, || restores(&all));
            Ok(())
        }
        Verb::Confirm { id, no_wait, yes } => {
            let before: Restore = client.get(&format!("/api/v1/restores/{id}")).await?;
            let what = format!(
                "This drops {}, what was live before the restore",
                before.kept
            );
            confirm(&what, &before.kept, yes)?;
            let path = format!("/api/v1/restores/{id}/confirm");
            let asked: WithJob<Restore> = client.send(Method::POST, &path, &Value::Null).await?;
            let kept = asked.what.kept.clone();
            let waits = asked.job.filter(|job| !no_wait && !job.state.is_over());
            let (restore, word) = match waits {
                Some(job) => {
                    job::finished(client, global, job, &format!("Dropping {kept}")).await?;
                    let path = format!("/api/v1/restores/{id}");
                    (client.get(&path).await?, "is dropped")
                }
                None if asked.what.confirmed_ms.is_some() => (asked.what, "is dropped"),
                None => (asked.what, "is being dropped"),
            };
            said(global, &restore, || output::line(format!("{kept} {word}.")));
            Ok(())
        }
        Verb::Download { id, output } => download(client, global, id, output).await,
    }
}

fn path(id: i64) -> String {
    format!("/api/v1/backups/{id}")
}

async fn now(client: &Client, global: &Global, name: &str, no_wait: bool) -> Result<(), Fail> {
    let path_now = format!("/api/v1/databases/{}/backups", segment(name));
    let made: Listing<Backup> = client.send(Method::POST, &path_now, &Value::Null).await?;
    let mut made = made.items;
    if !no_wait {
        for backup in &mut made {
            let mut progress = Progress::of_state(global, format!("Backup of {}", backup.part));
            while !matches!(backup.state.as_str(), "stored" | "failed") {
                progress.state(&backup.state);
                tokio::time::sleep(LOOK).await;
                *backup = client.get(&path(backup.id)).await?;
            }
            drop(progress);
            if !global.json {
                output::line(line(backup));
            }
        }
    }
    if global.json {
        output::json(&made);
    } else if no_wait {
        for backup in &made {
            output::line(format!(
                "Backup {} of {} is queued.",
                backup.id, backup.part
            ));
        }
    }
    let failed: Vec<String> = made
        .iter()
        .filter(|b| b.state == "failed")
        .map(|b| b.reason.clone().unwrap_or_default())
        .collect();
    if failed.is_empty() {
        return Ok(());
    }
    Err(Fail::Ended(failed.join("\n")))
}

fn line(backup: &Backup) -> String {
    let place = backup.target.as_deref().unwrap_or("this box's own disk");
    match backup.state.as_str() {
        "stored" => format!(
            "Backup {} of {} is stored in {place}: {}.",
            backup.id,
            backup.part,
            bytes(backup.size_bytes.unwrap_or(0))
        ),
        "failed" => format!(
            "Backup {} of {} failed. Older ones stay, and it is tried again by itself.",
            backup.id, backup.part
        ),
        state => format!("Backup {} of {} is {state}.", backup.id, backup.part),
    }
}

fn list(all: &[Backup]) {
    if all.is_empty() {
        output::line("No backups yet: freehold backup now NAME");
        return;
    }
    let mut rows = vec![
        [
            "ID", "DATABASE", "PART", "STATE", "SIZE", "MADE", "WHERE", "NOTE",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    rows.extend(all.iter().map(|b| {
        let note = match (&b.reason, b.state.as_str()) {
            (Some(why), _) => why.clone(),
            (None, "queued") => format!("not before {}", time(b.due_ms)),
            _ => "-".into(),
        };
        vec![
            b.id.to_string(),
            b.database.clone(),
            b.part.clone(),
            b.state.clone(),
            b.size_bytes.map_or_else(|| "-".into(), bytes),
            time(b.created_ms),
            b.target.clone().unwrap_or_else(|| "this box".into()),
            note,
        ]
    }));
    output::table(&rows);
}

fn show(backup: &Backup) {
    output::line(line(backup));
    if let Some(why) = &backup.reason {
        output::line(format!("  {why}"));
    }
    output::line(format!(
        "From {}, owned by {}, asked for by {} at {}, ended {}",
        backup.database,
        backup.owner,
        backup.cause,
        time(backup.created_ms),
        maybe_time(backup.finished_ms)
    ));
    output::line(format!("Key     {}", backup.key));
    if let Some(sha256) = &backup.sha256 {
        output::line(format!("SHA-256 {sha256}"));
    }
    if let Some(check) = &backup.check {
        let note = backup.check_note.as_deref().unwrap_or_default();
        output::line(format!(
            "Verified: {check} at {} {note}",
            maybe_time(backup.checked_ms)
        ));
    }
}

async fn verify(client: &Client, global: &Global, id: i64) -> Result<(), Fail> {
    let mut backup: Backup = client
        .send(Method::POST, &format!("{}/verify", path(id)), &Value::Null)
        .await?;
    let mut progress = Progress::of_state(global, format!("Backup {id}"));
    while backup.check.as_deref() == Some("running") {
        progress.state("read back and unpacked");
        tokio::time::sleep(LOOK).await;
        backup = client.get(&path(id)).await?;
    }
    drop(progress);
    let good = backup.check.as_deref() == Some("good");
    said(global, &backup, || {
        if good {
            output::line(format!(
                "Backup {id} is whole: every byte came back and was unpacked."
            ));
        }
    });
    if good {
        return Ok(());
    }
    Err(Fail::Ended(backup.check_note.unwrap_or_else(|| {
        format!("the check of backup {id} came to no end: `freehold events` says why")
    })))
}

async fn restore(
    client: &Client,
    global: &Global,
    id: i64,
    into: Option<String>,
    no_wait: bool,
) -> Result<(), Fail> {
    let mut restore: Restore = client
        .send(
            Method::POST,
            &format!("{}/restore", path(id)),
            &AskRestore { into },
        )
        .await?;
    let mut progress = Progress::of_state(global, format!("Restore of {}", restore.part));
    while !no_wait && !matches!(restore.state.as_str(), "done" | "failed") {
        progress.state(&restore.state);
        tokio::time::sleep(LOOK).await;
        restore = client
            .get(&format!("/api/v1/restores/{}", restore.id))
            .await?;
    }
    drop(progress);
    said(global, &restore, || match restore.state.as_str() {
        "done" => output::line(format!(
            "{} is restored, tables: {}. The one before is kept as {}; when all is right: freehold backup confirm {}",
            restore.part,
            restore.tables.unwrap_or(0),
            restore.kept,
            restore.id
        )),
        state => output::line(format!("Restore {} is {state}.", restore.id)),
    });
    if restore.state == "failed" {
        return Err(Fail::Ended(format!(
            "{} The live database was not touched",
            restore.reason.unwrap_or_default()
        )));
    }
    Ok(())
}

fn restores(all: &[Restore]) {
    if all.is_empty() {
        output::line("No restores yet: freehold backup restore ID");
        return;
    }
    let mut rows = vec![
        [
            "ID", "BACKUP", "DATABASE", "STATE", "TABLES", "ASKED", "KEPT", "NOTE",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    rows.extend(all.iter().map(|r| {
        vec![
            r.id.to_string(),
            r.backup.to_string(),
            r.part.clone(),
            r.state.clone(),
            r.tables.map_or_else(|| "-".into(), |n| n.to_string()),
            time(r.created_ms),
            if r.confirmed_ms.is_some() {
                "dropped".into()
            } else {
                r.kept.clone()
            },
            r.reason.clone().unwrap_or_else(|| "-".into()),
        ]
    }));
    output::table(&rows);
}

/// Into a file that gets its name only when all of it came and its hash is right.
async fn download(
    client: &Client,
    global: &Global,
    id: i64,
    wanted: Option<PathBuf>,
) -> Result<(), Fail> {
    let to_stdout = wanted.as_deref().is_some_and(|p| p.as_os_str() == "-");
    let target = wanted.unwrap_or_else(|| format!("backup-{id}.dump").into());
    let response = client
        .request(
            Method::GET,
            &format!("{}/download", path(id)),
            full(""),
            None,
        )
        .await?;
    let wanted_hash = response
        .headers()
        .get("x-sha256")
        .and_then(|v| v.to_str().ok())
        .map(str::to_owned);
    let partial = target.with_extension("dump.partial");
    let failed = |e: std::io::Error| Fail::Failed(format!("{}: {e}", target.display()));
    let mut out: Box<dyn tokio::io::AsyncWrite + Unpin> = if to_stdout {
        Box::new(tokio::io::stdout())
    } else {
        Box::new(tokio::fs::File::create(&partial).await.map_err(failed)?)
    };
    let size = response.headers().get(http::header::CONTENT_LENGTH);
    let size = size.and_then(|v| v.to_str().ok()?.parse().ok());
    let mut progress = Progress::of_bytes(global, format!("Backup {id}"), size);
    let mut hash = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|e| Fail::Failed(format!("the download broke off: {e}; try again")))?;
        if let Ok(data) = frame.into_data() {
            progress.add(data.len() as u64);
            hash.update(&data);
            out.write_all(&data).await.map_err(failed)?;
        }
    }
    drop(progress);
    out.flush().await.map_err(failed)?;
    out.shutdown().await.map_err(failed)?;
    let found = hex::encode(hash.finish());
    if wanted_hash.is_some_and(|wanted| wanted != found) {
        return Err(Fail::Failed(format!(
            "what came is not what was stored (SHA-256 {found}): freehold backup verify {id} looks closer"
        )));
    }
    if !to_stdout {
        tokio::fs::rename(&partial, &target).await.map_err(failed)?;
        let saved = serde_json::json!({ "backup": id, "file": target, "sha256": found });
        said(global, &saved, || {
            output::line(format!("{} (SHA-256 {found})", target.display()));
        });
    }
    Ok(())
}
