//! Switching and Draining: the new release becomes live in one transaction,
//! the proxy follows, the old containers finish and are stopped.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::base::clock::UnixMs;
use crate::supervise::{Kind, Live, State as Container};

use super::Deploys;
use super::error::Stop;
use super::plan;
use super::run::{Next, Work};
use super::start::STOP_GRACE;
use super::state::State;
use super::store;

/// For the proxy to publish what was written.
const PUBLISH: Duration = Duration::from_secs(30);

impl Deploys {
    pub(super) async fn switch(&self, work: &Work<'_>) -> Result<Next, Stop> {
        let release = self.release_of(work.deploy).await?;
        // Those that were checked, whatever scale is set meanwhile: its own job follows and finds what
        // is more or less.
        let mut replicas: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for checked in self.containers_of(work.deploy) {
            if checked.kind == Kind::Replica && checked.state != Container::Retiring {
                let process = checked.process.unwrap_or_default();
                replicas.entry(process).or_default().push(checked.name);
            }
        }
        let (app, deploy, id) = (work.deploy.app, work.deploy.id, release.id);
        let newer = self
            .0
            .db
            .write(move |tx| store::set_live(tx, app, id, deploy, &replicas, UnixMs::now()))
            .await?;
        if let Some(newer) = newer {
            let why = format!("deploy {newer} is newer and became live before it");
            work.log.line(&why);
            let removed = self.remove_containers_of(work.deploy).await;
            removed.map_err(Stop::Again)?;
            let mut next = Next::to(State::Superseded);
            next.change.error = Some(why);
            return Ok(next);
        }
        self.wait_published(app).await?;
        work.log
            .line(&format!("v{} gets the traffic", release.number));
        Ok(Next::to(State::Draining))
    }

    pub(super) async fn wait_published(&self, app: i64) -> Result<(), Stop> {
        let published = tokio::time::timeout(PUBLISH, self.0.ports.traffic.switched(app)).await;
        published
            .map_err(|_| "the proxy did not take over the change within 30 s".to_owned())?
            .map_err(Stop::Failed)
    }

    pub(super) async fn drain(&self, work: &Work<'_>) -> Result<Next, Stop> {
        let release = self.release_of(work.deploy).await?;
        let old = self.replicas_not_serving(work.deploy.app).await?;
        let limit = release.settings.drain(self.0.limits().drain);
        let whole = self.retire_drained(work.deploy.app, &old, limit).await?;
        for container in &old {
            work.log.line(&format!("{} is stopped", container.name));
        }
        if !whole {
            work.log.line(&format!(
                "Some requests took longer than the {} s of drain and were cut.",
                limit.as_secs()
            ));
        }
        Ok(Next::to(State::Watching))
    }

    /// The app's replicas that run but get no traffic by what is live.
    pub(super) async fn replicas_not_serving(&self, app: i64) -> Result<Vec<Live>, Stop> {
        let serving = self.0.db.read(move |c| store::live(c, app)).await?;
        let owner = plan::owner(app);
        let live = self.0.ports.containers.live();
        let all = live.borrow().clone();
        Ok(all
            .iter()
            .filter(|l| l.kind == Kind::Replica && l.owner == owner)
            .filter(|l| l.state != Container::Retiring)
            .filter(|l| !serving.as_ref().is_some_and(|s| s.has(&l.name)))
            .cloned()
            .collect())
    }

    /// Drains and stops; says whether every request ended by itself.
    pub(super) async fn retire_drained(
        &self,
        app: i64,
        old: &[Live],
        limit: Duration,
    ) -> Result<bool, Stop> {
        if old.is_empty() {
            return Ok(true);
        }
        let rows: Vec<i64> = old.iter().map(|l| l.row).collect();
        let draining = self.0.ports.traffic.drained(app, rows.clone(), limit);
        let whole = tokio::time::timeout(limit + Duration::from_secs(10), draining).await;
        for row in rows {
            let retired = self.0.ports.containers.retire(row, STOP_GRACE).await;
            retired.map_err(|e| Stop::Again(e.to_string()))?;
        }
        Ok(whole.unwrap_or(false))
    }
}
