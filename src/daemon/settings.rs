//! What the settings mean for the parts that do not read them themselves.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use crate::apps::Reserved;
use crate::base::clock::UnixMs;
use crate::base::shutdown::Tasks;
use crate::certs::{self, Certs};
use crate::config::{Change, Config, Listen, listen_differs};
use crate::db::{Db, DbError};
use crate::deploy;
use crate::events::{self, Level, NewEvent};
use crate::proxy::Limits;

/// The edge's limits.
pub fn limits(config: &Config) -> Limits {
    let bytes = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    Limits {
        header_bytes: bytes(config.limits.header_block),
        uri_bytes: bytes(config.limits.uri),
        body_bytes: config.limits.body,
        connections_per_address: config.limits.connections_per_address,
        connections: config.limits.connections,
        client_header: config.timeouts.header,
        client_idle: config.timeouts.idle,
        upstream_connect: config.timeouts.connect,
        upstream_answer: config.timeouts.answer,
        held_for: config.hold.time,
        held: config.hold.requests,
        workers: None,
    }
}

/// What deploying is allowed.
pub fn deploys(config: &Config) -> deploy::Limits {
    let count = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
    deploy::Limits {
        watch: config.deploy.watch,
        releases_kept: count(config.deploy.releases_kept),
        build_memory: config.build.memory,
        builds_at_once: count(config.build.at_once),
        build_deadline: config.build.deadline,
        free_disk: config.build.free_disk,
        free_memory: config.build.free_memory,
        start_deadline: config.health.start_deadline,
        drain: config.drain.replica,
        pids: config.container.pids,
        ..deploy::Limits::new(config.data_dir.clone())
    }
}

/// Hands edits of the settings to the parts that hold a copy.
pub fn follow(mut settings: watch::Receiver<Arc<Config>>, certs: Certs, tasks: &Tasks) {
    let shutdown = tasks.shutdown().clone();
    tasks.spawn("config-follow", async move {
        loop {
            tokio::select! {
                () = shutdown.begun() => return,
                changed = settings.changed() => if changed.is_err() { return },
            }
            let acme = settings.borrow_and_update().acme.clone();
            certs.configure(certs::Settings::new(acme));
        }
    });
}

/// Hosts that no app may take: the dashboard's and those of the settings' routes.
pub fn reserved(settings: watch::Receiver<Arc<Config>>) -> Reserved {
    Arc::new(move |host| {
        let settings = settings.borrow();
        if settings.dashboard.host.as_ref() == Some(host) {
            return Some("the dashboard".into());
        }
        settings
            .routes
            .iter()
            .any(|route| route.host == *host)
            .then(|| "a route of the settings files".into())
    })
}

/// Records every edit of the settings as an event, and that the held sockets
/// listen elsewhere than the settings say.
pub async fn record_changes(
    mut changes: mpsc::Receiver<Change>,
    db: Db,
    wanted: &Listen,
    held: Listen,
    tasks: &Tasks,
) {
    if let Some(sentence) = listen_differs(wanted, &held) {
        tracing::warn!("{sentence}");
        record(&db, "config.listen", Level::Warning, sentence).await;
    }
    let shutdown = tasks.shutdown().clone();
    tasks.spawn("config-events", async move {
        loop {
            let change = tokio::select! {
                () = shutdown.begun() => return,
                change = changes.recv() => change,
            };
            let Some(change) = change else { return };
            let level = match change {
                Change::Reloaded { .. } => Level::Info,
                Change::Refused(_) => Level::Warning,
            };
            record(&db, change.kind(), level, change.to_string()).await;
        }
    });
}

async fn record(db: &Db, kind: &'static str, level: Level, sentence: String) {
    let written: Result<i64, DbError> = db
        .write(move |tx| {
            events::record(
                tx,
                UnixMs::now(),
                &NewEvent::new(kind, level, "box", sentence),
            )
        })
        .await;
    if let Err(error) = written {
        tracing::warn!(%error, "an event could not be recorded");
    }
}
