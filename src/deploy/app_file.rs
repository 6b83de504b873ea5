//! `freehold.toml`: an app's own settings, checked when a deploy reads them.
//!
//! The file is optional; a Dockerfile alone is an app with one process `web`.
//! Every mistake names the line, the key and the remedy. What is stored with a
//! release is [`AppFile`] as JSON, so its fields are added to, not changed.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use toml::Spanned;

use crate::base::ids::{ProcessName, VolumeName};
use crate::base::log_share::LogShare;
use crate::base::policies::{Policies, VerifierKey};
use crate::base::protocol::Protocol;
use crate::config::units;

use super::source::{Site, in_the_tree};
use super::words;

/// The port an app is given when neither its file nor its image names one.
pub const DEFAULT_PORT: u16 = 3000;
/// The file's name at the root of an app's tree.
pub const FILE_NAME: &str = "freehold.toml";

/// What an app says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppFile {
    /// Path of the Dockerfile in the tree.
    pub dockerfile: String,
    /// Kinds of containers.
    pub processes: BTreeMap<String, Process>,
    /// Names of commands on a schedule.
    #[serde(default)]
    pub cron: Vec<String>,
    /// Run once per deploy before traffic moves.
    #[serde(default)]
    pub release: Option<Vec<String>>,
    /// How long an old replica may finish what it began.
    #[serde(default)]
    pub drain_ms: Option<u64>,
    /// Volume to the path it is seen at.
    #[serde(default)]
    pub volumes: BTreeMap<String, String>,
    /// Which of its requests are written to the access log, instead of the box's usual share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_log: Option<LogShare>,
    /// The folder of the tree that is the app: no image, no container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub static_folder: Option<String>,
    /// Of such a folder: paths that are no file are its `index.html`'s.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub single_page: bool,
}

/// One kind of container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Instead of the image's command.
    pub command: Option<Vec<String>>,
    /// Where it listens.
    pub port: Option<u16>,
    /// The path that answers when it is well.
    pub health: Option<String>,
    /// How it is spoken to.
    #[serde(default, skip_serializing_if = "Protocol::is_default")]
    pub protocol: Protocol,
    /// Replicas that always run.
    pub min: u32,
    /// Replicas at most.
    pub max: u32,
    /// Memory limit.
    pub memory_bytes: Option<u64>,
    /// Processor limit in billionths of a core.
    pub nano_cpus: Option<u64>,
    /// How long a replica may take to become healthy.
    #[serde(default)]
    pub start_ms: Option<u64>,
    /// Requests a replica takes at once; the edge keeps the others until there is a place.
    #[serde(default)]
    pub concurrency: Option<u32>,
    /// What its routes ask of requests and do to answers.
    #[serde(default, skip_serializing_if = "Policies::is_empty")]
    pub route: Policies,
}

impl Process {
    /// Whether it says nothing but what its routes ask.
    fn is_bare(&self) -> bool {
        let bare = Self {
            route: self.route.clone(),
            min: 1,
            max: 1,
            ..Self::default()
        };
        *self == bare
    }
}

/// A mistake in the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("freehold.toml, line {line}: {why}")]
pub struct Mistake {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong and what to write.
    pub why: String,
}

impl Default for AppFile {
    fn default() -> Self {
        let web = Process {
            min: 1,
            max: 1,
            ..Process::default()
        };
        Self {
            dockerfile: "Dockerfile".into(),
            processes: BTreeMap::from([("web".to_owned(), web)]),
            cron: Vec::new(),
            release: None,
            drain_ms: None,
            volumes: BTreeMap::new(),
            access_log: None,
            static_folder: None,
            single_page: false,
        }
    }
}

impl AppFile {
    /// Reads and checks the file's text.
    ///
    /// # Errors
    /// The first [`Mistake`].
    pub fn parse(text: &str) -> Result<Self, Mistake> {
        let raw: Raw = toml::from_str(text).map_err(|e| Mistake {
            line: line_of(text, e.span()),
            why: plain(e.message()),
        })?;
        check(text, raw)
    }

    /// The same as a folder of files, whatever `[build]` says: somebody said so with the deploy.
    ///
    /// # Errors
    /// A sentence when the file has what only containers can run or keep.
    pub fn as_site(mut self, site: &Site) -> Result<Self, String> {
        let is_bare = |(name, process): (&String, &Process)| name == "web" && process.is_bare();
        let runs = !self.processes.iter().all(is_bare)
            || !self.cron.is_empty()
            || self.release.is_some()
            || !self.volumes.is_empty();
        if runs {
            return Err(format!(
                "this deploy was to be a folder of files, and freehold.toml says otherwise: {STATIC_RUNS_NOTHING}"
            ));
        }
        self.static_folder = Some(site.folder.clone());
        self.single_page = site.single_page.unwrap_or(self.single_page);
        Ok(self)
    }

    /// Puts verifiers in the place of the passwords in policies: before anything of the file is kept.
    pub fn take_in(&mut self, key: &VerifierKey) {
        for process in self.processes.values_mut() {
            process.route.take_in(key);
        }
    }

    /// How long old replicas may finish.
    pub fn drain(&self, default: Duration) -> Duration {
        self.drain_ms.map_or(default, Duration::from_millis)
    }

    /// Gives `web` the port the image names when the file names none.
    pub fn settle_port(&mut self, exposed: &[u16]) {
        if let Some(web) = self.processes.get_mut("web")
            && web.port.is_none()
        {
            web.port = Some(exposed.first().copied().unwrap_or(DEFAULT_PORT));
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    access_log: Option<LogShare>,
    build: Option<RawBuild>,
    processes: Option<BTreeMap<Spanned<String>, RawProcess>>,
    cron: Option<BTreeMap<Spanned<String>, RawCron>>,
    deploy: Option<RawDeploy>,
    volumes: Option<BTreeMap<Spanned<String>, Spanned<String>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBuild {
    dockerfile: Option<Spanned<String>>,
    #[serde(rename = "static")]
    static_folder: Option<Spanned<String>>,
    single_page: Option<Spanned<bool>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawProcess {
    command: Option<Spanned<RawCommand>>,
    port: Option<Spanned<i64>>,
    health: Option<Spanned<String>>,
    protocol: Option<Spanned<String>>,
    replicas: Option<Spanned<RawReplicas>>,
    memory: Option<Spanned<String>>,
    cpus: Option<Spanned<RawCpus>>,
    start_deadline: Option<Spanned<String>>,
    concurrency: Option<Spanned<i64>>,
    route: Option<Spanned<Policies>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCron {
    schedule: Spanned<String>,
    command: Spanned<RawCommand>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDeploy {
    release: Option<Spanned<RawCommand>>,
    drain: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "expected a command such as \"node worker.js\" or a list of words"
)]
enum RawCommand {
    Line(String),
    Words(Vec<String>),
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "expected a number of replicas or { min = 1, max = 4 }"
)]
enum RawReplicas {
    Fixed(i64),
    Range { min: i64, max: i64 },
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a number such as 0.5")]
enum RawCpus {
    Whole(i64),
    Part(f64),
}

/// The parser's words, without the names of our types.
fn plain(message: &str) -> String {
    message
        .trim()
        .replace('\n', " ")
        .replace("expected i64", "expected a whole number without quotes")
}

fn line_of(text: &str, span: Option<Range<usize>>) -> usize {
    let at = span.map_or(0, |s| s.start).min(text.len());
    1 + text.as_bytes()[..at]
        .iter()
        .filter(|b| **b == b'\n')
        .count()
}

/// Turns a refused value into a mistake at its line.
struct At<'a> {
    text: &'a str,
}

impl At<'_> {
    fn wrong<T>(&self, value: &Spanned<T>, why: impl Into<String>) -> Mistake {
        Mistake {
            line: line_of(self.text, Some(value.span())),
            why: why.into(),
        }
    }

    fn command(&self, key: &str, value: Spanned<RawCommand>) -> Result<Vec<String>, Mistake> {
        let span = value.span();
        let wrong = |why: String| Mistake {
            line: line_of(self.text, Some(span.clone())),
            why: format!("{key}: {why}"),
        };
        match value.into_inner() {
            RawCommand::Words(words) if words.iter().any(|w| !w.is_empty()) => Ok(words),
            RawCommand::Words(_) => Err(wrong("it is empty".into())),
            RawCommand::Line(line) => {
                let split = words::split(&line).map_err(wrong)?;
                match words::wants_shell(&split) {
                    Some(word) => Err(wrong(format!(
                        "\"{word}\" needs a shell and there is none in between: write it as [\"sh\", \"-c\", \"…\"]"
                    ))),
                    None => Ok(split),
                }
            }
        }
    }

    fn path(&self, key: &str, value: &Spanned<String>) -> Result<String, Mistake> {
        in_the_tree(value.get_ref()).ok_or_else(|| {
            self.wrong(
                value,
                format!("{key} must be a path inside the repository, such as docker/Dockerfile"),
            )
        })
    }
}

const STATIC_RUNS_NOTHING: &str = "a folder of files (static under [build]) has no containers that could run commands or keep volumes: remove this, or build an image with a Dockerfile instead";

const ROUTE_WITHOUT_FOLDER: &str = "static and single_page of a route are for an app that is a folder of files: add static = \"dist\" under [build], or remove them";

fn check(text: &str, raw: Raw) -> Result<AppFile, Mistake> {
    let at = At { text };
    let mut file = AppFile {
        access_log: raw.access_log,
        ..AppFile::default()
    };
    if let Some(build) = raw.build {
        if let Some(folder) = &build.static_folder {
            if build.dockerfile.is_some() {
                return Err(at.wrong(
                    folder,
                    "static is a folder of files without an image: remove it, or dockerfile",
                ));
            }
            file.static_folder = Some(at.path("static", folder)?);
        }
        if let Some(single_page) = &build.single_page {
            if file.static_folder.is_none() {
                let why =
                    "single_page is for a folder of files: add static = \"dist\", or remove it";
                return Err(at.wrong(single_page, why));
            }
            file.single_page = *single_page.get_ref();
        }
        if let Some(path) = &build.dockerfile {
            file.dockerfile = at.path("dockerfile", path)?;
        }
    }
    if let Some(processes) = raw.processes {
        file.processes.clear();
        for (name, raw) in processes {
            let parsed = ProcessName::parse(name.get_ref()).map_err(|e| at.wrong(&name, e.0))?;
            if let Some(route) = &raw.route
                && file.static_folder.is_none()
                && (route.get_ref().files.is_some() || route.get_ref().single_page.is_some())
            {
                return Err(at.wrong(route, ROUTE_WITHOUT_FOLDER));
            }
            let process = check_process(&at, parsed.as_str(), raw)?;
            if file.static_folder.is_some() && (parsed.as_str() != "web" || !process.is_bare()) {
                return Err(at.wrong(&name, STATIC_RUNS_NOTHING));
            }
            file.processes.insert(parsed.as_str().to_owned(), process);
        }
    }
    for (name, cron) in raw.cron.unwrap_or_default() {
        ProcessName::parse(name.get_ref()).map_err(|e| at.wrong(&name, e.0))?;
        if file.static_folder.is_some() {
            return Err(at.wrong(&name, STATIC_RUNS_NOTHING));
        }
        if cron.schedule.get_ref().split_whitespace().count() != 5 {
            return Err(at.wrong(
                &cron.schedule,
                "schedule has five fields: minute, hour, day, month, weekday, such as \"0 3 * * *\"",
            ));
        }
        at.command("command", cron.command)?;
        file.cron.push(name.into_inner());
    }
    if let Some(deploy) = raw.deploy {
        if let Some(command) = deploy.release {
            if file.static_folder.is_some() {
                return Err(at.wrong(&command, STATIC_RUNS_NOTHING));
            }
            file.release = Some(at.command("release", command)?);
        }
        if let Some(drain) = &deploy.drain {
            let time = units::duration(drain.get_ref()).map_err(|e| at.wrong(drain, e))?;
            if time > Duration::from_secs(15 * 60) {
                return Err(at.wrong(drain, "drain may last 15 minutes at most"));
            }
            file.drain_ms = u64::try_from(time.as_millis()).ok();
        }
    }
    for (name, path) in raw.volumes.unwrap_or_default() {
        let parsed = VolumeName::parse(name.get_ref()).map_err(|e| at.wrong(&name, e.0))?;
        if file.static_folder.is_some() {
            return Err(at.wrong(&name, STATIC_RUNS_NOTHING));
        }
        let target = path.get_ref();
        let good = target.len() > 1
            && target.starts_with('/')
            && !target.split('/').any(|p| p == "..")
            && !target.contains([':', ',']);
        if !good {
            return Err(at.wrong(
                &path,
                "a volume is seen at an absolute path of the container, such as /app/uploads",
            ));
        }
        file.volumes
            .insert(parsed.as_str().to_owned(), target.clone());
    }
    Ok(file)
}

fn check_process(at: &At<'_>, name: &str, raw: RawProcess) -> Result<Process, Mistake> {
    let mut process = Process {
        min: 1,
        max: 1,
        ..Process::default()
    };
    if let Some(command) = raw.command {
        process.command = Some(at.command("command", command)?);
    }
    if let Some(port) = &raw.port {
        let number = u16::try_from(*port.get_ref()).ok().filter(|p| *p > 0);
        process.port =
            Some(number.ok_or_else(|| at.wrong(port, "port is a number from 1 to 65535"))?);
    }
    if let Some(health) = &raw.health {
        let path = health.get_ref();
        let good = path.starts_with('/')
            && path.len() <= 500
            && path.bytes().all(|b| b.is_ascii_graphic());
        if !good {
            return Err(at.wrong(health, "health is a path such as \"/healthz\""));
        }
        if process.port.is_none() && name != "web" {
            return Err(at.wrong(health, "health needs the port it is asked on: add `port`"));
        }
        process.health = Some(path.clone());
    }
    if let Some(protocol) = &raw.protocol {
        let known = Protocol::parse(protocol.get_ref());
        process.protocol = known.ok_or_else(|| {
            at.wrong(
                protocol,
                "protocol is \"http1\", or \"h2c\" for apps that speak HTTP/2 without TLS, such as gRPC servers",
            )
        })?;
        if process.port.is_none() && name != "web" {
            return Err(at.wrong(
                protocol,
                "protocol needs the port it is spoken on: add `port`",
            ));
        }
    }
    if let Some(replicas) = &raw.replicas {
        let (min, max) = match replicas.get_ref() {
            RawReplicas::Fixed(n) => (*n, *n),
            RawReplicas::Range { min, max } => (*min, *max),
        };
        let number = |n: i64| u32::try_from(n).ok().filter(|n| *n <= 50);
        match (number(min), number(max)) {
            (Some(min), Some(max)) if min <= max => (process.min, process.max) = (min, max),
            _ => {
                return Err(at.wrong(replicas, "replicas are from 0 to 50, min not above max"));
            }
        }
    }
    if let Some(memory) = &raw.memory {
        let bytes = units::size(memory.get_ref()).map_err(|e| at.wrong(memory, e))?;
        if bytes < 6 << 20 {
            return Err(at.wrong(memory, "memory is at least 6M"));
        }
        process.memory_bytes = Some(bytes);
    }
    if let Some(cpus) = &raw.cpus {
        #[allow(clippy::cast_precision_loss)]
        let share = match cpus.get_ref() {
            RawCpus::Whole(n) => *n as f64,
            RawCpus::Part(n) => *n,
        };
        if !(0.01..=256.0).contains(&share) {
            return Err(at.wrong(cpus, "cpus is a number from 0.01 to 256"));
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let nano = (share * 1e9).round() as u64;
        process.nano_cpus = Some(nano);
    }
    if let Some(deadline) = &raw.start_deadline {
        let time = units::duration(deadline.get_ref()).map_err(|e| at.wrong(deadline, e))?;
        if !(Duration::from_secs(1)..=Duration::from_secs(600)).contains(&time) {
            return Err(at.wrong(deadline, "start_deadline is from 1s to 10m"));
        }
        process.start_ms = u64::try_from(time.as_millis()).ok();
    }
    if let Some(concurrency) = &raw.concurrency {
        let number = u32::try_from(*concurrency.get_ref()).ok();
        let number = number.filter(|n| (1..=10_000).contains(n));
        process.concurrency = Some(number.ok_or_else(|| {
            at.wrong(
                concurrency,
                "concurrency is how many requests a replica takes at once, from 1 to 10000",
            )
        })?);
    }
    process.route = raw.route.map(Spanned::into_inner).unwrap_or_default();
    Ok(process)
}

#[cfg(test)]
mod tests;
