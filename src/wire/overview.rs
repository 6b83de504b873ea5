//! `GET /api/v1/overview`: how everything is doing, with figures; what the overview and `freehold top` show.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::clock::UnixMs;

/// One look at everything.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Overview {
    /// Of the daemon.
    pub version: String,
    /// What wants its reader, worst first.
    pub attention: Vec<Attention>,
    /// The machine; `None` until it was first measured.
    pub machine: Option<Machine>,
    /// Docker.
    pub engine: Engine,
    /// By name.
    pub apps: Vec<App>,
    /// By name.
    pub databases: Vec<Database>,
    /// Soonest to end first.
    pub certificates: Vec<Certificate>,
    /// How to trust what the box's own CA signed.
    pub trust: Option<Trust>,
    /// Where the dashboard answers.
    pub dashboard: Option<String>,
}

impl Overview {
    /// What somebody may see who knows of these apps alone: nothing of the box, nothing of the others.
    #[must_use]
    pub fn of_apps(mut self, sees: impl Fn(&str) -> bool) -> Self {
        self.apps.retain(|app| sees(&app.name));
        self.attention.retain(|a| {
            let app = a.link.strip_prefix("/apps/").map(|rest| {
                let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
                &rest[..end]
            });
            app.is_some_and(&sees)
        });
        let hosts: Vec<&String> = self.apps.iter().flat_map(|app| &app.hosts).collect();
        self.certificates.retain(|c| hosts.contains(&&c.host));
        self.machine = None;
        self.engine = Engine::default();
        self.databases.clear();
        self
    }
}

/// How much something wants its reader.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Urgency {
    /// Broken now.
    Bad,
    /// Will break, or would hurt if something else broke.
    Warning,
}

/// Something that wants its reader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Attention {
    /// How much.
    pub level: Urgency,
    /// "shop.example.com does not answer".
    pub what: String,
    /// Why, and what it means.
    pub why: String,
    /// What to do.
    pub remedy: String,
    /// The page where it is mended.
    pub link: String,
}

/// The machine now.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Machine {
    /// Its name.
    pub name: String,
    /// "Debian GNU/Linux 13 (trixie)".
    pub system: String,
    /// Of Linux.
    pub kernel: String,
    /// Cores.
    pub cores: u32,
    /// Share of all cores in use.
    pub cpu: Option<f64>,
    /// Load over 1, 5 and 15 minutes.
    pub load: [f64; 3],
    /// Bytes in use, by the kernel's own estimate.
    pub memory_used: u64,
    /// Bytes in all.
    pub memory_total: u64,
    /// Bytes of swap in use.
    pub swap_used: u64,
    /// Bytes of swap.
    pub swap_total: u64,
    /// Bytes of the data folder's disk that are taken.
    pub disk_used: u64,
    /// Bytes of it.
    pub disk_total: u64,
    /// At this pace the disk is full in so many days.
    pub disk_full_in_days: Option<f64>,
    /// Seconds since it started.
    pub uptime_s: u64,
}

/// Docker as seen from here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "EngineStanding")]
pub struct Engine {
    /// Its version when it answers.
    pub version: Option<String>,
    /// Why it does not.
    pub unreachable: Option<String>,
    /// Since when it does not.
    pub since_ms: Option<UnixMs>,
}

/// How an app stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "Standing")]
pub enum AppState {
    /// Nothing was ever live.
    #[default]
    New,
    /// Its web replicas are healthy.
    Running,
    /// Some are not, or are on their way.
    Starting,
    /// None is healthy.
    Failing,
    /// Stopped on purpose.
    Stopped,
}

/// An app.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "AppStanding")]
pub struct App {
    /// Its row.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// Its domains.
    pub hosts: Vec<String>,
    /// How it stands.
    pub state: AppState,
    /// Why it fails.
    pub why: Option<String>,
    /// Its live release's number.
    pub release: Option<i64>,
    /// When its maintenance ends by itself, while it is in maintenance.
    #[serde(default)]
    pub maintenance_until_ms: Option<UnixMs>,
    /// Its newest deploy.
    pub deploy: Option<LastDeploy>,
    /// Requests per second over the last minute.
    pub rate: Option<f64>,
    /// Below this lie 95 of 100 answers of the last five minutes, in milliseconds.
    pub p95_ms: Option<f64>,
    /// Share of 5xx over the last five minutes.
    pub error_share: Option<f64>,
    /// Share of the last day's checks that were answered.
    pub up_share: Option<f64>,
    /// What its containers use together; `None` without any.
    #[serde(default)]
    pub usage: Option<Usage>,
}

/// What runs, in processor and memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Usage {
    /// Cores in use over the last ten seconds; `None` until it was read twice.
    pub cpu: Option<f64>,
    /// Bytes it needs: without the page cache that the kernel takes back.
    pub memory: u64,
    /// Bytes it may use; `None` without a limit.
    pub memory_limit: Option<u64>,
}

/// An app's newest deploy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LastDeploy {
    /// Its row.
    pub id: i64,
    /// As on its page: `live`, `building`, `failed`.
    pub state: String,
    /// When it ended, or began while it runs.
    pub at_ms: Option<UnixMs>,
    /// Why it failed.
    pub error: Option<String>,
}

/// A database with its newest backups.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "DatabaseStanding")]
pub struct Database {
    /// Its name.
    pub name: String,
    /// When it was made.
    pub born_ms: Option<UnixMs>,
    /// Why it does not answer; `None` while it does.
    pub failing: Option<String>,
    /// When its newest good backup was stored: of its databases, the one that has waited longest.
    pub backup_ms: Option<UnixMs>,
    /// Bytes of it.
    pub backup_bytes: Option<u64>,
    /// Where it lies: a target's name, or "this box".
    pub backup_at: Option<String>,
    /// When a backup last failed, if none was good since.
    pub failed_ms: Option<UnixMs>,
    /// Why.
    pub failed_why: Option<String>,
    /// When the next one is due.
    pub next_ms: Option<UnixMs>,
    /// Each database on it that is dumped.
    #[serde(default)]
    pub parts: Vec<DatabaseBackup>,
}

/// The backups of one database on a managed server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DatabaseBackup {
    /// Its name there.
    pub name: String,
    /// Since when it is dumped.
    pub since_ms: Option<UnixMs>,
    /// When its newest good backup was stored.
    pub backup_ms: Option<UnixMs>,
    /// When a backup last failed, if none was good since.
    pub failed_ms: Option<UnixMs>,
    /// Why.
    pub failed_why: Option<String>,
}

/// A certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Certificate {
    /// The name it is for.
    pub host: String,
    /// Who issued it.
    pub issuer: Option<String>,
    /// When it ends; `None` before the first.
    pub expires_ms: Option<UnixMs>,
    /// Why the last order or renewal failed.
    pub error: Option<String>,
    /// Before the first: since when, what was tried, what fails, when the next try is.
    #[serde(default)]
    pub pending: Option<String>,
    /// When the next try is.
    pub next_ms: Option<UnixMs>,
}

/// The box's own CA.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Trust {
    /// SHA-256 of its root, as browsers show it.
    pub fingerprint: String,
    /// Where the root lies on the box.
    pub file: String,
    /// Where it can be fetched.
    pub url: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a4_a_developer_sees_nothing_of_other_apps() {
        let app = |name: &str| App {
            name: name.into(),
            hosts: vec![format!("{name}.test")],
            ..App::default()
        };
        let attention = |link: &str| Attention {
            level: Urgency::Bad,
            what: String::new(),
            why: String::new(),
            remedy: String::new(),
            link: link.into(),
        };
        let certificate = |host: &str| Certificate {
            host: host.into(),
            ..Certificate::default()
        };
        let all = Overview {
            attention: ["/apps/shop/deploys/3", "/apps/shopping", "/settings", ""]
                .map(attention)
                .into(),
            machine: Some(Machine::default()),
            apps: vec![app("shop"), app("shopping")],
            databases: vec![Database::default()],
            certificates: ["shop.test", "shopping.test"].map(certificate).into(),
            ..Overview::default()
        };
        let seen = all.of_apps(|name| name == "shop");
        assert_eq!(seen.apps.len(), 1);
        assert_eq!(seen.attention.len(), 1);
        assert_eq!(seen.certificates.len(), 1);
        assert!(seen.machine.is_none() && seen.databases.is_empty());
    }
}
