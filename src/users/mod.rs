//! Who may come in and what they may do: people with roles, one-time links, sessions, tokens of programs.
//!
//! Tokens are random and kept only as digests; passwords are argon2id, hashed
//! on the blocking pool one at a time (each takes 19 MB for a moment), with so
//! many waiting and no more. Wrong
//! ones are slowed per address and per account, but never in a browser the
//! account knows, so a stranger cannot lock the owner out.

mod authority;
mod password;
mod password_rule;
mod people;
mod role;
mod second_factor;
mod sessions;
mod sign_in;
mod standing;
mod store;
mod store_devices;
mod store_second;
mod store_sessions;
mod store_tokens;
mod throttle;
mod tokens;
mod totp;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::base::secret::{MasterKey, Secret};
use crate::db::{Db, DbError};

pub use authority::{Actor, By};
pub use people::{NewUser, Person};
pub use role::{Grant, Role, Verb};
pub use second_factor::{Offer, Standing};
pub use sessions::{CONFIRMED_FOR, is_fresh, session_mark};
pub use sign_in::{Entered, Origin, Proof, SignedIn, signs_in_as};
pub use store_sessions::{Session, SessionRow};
use throttle::Throttle;
pub use tokens::{Made, NewToken, Program, Token, mark};

/// Why somebody was not let in or a password not taken.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// The link was used, has expired, or never was.
    #[error(
        "this link is not valid any more: ask whoever sent it for another; the owner makes one on the box with `freehold user reset`"
    )]
    LinkInvalid,
    /// The password does not meet the rule.
    #[error("{0}")]
    PasswordRule(&'static str),
    /// Name or password is wrong; which is not told.
    #[error("the name or the password is not right")]
    WrongPassword,
    /// The password is right, and this account asks for a code too.
    #[error("this account asks for a code of its authenticator beside the password")]
    CodeNeeded,
    /// The code is wrong, too old or used up.
    #[error("the code is not right, or was used already: wait for the next one and try again")]
    WrongCode,
    /// Too long between password and code, or too many wrong codes.
    #[error("it took too long, or there were too many wrong codes: begin again with your password")]
    HalfWayOver,
    /// The second factor is not as it would have to be for this.
    #[error("{0}")]
    SecondFactor(&'static str),
    /// Too many tries: from one address, from one browser, or at one account by browsers it does not know.
    #[error(
        "there were too many wrong tries: wait {0} seconds and try again (a browser you signed in with before has a count of its own)"
    )]
    SlowDown(u64),
    /// The session ended meanwhile, or there is none with that mark.
    #[error("there is no such session any more")]
    NoSession,
    /// A name, role or list of apps is not valid.
    #[error("{0}")]
    Invalid(String),
    /// There already is a user of that name.
    #[error("there already is a user \"{0}\": `freehold user list` shows everybody")]
    NameTaken(String),
    /// No such user.
    #[error("there is no user \"{0}\": `freehold user list` shows everybody")]
    NotFound(String),
    /// Asked in, and so nobody's role to change yet.
    #[error(
        "{0} has not come in yet: ask them in again with another role, which ends the link of before"
    )]
    NotInYet(String),
    /// An owner's link, role or account is an owner's to make or change.
    #[error("only an owner may make, change or take out an owner")]
    OnlyOwners,
    /// Whoever asks is in charge of nobody, or is not any more: they were made less, or their token ended.
    #[error(
        "you are not, or not any more, in charge of the people of this box: nothing was changed"
    )]
    NotInCharge,
    /// No such token, or it is another's.
    #[error("there is no token {0}: `freehold token list` shows those there are")]
    NoToken(i64),
    /// Nobody would be left to mend things.
    #[error("this is the last owner: make another one first")]
    LastOwner,
    /// Too many passwords wait to be looked at.
    #[error("too many passwords are being checked just now: wait a few seconds and try again")]
    Busy,
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
/// Passwords that may wait for their turn: one takes some 50 ms, and nobody waits longer than for a page.
const QUEUE: usize = 32;
/// A session ends this long after it was last seen.
const SESSION_IDLE: Duration = Duration::from_secs(14 * 24 * 3600);
/// And this long after it began, however much it is used: a stolen cookie is not for ever.
const SESSION_LIFE: Duration = Duration::from_secs(90 * 24 * 3600);

/// The domain's handle; cheap to clone.
#[derive(Clone)]
pub struct Users {
    db: Db,
    key: Arc<MasterKey>,
    hashing: Arc<tokio::sync::Semaphore>,
    /// Places to wait for `hashing`: those of strangers, and those of whom a session, a link or their browser tells.
    queues: [Arc<tokio::sync::Semaphore>; 2],
    throttle: Arc<Mutex<Throttle>>,
}

impl Users {
    /// A handle on the users of `db`, whose second factors are sealed with `key`.
    pub fn new(db: Db, key: Arc<MasterKey>) -> Self {
        Self {
            db,
            key,
            hashing: Arc::new(tokio::sync::Semaphore::new(1)),
            queues: [(); 2].map(|()| Arc::new(tokio::sync::Semaphore::new(QUEUE))),
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

    fn throttle(&self) -> std::sync::MutexGuard<'_, Throttle> {
        self.throttle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn hash(&self, password: Secret) -> Result<String, UserError> {
        // Of whom a link or the password before was right.
        self.on_the_pool(true, move || password::hash(&password))
            .await
    }

    async fn verify(&self, known: bool, password: Secret, hash: String) -> Result<bool, UserError> {
        self.on_the_pool(known, move || Ok(password::verify(&password, &hash)))
            .await
    }

    async fn on_the_pool<T: Send + 'static>(
        &self,
        known: bool,
        work: impl FnOnce() -> Result<T, UserError> + Send + 'static,
    ) -> Result<T, UserError> {
        // Each holds its password and its connection: strangers must not make a long line of them, nor one before those
        // who are known.
        let queue = &self.queues[usize::from(known)];
        let place = Arc::clone(queue).try_acquire_owned();
        let place = place.map_err(|_| UserError::Busy)?;
        let permit = self
            .hashing
            .clone()
            .acquire_owned()
            .await
            .map_err(|e| UserError::Hash(e.to_string()))?;
        let result = tokio::task::spawn_blocking(work)
            .await
            .map_err(|e| UserError::Hash(e.to_string()))?;
        drop((permit, place));
        result
    }
}

#[cfg(test)]
mod authority_tests;
#[cfg(test)]
mod door_tests;
#[cfg(test)]
mod link_tests;
#[cfg(test)]
mod second_factor_tests;
#[cfg(test)]
mod tests;
