//! Sessions: found by their cookie, listed, ended, confirmed by the password again.
//!
//! A session's cookie is another after each proof (sign-in, confirmation, new
//! password), so that one known from before leads nowhere.

use std::time::Duration;

use super::authority::{By, insist_or_own};
use super::sign_in::{Origin, Proof};
use super::store_sessions::{self as store, Session, SessionRow};
use super::{UserError, Users};
use crate::base::clock::UnixMs;
use crate::base::secret::{Secret, random_token, sha256_hex};
use crate::events::{self, Level, NewEvent};

/// How long after the password was given the dangerous may be done.
pub const CONFIRMED_FOR: Duration = Duration::from_secs(600);

/// Whether what was confirmed at `confirmed` still counts.
pub fn is_fresh(confirmed: UnixMs, now: UnixMs) -> bool {
    // A clock that was set back makes nothing fresher.
    confirmed <= now && now.since(confirmed) < CONFIRMED_FOR
}

/// The mark by which the list tells the session of this cookie's value from others.
pub fn session_mark(token: &Secret) -> String {
    let digest = sha256_hex(token.expose().as_bytes());
    digest.chars().take(store::MARK).collect()
}

impl Users {
    /// The session of a cookie's value, if it is one.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn session(&self, token: &str, now: UnixMs) -> Result<Option<Session>, UserError> {
        let digest = sha256_hex(token.as_bytes());
        let key = digest.clone();
        let found = self
            .db
            .read(move |c| store::find(c, &key, now).map_err(UserError::from))
            .await?;
        if let Some(session) = &found
            && now.since(session.seen) > Duration::from_secs(300)
        {
            self.db
                .write(move |tx| store::touch(tx, &digest, now).map_err(UserError::from))
                .await?;
        }
        Ok(found)
    }

    /// The password again, in the session of `token`: the session goes on under the cookie returned.
    ///
    /// # Errors
    /// [`UserError::WrongPassword`], [`UserError::CodeNeeded`], [`UserError::WrongCode`],
    /// [`UserError::SlowDown`], or the database's.
    pub async fn confirm(
        &self,
        user: i64,
        token: &str,
        proof: Proof,
        from: &Origin,
        now: UnixMs,
    ) -> Result<Secret, UserError> {
        self.prove(user, proof, from, now).await?;
        let fresh = random_token()?;
        let (old, new) = (
            sha256_hex(token.as_bytes()),
            sha256_hex(fresh.expose().as_bytes()),
        );
        self.db
            .write(move |tx| match store::renew(tx, &old, &new, user, now)? {
                true => Ok(()),
                false => Err(UserError::NoSession),
            })
            .await?;
        Ok(fresh)
    }

    /// Ends one session.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn sign_out(&self, token: &str) -> Result<(), UserError> {
        let digest = sha256_hex(token.as_bytes());
        self.db
            .write(move |tx| store::end(tx, &digest).map_err(UserError::from))
            .await
    }

    /// The sessions of one user, newest first.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn sessions(&self, user: i64, now: UnixMs) -> Result<Vec<SessionRow>, UserError> {
        self.db
            .read(move |c| store::list(c, user, now).map_err(UserError::from))
            .await
    }

    /// Ends the session of `user` that this mark of the list tells: by themselves, or by who is in charge of them.
    ///
    /// # Errors
    /// [`UserError::NoSession`], [`UserError::OnlyOwners`], [`UserError::NotInCharge`], or the database's.
    pub async fn end_session(
        &self,
        user: i64,
        mark: &str,
        by: By,
        now: UnixMs,
    ) -> Result<(), UserError> {
        let mark = mark.to_owned();
        self.db
            .write(move |tx| {
                insist_or_own(tx, &by, user, now)?;
                match store::end_marked(tx, user, &mark)? {
                    true => Ok(()),
                    false => Err(UserError::NoSession),
                }
            })
            .await
    }

    /// Ends every session of `user`, for `by`; how many there were.
    ///
    /// # Errors
    /// [`UserError::NoSession`] when the user is gone, [`UserError::OnlyOwners`], [`UserError::NotInCharge`], or the
    /// database's.
    pub async fn end_sessions(
        &self,
        (user, name): (i64, &str),
        by: By,
        now: UnixMs,
    ) -> Result<usize, UserError> {
        let text = format!("Every session of {name} was ended by {}.", by.who);
        self.db
            .write(move |tx| {
                insist_or_own(tx, &by, user, now)?;
                let ended = store::end_all(tx, user, None)?;
                super::store_devices::forget(tx, user, None)?;
                let event = NewEvent::new("user.sessions", Level::Info, "box", text);
                events::record(tx, now, &event)?;
                Ok::<_, UserError>(ended)
            })
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a2_a_confirmation_counts_for_ten_minutes_and_not_from_the_future() {
        let now = UnixMs(10_000_000);
        assert!(is_fresh(now, now));
        assert!(is_fresh(now.minus(Duration::from_secs(599)), now));
        assert!(!is_fresh(now.minus(CONFIRMED_FOR), now));
        assert!(!is_fresh(UnixMs(0), now));
        assert!(!is_fresh(now.plus(Duration::from_secs(1)), now));
    }
}
