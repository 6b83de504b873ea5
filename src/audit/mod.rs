//! The audit log: who did what, from where, what it changed, how it ended.
//!
//! Written in two rows that are never touched again (triggers refuse it): the
//! intent before the work begins, the outcome when it is over. An intent whose
//! outcome never came was cut off by a kill or a power cut, and says so. What
//! strangers try is bounded by [`crowd`]; what a value was is never written for
//! a secret, only that it differs ([`facts`]). Nothing is ever removed. Who may
//! do what, and which requests are recorded, is left to `web`.

pub mod crowd;
pub mod facts;
mod store;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value};

use crate::base::clock::UnixMs;
use crate::base::crash_point;
use crate::base::shutdown::Tasks;
use crate::db::{Db, DbError};

pub use crowd::Class;
use crowd::Crowd;

/// What kind of somebody acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A signed-in person.
    User,
    /// A program with a token.
    Token,
    /// Somebody on the box, over its own socket.
    Local,
    /// A git host.
    Webhook,
    /// Nobody who is known.
    Nobody,
    /// An edit of the settings files.
    File,
}

impl Kind {
    /// The stored word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Token => "token",
            Self::Local => "local",
            Self::Webhook => "webhook",
            Self::Nobody => "nobody",
            Self::File => "file",
        }
    }
}

/// Who acts, and from where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// What kind of somebody.
    pub kind: Kind,
    /// The row of the user or token, or the uid.
    pub id: Option<i64>,
    /// The name.
    pub name: String,
    /// The token's name or the delivery's id.
    pub via: String,
    /// Where from; empty on the box itself.
    pub address: String,
    /// The request's id at the edge.
    pub request: String,
}

/// What is acted on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// `app`, `database`, …; empty for the box.
    pub kind: &'static str,
    /// Its row, where it has one.
    pub id: Option<i64>,
    /// Its name.
    pub name: String,
}

/// What is about to be done.
#[derive(Clone, Debug)]
pub struct Intent {
    /// Who, and from where.
    pub who: Who,
    /// What: `app.env.change`.
    pub action: String,
    /// On what.
    pub subject: Subject,
}

/// How it ended.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// As answered over HTTP.
    pub status: u16,
    /// A sentence; empty when all went well.
    pub detail: String,
    /// What differs, before.
    pub was: Map<String, Value>,
    /// What differs, after.
    pub became: Map<String, Value>,
}

/// An entry as it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Rising with time.
    pub id: i64,
    /// When it was begun.
    pub at: UnixMs,
    /// As [`Kind::as_str`].
    pub kind: String,
    /// The row of the user or token, or the uid.
    pub who_id: Option<i64>,
    /// The name.
    pub who: String,
    /// The token's name or the delivery's id.
    pub via: String,
    /// Where from.
    pub address: String,
    /// The request's id.
    pub request: String,
    /// What.
    pub action: String,
    /// `app`, `database`, …
    pub subject_kind: String,
    /// Its row.
    pub subject_id: Option<i64>,
    /// Its name.
    pub subject: String,
    /// How it ended; none while it goes on, and for ever when it was cut off.
    pub end: Option<End>,
    /// Whether it goes on now.
    pub open: bool,
}

/// The end of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// When.
    pub at: UnixMs,
    /// As answered over HTTP.
    pub status: u16,
    /// A sentence.
    pub detail: String,
    /// What differs, before.
    pub was: Map<String, Value>,
    /// What differs, after.
    pub became: Map<String, Value>,
}

impl Entry {
    /// `done`, `refused`, `failed`, `under way` or `cut off`.
    pub fn state(&self) -> &'static str {
        match &self.end {
            Some(end) if end.status < 400 => "done",
            Some(end) if end.status < 500 => "refused",
            Some(_) => "failed",
            None if self.open => "under way",
            None => "cut off",
        }
    }

    /// What there is to know of the end, as a sentence; empty when all went well.
    pub fn detail(&self) -> &str {
        match (&self.end, self.open) {
            (Some(end), _) => &end.detail,
            (None, true) => "",
            (None, false) => {
                "Freehold was cut off while this was done: look at how things stand now."
            }
        }
    }
}

/// Which entries; all of it must fit.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// A name, a token's name, or a kind.
    pub who: Option<String>,
    /// An action, or the beginning of some: `app.env`.
    pub action: Option<String>,
    /// A name, or with its kind: `app:shop`.
    pub subject: Option<String>,
    /// Not before.
    pub since: Option<UnixMs>,
    /// Not after.
    pub until: Option<UnixMs>,
    /// Stands anywhere in it.
    pub text: Option<String>,
    /// Only older ones than this.
    pub before: Option<i64>,
}

/// An intent that is written, whose outcome is not.
#[derive(Debug)]
pub struct Begun {
    id: i64,
    open: Open,
}

type Open = Arc<Mutex<BTreeSet<i64>>>;

impl Drop for Begun {
    fn drop(&mut self) {
        lock(&self.open).remove(&self.id);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The field of an outcome that tells the row of what was made: when its intent was written there was none.
pub const MADE: &str = "id";

/// The log's handle; cheap to clone.
#[derive(Clone)]
pub struct Audit {
    db: Db,
    open: Open,
    crowd: Arc<Mutex<Crowd>>,
}

/// How often what was only counted is looked at.
const TURN: Duration = Duration::from_secs(60);

/// The points at which a kill is tried: around each of the two rows.
pub fn crash_points() -> Vec<String> {
    [
        "intent.before",
        "intent.after",
        "outcome.before",
        "outcome.after",
    ]
    .into_iter()
    .map(|point| format!("audit.{point}"))
    .collect()
}

impl Audit {
    /// The log in `db`.
    pub fn new(db: Db) -> Self {
        Self {
            db,
            open: Open::default(),
            crowd: Arc::default(),
        }
    }

    /// Writes down, once an hour is over, what was only counted in it.
    pub fn spawn(&self, tasks: &Tasks) {
        let audit = self.clone();
        let shutdown = tasks.shutdown().clone();
        tasks.spawn_core("audit", async move {
            loop {
                tokio::select! {
                    () = shutdown.begun() => return,
                    () = tokio::time::sleep(TURN) => audit.turn(UnixMs::now()).await,
                }
            }
        });
    }

    async fn turn(&self, now: UnixMs) {
        let over = lock(&self.crowd).turn(now);
        for count in over {
            let (intent, outcome) = count.entry();
            if let Err(error) = self.both(intent, outcome, now).await {
                tracing::warn!(%error, "a count of refused requests could not be written down");
            }
        }
    }

    /// Whether what this one does is written down before it is begun; not when too
    /// many of its like were refused in this hour.
    pub fn admits(&self, class: &Class, now: UnixMs) -> bool {
        lock(&self.crowd).admits(class, now)
    }

    /// Counts a refusal of this one. Says whether it is to be written down by itself; what `stands` in the log already
    /// does, and is not told a second time by a count.
    pub fn refused(&self, class: &Class, address: &str, stands: bool, now: UnixMs) -> bool {
        lock(&self.crowd).refused(class, address, stands, now)
    }

    /// Writes down what is about to be done.
    ///
    /// # Errors
    /// Only the database's: then it must not be done.
    pub async fn begin(&self, intent: Intent, now: UnixMs) -> Result<Begun, DbError> {
        crash_point::hit("audit.intent.before");
        let open = Arc::clone(&self.open);
        let id = self
            .db
            .write(move |tx| {
                let id = store::begin(tx, &intent, now)?;
                lock(&open).insert(id);
                Ok::<_, DbError>(id)
            })
            .await?;
        crash_point::hit("audit.intent.after");
        Ok(Begun {
            id,
            open: Arc::clone(&self.open),
        })
    }

    /// Writes down how it ended.
    ///
    /// # Errors
    /// Only the database's: the entry reads as cut off then.
    pub async fn end(&self, begun: Begun, outcome: Outcome, now: UnixMs) -> Result<(), DbError> {
        crash_point::hit("audit.outcome.before");
        let id = begun.id;
        self.db
            .write(move |tx| store::end(tx, id, &outcome, now))
            .await?;
        crash_point::hit("audit.outcome.after");
        Ok(())
    }

    /// Writes down something that is over already.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn both(&self, intent: Intent, outcome: Outcome, now: UnixMs) -> Result<(), DbError> {
        self.db
            .write(move |tx| {
                let id = store::begin(tx, &intent, now)?;
                store::end(tx, id, &outcome, now)
            })
            .await
    }

    /// The newest entries that fit, newest first.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn list(&self, filter: Filter, limit: u32) -> Result<Vec<Entry>, DbError> {
        let open = Arc::clone(&self.open);
        self.db
            .read(move |c| {
                let mut entries = store::list(c, &filter, limit)?;
                let open = lock(&open);
                for entry in &mut entries {
                    entry.open = open.contains(&entry.id);
                }
                Ok(entries)
            })
            .await
    }
}

#[cfg(test)]
mod tests;
