//! Policies of a route as people write them: in the settings' `[[route]]`, in an app's `[processes.web.route]`, in the
//! API and on the command line. Plain data.
//!
//! What was read is whole: every key is checked while it is read, so that a reader of TOML names the line and one of JSON
//! the field; [`Policies::check`] is the same for what was put together otherwise. Every text and list has a limit. A
//! password is here between reading and [`Policies::take_in`] only, is never written, and prints nowhere.

mod access;
mod answers;
mod fields;
mod folder;
mod paths;
mod short;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_told;
mod toggle;
mod told;

pub use access::{AddressRange, BasicAuth, BasicUser, RateLimit, Verifier, VerifierKey, Window};
pub use answers::{Coding, Compress, ErrorPages, Hsts};
pub use fields::{HeaderRules, is_edges_own};
pub use folder::Subfolder;
pub use paths::{Redirect, is_path};
pub use toggle::{Size, Toggle};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use super::log_share::LogShare;

/// What a route asks of its requests and does to its answers. Nothing, by default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Policies {
    /// Where clients are sent instead; the first that fits counts.
    #[serde(deserialize_with = "checked", skip_serializing_if = "Vec::is_empty")]
    pub redirects: Vec<Redirect>,
    /// Whether the route's path is taken off before a request goes on; it is told in `X-Forwarded-Prefix`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strip_prefix: Option<bool>,
    /// Changes to the headers the app gets.
    #[serde(
        deserialize_with = "checked",
        skip_serializing_if = "HeaderRules::is_empty"
    )]
    pub request_headers: HeaderRules,
    /// Changes to the headers the client gets.
    #[serde(
        deserialize_with = "checked",
        skip_serializing_if = "HeaderRules::is_empty"
    )]
    pub answer_headers: HeaderRules,
    /// Tells browsers to come by https only; sent over https, and where the name's certificate is a public one.
    #[serde(deserialize_with = "checked", skip_serializing_if = "Option::is_none")]
    pub hsts: Option<Toggle<Hsts>>,
    /// A name and a password, asked of everybody.
    #[serde(deserialize_with = "checked", skip_serializing_if = "Option::is_none")]
    pub basic_auth: Option<BasicAuth>,
    /// Only clients at these addresses are served; everybody, when it is empty.
    #[serde(deserialize_with = "checked", skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<AddressRange>,
    /// Clients at these addresses are not served, even where `allow` names them.
    #[serde(deserialize_with = "checked", skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<AddressRange>,
    /// How often one client may ask.
    #[serde(deserialize_with = "checked", skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
    /// The largest body of a request, instead of the box's `limits.body`.
    #[serde(deserialize_with = "checked", skip_serializing_if = "Option::is_none")]
    pub body_limit: Option<Size>,
    /// Answers are compressed for clients that take it.
    #[serde(deserialize_with = "checked", skip_serializing_if = "Option::is_none")]
    pub compress: Option<Toggle<Compress>>,
    /// A browser stays with the replica that answered it first, by a cookie.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sticky: Option<bool>,
    /// How many of its requests stand in the access log: `"off"`, `"all"`, or a part such as 0.1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_log: Option<LogShare>,
    /// Pages instead of the edge's own for its errors, by status: `"503"`, `"4xx"` or `"5xx"`.
    #[serde(
        deserialize_with = "checked",
        skip_serializing_if = "ErrorPages::is_empty"
    )]
    pub error_pages: ErrorPages,
    /// Of an app whose release is a folder of files: the folder of it that is served, and nothing beside it.
    #[serde(
        rename = "static",
        deserialize_with = "checked",
        skip_serializing_if = "Option::is_none"
    )]
    pub files: Option<Subfolder>,
    /// Of such an app: whether paths that are no file are the folder's `index.html`'s, whatever `[build]` says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub single_page: Option<bool>,
}

impl Policies {
    /// Whether nothing is asked or done.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether somebody may be turned away who comes as anybody does.
    pub fn guard(&self) -> bool {
        self.basic_auth.is_some()
            || self.rate_limit.is_some()
            || !self.allow.is_empty()
            || !self.deny.is_empty()
    }

    /// Whether every part is one that can be kept to.
    ///
    /// # Errors
    /// A sentence that names the key and what to write instead, about the first part that is not.
    pub fn check(&self) -> Result<(), String> {
        self.redirects.check()?;
        self.request_headers.check()?;
        self.answer_headers.check()?;
        self.hsts.check()?;
        self.basic_auth.check()?;
        self.allow.check()?;
        self.deny.check()?;
        self.rate_limit.check()?;
        self.body_limit.check()?;
        self.compress.check()?;
        self.error_pages.check()?;
        self.files.check()
    }

    /// Puts verifiers in the place of passwords: done as soon as they are read, before anything is kept.
    pub fn take_in(&mut self, key: &VerifierKey) {
        for user in self.basic_auth.iter_mut().flat_map(|auth| &mut auth.users) {
            user.take_in(key);
        }
    }

    /// The same exactly where the policies are, verifiers included; after [`Policies::take_in`].
    pub fn mark(&self) -> String {
        // Text keys and plain values alone: writing them does not fail.
        let text = serde_json::to_vec(self).unwrap_or_default();
        super::secret::sha256_hex(&text)
    }
}

/// A part that can be judged alone.
pub trait Checked {
    /// # Errors
    /// A sentence that names the key and what to write instead.
    fn check(&self) -> Result<(), String>;
}

impl<T: Checked> Checked for Option<T> {
    fn check(&self) -> Result<(), String> {
        self.as_ref().map_or(Ok(()), Checked::check)
    }
}

/// Reads a part and checks it, for `deserialize_with`: the mistake is told at the part's place.
///
/// # Errors
/// What the part's own reading or check says.
pub fn checked<'de, D: Deserializer<'de>, T: Deserialize<'de> + Checked>(
    from: D,
) -> Result<T, D::Error> {
    let part = T::deserialize(from)?;
    part.check().map_err(D::Error::custom)?;
    Ok(part)
}

/// A text of others in a sentence: its beginning, in quotes, without what would break the line.
fn shown(text: &str) -> String {
    let short: String = text.chars().take(60).collect();
    format!("\"{}\"", short.escape_debug())
}
