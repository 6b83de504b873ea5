//! What a session or token may do at this moment. Asking is no use of it: neither is noted as seen,
//! so that what is only open keeps nothing alive.

use super::{Grant, UserError, Users, store_sessions, store_tokens};
use crate::base::clock::UnixMs;
use crate::base::secret::{Secret, sha256_hex};

impl Users {
    /// What the session of this cookie's value may do, if it still is one.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn grant_of_session(
        &self,
        token: &Secret,
        now: UnixMs,
    ) -> Result<Option<Grant>, UserError> {
        let digest = sha256_hex(token.expose().as_bytes());
        let found = self
            .db
            .read(move |c| store_sessions::find(c, &digest, now).map_err(UserError::from))
            .await?;
        Ok(found.map(|session| session.grant))
    }

    /// What the program with this token may do, if it still is one.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn grant_of_token(
        &self,
        token: &Secret,
        now: UnixMs,
    ) -> Result<Option<Grant>, UserError> {
        let digest = sha256_hex(token.expose().as_bytes());
        let found = self
            .db
            .read(move |c| store_tokens::find(c, &digest, now).map_err(UserError::from))
            .await?;
        Ok(found.map(|(program, _)| program.grant))
    }
}
