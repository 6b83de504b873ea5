//! What the settings mean for the parts that do not read them themselves.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use crate::access_log::{self, AccessLog};
use crate::apps::Reserved;
use crate::audit::{self, Audit};
use crate::backup::Backups;
use crate::base::clock::UnixMs;
use crate::base::shutdown::Tasks;
use crate::certs::{self, Certs};
use crate::config::{Change, Config, Trusted, Waiting};
use crate::db::{Db, DbError};
use crate::deploy::{self, Deploys};
use crate::events::{self, Level, NewEvent};
use crate::git::Git;
use crate::host::descriptors;
use crate::http_client::HttpClient;
use crate::proxy::{EdgeHandle, Limits, Proxies};
use crate::supervise::Supervisor;

/// The edge's limits; no more connections than the process has descriptors for.
pub fn limits(config: &Config) -> Limits {
    let bytes = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    Limits {
        header_bytes: bytes(config.limits.header_block),
        uri_bytes: bytes(config.limits.uri),
        body_bytes: config.limits.body,
        connections_per_address: config.limits.connections_per_address,
        new_connections_per_address: config.limits.new_connections_per_address,
        connections: descriptors::connections(config.limits.connections, descriptors::allowed()),
        client_header: config.timeouts.header,
        client_idle: config.timeouts.idle,
        upstream_connect: config.timeouts.connect,
        upstream_answer: config.timeouts.answer,
        held_for: config.hold.time,
        held: config.hold.requests,
        workers: None,
    }
}

/// Whose word about a client the edge takes.
pub fn proxies(config: &Config) -> Proxies {
    let trusted = &config.proxies.trusted;
    Proxies {
        proxy_protocol: config.listen.proxy_protocol.clone(),
        trusted: trusted
            .iter()
            .filter_map(|one| match one {
                Trusted::Cloudflare => None,
                Trusted::Range(range) => Some(*range),
            })
            .collect(),
        cloudflare: trusted.contains(&Trusted::Cloudflare),
        never: vec![config.network.subnets.cidr()],
    }
}

/// How much of the access log is kept.
pub fn access_log(config: &Config) -> access_log::Settings {
    access_log::Settings {
        size: config.access_log.size,
        files: config.access_log.files,
    }
}

/// What deploying is allowed.
pub fn deploys(config: &Config) -> deploy::Limits {
    let count = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
    deploy::Limits {
        watch: config.deploy.watch,
        releases_kept: count(config.deploy.releases_kept),
        build_memory: config.build.memory,
        build_cpus: config.build.cpus,
        build_cpu_weight: config.build.cpu_weight,
        builds_at_once: count(config.build.at_once),
        build_deadline: config.build.deadline,
        free_disk: config.build.free_disk,
        free_memory: config.build.free_memory,
        largest_upload: config.build.upload,
        cache_bytes: config.build.cache,
        start_deadline: config.health.start_deadline,
        drain: config.drain.replica,
        pids: config.container.pids,
        ..deploy::Limits::new(config.data_dir.clone())
    }
}

/// The parts that hold a copy of their settings.
pub struct Followers {
    pub edge: EdgeHandle,
    pub access_log: Option<AccessLog>,
    pub certs: Certs,
    pub supervisor: Supervisor,
    pub deploys: Deploys,
    pub backups: Backups,
    /// Where git's roots are joined.
    pub git_dir: PathBuf,
    pub db: Db,
}

/// Hands edits of the settings to the parts that hold a copy.
pub fn follow(mut settings: watch::Receiver<Arc<Config>>, followers: Followers, tasks: &Tasks) {
    let shutdown = tasks.shutdown().clone();
    let mut before = settings.borrow_and_update().clone();
    tasks.spawn_core("config-follow", async move {
        loop {
            tokio::select! {
                () = shutdown.begun() => return,
                changed = settings.changed() => if changed.is_err() { return },
            }
            let now = settings.borrow_and_update().clone();
            for failed in followers.take(&before, &now).await {
                tracing::warn!("{failed}");
                record(&followers.db, "config.refused", Level::Warning, failed).await;
            }
            before = now;
        }
    });
}

impl Followers {
    /// Hands on what differs. Gives a sentence for each part that stays as it was.
    async fn take(&self, before: &Config, now: &Config) -> Vec<String> {
        let mut failed = Vec::new();
        self.edge.limit(limits(now));
        self.edge.trust(proxies(now));
        self.edge.log(now.access_log.share, now.access_log.query);
        if let Some(log) = &self.access_log {
            log.configure(access_log(now));
        }
        self.deploys.configure(deploys(now));
        if let Err(error) = self.supervisor.configure(now).await {
            failed.push(format!(
                "The edited [health] and [container] may not be in force yet: {error}"
            ));
        }
        if before.acme != now.acme {
            self.certs.configure(certs::Settings::new(now.acme.clone()));
            if let Err(error) = self.certs.try_all_now().await {
                failed.push(format!(
                    "Failed certificates are not tried again at once: {error}"
                ));
            }
        }
        if before.git != now.git {
            match Git::new(&self.git_dir, now.git.ca_file.as_deref()) {
                Ok(git) => self.deploys.configure_git(git),
                Err(error) => failed.push(format!("Git trusts what it trusted before: {error}")),
            }
        }
        if before.backup != now.backup {
            match HttpClient::new(now.backup.ca_file.clone()) {
                Ok(client) => self.backups.configure(client),
                Err(error) => {
                    failed.push(format!("Backups trust what they trusted before: {error}"));
                }
            }
        }
        failed
    }
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

/// Records every edit of the settings as an event and in the audit log, and what of them the start could not take up.
pub async fn record_changes(
    mut changes: mpsc::Receiver<Change>,
    db: Db,
    audit: Audit,
    at_start: Vec<Waiting>,
    tasks: &Tasks,
) {
    for Waiting { why, remedy, .. } in at_start {
        tracing::warn!("{why} {remedy}");
        record(
            &db,
            "config.listen",
            Level::Warning,
            format!("{why} {remedy}"),
        )
        .await;
    }
    let shutdown = tasks.shutdown().clone();
    tasks.spawn_core("config-events", async move {
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
            if let Err(error) = audited(&audit, &change).await {
                tracing::warn!(%error, "an edit of the settings is not in the audit log");
            }
        }
    });
}

/// Who edits a file is the system's to know; what the file says otherwise is ours.
async fn audited(audit: &Audit, change: &Change) -> Result<(), DbError> {
    let intent = audit::Intent {
        who: audit::Who {
            kind: audit::Kind::File,
            id: None,
            name: "the settings files".into(),
            via: String::new(),
            address: String::new(),
            request: String::new(),
        },
        action: "config.change".into(),
        subject: audit::Subject::default(),
    };
    let mut outcome = audit::Outcome::default();
    match change {
        Change::Reloaded { edits, .. } => {
            outcome.status = 200;
            for edit in edits.iter().take(EDITS) {
                let value = |text: &Option<String>| {
                    let text = text.as_ref()?;
                    Some(text.chars().take(VALUE).collect::<String>().into())
                };
                if let Some(was) = value(&edit.was) {
                    outcome.was.insert(edit.setting.clone(), was);
                }
                if let Some(became) = value(&edit.became) {
                    outcome.became.insert(edit.setting.clone(), became);
                }
            }
        }
        Change::Refused(error) => {
            outcome.status = 422;
            outcome.detail = error.to_string();
        }
    }
    audit.both(intent, outcome, UnixMs::now()).await
}

/// Settings of one edit, and characters of each, that are written down.
const EDITS: usize = 60;
const VALUE: usize = 300;

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
