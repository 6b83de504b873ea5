//! Tokens: how programs come in. Shown once, kept as digests, bound to a user, apps and a verb.

use std::time::Duration;

use super::store_tokens::{self as store, Row};
use super::{Grant, UserError, Users, Verb};
use crate::base::clock::UnixMs;
use crate::base::marked;
use crate::base::secret::{Secret, sha256_hex};
use crate::events::{self, Level, NewEvent};

/// Characters by which a token is told from others: the prefix and six more.
const MARK: usize = marked::PERSONAL.len() + 6;
/// Use is noted this often at most.
const NOTED: Duration = Duration::from_secs(60);
/// Tokens of one user.
const MOST: usize = 100;

/// A token to make.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// What it is for.
    pub name: String,
    /// Whose; none for the box's own.
    pub user: Option<i64>,
    /// How far it goes.
    pub verb: Verb,
    /// Ids of the apps it is for; all of its user's when none.
    pub apps: Option<Vec<i64>>,
    /// When it ends.
    pub expires: Option<UnixMs>,
    /// The app a deploy token belongs to, and goes with; it does nothing but deploy that one.
    pub deploys: Option<i64>,
}

/// A token as the list shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The row.
    pub id: i64,
    /// Its first characters.
    pub mark: String,
    /// What it is for.
    pub name: String,
    /// Whose; none for the box's own.
    pub user: Option<(i64, String)>,
    /// Whether it is a deploy token, which belongs to one app.
    pub deploys: bool,
    /// How far it goes.
    pub verb: Verb,
    /// Names of the apps it is for; all of its user's when none.
    pub apps: Option<Vec<String>>,
    /// When it was made.
    pub created: UnixMs,
    /// When it ends.
    pub expires: Option<UnixMs>,
    /// When it was last used, to the minute.
    pub used: Option<UnixMs>,
}

/// A program that came in.
#[derive(Clone, Debug)]
pub struct Program {
    /// The token's row.
    pub id: i64,
    /// The token's name.
    pub name: String,
    /// Its user's name; none for the box's own.
    pub user: Option<String>,
    /// What it may do.
    pub grant: Grant,
}

/// A token just made; it is told here and nowhere else.
#[derive(Clone, Debug)]
pub struct Made {
    /// The row.
    pub id: i64,
    /// Its first characters.
    pub mark: String,
    /// The token itself.
    pub token: Secret,
}

fn event(kind: &'static str, text: String) -> NewEvent {
    NewEvent::new(kind, Level::Info, "box", text)
}

/// The characters by which the list tells this token from others, when it looks like one.
pub fn mark(token: &str) -> Option<String> {
    [marked::PERSONAL, marked::DEPLOY]
        .iter()
        .any(|kind| marked::is(kind, token))
        .then(|| token.chars().take(MARK).collect())
}

impl Users {
    /// Makes a token; it is told here and nowhere else.
    ///
    /// # Errors
    /// [`UserError::Invalid`] for what is wrong with it, or the database's.
    pub async fn new_token(&self, new: NewToken, by: &str, now: UnixMs) -> Result<Made, UserError> {
        let name = new.name.trim().to_owned();
        if name.is_empty() || name.chars().count() > 60 || name.chars().any(char::is_control) {
            return Err(UserError::Invalid(
                "a token needs a name of up to 60 characters that says what it is for".into(),
            ));
        }
        if new.expires.is_some_and(|at| at <= now) {
            return Err(UserError::Invalid(
                "this token would have ended already".into(),
            ));
        }
        let token = marked::new(match new.deploys {
            Some(_) => marked::DEPLOY,
            None => marked::PERSONAL,
        })?;
        let row = Row {
            digest: sha256_hex(token.expose().as_bytes()),
            mark: token.expose().chars().take(MARK).collect(),
            new: NewToken { name, ..new },
        };
        let (by, mark) = (by.to_owned(), row.mark.clone());
        let id = self
            .db
            .write(move |tx| {
                if store::count(tx, row.new.user)? >= MOST {
                    return Err(UserError::Invalid(format!(
                        "there are {MOST} tokens already: remove those that nobody uses"
                    )));
                }
                let id = store::insert(tx, &row, now)?;
                let text = format!("The token {} was made by {by}.", row.new.name);
                events::record(tx, now, &event("token.made", text))?;
                Ok(id)
            })
            .await?;
        Ok(Made { id, mark, token })
    }

    /// The tokens of one user, or all of them, newest first.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn tokens(&self, user: Option<i64>) -> Result<Vec<Token>, UserError> {
        self.db
            .read(move |c| store::list(c, user).map_err(UserError::from))
            .await
    }

    /// How many tokens of the user of that name go on: a new password or a new link ends sessions, not programs. It is
    /// told beside what is told this once, and never in its place: none where they cannot be counted.
    pub async fn tokens_that_go_on(&self, name: &str, now: UnixMs) -> usize {
        let name = name.to_owned();
        let counted = self
            .db
            .read(move |c| store::count_live(c, &name, now).map_err(UserError::from))
            .await;
        counted.unwrap_or_else(|error| {
            tracing::warn!(%error, "tokens that go on could not be counted");
            0
        })
    }

    /// Ends a token: of this user, or of anybody.
    ///
    /// # Errors
    /// [`UserError::NoToken`], or the database's.
    pub async fn remove_token(
        &self,
        id: i64,
        user: Option<i64>,
        by: &str,
        now: UnixMs,
    ) -> Result<(), UserError> {
        let by = by.to_owned();
        self.db
            .write(move |tx| {
                let Some(name) = store::remove(tx, id, user)? else {
                    return Err(UserError::NoToken(id));
                };
                let text = format!("The token {name} was ended by {by}.");
                events::record(tx, now, &event("token.ended", text))?;
                Ok(())
            })
            .await
    }

    /// Who this token is, if it is one and has not ended.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn program(&self, token: &str, now: UnixMs) -> Result<Option<Program>, UserError> {
        if ![marked::PERSONAL, marked::DEPLOY]
            .iter()
            .any(|kind| marked::is(kind, token))
        {
            return Ok(None);
        }
        let digest = sha256_hex(token.as_bytes());
        let key = digest.clone();
        let found = self
            .db
            .read(move |c| store::find(c, &key, now).map_err(UserError::from))
            .await?;
        let Some((program, used)) = found else {
            return Ok(None);
        };
        if used.is_none_or(|used| now.since(used) > NOTED) {
            self.db
                .write(move |tx| store::touch(tx, &digest, now).map_err(UserError::from))
                .await?;
        }
        Ok(Some(program))
    }
}
