//! The one task of this domain: looks at every wanted name, makes what the
//! box's own CA makes, loads files, queues orders that are due, warns before
//! an end, and publishes the set when it changed.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rusqlite::Transaction;

use crate::base::clock::UnixMs;
use crate::base::shutdown::Shutdown;
use crate::db::DbError;
use crate::events::{self, Level, NewEvent};
use crate::jobs::{self, NewJob};

use super::due::{self, Due};
use super::files::Looked;
use super::order::key_context;
use super::store::{self, CertRow, NameRow, orders};
use super::timing::{Life, next_notice, notice, retry_in};
use super::wanted::{BOX, Source};
use super::{Inner, addresses, box_ca, job, leaf};

/// The longest sleep.
const LOOK: Duration = Duration::from_secs(60);
/// The longest sleep while files are watched.
const FILES_LOOK: Duration = Duration::from_secs(3);
/// A job that was queued and never ended is queued again after this.
const JOB_LOST: Duration = Duration::from_secs(900);

pub(super) async fn run(inner: Arc<Inner>, shutdown: Shutdown) {
    loop {
        let wait = match tend(&inner).await {
            Ok(next) => next.since(UnixMs::now()).max(Duration::from_millis(200)),
            Err(error) => {
                tracing::warn!(%error, "certificates could not be looked after; trying again");
                Duration::from_secs(5)
            }
        };
        tokio::select! {
            () = shutdown.begun() => return,
            () = tokio::time::sleep(wait) => {}
            () = inner.poke.notified() => {}
        }
    }
}

/// One look at every name; when the next one is due.
pub(super) async fn tend(inner: &Inner) -> Result<UnixMs, DbError> {
    let now = UnixMs::now();
    let (names, certs, open) = inner
        .db
        .read(|c| {
            Ok::<_, DbError>((
                store::names(c)?,
                store::certificates(c)?,
                orders::all_open(c)?,
            ))
        })
        .await?;
    let mut next = now.plus(LOOK);
    let directory = inner.settings().acme.directory.clone();
    for name in &names {
        let cert = certs
            .iter()
            .find(|c| c.host == name.host && c.source == name.source.word());
        let due = match &name.source {
            Source::Internal => tend_internal(inner, name, cert, now).await?,
            Source::Files { cert, key } => {
                tend_files(inner, name, cert.clone(), key.clone(), now).await?;
                now.plus(FILES_LOOK)
            }
            Source::Acme => {
                let has_order = open.iter().any(|o| o.host == name.host);
                match due::acme(name, cert, has_order, &directory, now) {
                    Due::At(at) => at,
                    Due::Now | Due::AskRenewalInfo => {
                        queue(inner, &name.host, now).await?;
                        now.plus(LOOK)
                    }
                }
            }
        };
        next = next.min(due);
        let life = match &name.source {
            Source::Files { .. } => inner.files.of(&name.host).map(|(_, l)| l.facts.life),
            _ => cert.map(|c| c.life),
        };
        if let Some(life) = life {
            tell_end(inner, name, life, now).await?;
            if let Some(at) = next_notice(life, now) {
                next = next.min(at);
            }
        }
    }
    inner.publish_set().await?;
    Ok(next)
}

async fn tend_internal(
    inner: &Inner,
    name: &NameRow,
    cert: Option<&CertRow>,
    now: UnixMs,
) -> Result<UnixMs, DbError> {
    let settings = inner.settings();
    let names = if name.host == BOX {
        let addresses = addresses::for_the_box();
        let addresses = addresses.iter().map(ToString::to_string);
        settings
            .box_names
            .iter()
            .cloned()
            .chain(addresses)
            .collect()
    } else {
        vec![name.host.clone()]
    };
    let fits = name.host != BOX || cert.is_some_and(|c| holds(c, &names));
    if let Due::At(at) = due::internal(name, cert, fits, now) {
        return Ok(at);
    }
    let made = inner.root().and_then(|root| {
        box_ca::make_leaf(&root, &names, now, settings.internal_life).map_err(|e| e.to_string())
    });
    let host = name.host.clone();
    let read = made.and_then(|made| {
        leaf::read(made.chain_pem.as_bytes(), made.key_pem.expose().as_bytes())
            .map(|leaf| (made, leaf))
    });
    match read {
        Ok((made, leaf)) => {
            let new = store::NewCert {
                key_sealed: inner.master.seal_text(&key_context(&host), &made.key_pem)?,
                host,
                source: "internal",
                directory: None,
                chain_pem: made.chain_pem,
                life: leaf.facts.life,
                issuer: leaf.facts.issuer,
            };
            inner
                .db
                .write(move |tx| store::serve(tx, &new, now).map(drop))
                .await?;
            Ok(now)
        }
        Err(why) => {
            let failures = name.failures.saturating_add(1);
            let next = now.plus(retry_in(failures, None, None));
            let said = format!("The box's own CA could not make the certificate: {why}.");
            tracing::warn!(host, why, "no certificate from the box's own CA");
            inner
                .db
                .write(move |tx| store::name_failed(tx, &host, failures, &said, Some(next)))
                .await?;
            Ok(next)
        }
    }
}

fn holds(cert: &CertRow, names: &[String]) -> bool {
    leaf::facts_of(cert.chain_pem.as_bytes()).is_ok_and(|facts| facts.holds(names))
}

async fn tend_files(
    inner: &Inner,
    name: &NameRow,
    cert: std::path::PathBuf,
    key: std::path::PathBuf,
    now: UnixMs,
) -> Result<(), DbError> {
    let (files, host) = (Arc::clone(&inner.files), name.host.clone());
    let looked =
        tokio::task::spawn_blocking(move || files.look(&host, &cert, &key, SystemTime::now()))
            .await
            .map_err(|_| DbError::Unavailable("loading a certificate panicked".into()))?;
    let host = name.host.clone();
    match looked {
        Looked::Same => Ok(()),
        Looked::Loaded(leaf) => {
            let issuer = leaf.facts.issuer;
            tracing::info!(host, issuer, "a given certificate is loaded");
            inner.db.write(move |tx| store::name_well(tx, &host)).await
        }
        Looked::Bad(said) => {
            tracing::warn!(host, why = said, "a given certificate is not used");
            let told = name.error.as_deref() == Some(said.as_str());
            let failures = name.failures.saturating_add(1);
            inner
                .db
                .write(move |tx| {
                    store::name_failed(tx, &host, failures, &said, None)?;
                    if !told {
                        tell(tx, now, "certificate.refused", Level::Error, &host, said)?;
                    }
                    Ok(())
                })
                .await
        }
    }
}

/// Queues the job for `host`, unless one is queued or at work.
async fn queue(inner: &Inner, host: &str, now: UnixMs) -> Result<(), DbError> {
    if !inner.wanted_once() || !inner.job_begins(host, now, JOB_LOST) {
        return Ok(());
    }
    let new = NewJob {
        kind: job::KIND,
        key: format!("certificate:{host}"),
        payload: serde_json::json!({ "host": host }),
        run_at: now,
    };
    let queued = inner
        .db
        .write(move |tx| jobs::enqueue(tx, now, &new).map(drop))
        .await;
    if queued.is_err() {
        inner.job_ended(host);
    }
    queued
}

/// Says once for each of 14, 7, 3 days and the end itself that it is near.
async fn tell_end(inner: &Inner, name: &NameRow, life: Life, now: UnixMs) -> Result<(), DbError> {
    let Some(days) = notice(life, now) else {
        return Ok(());
    };
    if name.told_days.is_some_and(|told| told <= days) {
        return Ok(());
    }
    let shown = shown(&name.host);
    let why = name.error.clone().unwrap_or_else(|| {
        "Freehold goes on trying to renew it; if it is your own, put a new one in its place.".into()
    });
    let (kind, level, said) = if days == 0 {
        let said = format!(
            "The certificate of {shown} ran out at {}. {why}",
            life.not_after
        );
        ("certificate.expired", Level::Error, said)
    } else {
        let level = if days == 14 {
            Level::Warning
        } else {
            Level::Error
        };
        let said = format!(
            "The certificate of {shown} runs out at {}. {why}",
            life.not_after
        );
        ("certificate.expiring", level, said)
    };
    let host = name.host.clone();
    inner
        .db
        .write(move |tx| {
            store::name_told(tx, &host, days)?;
            tell(tx, now, kind, level, &host, said)
        })
        .await
}

/// How a name reads in a sentence.
pub(super) fn shown(host: &str) -> &str {
    if host == BOX {
        "the box's address"
    } else {
        host
    }
}

fn tell(
    tx: &Transaction<'_>,
    now: UnixMs,
    kind: &'static str,
    level: Level,
    host: &str,
    said: String,
) -> Result<(), DbError> {
    let event = NewEvent::new(kind, level, format!("certificate:{host}"), said);
    events::record(tx, now, &event).map(drop)
}
