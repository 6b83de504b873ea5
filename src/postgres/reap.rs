//! Servers and attachments that say they are on their way though nothing works
//! on them any more: their job failed without a word, as one that panics does.

use super::database::State;
use super::{ATTACHMENT_JOB, Databases, JOB, link, store};
use crate::base::clock::UnixMs;
use crate::db::DbError;
use crate::events::{self, Level, NewEvent};
use crate::jobs;

const WHY: &str = "the work on it broke off unexpectedly; the daemon's log says where";

impl Databases {
    /// Ends what no open job works on.
    pub async fn reap(&self) {
        let ended: Result<_, DbError> = self
            .db
            .write(|tx| {
                let now = UnixMs::now();
                let making = jobs::worked_on(tx, JOB, "database")?;
                let mut failed = Vec::new();
                for database in store::all(tx)? {
                    let over = matches!(database.state, State::Ready | State::Failed);
                    if over || making.contains(&database.id) {
                        continue;
                    }
                    let from = database.state;
                    store::set_state(tx, database.id, from, State::Failed, Some(WHY), now)?;
                    let message = match database.state {
                        State::Removing => format!(
                            "The database {0} was not removed: {WHY}. `freehold db rm {0}` tries again.",
                            database.name
                        ),
                        _ => format!("The database {} could not be created: {WHY}.", database.name),
                    };
                    let event =
                        NewEvent::new("database.failed", Level::Error, database.subject(), message);
                    events::record(tx, now, &event)?;
                    failed.push(database);
                }
                let linking = jobs::worked_on(tx, ATTACHMENT_JOB, "attachment")?;
                for link in store::unsettled_attachments(tx)? {
                    if !linking.contains(&link.id) {
                        link::fail(tx, &link, WHY, now)?;
                    }
                }
                Ok(failed)
            })
            .await;
        match ended {
            Ok(failed) => {
                for database in failed {
                    tracing::warn!(database = %database.name, "a database that nothing works on is ended");
                    self.stop_failed(&database).await;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "whether databases were left half done could not be seen");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::base::ids::{DatabaseName, InstallationId};
    use crate::base::secret::{MasterKey, Secret};
    use crate::base::shutdown::{Shutdown, Tasks};
    use crate::config::Config;
    use crate::db::{Db, Kind};
    use crate::docker::Engine;
    use crate::supervise::Supervisor;

    #[tokio::test]
    async fn f8_a_database_that_nothing_works_on_any_more_failed_and_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(&folder.path().join("state.db"), Kind::State).unwrap();
        let key = Arc::new(MasterKey::from_bytes(&[7; 32]).unwrap());
        let socket = format!("unix://{}/none.sock", folder.path().display());
        let engine = Engine::connect(&socket).unwrap();
        let installation = InstallationId::parse("box").unwrap();
        let tasks = Tasks::new(Shutdown::new());
        let supervisor = Supervisor::start(
            engine.clone(),
            db.clone(),
            Arc::clone(&key),
            &installation,
            &Config::default(),
            &tasks,
        )
        .await
        .unwrap();
        let (databases, _) = Databases::new(db.clone(), Arc::clone(&key), engine, supervisor);
        let made: Result<Vec<i64>, DbError> = db
            .write(move |tx| {
                let mut made = Vec::new();
                for (name, state) in [
                    ("worked", State::Creating),
                    ("lost", State::Starting),
                    ("well", State::Ready),
                    ("going", State::Removing),
                ] {
                    let row = store::NewRow {
                        name: DatabaseName::parse(name)
                            .map_err(|e| DbError::Unavailable(e.to_string()))?,
                        version: 17,
                        image: "postgres:17".into(),
                        memory_bytes: 512 << 20,
                    };
                    let id = store::insert(tx, &key, &row, &Secret::new("p"), UnixMs(1))?;
                    store::set_state(tx, id, State::Creating, state, None, UnixMs(1))?;
                    made.push(id);
                }
                super::super::enqueue(tx, made[0], UnixMs(1))?;
                Ok(made)
            })
            .await;
        let made = made.unwrap();
        databases.reap().await;
        let mut states = Vec::new();
        for id in &made {
            states.push(databases.by_id(*id).await.unwrap().unwrap().state);
        }
        assert_eq!(
            states,
            [State::Creating, State::Failed, State::Ready, State::Failed]
        );
        let told: Vec<events::Event> = db.read(|c| events::newest(c, None, 10)).await.unwrap();
        let said = |part: &str| told.iter().any(|e| e.message.contains(part));
        assert!(said("The database lost could not be created"), "{told:?}");
        assert!(said("`freehold db rm going` tries again"), "{told:?}");
        assert_eq!(told.len(), 2, "once each");
        databases.reap().await;
        let again: Vec<events::Event> = db.read(|c| events::newest(c, None, 10)).await.unwrap();
        assert_eq!(again.len(), 2);
    }
}
