//! What monitoring asks: how everything stands, and what the edge has counted.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;

use super::{checks, switching};
use crate::apps::Apps;
use crate::backup::{Backups, Standing, Target};
use crate::base::clock::UnixMs;
use crate::certs::{Certs, box_addresses};
use crate::config::{Config, ConfigError, Listen, Waiting};
use crate::daemon::upstream_checks::{self, Ill};
use crate::daemon::wanted::in_force;
use crate::db::Db;
use crate::deploy::{Deploy, Deploys, Serving};
use crate::monitor::{
    DumpsGo, EdgeReading, Facts, Later, RouteReading, RouteSeen, Running, TargetSeen, Unremoved,
    WantedCheck, World,
};
use crate::postgres::{self, Databases};
use crate::proxy::{self, EdgeHandle, LeftOut, Refusal, Refusals, Upstream};
use crate::supervise::{EngineState, Kind, Live, State, Supervisor};
use crate::web;
use crate::wire::overview::{
    App, AppState, Certificate, Database, DatabaseBackup, Engine, LastDeploy, Trust,
};

/// Handles on everything monitoring looks at.
pub struct WorldPort {
    /// Counts requests.
    pub edge: EdgeHandle,
    /// Apps and their domains.
    pub apps: Apps,
    /// What is live.
    pub deploys: Deploys,
    /// What runs.
    pub supervisor: Supervisor,
    /// Upstreams of the settings whose check fails.
    pub ill: watch::Receiver<Ill>,
    /// Managed servers.
    pub databases: Databases,
    /// Their dumps.
    pub backups: Backups,
    /// Certificates.
    pub certs: Certs,
    /// The settings in force.
    pub settings: watch::Receiver<Arc<Config>>,
    /// What in them waits for a start.
    pub waiting: watch::Receiver<Vec<Waiting>>,
    /// The mistake in the settings files.
    pub refused: watch::Receiver<Option<ConfigError>>,
    /// What the edge refused in the last minute, if that was an attack.
    pub attack: watch::Receiver<Option<String>>,
    /// Why there is no snapshot of the state of the last hour.
    pub unkept: watch::Receiver<Option<String>>,
    /// Knows whether the state was made anew.
    pub db: Db,
    /// Where the edge really listens.
    pub listen: Listen,
    /// The box CA's root as a file.
    pub root_file: PathBuf,
}

fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}

impl World for WorldPort {
    fn readings(&self) -> Vec<RouteReading> {
        let snapshot = self.edge.snapshot();
        let stats = self.edge.stats();
        stats
            .routes
            .into_iter()
            .filter_map(|(key, reading)| {
                let route = snapshot.route(&key)?;
                Some(RouteReading {
                    key: key.to_string(),
                    subject: route.spec.group.to_string(),
                    reading,
                })
            })
            .collect()
    }

    fn edge(&self) -> EdgeReading {
        let (stats, snapshot) = (self.edge.stats(), self.edge.snapshot());
        let live = self.supervisor.live().borrow().clone();
        let ills = self.ill.borrow().clone();
        let name = |name: &Arc<str>| Some(name.to_string()).filter(|name| !name.is_empty());
        let target = |target: &Arc<proxy::Target>| TargetSeen {
            key: target.key().to_string(),
            container: container(&live, target.key()),
            address: target.address().to_string(),
            left_out: left_out(&stats.left_out, target.key()),
            fails: None,
            reading: target.meter().read(),
        };
        let ill = |(key, address): &(Arc<str>, proxy::Address)| TargetSeen {
            key: key.to_string(),
            container: None,
            address: address.to_string(),
            left_out: proxy::LeftOut {
                now: true,
                ..proxy::LeftOut::default()
            },
            fails: upstream_checks::illness(&ills, &address.to_string())
                .map(|illness| (illness.why.clone(), illness.since)),
            reading: proxy::Reading::default(),
        };
        EdgeReading {
            connections: stats.connections,
            held: stats.held,
            refused: refused(&stats.refusals),
            log_dropped: stats.log_dropped,
            routes: snapshot
                .all_routes()
                .map(|route| RouteSeen {
                    key: route.spec.key.to_string(),
                    host: route.spec.host.to_string(),
                    path: route.spec.path_prefix.to_string(),
                    app: name(&route.spec.app),
                    process: name(&route.spec.process),
                    paused: matches!(route.spec.upstream, Upstream::Paused { .. }),
                    reading: route.meter().read(),
                    targets: route
                        .targets()
                        .iter()
                        .map(target)
                        .chain(route.spec.ill.iter().map(ill))
                        .collect(),
                })
                .collect(),
        }
    }

    fn running(&self) -> Vec<Running> {
        let live = self.supervisor.live().borrow().clone();
        live.iter()
            .filter(|l| l.started.is_some() && !matches!(l.state, State::Exited(_)))
            .filter_map(|l| {
                Some(Running {
                    id: l.container_id.clone()?,
                    owner: l.owner.clone(),
                })
            })
            .collect()
    }

    fn wanted(&self) -> Later<'_, Result<Vec<WantedCheck>, String>> {
        Box::pin(async move {
            let apps = self.apps.list().await.map_err(words)?;
            let serving = self.deploys.serving().await.map_err(words)?;
            let mut wanted = Vec::new();
            for route in self.apps.routes(None).await.map_err(words)? {
                let app = apps.iter().find(|a| a.id == route.app);
                let live = serving.iter().find(|s| s.app == route.app);
                let (Some(app), Some(live)) = (app, live) else {
                    continue;
                };
                let health = self.health_path(live, &route.process).await?;
                let whose = checks::Whose {
                    subject: app.subject(),
                    name: app.name.to_string(),
                    active: !live.stopped && !app.maintenance,
                };
                let facing = live.facing.get(&route.process);
                let policies = in_force(route.policies.unwrap_or_default(), facing);
                let check = checks::of(whose, &route.domain, health.as_deref(), &policies);
                wanted.push(check);
            }
            Ok(wanted)
        })
    }

    fn private_issuers(&self) -> Later<'_, Result<Vec<Vec<u8>>, String>> {
        Box::pin(async move {
            if self.settings.borrow().acme.ca_file.is_none() {
                return Ok(Vec::new());
            }
            let statuses = self.certs.statuses().await.map_err(words)?;
            let set = self.certs.current().borrow().clone();
            let mut issuers: Vec<Vec<u8>> = statuses
                .iter()
                .filter(|status| status.source == "acme")
                .filter_map(|status| set.certificates.get(status.host.as_str()))
                .filter_map(|key| key.cert.get(1..)?.last())
                .map(|issuer| issuer.to_vec())
                .collect();
            issuers.sort();
            issuers.dedup();
            Ok(issuers)
        })
    }

    fn facts(&self) -> Later<'_, Result<Facts, String>> {
        Box::pin(async move {
            let settings = self.settings.borrow().clone();
            let host = settings.dashboard.host.as_ref().map(ToString::to_string);
            let dashboard = web::dashboard_url(host, self.listen.https, &box_addresses());
            let (targets, unremoved, apps, databases, certificates) = tokio::try_join!(
                async { self.backups.targets().await.map_err(words) },
                self.unremoved(),
                self.app_facts(),
                self.database_facts(),
                self.certificate_facts(),
            )?;
            let switching = switching::all(&self.deploys, &apps).await?;
            let recoveries = self.db.recoveries().await.map_err(words)?;
            Ok(Facts {
                switching,
                apps,
                databases,
                certificates,
                engine: engine(&self.supervisor.engine().borrow()),
                config_refused: self.refused.borrow().as_ref().map(words),
                settings_waiting: self.waiting.borrow().clone(),
                attack: self.attack.borrow().clone(),
                recoveries,
                unkept: self.unkept.borrow().clone(),
                unremoved,
                dumps: dumps_go(&targets),
                trust: Some(Trust {
                    fingerprint: self.certs.root().fingerprint,
                    file: self.root_file.display().to_string(),
                    url: format!("{dashboard}/settings/ca.pem"),
                }),
                dashboard: Some(dashboard),
            })
        })
    }
}

impl WorldPort {
    async fn health_path(&self, live: &Serving, process: &str) -> Result<Option<String>, String> {
        let release = self.deploys.release(live.release_id).await.map_err(words)?;
        Ok(release.and_then(|r| r.settings.processes.get(process)?.health.clone()))
    }

    async fn app_facts(&self) -> Result<Vec<App>, String> {
        let (apps, routes, serving, last) = tokio::try_join!(
            async { self.apps.list().await.map_err(words) },
            async { self.apps.routes(None).await.map_err(words) },
            async { self.deploys.serving().await.map_err(words) },
            async { self.deploys.last_outcome_of_each().await.map_err(words) },
        )?;
        let live = self.supervisor.live().borrow().clone();
        Ok(apps
            .into_iter()
            .map(|app| {
                let serves = serving.iter().find(|s| s.app == app.id);
                let (state, why) = standing(serves, &live);
                App {
                    id: app.id,
                    hosts: routes
                        .iter()
                        .filter(|r| r.app == app.id)
                        .map(|r| r.domain.to_string())
                        .collect(),
                    state,
                    why,
                    release: serves.map(|s| s.release),
                    maintenance_until_ms: app.maintenance_until.filter(|_| app.maintenance),
                    deploy: last.iter().find(|d| d.app == app.id).map(last_deploy),
                    name: app.name.to_string(),
                    ..App::default()
                }
            })
            .collect())
    }

    async fn database_facts(&self) -> Result<Vec<Database>, String> {
        let live = self.supervisor.live().borrow().clone();
        let mut all = Vec::new();
        for database in self.databases.list().await.map_err(words)? {
            let schedule = self.backups.schedule(database.id).await.map_err(words)?;
            let parts = self.backups.standings(database.id, database.created).await;
            let parts = parts.map_err(words)?;
            all.push(Database {
                born_ms: Some(database.created),
                failing: failing(&database, &live),
                next_ms: Some(schedule.next_due),
                name: database.name.to_string(),
                ..backed_up(&parts)
            });
        }
        Ok(all)
    }

    async fn unremoved(&self) -> Result<Vec<Unremoved>, String> {
        let left = self.backups.unremoved().await.map_err(words)?;
        let told = left.into_iter().map(|l| Unremoved {
            target: l.target,
            count: l.count,
            since: l.since,
            why: l.why,
        });
        Ok(told.collect())
    }

    async fn certificate_facts(&self) -> Result<Vec<Certificate>, String> {
        let now = UnixMs::now();
        let all = self.certs.statuses().await.map_err(words)?;
        Ok(all
            .into_iter()
            .filter(|c| c.host != crate::certs::BOX)
            .map(|c| Certificate {
                pending: c.pending(now),
                host: c.host,
                issuer: c.issuer,
                expires_ms: c.not_after,
                error: c.error,
                next_ms: c.next_try.or(c.renews_at),
            })
            .collect())
    }
}

/// The name of the container that a target's key stands for.
fn container(live: &[Live], key: &str) -> Option<String> {
    let row: i64 = key.strip_prefix("replica:")?.parse().ok()?;
    let own = live.iter().find(|one| one.row == row)?;
    Some(own.name.clone())
}

/// What stands of this target in a list by key; a target that came a moment later was never left out.
fn left_out(all: &[(Arc<str>, LeftOut)], key: &str) -> LeftOut {
    let found = all.binary_search_by(|(of, _)| (**of).cmp(key));
    found.map(|index| all[index].1).unwrap_or_default()
}

/// What was turned away, in words.
fn refused(refusals: &Refusals) -> Vec<(String, u64)> {
    let words = |why: Refusal| why.words().1.to_owned();
    refusals
        .iter()
        .map(|(why, count)| (words(why), count))
        .collect()
}

/// How an app stands by the containers of its live release.
fn standing(serving: Option<&Serving>, live: &[Live]) -> (AppState, Option<String>) {
    let Some(serving) = serving else {
        return (AppState::New, None);
    };
    if serving.stopped {
        return (AppState::Stopped, None);
    }
    let names: Vec<&String> = serving.replicas.values().flatten().collect();
    let own: Vec<&Live> = live
        .iter()
        .filter(|l| l.kind == Kind::Replica && names.contains(&&l.name))
        .collect();
    if serving.files.is_some() {
        return (AppState::Running, None);
    }
    if !own.is_empty() && own.iter().all(|l| l.is_healthy()) && own.len() == names.len() {
        return (AppState::Running, None);
    }
    let why = own.iter().find_map(|l| match &l.state {
        State::Unhealthy(why) => Some(format!("{} is unhealthy: {why}", l.name)),
        State::Exited(exit) => Some(format!("{} {exit}", l.name)),
        State::Refused(why) => Some(format!("{} cannot be started: {why}", l.name)),
        _ => None,
    });
    match why {
        Some(why) if !own.iter().any(|l| l.is_healthy()) => (AppState::Failing, Some(why)),
        why => (AppState::Starting, why),
    }
}

/// Where dumps go: to the default target, whatever others there are.
fn dumps_go(targets: &[Target]) -> DumpsGo {
    match targets.iter().find(|t| t.is_default) {
        None => DumpsGo::ToTheBox,
        Some(default) if default.is_away() => DumpsGo::Away,
        Some(default) => DumpsGo::ToFolder {
            name: default.name.to_string(),
            away: targets
                .iter()
                .find(|t| t.is_away())
                .map(|t| t.name.to_string()),
        },
    }
}

fn last_deploy(deploy: &Deploy) -> LastDeploy {
    LastDeploy {
        id: deploy.id,
        state: deploy.state.as_str().to_owned(),
        at_ms: deploy
            .finished
            .or(deploy.switched)
            .or(deploy.started)
            .or(Some(deploy.created)),
        error: deploy.error.clone(),
    }
}

/// What the backups of a server's databases say of it: it stands as the worst of them.
fn backed_up(parts: &[Standing]) -> Database {
    let worst = parts
        .iter()
        .min_by_key(|p| p.newest.as_ref().and_then(|b| b.finished));
    let stored = worst.and_then(|p| p.newest.as_ref());
    let failed = parts
        .iter()
        .filter_map(|p| p.failed.as_ref())
        .max_by_key(|b| b.finished);
    Database {
        backup_ms: stored.and_then(|b| b.finished),
        backup_bytes: stored.and_then(|b| b.size_bytes),
        backup_at: stored.map(|b| b.place().to_owned()),
        failed_ms: failed.and_then(|b| b.finished),
        failed_why: failed.and_then(|b| b.reason.clone()),
        parts: parts.iter().filter_map(part).collect(),
        ..Database::default()
    }
}

fn part(standing: &Standing) -> Option<DatabaseBackup> {
    let failed = standing.failed.as_ref();
    Some(DatabaseBackup {
        name: standing.logical.clone()?,
        since_ms: Some(standing.since),
        backup_ms: standing.newest.as_ref().and_then(|b| b.finished),
        failed_ms: failed.and_then(|b| b.finished),
        failed_why: failed.and_then(|b| b.reason.clone()),
    })
}

/// Why a database does not answer, if it should.
fn failing(database: &postgres::Database, live: &[Live]) -> Option<String> {
    match database.state {
        postgres::State::Failed => database.reason.clone(),
        postgres::State::Ready => {
            let own = live
                .iter()
                .find(|l| Some(l.row) == database.container_row)?;
            match &own.state {
                State::Unhealthy(why) => Some(why.clone()),
                State::Exited(exit) => Some(format!("its server {exit}")),
                State::Refused(why) => Some(why.clone()),
                _ => None,
            }
        }
        _ => None,
    }
}

fn engine(state: &EngineState) -> Engine {
    match state {
        EngineState::Unknown => Engine::default(),
        EngineState::Reachable { version, .. } => Engine {
            version: Some(version.clone()),
            ..Engine::default()
        },
        EngineState::Unreachable { since, why } => Engine {
            version: None,
            unreachable: Some(why.clone()),
            since_ms: Some(*since),
        },
    }
}

/// The roots that checks trust beside the system's: the box's own CA and a
/// private ACME server's.
pub fn extra_roots(certs: &Certs, config: &Config) -> Vec<Vec<u8>> {
    let mut roots = vec![certs.root().pem.into_bytes()];
    if let Some(path) = &config.acme.ca_file {
        match std::fs::read(path) {
            Ok(pem) => roots.push(pem),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "the ACME server's root cannot be read");
            }
        }
    }
    roots
}

#[cfg(test)]
mod tests;
