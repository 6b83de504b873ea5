//! Switching: the new release becomes live in one transaction, and the proxy
//! follows. The old containers go to the drain (`drain.rs`).
//!
//! Only what is seen is switched to: where a container that was checked is not
//! among the live ones any more, such as after a start at which its row could
//! not be read, the deploy goes back to its checks, and the release before
//! serves on.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::base::clock::UnixMs;
use crate::supervise::{Kind, State as Container};

use super::Deploys;
use super::error::Stop;
use super::row::Release;
use super::run::{Next, Work};
use super::state::State;
use super::store;

/// For the proxy to publish what was written.
const PUBLISH: Duration = Duration::from_secs(30);

impl Deploys {
    pub(super) async fn switch(&self, work: &Work<'_>) -> Result<Next, Stop> {
        let release = self.release_of(work.deploy).await?;
        // Those that were checked, though fewer are wanted meanwhile: the job of that count follows.
        let mut replicas: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for checked in self.containers_of(work.deploy) {
            if checked.kind == Kind::Replica && checked.state != Container::Retiring {
                let process = checked.process.unwrap_or_default();
                replicas.entry(process).or_default().push(checked.name);
            }
        }
        let (app, deploy, id) = (work.deploy.app, work.deploy.id, release.id);
        let before = self.0.db.read(move |c| store::live(c, app)).await?;
        // Written already, or never to be: nothing is switched to by what is seen now.
        let is_decided = before.is_some_and(|live| live.deploy >= deploy);
        if let Some(unseen) = self.unseen(work, &release, &replicas)
            && !is_decided
        {
            let line = format!("{unseen} is not seen any more: the checks begin again");
            work.log.line(&line);
            return Ok(Next::to(State::Checking));
        }
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
        let mut next = Next::to(State::Draining);
        let old = self.replicas_left_over(app).await?;
        next.old = old.iter().map(|l| l.row).collect();
        Ok(next)
    }

    /// The first container of the deploy that is wanted and not among these.
    fn unseen(
        &self,
        work: &Work<'_>,
        release: &Release,
        replicas: &BTreeMap<String, Vec<String>>,
    ) -> Option<String> {
        let nothing = BTreeMap::new();
        let making = self.making(work, release, &nothing, &[]);
        let mut names = making.replicas().into_iter().map(|spec| spec.name);
        names.find(|name| replicas.values().flatten().all(|seen| seen != name))
    }

    pub(super) async fn wait_published(&self, app: i64) -> Result<(), Stop> {
        let published = tokio::time::timeout(PUBLISH, self.0.ports.traffic.switched(app)).await;
        published
            .map_err(|_| "the proxy did not take over the change within 30 s".to_owned())?
            .map_err(Stop::Failed)
    }
}
