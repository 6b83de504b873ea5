//! The states a server goes through on its way in and out. Each is written
//! down first, done so that doing it twice is harmless, and left by writing
//! the next one down.

use std::time::Duration;

use super::Databases;
use super::database::{Database, State};
use super::error::PostgresError;
use super::query::{QUICK, UNLOGGED};
use super::{quote, spec, store, version, volume_proof};
use crate::base::clock::UnixMs;
use crate::base::crash_point;
use crate::base::retry::Backoff;
use crate::base::secret::sha256_hex;
use crate::db::{self, DbError};
use crate::events::{self, Level, NewEvent};
use crate::jobs::{self, JobContext, Outcome};

const PULL_LIMIT: Duration = Duration::from_secs(900);
const GONE_LIMIT: Duration = Duration::from_secs(120);
/// How long what hinders a state may pass by itself: then it has failed, and a person hears of it.
const PATIENCE: Duration = Duration::from_secs(3_600);
const AGAIN: Backoff = Backoff {
    first: Duration::from_secs(2),
    max: Duration::from_secs(60),
    factor: 2,
};

impl Databases {
    /// The handler of the job kind `database`.
    pub async fn run(&self, context: JobContext, payload: serde_json::Value) -> Outcome {
        let Some(id) = payload.get("database").and_then(serde_json::Value::as_i64) else {
            return Outcome::Failed("the work names no database".into());
        };
        loop {
            let database = match self.by_id(id).await {
                Ok(Some(database)) => database,
                Ok(None) => return Outcome::Done,
                Err(error) => return again(&context, &error),
            };
            // Asked for since this began: it waits for its word like any other.
            if database.takes_data_away() {
                match self.db.read(db::is_short).await {
                    Ok(false) => {}
                    Ok(true) => {
                        return Outcome::Again {
                            at: UnixMs::now(),
                            why: jobs::WAITS.into(),
                        };
                    }
                    Err(error) => return again(&context, &PostgresError::Db(error)),
                }
            }
            let step = match database.state {
                State::Ready => return Outcome::Done,
                State::Failed => {
                    // A crash may have come between the word and the deed.
                    self.stop_failed(&database).await;
                    return Outcome::Done;
                }
                State::Creating => self.create_step(&database).await,
                State::Starting => self.start_step(&database).await,
                State::Verifying => self.verify_step(&database).await,
                State::Removing => match self.remove_step(&database).await {
                    Ok(()) => return Outcome::Done,
                    Err(error) => {
                        self.note(&database, &error).await;
                        return again(&context, &error);
                    }
                },
            };
            let next = match step {
                Ok(next) => self.advance(&database, next, None).await,
                Err(error) if may_pass(&error, &AGAIN, context.attempt) => {
                    self.note(&database, &error).await;
                    return again(&context, &error);
                }
                Err(error) => {
                    let mut why = error.to_string();
                    if error.is_passing() {
                        why.push_str(
                            ". This was tried for an hour; when it is mended, run `freehold db create` again",
                        );
                    }
                    match self.advance(&database, State::Failed, Some(&why)).await {
                        Ok(true) => {
                            self.stop_failed(&database).await;
                            return Outcome::Failed(why);
                        }
                        other => other,
                    }
                }
            };
            // Moved or not: the next turn does what stands in the row now.
            if let Err(error) = next {
                return again(&context, &error);
            }
        }
    }

    /// Writes the next state down, with its event, unless the row is in another one meanwhile, as when
    /// its removal was asked for. Says whether it did.
    pub(super) async fn advance(
        &self,
        database: &Database,
        to: State,
        reason: Option<&str>,
    ) -> Result<bool, PostgresError> {
        crash_point::hit(&format!("postgres.create.{}.before", to.as_str()));
        let (id, from) = (database.id, database.state);
        let reason = reason.map(str::to_owned);
        let event = match (to, &reason) {
            (State::Ready, _) if database.ready.is_none() => Some(NewEvent::new(
                "database.ready",
                Level::Info,
                database.subject(),
                format!("The database {} is ready.", database.name),
            )),
            (State::Failed, Some(why)) => Some(NewEvent::new(
                "database.failed",
                Level::Error,
                database.subject(),
                format!("The database {} could not be created: {why}", database.name),
            )),
            _ => None,
        };
        let moved = self
            .db
            .write(move |tx| {
                let now = UnixMs::now();
                if !store::set_state(tx, id, from, to, reason.as_deref(), now)? {
                    return Ok(false);
                }
                if let Some(event) = event {
                    events::record(tx, now, &event)?;
                }
                Ok::<_, DbError>(true)
            })
            .await?;
        crash_point::hit(&format!("postgres.create.{}.after", to.as_str()));
        Ok(moved)
    }

    /// Shows on its row what the work waits for.
    async fn note(&self, database: &Database, error: &PostgresError) {
        let reason = error.to_string();
        let (id, state) = (database.id, database.state);
        let noted: Result<(), DbError> = self
            .db
            .write(move |tx| store::set_reason(tx, id, state, &reason))
            .await;
        if let Err(error) = noted {
            tracing::warn!(%error, database = id, "what a database waits for could not be noted");
        }
    }

    async fn create_step(&self, database: &Database) -> Result<State, PostgresError> {
        self.ensure_image(&database.image).await?;
        if database.ready.is_none() && database.attempt > 1 {
            // What an earlier try left in the volume would stop `initdb`. It
            // never was ready, so nobody ever stored anything there.
            if let Some(row) = database.container_row {
                self.supervisor.retire(row, Duration::from_secs(1)).await?;
                self.supervisor.wait_gone(row, GONE_LIMIT).await?;
            }
            self.supervisor
                .remove_volume(&database.data_volume())
                .await?;
        }
        self.supervisor.ensure_network(&database.network()).await?;
        self.supervisor
            .ensure_volume(&database.data_volume())
            .await?;
        self.supervisor
            .ensure_volume(&database.socket_volume())
            .await?;
        Ok(State::Starting)
    }

    async fn start_step(&self, database: &Database) -> Result<State, PostgresError> {
        let password = self.password(database.id).await?;
        let initial = sha256_hex(format!("initial:{}", password.expose()).as_bytes());
        let id = database.id;
        // In one transaction: a removal must know the container that a crash left behind.
        let (row, ()) = self
            .supervisor
            .want_with(spec::server(database, &initial), move |tx, row| {
                store::set_container(tx, id, Some(row))
            })
            .await?;
        self.supervisor
            .wait_ready(row.id, spec::START_DEADLINE)
            .await
            .map_err(|not_ready| PostgresError::NotAsAsked(not_ready.to_string()))?;
        Ok(State::Verifying)
    }

    async fn verify_step(&self, database: &Database) -> Result<State, PostgresError> {
        let asked = self
            .sql(
                database,
                "postgres",
                "SELECT current_setting('server_version'), current_setting('data_directory');",
                QUICK,
            )
            .await?;
        let (said, data_dir) = match asked.first().map(Vec::as_slice) {
            Some([version, folder]) => (version.clone(), folder.clone()),
            _ => {
                return Err(PostgresError::NotAsAsked(
                    "the server did not say its version".into(),
                ));
            }
        };
        if version::major_of(&said) != Some(database.version) {
            return Err(PostgresError::NotAsAsked(format!(
                "Postgres {} was asked for, but the image {} runs {said}: is the tag another image on this box?",
                database.version, database.image
            )));
        }
        let expected = spec::data_dir(database.version);
        if data_dir != expected {
            return Err(PostgresError::NotAsAsked(format!(
                "the server keeps its data in {data_dir} instead of {expected}: the image {} does not honour PGDATA",
                database.image
            )));
        }
        self.prove_volume(database, &data_dir).await?;
        let password = self.password(database.id).await?;
        let statements = format!(
            "{UNLOGGED}ALTER ROLE postgres PASSWORD {};\n\
             REVOKE CONNECT ON DATABASE postgres FROM PUBLIC;\n\
             REVOKE CONNECT ON DATABASE template1 FROM PUBLIC;\n",
            quote::literal(password.expose())
        );
        self.sql(database, "postgres", &statements, QUICK).await?;
        let id = database.id;
        self.db
            .write(move |tx| store::set_server_version(tx, id, &said))
            .await
            .map_err(PostgresError::Db)?;
        // Whoever sees it ready sees what it holds, too.
        self.look_again(id).await;
        Ok(State::Ready)
    }

    /// The data must lie on the named volume, else it is gone with the container.
    async fn prove_volume(&self, database: &Database, data_dir: &str) -> Result<(), PostgresError> {
        let argv = vec!["cat".into(), "/proc/self/mountinfo".into()];
        let seen = self.exec(database, argv, None, QUICK).await?;
        let volume = self.supervisor.volume_engine_name(&database.data_volume());
        volume_proof::lies_on(&String::from_utf8_lossy(&seen.out), data_dir, &volume).map_err(
            |found| {
                PostgresError::NotAsAsked(format!(
                    "the server's data does not lie on the volume {volume} but on {found}: it would be lost with the container"
                ))
            },
        )
    }

    /// A server that failed to come up does not go on restarting.
    pub(super) async fn stop_failed(&self, database: &Database) {
        let current = self.by_id(database.id).await.ok().flatten();
        let Some(row) = current.and_then(|d| d.container_row) else {
            return;
        };
        if let Err(error) = self.supervisor.retire(row, Duration::from_secs(10)).await {
            tracing::warn!(%error, database = %database.name, "a failed database's container could not be retired");
        }
    }

    async fn remove_step(&self, database: &Database) -> Result<(), PostgresError> {
        if let Some(row) = database.container_row {
            self.supervisor.retire(row, Duration::from_secs(60)).await?;
            self.supervisor.wait_gone(row, GONE_LIMIT).await?;
        }
        self.supervisor.remove_network(&database.network()).await?;
        for volume in [database.data_volume(), database.socket_volume()] {
            self.supervisor.remove_volume(&volume).await?;
        }
        let (id, name) = (database.id, database.name.clone());
        let subject = database.subject();
        self.db
            .write(move |tx| {
                let now = UnixMs::now();
                store::delete(tx, id)?;
                events::record(
                    tx,
                    now,
                    &NewEvent::new(
                        "database.removed",
                        Level::Info,
                        subject,
                        format!("The database {name} and its data were removed."),
                    ),
                )?;
                Ok::<_, DbError>(())
            })
            .await?;
        Ok(())
    }

    async fn ensure_image(&self, image: &str) -> Result<(), PostgresError> {
        use crate::supervise::SuperviseError;
        match self.engine.inspect_image(image).await {
            Ok(_) => return Ok(()),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(SuperviseError::Engine(error).into()),
        }
        let pulled = self
            .engine
            .pull_image(image, None, PULL_LIMIT, |line| {
                tracing::debug!(image, line, "pulling")
            })
            .await;
        match pulled {
            Ok(_) => Ok(()),
            Err(error) if error.is_unreachable() => Err(SuperviseError::Engine(error).into()),
            Err(error) => Err(PostgresError::NotAsAsked(format!(
                "the image {image} is not on this box and could not be pulled: {error}. Check the box's way to the internet, or load the image with `docker load`, then run `freehold db create` again"
            ))),
        }
    }
}

/// Whether a step that failed so is tried again, after so many tries: counted by them, as a clock may leap.
pub(super) fn may_pass(error: &PostgresError, again: &Backoff, attempt: u32) -> bool {
    error.is_passing() && again.waited(attempt) < PATIENCE
}

fn again(context: &JobContext, error: &PostgresError) -> Outcome {
    Outcome::Again {
        at: UnixMs::now().plus(AGAIN.delay(context.attempt)),
        why: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n6_what_may_pass_is_waited_for_for_an_hour_and_nothing_else_is() {
        let away = PostgresError::Db(DbError::DiskFull);
        let wrong = PostgresError::Refused("no".into());
        let tries = (1..)
            .find(|tries| !may_pass(&away, &AGAIN, *tries))
            .unwrap();
        let waited = AGAIN.waited(tries - 1);
        assert!(
            waited < PATIENCE && waited + AGAIN.max >= PATIENCE,
            "{waited:?}"
        );
        assert!(!may_pass(&wrong, &AGAIN, 1));
    }
}
