//! Passwords: the hash, the check.

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};

use super::UserError;
use crate::base::secret::{Secret, fill_random};

/// A hash nobody's password has, checked when the name is unknown, so that the
/// answer takes as long as for a known one.
pub(super) const DECOY: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// OWASP's recommendation for argon2id: 19 MiB, two passes, one lane.
fn argon() -> Result<Argon2<'static>, UserError> {
    let params = Params::new(19_456, 2, 1, None).map_err(|e| UserError::Hash(e.to_string()))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

pub(super) fn hash(password: &Secret) -> Result<String, UserError> {
    let mut salt = [0u8; 16];
    fill_random(&mut salt)?;
    let hash: PasswordHash = argon()?
        .hash_password_with_salt(password.expose().as_bytes(), &salt)
        .map_err(|e| UserError::Hash(e.to_string()))?;
    Ok(hash.to_string())
}

pub(super) fn verify(password: &Secret, hash: &str) -> bool {
    let Ok(parsed) = PasswordHash::new(hash) else {
        return false;
    };
    argon().is_ok_and(|argon| {
        argon
            .verify_password(password.expose().as_bytes(), &parsed)
            .is_ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f2_the_hash_is_argon2id_and_checks_only_its_password() {
        let hash = hash(&Secret::new("correct horse battery")).unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert!(verify(&Secret::new("correct horse battery"), &hash));
        assert!(!verify(&Secret::new("correct horse batterz"), &hash));
    }

    /// What is stored outlives the library that made it.
    #[test]
    fn f2_a_hash_of_an_earlier_release_still_opens() {
        let earlier = "$argon2id$v=19$m=19456,t=2,p=1$MDEyMzQ1Njc4OWFiY2RlZg$69I7qCjDTsQwhQqFvpQJiqEI0lGQvxC84fXE0Ktxca4";
        assert!(verify(&Secret::new("correct horse battery"), earlier));
        assert!(!verify(&Secret::new("correct horse batterz"), earlier));
    }

    #[test]
    fn f2_the_decoy_parses_and_opens_for_nobody() {
        assert!(PasswordHash::new(DECOY).is_ok());
        assert!(!verify(&Secret::new(""), DECOY));
    }
}
