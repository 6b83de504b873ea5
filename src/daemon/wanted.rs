//! What should be routed now, gathered from every place that knows a part.
//!
//! The dashboard comes first, then the apps, then the settings' own routes: of
//! two wishes for one place the first is served. A route whose folder is not read yet answers with the one it had.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::watch;

use super::route_folders::{RouteFolders, Unread};
use super::static_folders::Folder;
use super::upstreams::Upstreams;
use crate::apps::Apps;
use crate::apps::pause::Pause;
use crate::base::clock::UnixMs;
use crate::base::log_share::LogShare;
use crate::base::policies::{Policies, VerifierKey};
use crate::base::protocol::Protocol;
use crate::certs::{CertSet, Source, Wanted};
use crate::config::{Config, ConfiguredFolder, ConfiguredRoute, Tls};
use crate::deploy::{Deploys, Facing, Serving};
use crate::proxy::Traits;
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
    pub folders: RouteFolders,
    /// The dashboard's socket.
    pub edge_socket: PathBuf,
    /// What becomes of the passwords in policies.
    pub verifiers: VerifierKey,
}

impl Gather {
    /// What is seen from now on counts as new.
    pub fn mark_seen(&mut self) {
        self.settings.mark_unchanged();
        self.commits.mark_unchanged();
        self.live.mark_unchanged();
        self.certificates.mark_unchanged();
        self.upstreams.mark_seen();
    }

    /// Resolves when any part changes.
    pub async fn changed(&mut self) {
        tokio::select! {
            Ok(()) = self.settings.changed() => {}
            Ok(()) = self.commits.changed() => {}
            Ok(()) = self.live.changed() => {}
            Ok(()) = self.certificates.changed() => {}
            () = self.upstreams.changed() => {}
            () = self.folders.changed() => {}
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
        let now = UnixMs::now();
        let (pauses, over): (Vec<Pause>, Vec<Pause>) = self
            .apps
            .pauses()
            .await
            .map_err(words)?
            .into_iter()
            .partition(|pause| pause.until > now);
        let maintained = apps.iter().map(|app| app.maintained(now));
        let over = !over.is_empty()
            || apps
                .iter()
                .any(|app| app.maintenance && app.maintained(now).is_none());
        let until = pauses
            .iter()
            .map(|p| p.until)
            .chain(maintained.flatten())
            .min();
        let serving = self.deploys.serving().await.map_err(words)?;
        for route in self.apps.routes(None).await.map_err(words)? {
            let app = apps.iter().find(|a| a.id == route.app);
            let maintained = app.and_then(|app| app.maintained(now));
            let pause = pauses.iter().find(|p| p.app == route.app);
            let serving = serving.iter().find(|s| s.app == route.app);
            wanted.push(want(route.domain.host.as_str(), Source::Acme));
            let facing = serving.map(|serving| serving.facing.get(&route.process));
            let readable = route.policies.is_some();
            let policies = in_force(route.policies.unwrap_or_default(), facing.flatten());
            let key = format!("route:{}", route.id);
            // Looked at where it is not shown, too: after a pause it is there.
            let files = serving
                .and_then(|serving| folder_of(serving, &settings.data_dir))
                .map(|folder| {
                    self.folders
                        .answer(&key, Some(route.app), &policies, folder)
                });
            routes.push(Route {
                key,
                group: format!("app:{}", route.app),
                app: app.map(|a| a.name.to_string()).unwrap_or_default(),
                process: route.process.clone(),
                access_log: share(
                    &policies,
                    serving.and_then(|s| s.access_log),
                    settings.access_log.share,
                ),
                host: route.domain.host.to_string(),
                path: route.domain.path.clone(),
                answer: match (maintained, pause, serving) {
                    (Some(until), _, _) => Answer::Paused {
                        since: UnixMs(0),
                        until,
                    },
                    (_, Some(pause), _) => Answer::Paused {
                        since: pause.since,
                        until: pause.until,
                    },
                    // Its policies cannot be read, or there is no such process: nothing of it is shown.
                    _ if !readable || facing == Some(None) => Answer::Replicas(Vec::new()),
                    (_, _, Some(serving)) => files.unwrap_or_else(|| {
                        Answer::Replicas(replicas(&live, serving, &route.process))
                    }),
                    (_, _, None) => Answer::Replicas(Vec::new()),
                },
                body_bytes: None,
                held_for: None,
                traits: serving.map_or_else(Traits::default, |s| traits(s, &route.process)),
                policies,
                public_certificate: !route.domain.host.is_private(),
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
            let share = route.access_log.unwrap_or(settings.access_log.share);
            let (well, ill) = self.upstreams.parted(route).await;
            let answer = Answer::Addresses { well, ill };
            let mut written = configured(route, answer, share, &self.verifiers);
            if let Some(files) = &route.files {
                let folder = configured_folder(files);
                let policies = &written.policies;
                written.answer = self.folders.answer(&written.key, None, policies, folder);
            }
            routes.push(written);
        }
        let unread = self.folders.settle();
        let certificates = self.certificates.borrow().clone();
        let input = Input {
            routes,
            default_route: Some(self.dashboard("dashboard:address", "")),
            certificates: certificates.certificates.clone(),
            default_certificate: certificates.box_certificate.clone(),
            challenges: certificates.challenges.clone(),
            verifiers: self.verifiers.clone(),
        };
        let mark = mark(&input);
        Ok(Gathered {
            input,
            wanted,
            mark,
            unread,
            until,
            over,
        })
    }

    fn dashboard(&self, key: &str, host: &str) -> Route {
        Route {
            key: key.into(),
            group: "dashboard".into(),
            app: String::new(),
            process: String::new(),
            access_log: self.settings.borrow().access_log.share,
            host: host.into(),
            path: "/".into(),
            answer: Answer::Socket(self.edge_socket.clone()),
            body_bytes: Some(self.settings.borrow().build.upload + BESIDE),
            held_for: None,
            traits: Traits::default(),
            policies: Policies::default(),
            public_certificate: false,
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
    /// Apps whose folder the edge does not serve yet.
    pub unread: Unread,
    /// When it stops being so by itself: the first pause is over.
    pub until: Option<UnixMs>,
    /// Whether pauses are over that are written down still.
    pub over: bool,
}

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
        record: Some(files.record(data_dir)),
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

/// The policies that hold for a domain: its own before those of the app's file.
pub fn in_force(own: Policies, facing: Option<&Facing>) -> Policies {
    match facing {
        Some(facing) => own.over(&facing.policies),
        None => own,
    }
}

/// Which of a domain's requests stand in the access log: as its policies say, its app, or the box.
fn share(policies: &Policies, of_app: Option<LogShare>, of_box: LogShare) -> LogShare {
    policies.access_log.or(of_app).unwrap_or(of_box)
}

/// What the live release says of a process's replicas.
fn traits(serving: &Serving, process: &str) -> Traits {
    let facing = serving.facing.get(process);
    Traits {
        cap: facing.and_then(|f| f.concurrency),
        protocol: facing.map_or_else(Protocol::default, |f| f.protocol),
    }
}

fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Beyond the largest upload: that it is too large is the dashboard's to say.
const BESIDE: u64 = 1 << 20;

fn configured_folder(files: &ConfiguredFolder) -> Folder {
    Folder {
        path: files.path.clone(),
        single_page: files.single_page,
        record: None,
    }
}

fn configured(
    route: &ConfiguredRoute,
    answer: Answer,
    access_log: LogShare,
    verifiers: &VerifierKey,
) -> Route {
    let mut policies = route.policies.clone();
    policies.take_in(verifiers);
    let key = format!("config:{}{}", route.host, route.path);
    let (group, protocol) = match &route.upstream {
        Some(upstream) => (format!("config:{upstream}"), upstream.protocol),
        None => (key.clone(), Protocol::default()),
    };
    Route {
        key,
        group,
        app: String::new(),
        process: String::new(),
        host: route.host.to_string(),
        path: route.path.clone(),
        answer,
        body_bytes: None,
        held_for: None,
        traits: Traits {
            protocol,
            ..Traits::default()
        },
        access_log,
        policies,
        public_certificate: route.tls != Tls::Internal && !route.host.is_private(),
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
    // Beside what is printed, which tells one verifier from no other.
    let policies: Vec<String> = input
        .routes
        .iter()
        .filter(|route| route.policies.basic_auth.is_some())
        .map(|route| route.policies.mark())
        .collect();
    format!(
        "{:?} {:?} {certificates:?} {default:?} {challenges:?} {policies:?}",
        input.routes, input.default_route
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e7_a_domain_says_how_much_of_it_is_logged_before_its_app_and_the_box() {
        let policies = |text: &str| -> Policies { toml::from_str(text).unwrap() };
        let facing = Facing {
            policies: policies("access_log = 0.1\nhsts = true"),
            ..Facing::default()
        };
        let own = in_force(policies("access_log = \"off\""), Some(&facing));
        assert!(own.hsts.is_some());
        let tenth = LogShare::part(0.1).unwrap();
        let half = LogShare::part(0.5).unwrap();
        assert_eq!(share(&own, Some(half), LogShare::ALL), LogShare::OFF);
        let of_file = in_force(Policies::default(), Some(&facing));
        assert_eq!(share(&of_file, Some(half), LogShare::ALL), tenth);
        let none = in_force(Policies::default(), None);
        assert_eq!(share(&none, Some(half), LogShare::ALL), half);
        assert_eq!(share(&none, None, LogShare::ALL), LogShare::ALL);
    }

    #[test]
    fn e6_another_password_is_another_snapshot_and_prints_nowhere() {
        let of = |password: &str| {
            let text = format!(
                "host = \"a.test\"\nupstream = \"http://127.0.0.1:1\"\nbasic_auth.users = [{{ name = \"ana\", password = \"{password}\" }}]"
            );
            let written: ConfiguredRoute = toml::from_str(&text).unwrap();
            let route = configured(
                &written,
                Answer::Replicas(Vec::new()),
                LogShare::ALL,
                &VerifierKey::new(b"key"),
            );
            mark(&Input {
                routes: vec![route],
                ..Input::default()
            })
        };
        assert_eq!(of("hunter2"), of("hunter2"));
        assert_ne!(of("hunter2"), of("hunter3"));
        assert!(!of("hunter2").contains("hunter"));
    }
}
