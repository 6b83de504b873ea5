//! Which statements a transaction ran, with their values: what the journal keeps of it.
//!
//! The one writer's connection tells of each statement as it begins. Statements run again give the same rows because
//! none of ours asks for chance or the time, and no state holds floating point numbers. What a trigger does is told
//! too, and left out: it does so again. What a change is about is noted by whoever records an event or an audit
//! entry in the same transaction; without a note its statements are named.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use rusqlite::trace::{TraceEvent, TraceEventCodes};

use crate::db::DbError;

thread_local! {
    /// What the transaction under way on this thread is about.
    static ABOUT: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Notes kept of one transaction.
const NOTES: usize = 20;

/// Notes what the transaction that is under way on this thread is about, for the list of what a recovery could not
/// bring back: `app:7: v3 is live`. Anywhere else it is nothing.
pub fn note(subject: &str, words: &str) {
    ABOUT.with_borrow_mut(|about| {
        if about.len() < NOTES {
            about.push(format!("{subject}: {words}"));
        }
    });
}

/// The statements since they were last taken.
pub(in crate::db) struct Capture {
    statements: Arc<Mutex<Vec<Option<String>>>>,
}

/// A place in the list, to go back to.
#[derive(Clone, Copy, Debug)]
pub(in crate::db) struct Mark {
    statements: usize,
    about: usize,
}

impl Capture {
    /// Listens to `connection` from now on.
    pub(in crate::db) fn of(connection: &mut Connection) -> Result<Self, DbError> {
        let statements = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&statements);
        connection.trace_v2(
            TraceEventCodes::SQLITE_TRACE_STMT,
            Some(move |event: TraceEvent<'_>| {
                if let TraceEvent::Stmt(statement, text) = event
                    && changes(text)
                    && statement.sql() == text
                {
                    let whole = statement.expanded_sql();
                    told.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(whole);
                }
            }),
        )?;
        Ok(Self { statements })
    }

    /// One that hears nothing.
    #[cfg(test)]
    pub(super) fn deaf() -> Self {
        Self {
            statements: Arc::default(),
        }
    }

    pub(in crate::db) fn mark(&self) -> Mark {
        Mark {
            statements: self.list().len(),
            about: ABOUT.with_borrow(Vec::len),
        }
    }

    /// Whether no statement came after `mark`.
    pub(in crate::db) fn is_silent_since(&self, mark: Mark) -> bool {
        self.list().len() == mark.statements
    }

    /// Forgets what came after `mark`: it was rolled back.
    pub(in crate::db) fn back_to(&self, mark: Mark) {
        self.list().truncate(mark.statements);
        ABOUT.with_borrow_mut(|about| about.truncate(mark.about));
    }

    /// The statements and what they are about; the list is empty then.
    ///
    /// # Errors
    /// When a statement was too large to be told.
    pub(in crate::db) fn take(&self) -> Result<(Vec<String>, Vec<String>), DbError> {
        let statements = std::mem::take(&mut *self.list());
        let mut about = ABOUT.take();
        let statements: Option<Vec<String>> = statements.into_iter().collect();
        let statements = statements.ok_or_else(|| {
            DbError::Unavailable("a change is too large for the journal of changes".into())
        })?;
        if about.is_empty() {
            about = named(&statements);
        }
        Ok((statements, about))
    }

    fn list(&self) -> std::sync::MutexGuard<'_, Vec<Option<String>>> {
        self.statements
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a statement may change something, by how it begins: any but those that are known to change nothing.
fn changes(statement: &str) -> bool {
    let statement = beginning(statement);
    let word: String = statement
        .chars()
        .take_while(char::is_ascii_alphabetic)
        .collect();
    let is = |words: &[&str]| words.iter().any(|w| word.eq_ignore_ascii_case(w));
    if is(&["WITH"]) {
        let upper = statement.to_ascii_uppercase();
        return ["INSERT", "UPDATE", "DELETE", "REPLACE"]
            .iter()
            .any(|verb| upper.contains(verb));
    }
    !word.is_empty()
        && !is(&[
            "SELECT",
            "VALUES",
            "EXPLAIN",
            "PRAGMA",
            "BEGIN",
            "COMMIT",
            "END",
            "ROLLBACK",
            "SAVEPOINT",
            "RELEASE",
        ])
}

/// A statement from its first word on.
fn beginning(statement: &str) -> &str {
    let mut rest = statement.trim_start();
    loop {
        let comment = match (rest.strip_prefix("--"), rest.strip_prefix("/*")) {
            (Some(line), _) => line.split_once('\n'),
            (_, Some(block)) => block.split_once("*/"),
            _ => return rest,
        };
        rest = comment.map_or("", |(_, after)| after.trim_start());
    }
}

/// Whether it changes the schema, which no count of rows shows.
pub(in crate::db) fn is_schema(statement: &str) -> bool {
    let start = beginning(statement).to_ascii_uppercase();
    ["CREATE", "ALTER", "DROP"]
        .iter()
        .any(|verb| start.starts_with(verb))
}

/// Statements by their table and the first name in them: `app_env 'LOG_LEVEL'`.
fn named(statements: &[String]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for statement in statements {
        let mut words = statement.split_whitespace();
        let verb = words.next().unwrap_or_default();
        let table = words
            .find(|word| !["OR", "REPLACE", "IGNORE", "INTO", "FROM"].contains(word))
            .unwrap_or_default();
        let literal = statement.split('\'').nth(1).filter(|text| {
            let printed = text.chars().all(|c| c.is_ascii_graphic() || c == ' ');
            !text.is_empty() && text.len() <= 60 && printed
        });
        let name = match literal {
            Some(text) => format!("{} {table} '{text}'", verb.to_ascii_lowercase()),
            None => format!("{} {table}", verb.to_ascii_lowercase()),
        };
        if !names.contains(&name) && names.len() < NOTES {
            names.push(name);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listening() -> (Connection, Capture) {
        let mut connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch(
                "CREATE TABLE a (n INTEGER PRIMARY KEY, t TEXT, b BLOB);
                 CREATE TABLE copies (n INTEGER);
                 CREATE TRIGGER copy AFTER INSERT ON a BEGIN INSERT INTO copies VALUES (NEW.n); END;",
            )
            .unwrap();
        let capture = Capture::of(&mut connection).unwrap();
        (connection, capture)
    }

    #[test]
    fn n7_statements_are_told_with_their_values_and_without_what_triggers_do() {
        let (connection, capture) = listening();
        let values = rusqlite::params![7, "it's\n\"so\"", vec![0u8, 255]];
        connection
            .execute("INSERT INTO a (n, t, b) VALUES (?1, ?2, ?3)", values)
            .unwrap();
        let count: i64 = connection
            .query_row("SELECT count(*) FROM copies WHERE n = ?1", [7], |r| {
                r.get(0)
            })
            .unwrap();
        assert_eq!(count, 1);
        let n: i64 = connection
            .query_row(
                "-- a word first\nWITH w AS (SELECT 8 AS n) SELECT n FROM w",
                [],
                |r| r.get(0),
            )
            .unwrap();
        connection
            .execute("UPDATE a SET t = NULL WHERE n < ?1", [n])
            .unwrap();
        let (statements, about) = capture.take().unwrap();
        assert_eq!(
            statements,
            [
                "INSERT INTO a (n, t, b) VALUES (7, 'it''s\n\"so\"', x'00ff')",
                "UPDATE a SET t = NULL WHERE n < 8"
            ]
        );
        assert_eq!(about, ["insert a 'it'", "update a"]);
        assert!(capture.take().unwrap().0.is_empty());
    }

    #[test]
    fn n7_a_statement_that_is_not_known_to_change_nothing_is_told() {
        for told in [
            "-- why\n  -- and how\nUPDATE a SET t = NULL",
            "/* why */ DELETE FROM a",
            "replace INTO a (n) VALUES (1)",
            "WITH w AS (SELECT 1) REPLACE INTO a (n) SELECT 1",
            "VACUUM",
        ] {
            assert!(changes(told), "{told}");
        }
        for quiet in [
            "",
            "-- alone",
            "/* open",
            " SELECT 1",
            "SAVEPOINT work",
            "PRAGMA user_version",
        ] {
            assert!(!changes(quiet), "{quiet}");
        }
        assert!(is_schema("-- why\nCREATE TABLE t (n)"));
    }

    #[test]
    fn n7_what_is_rolled_back_is_forgotten_with_its_notes() {
        let (connection, capture) = listening();
        note("app:1", "first");
        connection
            .execute("INSERT INTO a (n) VALUES (1)", [])
            .unwrap();
        let mark = capture.mark();
        note("app:2", "second");
        connection
            .execute("INSERT INTO a (n) VALUES (2)", [])
            .unwrap();
        capture.back_to(mark);
        let (statements, about) = capture.take().unwrap();
        assert_eq!(statements, ["INSERT INTO a (n) VALUES (1)"]);
        assert_eq!(about, ["app:1: first"]);
    }

    #[test]
    fn n7_a_change_without_a_note_is_called_by_its_table_and_name() {
        let of = |text: &str| named(&[text.to_owned()]);
        assert_eq!(
            of("INSERT OR REPLACE INTO app_env (key) VALUES ('LOG_LEVEL')"),
            ["insert app_env 'LOG_LEVEL'"]
        );
        assert_eq!(of("DELETE FROM apps WHERE id = 3"), ["delete apps"]);
    }
}
