//! What the checks are told. `None` is a thing that was not looked at.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::base::clock::UnixMs;
use crate::docker::EngineFacts as Told;
use crate::host::{Disk, FirewallFiles, Memory, Modes, Rules};
use crate::wire::overview::{Attention, Certificate};

pub use crate::docker::EngineFacts;

/// All of it.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The container engine.
    pub engine: Option<Engine>,
    /// Who listens where.
    pub ports: Option<Ports>,
    /// The names that should lead here, and where they lead.
    pub names: Vec<Named>,
    /// The box's own addresses.
    pub addresses: Vec<IpAddr>,
    /// The time.
    pub clock: Option<Clock>,
    /// The disk that holds the data.
    pub disk: Option<Disk>,
    /// Memory and swap.
    pub memory: Option<Memory>,
    /// The daemon's file descriptors.
    pub descriptors: Option<Descriptors>,
    /// The firewall's files.
    pub firewall: Option<FirewallFiles>,
    /// Certificates of domains.
    pub certificates: Option<Vec<Certificate>>,
    /// Targets and dumps.
    pub backups: Option<Database>,
    /// Freehold's own database.
    pub database: Option<State>,
    /// Who may read and use what.
    pub permissions: Option<Modes>,
    /// What monitoring says needs attention.
    pub attention: Vec<Attention>,
    /// What could not be read, in sentences.
    pub unread: Vec<String>,
}

/// The container engine.
#[derive(Clone, Debug)]
pub struct Engine {
    /// As the settings name it.
    pub host: String,
    /// What it told, or why it did not.
    pub told: Result<Told, String>,
    /// Bytes free and in all on the disk of its root, where that can be seen.
    pub root: Option<(u64, u64)>,
}

/// What the daemon may have open at once.
#[derive(Clone, Copy, Debug)]
pub struct Descriptors {
    /// Open; `None` where not even one is left to look with.
    pub in_use: Option<u64>,
    /// The limit.
    pub allowed: u64,
    /// Connections the edge takes at once.
    pub connections: u32,
    /// Those of the settings.
    pub wanted: u32,
}

/// Who listens on the ports of the web.
#[derive(Clone, Debug)]
pub struct Ports {
    /// Where the edge listens, or should: plain HTTP, TLS.
    pub wanted: [SocketAddr; 2],
    /// Who holds them for the daemon.
    pub keeper: Keeper,
    /// Everything that listens on those ports.
    pub listening: Vec<Listening>,
}

/// Who keeps the sockets open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeper {
    /// systemd, also while the daemon restarts.
    Systemd,
    /// The daemon alone.
    Daemon,
    /// Nobody: the daemon is away, and so is its socket unit.
    Nobody,
}

/// A listening socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listening {
    /// Where.
    pub address: SocketAddr,
    /// Whose it is.
    pub owner: Owner,
}

/// Whose a socket is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The daemon's, or systemd's for it.
    Ours,
    /// Another program's, by its name.
    Program(String),
    /// Another program's, which this user may not see.
    Hidden,
}

/// A name that should lead here.
#[derive(Clone, Debug)]
pub struct Named {
    /// The name.
    pub host: String,
    /// "the app shop", "the dashboard".
    pub of: String,
    /// Where it leads.
    pub pointing: Pointing,
}

/// Where a name leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pointing {
    /// To these addresses.
    To(Vec<IpAddr>),
    /// Nowhere.
    Nowhere,
    /// Nobody could say; why.
    Unknown(String),
}

/// The time, and who keeps it.
#[derive(Clone, Debug)]
pub struct Clock {
    /// Who keeps it right, and whether they have it: `None` where nobody is seen.
    pub kept: Option<(String, bool)>,
    /// How far it is from a server that Freehold talks to anyway, ahead is positive, and whose.
    pub skew_ms: Option<(i64, String)>,
}

/// What is dumped where.
#[derive(Clone, Debug)]
pub struct Database {
    /// Where dumps may go.
    pub targets: Vec<Target>,
    /// Each database.
    pub dumps: Vec<Dump>,
}

/// A backup target.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its name.
    pub name: String,
    /// Whether it is off this box.
    pub away: bool,
    /// Whether dumps go there.
    pub is_default: bool,
    /// Why the last try failed.
    pub fault: Option<String>,
}

/// The dumps of one database.
#[derive(Clone, Debug)]
pub struct Dump {
    /// The database.
    pub name: String,
    /// When it was made.
    pub born: Option<UnixMs>,
    /// When the last dump was stored.
    pub stored: Option<UnixMs>,
    /// Why the last try failed, if it did.
    pub failed: Option<String>,
}

/// Freehold's own database.
#[derive(Clone, Debug)]
pub struct State {
    /// Where it is.
    pub path: PathBuf,
    /// What SQLite's quick check says, `ok` when all is well; why there is no answer.
    pub check: Result<String, String>,
    /// How long that took.
    pub took: Duration,
    /// Bytes of the write-ahead log.
    pub wal: u64,
    /// Steps of the schema that are done, and those this program knows.
    pub steps: (i64, i64),
}

/// A firewall's rules, for the checks' own files.
pub type FirewallRules = Rules;
