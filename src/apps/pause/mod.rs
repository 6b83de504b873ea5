//! A pause: an app's requests are held while something of it is exchanged.
//!
//! It is a row with a deadline, so a crash in the middle ends it by itself; one
//! for each piece of work that needs it, and the app is paused until the last
//! of them is let go or is over.

pub(super) mod store;

use std::time::Duration;

use super::{AppError, Apps};
use crate::base::clock::UnixMs;

/// A pause under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pause {
    /// The app's row.
    pub app: i64,
    /// Since when, by the first who needed it.
    pub since: UnixMs,
    /// When it ends by itself: when the last one does.
    pub until: UnixMs,
}

impl Apps {
    /// Holds the requests of these apps for at most `limit`, because `owner` needs it: a kind of work and its number, such
    /// as `restore:5`. Asked for again by the same one it lasts so long from then.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn pause(
        &self,
        owner: String,
        apps: Vec<i64>,
        limit: Duration,
        now: UnixMs,
    ) -> Result<(), AppError> {
        self.db
            .write(move |tx| Ok(store::pause(tx, &owner, &apps, now, now.plus(limit))?))
            .await
    }

    /// Whatever `owner` held is let through again, unless others hold it, too; nothing is no error.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn resume(&self, owner: String) -> Result<(), AppError> {
        self.db
            .write(move |tx| Ok(store::resume(tx, &owner)?))
            .await
    }

    /// The clock was set by `by_ms` (below 0: back); `None` when that happened while no daemon ran. Pauses end when they
    /// had to, at the latest after their whole length.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn clock_set(&self, by_ms: Option<i64>, now: UnixMs) -> Result<(), AppError> {
        self.db
            .write(move |tx| Ok(store::clock_set(tx, by_ms, now)?))
            .await
    }

    /// The pauses, one an app, those whose deadline is over too until they are cleared away.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn pauses(&self) -> Result<Vec<Pause>, AppError> {
        self.db.read(|c| Ok(store::all(c)?)).await
    }
}
