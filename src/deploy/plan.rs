//! Which containers a release wants, decided purely.
//!
//! A replica's name is `<app>-<process>-v<release>-d<deploy>-<n>`: the deploy in
//! it tells its containers from those of every other deploy of the same
//! release, so they are found again by name after a crash.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::base::secret::Secret;
use crate::supervise::{Health, Kind, Mount, Spec};

use super::app_file::{AppFile, Process};
use super::ports::Scale;
use super::static_folder::Files;

/// What the containers of one deploy are made of.
#[derive(Clone, Debug)]
pub(super) struct Making<'a> {
    pub app: i64,
    pub app_name: &'a str,
    pub deploy: i64,
    pub number: i64,
    pub image: &'a str,
    pub settings: &'a AppFile,
    pub scale: &'a BTreeMap<String, Scale>,
    /// The release's own environment.
    pub env: &'a BTreeMap<String, Secret>,
    /// What comes from attached databases; the app's own wins.
    pub attached: &'a BTreeMap<String, Secret>,
    pub networks: &'a [String],
    pub start_deadline: Duration,
    pub stop_grace: Duration,
    pub pids: u32,
}

/// The app's own network.
pub(super) fn network(app: i64) -> String {
    format!("app-{app}")
}

/// The app's own volume of this name.
pub(super) fn volume(app: i64, name: &str) -> String {
    format!("app-{app}-{name}")
}

/// Whose a container is, as in its owner.
pub(super) fn owner(app: i64) -> String {
    format!("app:{app}")
}

/// The deploy that made the container of this name.
pub(super) fn deploy_of(name: &str) -> Option<i64> {
    let mut parts = name.rsplit('-');
    let _last = parts.next()?;
    parts.next()?.strip_prefix('d')?.parse().ok()
}

/// How many replicas of each process should run.
pub(super) fn counts(settings: &AppFile, scale: &BTreeMap<String, Scale>) -> BTreeMap<String, u32> {
    settings
        .processes
        .iter()
        .map(|(name, process)| {
            let set = scale.get(name).and_then(|s| s.min);
            (name.clone(), set.unwrap_or(process.min))
        })
        .collect()
}

impl Making<'_> {
    fn name(&self, process: &str, n: u32) -> String {
        format!(
            "{}-{process}-v{}-d{}-{n}",
            self.app_name, self.number, self.deploy
        )
    }

    /// The release command's container, if there is one.
    pub(super) fn release_command(&self) -> Option<Spec> {
        let command = self.settings.release.clone()?;
        let name = format!(
            "{}-release-v{}-d{}-0",
            self.app_name, self.number, self.deploy
        );
        let mut spec = self.spec(Kind::Job, name, "release");
        spec.command = Some(command);
        spec.restart = false;
        // It may migrate with more than a replica serves with.
        let largest = self.settings.processes.keys().filter_map(|name| {
            let process = self.settings.processes.get(name)?;
            self.limits(name, process).0
        });
        spec.memory_bytes = largest.max();
        Some(spec)
    }

    /// A one-off container with the app's image, env, networks and volumes.
    pub(super) fn one_off(&self, id: &str, command: Vec<String>) -> Spec {
        let name = format!("{}-run-{id}", self.app_name);
        let mut spec = self.spec(Kind::Job, name, "run");
        spec.command = Some(command);
        spec.restart = false;
        spec
    }

    /// Every replica, in the order they are started.
    pub(super) fn replicas(&self) -> Vec<Spec> {
        if Files::parse(self.image).is_some() {
            return Vec::new();
        }
        let counts = counts(self.settings, self.scale);
        let mut all = Vec::new();
        for (name, process) in &self.settings.processes {
            for n in 1..=counts.get(name).copied().unwrap_or(0) {
                all.push(self.replica(name, process, n));
            }
        }
        all
    }

    fn replica(&self, name: &str, process: &Process, n: u32) -> Spec {
        let mut spec = self.spec(Kind::Replica, self.name(name, n), name);
        spec.process = Some(name.to_owned());
        spec.command.clone_from(&process.command);
        (spec.memory_bytes, spec.nano_cpus) = self.limits(name, process);
        spec.port = process.port;
        if let Some(ms) = process.start_ms {
            spec.start_deadline = Duration::from_millis(ms);
        }
        spec.health = match (&process.health, process.port) {
            (Some(path), Some(_)) => Health::Http {
                path: path.clone(),
                protocol: process.protocol,
            },
            (None, Some(_)) => Health::Tcp,
            _ => Health::None,
        };
        if let Some(port) = process.port {
            spec.env.insert("PORT".into(), port.to_string());
        }
        spec
    }

    fn limits(&self, name: &str, process: &Process) -> (Option<u64>, Option<u64>) {
        let scale = self.scale.get(name).copied().unwrap_or_default();
        (
            scale.memory_bytes.or(process.memory_bytes),
            scale.nano_cpus.or(process.nano_cpus),
        )
    }

    fn spec(&self, kind: Kind, name: String, process: &str) -> Spec {
        let mut spec = Spec::new(kind, name, owner(self.app), self.image);
        spec.release = Some(self.number);
        for (name, value) in self.attached.iter().chain(self.env) {
            spec.env.insert(name.clone(), value.expose().to_owned());
        }
        for (name, value) in [
            ("FREEHOLD_APP", self.app_name.to_owned()),
            ("FREEHOLD_PROCESS", process.to_owned()),
            ("FREEHOLD_RELEASE", format!("v{}", self.number)),
        ] {
            spec.env.insert(name.into(), value);
        }
        spec.networks = vec![network(self.app)];
        spec.networks.extend(self.networks.iter().cloned());
        spec.aliases = match kind {
            Kind::Replica => vec![process.to_owned()],
            _ => Vec::new(),
        };
        spec.volumes = self
            .settings
            .volumes
            .iter()
            .map(|(name, path)| Mount {
                volume: volume(self.app, name),
                path: path.clone(),
                read_only: false,
                existing: false,
            })
            .collect();
        spec.pids = self.pids;
        spec.start_deadline = self.start_deadline;
        spec.stop_grace = self.stop_grace;
        spec
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::protocol::Protocol;

    fn making<'a>(
        settings: &'a AppFile,
        scale: &'a BTreeMap<String, Scale>,
        env: &'a BTreeMap<String, Secret>,
        attached: &'a BTreeMap<String, Secret>,
    ) -> Making<'a> {
        Making {
            app: 7,
            app_name: "tasks",
            deploy: 12,
            number: 3,
            image: "sha256:aa",
            settings,
            scale,
            env,
            attached,
            networks: &[],
            start_deadline: Duration::from_secs(60),
            stop_grace: Duration::from_secs(10),
            pids: 512,
        }
    }

    #[test]
    fn f4_a_release_wants_its_processes_with_their_limits_and_env() {
        let text = "[processes.web]\nport = 8000\nhealth = \"/h\"\nmemory = \"64M\"\n[processes.worker]\ncommand = \"work\"\n[deploy]\nrelease = \"migrate now\"\n[volumes]\nup = \"/up\"";
        let settings = AppFile::parse(text).unwrap();
        let scale = BTreeMap::from([(
            "web".to_owned(),
            Scale {
                min: Some(2),
                memory_bytes: Some(128 << 20),
                nano_cpus: None,
            },
        )]);
        let env = BTreeMap::from([("DATABASE_URL".to_owned(), Secret::new("own"))]);
        let attached = BTreeMap::from([
            ("DATABASE_URL".to_owned(), Secret::new("attached")),
            ("OTHER_URL".to_owned(), Secret::new("$'\"\n")),
        ]);
        let making = making(&settings, &scale, &env, &attached);
        let all = making.replicas();
        let names: Vec<&str> = all.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "tasks-web-v3-d12-1",
                "tasks-web-v3-d12-2",
                "tasks-worker-v3-d12-1"
            ]
        );
        let web = &all[0];
        assert_eq!(web.memory_bytes, Some(128 << 20));
        let health = Health::Http {
            path: "/h".into(),
            protocol: Protocol::Http1,
        };
        assert_eq!(web.health, health);
        assert_eq!(web.env["PORT"], "8000");
        assert_eq!(
            web.env["DATABASE_URL"], "own",
            "what the app sets itself wins"
        );
        assert_eq!(web.env["OTHER_URL"], "$'\"\n");
        assert_eq!(web.env["FREEHOLD_RELEASE"], "v3");
        assert_eq!(web.volumes[0].volume, "app-7-up");
        assert_eq!(web.networks, ["app-7"]);
        assert_eq!(all[2].health, Health::None);
        assert!(!all[2].env.contains_key("PORT"));
        let job = making.release_command().unwrap();
        assert_eq!(job.name, "tasks-release-v3-d12-0");
        assert_eq!(job.command.unwrap(), ["migrate", "now"]);
    }

    #[test]
    fn f8_the_deploy_is_read_from_a_name_whatever_the_app_is_called() {
        assert_eq!(deploy_of("x-d5-web-v1-d12-3"), Some(12));
        assert_eq!(deploy_of("tasks-release-v3-d12-0"), Some(12));
        assert_eq!(deploy_of("tasks-run-abc"), None);
        assert_eq!(deploy_of("web"), None);
    }
}
