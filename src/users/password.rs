//! Passwords: the hash, the check.

use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Block, Params, Version};

use super::UserError;
use crate::base::secret::{Secret, fill_random};

/// A hash nobody's password has, checked when the name is unknown, so that the
/// answer takes as long as for a known one.
pub(super) const DECOY: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// OWASP's recommendation for argon2id: 19 MiB, two passes, one lane.
fn params() -> Result<Params, UserError> {
    Params::new(19_456, 2, 1, None).map_err(told)
}

/// Blocks (of 1 KiB) that are asked for, of which only those of the hash are touched: what is
/// above 32 MiB glibc gives back to the kernel when it is freed, and the 19 MiB of one sign-in
/// it would keep, once a thread that hashes.
const ROOM: usize = 33 * 1_024;

fn told(error: impl std::fmt::Display) -> UserError {
    UserError::Hash(error.to_string())
}

fn fill(
    argon: &Argon2<'_>,
    password: &Secret,
    salt: &[u8],
    out: &mut [u8],
) -> Result<(), UserError> {
    let blocks = argon.params().block_count();
    let mut memory = Vec::with_capacity(blocks.max(ROOM));
    memory.resize(blocks, Block::new());
    argon
        .hash_password_into_with_memory(password.expose().as_bytes(), salt, out, &mut memory)
        .map_err(told)
}

pub(super) fn hash(password: &Secret) -> Result<String, UserError> {
    let mut salt = [0u8; 16];
    fill_random(&mut salt)?;
    let params = params()?;
    let (algorithm, version) = (Algorithm::Argon2id, Version::V0x13);
    let mut out = [0u8; Params::DEFAULT_OUTPUT_LEN];
    let argon = Argon2::new(algorithm, version, params.clone());
    fill(&argon, password, &salt, &mut out)?;
    let hash = PasswordHash {
        algorithm: algorithm.ident(),
        version: Some(version.into()),
        params: ParamsString::try_from(&params).map_err(told)?,
        salt: Some(Salt::new(&salt).map_err(told)?),
        hash: Some(Output::new(&out).map_err(told)?),
    };
    Ok(hash.to_string())
}

pub(super) fn verify(password: &Secret, hash: &str) -> bool {
    opens(password, hash).unwrap_or(false)
}

/// `None` when `hash` is none of argon2's.
fn opens(password: &Secret, hash: &str) -> Option<bool> {
    let parsed = PasswordHash::new(hash).ok()?;
    let algorithm = Algorithm::try_from(parsed.algorithm.as_str()).ok()?;
    let version = Version::try_from(parsed.version?).ok()?;
    let argon = Argon2::new(algorithm, version, Params::try_from(&parsed).ok()?);
    let (salt, wanted) = (parsed.salt?, parsed.hash?);
    let mut out = vec![0u8; wanted.len()];
    fill(&argon, password, &salt, &mut out).ok()?;
    // Compared in constant time, as outputs are.
    Some(Output::new(&out).ok()? == wanted)
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
