//! Sessions, as the API and `freehold user sessions` tell them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::secret::Secret;

/// Who asks, and until when the dangerous may be done.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Me {
    /// The user's name; over the box's own socket, who the kernel says it is.
    pub name: String,
    /// `owner`, `admin`, `viewer` or `developer`.
    pub role: String,
    /// A developer's apps.
    pub apps: Vec<String>,
    /// Until when what needs the password again may be done without; none where nothing asks for it.
    pub confirmed_until_ms: Option<i64>,
}

/// The password again.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Confirmation {
    /// As at sign-in.
    pub password: Secret,
    /// Of the authenticator, or a recovery code, where the account has a second factor.
    #[serde(default)]
    pub code: Option<String>,
}

/// A new password, with the proof that one knows the old.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPassword {
    /// The one of now.
    pub current: Secret,
    /// The new one: 10 characters or more.
    pub password: Secret,
    /// Of the authenticator, or a recovery code, where the account has a second factor.
    #[serde(default)]
    pub code: Option<String>,
}

/// That a password was changed; every other session is ended.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct PasswordChanged {
    /// Tokens of one's own that go on: a new password ends sessions, not programs.
    pub tokens_left: usize,
}

/// A session.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Session {
    /// Tells it from others.
    pub mark: String,
    /// Whether it is the one that asks.
    pub own: bool,
    /// When it began.
    pub created_ms: i64,
    /// When it was last used, to five minutes.
    pub seen_ms: i64,
    /// When it ends unless it is used.
    pub expires_ms: i64,
    /// Where it began.
    pub address: String,
    /// The browser's own words.
    pub agent: String,
}

/// Sessions that were ended.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Ended {
    /// How many.
    pub ended: usize,
}
