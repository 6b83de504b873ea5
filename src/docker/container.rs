//! Containers: made, started, stopped, removed, looked at.
//!
//! No container gets swap beyond its memory limit, a published port, a folder
//! of the box or more rights than the engine's usual ones: there is no field
//! for it.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bollard::models::{
    ContainerCreateBody, EndpointSettings, HostConfig, HostConfigLogConfig, Mount, MountType,
    NetworkConnectRequest, NetworkingConfig, RestartPolicy, RestartPolicyNameEnum,
};
use bollard::query_parameters as query;
use futures_util::StreamExt;

use super::engine::{Engine, MIDDLE, SHORT};
use super::error::EngineError;

/// Who brings a container back when its process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// Nobody but the caller.
    No,
    /// The engine, also when it starts itself, unless somebody stopped it.
    UnlessStopped,
}

/// How much of a container's output is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogCap {
    /// Bytes a file.
    pub size: u64,
    /// Files.
    pub files: u32,
}

/// A volume in a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeMount {
    /// The engine's name of the volume.
    pub volume: String,
    /// Where it is seen.
    pub path: String,
    /// Whether it may only be read.
    pub read_only: bool,
}

/// A container to be made.
#[derive(Clone, Default)]
pub struct NewContainer {
    /// Its name.
    pub name: String,
    /// An image the engine has.
    pub image: String,
    /// Labels.
    pub labels: HashMap<String, String>,
    /// Instead of the image's entrypoint; empty means none.
    pub entrypoint: Option<Vec<String>>,
    /// Instead of the image's command.
    pub command: Option<Vec<String>>,
    /// The environment, byte for byte.
    pub env: BTreeMap<String, String>,
    /// The engine's names of its networks; empty means no network.
    pub networks: Vec<String>,
    /// Further names in these networks.
    pub aliases: Vec<String>,
    /// Volumes.
    pub volumes: Vec<VolumeMount>,
    /// In-memory folders and their sizes.
    pub tmpfs: BTreeMap<String, u64>,
    /// Memory limit; no swap on top.
    pub memory_bytes: Option<u64>,
    /// Processor limit, billionths of a core.
    pub nano_cpus: Option<u64>,
    /// Process limit.
    pub pids: Option<u32>,
    /// Size of /dev/shm.
    pub shm_bytes: Option<u64>,
    /// Preference of the out-of-memory killer.
    pub oom_score: i32,
    /// Capabilities taken from the engine's usual set.
    pub drop_capabilities: Vec<String>,
    /// Whether setuid programs gain nothing inside.
    pub no_new_privileges: bool,
    /// Instead of the image's user.
    pub user: Option<String>,
    /// Instead of the image's working directory.
    pub working_dir: Option<String>,
    /// Instead of the image's stop signal.
    pub stop_signal: Option<String>,
    /// Between stop signal and SIGKILL, also when the engine itself stops it.
    pub stop_timeout: Option<Duration>,
    /// Who brings it back.
    pub restart: Option<Restart>,
    /// How much of its output the engine keeps; nobody does when `None`.
    pub log: Option<LogCap>,
    /// Whether standard input is open to one attached caller.
    pub open_stdin: bool,
    /// Whether it has a terminal.
    pub tty: bool,
}

/// What state the engine shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Made, never started.
    Created,
    /// Runs.
    Running,
    /// Ended; the engine waits to start it again.
    Restarting,
    /// Ended.
    Exited,
    /// Frozen by somebody.
    Paused,
    /// Being removed, or its removal failed.
    Dying,
}

/// A container as the engine lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The engine's id.
    pub id: String,
    /// Its name, without slash.
    pub name: String,
    /// Labels.
    pub labels: HashMap<String, String>,
    /// State.
    pub phase: Phase,
    /// Address by the engine's network name, while it runs.
    pub addresses: HashMap<String, std::net::IpAddr>,
}

/// A container looked at closely.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspected {
    /// The engine's id.
    pub id: String,
    /// Its name, without slash.
    pub name: String,
    /// Labels.
    pub labels: HashMap<String, String>,
    /// State.
    pub phase: Phase,
    /// Process id on the box, while it runs.
    pub pid: Option<u32>,
    /// Exit code of its last end.
    pub exit_code: i64,
    /// Whether the kernel ended it for want of memory.
    pub oom_killed: bool,
    /// What the engine says of a failed start.
    pub error: String,
    /// When it last began, unix milliseconds.
    pub started_ms: Option<i64>,
    /// When it last ended, unix milliseconds.
    pub finished_ms: Option<i64>,
    /// How often the engine itself brought it back.
    pub restarts: u32,
    /// Address by the engine's network name, while it runs.
    pub addresses: HashMap<String, std::net::IpAddr>,
    /// The engine's names of its networks, also while it does not run.
    pub networks: Vec<String>,
    /// The image's id.
    pub image_id: String,
    /// Who brings it back.
    pub restart: Restart,
    /// Whether its output is kept.
    pub keeps_log: bool,
    /// Where its named volumes are seen: path to volume.
    pub volumes: HashMap<String, String>,
}

impl Engine {
    /// Makes a container in the first of its networks; does not start it. Engines before API 1.44 take one network at
    /// birth only: the others are for [`Engine::join_networks`].
    ///
    /// # Errors
    /// `Conflict` when the name is taken, `NotFound` when the image is missing.
    pub async fn create_container(&self, new: &NewContainer) -> Result<String, EngineError> {
        let what = format!("create container {}", new.name);
        let options = query::CreateContainerOptions {
            name: Some(new.name.clone()),
            platform: String::new(),
        };
        let body = body(new);
        let made = self
            .call(
                &what,
                MIDDLE,
                self.docker.create_container(Some(options), body),
            )
            .await?;
        Ok(made.id)
    }

    /// Puts a container into those of its networks that it is not in yet.
    ///
    /// # Errors
    /// `NotFound` when the container or a network is gone.
    pub async fn join_networks(&self, id: &str, new: &NewContainer) -> Result<(), EngineError> {
        if new.networks.len() < 2 {
            return Ok(());
        }
        let seen = self.inspect_container(id).await?;
        for network in new.networks.iter().filter(|n| !seen.networks.contains(n)) {
            let request = NetworkConnectRequest {
                container: id.to_owned(),
                endpoint_config: Some(endpoint(new)),
            };
            let what = format!("join container {} to network {network}", new.name);
            self.call(&what, MIDDLE, self.docker.connect_network(network, request))
                .await?;
        }
        Ok(())
    }

    /// Starts a container; one that runs already is no error.
    ///
    /// # Errors
    /// `Refused` with the engine's words, such as a command that is not there.
    pub async fn start_container(&self, name: &str) -> Result<(), EngineError> {
        let what = format!("start container {name}");
        self.call(&what, MIDDLE, self.docker.start_container(name, None))
            .await
    }

    /// Stops a container: its signal, `grace`, SIGKILL. One that does not run is no error.
    ///
    /// # Errors
    /// When there is no such container or the engine fails.
    pub async fn stop_container(&self, name: &str, grace: Duration) -> Result<(), EngineError> {
        let options = query::StopContainerOptions {
            signal: None,
            t: Some(i32::try_from(grace.as_secs()).unwrap_or(i32::MAX)),
        };
        let what = format!("stop container {name}");
        let limit = grace.saturating_add(MIDDLE);
        self.call(
            &what,
            limit,
            self.docker.stop_container(name, Some(options)),
        )
        .await
    }

    /// Sends a signal such as `SIGKILL`; a container that does not run is no error.
    ///
    /// # Errors
    /// When there is no such container or the engine fails.
    pub async fn kill_container(&self, name: &str, signal: &str) -> Result<(), EngineError> {
        let options = query::KillContainerOptions {
            signal: signal.to_owned(),
        };
        let what = format!("kill container {name}");
        match self
            .call(
                &what,
                SHORT,
                self.docker.kill_container(name, Some(options)),
            )
            .await
        {
            Err(EngineError::Conflict { .. }) => Ok(()),
            Err(EngineError::Refused { message, .. }) if message.contains("is not running") => {
                Ok(())
            }
            other => other,
        }
    }

    /// Removes a container by force, with its anonymous volumes (named ones are
    /// never touched). One that is not there, or is being removed, is no error.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn remove_container(&self, name: &str) -> Result<(), EngineError> {
        let options = query::RemoveContainerOptions {
            v: true,
            force: true,
            link: false,
        };
        let what = format!("remove container {name}");
        match self
            .call(
                &what,
                MIDDLE,
                self.docker.remove_container(name, Some(options)),
            )
            .await
        {
            Err(EngineError::NotFound { .. }) => Ok(()),
            Err(EngineError::Conflict { message, .. })
                if message.contains("already in progress") =>
            {
                Ok(())
            }
            other => other,
        }
    }

    /// Looks at one container.
    ///
    /// # Errors
    /// `NotFound` when there is none.
    pub async fn inspect_container(&self, name: &str) -> Result<Inspected, EngineError> {
        let what = format!("inspect container {name}");
        let seen = self
            .call(&what, SHORT, self.docker.inspect_container(name, None))
            .await?;
        Ok(inspected(seen))
    }

    /// All containers, also ended ones, that carry every one of `labels` (`key` or `key=value`).
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn list_containers(&self, labels: &[String]) -> Result<Vec<Listed>, EngineError> {
        let options = query::ListContainersOptions {
            all: true,
            filters: Some(HashMap::from([("label".to_owned(), labels.to_vec())])),
            ..Default::default()
        };
        let list = self
            .call(
                "list containers",
                SHORT,
                self.docker.list_containers(Some(options)),
            )
            .await?;
        Ok(list.into_iter().map(listed).collect())
    }

    /// Waits until the container does not run, at most `limit`, and gives its exit code.
    ///
    /// # Errors
    /// `TimedOut` after `limit`, `NotFound` when it was removed.
    pub async fn wait_container(&self, name: &str, limit: Duration) -> Result<i64, EngineError> {
        let what = format!("wait for container {name}");
        let options = query::WaitContainerOptions {
            condition: "not-running".to_owned(),
        };
        let mut stream = Box::pin(self.docker.wait_container(name, Some(options)));
        let next = tokio::time::timeout(limit, stream.next()).await;
        match next {
            Err(_) => Err(EngineError::TimedOut { what, limit }),
            Ok(Some(Ok(ended))) => Ok(ended.status_code),
            Ok(Some(Err(bollard::errors::Error::DockerContainerWaitError { code, .. }))) => {
                Ok(code)
            }
            Ok(Some(Err(error))) => Err(self.error(&what, error)),
            Ok(None) => Err(EngineError::CutShort {
                what,
                message: "no exit code came".to_owned(),
            }),
        }
    }

    /// Changes who brings a container back, without touching its process.
    ///
    /// # Errors
    /// `NotFound` when there is none.
    pub async fn set_restart(&self, name: &str, restart: Restart) -> Result<(), EngineError> {
        let body = bollard::models::ContainerUpdateBody {
            restart_policy: Some(policy(restart)),
            ..Default::default()
        };
        let what = format!("set restart policy of container {name}");
        self.call(&what, SHORT, self.docker.update_container(name, body))
            .await
    }
}

fn endpoint(new: &NewContainer) -> EndpointSettings {
    EndpointSettings {
        aliases: (!new.aliases.is_empty()).then(|| new.aliases.clone()),
        ..Default::default()
    }
}

fn policy(restart: Restart) -> RestartPolicy {
    RestartPolicy {
        name: Some(match restart {
            Restart::No => RestartPolicyNameEnum::NO,
            Restart::UnlessStopped => RestartPolicyNameEnum::UNLESS_STOPPED,
        }),
        maximum_retry_count: None,
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn body(new: &NewContainer) -> ContainerCreateBody {
    let log = match new.log {
        Some(cap) => HostConfigLogConfig {
            typ: Some("json-file".to_owned()),
            config: Some(HashMap::from([
                ("max-size".to_owned(), cap.size.to_string()),
                ("max-file".to_owned(), cap.files.to_string()),
            ])),
        },
        None => HostConfigLogConfig {
            typ: Some("none".to_owned()),
            config: None,
        },
    };
    let mounts = new
        .volumes
        .iter()
        .map(|mount| Mount {
            typ: Some(MountType::VOLUME),
            source: Some(mount.volume.clone()),
            target: Some(mount.path.clone()),
            read_only: Some(mount.read_only),
            ..Default::default()
        })
        .collect();
    let first = new.networks.first();
    let host = HostConfig {
        memory: new.memory_bytes.map(signed),
        memory_swap: new.memory_bytes.map(signed),
        nano_cpus: new.nano_cpus.map(signed),
        pids_limit: new.pids.map(i64::from),
        shm_size: new.shm_bytes.map(signed),
        oom_score_adj: Some(i64::from(new.oom_score)),
        cap_drop: Some(new.drop_capabilities.clone()),
        security_opt: new
            .no_new_privileges
            .then(|| vec!["no-new-privileges".to_owned()]),
        log_config: Some(log),
        restart_policy: Some(policy(new.restart.unwrap_or(Restart::No))),
        network_mode: Some(first.cloned().unwrap_or_else(|| "none".to_owned())),
        mounts: Some(mounts),
        tmpfs: Some(
            new.tmpfs
                .iter()
                .map(|(path, size)| (path.clone(), format!("rw,nosuid,nodev,size={size}")))
                .collect(),
        ),
        ..Default::default()
    };
    ContainerCreateBody {
        image: Some(new.image.clone()),
        labels: Some(new.labels.clone()),
        env: Some(new.env.iter().map(|(k, v)| format!("{k}={v}")).collect()),
        entrypoint: new.entrypoint.as_ref().map(|words| match words.is_empty() {
            // One empty word is the engine's way to say "none".
            true => vec![String::new()],
            false => words.clone(),
        }),
        cmd: new.command.clone(),
        user: new.user.clone(),
        working_dir: new.working_dir.clone(),
        stop_signal: new.stop_signal.clone(),
        stop_timeout: new.stop_timeout.map(|t| signed(t.as_secs())),
        tty: Some(new.tty),
        open_stdin: Some(new.open_stdin),
        stdin_once: Some(new.open_stdin),
        attach_stdin: Some(new.open_stdin),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        networking_config: first.map(|network| NetworkingConfig {
            endpoints_config: Some(HashMap::from([(network.clone(), endpoint(new))])),
        }),
        host_config: Some(host),
        ..Default::default()
    }
}

fn listed(summary: bollard::models::ContainerSummary) -> Listed {
    use bollard::models::ContainerSummaryStateEnum as S;
    Listed {
        id: summary.id.unwrap_or_default(),
        name: summary
            .names
            .unwrap_or_default()
            .first()
            .map(|n| n.trim_start_matches('/').to_owned())
            .unwrap_or_default(),
        labels: summary.labels.unwrap_or_default(),
        phase: match summary.state {
            Some(S::CREATED) => Phase::Created,
            Some(S::RUNNING | S::STOPPING) => Phase::Running,
            Some(S::PAUSED) => Phase::Paused,
            Some(S::RESTARTING) => Phase::Restarting,
            Some(S::REMOVING | S::DEAD) => Phase::Dying,
            Some(S::EXITED | S::EMPTY) | None => Phase::Exited,
        },
        addresses: addresses(summary.network_settings.and_then(|n| n.networks)),
    }
}

fn addresses(
    networks: Option<HashMap<String, EndpointSettings>>,
) -> HashMap<String, std::net::IpAddr> {
    networks
        .unwrap_or_default()
        .into_iter()
        .filter_map(|(name, at)| Some((name, at.ip_address?.parse().ok()?)))
        .collect()
}

fn time_ms(text: Option<&str>) -> Option<i64> {
    let ms = text?.parse::<jiff::Timestamp>().ok()?.as_millisecond();
    // The engine writes year 1 for "never".
    (ms > 0).then_some(ms)
}

fn inspected(seen: bollard::models::ContainerInspectResponse) -> Inspected {
    use bollard::models::ContainerStateStatusEnum as S;
    let state = seen.state.unwrap_or_default();
    let phase = match state.status {
        Some(S::CREATED) => Phase::Created,
        Some(S::RUNNING) => Phase::Running,
        Some(S::PAUSED) => Phase::Paused,
        Some(S::RESTARTING) => Phase::Restarting,
        Some(S::REMOVING | S::DEAD) => Phase::Dying,
        _ if state.running == Some(true) => Phase::Running,
        _ => Phase::Exited,
    };
    let host = seen.host_config.unwrap_or_default();
    let networks = seen.network_settings.and_then(|n| n.networks);
    let joined = networks.iter().flat_map(|n| n.keys().cloned()).collect();
    let restart = match host.restart_policy.and_then(|p| p.name) {
        None | Some(RestartPolicyNameEnum::NO | RestartPolicyNameEnum::EMPTY) => Restart::No,
        Some(_) => Restart::UnlessStopped,
    };
    Inspected {
        id: seen.id.unwrap_or_default(),
        name: seen
            .name
            .unwrap_or_default()
            .trim_start_matches('/')
            .to_owned(),
        labels: seen.config.and_then(|c| c.labels).unwrap_or_default(),
        phase,
        pid: state
            .pid
            .and_then(|p| u32::try_from(p).ok())
            .filter(|p| *p > 0),
        exit_code: state.exit_code.unwrap_or(0),
        oom_killed: state.oom_killed.unwrap_or(false),
        error: state.error.unwrap_or_default(),
        started_ms: time_ms(state.started_at.as_deref()),
        finished_ms: time_ms(state.finished_at.as_deref()),
        restarts: seen
            .restart_count
            .and_then(|n| u32::try_from(n).ok())
            .unwrap_or(0),
        addresses: addresses(networks),
        networks: joined,
        image_id: seen.image.unwrap_or_default(),
        restart,
        keeps_log: host.log_config.and_then(|l| l.typ).as_deref() != Some("none"),
        volumes: seen
            .mounts
            .unwrap_or_default()
            .into_iter()
            .filter_map(|m| Some((m.destination?, m.name?)))
            .collect(),
    }
}
