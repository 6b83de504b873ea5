//! Changed settings on their way to an app's containers.

use std::time::Duration;

use rusqlite::Transaction;

use crate::base::clock::UnixMs;
use crate::base::retry::Backoff;
use crate::db::DbError;
use crate::jobs::{self, JobContext, Outcome, Owed};

use super::create::{by_person, insert};
use super::row::Cause;
use super::source::Source;
use super::state::State;
use super::{DeployError, Deploys, store};

const AGAIN: Backoff = Backoff {
    first: Duration::from_secs(1),
    max: Duration::from_secs(60),
    factor: 3,
};

impl Deploys {
    /// Makes a release of the live image with the settings of now, where something is live and not
    /// stopped, or on its way: a deploy in work has read the settings already. For changed env, memory,
    /// databases. A stopped app has them when it starts, one that was never deployed with its first deploy.
    ///
    /// # Errors
    /// When the app is being removed or gone, or the database refuses.
    pub async fn apply_settings(
        &self,
        app: i64,
        by: &str,
        now: UnixMs,
    ) -> Result<Option<i64>, DeployError> {
        self.ask_for_settings(app, by, now, None).await
    }

    /// [`Self::apply_settings`] as the last part of the work `job`, which names the deploy from then on. What
    /// is owed no more was asked for already, by this work before a crash or by another change.
    pub async fn apply_settings_in(&self, job: i64, app: i64, by: &str) -> Outcome {
        let now = UnixMs::now();
        let asked = self.ask_for_settings(app, by, now, Some(job)).await;
        ended(asked.map(drop), now, 1)
    }

    async fn ask_for_settings(
        &self,
        app: i64,
        by: &str,
        now: UnixMs,
        job: Option<i64>,
    ) -> Result<Option<i64>, DeployError> {
        self.facts_to_deploy(app).await?;
        let new = by_person(app, Source::Settings, Cause::Settings, by);
        State::Queued.crash_before();
        // Looked at and asked for in one step: what starts or stops the app comes before or after.
        let asked = move |tx: &Transaction<'_>| {
            if job.is_some() && !Owed::Settings.is_owed(tx, app)? {
                return Ok(None);
            }
            store::owe_settings(tx, app)?;
            let runs = store::live(tx, app)?.is_some_and(|live| !live.stopped);
            if runs || store::unsettled(tx)?.iter().any(|open| open.app == app) {
                let deploy = insert(tx, &new, now)?;
                if let Some(job) = job {
                    jobs::note_deploy(tx, job, deploy)?;
                }
                return Ok(Some(deploy));
            }
            Owed::Settings.settle(tx, app, now)?;
            Ok::<_, DbError>(None)
        };
        let deploy = self.0.db.write(asked).await?;
        if let Some(id) = deploy {
            self.0.logs.open(id);
        }
        State::Queued.crash_after();
        Ok(deploy)
    }

    /// The handler of what is [`Owed`]: nobody asked for the work that changed settings need.
    pub(super) async fn bring(
        &self,
        owed: Owed,
        context: JobContext,
        payload: serde_json::Value,
    ) -> Outcome {
        let Some(app) = payload["app"].as_i64() else {
            return Outcome::Failed("the work names no app".into());
        };
        let by = payload["by"].as_str().unwrap_or("changed settings");
        let now = UnixMs::now();
        let asked = match owed {
            Owed::Settings => self.apply_settings(app, by, now).await.map(drop),
            Owed::Counts => self.apply_counts(app, now).await,
        };
        ended(asked, now, context.attempt)
    }
}

fn ended(asked: Result<(), DeployError>, now: UnixMs, attempt: u32) -> Outcome {
    match asked {
        // An app that is going away needs nothing any more.
        Ok(()) | Err(DeployError::Conflict(_)) => Outcome::Done,
        Err(error) => Outcome::Again {
            at: now.plus(AGAIN.delay(attempt)),
            why: error.to_string(),
        },
    }
}
