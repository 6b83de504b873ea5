//! Who is served: addresses, names with passwords, and how often.

use std::collections::HashSet;
use std::fmt;

use aws_lc_rs::hmac;
use http::HeaderName;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::{Checked, shown};
use crate::base::cidr::Cidr;
use crate::base::secret::{MasterKey, Secret};

/// Ranges in `allow`, and in `deny`.
const RANGES: usize = 1_000;
/// Users of one route.
const USERS: usize = 64;
/// Bytes of a user's name, and of a password.
const WORD: usize = 128;
/// Bytes of a realm.
const REALM: usize = 100;

/// `10.0.0.0/8`, `2001:db8::/32`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(transparent)]
pub struct AddressRange(#[schemars(with = "String")] pub Cidr);

impl Serialize for AddressRange {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for AddressRange {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        if text.ends_with("/0") {
            return Err(D::Error::custom(format!(
                "{} is everybody: leave allow out to serve everybody, and write the ranges that are not served in deny",
                shown(&text)
            )));
        }
        let short: String = text.chars().take(60).collect();
        Cidr::parse(&short).map(Self).map_err(D::Error::custom)
    }
}

impl Checked for Vec<AddressRange> {
    fn check(&self) -> Result<(), String> {
        if self.len() > RANGES {
            return Err(format!(
                "allow and deny take {RANGES} ranges each: join neighbours to one with a shorter prefix"
            ));
        }
        Ok(())
    }
}

/// How long a rate limit's quota takes to be whole again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Window {
    /// A second.
    Second,
    /// A minute.
    #[default]
    Minute,
    /// An hour.
    Hour,
    /// A day.
    Day,
}

impl Window {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Window::Second => "second",
            Window::Minute => "minute",
            Window::Hour => "hour",
            Window::Day => "day",
        }
    }

    /// Its length.
    pub fn seconds(self) -> u32 {
        match self {
            Window::Second => 1,
            Window::Minute => 60,
            Window::Hour => 3_600,
            Window::Day => 86_400,
        }
    }
}

/// How often one client may ask; refilled evenly. Beyond it are 429 and when to come again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// This many requests, at once or spread,
    pub requests: u32,
    /// in this time.
    #[serde(default)]
    pub per: Window,
    /// Clients are told apart by what they send in this header, such as `x-api-key`; by their address without one, and
    /// where a request has none. Whoever may choose its value freely is not limited by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
}

impl Checked for RateLimit {
    fn check(&self) -> Result<(), String> {
        let most = u64::from(self.per.seconds()) * 10_000;
        if self.requests == 0 || u64::from(self.requests) > most.min(100_000_000) {
            return Err(
                "rate_limit: requests is from 1 to 10,000 a second: write it like { requests = 100, per = \"minute\" }".into(),
            );
        }
        let is_name =
            |name: &String| name.len() <= WORD && HeaderName::from_bytes(name.as_bytes()).is_ok();
        match &self.header {
            Some(name) if !is_name(name) => Err(format!(
                "rate_limit: header {} is not the name of a header: write it like \"x-api-key\"",
                shown(name)
            )),
            _ => Ok(()),
        }
    }
}

/// Basic authentication (RFC 7617).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BasicAuth {
    /// What browsers show when they ask.
    #[serde(default = "realm")]
    pub realm: String,
    /// Who is let in.
    pub users: Vec<BasicUser>,
}

fn realm() -> String {
    "Restricted".into()
}

impl Checked for BasicAuth {
    fn check(&self) -> Result<(), String> {
        let is_plain = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
        if self.realm.len() > REALM || !self.realm.bytes().all(is_plain) {
            return Err(format!(
                "basic_auth: realm takes up to {REALM} ASCII characters without quotes: write it like \"Staging\""
            ));
        }
        if self.users.is_empty() || self.users.len() > USERS {
            return Err(format!(
                "basic_auth: users takes 1 to {USERS}: write it like [{{ name = \"ana\", password = \"…\" }}]"
            ));
        }
        let mut names = HashSet::new();
        for user in &self.users {
            user.check()?;
            if !names.insert(&user.name) {
                return Err(format!(
                    "basic_auth: the user {} is there twice: remove one",
                    shown(&user.name)
                ));
            }
        }
        Ok(())
    }
}

/// Somebody who is let in: with a password when it is taken in, with a verifier from then on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BasicUser {
    /// Without a colon.
    pub name: String,
    /// Taken in and never told.
    #[serde(default, skip_serializing)]
    pub password: Option<Secret>,
    /// What the box keeps instead of the password; told to nobody, and so in no description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(skip)]
    pub verifier: Option<Verifier>,
}

impl BasicUser {
    fn check(&self) -> Result<(), String> {
        let is_word =
            |text: &str| (1..=WORD).contains(&text.len()) && !text.chars().any(char::is_control);
        if !is_word(&self.name) || self.name.contains(':') {
            return Err(format!(
                "basic_auth: name {} must be 1 to {WORD} bytes without a colon: write it like \"ana\"",
                shown(&self.name)
            ));
        }
        match (&self.password, &self.verifier) {
            (Some(password), None) if !is_word(password.expose()) => Err(format!(
                "basic_auth: the password of {} must be 1 to {WORD} bytes without control characters",
                shown(&self.name)
            )),
            (Some(_), None) | (None, Some(_)) => Ok(()),
            (Some(_), Some(_)) => Err(format!(
                "basic_auth: {} has a password and a verifier: remove one of them",
                shown(&self.name)
            )),
            (None, None) => Err(format!(
                "basic_auth: {} has no password: add password = \"…\"",
                shown(&self.name)
            )),
        }
    }

    /// Puts a verifier in the place of a password.
    pub fn take_in(&mut self, key: &VerifierKey) {
        if let Some(password) = self.password.take() {
            let both = Secret::new(format!("{}:{}", self.name, password.expose()));
            self.verifier = Some(Verifier(key.sign(both.expose().as_bytes())));
        }
    }
}

/// Under what verifiers are made: a key of `master.key` for this purpose alone, so that whoever reads the database cannot
/// try passwords against it, and a look at one costs a worker of the edge next to nothing.
#[derive(Clone)]
pub struct VerifierKey(hmac::Key);

impl VerifierKey {
    /// The box's own.
    pub fn of(master: &MasterKey) -> Self {
        Self::new(master.derive("basic auth of routes").expose().as_bytes())
    }

    /// One of these bytes.
    pub fn new(bytes: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, bytes))
    }

    /// What a verifier of `name:password` holds.
    pub fn sign(&self, credentials: &[u8]) -> [u8; 32] {
        let mut found = [0; 32];
        // HMAC-SHA-256 has 32 bytes.
        for (to, from) in found
            .iter_mut()
            .zip(hmac::sign(&self.0, credentials).as_ref())
        {
            *to = *from;
        }
        found
    }
}

/// One that no verifier was made under: whoever asks is refused.
impl Default for VerifierKey {
    fn default() -> Self {
        Self::new(&[])
    }
}

impl fmt::Debug for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[key]")
    }
}

/// HMAC-SHA-256 of `name:password` under the box's key, as 64 hex digits.
#[derive(Clone, PartialEq, Eq, JsonSchema)]
#[schemars(transparent)]
pub struct Verifier(#[schemars(with = "String")] pub [u8; 32]);

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[verifier]")
    }
}

impl Serialize for Verifier {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&hex::encode(self.0))
    }
}

impl<'de> Deserialize<'de> for Verifier {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(String::deserialize(from)?, &mut bytes).map_err(|_| {
            D::Error::custom(
                "basic_auth: a verifier has 64 hex digits, as this box made it: write password = \"…\" instead",
            )
        })?;
        Ok(Self(bytes))
    }
}
