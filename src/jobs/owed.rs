//! What changed settings owe to an app's containers: written in the transaction that changes them, settled in the one
//! that queues the work.
//!
//! Whoever changes an app's variables, scale or databases asks for the work right after; the note is for when that
//! never comes, because the daemon was killed between the two or the change took longer than its caller waited.

use std::time::Duration;

use rusqlite::{Connection, Transaction};

use super::{NewJob, enqueue, store};
use crate::base::clock::UnixMs;
use crate::db::DbError;

/// How long whoever changed something has to ask for the work: a moment, but for a disk that is slow.
const GRACE: Duration = Duration::from_secs(10);
/// Between a removal that failed and the next.
const REST: Duration = Duration::from_secs(60);

/// What is owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owed {
    /// A deploy: variables, limits or databases are others.
    Settings,
    /// More or fewer replicas of what runs.
    Counts,
}

impl Owed {
    /// What the work that asks for it is registered under.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Settings => "app.settings",
            Self::Counts => "app.counts",
        }
    }

    fn key(self, app: i64) -> String {
        format!("{}:{app}", self.kind())
    }

    /// Notes that it is owed to `app` by what `by` changed.
    ///
    /// # Errors
    /// Only the database's.
    pub fn note(
        self,
        tx: &Transaction<'_>,
        app: i64,
        by: &str,
        now: UnixMs,
    ) -> Result<(), DbError> {
        let job = NewJob {
            kind: self.kind(),
            key: self.key(app),
            payload: serde_json::json!({ "app": app, "by": by }),
            run_at: now.plus(GRACE),
        };
        enqueue(tx, now, &job).map(drop)
    }

    /// Whether it is noted and not settled.
    ///
    /// # Errors
    /// Only the database's.
    pub fn is_owed(self, c: &Connection, app: i64) -> Result<bool, DbError> {
        store::is_open(c, self.kind(), &self.key(app))
    }

    /// The work is queued by the same transaction, or nothing runs that it could be done to.
    ///
    /// # Errors
    /// Only the database's.
    pub fn settle(self, tx: &Transaction<'_>, app: i64, now: UnixMs) -> Result<(), DbError> {
        store::settle(tx, self.kind(), &self.key(app), now)
    }
}

/// What the removal of an app is registered under.
pub const REMOVAL: &str = "app.remove";

/// Queues the removal of `app`, in the transaction that marks it as going away: marked and never removed, it could
/// neither be used nor got rid of. It waits for its turn among the app's other work.
///
/// # Errors
/// Only the database's.
pub fn queue_removal(
    tx: &Transaction<'_>,
    app: i64,
    with_volumes: bool,
    now: UnixMs,
) -> Result<(), DbError> {
    enqueue(tx, now, &removal(app, with_volumes, now)).map(drop)
}

/// Queues it once more, where no work on it is open: what failed at its limit of time, or panicked, left the app half
/// removed, and a removal has to end. Volumes go as they were to go the first time. Says whether it was queued.
///
/// # Errors
/// Only the database's.
pub fn requeue_removal(tx: &Transaction<'_>, app: i64, now: UnixMs) -> Result<bool, DbError> {
    if store::worked_on(tx, REMOVAL, "app")?.contains(&app) {
        return Ok(false);
    }
    let last = store::newest_about(tx, REMOVAL, "app", app)?;
    let volumes = last.is_some_and(|job| job.payload["volumes"].as_bool().unwrap_or(false));
    enqueue(tx, now, &removal(app, volumes, now.plus(REST))).map(|_| true)
}

fn removal(app: i64, with_volumes: bool, run_at: UnixMs) -> NewJob {
    NewJob {
        kind: REMOVAL,
        key: format!("app:{app}"),
        payload: serde_json::json!({ "app": app, "volumes": with_volumes }),
        run_at,
    }
}
