//! Managed Postgres: servers in containers, and the roles and databases of the
//! apps that use them.
//!
//! Invariants: the data lies on a volume of ours, proven before a server is
//! called ready; passwords are sealed in their rows and travel on inputs, never
//! in arguments; an app sees its own database only; data is removed only by
//! its typed name. A server's creation and removal are states in its row, taken
//! up again after a crash. What a server says of itself is read from what one
//! task last heard ([`Databases::seen`]): no page waits for a server.
//! Left to others: dumps and restores (`backup`, through the side containers
//! and the swap offered here), giving apps their variables (deploy asks
//! [`Databases::given_to`]).

mod attach;
mod database;
mod error;
#[cfg(freehold_fuzz)]
pub mod fuzz;
mod inside;
mod link;
mod make;
mod query;
mod quote;
mod reap;
mod seen;
mod spec;
mod store;
#[cfg(test)]
mod tests;
mod version;
mod volume_proof;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::base::clock::UnixMs;
use crate::base::crash_point;
use crate::base::ids::DatabaseName;
use crate::base::secret::{MasterKey, Secret, random_token};
use crate::db::{Db, DbError};
use crate::docker::Engine;
use crate::events::{self, Level, NewEvent};
use crate::jobs::{self, NewJob};
use crate::supervise::{Interactive, Spec, Supervisor, TerminalSize};

pub use attach::DATABASE_URL;
pub use database::{
    Attached, Attachment, Content, Database, Given, Inside, Link, Logical, State, crash_points,
    subject,
};
pub use error::PostgresError;
pub use inside::Counts;
pub use quote::derived;
pub use seen::{Looker, Seen};
pub use version::{SUPPORTED, parse as parse_version};

/// What [`Databases::run`] is registered under.
pub const JOB: &str = "database";
/// What [`Databases::run_attachment`] is registered under.
pub const ATTACHMENT_JOB: &str = "attachment";

/// The handle; cheap to clone.
#[derive(Clone)]
pub struct Databases {
    db: Db,
    key: Arc<MasterKey>,
    engine: Engine,
    supervisor: Supervisor,
    sight: seen::Sight,
}

/// A database to be made.
#[derive(Clone, Debug)]
pub struct NewDatabase {
    /// Its name.
    pub name: DatabaseName,
    /// Major version, one of [`SUPPORTED`].
    pub version: u32,
    /// Its memory limit.
    pub memory_bytes: u64,
}

impl Databases {
    /// A handle on the databases in `db`, and what has to be started for its readers to see
    /// what the servers say.
    pub fn new(
        db: Db,
        key: Arc<MasterKey>,
        engine: Engine,
        supervisor: Supervisor,
    ) -> (Self, Looker) {
        let (sight, looker) = seen::sight();
        let databases = Self {
            db,
            key,
            engine,
            supervisor,
            sight,
        };
        (databases, looker)
    }

    /// Writes the wish for a server down; the work follows. A failed one of the
    /// same name begins again.
    ///
    /// # Errors
    /// When the name is taken, or the wish cannot be met on any box.
    pub async fn create(&self, new: NewDatabase, by: &str) -> Result<Database, PostgresError> {
        version::parse(&new.version.to_string())?;
        if new.memory_bytes < spec::LEAST_MEMORY {
            return Err(PostgresError::Invalid(format!(
                "{} MB is too little memory for Postgres: give at least {} MB.",
                new.memory_bytes >> 20,
                spec::LEAST_MEMORY >> 20
            )));
        }
        let row = store::NewRow {
            image: format!("postgres:{}", new.version),
            name: new.name,
            version: new.version,
            memory_bytes: new.memory_bytes,
        };
        let key = Arc::clone(&self.key);
        let password = random_token()?;
        let message = format!("The database {} was asked for by {by}.", row.name);
        crash_point::hit("postgres.create.creating.before");
        let made = self
            .db
            .write(move |tx| {
                let now = UnixMs::now();
                let id = match store::by_name(tx, row.name.as_str())? {
                    Some(known) if known.state == State::Failed && known.ready.is_none() => {
                        store::begin_again(tx, known.id, &row, now)?;
                        known.id
                    }
                    Some(known) => return Err(PostgresError::NameTaken(known.name.to_string())),
                    None => store::insert(tx, &key, &row, &password, now)?,
                };
                enqueue(tx, id, now)?;
                events::record(
                    tx,
                    now,
                    &NewEvent::new("database.created", Level::Info, subject(id), message),
                )?;
                store::by_id(tx, id)?.ok_or_else(|| PostgresError::NotFound(row.name.to_string()))
            })
            .await;
        crash_point::hit("postgres.create.creating.after");
        made
    }

    /// All of them, by name.
    ///
    /// # Errors
    /// Only the state database's.
    pub async fn list(&self) -> Result<Vec<Database>, PostgresError> {
        self.db.read(|c| Ok(store::all(c)?)).await
    }

    /// The one called `name`.
    ///
    /// # Errors
    /// [`PostgresError::NotFound`] when there is none.
    pub async fn find(&self, name: &str) -> Result<Database, PostgresError> {
        let shown: String = name.chars().take(60).collect();
        self.db
            .read(move |c| {
                store::by_name(c, &shown)?.ok_or_else(|| PostgresError::NotFound(shown.clone()))
            })
            .await
    }

    /// The one with this id, if it still is.
    ///
    /// # Errors
    /// Only the state database's.
    pub async fn by_id(&self, id: i64) -> Result<Option<Database>, PostgresError> {
        self.db.read(move |c| Ok(store::by_id(c, id)?)).await
    }

    /// Removes a server with all its data. `confirm` is its name, typed again.
    ///
    /// # Errors
    /// When the name is not typed right, or apps are attached.
    pub async fn remove(&self, name: &str, confirm: &str, by: &str) -> Result<(), PostgresError> {
        let database = self.find(name).await?;
        if confirm != database.name.as_str() {
            return Err(PostgresError::Invalid(format!(
                "removing the database {0} destroys all its data: type its name to confirm, as `freehold db rm {0}` asks for it (`--yes` does not ask).",
                database.name
            )));
        }
        let message = format!(
            "Removal of the database {} was asked for by {by}.",
            database.name
        );
        crash_point::hit("postgres.create.removing.before");
        let written = self
            .db
            .write(move |tx| {
                let now = UnixMs::now();
                let apps: Vec<String> = store::attachments_in_use(tx, database.id)?
                    .into_iter()
                    .map(|a| a.app_name)
                    .collect();
                if !apps.is_empty() {
                    return Err(PostgresError::Conflict(format!(
                        "{} is used by {}: detach it first with `freehold db detach {0} {2}`",
                        database.name,
                        apps.join(", "),
                        apps.first().map(String::as_str).unwrap_or_default()
                    )));
                }
                let from = store::by_id(tx, database.id)?
                    .ok_or_else(|| PostgresError::NotFound(database.name.to_string()))?
                    .state;
                store::set_state(tx, database.id, from, State::Removing, None, now)?;
                enqueue(tx, database.id, now)?;
                events::record(
                    tx,
                    now,
                    &NewEvent::new(
                        "database.removing",
                        Level::Warning,
                        database.subject(),
                        message,
                    ),
                )?;
                Ok(())
            })
            .await;
        crash_point::hit("postgres.create.removing.after");
        written
    }

    /// A `psql` for a person, in the server's own container. Without `logical`
    /// it opens the only attached app's database, or `postgres`.
    ///
    /// # Errors
    /// When the server is not ready.
    pub async fn psql(
        &self,
        name: &str,
        logical: Option<String>,
        terminal: Option<TerminalSize>,
    ) -> Result<Interactive, PostgresError> {
        let database = self.find(name).await?;
        let (State::Ready, Some(row)) = (database.state, database.container_row) else {
            return Err(attach::not_ready(&database));
        };
        let logical = match logical {
            Some(logical) => logical,
            None => match self.attached(database.id).await?.as_slice() {
                [only] => only.role.clone(),
                _ => "postgres".into(),
            },
        };
        let env = BTreeMap::from([
            ("TERM".to_owned(), "xterm-256color".to_owned()),
            ("PSQL_HISTORY".to_owned(), "/dev/null".to_owned()),
        ]);
        Ok(self
            .supervisor
            .exec_interactive(row, spec::shell(&logical), env, terminal)
            .await?)
    }

    /// What a side container beside this server runs as; see `spec::side`.
    ///
    /// # Errors
    /// [`PostgresError::Conflict`] when the server is on its way out: what is dumped of it then is
    /// wanted by nobody, and holds its removal up.
    pub fn side(
        &self,
        database: &Database,
        name: String,
        argv: Vec<String>,
        logical: &str,
    ) -> Result<Spec, PostgresError> {
        if database.state == State::Removing {
            return Err(PostgresError::Conflict(format!(
                "the database {} is being removed",
                database.name
            )));
        }
        Ok(spec::side(database, name, argv, logical))
    }

    /// `--dbname` for one of the server's own tools.
    pub fn dbname_argument(logical: &str) -> String {
        format!("--dbname={}", quote::dbname(logical))
    }

    async fn password(&self, id: i64) -> Result<Secret, PostgresError> {
        let key = Arc::clone(&self.key);
        self.db
            .read(move |c| Ok(store::password(c, &key, id)?))
            .await
    }
}

/// Whether the work of [`JOB`] takes a volume away: the removal of a server, and another try to make one, which begins with
/// an empty volume.
///
/// # Errors
/// Only the database's.
pub fn takes_data_away(
    c: &rusqlite::Connection,
    payload: &serde_json::Value,
) -> Result<bool, DbError> {
    let id = payload.get("database").and_then(serde_json::Value::as_i64);
    let database = store::by_id(c, id.unwrap_or_default())?;
    Ok(database.is_some_and(|d| d.takes_data_away()))
}

fn enqueue(tx: &rusqlite::Transaction<'_>, id: i64, now: UnixMs) -> Result<(), DbError> {
    jobs::enqueue(
        tx,
        now,
        &NewJob {
            kind: JOB,
            key: subject(id),
            payload: serde_json::json!({ "database": id }),
            run_at: now,
        },
    )
    .map(drop)
}
