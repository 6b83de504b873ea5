//! What one container should be: the caller's wish, complete enough to be made
//! again from nothing.
//!
//! A spec is stored sealed (its env holds secrets) and never printed whole.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::protocol::Protocol;

/// What a container is for. Decides who brings it back and what is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A running copy of an app's process.
    Replica,
    /// Runs to its end once: release command, dump, restore, cron.
    Job,
    /// A managed database server.
    Database,
    /// A short-lived helper server, such as the one a drill restores into.
    Scratch,
}

impl Kind {
    /// Whom a box that is out of memory loses first, as the kernel's `oom_score_adj`: work that can be done
    /// again, then apps, which come back by themselves, and the databases that all of them need last. The
    /// daemon's own is below all of these (`freehold.service`).
    fn oom_score(self) -> i32 {
        match self {
            Self::Job | Self::Scratch => 500,
            Self::Replica => 200,
            Self::Database => 0,
        }
    }

    /// The word used in labels and rows.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Replica => "replica",
            Self::Job => "job",
            Self::Database => "database",
            Self::Scratch => "scratch",
        }
    }

    /// The kind that `word` names.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Replica, Self::Job, Self::Database, Self::Scratch]
            .into_iter()
            .find(|k| k.as_str() == word)
    }
}

/// How to tell that a container does its work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Running is healthy enough (workers without a port).
    None,
    /// GET of this path on `port` answers 200 to 399.
    Http {
        /// Such as `/healthz`.
        path: String,
        /// How it is asked.
        #[serde(default, skip_serializing_if = "Protocol::is_default")]
        protocol: Protocol,
    },
    /// `port` accepts a connection.
    Tcp,
    /// This command inside the container ends with 0.
    Exec(Vec<String>),
}

/// What becomes of standard output and error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Log {
    /// Kept by the engine, 10 MB three times.
    Capped,
    /// Not kept; only an attached reader sees it (dumps).
    None,
}

/// A volume of ours seen inside a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Its name as given to `ensure_volume`.
    pub volume: String,
    /// Where it is seen, an absolute path.
    pub path: String,
    /// Whether it may only be read.
    #[serde(default)]
    pub read_only: bool,
    /// Whether it must be there already: what is in it belongs to another, such as a server's socket.
    // Left out where it is false: specs are compared by their stored text.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub existing: bool,
}

/// What lies here is made anew at every start, so a volume in its place has nothing to lose.
const RUNTIME: [&str; 2] = ["/run/", "/var/run/"];

/// One desired container.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// Unique among this installation's containers: `tasks-web-v3-1`. Lower-case
    /// letters, digits, hyphens, at most 100.
    pub name: String,
    /// What it is for.
    pub kind: Kind,
    /// Whose it is: `app:7`, `database:3`.
    pub owner: String,
    /// The app's process, for replicas.
    pub process: Option<String>,
    /// The app's release number, for replicas and release commands.
    pub release: Option<i64>,
    /// An image reference or id that the engine has.
    pub image: String,
    /// Instead of the image's entrypoint; empty means none at all.
    pub entrypoint: Option<Vec<String>>,
    /// Instead of the image's command.
    pub command: Option<Vec<String>>,
    /// The environment, byte for byte.
    pub env: BTreeMap<String, String>,
    /// Names as given to `ensure_network`; the first gives `Live::address`.
    /// Empty means no network at all.
    pub networks: Vec<String>,
    /// Further names under which others in its networks find it.
    pub aliases: Vec<String>,
    /// Volumes.
    pub volumes: Vec<Mount>,
    /// Paths that live in memory, with a size each.
    pub tmpfs: BTreeMap<String, u64>,
    /// Memory limit; swap is not added to it.
    pub memory_bytes: Option<u64>,
    /// Processor limit in billionths of a core.
    pub nano_cpus: Option<u64>,
    /// Process limit.
    pub pids: u32,
    /// Size of /dev/shm; the engine's 64 MB when not given.
    pub shm_bytes: Option<u64>,
    /// The kernel's preference when memory ends: -1000 (spare) to 1000 (take).
    pub oom_score: i32,
    /// The port it listens on.
    pub port: Option<u16>,
    /// How to tell that it works.
    pub health: Health,
    /// Until when it must be healthy after its start.
    pub start_deadline: Duration,
    /// Between the stop signal and SIGKILL.
    pub stop_grace: Duration,
    /// Instead of the image's stop signal, such as `SIGINT`.
    pub stop_signal: Option<String>,
    /// What becomes of its output.
    pub log: Log,
    /// Whether it is brought back when it ends.
    pub restart: bool,
    /// Instead of the image's user.
    pub user: Option<String>,
    /// Instead of the image's working directory.
    pub working_dir: Option<String>,
}

impl Spec {
    /// A spec with the product's defaults: no network, 512 processes, capped
    /// log, no restart, 60 s to start, 10 s to stop.
    pub fn new(
        kind: Kind,
        name: impl Into<String>,
        owner: impl Into<String>,
        image: impl Into<String>,
    ) -> Self {
        Self {
            name: name.into(),
            kind,
            owner: owner.into(),
            process: None,
            release: None,
            image: image.into(),
            entrypoint: None,
            command: None,
            env: BTreeMap::new(),
            networks: Vec::new(),
            aliases: Vec::new(),
            volumes: Vec::new(),
            tmpfs: BTreeMap::new(),
            memory_bytes: None,
            nano_cpus: None,
            pids: 512,
            shm_bytes: None,
            oom_score: kind.oom_score(),
            port: None,
            health: Health::None,
            start_deadline: Duration::from_secs(60),
            stop_grace: Duration::from_secs(10),
            stop_signal: None,
            log: Log::Capped,
            restart: matches!(kind, Kind::Replica | Kind::Database),
            user: None,
            working_dir: None,
        }
    }
}

impl Spec {
    /// Whether this volume may be made with the container. Not the data of a database: whoever wants
    /// the server makes it once, and should it be gone (a disk that is not mounted), an empty one in its
    /// place would pass for the database.
    pub(super) fn may_make(&self, mount: &Mount) -> bool {
        match self.kind {
            Kind::Database => RUNTIME.iter().any(|folder| mount.path.starts_with(folder)),
            _ => !mount.existing,
        }
    }
}

impl fmt::Debug for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spec")
            .field("name", &self.name)
            .field("kind", &self.kind)
            .field("owner", &self.owner)
            .field("image", &self.image)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n7_a_box_out_of_memory_loses_its_databases_last() {
        let score = |kind| Spec::new(kind, "n", "o", "i").oom_score;
        assert!(score(Kind::Job) > score(Kind::Replica));
        assert!(score(Kind::Replica) > score(Kind::Database));
    }

    #[test]
    fn a_spec_never_prints_its_environment() {
        let mut spec = Spec::new(Kind::Replica, "tasks-web-v1-1", "app:1", "tasks:1");
        spec.env.insert("DATABASE_URL".into(), "hunter2".into());
        assert!(!format!("{spec:?}").contains("hunter2"));
    }

    #[test]
    fn f3_a_databases_data_is_never_made_anew_and_old_specs_keep_their_text() {
        let mount = |path: &str, existing| Mount {
            volume: "v".into(),
            path: path.into(),
            read_only: false,
            existing,
        };
        let data = mount("/var/lib/postgresql/data", false);
        let socket = mount("/var/run/postgresql", false);
        let spec = |kind| Spec::new(kind, "x", "database:3", "postgres:17");
        assert!(!spec(Kind::Database).may_make(&data));
        assert!(spec(Kind::Database).may_make(&socket));
        assert!(spec(Kind::Replica).may_make(&data));
        assert!(!spec(Kind::Job).may_make(&mount("/var/run/postgresql", true)));
        let text = serde_json::to_string(&data).unwrap();
        assert!(!text.contains("existing"), "{text}");
        assert_eq!(serde_json::from_str::<Mount>(&text).unwrap(), data);
    }

    #[test]
    fn kinds_survive_their_words() {
        for kind in [Kind::Replica, Kind::Job, Kind::Database, Kind::Scratch] {
            assert_eq!(Kind::parse(kind.as_str()), Some(kind));
        }
    }
}
