//! Changed settings on their way to an app's containers.

use std::time::Duration;

use crate::base::clock::UnixMs;
use crate::base::retry::Backoff;
use crate::jobs::{JobContext, Outcome, Owed};

use super::create::by_person;
use super::row::Cause;
use super::source::Source;
use super::{DeployError, Deploys, store};

const AGAIN: Backoff = Backoff {
    first: Duration::from_secs(1),
    max: Duration::from_secs(60),
    factor: 3,
};

impl Deploys {
    /// Makes a release of the live image with the settings of now, where
    /// something is live and not stopped. For changed env, memory, databases.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn apply_settings(
        &self,
        app: i64,
        by: &str,
        now: UnixMs,
    ) -> Result<Option<i64>, DeployError> {
        let live = self.0.db.read(move |c| store::live(c, app)).await?;
        match live {
            Some(live) if !live.stopped => {
                let new = by_person(app, Source::Settings, Cause::Settings, by);
                self.create(new, now).await.map(Some)
            }
            // The next deploy has them by itself.
            _ => {
                self.0
                    .db
                    .write(move |tx| Owed::Settings.settle(tx, app, now))
                    .await?;
                Ok(None)
            }
        }
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
        match asked {
            // An app that is going away needs nothing any more.
            Ok(()) | Err(DeployError::Conflict(_)) => Outcome::Done,
            Err(error) => Outcome::Again {
                at: UnixMs::now().plus(AGAIN.delay(context.attempt)),
                why: error.to_string(),
            },
        }
    }
}
