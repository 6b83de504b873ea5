//! Every setting, by section, with its default (PRODUCT's table).
//!
//! `docs/config.toml` shows the same defaults; a test holds the two together.

use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de::Error as _};

use crate::base::cidr::Cidr;
use crate::base::ids::HostName;
use crate::base::log_share::LogShare;

use super::route::ConfiguredRoute;
use super::units::{self, Range};

/// All settings, checked.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `state.db`, `master.key`, `repos/`, `builds/`, `backups/`.
    pub data_dir: PathBuf,
    /// `freehold.sock` and `edge.sock`.
    pub run_dir: PathBuf,
    /// Where the edge listens, unless sockets are handed over.
    pub listen: Listen,
    /// Who stands between the clients and us.
    pub proxies: Proxies,
    /// What is written of requests.
    pub access_log: AccessLog,
    /// The dashboard.
    pub dashboard: Dashboard,
    /// Certificates from an ACME server.
    pub acme: Acme,
    /// Fetching code.
    pub git: Git,
    /// Backup targets.
    pub backup: Backup,
    /// The engine.
    pub docker: Docker,
    /// Routes to what is not an app, from `config.toml` and `routes.d`.
    #[serde(rename = "route")]
    pub routes: Vec<ConfiguredRoute>,
    /// How a replica is judged.
    pub health: Health,
    /// How long what is being replaced may finish.
    pub drain: Drain,
    /// What surrounds a deploy.
    pub deploy: Deploy,
    /// Requests held while paused, or while no replica is reachable.
    pub hold: Hold,
    /// The edge's waits.
    pub timeouts: Timeouts,
    /// What the edge takes.
    pub limits: Limits,
    /// What a build may use.
    pub build: Build,
    /// What every container gets.
    pub container: Container,
    /// What a new managed database gets.
    pub database: Database,
    /// Where our own subnets come from.
    pub network: Network,
    /// Uptime checks.
    pub checks: Checks,
}

/// `[listen]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Listen {
    /// ACME challenges and redirects to https.
    pub http: SocketAddr,
    /// Everything else.
    pub https: SocketAddr,
    /// Whose connections begin with a header of the PROXY protocol.
    #[serde(deserialize_with = "units::de_ranges")]
    pub proxy_protocol: Vec<Cidr>,
}

/// `[proxies]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Proxies {
    /// Whose word about the client of a request counts.
    #[serde(deserialize_with = "units::de_trusted")]
    pub trusted: Vec<Trusted>,
}

/// Somebody who is trusted to say who a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trusted {
    /// `cloudflare`: the ranges that Cloudflare publishes.
    Cloudflare,
    /// A range of addresses.
    Range(Cidr),
}

/// `[access_log]`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccessLog {
    /// Of the requests whose route says nothing of it, and of those that no route is found for.
    pub share: LogShare,
    /// Whether what stands behind the `?` is written, too.
    pub query: bool,
    /// Bytes of a file.
    #[serde(deserialize_with = "units::de_size")]
    pub size: u64,
    /// Files in all.
    pub files: u32,
}

/// `[dashboard]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dashboard {
    /// Its public name; without one it answers at the box's address.
    #[serde(deserialize_with = "host_or_none")]
    pub host: Option<HostName>,
}

/// `[acme]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Acme {
    /// Where the certificate authority writes to; may be empty.
    pub email: String,
    /// The server's directory URL.
    pub directory: String,
    /// An extra root for a private ACME server.
    #[serde(deserialize_with = "units::de_path")]
    pub ca_file: Option<PathBuf>,
    /// DNS server for checks before an order; the system's when `None`.
    #[serde(deserialize_with = "resolver_or_none")]
    pub resolver: Option<SocketAddr>,
}

/// `[git]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Git {
    /// An extra root for a private git host.
    #[serde(deserialize_with = "units::de_path")]
    pub ca_file: Option<PathBuf>,
}

/// `[backup]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Backup {
    /// An extra root for a private S3 store.
    #[serde(deserialize_with = "units::de_path")]
    pub ca_file: Option<PathBuf>,
}

/// `[docker]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Docker {
    /// The engine's address: a unix socket.
    pub host: String,
}

/// `[health]`: HTTP GET of `health` (200 to 399), else TCP on the port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Health {
    /// Between checks while starting.
    #[serde(deserialize_with = "units::de_duration")]
    pub starting_interval: Duration,
    /// Between checks after.
    #[serde(deserialize_with = "units::de_duration")]
    pub interval: Duration,
    /// Good answers until healthy.
    pub healthy_after: u32,
    /// Bad answers until unhealthy.
    pub unhealthy_after: u32,
    /// The longest start.
    #[serde(deserialize_with = "units::de_duration")]
    pub start_deadline: Duration,
}

/// `[drain]`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Drain {
    /// Of a replica.
    #[serde(deserialize_with = "units::de_duration_or_none")]
    pub replica: Duration,
    /// Of the daemon on restart.
    #[serde(deserialize_with = "units::de_duration_or_none")]
    pub daemon: Duration,
}

/// `[deploy]`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Deploy {
    /// The old release comes back when the new one dies within this.
    #[serde(deserialize_with = "units::de_duration_or_none")]
    pub watch: Duration,
    /// Releases kept an app.
    pub releases_kept: u32,
}

/// `[hold]`: bodies stay unread meanwhile; then 503 with Retry-After.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Hold {
    /// How long.
    #[serde(deserialize_with = "units::de_duration_or_none")]
    pub time: Duration,
    /// How many an app.
    pub requests: u32,
}

/// `[timeouts]`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timeouts {
    /// For a client to send its header.
    #[serde(deserialize_with = "units::de_duration")]
    pub header: Duration,
    /// For an idle connection.
    #[serde(deserialize_with = "units::de_duration")]
    pub idle: Duration,
    /// For a connection to an upstream.
    #[serde(deserialize_with = "units::de_duration")]
    pub connect: Duration,
    /// For an upstream's answer.
    #[serde(deserialize_with = "units::de_duration")]
    pub answer: Duration,
}

/// `[limits]`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Bytes of a header block.
    #[serde(deserialize_with = "units::de_size")]
    pub header_block: u64,
    /// Bytes of a URI.
    #[serde(deserialize_with = "units::de_size")]
    pub uri: u64,
    /// Bytes of a body.
    #[serde(deserialize_with = "units::de_size")]
    pub body: u64,
    /// Connections an IPv4 address, or an IPv6 /64.
    pub connections_per_address: u32,
    /// New connections of one of these, a second; those of four seconds at once.
    pub new_connections_per_address: u32,
    /// Connections in all.
    pub connections: u32,
    /// Requests of the API that read, a minute and caller.
    pub api_reads: u32,
    /// Requests of the API that change something, a minute and caller.
    pub api_changes: u32,
}

/// `[build]`
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Build {
    /// Memory of a build in bytes; half of the box's when `None`.
    #[serde(deserialize_with = "units::de_half_or_size")]
    pub memory: Option<u64>,
    /// Cores a build may use; all when `None`.
    #[serde(deserialize_with = "units::de_all_or_cpus")]
    pub cpus: Option<f64>,
    /// Its share of busy cores, as the kernel counts it: 100 is everybody's.
    pub cpu_weight: u32,
    /// Builds at once.
    pub at_once: u32,
    /// The longest build.
    #[serde(deserialize_with = "units::de_duration")]
    pub deadline: Duration,
    /// Free disk without which no build starts.
    #[serde(deserialize_with = "units::de_size")]
    pub free_disk: u64,
    /// Free memory without which no build starts.
    #[serde(deserialize_with = "units::de_size")]
    pub free_memory: u64,
    /// The largest folder that is sent to be built.
    #[serde(deserialize_with = "units::de_size")]
    pub upload: u64,
    /// What builds of ours leave in the engine's build cache at most.
    #[serde(deserialize_with = "units::de_size")]
    pub cache: u64,
}

/// `[container]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Container {
    /// Bytes of a log file.
    #[serde(deserialize_with = "units::de_size")]
    pub log_size: u64,
    /// Log files kept.
    pub log_files: u32,
    /// Processes at once.
    pub pids: u32,
    /// The first wait before a restart.
    #[serde(deserialize_with = "units::de_duration")]
    pub restart_first: Duration,
    /// The longest wait before a restart.
    #[serde(deserialize_with = "units::de_duration")]
    pub restart_longest: Duration,
    /// Capabilities taken from the engine's default set.
    pub drop_capabilities: Vec<String>,
    /// Whether setuid programs gain nothing inside.
    pub no_new_privileges: bool,
}

/// `[database]`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Database {
    /// Major version.
    pub version: u32,
    /// Memory in bytes.
    #[serde(deserialize_with = "units::de_size")]
    pub memory: u64,
    /// The hour after which the daily dump falls, box time; the minute is each database's own.
    pub dump_after_hour: u32,
    /// Daily dumps kept.
    pub keep_daily: u32,
    /// Weekly dumps kept.
    pub keep_weekly: u32,
    /// Monthly dumps kept.
    pub keep_monthly: u32,
}

/// `[network]`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Network {
    /// The range all of ours are cut from.
    #[serde(deserialize_with = "units::de_range")]
    pub subnets: Range,
    /// Prefix length of each.
    pub prefix: u8,
}

/// `[checks]`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Checks {
    /// Between checks.
    #[serde(deserialize_with = "units::de_duration")]
    pub every: Duration,
    /// Quick rechecks before an incident is opened.
    pub rechecks: u32,
    /// The longest a check may take.
    #[serde(deserialize_with = "units::de_duration")]
    pub timeout: Duration,
}

fn host_or_none<'de, D: Deserializer<'de>>(from: D) -> Result<Option<HostName>, D::Error> {
    let text = String::deserialize(from)?;
    if text.is_empty() {
        return Ok(None);
    }
    HostName::parse(&text).map(Some).map_err(D::Error::custom)
}

fn resolver_or_none<'de, D: Deserializer<'de>>(from: D) -> Result<Option<SocketAddr>, D::Error> {
    let text = String::deserialize(from)?;
    if text.is_empty() {
        return Ok(None);
    }
    let bare = text.parse().map(|ip| SocketAddr::new(ip, 53));
    bare.or_else(|_| text.parse()).map(Some).map_err(|_| {
        D::Error::custom(format!(
            "\"{text}\" is not the address of a DNS server: write it like \"9.9.9.9\" or \"127.0.0.1:8053\""
        ))
    })
}

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("/var/lib/freehold"),
            run_dir: PathBuf::from("/run/freehold"),
            listen: Listen::default(),
            proxies: Proxies::default(),
            access_log: AccessLog::default(),
            dashboard: Dashboard::default(),
            acme: Acme::default(),
            git: Git::default(),
            backup: Backup::default(),
            docker: Docker::default(),
            routes: Vec::new(),
            health: Health::default(),
            drain: Drain::default(),
            deploy: Deploy::default(),
            hold: Hold::default(),
            timeouts: Timeouts::default(),
            limits: Limits::default(),
            build: Build::default(),
            container: Container::default(),
            database: Database::default(),
            network: Network::default(),
            checks: Checks::default(),
        }
    }
}

impl Default for Listen {
    fn default() -> Self {
        let any = |port| SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        Self {
            http: any(80),
            https: any(443),
            proxy_protocol: Vec::new(),
        }
    }
}

impl Default for AccessLog {
    fn default() -> Self {
        Self {
            share: LogShare::ALL,
            query: false,
            size: 10 << 20,
            files: 5,
        }
    }
}

impl Default for Acme {
    fn default() -> Self {
        Self {
            email: String::new(),
            directory: "https://acme-v02.api.letsencrypt.org/directory".into(),
            ca_file: None,
            resolver: None,
        }
    }
}

impl Default for Docker {
    fn default() -> Self {
        Self {
            host: "unix:///var/run/docker.sock".into(),
        }
    }
}

impl Default for Health {
    fn default() -> Self {
        Self {
            starting_interval: secs(1),
            interval: secs(5),
            healthy_after: 1,
            unhealthy_after: 3,
            start_deadline: secs(60),
        }
    }
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            replica: secs(30),
            daemon: secs(5),
        }
    }
}

impl Default for Deploy {
    fn default() -> Self {
        Self {
            watch: secs(60),
            releases_kept: 5,
        }
    }
}

impl Default for Hold {
    fn default() -> Self {
        Self {
            time: secs(30),
            requests: 1_000,
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            header: secs(10),
            idle: secs(60),
            connect: secs(2),
            answer: secs(60),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_block: 32 << 10,
            uri: 8 << 10,
            body: 100 << 20,
            connections_per_address: 256,
            new_connections_per_address: 64,
            connections: 20_000,
            api_reads: 600,
            api_changes: 120,
        }
    }
}

impl Default for Build {
    fn default() -> Self {
        Self {
            memory: None,
            cpus: None,
            cpu_weight: 20,
            at_once: 1,
            deadline: secs(30 * 60),
            free_disk: 2 << 30,
            free_memory: 256 << 20,
            upload: 2 << 30,
            cache: 3 << 30,
        }
    }
}

impl Default for Container {
    fn default() -> Self {
        Self {
            log_size: 10 << 20,
            log_files: 3,
            pids: 512,
            restart_first: secs(1),
            restart_longest: secs(5 * 60),
            drop_capabilities: vec!["NET_RAW".into(), "MKNOD".into()],
            no_new_privileges: true,
        }
    }
}

impl Default for Database {
    fn default() -> Self {
        Self {
            version: 17,
            memory: 512 << 20,
            dump_after_hour: 2,
            keep_daily: 7,
            keep_weekly: 4,
            keep_monthly: 12,
        }
    }
}

impl Default for Network {
    fn default() -> Self {
        Self {
            subnets: Range {
                base: std::net::Ipv4Addr::new(10, 83, 0, 0),
                prefix: 16,
            },
            prefix: 26,
        }
    }
}

impl Default for Checks {
    fn default() -> Self {
        Self {
            every: secs(30),
            rechecks: 2,
            timeout: secs(10),
        }
    }
}
