//! `/databases/{database}/sql`: statements for `psql`, without a keyboard; what it printed.
//!
//! The same `psql` as a terminal gets, so that its own commands work too. The statements are not kept anywhere: they may
//! hold secrets.

use askama::Template;
use axum::Form;
use axum::extract::{Path, State};
use axum::response::Response;
use serde::Deserialize;

use super::databases;
use super::frame::{Frame, Section, Theme};
use super::parts::Field;
use super::ran::{self, Ran};
use super::visit::Visit;
use crate::base::clock::UnixMs;
use crate::supervise::Interactive;
use crate::web::audit::Telling;
use crate::web::error::Failure;
use crate::web::services::App;
use crate::wire::problem::ProblemKind;

/// How many bytes of statements are taken.
const LONGEST: usize = 64 << 10;
/// What is typed before the statements: the first that fails ends the rest, and one that takes too long ends in the
/// server too. Who lifts that limit finds the server's own: it looks for its client every ten seconds.
const BEFORE: &str =
    "\\set ON_ERROR_STOP on\n\\set QUIET on\nSET statement_timeout = '30s';\n\\set QUIET off\n";

/// The page.
#[derive(Clone, Debug, Template)]
#[template(path = "database_sql.html")]
pub struct View {
    /// What stands around it.
    pub frame: Frame,
    /// The server.
    pub name: String,
    /// The database on it.
    pub part: Field,
    /// The statements.
    pub sql: Field,
    /// What became of the last ones.
    pub ran: Option<Ran>,
}

/// What the form sends.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Wanted {
    part: String,
    sql: String,
}

async fn page(
    app: &App,
    visit: Visit,
    name: &str,
    (wanted, fault): (&Wanted, &str),
    ran: Option<Ran>,
) -> Result<Response, Failure> {
    let database = app.databases.find(name).await?;
    let attached = app.databases.attached(database.id).await?;
    let roles: Vec<String> = attached.into_iter().map(|link| link.role).collect();
    let seen = databases::seen(app, &database, UnixMs::now());
    let inside = seen.as_ref().and_then(|seen| seen.said.as_ref());
    let there = inside.map_or_else(Vec::new, |inside| {
        inside.logical.iter().map(|l| l.name.clone()).collect()
    });
    let parts = parts(roles, there, &wanted.part);
    let chosen = match wanted.part.as_str() {
        "" => parts.first().cloned().unwrap_or_default(),
        part => part.to_owned(),
    };
    let choices = parts.into_iter().map(|part| (part.clone(), part)).collect();
    let name = database.name.to_string();
    Ok(super::render(&View {
        frame: visit
            .frame()
            .titled(format!("SQL · {name}"), Section::Databases)
            .under("/databases", "Databases")
            .under(format!("/databases/{name}"), name.clone()),
        name,
        part: Field::choice("part", "Database", choices).value(chosen),
        sql: Field::code("sql", "Statements")
            .area()
            .needed()
            .like("SELECT count(*) FROM tasks;")
            .value(&wanted.sql)
            .hint("The first that fails ends the rest. What is to hold together stands between BEGIN and COMMIT.")
            .fault(fault),
        ran,
    }))
}

/// The databases to choose from, first the one that a terminal opens unasked: the only attached app's, or `postgres`.
fn parts(roles: Vec<String>, mut there: Vec<String>, chosen: &str) -> Vec<String> {
    let usual = match roles.as_slice() {
        [only] => only.clone(),
        _ => "postgres".to_owned(),
    };
    there.extend(roles);
    there.push("postgres".to_owned());
    there.push(chosen.to_owned());
    there.retain(|part| !part.is_empty() && *part != usual);
    there.sort_unstable();
    there.dedup();
    there.insert(0, usual);
    there
}

/// `GET /databases/{database}/sql`
pub async fn show(
    State(app): State<App>,
    visit: Visit,
    Path(name): Path<String>,
) -> Result<Response, Failure> {
    page(&app, visit, &name, (&Wanted::default(), ""), None).await
}

/// `POST /databases/{database}/sql`: answers when `psql` is over, or was ended.
pub async fn submit(
    State(app): State<App>,
    visit: Visit,
    Path(name): Path<String>,
    telling: Telling,
    Form(wanted): Form<Wanted>,
) -> Result<Response, Failure> {
    let command = match start(&app, &name, &telling, &wanted).await {
        Ok(command) => command,
        Err(failure) => {
            let Some(words) = failure.words_for_a_form() else {
                return Err(failure);
            };
            let page = page(&app, visit, &name, (&wanted, &words), None).await?;
            return Ok(ran::refused(page, &failure));
        }
    };
    let typed = format!("{BEFORE}{}\n", wanted.sql);
    let ran = ran::heard(command, typed.as_bytes(), "freehold db psql", ran::LIMIT).await;
    page(&app, visit, &name, (&wanted, ""), Some(ran)).await
}

async fn start(
    app: &App,
    name: &str,
    telling: &Telling,
    wanted: &Wanted,
) -> Result<Interactive, Failure> {
    // Whether it is there comes first: nothing is wrong with statements for nothing.
    let name = app.databases.find(name).await?.name;
    takes(&wanted.sql).map_err(|why| Failure::new(ProblemKind::Invalid, why))?;
    let part = Some(wanted.part.clone()).filter(|part| !part.is_empty());
    // Postgres' own limit of a name.
    if part.as_ref().is_some_and(|part| part.len() > 63) {
        return Err(Failure::new(
            ProblemKind::Invalid,
            "no database has a name of more than 63 bytes",
        ));
    }
    telling.tell("part", part.as_deref().unwrap_or("the attached app's"));
    Ok(app.databases.psql(name.as_str(), part, None).await?)
}

/// Whether these can be given to `psql` here.
fn takes(sql: &str) -> Result<(), &'static str> {
    if sql.trim().is_empty() {
        return Err("there is no statement: write one, such as SELECT now();");
    }
    match sql.len() > LONGEST {
        true => Err(
            "this is longer than 64 KB: in a terminal, `freehold db psql NAME < FILE` takes more",
        ),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(all: &[&str]) -> Vec<String> {
        all.iter().map(|&one| one.to_owned()).collect()
    }

    #[test]
    fn a1_what_a_terminal_opens_unasked_is_the_first_choice() {
        let there = ["postgres", "shop", "shop_before_1"];
        let one = parts(texts(&["shop"]), texts(&there), "");
        assert_eq!(one, ["shop", "postgres", "shop_before_1"]);
        let two = parts(texts(&["shop", "blog"]), Vec::new(), "");
        assert_eq!(two, ["postgres", "blog", "shop"]);
        let typed = parts(Vec::new(), Vec::new(), "gone");
        assert_eq!(typed, ["postgres", "gone"], "what was chosen stays chosen");
    }

    #[test]
    fn a1_statements_are_some_and_not_too_many() {
        assert!(takes("SELECT 1").is_ok());
        assert!(takes(" \r\n\t").unwrap_err().contains("no statement"));
        assert!(takes(&"x".repeat(LONGEST)).is_ok());
        assert!(
            takes(&"x".repeat(LONGEST + 1))
                .unwrap_err()
                .contains("64 KB")
        );
    }
}
