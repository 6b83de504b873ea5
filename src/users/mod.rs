//! Who may come in and what they may do: people with roles, one-time links, sessions, tokens of programs.
//!
//! Tokens are random and kept only as digests; passwords are argon2id, hashed
//! on the blocking pool one at a time (each takes 19 MB for a moment). Wrong
//! passwords are slowed per address, so a stranger cannot lock the owner out.

mod password;
mod people;
mod role;
mod store;
mod store_tokens;
mod throttle;
mod tokens;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::base::clock::UnixMs;
use crate::base::secret::{Secret, random_token, sha256_hex};
use crate::db::{Db, DbError};
use crate::events::{self, Level, NewEvent};

pub use people::{NewUser, Person};
pub use role::{Grant, Role, Verb};
pub use store::{Session, SessionRow};
use throttle::Throttle;
pub use tokens::{NewToken, Program, Token};

/// Why somebody was not let in or a password not taken.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// The link was used, has expired, or never was.
    #[error(
        "this setup link is not valid any more: make a new one on the box with `freehold user reset`"
    )]
    LinkInvalid,
    /// The password does not meet the rule.
    #[error("{0}")]
    PasswordRule(&'static str),
    /// Name or password is wrong; which is not told.
    #[error("the name or the password is not right")]
    WrongPassword,
    /// Too many tries from one address.
    #[error("too many wrong passwords from your address: wait {0} seconds and try again")]
    SlowDown(u64),
    /// A name, role or list of apps is not valid.
    #[error("{0}")]
    Invalid(String),
    /// There already is a user of that name.
    #[error("there already is a user \"{0}\": `freehold user list` shows everybody")]
    NameTaken(String),
    /// No such user.
    #[error("there is no user \"{0}\": `freehold user list` shows everybody")]
    NotFound(String),
    /// No such token, or it is another's.
    #[error("there is no token {0}: `freehold token list` shows those there are")]
    NoToken(i64),
    /// Nobody would be left to mend things.
    #[error("this is the last owner: make another one first")]
    LastOwner,
    /// Hashing failed.
    #[error("the password could not be checked: {0}")]
    Hash(String),
    /// The database refused.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<crate::base::secret::SealError> for UserError {
    fn from(error: crate::base::secret::SealError) -> Self {
        Self::Db(error.into())
    }
}

/// The name the first owner has.
pub const OWNER: &str = "owner";
/// A session ends this long after it was last seen.
const SESSION_IDLE: Duration = Duration::from_secs(14 * 24 * 3600);

/// Where a sign-in comes from, for the sessions list.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The client's address as the edge saw it.
    pub address: Option<IpAddr>,
    /// The browser's own words, cut short.
    pub agent: String,
}

/// The domain's handle; cheap to clone.
#[derive(Clone)]
pub struct Users {
    db: Db,
    hashing: Arc<tokio::sync::Semaphore>,
    throttle: Arc<Mutex<Throttle>>,
}

impl Users {
    /// A handle on the users of `db`.
    pub fn new(db: Db) -> Self {
        Self {
            db,
            hashing: Arc::new(tokio::sync::Semaphore::new(1)),
            throttle: Arc::default(),
        }
    }

    /// Whether an owner has set a password.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn is_set_up(&self) -> Result<bool, UserError> {
        self.db
            .read(|c| store::any_user(c).map_err(UserError::from))
            .await
    }

    /// Whom the open link `token` is for.
    ///
    /// # Errors
    /// [`UserError::LinkInvalid`], or the database's.
    pub async fn link_is_for(&self, token: &str, now: UnixMs) -> Result<String, UserError> {
        let digest = sha256_hex(token.as_bytes());
        self.db
            .read(move |c| store::open_link(c, &digest, now).map_err(UserError::from))
            .await?
            .map(|link| link.user)
            .ok_or(UserError::LinkInvalid)
    }

    /// Uses up the link, sets the password of the user it is for (who is made
    /// where there is none yet), ends their other sessions and signs in.
    ///
    /// # Errors
    /// [`UserError::LinkInvalid`], [`UserError::PasswordRule`], or the database's.
    pub async fn set_up(
        &self,
        token: &str,
        password: Secret,
        from: Origin,
        now: UnixMs,
    ) -> Result<Secret, UserError> {
        self.link_is_for(token, now).await?;
        password::rule(&password)?;
        let hash = self.hash(password).await?;
        let digest = sha256_hex(token.as_bytes());
        let session = random_token()?;
        let session_digest = sha256_hex(session.expose().as_bytes());
        self.db
            .write(move |tx| {
                let Some(link) = store::open_link(tx, &digest, now)? else {
                    return Err(UserError::LinkInvalid);
                };
                store::use_link(tx, &digest, now)?;
                let user = store::upsert_user(tx, &link, &hash, now)?;
                store::end_sessions(tx, user)?;
                store::insert_session(
                    tx,
                    &session_digest,
                    user,
                    &from,
                    now,
                    now.plus(SESSION_IDLE),
                )?;
                events::record(
                    tx,
                    now,
                    &NewEvent::new(
                        "user.setup",
                        Level::Info,
                        "box",
                        format!("{} set a password by a one-time link.", link.user),
                    ),
                )?;
                Ok(())
            })
            .await?;
        Ok(session)
    }

    /// Signs in; the returned token goes into the cookie.
    ///
    /// # Errors
    /// [`UserError::WrongPassword`], [`UserError::SlowDown`], or the database's.
    pub async fn sign_in(
        &self,
        name: &str,
        password: Secret,
        from: Origin,
        now: UnixMs,
    ) -> Result<Secret, UserError> {
        if let Some(wait) = self.throttle().wait(from.address, now) {
            return Err(UserError::SlowDown(wait.as_secs().max(1)));
        }
        let wanted = name.to_owned();
        let user = self
            .db
            .read(move |c| store::user_by_name(c, &wanted).map_err(UserError::from))
            .await?;
        let good = match &user {
            Some((_, hash)) => self.verify(password, hash.clone()).await?,
            None => {
                self.verify(password, password::DECOY.to_owned()).await?;
                false
            }
        };
        let (Some((user, _)), true) = (user, good) else {
            self.throttle().failed(from.address, now);
            tracing::warn!(address = ?from.address, "a sign-in was refused");
            return Err(UserError::WrongPassword);
        };
        self.throttle().succeeded(from.address);
        let session = random_token()?;
        let digest = sha256_hex(session.expose().as_bytes());
        self.db
            .write(move |tx| {
                store::remove_expired(tx, now)?;
                store::insert_session(tx, &digest, user, &from, now, now.plus(SESSION_IDLE))
                    .map_err(UserError::from)
            })
            .await?;
        Ok(session)
    }

    /// The session of a cookie's value, if it is one.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn session(&self, token: &str, now: UnixMs) -> Result<Option<Session>, UserError> {
        let digest = sha256_hex(token.as_bytes());
        let key = digest.clone();
        let found = self
            .db
            .read(move |c| store::session(c, &key, now).map_err(UserError::from))
            .await?;
        if let Some(session) = &found
            && now.since(session.seen) > Duration::from_secs(300)
        {
            self.db
                .write(move |tx| {
                    store::touch_session(tx, &digest, now, now.plus(SESSION_IDLE))
                        .map_err(UserError::from)
                })
                .await?;
        }
        Ok(found)
    }

    /// Ends one session.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn sign_out(&self, token: &str) -> Result<(), UserError> {
        let digest = sha256_hex(token.as_bytes());
        self.db
            .write(move |tx| store::end_session(tx, &digest).map_err(UserError::from))
            .await
    }

    /// The sessions of one user, newest first.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn sessions(&self, user: i64, now: UnixMs) -> Result<Vec<SessionRow>, UserError> {
        self.db
            .read(move |c| store::sessions(c, user, now).map_err(UserError::from))
            .await
    }

    /// Ends the session of `user` that this mark of the list tells.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn end_session(&self, user: i64, mark: &str) -> Result<(), UserError> {
        let mark = mark.to_owned();
        self.db
            .write(move |tx| store::end_session_of(tx, user, &mark).map_err(UserError::from))
            .await
    }

    /// Changes the password of `user` and ends every session but the one of `keep`.
    ///
    /// # Errors
    /// [`UserError::WrongPassword`], [`UserError::PasswordRule`], or the database's.
    pub async fn change_password(
        &self,
        user: i64,
        old: Secret,
        new: Secret,
        keep: &str,
        now: UnixMs,
    ) -> Result<(), UserError> {
        password::rule(&new)?;
        let known = self
            .db
            .read(move |c| store::user_by_id(c, user).map_err(UserError::from))
            .await?;
        let (name, hash) = known.ok_or(UserError::WrongPassword)?;
        if !self.verify(old, hash).await? {
            return Err(UserError::WrongPassword);
        }
        let hash = self.hash(new).await?;
        let keep = sha256_hex(keep.as_bytes());
        self.db
            .write(move |tx| {
                store::set_hash(tx, user, &hash)?;
                store::end_other_sessions(tx, user, &keep)?;
                events::record(
                    tx,
                    now,
                    &NewEvent::new(
                        "user.password",
                        Level::Info,
                        "box",
                        format!("{name} changed their password."),
                    ),
                )?;
                Ok::<_, UserError>(())
            })
            .await
    }

    fn throttle(&self) -> std::sync::MutexGuard<'_, Throttle> {
        self.throttle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn hash(&self, password: Secret) -> Result<String, UserError> {
        self.on_the_pool(move || password::hash(&password)).await
    }

    async fn verify(&self, password: Secret, hash: String) -> Result<bool, UserError> {
        self.on_the_pool(move || Ok(password::verify(&password, &hash)))
            .await
    }

    async fn on_the_pool<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, UserError> + Send + 'static,
    ) -> Result<T, UserError> {
        let permit = self
            .hashing
            .clone()
            .acquire_owned()
            .await
            .map_err(|e| UserError::Hash(e.to_string()))?;
        let result = tokio::task::spawn_blocking(work)
            .await
            .map_err(|e| UserError::Hash(e.to_string()))?;
        drop(permit);
        result
    }
}

#[cfg(test)]
mod tests;
