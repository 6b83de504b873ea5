//! The box as a whole, for `status`, `doctor` and the setup link: gathered from every part, each part's failure a finding.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::findings;
use super::ports::doctor::Examiner;
use crate::apps::{App, Apps, Route};
use crate::base::clock::UnixMs;
use crate::certs::{self, CertStatus, Certs};
use crate::config::Config;
use crate::docker::Engine;
use crate::doctor;
use crate::monitor::Monitor;
use crate::supervise::{Live, State, Supervisor};
use crate::users::Users;
use crate::web::{self, about::Coming};
use crate::wire::doctor::Report;
use crate::wire::status::{self, AppLine, CertificateLine, Finding, Status};

/// How long the engine may take to say that it is there.
const ENGINE: Duration = Duration::from_secs(3);

/// Handles on everything that has something to say.
pub struct About {
    pub installation: String,
    pub started: UnixMs,
    pub settings: watch::Receiver<Arc<Config>>,
    /// Where the edge listens for TLS.
    pub https: SocketAddr,
    /// Looks closer, for `doctor`.
    pub examiner: Examiner,
    pub root_file: PathBuf,
    pub users: Users,
    pub certs: Certs,
    pub apps: Apps,
    pub live: watch::Receiver<Arc<Vec<Live>>>,
    /// Knows how replicas died.
    pub supervisor: Supervisor,
    /// Knows what needs attention.
    pub monitor: Monitor,
}

impl crate::web::about::About for About {
    fn status(&self) -> Coming<'_, Status> {
        Box::pin(self.gather())
    }

    fn doctor(&self) -> Coming<'_, Report> {
        Box::pin(self.examiner.report())
    }
}

impl About {
    async fn gather(&self) -> Status {
        let settings = self.settings.borrow().clone();
        let host = settings.dashboard.host.as_ref().map(ToString::to_string);
        let mut findings = Vec::new();
        let now = UnixMs::now();
        // None of them waits for another, and who reads this waits for the slowest alone.
        let (engine, set_up, certificates, apps, routes, overview, here) = tokio::join!(
            engine(&settings.docker.host),
            self.users.is_set_up(),
            self.certs.statuses(),
            self.apps.list(),
            self.apps.routes(None),
            self.monitor.overview(now),
            // What is seen without asking anybody; `doctor` looks further.
            self.examiner.here(),
        );
        let owner = kept(set_up, &mut findings).unwrap_or(true);
        let certificates = kept(certificates, &mut findings).unwrap_or_default();
        let apps = kept(apps, &mut findings).unwrap_or_default();
        let routes = kept(routes, &mut findings).unwrap_or_default();
        if let Some(overview) = kept(overview, &mut findings) {
            findings.extend(overview.attention.into_iter().map(Finding::from));
        }
        let here = doctor::examine(&here, now);
        findings.extend(here.into_iter().filter_map(findings::of_doctor));
        findings.sort_by_key(|f| f.severity);
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            installation: self.installation.clone(),
            started_ms: self.started.0,
            dashboard: format!(
                "{}/",
                web::dashboard_url(host, self.https, &certs::box_addresses())
            ),
            owner,
            root_file: self.root_file.display().to_string(),
            fingerprint: self.certs.root().fingerprint,
            engine,
            apps: self.lines(apps, &routes, now),
            certificates: lines_of(certificates, now),
            findings,
        }
    }

    fn lines(&self, apps: Vec<App>, routes: &[Route], now: UnixMs) -> Vec<AppLine> {
        let live = self.live.borrow().clone();
        apps.into_iter()
            .map(|app| {
                let subject = app.subject();
                let of_app: Vec<&Live> = live.iter().filter(|l| l.owner == subject).collect();
                AppLine {
                    state: app_state(app.maintenance, &of_app),
                    urls: routes
                        .iter()
                        .filter(|r| r.app == app.id)
                        .map(|r| format!("https://{}{}", r.domain.host, r.domain.path))
                        .collect(),
                    died: self.died(&of_app, now),
                    name: app.name.to_string(),
                }
            })
            .collect()
    }

    /// The newest death of these, if it is news.
    fn died(&self, live: &[&Live], now: UnixMs) -> Option<String> {
        let newest = |live: &&Live| {
            let death = self.supervisor.deaths(live.row).into_iter().next()?;
            Some((death.at, format!("{} {}", live.name, death.why)))
        };
        let (at, words) = live.iter().filter_map(newest).max_by_key(|(at, _)| *at)?;
        let ago = now.since(at);
        let minutes = ago.as_secs() / 60;
        (ago < NEWS).then(|| match minutes {
            0 => format!("{words} just now"),
            1 => format!("{words} a minute ago"),
            minutes => format!("{words} {minutes} minutes ago"),
        })
    }
}

/// A death is news for this long.
const NEWS: Duration = Duration::from_secs(3_600);

fn lines_of(certificates: Vec<CertStatus>, now: UnixMs) -> Vec<CertificateLine> {
    certificates
        .into_iter()
        .filter(|c| c.host != certs::BOX)
        .map(|c| CertificateLine {
            state: c.state.as_str().to_owned(),
            not_after_ms: c.not_after.map(|t| t.0),
            pending: c.pending(now),
            error: c.error,
            host: c.host,
        })
        .collect()
}

/// The value, or a finding that says why there is none.
fn kept<T, E: std::fmt::Display>(result: Result<T, E>, findings: &mut Vec<Finding>) -> Option<T> {
    result
        .map_err(|e| findings.push(findings::unreadable(&e)))
        .ok()
}

async fn engine(host: &str) -> status::Engine {
    let answer = async {
        let engine = Engine::connect(host).map_err(|e| e.to_string())?;
        engine.negotiate().await.map_err(|e| e.to_string())
    };
    let answer = tokio::time::timeout(ENGINE, answer)
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {} s", ENGINE.as_secs())));
    status::Engine {
        host: host.to_owned(),
        version: answer.as_ref().ok().map(|v| v.engine.clone()),
        error: answer.err(),
    }
}

fn app_state(maintenance: bool, live: &[&Live]) -> String {
    let healthy = live
        .iter()
        .filter(|l| matches!(l.state, State::Healthy))
        .count();
    match (maintenance, live.len()) {
        (true, _) => "maintenance".into(),
        (false, 0) => "not running".into(),
        (false, all) if all == healthy => "healthy".into(),
        (false, all) => format!("{healthy} of {all} healthy"),
    }
}
