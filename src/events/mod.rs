//! What happened: a row first, then told to everyone who listens.
//!
//! [`record`] writes the row in the transaction of the change itself, so an
//! event exists exactly when its change does. The teller follows commits and
//! broadcasts new rows; a slow listener misses some and reads the table.

mod store;

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use crate::base::clock::UnixMs;
use crate::base::shutdown::Tasks;
use crate::db::{Db, DbError};

pub use store::{newest, newest_time, record};

/// How much an event wants of its reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Good to know.
    Info,
    /// Look when you have time.
    Warning,
    /// Something failed.
    Error,
}

impl Level {
    /// All, the lightest first.
    pub const ALL: [Self; 3] = [Self::Info, Self::Warning, Self::Error];

    /// As it is written: `info`, `warning`, `error`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }

    fn parse(text: &str) -> Self {
        match text {
            "error" => Self::Error,
            "warning" => Self::Warning,
            _ => Self::Info,
        }
    }
}

/// An event not yet recorded.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// Such as `deploy.live`.
    pub kind: &'static str,
    /// How much it wants of its reader.
    pub level: Level,
    /// `app:7`, `database:3`, `box`.
    pub subject: String,
    /// A sentence for a person.
    pub message: String,
    /// Further facts; no secrets.
    pub data: serde_json::Value,
}

impl NewEvent {
    /// An event without further facts.
    pub fn new(
        kind: &'static str,
        level: Level,
        subject: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            level,
            subject: subject.into(),
            message: message.into(),
            data: serde_json::Value::Object(serde_json::Map::new()),
        }
    }

    /// The same with facts beside the sentence.
    #[must_use]
    pub fn with(mut self, data: serde_json::Value) -> Self {
        self.data = data;
        self
    }
}

/// A recorded event.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// Rising with time.
    pub id: i64,
    /// When.
    pub at_ms: UnixMs,
    /// Such as `deploy.live`.
    pub kind: String,
    /// How much it wants of its reader.
    pub level: Level,
    /// `app:7`, `database:3`, `box`.
    pub subject: String,
    /// A sentence for a person.
    pub message: String,
    /// Further facts.
    pub data: serde_json::Value,
}

/// Tells listeners of committed events.
#[derive(Clone, Debug)]
pub struct Events {
    sender: broadcast::Sender<Event>,
}

/// Events a slow listener may lag behind before it misses some.
const BACKLOG: usize = 1024;
/// Rows kept; older ones are removed as new ones come.
const KEPT: i64 = 50_000;

impl Events {
    /// Starts the teller.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn start(db: Db, tasks: &Tasks) -> Result<Self, DbError> {
        let (sender, _) = broadcast::channel(BACKLOG);
        // Before the first look: what is written between the two is told.
        let mut commits = db.commits();
        let mut last = db.read(store::last).await?;
        let told = sender.clone();
        let shutdown = tasks.shutdown().clone();
        tasks.spawn_core("events", async move {
            let mut trimmed = last;
            loop {
                tokio::select! {
                    () = shutdown.begun() => return,
                    changed = commits.changed() => if changed.is_err() { return },
                }
                let fresh = match db.read(move |c| store::after(c, last)).await {
                    Ok(fresh) => fresh,
                    Err(error) => {
                        tracing::warn!(%error, "events could not be read; trying again");
                        tokio::time::sleep(Duration::from_secs(1)).await;
                        continue;
                    }
                };
                for event in fresh {
                    last = event.id;
                    if told.send(event).is_err() {
                        tracing::trace!("nobody listens to events");
                    }
                }
                if last - trimmed > 1_000 {
                    trimmed = last;
                    let removed: Result<usize, DbError> =
                        db.write(move |tx| store::forget(tx, last - KEPT)).await;
                    if let Err(error) = removed {
                        tracing::warn!(%error, "old events could not be removed");
                    }
                }
            }
        });
        Ok(Self { sender })
    }

    /// Everything recorded from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.sender.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::shutdown::Shutdown;
    use crate::db::Kind;

    #[tokio::test]
    async fn an_event_is_told_after_its_commit() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(&folder.path().join("state.db"), Kind::State).unwrap();
        let tasks = Tasks::new(Shutdown::new());
        let events = Events::start(db.clone(), &tasks).await.unwrap();
        let mut heard = events.subscribe();
        db.write(|tx| {
            record(
                tx,
                UnixMs(5),
                &NewEvent::new("app.created", Level::Info, "app:1", "Made."),
            )
        })
        .await
        .unwrap();
        let event = heard.recv().await.unwrap();
        assert_eq!(event.subject, "app:1");
        assert!(tasks.finish(Duration::from_secs(60)).await);
    }
}
