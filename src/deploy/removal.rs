//! Removing an app: what runs first, then what it left, the row last.
//!
//! Every step is harmless when done again, so a crash in between is taken up.
//! Volumes go only when that was asked for by name.

use std::time::Duration;

use crate::base::clock::UnixMs;
use crate::base::retry::Backoff;
use crate::events::{self, Level, NewEvent};
use crate::jobs::{JobContext, Outcome};

use super::error::{DeployError, Stop};
use super::plan;
use super::start::STOP_GRACE;
use super::steps::Removal;
use super::store;
use super::{Deploys, app_in, job_key};

const AGAIN: Backoff = Backoff {
    first: Duration::from_secs(5),
    max: Duration::from_secs(60),
    factor: 2,
};
/// So many tries take some ten minutes.
const TOLD_AFTER: u32 = 14;

impl Deploys {
    /// Takes an app that is marked as going away from its visitors. Its removal was queued by the transaction
    /// that marked it; what still works for it is in its way.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn remove(&self, app: i64, by: &str) -> Result<(), DeployError> {
        Removal::Marked.passed();
        self.stop_unswitched(app, by).await?;
        self.0.db.write(move |tx| store::stop(tx, app)).await?;
        Ok(())
    }

    pub(super) async fn remove_app(
        &self,
        context: JobContext,
        payload: serde_json::Value,
    ) -> Outcome {
        let app = app_in(&payload);
        let volumes = payload["volumes"].as_bool().unwrap_or(false);
        match self.take_away(app, volumes).await {
            Ok(()) => Outcome::Done,
            Err(Stop::Failed(why) | Stop::Again(why)) => {
                if context.attempt == TOLD_AFTER {
                    self.tell_of_long_removal(app, &why).await;
                }
                Outcome::Again {
                    at: UnixMs::now().plus(AGAIN.delay(context.attempt)),
                    why,
                }
            }
            Err(Stop::Cancelled) => Outcome::Done,
        }
    }

    /// It has to end, so it is never given up; but somebody may have to help.
    async fn tell_of_long_removal(&self, app: i64, why: &str) {
        let message = format!("The app's removal does not get on and is tried again: {why}");
        let event = NewEvent::new("app.removal_waits", Level::Error, job_key(app), message);
        let db = &self.0.db;
        let noted = db.write(move |tx| events::record(tx, UnixMs::now(), &event));
        if let Err(error) = noted.await {
            tracing::warn!(app, %error, "a removal that does not get on could not be told");
        }
    }

    async fn take_away(&self, app: i64, volumes: bool) -> Result<(), Stop> {
        let Some(facts) = self.0.ports.apps.facts(app).await? else {
            return Ok(());
        };
        let told = |e: crate::supervise::SuperviseError| Stop::Again(e.to_string());
        let containers = &self.0.ports.containers;
        // Whoever asked for it may have been cut off before they could.
        self.0.db.write(move |tx| store::stop(tx, app)).await?;
        self.wait_published(app).await?;
        Removal::Unserved.passed();
        // Those of an open drain as well.
        let old = self.not_serving(app).await?;
        let serving = self.0.db.read(move |c| store::live(c, app)).await?;
        let drain = match &serving {
            Some(serving) => self.drain_of(serving).await?,
            None => self.0.limits().drain,
        };
        self.retire_drained(app, &old, drain).await?;
        Removal::Drained.passed();
        let owner = plan::owner(app);
        let mine: Vec<i64> = {
            let live = containers.live();
            let all = live.borrow().clone();
            all.iter()
                .filter(|l| l.owner == owner)
                .map(|l| l.row)
                .collect()
        };
        for row in &mine {
            containers.retire(*row, STOP_GRACE).await.map_err(told)?;
        }
        for row in mine {
            containers
                .wait_gone(row, STOP_GRACE * 4)
                .await
                .map_err(told)?;
        }
        self.drains_over(app, STOP_GRACE * 3).await?;
        Removal::Stopped.passed();
        self.0.ports.attachments.forget(app).await?;
        Removal::Detached.passed();
        containers
            .remove_network(&plan::network(app))
            .await
            .map_err(told)?;
        Removal::Unlinked.passed();
        let releases = self.releases(app).await?;
        for release in &releases {
            if release.unreadable {
                tracing::warn!(
                    app,
                    release = release.number,
                    "volumes that only this release names are not known: its settings cannot be read"
                );
            }
            self.remove_image(&release.image_tag).await?;
            if volumes {
                for volume in release.settings.volumes.keys() {
                    let name = plan::volume(app, volume);
                    containers.remove_volume(&name).await.map_err(told)?;
                }
            }
        }
        Removal::Imageless.passed();
        for deploy in self.list(Some(app), 1_000).await? {
            self.0.logs.remove(deploy.id);
        }
        self.remove_all_folders(app)?;
        if let Err(error) = std::fs::remove_dir_all(self.repo(app))
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(app, %error, "a repository's cache could not be removed");
        }
        Removal::Emptied.passed();
        self.0.ports.apps.delete(app, facts.name).await?;
        Removal::Deleted.passed();
        Ok(())
    }
}
