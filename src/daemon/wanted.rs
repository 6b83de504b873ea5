//! What should be routed now, gathered from every place that knows a part.
//!
//! The dashboard comes first, then the apps, then the settings' own routes: of
//! two wishes for one place the first is served.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::watch;

use super::static_folders::{Folder, StaticFolders};
use super::upstreams::Upstreams;
use crate::apps::Apps;
use crate::base::clock::UnixMs;
use crate::certs::{CertSet, Source, Wanted};
use crate::config::{Config, ConfiguredRoute, Tls};
use crate::deploy::{Deploys, Serving};
use crate::routing::{Answer, Input, Replica, Route};
use crate::supervise::{Kind, Live, State};

/// Everything the snapshot depends on.
pub struct Gather {
    /// The settings in force.
    pub settings: watch::Receiver<Arc<Config>>,
    /// Ticks at every commit of the state database.
    pub commits: watch::Receiver<u64>,
    /// All containers of ours.
    pub live: watch::Receiver<Arc<Vec<Live>>>,
    /// Certificates in service and challenges to answer.
    pub certificates: watch::Receiver<Arc<CertSet>>,
    /// Apps and their domains.
    pub apps: Apps,
    /// Which containers serve.
    pub deploys: Deploys,
    /// Where the settings' routes lead.
    pub upstreams: Upstreams,
    /// Folders that routes serve.
    pub folders: StaticFolders,
    /// The dashboard's socket.
    pub edge_socket: PathBuf,
}

impl Gather {
    /// What is seen from now on counts as new.
    pub fn mark_seen(&mut self) {
        self.settings.mark_unchanged();
        self.commits.mark_unchanged();
        self.live.mark_unchanged();
        self.certificates.mark_unchanged();
    }

    /// Resolves when any part changes.
    pub async fn changed(&mut self) {
        tokio::select! {
            Ok(()) = self.settings.changed() => {}
            Ok(()) = self.commits.changed() => {}
            Ok(()) = self.live.changed() => {}
            Ok(()) = self.certificates.changed() => {}
            () = self.folders.changed() => {}
            else => std::future::pending().await,
        }
    }

    /// Everything that decides the next snapshot.
    ///
    /// # Errors
    /// A sentence when the database cannot be read.
    pub async fn gather(&mut self) -> Result<Gathered, String> {
        let settings = self.settings.borrow().clone();
        let mut routes = Vec::new();
        let mut wanted = Vec::new();
        if let Some(host) = &settings.dashboard.host {
            routes.push(self.dashboard("dashboard", host.as_str()));
            wanted.push(want(host.as_str(), Source::Acme));
        }
        let live = self.live.borrow().clone();
        let apps = self.apps.list().await.map_err(words)?;
        let pauses = self.apps.pauses(UnixMs::now()).await.map_err(words)?;
        let serving = self.deploys.serving().await.map_err(words)?;
        let mut folders = Vec::new();
        for route in self.apps.routes(None).await.map_err(words)? {
            let maintenance = apps.iter().any(|a| a.id == route.app && a.maintenance);
            let pause = pauses.iter().find(|p| p.app == route.app);
            let serving = serving.iter().find(|s| s.app == route.app);
            wanted.push(want(route.domain.host.as_str(), Source::Acme));
            routes.push(Route {
                key: format!("route:{}", route.id),
                group: format!("app:{}", route.app),
                host: route.domain.host.to_string(),
                path: route.domain.path.clone(),
                answer: match (maintenance, pause, serving) {
                    (true, _, _) => MAINTENANCE,
                    (_, Some(pause), _) => Answer::Paused {
                        since: pause.since,
                        until: pause.until,
                    },
                    (_, _, Some(serving)) => match folder_of(serving, &settings.data_dir) {
                        Some(folder) => self.files(folder, &mut folders),
                        None => Answer::Replicas(replicas(&live, serving, &route.process)),
                    },
                    (_, _, None) => Answer::Replicas(Vec::new()),
                },
                body_bytes: None,
                held_for: None,
            });
        }
        for route in &settings.routes {
            let source = match &route.tls {
                Tls::Acme => Source::Acme,
                Tls::Internal => Source::Internal,
                Tls::Files { cert, key } => Source::Files {
                    cert: cert.clone(),
                    key: key.clone(),
                },
            };
            wanted.push(want(route.host.as_str(), source));
            routes.push(configured(route, self.upstreams.of(&route.upstream).await));
        }
        self.folders.keep_only(&folders);
        let certificates = self.certificates.borrow().clone();
        let input = Input {
            routes,
            default_route: Some(self.dashboard("dashboard:address", "")),
            certificates: certificates.certificates.clone(),
            default_certificate: certificates.box_certificate.clone(),
            challenges: certificates.challenges.clone(),
        };
        let mark = mark(&input);
        Ok(Gathered {
            input,
            wanted,
            mark,
            until: pauses.iter().map(|p| p.until).min(),
        })
    }

    /// The files of a folder; held until it was read for the first time.
    fn files(&mut self, folder: Folder, wanted: &mut Vec<Folder>) -> Answer {
        let site = self.folders.of(&folder);
        wanted.push(folder);
        site.map_or(Answer::Replicas(Vec::new()), Answer::Files)
    }

    fn dashboard(&self, key: &str, host: &str) -> Route {
        Route {
            key: key.into(),
            group: "dashboard".into(),
            host: host.into(),
            path: "/".into(),
            answer: Answer::Socket(self.edge_socket.clone()),
            body_bytes: Some(self.settings.borrow().build.upload + BESIDE),
            held_for: None,
        }
    }
}

/// What was gathered.
pub struct Gathered {
    /// For routing.
    pub input: Input,
    /// Names that need a certificate.
    pub wanted: Vec<Wanted>,
    /// The same exactly when the input is.
    pub mark: String,
    /// When it stops being so by itself: the first pause is over.
    pub until: Option<UnixMs>,
}

/// Held as long as the edge holds, then told to come back.
const MAINTENANCE: Answer = Answer::Paused {
    since: UnixMs(0),
    until: UnixMs(i64::MAX),
};

fn want(host: &str, source: Source) -> Wanted {
    Wanted {
        host: host.to_owned(),
        source,
    }
}

/// The folder of an app that is one, while it runs.
fn folder_of(serving: &Serving, data_dir: &Path) -> Option<Folder> {
    let files = serving.files.filter(|_| !serving.stopped)?;
    Some(Folder {
        path: files.folder(data_dir),
        single_page: files.single_page,
        is_fixed: true,
    })
}

/// The containers that the app's live release has for `process`; those of a
/// deploy under way are not among them yet.
fn replicas(live: &[Live], serving: &Serving, process: &str) -> Vec<Replica> {
    let names = serving.replicas.get(process).map_or(&[][..], Vec::as_slice);
    live.iter()
        .filter(|l| l.kind == Kind::Replica && names.contains(&l.name))
        .map(|l| Replica {
            row: l.row,
            address: l.address,
            healthy: l.state == State::Healthy,
            doubtful: matches!(l.state, State::Unhealthy(_)),
        })
        .collect()
}

fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Beyond the largest upload: that it is too large is the dashboard's to say.
const BESIDE: u64 = 1 << 20;

fn configured(route: &ConfiguredRoute, addresses: Vec<std::net::SocketAddr>) -> Route {
    Route {
        key: format!("config:{}{}", route.host, route.path),
        group: format!("config:{}", route.upstream),
        host: route.host.to_string(),
        path: route.path.clone(),
        answer: Answer::Addresses(addresses),
        body_bytes: None,
        held_for: None,
    }
}

fn mark(input: &Input) -> String {
    let mut certificates: Vec<String> = input
        .certificates
        .iter()
        .map(|(name, key)| format!("{name}={:p}", Arc::as_ptr(key)))
        .collect();
    certificates.sort();
    let mut challenges: Vec<_> = input.challenges.iter().collect();
    challenges.sort();
    let default = input.default_certificate.as_ref().map(Arc::as_ptr);
    format!(
        "{:?} {:?} {certificates:?} {default:?} {challenges:?}",
        input.routes, input.default_route
    )
}
