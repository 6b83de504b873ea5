//! Who may come in: the owner, the one-time setup link, sessions.
//!
//! Tokens are random and kept only as digests; passwords are argon2id, hashed
//! on the blocking pool one at a time (each takes 19 MB for a moment). Wrong
//! passwords are slowed per address, so a stranger cannot lock the owner out.

mod password;
mod store;
mod throttle;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::base::clock::UnixMs;
use crate::base::secret::{Secret, random_token, sha256_hex};
use crate::db::{Db, DbError};
use crate::events::{self, Level, NewEvent};

pub use store::{Session, SessionRow};
use throttle::Throttle;

/// What somebody may do. More roles join this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Everything.
    Owner,
}

impl Role {
    /// The stored word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
        }
    }
}

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
/// How long a setup link works.
const LINK_LIFE: Duration = Duration::from_secs(24 * 3600);
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

    /// A new one-time token for the setup page; earlier unused ones end.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn new_setup_link(&self, now: UnixMs) -> Result<Secret, UserError> {
        let token = random_token()?;
        let digest = sha256_hex(token.expose().as_bytes());
        self.db
            .write(move |tx| {
                store::insert_link(tx, &digest, now, now.plus(LINK_LIFE))?;
                events::record(
                    tx,
                    now,
                    &NewEvent::new(
                        "user.link",
                        Level::Info,
                        "box",
                        "A new setup link was made on the box.",
                    ),
                )?;
                Ok::<_, UserError>(())
            })
            .await?;
        Ok(token)
    }

    /// Whether `token` is an open setup link.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn link_is_open(&self, token: &str, now: UnixMs) -> Result<bool, UserError> {
        let digest = sha256_hex(token.as_bytes());
        self.db
            .read(move |c| store::link_open(c, &digest, now).map_err(UserError::from))
            .await
    }

    /// Uses up the link, sets the owner's password, ends every other session
    /// and signs in.
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
        if !self.link_is_open(token, now).await? {
            return Err(UserError::LinkInvalid);
        }
        password::rule(&password)?;
        let hash = self.hash(password).await?;
        let digest = sha256_hex(token.as_bytes());
        let session = random_token()?;
        let session_digest = sha256_hex(session.expose().as_bytes());
        self.db
            .write(move |tx| {
                if !store::use_link(tx, &digest, now)? {
                    return Err(UserError::LinkInvalid);
                }
                let user = store::upsert_owner(tx, OWNER, &hash, now)?;
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
                        "The owner's password was set.",
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
        let hash = self
            .db
            .read(move |c| store::hash_of(c, user).map_err(UserError::from))
            .await?;
        if !self.verify(old, hash.unwrap_or_default()).await? {
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
                        "The owner's password was changed.",
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
