//! Doing one action. Every deed is idempotent: after a crash it is simply
//! planned and done again.

use std::sync::Arc;
use std::time::Duration;

use crate::base::clock::UnixMs;
use crate::base::crash_point;
use crate::docker::{EngineError, LogCap, NewContainer, Restart, VolumeMount};

use super::error::SuperviseError;
use super::live::Exit;
use super::plan::Action;
use super::run::JobEnd;
use super::shared::Shared;
use super::spec::{Kind, Log, Spec};
use super::store::{self, Row};
use super::unit::Seen;

const CREATE: [&str; 3] = [
    "supervise.create.before",
    "supervise.create.joining",
    "supervise.create.after",
];
const START: [&str; 2] = ["supervise.start.before", "supervise.start.after"];
const REMOVE: [&str; 2] = ["supervise.remove.before", "supervise.remove.after"];
pub(super) const JOB_END: [&str; 2] = ["supervise.job.end.before", "supervise.job.end.after"];

/// Where the tests kill a daemon that makes, starts, ends and removes containers.
pub fn crash_points() -> Vec<String> {
    let all: [&[&str]; 4] = [&CREATE, &START, &JOB_END, &REMOVE];
    all.concat().into_iter().map(str::to_owned).collect()
}

/// How a deed went.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Done; the container's id, if there still is one.
    Done(Option<String>),
    /// The row is gone.
    Forgotten,
    /// The engine said no.
    Refused(String),
    /// The engine or the database was away: try again soon.
    Later(String),
}

/// What a deed needs to know of its row.
#[derive(Clone)]
pub(super) struct Subject {
    pub(super) row: Row,
    pub(super) spec: Spec,
    pub(super) container: Option<Seen>,
}

pub(super) async fn act(
    shared: &Arc<Shared>,
    action: &Action,
    subject: Option<Subject>,
) -> Outcome {
    match try_act(shared, action, subject).await {
        Ok(outcome) => outcome,
        Err(SuperviseError::Engine(error)) if error.is_passing() => {
            Outcome::Later(error.to_string())
        }
        Err(SuperviseError::State(why)) => Outcome::Later(why),
        Err(error) => Outcome::Refused(error.to_string()),
    }
}

async fn try_act(
    shared: &Arc<Shared>,
    action: &Action,
    subject: Option<Subject>,
) -> Result<Outcome, SuperviseError> {
    match (action, subject) {
        (Action::Create { .. }, Some(subject)) => {
            let id = create(shared, &subject.row, &subject.spec, Terminal::No).await?;
            start(shared, &subject, &id).await
        }
        (Action::Start { id, .. }, Some(subject)) => start(shared, &subject, id).await,
        (Action::Restart { id, grace, .. }, Some(subject)) => {
            match shared.engine.stop_container(id, *grace).await {
                Ok(()) => {}
                Err(error) if error.is_unreachable() => return Err(error.into()),
                // It ended by itself, or is gone: what is seen next says what is to be done.
                Err(error) => {
                    tracing::warn!(%error, "a container that does not answer did not stop when told");
                }
            }
            start(shared, &subject, id).await
        }
        (Action::Keep { id, keeper, .. }, _) => {
            shared.engine.set_restart(id, *keeper).await?;
            Ok(Outcome::Done(Some(id.clone())))
        }
        (Action::Remove { id, grace, .. }, _) => {
            crash_point::hit(REMOVE[0]);
            remove(shared, id, *grace).await?;
            crash_point::hit(REMOVE[1]);
            Ok(Outcome::Done(None))
        }
        (Action::End { row }, subject) => {
            let exit = subject
                .and_then(|s| s.container)
                .map(|c| c.exit())
                .unwrap_or(LOST);
            let row = *row;
            let end = JobEnd {
                exit,
                errors: Vec::new(),
            };
            shared.write(move |tx| store::end(tx, row, &end)).await?;
            Ok(Outcome::Forgotten)
        }
        (Action::Forget { row }, _) => {
            let row = *row;
            shared.write(move |tx| store::forget(tx, row)).await?;
            Ok(Outcome::Forgotten)
        }
        (Action::Create { .. } | Action::Start { .. } | Action::Restart { .. }, None) => {
            Ok(Outcome::Forgotten)
        }
    }
}

/// What is said of a job whose container vanished before its end was seen.
pub(super) const LOST: Exit = Exit {
    code: -1,
    oom: false,
    at: UnixMs(0),
};

/// Whether a container gets a terminal or an open standard input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Terminal {
    No,
    Input,
    Yes,
}

/// Makes the container of a row, or finds the one that an earlier try made.
pub(super) async fn create(
    shared: &Arc<Shared>,
    row: &Row,
    spec: &Spec,
    terminal: Terminal,
) -> Result<String, SuperviseError> {
    for network in &spec.networks {
        shared.ensure_network(network).await?;
    }
    for mount in &spec.volumes {
        match spec.may_make(mount) {
            true => shared.ensure_volume(&mount.volume).await?,
            false => {
                shared
                    .need_volume(spec.kind, &spec.name, &mount.volume)
                    .await?
            }
        }
    }
    let new = new_container(shared, row, spec, terminal);
    crash_point::hit(CREATE[0]);
    let made = match shared.engine.create_container(&new).await {
        Err(EngineError::Conflict { what, message }) => {
            let present = shared.engine.inspect_container(&new.name).await?;
            if !shared.names.is_ours(&present.labels) {
                return Err(EngineError::Conflict { what, message }.into());
            }
            let present = Seen::from(present);
            if present.row != Some(row.id) || present.spec_hash != row.spec_hash {
                shared.engine.remove_container(&present.id).await?;
                shared.engine.create_container(&new).await?
            } else {
                present.id
            }
        }
        other => other?,
    };
    crash_point::hit(CREATE[1]);
    shared.engine.join_networks(&made, &new).await?;
    crash_point::hit(CREATE[2]);
    Ok(made)
}

fn new_container(shared: &Shared, row: &Row, spec: &Spec, terminal: Terminal) -> NewContainer {
    let settings = shared.settings();
    NewContainer {
        name: shared.names.of(&spec.name),
        image: spec.image.clone(),
        labels: shared
            .names
            .container(row.id, spec.kind, &spec.owner, &row.spec_hash),
        entrypoint: spec.entrypoint.clone(),
        command: spec.command.clone(),
        env: spec.env.clone(),
        networks: spec.networks.iter().map(|n| shared.names.of(n)).collect(),
        aliases: spec.aliases.clone(),
        volumes: spec
            .volumes
            .iter()
            .map(|mount| VolumeMount {
                volume: shared.names.of(&mount.volume),
                path: mount.path.clone(),
                read_only: mount.read_only,
            })
            .collect(),
        tmpfs: spec.tmpfs.clone(),
        memory_bytes: spec.memory_bytes,
        nano_cpus: spec.nano_cpus,
        pids: Some(spec.pids),
        shm_bytes: spec.shm_bytes,
        oom_score: spec.oom_score,
        drop_capabilities: settings.drop_capabilities.clone(),
        no_new_privileges: settings.no_new_privileges,
        user: spec.user.clone(),
        working_dir: spec.working_dir.clone(),
        stop_signal: spec.stop_signal.clone(),
        stop_timeout: Some(spec.stop_grace),
        restart: Some(Restart::No),
        log: (spec.log == Log::Capped).then_some(LogCap {
            size: settings.log_size,
            files: settings.log_files,
        }),
        open_stdin: terminal != Terminal::No,
        tty: terminal == Terminal::Yes,
    }
}

async fn start(
    shared: &Arc<Shared>,
    subject: &Subject,
    id: &str,
) -> Result<Outcome, SuperviseError> {
    if subject.spec.kind == Kind::Job {
        let row = subject.row.id;
        shared
            .write(move |tx| store::mark_started(tx, row, UnixMs::now()))
            .await?;
    }
    // One that was made just before a death or an absence of the engine may lack a network still.
    let new = new_container(shared, &subject.row, &subject.spec, Terminal::No);
    shared.engine.join_networks(id, &new).await?;
    crash_point::hit(START[0]);
    let started = shared.engine.start_container(id).await;
    crash_point::hit(START[1]);
    match started {
        Ok(()) => Ok(Outcome::Done(Some(id.to_owned()))),
        Err(error) => Err(error.into()),
    }
}

/// Stops, then removes. A container that will not die is left for the next try.
pub(super) async fn remove(
    shared: &Arc<Shared>,
    id: &str,
    grace: Duration,
) -> Result<(), EngineError> {
    if !grace.is_zero() {
        match shared.engine.stop_container(id, grace).await {
            Ok(()) | Err(EngineError::NotFound { .. }) => {}
            Err(error) if error.is_unreachable() => return Err(error),
            Err(error) => {
                tracing::warn!(%error, "a container did not stop; it is removed by force")
            }
        }
    }
    shared.engine.remove_container(id).await
}

/// The container as it is now; `None` when it is gone.
pub(super) async fn look(shared: &Arc<Shared>, id: &str) -> Result<Option<Seen>, EngineError> {
    match shared.engine.inspect_container(id).await {
        Ok(seen) => Ok(Some(Seen::from(seen))),
        Err(EngineError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::AtomicU64;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::{mpsc, watch};

    use super::*;
    use crate::base::ids::InstallationId;
    use crate::base::secret::MasterKey;
    use crate::base::shutdown::{Shutdown, Tasks};
    use crate::config::Config;
    use crate::db::{Db, Kind as Base};
    use crate::docker::Engine;
    use crate::supervise::Mount;
    use crate::supervise::live::EngineState;
    use crate::supervise::names::Names;
    use crate::supervise::plan::Desired;
    use crate::supervise::shared::Settings;

    /// An engine that has nothing; what it was asked.
    fn empty_engine(socket: &std::path::Path) -> Arc<Mutex<Vec<String>>> {
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let listener = tokio::net::UnixListener::bind(socket).unwrap();
        let told = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = vec![0; 4096];
                let read = stream.read(&mut head).await.unwrap();
                let head = String::from_utf8_lossy(&head[..read]).into_owned();
                told.lock()
                    .unwrap()
                    .push(head.lines().next().unwrap_or_default().to_owned());
                let body = r#"{"message":"no such thing"}"#;
                let answer = format!(
                    "HTTP/1.1 404 Not Found\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                    body.len()
                );
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        asked
    }

    #[tokio::test]
    async fn f3_a_database_whose_data_is_gone_is_refused_and_no_empty_volume_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("engine.sock");
        let asked = empty_engine(&socket);
        let config = Config::default();
        let (notes, _inbox) = mpsc::channel(8);
        let shared = Arc::new(Shared {
            engine: Engine::connect(&format!("unix://{}", socket.display())).unwrap(),
            db: Db::open(&folder.path().join("state.db"), Base::State).unwrap(),
            key: Arc::new(MasterKey::from_bytes(&[7; 32]).unwrap()),
            names: Names::new(&InstallationId::parse("box").unwrap()),
            settings: Mutex::new(Arc::new(Settings::from(&config))),
            tasks: Tasks::new(Shutdown::new()),
            notes,
            live: watch::Sender::new(Arc::new(Vec::new())),
            state: watch::Sender::new(EngineState::Unknown),
            deaths: Default::default(),
            clock: AtomicU64::new(0),
            networks: tokio::sync::Mutex::new(()),
        });
        let mut spec = Spec::new(Kind::Database, "db-main-3", "database:3", "postgres:17");
        spec.volumes = vec![Mount {
            volume: "db-main-3-data".into(),
            path: "/var/lib/postgresql/data".into(),
            read_only: false,
            existing: false,
        }];
        let (key, wanted) = (Arc::clone(&shared.key), spec.clone());
        let row = shared
            .write(move |tx| store::want(tx, &key, &wanted, Desired::Running, UnixMs(1)))
            .await
            .unwrap();
        let refused = create(&shared, &row, &spec, Terminal::No)
            .await
            .unwrap_err();
        let words = refused.to_string();
        for part in ["fh-box-db-main-3-data is not there", "mounted", "backup"] {
            assert!(words.contains(part), "{part} is not in {words}");
        }
        let asked = asked.lock().unwrap().clone();
        assert!(!asked.is_empty());
        assert!(
            asked.iter().all(|line| line.starts_with("GET ")),
            "{asked:?}"
        );
    }
}
