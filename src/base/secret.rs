//! Secrets: values that never print, sealing at rest, tokens and their digests.
//!
//! Sealed bytes are `1 | nonce (12) | AES-256-GCM ciphertext and tag`, bound to
//! a context string ("app_env:7:DATABASE_URL") as associated data, so that a
//! sealed value moved to another row does not open.

use std::fmt;
use std::fs;
use std::path::Path;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

/// A string that shows as `[secret]` wherever it is printed and is wiped when dropped.
/// Serializing it writes the real value: only into something sealed, or an answer to the one who may see it.
#[derive(Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline, extend("format" = "password"))]
pub struct Secret(String);

/// In constant time: two secrets are compared with `==` and nothing is told by how long it takes.
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        constant_time_eq(self.0.as_bytes(), other.0.as_bytes())
    }
}

impl Eq for Secret {}

impl Secret {
    /// Takes the value in.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself; call it as late as possible.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Why sealing or opening failed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The bytes were not sealed with this key for this context, or were changed.
    #[error(
        "a sealed value does not open with this box's master.key: the key file and state.db must come from the same box"
    )]
    WrongKey,
    /// The cipher or the random source refused.
    #[error("the crypto library refused to seal a value")]
    Refused,
    /// The key file could not be read or written.
    #[error("master.key: {0}")]
    KeyFile(String),
}

const VERSION: u8 = 1;

/// The key that seals what the user gave us; `master.key`, 32 bytes, 0600.
pub struct MasterKey {
    key: LessSafeKey,
    /// Of other keys, each for one purpose.
    roots: aws_lc_rs::hmac::Key,
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey")
    }
}

impl MasterKey {
    /// A key from its 32 bytes.
    ///
    /// # Errors
    /// [`SealError::KeyFile`] when there are not 32.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SealError> {
        let key = UnboundKey::new(&AES_256_GCM, bytes)
            .map_err(|_| SealError::KeyFile(format!("expected 32 bytes, found {}", bytes.len())))?;
        Ok(Self {
            key: LessSafeKey::new(key),
            roots: aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, bytes),
        })
    }

    /// Reads the key at `path`, or makes one (0600) when there is none.
    ///
    /// # Errors
    /// When the file cannot be read, written, or has another length.
    pub fn open_or_create(path: &Path) -> Result<Self, SealError> {
        match fs::read(path) {
            Ok(mut bytes) => {
                let key = Self::from_bytes(&bytes);
                bytes.zeroize();
                key
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let mut bytes = [0u8; 32];
                fill_random(&mut bytes)?;
                super::atomic_file::write(path, &bytes, 0o600)
                    .map_err(|e| SealError::KeyFile(e.to_string()))?;
                let key = Self::from_bytes(&bytes);
                bytes.zeroize();
                key
            }
            Err(e) => Err(SealError::KeyFile(e.to_string())),
        }
    }

    /// A key of its own for `purpose`, always the same one.
    pub fn derive(&self, purpose: &str) -> Secret {
        let label = format!("freehold key: {purpose}");
        Secret::new(hex::encode(aws_lc_rs::hmac::sign(
            &self.roots,
            label.as_bytes(),
        )))
    }

    /// Seals `plain`, bound to `context`.
    ///
    /// # Errors
    /// [`SealError::Refused`] when the cipher or the random source fails.
    pub fn seal(&self, context: &str, plain: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut nonce = [0u8; NONCE_LEN];
        fill_random(&mut nonce)?;
        let mut body = plain.to_vec();
        self.key
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(context.as_bytes()),
                &mut body,
            )
            .map_err(|_| SealError::Refused)?;
        let mut sealed = Vec::with_capacity(1 + NONCE_LEN + body.len());
        sealed.push(VERSION);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&body);
        Ok(sealed)
    }

    /// Opens what [`Self::seal`] made for the same `context`.
    ///
    /// # Errors
    /// [`SealError::WrongKey`] when key, context or bytes differ.
    pub fn open(&self, context: &str, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let (version, rest) = sealed.split_first().ok_or(SealError::WrongKey)?;
        if *version != VERSION || rest.len() < NONCE_LEN {
            return Err(SealError::WrongKey);
        }
        let (nonce, body) = rest.split_at(NONCE_LEN);
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::WrongKey)?;
        let mut body = body.to_vec();
        let length = self
            .key
            .open_in_place(nonce, Aad::from(context.as_bytes()), &mut body)
            .map_err(|_| SealError::WrongKey)?
            .len();
        body.truncate(length);
        Ok(body)
    }

    /// [`Self::seal`] for text.
    ///
    /// # Errors
    /// As [`Self::seal`].
    pub fn seal_text(&self, context: &str, plain: &Secret) -> Result<Vec<u8>, SealError> {
        self.seal(context, plain.expose().as_bytes())
    }

    /// [`Self::open`] for text.
    ///
    /// # Errors
    /// As [`Self::open`]; also when the content is not UTF-8.
    pub fn open_text(&self, context: &str, sealed: &[u8]) -> Result<Secret, SealError> {
        let bytes = self.open(context, sealed)?;
        String::from_utf8(bytes)
            .map(Secret::new)
            .map_err(|_| SealError::WrongKey)
    }
}

/// Fills `bytes` from the system's random source.
///
/// # Errors
/// [`SealError::Refused`] when the source fails.
pub fn fill_random(bytes: &mut [u8]) -> Result<(), SealError> {
    SystemRandom::new()
        .fill(bytes)
        .map_err(|_| SealError::Refused)
}

/// A new token of 256 random bits in URL-safe base64 (43 characters).
///
/// # Errors
/// [`SealError::Refused`] when the random source fails.
pub fn random_token() -> Result<Secret, SealError> {
    let mut bytes = [0u8; 32];
    fill_random(&mut bytes)?;
    Ok(Secret::new(URL_SAFE_NO_PAD.encode(bytes)))
}

/// A new id of `length` lower-case letters and digits, beginning with a letter.
///
/// # Errors
/// [`SealError::Refused`] when the random source fails.
pub fn random_id(length: usize) -> Result<String, SealError> {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut bytes = vec![0u8; length];
    fill_random(&mut bytes)?;
    Ok(bytes
        .iter()
        .enumerate()
        .map(|(at, b)| {
            let range = if at == 0 { 16 } else { 32 };
            char::from(LETTERS[usize::from(*b) % range])
        })
        .collect())
}

/// SHA-256 of `bytes` in lower-case hex; how tokens are stored.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes))
}

/// HMAC-SHA-256 of `body` under `key`.
pub fn hmac_sha256(key: &[u8], body: &[u8]) -> Vec<u8> {
    use aws_lc_rs::hmac;
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::sign(&key, body).as_ref().to_vec()
}

/// Whether both are the same, in a time that depends only on their lengths.
pub fn constant_time_eq(a: &[u8], b: &[u8]) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(a, b).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_value_opens_only_with_its_key_and_context() {
        let key = MasterKey::from_bytes(&[7; 32]).unwrap();
        let sealed = key.seal("app_env:1:A", b"$x\"\n=").unwrap();
        assert_eq!(key.open("app_env:1:A", &sealed).unwrap(), b"$x\"\n=");
        assert!(key.open("app_env:2:A", &sealed).is_err());
        let other = MasterKey::from_bytes(&[8; 32]).unwrap();
        assert!(other.open("app_env:1:A", &sealed).is_err());
        let mut bent = sealed.clone();
        *bent.last_mut().unwrap() ^= 1;
        assert!(key.open("app_env:1:A", &bent).is_err());
        assert!(key.open("app_env:1:A", &[]).is_err());
    }

    #[test]
    fn secrets_do_not_print() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "[secret]");
    }

    #[test]
    fn a_derived_key_is_of_its_purpose_and_its_box() {
        let key = MasterKey::from_bytes(&[7; 32]).unwrap();
        assert_eq!(key.derive("forms"), key.derive("forms"));
        assert_ne!(key.derive("forms"), key.derive("links"));
        let other = MasterKey::from_bytes(&[8; 32]).unwrap();
        assert_ne!(key.derive("forms"), other.derive("forms"));
    }

    #[test]
    fn the_key_file_is_made_once_with_0600() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master.key");
        let one = MasterKey::open_or_create(&path).unwrap();
        let two = MasterKey::open_or_create(&path).unwrap();
        let sealed = one.seal("c", b"v").unwrap();
        assert_eq!(two.open("c", &sealed).unwrap(), b"v");
    }

    #[test]
    fn ids_begin_with_a_letter() {
        for _ in 0..50 {
            let id = random_id(12).unwrap();
            assert_eq!(id.len(), 12);
            assert!(id.starts_with(|c: char| c.is_ascii_lowercase()));
        }
    }
}
