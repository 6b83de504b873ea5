//! Changed settings on their way to an app's containers.

use std::time::Duration;

use rusqlite::Transaction;

use crate::base::clock::UnixMs;
use crate::base::retry::Backoff;
use crate::db::DbError;
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
    /// Makes a release of the live image with the settings of now, where something is live and not
    /// stopped, or on its way: a deploy in work has read the settings already. For changed env, memory,
    /// databases. A stopped app has them when it starts, one that was never deployed with its first deploy.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn apply_settings(
        &self,
        app: i64,
        by: &str,
        now: UnixMs,
    ) -> Result<Option<i64>, DeployError> {
        let found = self.0.db.read(move |c| {
            let open = store::unsettled(c)?;
            let open: Vec<Cause> = open
                .into_iter()
                .filter(|d| d.app == app)
                .map(|d| d.cause)
                .collect();
            Ok::<_, DbError>((store::live(c, app)?, open))
        });
        let (live, open) = found.await?;
        let runs = live.as_ref().is_some_and(|live| !live.stopped);
        if live.is_some_and(|live| live.stopped) {
            let note = move |tx: &Transaction<'_>| store::settings_changed(tx, app);
            self.0.db.write(note).await?;
        }
        let cause = match open.as_slice() {
            _ if runs => Cause::Settings,
            [] => {
                let settle = move |tx: &Transaction<'_>| Owed::Settings.settle(tx, app, now);
                self.0.db.write(settle).await?;
                return Ok(None);
            }
            // It takes the place of the start that it was asked for after, so it starts the app.
            open if open.contains(&Cause::Restart) => Cause::Restart,
            _ => Cause::Settings,
        };
        let new = by_person(app, Source::Settings, cause, by);
        self.create(new, now).await.map(Some)
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
