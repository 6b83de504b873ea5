//! Reads `config.toml` and `routes.d/*.toml`, and checks what types alone cannot.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::{ConfigError, line_at};
use super::route::ConfiguredRoute;
use super::settings::{Config, Trusted};
use crate::base::cidr::Cidr;

/// No settings file is larger.
const LARGEST: u64 = 1 << 20;

/// A file of `routes.d`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RoutesFile {
    #[serde(default)]
    route: Vec<ConfiguredRoute>,
}

/// Where each route was written, to name both places when one is written twice.
#[derive(Deserialize)]
struct Places {
    #[serde(default)]
    route: Vec<toml::Spanned<toml::Value>>,
}

/// The files as they were read, in the order they count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sources {
    main: Option<(PathBuf, String)>,
    routes: Vec<(PathBuf, String)>,
}

impl Config {
    /// The folder of further routes that belongs to the settings file `file`.
    pub fn routes_d(file: &Path) -> PathBuf {
        file.with_file_name("routes.d")
    }

    /// Reads `file` and the `*.toml` files of `routes_d`. A missing file or
    /// folder counts as empty.
    ///
    /// # Errors
    /// The first mistake, with file, line, key and remedy.
    pub fn load(file: &Path, routes_d: &Path) -> Result<Self, ConfigError> {
        Sources::read(file, routes_d)?.parse()
    }
}

impl Sources {
    /// Reads the files, without a look at what they say.
    pub(super) fn read(file: &Path, routes_d: &Path) -> Result<Self, ConfigError> {
        let mut routes = Vec::new();
        for path in toml_files(routes_d)? {
            if let Some(text) = text_of(&path)? {
                routes.push((path, text));
            }
        }
        Ok(Self {
            main: text_of(file)?.map(|text| (file.to_owned(), text)),
            routes,
        })
    }

    /// Each file's text under what its settings are called by: nothing for the settings file itself.
    pub(super) fn texts(&self) -> impl Iterator<Item = (String, &str)> {
        let main = self
            .main
            .iter()
            .map(|(_, text)| (String::new(), text.as_str()));
        let routes = self.routes.iter().map(|(path, text)| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            (format!("routes.d/{name}: "), text.as_str())
        });
        main.chain(routes)
    }

    /// As if these texts had been read.
    #[cfg(freehold_fuzz)]
    pub(super) fn of_text(main: &str, routes: &str) -> Self {
        Self {
            main: Some((PathBuf::from("config.toml"), main.to_owned())),
            routes: vec![(PathBuf::from("routes.d/more.toml"), routes.to_owned())],
        }
    }

    /// What they say, checked.
    pub(super) fn parse(&self) -> Result<Config, ConfigError> {
        let mut config = Config::default();
        let mut places = Vec::new();
        if let Some((file, text)) = &self.main {
            config = toml::from_str(text).map_err(|e| ConfigError::from_toml(file, text, &e))?;
            check(&config, file, text)?;
            places.extend(places_in(file, text));
        }
        for (file, text) in &self.routes {
            let more: RoutesFile =
                toml::from_str(text).map_err(|e| ConfigError::from_toml(file, text, &e))?;
            config.routes.extend(more.route);
            places.extend(places_in(file, text));
        }
        refuse_twice(&config.routes, &places)?;
        Ok(config)
    }
}

fn text_of(path: &Path) -> Result<Option<String>, ConfigError> {
    let unreadable = |e: &std::io::Error| ConfigError::unreadable(path, e);
    match std::fs::metadata(path) {
        Ok(found) if found.len() > LARGEST => {
            return Err(unreadable(&std::io::Error::other("it is larger than 1 MB")));
        }
        Ok(_) => {}
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(unreadable(&e)),
    }
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(unreadable(&e)),
    }
}

/// The `*.toml` files of the folder by name; editors' hidden copies are left out.
fn toml_files(folder: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(ConfigError::unreadable(folder, &e)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry
            .map_err(|e| ConfigError::unreadable(folder, &e))?
            .path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.ends_with(".toml") && !name.starts_with('.') {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn places_in(file: &Path, text: &str) -> Vec<(PathBuf, usize)> {
    let spans = toml::from_str::<Places>(text)
        .map(|p| p.route)
        .unwrap_or_default();
    spans
        .iter()
        .map(|route| (file.to_owned(), line_at(text, route.span().start)))
        .collect()
}

/// The same host and path twice: which one would answer is not for us to guess.
fn refuse_twice(
    routes: &[ConfiguredRoute],
    places: &[(PathBuf, usize)],
) -> Result<(), ConfigError> {
    let mut seen: HashMap<(&str, &str), usize> = HashMap::new();
    for (at, route) in routes.iter().enumerate() {
        let Some(first) = seen.insert((route.host.as_str(), &route.path), at) else {
            continue;
        };
        let place = |at: usize| places.get(at).cloned().unwrap_or_default();
        let (file, line) = place(at);
        let (other, other_line) = place(first);
        return Err(ConfigError {
            file,
            line: Some(line),
            key: Some("route".into()),
            what: format!(
                "a route for {}{} is already in {} line {other_line}",
                route.host,
                if route.path == "/" { "" } else { &route.path },
                other.display()
            ),
            remedy: "Remove one of the two.".into(),
        });
    }
    Ok(())
}

/// One rule: what must hold, for which setting, and what to do otherwise.
type Rule = (bool, &'static str, &'static str, &'static str, &'static str);

fn rules(c: &Config) -> Vec<Rule> {
    let directory = url::Url::parse(&c.acme.directory)
        .is_ok_and(|url| url.scheme() == "https" && url.host().is_some());
    let subnets = c.network.subnets.cidr();
    let apps_are_in = |range: &Cidr| range.overlaps(&subnets);
    let capability = |name: &String| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_')
    };
    vec![
        (
            c.data_dir.is_absolute(),
            "",
            "data_dir",
            "it is not a full path",
            "Begin it with /.",
        ),
        (
            c.run_dir.is_absolute(),
            "",
            "run_dir",
            "it is not a full path",
            "Begin it with /.",
        ),
        (
            c.listen.http.port() != c.listen.https.port() || c.listen.http.port() == 0,
            "listen",
            "https",
            "it is the same port as `listen.http`",
            "Give the two different ports.",
        ),
        (
            !c.listen.proxy_protocol.iter().any(apps_are_in),
            "listen",
            "proxy_protocol",
            "it holds addresses of `network.subnets`, which apps have: any of them could say to be somebody else",
            "Name the addresses of your proxies alone, such as \"192.0.2.7\".",
        ),
        (
            !c.proxies
                .trusted
                .iter()
                .any(|one| matches!(one, Trusted::Range(range) if apps_are_in(range))),
            "proxies",
            "trusted",
            "it holds addresses of `network.subnets`, which apps have: any of them could say to be somebody else",
            "Name the addresses of your proxies alone, such as \"192.0.2.7\".",
        ),
        (
            directory,
            "acme",
            "directory",
            "it is not an https address",
            "Write the directory URL of the ACME server.",
        ),
        (
            c.acme.email.is_empty() || (c.acme.email.contains('@') && c.acme.email.len() <= 254),
            "acme",
            "email",
            "it is not an e-mail address",
            "Write one like me@example.com, or leave it empty.",
        ),
        (
            (64 << 10..=10 << 30).contains(&c.access_log.size),
            "access_log",
            "size",
            "it is not between 64K and 10G",
            "The default is 10MB.",
        ),
        (
            (1..=100).contains(&c.access_log.files),
            "access_log",
            "files",
            "it is not between 1 and 100",
            "The default is 5.",
        ),
        (
            c.docker.host.starts_with("unix:///"),
            "docker",
            "host",
            "it is not a unix socket",
            "Write it like unix:///var/run/docker.sock.",
        ),
        (
            (1..=100).contains(&c.health.healthy_after),
            "health",
            "healthy_after",
            "it is not between 1 and 100",
            "The default is 1.",
        ),
        (
            (1..=100).contains(&c.health.unhealthy_after),
            "health",
            "unhealthy_after",
            "it is not between 1 and 100",
            "The default is 3.",
        ),
        (
            (2..=1_000).contains(&c.deploy.releases_kept),
            "deploy",
            "releases_kept",
            "it is not between 2 and 1000",
            "A rollback needs at least the release before; the default is 5.",
        ),
        (
            (4 << 10..=1 << 20).contains(&c.limits.header_block),
            "limits",
            "header_block",
            "it is not between 4K and 1M",
            "The default is 32KB.",
        ),
        (
            (1 << 10..=64 << 10).contains(&c.limits.uri),
            "limits",
            "uri",
            "it is not between 1K and 64K",
            "The default is 8KB.",
        ),
        (
            c.limits.connections_per_address >= 1,
            "limits",
            "connections_per_address",
            "nobody could connect",
            "The default is 256.",
        ),
        (
            c.limits.new_connections_per_address >= 1,
            "limits",
            "new_connections_per_address",
            "nobody could connect",
            "The default is 64.",
        ),
        (
            c.limits.connections >= c.limits.connections_per_address,
            "limits",
            "connections",
            "it is less than `limits.connections_per_address`",
            "The default is 20000.",
        ),
        (
            c.limits.api_reads >= 60,
            "limits",
            "api_reads",
            "fewer than 60 a minute leave no room for a list and what it names",
            "The default is 600.",
        ),
        (
            c.limits.api_changes >= 10,
            "limits",
            "api_changes",
            "fewer than 10 a minute leave no room for a deploy",
            "The default is 120.",
        ),
        (
            c.build.memory.is_none_or(|m| m >= 64 << 20),
            "build",
            "memory",
            "no build fits into less than 64M",
            "Write \"half\" or a larger size.",
        ),
        (
            (1..=10_000).contains(&c.build.cpu_weight),
            "build",
            "cpu_weight",
            "it is not between 1 and 10000",
            "The default is 20; 100 is everybody's share.",
        ),
        (
            (1..=16).contains(&c.build.at_once),
            "build",
            "at_once",
            "it is not between 1 and 16",
            "The default is 1.",
        ),
        (
            c.build.upload >= 1 << 20,
            "build",
            "upload",
            "no folder fits into less than 1M",
            "The default is 2G.",
        ),
        (
            c.container.log_size >= 64 << 10,
            "container",
            "log_size",
            "it is less than 64K",
            "The default is 10MB.",
        ),
        (
            (1..=100).contains(&c.container.log_files),
            "container",
            "log_files",
            "it is not between 1 and 100",
            "The default is 3.",
        ),
        (
            c.container.pids >= 16,
            "container",
            "pids",
            "hardly any program runs with fewer than 16",
            "The default is 512.",
        ),
        (
            c.container.restart_first <= c.container.restart_longest,
            "container",
            "restart_first",
            "it is longer than `container.restart_longest`",
            "The defaults are 1s and 5m.",
        ),
        (
            c.container.drop_capabilities.iter().all(capability),
            "container",
            "drop_capabilities",
            "a capability is written in capitals without CAP_",
            "The default is [\"NET_RAW\", \"MKNOD\"].",
        ),
        (
            (13..=99).contains(&c.database.version),
            "database",
            "version",
            "it is not a version of Postgres that is looked after",
            "The default is 17.",
        ),
        (
            c.database.memory >= 64 << 20,
            "database",
            "memory",
            "Postgres needs at least 64M",
            "The default is 512M.",
        ),
        (
            c.database.dump_after_hour <= 23,
            "database",
            "dump_after_hour",
            "it is not an hour from 0 to 23",
            "The default is 2.",
        ),
        (
            c.database.keep_daily >= 1,
            "database",
            "keep_daily",
            "the newest dump is always kept",
            "Write 1 or more; the default is 7.",
        ),
        (
            c.network.prefix > c.network.subnets.prefix && c.network.prefix <= 29,
            "network",
            "prefix",
            "it must be longer than that of `network.subnets`, and at most 29",
            "The default is 26.",
        ),
        (
            c.checks.rechecks <= 10,
            "checks",
            "rechecks",
            "it is more than 10",
            "The default is 2.",
        ),
        (
            c.checks.every.as_secs() >= 1,
            "checks",
            "every",
            "it is less than a second",
            "The default is 30s.",
        ),
    ]
}

fn check(config: &Config, file: &Path, text: &str) -> Result<(), ConfigError> {
    for (holds, section, key, what, remedy) in rules(config) {
        if !holds {
            return Err(ConfigError::at(file, text, section, key, what, remedy));
        }
    }
    Ok(())
}
