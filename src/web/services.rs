//! What handlers may call: the domains' handles, made by the daemon.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::sync::watch;

use super::about::About;
use super::forgery::FormKey;
use super::handover::Handovers;
use super::hook_body::Room as HookRoom;
use crate::apps::Apps;
use crate::audit::Audit;
use crate::backup::Backups;
use crate::base::ids::InstallationId;
use crate::base::secret::MasterKey;
use crate::certs::{Certs, box_addresses};
use crate::config::{Config, ConfigError, Listen};
use crate::db::Db;
use crate::deploy::Deploys;
use crate::events::Events;
use crate::monitor::Monitor;
use crate::postgres::Databases;
use crate::supervise::{Live, Supervisor};
use crate::users::Users;

/// The handles; each is cheap to clone and knows nothing of HTTP.
pub struct Services {
    /// The box as a whole.
    pub about: Arc<dyn About>,
    /// Whose engine objects are ours.
    pub installation: InstallationId,
    /// The settings in force.
    pub settings: watch::Receiver<Arc<Config>>,
    /// The mistake in the settings files as they lie there, if there is one.
    pub settings_refused: watch::Receiver<Option<ConfigError>>,
    /// Where the edge really listens.
    pub listen: Listen,
    /// The state database, for event lists.
    pub db: Db,
    /// Seals what was answered to a request that may be sent again.
    pub key: Arc<MasterKey>,
    /// What happens, live.
    pub events: Events,
    /// Who did what.
    pub audit: Audit,
    /// Sign-in and sessions.
    pub users: Users,
    /// Makes the tokens that forms carry.
    pub forms: FormKey,
    /// Apps, env, domains.
    pub apps: Apps,
    /// Certificates and the box's own CA.
    pub certs: Certs,
    /// What runs now.
    pub live: watch::Receiver<Arc<Vec<Live>>>,
    /// Containers: logs, one-offs, terminals.
    pub supervisor: Supervisor,
    /// Deploys, releases, webhooks.
    pub deploys: Deploys,
    /// Another Freehold taking this one's place.
    pub handovers: Handovers,
    /// The memory that webhooks' bodies may take.
    pub hook_room: HookRoom,
    /// Managed Postgres servers.
    pub databases: Databases,
    /// Dumps, targets, restores.
    pub backups: Backups,
    /// Figures, checks, what needs attention.
    pub monitor: Monitor,
}

impl Services {
    /// Where a browser reaches the dashboard, without a slash at the end.
    pub fn dashboard_url(&self) -> String {
        let host = self
            .settings
            .borrow()
            .dashboard
            .host
            .as_ref()
            .map(ToString::to_string);
        dashboard_url(host, self.listen.https, &box_addresses())
    }
}

/// The dashboard's name when it has one; else the address the edge listens on,
/// or when that is all of them the first that others can reach.
pub fn dashboard_url(host: Option<String>, https: SocketAddr, addresses: &[IpAddr]) -> String {
    let host = host.unwrap_or_else(|| {
        let ip = if https.ip().is_unspecified() {
            addresses
                .iter()
                .find(|a| !a.is_loopback())
                .or_else(|| addresses.first())
                .copied()
                .unwrap_or(https.ip())
        } else {
            https.ip()
        };
        match ip {
            IpAddr::V4(v4) => v4.to_string(),
            IpAddr::V6(v6) => format!("[{v6}]"),
        }
    });
    match https.port() {
        443 => format!("https://{host}"),
        port => format!("https://{host}:{port}"),
    }
}

/// The state every handler gets.
pub type App = Arc<Services>;

#[cfg(test)]
mod tests {
    use super::dashboard_url;

    #[test]
    fn f1_the_dashboards_address_is_one_a_browser_can_open() {
        let all = "[::]:443".parse().unwrap();
        let ours = ["127.0.0.1".parse().unwrap(), "192.0.2.7".parse().unwrap()];
        assert_eq!(dashboard_url(None, all, &ours), "https://192.0.2.7");
        assert_eq!(
            dashboard_url(Some("p.test".into()), all, &ours),
            "https://p.test"
        );
        let one = "127.0.0.5:8443".parse().unwrap();
        assert_eq!(dashboard_url(None, one, &ours), "https://127.0.0.5:8443");
    }
}
