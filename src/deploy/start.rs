//! Releasing and Starting: the release command, then the new containers beside
//! the old ones.

use std::collections::BTreeMap;

use crate::base::protocol::Protocol;
use crate::base::secret::Secret;
use crate::supervise::{Spec, SuperviseError};

use super::Deploys;
use super::error::Stop;
use super::plan::{self, Making};
use super::row::{Deploy, Release};
use super::run::{Next, Work};
use super::state::State;
use super::static_folder::Files;

/// Between a container's stop signal and its end by force.
pub(super) const STOP_GRACE: std::time::Duration = std::time::Duration::from_secs(10);

/// Said before lines that may stand in the log already.
pub(super) const OUTPUT_AGAIN: &str =
    "The daemon was restarted meanwhile; the command's output again, from its beginning:";

impl Deploys {
    /// The release of a deploy that has one by now.
    pub(super) async fn release_of(&self, deploy: &Deploy) -> Result<Release, Stop> {
        let Some((id, _)) = deploy.release else {
            return Err(Stop::Failed("it has no release".into()));
        };
        let release = self.release_row(id).await?;
        if release.gone.is_some() {
            return Err(Stop::Failed(format!(
                "the image of release v{} was already collected",
                release.number
            )));
        }
        Ok(release)
    }

    /// What the containers are made of; networks and volumes are made sure of.
    pub(super) async fn networks(&self, app: i64, release: &Release) -> Result<Vec<String>, Stop> {
        if Files::parse(&release.image).is_some() {
            return Ok(Vec::new());
        }
        let containers = &self.0.ports.containers;
        let own = plan::network(app);
        containers.ensure_network(&own).await?;
        let others = self.0.ports.attachments.networks_for(app).await?;
        for network in &others {
            containers.ensure_network(network).await?;
        }
        for volume in release.settings.volumes.keys() {
            let name = plan::volume(app, volume);
            containers.ensure_volume(&name).await?;
        }
        Ok(others)
    }

    pub(super) fn making<'a>(
        &'a self,
        work: &'a Work<'_>,
        release: &'a Release,
        env: &'a BTreeMap<String, Secret>,
        networks: &'a [String],
    ) -> Making<'a> {
        Making {
            app: work.facts.id,
            app_name: &work.facts.name,
            deploy: work.deploy.id,
            number: release.number,
            image: &release.image,
            settings: &release.settings,
            scale: &work.facts.scale,
            env,
            attached: work.attached,
            networks,
            start_deadline: self.0.limits().start_deadline,
            stop_grace: STOP_GRACE,
            pids: self.0.limits().pids,
        }
    }

    pub(super) async fn release_command(&self, work: &Work<'_>) -> Result<Next, Stop> {
        let release = self.release_of(work.deploy).await?;
        let networks = self.networks(work.facts.id, &release).await?;
        let env = self.release_env(&release).await?;
        let making = self.making(work, &release, &env, &networks);
        let Some(spec) = making.release_command() else {
            work.log.line("The app has no release command.");
            return Ok(Next::to(State::Starting));
        };
        let words = spec.command.clone().unwrap_or_default().join(" ");
        let running = format!("Running {words}");
        // Its container outlives the daemon, and what it wrote comes from its beginning again.
        let mut again = work.attempt > 1 && work.log.holds(&running);
        if !again {
            work.log.line(&running);
        }
        let limit = State::Releasing.deadline(self.0.limits().build_deadline);
        let mut line = |line: crate::docker::LogLine| {
            if std::mem::take(&mut again) {
                work.log.line(OUTPUT_AGAIN);
            }
            work.log.line(&line.text);
        };
        let ended = self
            .0
            .ports
            .containers
            .run_job(spec, limit, &mut line, work.cancel.clone())
            .await;
        match ended {
            Ok(end) if end.is_success() => Ok(Next::to(State::Starting)),
            Ok(end) => Err(Stop::Failed(format!(
                "the release command \"{words}\" {}: the release before serves on; its output is in the log above",
                end.exit
            ))),
            Err(SuperviseError::Cancelled(_)) => Err(Stop::Cancelled),
            Err(SuperviseError::Stopping) => Err(Stop::Again("the daemon is stopping".into())),
            // If it has run it is there still, with how it ended, which is read from it again.
            Err(SuperviseError::State(why)) => Err(Stop::Again(format!(
                "the release command's state could not be read or written: {why}"
            ))),
            Err(error) => Err(Stop::Failed(format!("the release command: {error}"))),
        }
    }

    pub(super) async fn start(&self, work: &Work<'_>) -> Result<Next, Stop> {
        let (specs, release) = self.replicas(work).await?;
        if specs.is_empty() {
            work.log.line(match Files::parse(&release.image) {
                Some(_) => "A folder of files has no containers; the edge serves it itself.",
                None => "No process is to run (every one is scaled to 0).",
            });
        }
        for spec in &specs {
            work.log
                .line(&format!("Starting {}{}", spec.name, check_of(spec)));
        }
        self.want_all(specs).await?;
        Ok(Next::to(State::Checking))
    }

    /// The replicas this deploy wants, with their release.
    pub(super) async fn replicas(&self, work: &Work<'_>) -> Result<(Vec<Spec>, Release), Stop> {
        let release = self.release_of(work.deploy).await?;
        let networks = self.networks(work.facts.id, &release).await?;
        let env = self.release_env(&release).await?;
        let specs = self.making(work, &release, &env, &networks).replicas();
        Ok((specs, release))
    }

    /// Wants every one; gives their rows. The second time is nothing.
    pub(super) async fn want_all(&self, specs: Vec<Spec>) -> Result<Vec<i64>, Stop> {
        let mut rows = Vec::new();
        for spec in specs {
            rows.push(self.0.ports.containers.want(spec).await?);
        }
        Ok(rows)
    }
}

fn check_of(spec: &Spec) -> String {
    use crate::supervise::Health;
    let port = spec.port.unwrap_or(0);
    match &spec.health {
        Health::Http { path, protocol } => {
            let how = match protocol {
                Protocol::Http1 => "",
                Protocol::H2c => " over h2c",
            };
            format!(" (healthy when GET {path} on port {port}{how} answers 200 to 399)")
        }
        Health::Tcp => {
            format!(" (healthy when port {port} accepts a connection; no `health` is set)")
        }
        Health::Exec(words) => format!(" (healthy when {} ends with 0)", words.join(" ")),
        Health::None => " (no port: healthy while it runs)".to_owned(),
    }
}
