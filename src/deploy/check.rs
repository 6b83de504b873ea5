//! Checking: every new container must be healthy, every file there, before anything moves.

use std::time::Duration;

use futures_util::future::join_all;

use crate::supervise::{Kind, Live};

use super::Deploys;
use super::error::Stop;
use super::plan;
use super::row::Deploy;
use super::run::{Next, Work};
use super::start::STOP_GRACE;
use super::state::State;
use super::static_folder::Files;

impl Deploys {
    pub(super) async fn check(&self, work: &Work<'_>) -> Result<Next, Stop> {
        let (specs, release) = self.replicas(work).await?;
        if let Some(files) = Files::parse(&release.image) {
            self.check_files(files, release.number).await?;
        }
        let deadlines: Vec<Duration> = specs.iter().map(|s| s.start_deadline).collect();
        let rows = self.want_all(specs).await?;
        let containers = &self.0.ports.containers;
        let waits = rows.into_iter().zip(deadlines);
        let all = join_all(waits.map(|(row, limit)| containers.wait_ready(row, limit))).await;
        let mut bad = Vec::new();
        for one in all {
            match one {
                Ok(live) => work.log.line(&format!("{} is healthy", live.name)),
                Err(not_ready) => match self.passing(&not_ready) {
                    Some(why) => return Err(Stop::Again(why)),
                    None => bad.push(not_ready.to_string()),
                },
            }
        }
        match bad.is_empty() {
            true => Ok(Next::to(State::Switching)),
            false => Err(Stop::Failed(bad.join("\n"))),
        }
    }

    /// Our containers of one deploy, of every kind.
    pub(super) fn containers_of(&self, deploy: &Deploy) -> Vec<Live> {
        let owner = plan::owner(deploy.app);
        let live = self.0.ports.containers.live();
        let all = live.borrow().clone();
        all.iter()
            .filter(|l| l.owner == owner && plan::deploy_of(&l.name) == Some(deploy.id))
            .filter(|l| matches!(l.kind, Kind::Replica | Kind::Job))
            .cloned()
            .collect()
    }

    /// Takes back what an unsuccessful deploy started, and waits until it is gone. An engine that is away
    /// keeps nobody waiting for ever: they go when it is back.
    pub(super) async fn remove_containers_of(&self, deploy: &Deploy) -> Result<(), String> {
        for row in self.retire_containers_of(deploy).await? {
            let gone = self.0.ports.containers.wait_gone(row, STOP_GRACE * 2);
            if let Err(error) = gone.await {
                tracing::debug!(%error, "a container of a failed deploy is not gone yet");
            }
        }
        Ok(())
    }

    /// [`Self::remove_containers_of`] without waiting; gives their rows.
    pub(super) async fn retire_containers_of(&self, deploy: &Deploy) -> Result<Vec<i64>, String> {
        let rows: Vec<i64> = self.containers_of(deploy).iter().map(|l| l.row).collect();
        for row in &rows {
            let retired = self.0.ports.containers.retire(*row, STOP_GRACE).await;
            retired.map_err(|e| e.to_string())?;
        }
        Ok(rows)
    }
}
