//! What a handler itself tells of what it did, beside what the layer finds to differ.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use serde_json::{Map, Value};

use crate::audit;
use crate::base::secret::Secret;

/// Names told at once.
const MOST_NAMES: usize = 60;

/// Names and numbers for the outcome, never secrets. Where nothing is written down, nobody reads it.
#[derive(Clone, Debug, Default)]
pub struct Telling(Arc<Mutex<Map<String, Value>>>);

impl Telling {
    /// Tells `value` under `what`.
    pub fn tell(&self, what: &str, value: impl Into<Value>) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.insert(what.to_owned(), value.into());
    }

    /// Tells these names under `what`, and of very many how many there are: the log is never trimmed.
    pub fn names<'a>(&self, what: &str, names: impl Iterator<Item = &'a str>) {
        let mut all: Vec<String> = names.map(str::to_owned).collect();
        if let Some(more) = all.len().checked_sub(MOST_NAMES).filter(|more| *more > 0) {
            all.truncate(MOST_NAMES);
            all.push(format!("and {more} more"));
        }
        self.tell(what, all);
    }

    /// Tells what becomes of the volumes of an app that is removed.
    pub fn volumes(&self, go: bool) {
        self.tell("volumes", if go { "deleted" } else { "kept" });
    }

    /// Tells these rows under `what`.
    pub fn rows(&self, what: &str, ids: impl Iterator<Item = i64>) {
        self.tell(what, ids.take(MOST_NAMES).collect::<Vec<i64>>());
    }

    /// Tells the session that was begun, by its mark in the list of sessions: never by its cookie.
    pub fn session(&self, token: &Secret) {
        self.tell("session", crate::users::session_mark(token));
    }

    /// This row was made: another of its kind, made at the same time, is another entry's.
    pub fn made(&self, id: i64) {
        self.tell(audit::MADE, id);
    }

    /// All that was told.
    pub(super) fn told(&self) -> Map<String, Value> {
        let told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.clone()
    }
}

impl<S: Sync> FromRequestParts<S> for Telling {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_default())
    }
}
