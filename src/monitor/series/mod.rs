//! Figures over time, in metrics.db: written as samples arrive, read as slots.
//!
//! Invariants: each sample goes into one slot of every step at once, so nothing
//! is ever computed from raw samples later; the number of rows is bounded by
//! the steps' retention; reading a graph reads as many rows as it has slots.

mod read;
mod store;
#[cfg(test)]
mod tests;

pub use read::{BoxSlot, CheckSlot, TrafficSlot};

use crate::base::clock::UnixMs;
use crate::db::{Db, DbError};

use super::latency::Latency;
use super::step::Window;

/// The box at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BoxSample {
    /// Share of all cores.
    pub cpu: f64,
    /// Bytes in use.
    pub memory_used: u64,
    /// Bytes in all.
    pub memory_total: u64,
    /// Bytes of swap in use.
    pub swap_used: u64,
    /// Bytes of disk taken.
    pub disk_used: u64,
    /// Bytes of disk in all.
    pub disk_total: u64,
    /// Over a minute.
    pub load: f64,
    /// Bytes through the cards since the sample before.
    pub received: u64,
    /// The same, out.
    pub sent: u64,
}

/// What a subject answered since the sample before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrafficSample {
    /// `app:7`.
    pub subject: String,
    /// Requests that ended.
    pub requests: u64,
    /// Answers 4xx.
    pub client_errors: u64,
    /// Answers 5xx.
    pub server_errors: u64,
    /// The edge's own errors because the upstream failed.
    pub failures: u64,
    /// Bytes of bodies from clients.
    pub received: u64,
    /// And to them.
    pub sent: u64,
    /// From the request's head to the answer's head.
    pub latency: Latency,
}

/// How a check ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckSample {
    /// Of which check.
    pub check: i64,
    /// Where it failed and why; `None` when it was answered.
    pub failed: Option<(&'static str, String)>,
    /// How long it took.
    pub millis: u64,
}

/// How a check last ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastCheck {
    /// When.
    pub at: UnixMs,
    /// Whether it was answered.
    pub up: bool,
    /// Where it failed.
    pub stage: Option<String>,
    /// Why.
    pub why: Option<String>,
    /// How long it took.
    pub millis: u64,
}

/// The handle; cheap to clone.
#[derive(Clone)]
pub struct Series {
    db: Db,
}

impl Series {
    /// Over metrics.db.
    pub fn new(db: Db) -> Self {
        Self { db }
    }

    /// Adds one round of samples.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn add(
        &self,
        at: UnixMs,
        figures: Option<BoxSample>,
        traffic: Vec<TrafficSample>,
    ) -> Result<(), DbError> {
        self.db
            .write(move |tx| {
                if let Some(figures) = &figures {
                    store::add_box(tx, at, figures)?;
                }
                for sample in &traffic {
                    store::add_traffic(tx, at, sample)?;
                }
                Ok(())
            })
            .await
    }

    /// Adds the end of a check.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn add_check(&self, at: UnixMs, sample: CheckSample) -> Result<(), DbError> {
        self.db
            .write(move |tx| store::add_check(tx, at, &sample))
            .await
    }

    /// Removes what is past its time; says how many rows.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn prune(&self, now: UnixMs) -> Result<usize, DbError> {
        self.db.write(move |tx| store::prune(tx, now)).await
    }

    /// The box over `window`, one entry a slot; `None` where nothing was measured.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn of_box(&self, window: Window) -> Result<Vec<Option<BoxSlot>>, DbError> {
        self.db.read(move |c| store::box_slots(c, window)).await
    }

    /// What each of `subjects` answered over `window`, in their order. A slot in
    /// which the box was measured and nobody asked is zero, not unknown.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn of_traffic(
        &self,
        subjects: Vec<String>,
        window: Window,
    ) -> Result<Vec<Vec<Option<TrafficSlot>>>, DbError> {
        self.db
            .read(move |c| {
                let measured: Vec<bool> = store::box_slots(c, window)?
                    .iter()
                    .map(Option::is_some)
                    .collect();
                subjects
                    .iter()
                    .map(|subject| store::traffic_slots(c, subject, window, &measured))
                    .collect()
            })
            .await
    }

    /// How each of `checks` went over `window`, in their order.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn of_checks(
        &self,
        checks: Vec<i64>,
        window: Window,
    ) -> Result<Vec<Vec<CheckSlot>>, DbError> {
        self.db
            .read(move |c| {
                checks
                    .iter()
                    .map(|check| store::check_slots(c, *check, window))
                    .collect()
            })
            .await
    }

    /// How each of `checks` went over `window` in all, in their order: added up where it is
    /// stored, for whoever shows one figure of many slots.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn sums_of_checks(
        &self,
        checks: Vec<i64>,
        window: Window,
    ) -> Result<Vec<CheckSlot>, DbError> {
        self.db
            .read(move |c| {
                checks
                    .iter()
                    .map(|check| store::check_sum(c, *check, window))
                    .collect()
            })
            .await
    }

    /// How every check last ended.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn last_checks(&self) -> Result<Vec<(i64, LastCheck)>, DbError> {
        self.db.read(store::last_checks).await
    }

    /// Forgets a check that is gone.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn forget_check(&self, check: i64) -> Result<(), DbError> {
        self.db
            .write(move |tx| store::forget_check(tx, check))
            .await
    }
}
