//! What happens inside a running server: what it holds, and databases made,
//! filled, swapped and dropped for a restore.
//!
//! A swap renames twice in one transaction of the server's own, so that there
//! is no moment at which the live name leads nowhere for good. Connections are
//! refused while it runs; whatever ends it, the doors are open afterwards.

use std::time::Duration;

use super::database::{Content, Database, Inside, Logical};
use super::error::PostgresError;
use super::query::{QUICK, SLOW, reason};
use super::{Databases, quote, spec};
use crate::base::clock::UnixMs;

/// Tries to rename while clients come back as fast as they are sent away, or
/// the server comes back up.
const SWAP_TRIES: u32 = 5;
/// Between them.
const SWAP_PAUSE: Duration = Duration::from_secs(1);
/// One of them; the server itself waits 5 s for those it sent away.
const SWAP_LIMIT: Duration = Duration::from_secs(30);
/// How long sessions that were told to end are waited for: one may be in the midst of something that it ends first.
const SESSIONS_LIMIT: Duration = Duration::from_secs(60);
const SESSIONS_LOOK: Duration = Duration::from_millis(200);
/// What a server says that has sent away who was in a database, and waited five seconds for them in vain.
const STILL_USED: &str = "is being accessed by other users";
/// How long a server is waited for whose database has to be opened again.
const DOORS_LIMIT: Duration = Duration::from_secs(20);

/// Tables that are nobody's extension's.
const OWN_TABLES: &str = "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
     WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)' \
     AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')";

/// The roles that what is in database `d` belongs to or names, without its owner and Postgres' own, as JSON on one line.
const ROLES: &str = "(SELECT coalesce(jsonb_agg(DISTINCT r.rolname::text), '[]') FROM pg_shdepend s \
     JOIN pg_roles r ON r.oid = s.refobjid \
     WHERE s.refclassid = 'pg_authid'::regclass AND s.dbid = d.oid AND r.oid <> d.datdba)";

/// What a restored database is compared by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Tables, partitions included.
    pub tables: u64,
    /// Rows, by the server's own statistics after ANALYZE.
    pub rows: u64,
}

/// Which renames are left of a swap, seen from the names that exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    Both,
    OnlyFresh,
    Nothing,
    Lost,
}

/// Makes a role that is not there: nobody can sign in as it until somebody lets them.
fn missing_role(name: &str) -> String {
    let make = quote::literal(&format!("CREATE ROLE {} NOLOGIN", quote::ident(name)));
    let name = quote::literal(name);
    format!(
        "SELECT {make} WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {name}) \\gexec\n"
    )
}

fn left_of_swap(live: bool, fresh: bool, before: bool) -> Left {
    match (live, fresh, before) {
        (true, true, false) => Left::Both,
        (false, true, _) => Left::OnlyFresh,
        (true, false, _) => Left::Nothing,
        // The name for the old one is taken: some other database has it.
        (true, true, true) | (false, false, _) => Left::Lost,
    }
}

impl Databases {
    /// Asks a running server for its sizes, connections and databases, in one go: each question
    /// is a process in its container.
    ///
    /// # Errors
    /// When it does not answer.
    pub(super) async fn inside(&self, database: &Database) -> Result<Inside, PostgresError> {
        let rows = self
            .sql(
                database,
                "postgres",
                "SET statement_timeout = '25s'; SELECT datname, pg_get_userbyid(datdba), pg_database_size(oid), NOT datistemplate AND datallowconn, \
                 (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()), \
                 current_setting('max_connections') FROM pg_database ORDER BY datname;",
                QUICK,
            )
            .await?;
        Ok(inside_of(&rows, UnixMs::now()))
    }

    /// The databases on a server, Postgres' own templates left out, asked for now.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn contents(&self, database: &Database) -> Result<Vec<Content>, PostgresError> {
        let rows = self
            .sql(
                database,
                "postgres",
                &format!("SELECT datname, {ROLES} FROM pg_database d;"),
                QUICK,
            )
            .await?;
        let named = |name: &str| {
            let row = rows
                .iter()
                .find(|row| row.first().is_some_and(|n| n == name));
            // Some that are not read are missed at a restore, which then says so.
            row.and_then(|row| serde_json::from_str(row.get(1)?).ok())
                .unwrap_or_default()
        };
        let mut found = Vec::new();
        for logical in self.inside(database).await?.logical {
            // An app's database counts from the day it is made; Postgres' own once it is used.
            let has_content =
                logical.name != "postgres" || self.has_content(database, &logical.name).await?;
            found.push(Content {
                roles: named(&logical.name),
                logical,
                has_content,
            });
        }
        Ok(found)
    }

    async fn has_content(&self, database: &Database, name: &str) -> Result<bool, PostgresError> {
        let rows = self
            .sql(
                database,
                name,
                &format!(
                    "SELECT (SELECT count(*) {OWN_TABLES}) \
                     + (SELECT count(*) FROM pg_namespace WHERE nspname <> 'public' AND nspname <> 'information_schema' AND nspname !~ '^pg_') \
                     + (SELECT count(*) FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = 'public') \
                     + (SELECT count(*) FROM pg_largeobject_metadata);"
                ),
                QUICK,
            )
            .await?;
        Ok(first_number(&rows) > 0)
    }

    /// Whether the server has a database of this name.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn has_logical(
        &self,
        database: &Database,
        name: &str,
    ) -> Result<bool, PostgresError> {
        let rows = self
            .sql(
                database,
                "postgres",
                &format!(
                    "SELECT count(*) FROM pg_database WHERE datname = {};",
                    quote::literal(name)
                ),
                QUICK,
            )
            .await?;
        Ok(first_number(&rows) > 0)
    }

    /// An empty database `fresh` for `owner`, alike to `like` where that
    /// exists; one of the same name is dropped first. It and those of
    /// `roles` that are not there are made without the right to sign in: what is restored names them.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn make_fresh(
        &self,
        database: &Database,
        fresh: &str,
        like: &str,
        owner: &str,
        roles: &[String],
    ) -> Result<(), PostgresError> {
        self.drop_now(database, fresh).await?;
        let make_roles: String = std::iter::once(owner)
            .chain(roles.iter().map(String::as_str))
            .map(missing_role)
            .collect();
        let role = quote::ident(owner);
        let rows = self
            .sql(
                database,
                "postgres",
                &format!(
                    "{make_roles}SELECT pg_encoding_to_char(encoding), datcollate, datctype FROM pg_database WHERE datname = {};",
                    quote::literal(like)
                ),
                QUICK,
            )
            .await?;
        let locale = match rows.first().map(Vec::as_slice) {
            Some([encoding, collate, ctype]) => format!(
                " ENCODING {} LC_COLLATE {} LC_CTYPE {}",
                quote::literal(encoding),
                quote::literal(collate),
                quote::literal(ctype)
            ),
            _ => String::new(),
        };
        let name = quote::ident(fresh);
        let statements = format!(
            "CREATE DATABASE {name} OWNER {role} TEMPLATE template0{locale};\n\
             REVOKE ALL ON DATABASE {name} FROM PUBLIC;\n"
        );
        self.sql(database, "postgres", &statements, SLOW).await?;
        self.look_again(database.id).await;
        Ok(())
    }

    /// Drops a database with everybody who is in it; none there is no error.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn drop_logical(&self, database: &Database, name: &str) -> Result<(), PostgresError> {
        self.drop_now(database, name).await?;
        self.look_again(database.id).await;
        Ok(())
    }

    async fn drop_now(&self, database: &Database, name: &str) -> Result<(), PostgresError> {
        let begun = tokio::time::Instant::now();
        let dropping = format!(
            "DROP DATABASE IF EXISTS {} WITH (FORCE);",
            quote::ident(name)
        );
        loop {
            match self.sql(database, "postgres", &dropping, SLOW).await {
                Err(PostgresError::Refused(why))
                    if why.contains(STILL_USED) && begun.elapsed() < SESSIONS_LIMIT =>
                {
                    tokio::time::sleep(SESSIONS_LOOK).await;
                }
                other => return other.map(drop),
            }
        }
    }

    /// Ends what a tool in a side container, whose name begins with `name`, has left in the server, and returns when no
    /// session of it is left: a server does not see at once that its client is dead.
    ///
    /// # Errors
    /// When the server does not answer, or a session does not end.
    pub async fn end_sessions(
        &self,
        database: &Database,
        tool: &str,
        name: &str,
    ) -> Result<(), PostgresError> {
        let begun = tokio::time::Instant::now();
        let application = spec::application(tool, name);
        let ending = format!(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE starts_with(application_name, {});",
            quote::literal(&application)
        );
        while first_number(&self.sql(database, "postgres", &ending, QUICK).await?) > 0 {
            if begun.elapsed() >= SESSIONS_LIMIT {
                return Err(PostgresError::Refused(format!(
                    "a session of {application} was told to end, and has not"
                )));
            }
            tokio::time::sleep(SESSIONS_LOOK).await;
        }
        Ok(())
    }

    /// Statistics brought up to date, then what is there.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn counts(&self, database: &Database, name: &str) -> Result<Counts, PostgresError> {
        let rows = self
            .sql(
                database,
                name,
                &format!(
                    "ANALYZE;\nSELECT count(*), coalesce(sum(greatest(c.reltuples, 0)) FILTER (WHERE c.relkind = 'r'), 0)::bigint {OWN_TABLES} AND c.relkind IN ('r', 'p');"
                ),
                SLOW,
            )
            .await?;
        Ok(Counts {
            tables: first_number(&rows),
            rows: rows
                .first()
                .and_then(|r| r.get(1)?.parse().ok())
                .unwrap_or(0),
        })
    }

    /// Puts `fresh` in the place of `live`, which is kept as `before`. May be
    /// called again after a crash at any line: it does what is left to do.
    ///
    /// # Errors
    /// When the server refuses; `live` then takes connections as before. Only
    /// when the server cannot be reached may its door still be closed:
    /// [`Self::open_doors`] opens it once it is back.
    pub async fn swap(
        &self,
        database: &Database,
        live: &str,
        fresh: &str,
        before: &str,
    ) -> Result<(), PostgresError> {
        let swapped = self.try_to_swap(database, live, fresh, before).await;
        if swapped.is_err()
            && let Err(error) = self.open_doors(database, live).await
        {
            tracing::error!(%error, database = %database.name, live, "a database that was not swapped could not be opened again yet");
        }
        self.look_again(database.id).await;
        swapped
    }

    async fn try_to_swap(
        &self,
        database: &Database,
        live: &str,
        fresh: &str,
        before: &str,
    ) -> Result<(), PostgresError> {
        let mut last = None;
        for attempt in 0..=SWAP_TRIES {
            if attempt > 0 {
                tokio::time::sleep(SWAP_PAUSE).await;
            }
            let left = match self.left(database, live, fresh, before).await {
                Ok(left) => left,
                // It may be on its way back up.
                Err(error) => {
                    last = Some(error);
                    continue;
                }
            };
            let renames: &[(&str, &str)] = match left {
                Left::Both => &[(live, before), (fresh, live)],
                Left::OnlyFresh => &[(fresh, live)],
                Left::Nothing => return Ok(()),
                Left::Lost => {
                    return Err(PostgresError::Conflict(format!(
                        "{fresh} cannot take the place of {live} on {}: look at the server's databases with `freehold db psql {}`",
                        database.name, database.name
                    )));
                }
            };
            if attempt == SWAP_TRIES {
                break;
            }
            let said = self
                .exec(
                    database,
                    spec::psql("postgres"),
                    Some(swap_script(renames).into_bytes()),
                    SWAP_LIMIT,
                )
                .await;
            // Whether it is done is seen from the names, at the next turn.
            match said {
                Ok(said) => {
                    let words = String::from_utf8_lossy(&said.err);
                    if said.code != 0 || words.contains("ERROR:") {
                        last = Some(PostgresError::Refused(reason(&words)));
                    }
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last
            .unwrap_or_else(|| PostgresError::Refused("the databases could not be renamed".into())))
    }

    async fn left(
        &self,
        database: &Database,
        live: &str,
        fresh: &str,
        before: &str,
    ) -> Result<Left, PostgresError> {
        Ok(left_of_swap(
            self.has_logical(database, live).await?,
            self.has_logical(database, fresh).await?,
            self.has_logical(database, before).await?,
        ))
    }

    /// Lets connections into a database again, should a swap that was cut off
    /// have closed it; one that is open, or is not there, stays as it is. A
    /// server on its way back up is waited for.
    ///
    /// # Errors
    /// When the server does not answer in time.
    pub async fn open_doors(&self, database: &Database, name: &str) -> Result<(), PostgresError> {
        let begun = tokio::time::Instant::now();
        let script = opening(&[name]);
        loop {
            match self.sql(database, "postgres", &script, QUICK).await {
                Ok(_) => return Ok(()),
                Err(error) if begun.elapsed() >= DOORS_LIMIT => return Err(error),
                Err(_) => tokio::time::sleep(SWAP_PAUSE).await,
            }
        }
    }
}

/// Closing, sending everybody away and renaming, in one session that goes on
/// after an error: its last words open whatever is still closed. Renaming is
/// one transaction, so it is done whole or not at all.
fn swap_script(renames: &[(&str, &str)]) -> String {
    let mut closing = String::from("\\set ON_ERROR_STOP off\n");
    let mut renaming = String::from("BEGIN;\n");
    for (from, to) in renames {
        let (name, text) = (quote::ident(from), quote::literal(from));
        closing.push_str(&format!(
            "ALTER DATABASE {name} ALLOW_CONNECTIONS false;\n\
             SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = {text} AND pid <> pg_backend_pid();\n"
        ));
        renaming.push_str(&format!(
            "ALTER DATABASE {name} RENAME TO {to};\nALTER DATABASE {to} ALLOW_CONNECTIONS true;\n",
            to = quote::ident(to)
        ));
    }
    let from: Vec<&str> = renames.iter().map(|(from, _)| *from).collect();
    format!("{closing}{renaming}COMMIT;\n{}", opening(&from))
}

/// Opens those of `names` that are there and closed.
fn opening(names: &[&str]) -> String {
    let list: Vec<String> = names.iter().map(|name| quote::literal(name)).collect();
    format!(
        "SELECT format('ALTER DATABASE %I ALLOW_CONNECTIONS true', datname) FROM pg_database \
         WHERE datname IN ({}) AND NOT datallowconn \\gexec\n",
        list.join(", ")
    )
}

/// One row a database: name, owner, size, whether it is shown, and of the whole server the
/// connections and the most it takes.
pub(super) fn inside_of(rows: &[Vec<String>], at: UnixMs) -> Inside {
    let mut inside = Inside {
        at,
        size_bytes: 0,
        connections: 0,
        max_connections: 0,
        logical: Vec::new(),
    };
    for row in rows {
        let [name, owner, size, shown, connections, most] = row.as_slice() else {
            continue;
        };
        let size_bytes: u64 = size.parse().unwrap_or(0);
        inside.size_bytes = inside.size_bytes.saturating_add(size_bytes);
        inside.connections = connections.parse().unwrap_or(u32::MAX);
        inside.max_connections = most.parse().unwrap_or(0);
        if shown == "t" {
            inside.logical.push(Logical {
                name: name.clone(),
                owner: owner.clone(),
                size_bytes,
            });
        }
    }
    inside
}

pub(super) fn first_number(rows: &[Vec<String>]) -> u64 {
    rows.first()
        .and_then(|r| r.first()?.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a1_one_answer_tells_of_the_server_and_of_each_database() {
        let row = |name: &str, size: &str, shown: &str| {
            [name, "shop", size, shown, "7", "100"]
                .map(str::to_owned)
                .to_vec()
        };
        let rows = [row("shop", "30", "t"), row("template0", "7", "f")];
        let inside = inside_of(&rows, UnixMs(5));
        assert_eq!((inside.size_bytes, inside.connections), (37, 7));
        assert_eq!((inside.max_connections, inside.at), (100, UnixMs(5)));
        assert_eq!(inside.logical.len(), 1);
        assert_eq!(inside.logical[0].name, "shop");
    }

    #[test]
    fn f6_a_swap_goes_on_where_it_was_cut() {
        assert_eq!(left_of_swap(true, true, false), Left::Both);
        assert_eq!(left_of_swap(false, true, true), Left::OnlyFresh);
        assert_eq!(left_of_swap(false, true, false), Left::OnlyFresh);
        assert_eq!(left_of_swap(true, false, true), Left::Nothing);
        assert_eq!(left_of_swap(true, true, true), Left::Lost);
        assert_eq!(left_of_swap(false, false, true), Left::Lost);
    }

    #[test]
    fn f6_a_swap_opens_what_it_closed_whatever_fails_between() {
        let script = swap_script(&[("shop", "shop_before"), ("shop's", "shop")]);
        let lines: Vec<&str> = script.lines().collect();
        assert_eq!(lines[0], "\\set ON_ERROR_STOP off", "{script}");
        let closed = script.find("ALLOW_CONNECTIONS false").unwrap();
        let (begun, ended) = (
            script.find("BEGIN;").unwrap(),
            script.find("COMMIT;").unwrap(),
        );
        assert!(closed < begun && begun < ended, "{script}");
        let last = lines.last().unwrap();
        assert!(
            last.contains("datname IN ('shop', 'shop''s') AND NOT datallowconn \\gexec"),
            "{script}"
        );
    }
}
