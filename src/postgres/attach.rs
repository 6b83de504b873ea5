//! An app's own role and database on a server.

use super::database::{Attached, Attachment, Database, Given, Link, State};
use super::error::PostgresError;
use super::{Databases, quote, store};
use crate::base::clock::UnixMs;
use crate::base::crash_point;
use crate::base::secret::{MasterKey, Secret, random_token};
use crate::db::DbError;
use crate::events::{self, Level, NewEvent};
use crate::jobs::{self, NewJob};

/// The variable an app finds its database in.
pub const DATABASE_URL: &str = "DATABASE_URL";
/// What the work on a link was asked for.
pub(super) const ATTACH: &str = "attach";
/// The other way.
pub(super) const DETACH: &str = "detach";

/// The name of role and database for an app: hyphens would have to be quoted
/// by everyone who types SQL. Names that are Postgres' own get a prefix.
fn role_name(app: &str) -> String {
    let plain = app.replace('-', "_");
    let taken = ["postgres", "template0", "template1", "public", "none"];
    if taken.contains(&plain.as_str()) || plain.starts_with("pg_") {
        format!("app_{plain}")
    } else {
        plain
    }
}

fn check_env_name(name: &str) -> Result<(), PostgresError> {
    let good = (1..=100).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_uppercase() || c == '_')
        && name
            .bytes()
            .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
    if good {
        return Ok(());
    }
    let shown: String = name.chars().take(60).collect();
    Err(PostgresError::Invalid(format!(
        "\"{shown}\" cannot be the variable for a database: use upper-case letters, digits and underscores, such as REPORTS_DATABASE_URL."
    )))
}

impl Databases {
    /// Writes down that the app is to have a role and a database on the server `name`; the work follows. The
    /// same twice is no error: then nothing changed.
    ///
    /// # Errors
    /// When there is no such server, it is not ready, the app has a database
    /// under that variable already, or has this one under another.
    pub async fn attach(
        &self,
        name: &str,
        app: i64,
        app_name: &str,
        env_name: Option<&str>,
        by: &str,
    ) -> Result<Attached, PostgresError> {
        let server = self.find(name).await?;
        if server.state != State::Ready {
            return Err(not_ready(&server));
        }
        let named = env_name.is_some();
        let env_name = env_name.unwrap_or(DATABASE_URL).to_owned();
        check_env_name(&env_name)?;
        let password = random_token()?;
        let key = self.key.clone();
        let by = by.to_owned();
        let wanted = Attachment {
            id: 0,
            database: server.id,
            app,
            app_name: app_name.to_owned(),
            role: role_name(app_name),
            env_name,
            state: Link::Attaching,
            reason: None,
        };
        crash_point::hit("postgres.link.attaching.before");
        let begun = self
            .db
            .write(move |tx| begin_attach(tx, &key, &server, (wanted, named), &password, &by))
            .await;
        crash_point::hit("postgres.link.attaching.after");
        begun
    }

    /// Writes down that the app's access is to be taken away, and gives the attachment; the work follows. Its
    /// role and data stay on the server, and attaching again gives them back under a new password.
    ///
    /// # Errors
    /// When the app is not attached.
    pub async fn detach(&self, name: &str, app: i64, by: &str) -> Result<i64, PostgresError> {
        let database = self.find(name).await?;
        let by = by.to_owned();
        let server = database.clone();
        crash_point::hit("postgres.link.detaching.before");
        let begun = self
            .db
            .write(move |tx| {
                let now = UnixMs::now();
                let known = store::attachments(tx, server.id)?
                    .into_iter()
                    .find(|a| a.app == app)
                    .ok_or_else(|| {
                        PostgresError::Conflict(format!(
                            "the app is not attached to {}: `freehold db show {0}` shows which are",
                            server.name
                        ))
                    })?;
                begin_detach(tx, &server, &known, &by, now)?;
                Ok::<_, PostgresError>(known.id)
            })
            .await;
        crash_point::hit("postgres.link.detaching.after");
        begun
    }

    /// Detaches an app that is being removed from every server.
    ///
    /// # Errors
    /// Only the state database's.
    pub async fn app_removed(&self, app: i64, by: &str) -> Result<(), PostgresError> {
        let by = by.to_owned();
        self.db
            .write(move |tx| {
                let now = UnixMs::now();
                for known in store::attachments_of_app(tx, app)? {
                    if let Some(server) = store::by_id(tx, known.database)? {
                        begin_detach(tx, &server, &known, &by, now)?;
                    }
                }
                Ok(())
            })
            .await
    }

    /// What the app's containers are given: variables and networks.
    ///
    /// # Errors
    /// Only the state database's, or a seal that does not open.
    pub async fn given_to(&self, app: i64) -> Result<Vec<Given>, PostgresError> {
        let key = self.key.clone();
        self.db
            .read(move |c| {
                let mut given = Vec::new();
                for link in store::attachments_of_app(c, app)? {
                    if link.state != Link::Attached {
                        continue;
                    }
                    let Some(server) = store::by_id(c, link.database)? else {
                        continue;
                    };
                    let password = store::attachment_password(c, &key, link.id)?;
                    let url = quote::url(&link.role, password.expose(), &server.host(), &link.role);
                    given.push(Given {
                        database: server.name.to_string(),
                        env_name: link.env_name,
                        url: Secret::new(url),
                        network: server.network(),
                    });
                }
                Ok(given)
            })
            .await
    }

    /// The servers an app is on, or on its way to or from, by name.
    ///
    /// # Errors
    /// Only the state database's.
    pub async fn of_app(&self, app: i64) -> Result<Vec<(String, Attachment)>, PostgresError> {
        self.db
            .read(move |c| {
                let mut all = Vec::new();
                for link in store::attachments_of_app(c, app)? {
                    if let Some(server) = store::by_id(c, link.database)? {
                        all.push((server.name.to_string(), link));
                    }
                }
                Ok(all)
            })
            .await
    }

    /// The apps attached to a server.
    ///
    /// # Errors
    /// Only the state database's.
    pub async fn attached(&self, database: i64) -> Result<Vec<Attachment>, PostgresError> {
        self.db
            .read(move |c| Ok(store::attachments(c, database)?))
            .await
    }
}

/// Writes the wish down, unless it is there already; the link, and whether anything is new. Where the variable was named,
/// one that is there under another is not what was wished for.
fn begin_attach(
    tx: &rusqlite::Transaction<'_>,
    key: &MasterKey,
    server: &Database,
    (wanted, named): (Attachment, bool),
    password: &Secret,
    by: &str,
) -> Result<Attached, PostgresError> {
    let now = UnixMs::now();
    let (app_name, env_name, role) = (&wanted.app_name, &wanted.env_name, &wanted.role);
    for known in store::attachments_of_app(tx, wanted.app)? {
        if known.database == server.id && known.state == Link::Detaching {
            return Err(PostgresError::Conflict(format!(
                "{app_name} is being detached from {0}: attach it again when `freehold db show {0}` shows it no more",
                server.name
            )));
        }
        if known.database == server.id && named && known.env_name != *env_name {
            return Err(PostgresError::Conflict(format!(
                "{app_name} is attached to {} in {} already: detach it first to have it in {env_name}",
                server.name, known.env_name
            )));
        }
        if known.database == server.id {
            let changed = known.state != Link::Attached;
            let mut link = known;
            if link.state == Link::Failed {
                store::set_link(tx, link.id, Link::Failed, Link::Attaching, None, now)?;
                (link.state, link.reason) = (Link::Attaching, None);
                enqueue(tx, server, &link, (ATTACH, by), now)?;
            }
            return Ok(Attached { link, changed });
        }
        if known.env_name == *env_name {
            return Err(PostgresError::Conflict(format!(
                "{app_name} has a database in {env_name} already: detach that one, or give another variable with --as, such as --as {}_DATABASE_URL",
                server.name.as_str().to_uppercase().replace('-', "_")
            )));
        }
    }
    store::forget_failed_of_gone(tx, server.id)?;
    if store::attachments(tx, server.id)?
        .iter()
        .any(|a| a.role == *role)
    {
        return Err(PostgresError::Conflict(format!(
            "another app uses the role {role} on {}: detach that app first",
            server.name
        )));
    }
    let message = format!(
        "{app_name} was attached to the database {} by {by}, in {env_name}.",
        server.name
    );
    let id = store::insert_attachment(tx, key, &wanted, password, now)?;
    record(tx, now, "database.attached", server, wanted.app, message)?;
    let link = Attachment { id, ..wanted };
    enqueue(tx, server, &link, (ATTACH, by), now)?;
    let changed = true;
    Ok(Attached { link, changed })
}

fn begin_detach(
    tx: &rusqlite::Transaction<'_>,
    server: &Database,
    link: &Attachment,
    by: &str,
    now: UnixMs,
) -> Result<(), DbError> {
    if link.state == Link::Detaching {
        return Ok(());
    }
    store::set_link(tx, link.id, link.state, Link::Detaching, None, now)?;
    enqueue(tx, server, link, (DETACH, by), now)?;
    let message = format!(
        "{} was detached from the database {} by {by}; its data stays.",
        link.app_name, server.name
    );
    record(tx, now, "database.detached", server, link.app, message)
}

/// One line, on the app's activity: what changes is what the app is given.
fn record(
    tx: &rusqlite::Transaction<'_>,
    now: UnixMs,
    kind: &'static str,
    server: &Database,
    app: i64,
    message: String,
) -> Result<(), DbError> {
    let event = NewEvent::new(kind, Level::Info, format!("app:{app}"), message)
        .with(serde_json::json!({ "database": server.id }));
    events::record(tx, now, &event).map(drop)
}

/// Queues the work on a link; it is told by names, for a link that is gone has none.
fn enqueue(
    tx: &rusqlite::Transaction<'_>,
    server: &Database,
    link: &Attachment,
    (wants, by): (&str, &str),
    now: UnixMs,
) -> Result<(), DbError> {
    jobs::enqueue(
        tx,
        now,
        &NewJob {
            kind: "attachment",
            key: format!("attachment:{}", link.database),
            payload: serde_json::json!({
                "attachment": link.id, "wants": wants, "app": link.app, "by": by,
                "app_name": link.app_name, "database_name": server.name.as_str(),
            }),
            run_at: now,
        },
    )
    .map(drop)
}

pub(super) fn not_ready(database: &Database) -> PostgresError {
    let why = database
        .reason
        .as_deref()
        .map(|r| format!(" ({r})"))
        .unwrap_or_default();
    let remedy = match database.state {
        State::Failed => format!(
            "run `freehold db create {}` again, or remove it with `freehold db rm {0}`",
            database.name
        ),
        _ => "wait until `freehold db list` shows it ready".into(),
    };
    PostgresError::Conflict(format!(
        "the database {} is {}{why}: {remedy}",
        database.name,
        database.state.as_str()
    ))
}

#[cfg(test)]
mod tests {
    use super::super::link::{attached, detached};
    use super::*;
    use crate::base::ids::DatabaseName;
    use crate::db::{Db, Kind};
    use crate::jobs::Owed;

    #[tokio::test]
    async fn f3_attaching_and_detaching_are_one_line_each_on_the_apps_activity() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(&folder.path().join("state.db"), Kind::State).unwrap();
        let written: Result<Vec<bool>, PostgresError> = db
            .write(|tx| {
                let key = MasterKey::from_bytes(&[3; 32]).map_err(DbError::from)?;
                let row = store::NewRow {
                    name: DatabaseName::parse("main").unwrap(),
                    version: 17,
                    image: "postgres:17".into(),
                    memory_bytes: 512 << 20,
                };
                let id = store::insert(tx, &key, &row, &Secret::new("p"), UnixMs(1))?;
                let server = store::by_id(tx, id)?.unwrap();
                let wanted = Attachment {
                    id: 0,
                    database: id,
                    app: 7,
                    app_name: "shop".into(),
                    role: "shop".into(),
                    env_name: DATABASE_URL.into(),
                    state: Link::Attaching,
                    reason: None,
                };
                let mut changed = Vec::new();
                let mut attach = |tx: &rusqlite::Transaction<'_>| {
                    let password = Secret::new("p");
                    let done =
                        begin_attach(tx, &key, &server, (wanted.clone(), false), &password, "ana");
                    done.map(|done| {
                        changed.push(done.changed);
                        done.link.id
                    })
                };
                let link = attach(tx)?;
                assert_eq!(attach(tx)?, link, "still being made");
                let known = store::attachment_by_id(tx, link)?.unwrap();
                attached(tx, &known, &server, UnixMs(2))?;
                assert_eq!(attach(tx)?, link, "made");
                for _ in 0..2 {
                    let known = store::attachment_by_id(tx, link)?.unwrap();
                    begin_detach(tx, &server, &known, "ana", UnixMs(3))?;
                }
                let attach_again = {
                    let password = Secret::new("p");
                    begin_attach(tx, &key, &server, (wanted.clone(), false), &password, "ana")
                };
                let refused = attach_again.unwrap_err().to_string();
                assert!(refused.contains("is being detached from main"), "{refused}");
                detached(tx, &known, &server, UnixMs(4))?;
                Ok(changed)
            })
            .await;
        assert_eq!(written.unwrap(), [true, true, false]);
        // The deploy of either is owed in the transaction that ends it.
        let kinds = [Owed::Settings.kind()];
        let owed = db.read(move |c| jobs::newest(c, &kinds, None, &9.into()));
        let owed: Result<Vec<jobs::Told>, DbError> = owed.await;
        assert_eq!(owed.unwrap().len(), 2);
        let told = db.read(|c| events::newest(c, None, 10)).await.unwrap();
        let told: Vec<_> = told
            .iter()
            .map(|e| (e.subject.as_str(), e.message.as_str()))
            .collect();
        assert_eq!(
            told,
            [
                (
                    "app:7",
                    "shop was detached from the database main by ana; its data stays."
                ),
                (
                    "app:7",
                    "shop was attached to the database main by ana, in DATABASE_URL."
                ),
            ]
        );
    }

    #[test]
    fn f3_roles_are_typed_easily_and_never_postgres_own() {
        assert_eq!(role_name("tasks"), "tasks");
        assert_eq!(role_name("my-shop-2"), "my_shop_2");
        assert_eq!(role_name("postgres"), "app_postgres");
        assert_eq!(role_name("pg-monitor"), "app_pg_monitor");
        assert_eq!(role_name("template1"), "app_template1");
    }

    #[test]
    fn f3_a_variable_must_be_one() {
        check_env_name("DATABASE_URL").unwrap();
        for wrong in ["", "database_url", "A B", "1A", "A=B", "PATH\n"] {
            assert!(check_env_name(wrong).is_err(), "{wrong}");
        }
    }
}
