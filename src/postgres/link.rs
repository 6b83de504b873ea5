//! The work that lets an app in on a server, or shuts it out: a link's steps from the wish to what stands.

use std::time::Duration;

use super::attach::{ATTACH, DETACH};
use super::database::{Attachment, Database, Link, State};
use super::error::PostgresError;
use super::make::may_pass;
use super::query::{QUICK, SLOW, UNLOGGED};
use super::{Databases, quote, store};
use crate::base::clock::UnixMs;
use crate::base::crash_point;
use crate::base::retry::Backoff;
use crate::db::DbError;
use crate::events::{self, Level, NewEvent};
use crate::jobs::{JobContext, Outcome, Owed};

const TRIES: u32 = 6;
const AGAIN: Backoff = Backoff {
    first: Duration::from_secs(1),
    max: Duration::from_secs(30),
    factor: 3,
};

impl Databases {
    /// The handler of the job kind `attachment`.
    pub async fn run_attachment(
        &self,
        context: JobContext,
        payload: &serde_json::Value,
    ) -> Outcome {
        let Some(id) = payload
            .get("attachment")
            .and_then(serde_json::Value::as_i64)
        else {
            return Outcome::Failed("the work names no attachment".into());
        };
        let mut tried = Link::Attaching;
        let error = match self.link_step(id, &mut tried).await {
            Ok(link) => return ended(payload, link.as_ref()),
            Err(error) => error,
        };
        let why = error.to_string();
        if may_pass(&error, &AGAIN, context.attempt) || context.attempt < TRIES {
            return Outcome::Again {
                at: UnixMs::now().plus(AGAIN.delay(context.attempt)),
                why,
            };
        }
        let reason = why.clone();
        let written: Result<bool, DbError> = self
            .db
            .write(move |tx| match store::attachment_by_id(tx, id)? {
                Some(link) if link.state == tried => {
                    fail(tx, &link, &reason, UnixMs::now()).map(|()| true)
                }
                // The other way was asked for meanwhile, and nobody has tried that yet.
                Some(link) => Ok(!matches!(link.state, Link::Attaching | Link::Detaching)),
                None => Ok(true),
            })
            .await;
        match written {
            Ok(true) => Outcome::Failed(why),
            Ok(false) => Outcome::Again {
                at: UnixMs::now(),
                why,
            },
            Err(error) => {
                tracing::error!(%error, attachment = id, "a failed attachment could not be written down");
                Outcome::Failed(why)
            }
        }
    }

    /// What became of the link, which may be gone; `tried` is told which way is being gone.
    async fn link_step(
        &self,
        id: i64,
        tried: &mut Link,
    ) -> Result<Option<Attachment>, PostgresError> {
        loop {
            let Some(link) = self
                .db
                .read(move |c| store::attachment_by_id(c, id))
                .await
                .map_err(PostgresError::Db)?
            else {
                return Ok(None);
            };
            let Some(server) = self.by_id(link.database).await? else {
                return Ok(None);
            };
            *tried = link.state;
            match link.state {
                Link::Attaching => {
                    self.let_in(&server, &link).await?;
                    self.look_again(server.id).await;
                    crash_point::hit("postgres.link.attached.before");
                    let done = self.let_in_done(&link, &server).await?;
                    crash_point::hit("postgres.link.attached.after");
                    if done {
                        let state = Link::Attached;
                        return Ok(Some(Attachment { state, ..link }));
                    }
                    // It is to be detached meanwhile: the next turn does that.
                }
                Link::Detaching => {
                    // A server on its way out takes its roles with it.
                    if server.state == State::Ready {
                        self.shut_out(&server, &link.role).await?;
                        self.look_again(server.id).await;
                    }
                    crash_point::hit("postgres.link.detached.before");
                    self.db
                        .write(move |tx| detached(tx, &link, &server, UnixMs::now()))
                        .await
                        .map_err(PostgresError::Db)?;
                    crash_point::hit("postgres.link.detached.after");
                    return Ok(None);
                }
                Link::Attached | Link::Failed => return Ok(Some(link)),
            }
        }
    }

    /// Writes down that the app has its role, unless a detach was asked for meanwhile; says whether it did.
    pub(super) async fn let_in_done(
        &self,
        link: &Attachment,
        server: &Database,
    ) -> Result<bool, PostgresError> {
        let (link, server) = (link.clone(), server.clone());
        self.db
            .write(move |tx| attached(tx, &link, &server, UnixMs::now()))
            .await
            .map_err(PostgresError::Db)
    }

    async fn let_in(&self, server: &Database, link: &Attachment) -> Result<(), PostgresError> {
        let key = self.key.clone();
        let id = link.id;
        let password = self
            .db
            .read(move |c| store::attachment_password(c, &key, id))
            .await
            .map_err(PostgresError::Db)?;
        let role = quote::ident(&link.role);
        let name = quote::literal(&link.role);
        let make_role = quote::literal(&format!("CREATE ROLE {role}"));
        let make_database = quote::literal(&format!("CREATE DATABASE {role} OWNER {role}"));
        let statements = format!(
            "{UNLOGGED}SELECT {make_role} WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {name}) \\gexec\n\
             ALTER ROLE {role} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION PASSWORD {};\n\
             SELECT {make_database} WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = {name}) \\gexec\n\
             REVOKE ALL ON DATABASE {role} FROM PUBLIC;\n",
            quote::literal(password.expose())
        );
        self.sql(server, "postgres", &statements, SLOW).await?;
        if server.version < 15 {
            // Before 15 the public schema belongs to the superuser and is open to all.
            let statements = format!(
                "REVOKE CREATE ON SCHEMA public FROM PUBLIC; GRANT ALL ON SCHEMA public TO {role};"
            );
            self.sql(server, &link.role, &statements, QUICK).await?;
        }
        Ok(())
    }

    async fn shut_out(&self, server: &Database, role: &str) -> Result<(), PostgresError> {
        let (ident, name) = (quote::ident(role), quote::literal(role));
        let alter = quote::literal(&format!("ALTER ROLE {ident} NOLOGIN PASSWORD NULL"));
        let statements = format!(
            "SELECT {alter} WHERE EXISTS (SELECT FROM pg_roles WHERE rolname = {name}) \\gexec\n\
             SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = {name};\n"
        );
        self.sql(server, "postgres", &statements, QUICK)
            .await
            .map(drop)
    }
}

/// How the work ends that asked for the link or its end: another may have asked for the other way meanwhile.
fn ended(payload: &serde_json::Value, link: Option<&Attachment>) -> Outcome {
    let wants = payload["wants"].as_str();
    match (wants, link.map(|link| link.state)) {
        (_, Some(Link::Failed)) => {
            let why = link.and_then(|link| link.reason.clone());
            Outcome::Failed(why.unwrap_or_else(|| "it failed".into()))
        }
        (Some(ATTACH), Some(Link::Attached)) | (Some(DETACH), None) => Outcome::Done,
        (Some(ATTACH | DETACH), _) => Outcome::Cancelled,
        // Work of the release before says nothing of it.
        _ => Outcome::Done,
    }
}

/// The app is let in, unless a detach was asked for meanwhile; its containers know nothing of it yet.
pub(super) fn attached(
    tx: &rusqlite::Transaction<'_>,
    link: &Attachment,
    server: &Database,
    now: UnixMs,
) -> Result<bool, DbError> {
    let done = store::set_link(tx, link.id, Link::Attaching, Link::Attached, None, now)?;
    if done {
        let by = format!("its attachment to {}", server.name);
        Owed::Settings.note(tx, link.app, &by, now)?;
    }
    Ok(done)
}

/// The app is shut out; its containers still have the variable.
pub(super) fn detached(
    tx: &rusqlite::Transaction<'_>,
    link: &Attachment,
    server: &Database,
    now: UnixMs,
) -> Result<(), DbError> {
    store::delete_detached(tx, link.id)?;
    let by = format!("its detachment from {}", server.name);
    Owed::Settings.note(tx, link.app, &by, now)
}

/// Writes down that a link could not be made or undone. Whoever attaches follows the work and is told; a detach may
/// be nobody's any more, as when the app is removed, so it is told to those who look after the server.
pub(super) fn fail(
    tx: &rusqlite::Transaction<'_>,
    link: &Attachment,
    why: &str,
    now: UnixMs,
) -> Result<(), DbError> {
    let failed = store::set_link(tx, link.id, link.state, Link::Failed, Some(why), now)?;
    let Some(server) = store::by_id(tx, link.database)? else {
        return Ok(());
    };
    if !failed || link.state != Link::Detaching {
        return Ok(());
    }
    let message = format!(
        "{} could not be detached from the database {name}, where its role {role} may still sign in: {}. `ALTER ROLE {role} NOLOGIN` in `freehold db psql {name}` shuts it out.",
        link.app_name,
        why.trim_end_matches('.'),
        name = server.name,
        role = quote::ident(&link.role),
    );
    let event = NewEvent::new(
        "database.detach_failed",
        Level::Error,
        server.subject(),
        message,
    )
    .with(serde_json::json!({ "app": link.app }));
    events::record(tx, now, &event)?;
    // A failed link gives its app nothing any more.
    let by = format!("its detachment from {}", server.name);
    Owed::Settings.note(tx, link.app, &by, now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a1_the_work_on_a_link_ends_as_what_it_was_asked_for() {
        let link = |state| Attachment {
            id: 1,
            database: 1,
            app: 7,
            app_name: "shop".into(),
            role: "shop".into(),
            env_name: "DATABASE_URL".into(),
            state,
            reason: Some("its disk is full".into()),
        };
        let of = |wants: &str, state: Option<Link>| {
            let payload = serde_json::json!({ "wants": wants });
            ended(&payload, state.map(link).as_ref())
        };
        assert_eq!(of(ATTACH, Some(Link::Attached)), Outcome::Done);
        assert_eq!(of(ATTACH, None), Outcome::Cancelled, "detached meanwhile");
        assert_eq!(of(DETACH, None), Outcome::Done);
        let failed = Outcome::Failed("its disk is full".into());
        assert_eq!(of(ATTACH, Some(Link::Failed)), failed);
        assert_eq!(of("", Some(Link::Attached)), Outcome::Done, "of before");
    }
}
