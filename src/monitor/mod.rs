//! How the box and its apps are doing: figures, checks, and what needs attention.
//!
//! Invariants: pages read rollups, never raw samples; the request path only
//! counts; a check is verified through the edge's own TLS with the name; an
//! incident is a row with one open at most per check. What the figures are
//! about comes through [`ports::World`]; telling people is left to alerts.

mod attention;
mod collect;
mod containers;
mod forecast;
mod latency;
mod overview;
pub mod ports;
mod probe;
mod routes;
mod series;
mod step;
mod store;
#[cfg(test)]
mod tests;
mod uptime;
mod verdict;
mod whole;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use tokio::sync::watch;
use url::Url;

use crate::base::clock::UnixMs;
use crate::base::shutdown::Tasks;
use crate::config::Config;
use crate::db::{Db, DbError};
use crate::host::{HostFacts, HostFigures, HostMeter};
use crate::proxy::Reading;

pub use attention::{Picture, attention, disk};
pub use containers::{ContainerUsage, Usages};
pub use latency::Latency;
pub use ports::{
    DumpsGo, EdgeReading, Facts, Later, RouteReading, RouteSeen, Running, Switching, TargetSeen,
    Unremoved, WantedCheck, World,
};
pub use probe::{Stage, reachable};
pub use series::{BoxSlot, CheckSlot, Series, TrafficSlot};
pub use step::{Step, Window};
pub use store::{CheckRow, IncidentRow};

/// What monitoring is made of.
pub struct Parts {
    /// state.db
    pub state: Db,
    /// metrics.db
    pub metrics: Db,
    /// The rest of the box.
    pub world: Arc<dyn World>,
    /// The settings.
    pub settings: watch::Receiver<Arc<Config>>,
    /// Whose disk is looked at.
    pub data_dir: PathBuf,
    /// Where the edge's https listener is bound; checks are asked through it.
    pub edge: SocketAddr,
    /// Roots beside the system's, in PEM: the box's own CA, a private ACME server's.
    pub extra_roots: Vec<Vec<u8>>,
    /// Told at the end what each route had counted when figures were written down for the last time.
    pub counted: watch::Sender<Option<Arc<HashMap<String, Reading>>>>,
}

/// Why a change to the checks was refused.
#[derive(Debug, thiserror::Error)]
pub enum MonitorError {
    /// What was given cannot be a check.
    #[error("{0}")]
    Invalid(String),
    /// No such check, or one that belongs to a domain.
    #[error(
        "there is no check {0} that was added by hand; the checks of domains end with their domain"
    )]
    NotFound(i64),
    /// The address is already checked.
    #[error("{0} is already checked")]
    Already(String),
    /// The rest of the box did not say how it is.
    #[error("how the apps stand could not be read: {0}")]
    World(String),
    /// The database's.
    #[error(transparent)]
    Db(#[from] DbError),
}

/// The handle; cheap to clone.
#[derive(Clone)]
pub struct Monitor {
    state: Db,
    series: Series,
    world: Arc<dyn World>,
    now: watch::Receiver<Option<HostFigures>>,
    usages: watch::Receiver<Arc<Usages>>,
    minute: watch::Receiver<routes::Minute>,
    damage: watch::Receiver<Option<String>>,
    facts: Arc<HostFacts>,
}

impl Monitor {
    /// Starts to collect and to check.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn start(parts: Parts, tasks: &Tasks) -> Result<Self, String> {
        let tls = probe::trust(&parts.extra_roots, &[])?;
        let (damage, damage_seen) = watch::channel(None);
        let look = whole::look(
            parts.state.clone(),
            parts.metrics.clone(),
            damage,
            tasks.shutdown().clone(),
        );
        tasks.spawn("figures' file", look);
        let series = Series::new(parts.metrics);
        let (now, seen) = watch::channel(None);
        let (usages, usages_seen) = watch::channel(Arc::default());
        let (minute, minute_seen) = watch::channel(routes::Minute::default());
        let facts = HostMeter::new(&parts.data_dir).facts();
        let collector = collect::Collector {
            series: series.clone(),
            world: Arc::clone(&parts.world),
            data_dir: parts.data_dir,
            now,
            usages,
            minute,
            counted: parts.counted,
        };
        tasks.spawn_core("figures", collector.run(tasks.shutdown().clone()));
        let uptime = Arc::new(uptime::Uptime {
            db: parts.state.clone(),
            series: series.clone(),
            world: Arc::clone(&parts.world),
            trust: Mutex::new(uptime::Trust {
                issuers: Vec::new(),
                tls,
            }),
            extra_roots: Arc::new(parts.extra_roots),
            edge: probe::reachable(parts.edge),
            settings: parts.settings,
        });
        tasks.spawn_core("uptime-checks", uptime.run(tasks.shutdown().clone()));
        Ok(Self {
            state: parts.state,
            series,
            world: parts.world,
            now: seen,
            usages: usages_seen,
            minute: minute_seen,
            damage: damage_seen,
            facts: Arc::new(facts),
        })
    }

    /// Figures over time.
    pub fn series(&self) -> &Series {
        &self.series
    }

    /// The box's newest figures.
    pub fn figures(&self) -> Option<HostFigures> {
        self.now.borrow().clone()
    }

    /// What each of our running containers uses.
    pub fn usages(&self) -> Arc<Usages> {
        self.usages.borrow().clone()
    }

    /// What is wrong with the file of the figures, once that was seen.
    fn damage(&self) -> Option<String> {
        self.damage.borrow().clone()
    }

    /// Figures that were read; none where their file is known to be damaged: the rest of a page
    /// is shown without them, and says why.
    fn kept<T>(&self, read: Result<T, DbError>, none: impl FnOnce() -> T) -> Result<T, DbError> {
        match read {
            Err(error) if self.damage.borrow().is_some() => {
                tracing::debug!(%error, "figures are left out of a page");
                Ok(none())
            }
            read => read,
        }
    }

    /// What does not change about the box.
    pub fn host(&self) -> &HostFacts {
        &self.facts
    }

    /// Adds a check of any address.
    ///
    /// # Errors
    /// A sentence when the name or address will not do.
    pub async fn add_check(&self, name: &str, url: &str) -> Result<i64, MonitorError> {
        let (name, url) = parse_check(name, url).map_err(MonitorError::Invalid)?;
        let shown = url.clone();
        let added = self
            .state
            .write(move |tx| store::add(tx, &name, &url, UnixMs::now()))
            .await?;
        added.ok_or(MonitorError::Already(shown))
    }

    /// Removes a check that was added by hand.
    ///
    /// # Errors
    /// When there is none with this id.
    pub async fn remove_check(&self, id: i64) -> Result<(), MonitorError> {
        let removed: bool = self
            .state
            .write(move |tx| store::remove(tx, id, UnixMs::now()))
            .await
            .map_err(MonitorError::Db)?;
        if !removed {
            return Err(MonitorError::NotFound(id));
        }
        Ok(self.series.forget_check(id).await?)
    }
}

fn parse_check(name: &str, url: &str) -> Result<(String, String), String> {
    let name = name.trim();
    if name.is_empty() || name.chars().count() > 60 || name.chars().any(char::is_control) {
        return Err("Give the check a name of 1 to 60 letters.".into());
    }
    let example = "Write the address like https://shop.example.com/healthz.";
    if url.len() > 2_000 {
        return Err(format!("The address is too long. {example}"));
    }
    let parsed =
        Url::parse(url.trim()).map_err(|_| format!("\"{url}\" is not an address. {example}"))?;
    if !matches!(parsed.scheme(), "http" | "https") || parsed.host_str().is_none() {
        return Err(format!(
            "\"{url}\" is not an http or https address. {example}"
        ));
    }
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err(format!(
            "An address with a password in it is not kept. {example}"
        ));
    }
    Ok((name.to_owned(), parsed.to_string()))
}
