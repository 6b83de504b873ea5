//! Users, as the API and `freehold user` tell them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::secret::Secret;

/// A user, or somebody asked in.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct User {
    /// What they sign in with.
    pub name: String,
    /// `owner`, `admin`, `viewer` or `developer`.
    pub role: String,
    /// A developer's apps.
    pub apps: Vec<String>,
    /// When they were made or asked in.
    pub since_ms: i64,
    /// When they were last here.
    pub seen_ms: Option<i64>,
    /// Whether a code is asked of them at sign-in.
    pub second_factor: bool,
    /// Until when an invitation works that was not taken yet.
    pub invited_until_ms: Option<i64>,
}

/// Somebody to ask in.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewUser {
    /// What they will sign in with.
    pub name: String,
    /// `owner`, `admin`, `viewer` or `developer`.
    #[schemars(regex(pattern = r"^(owner|admin|viewer|developer)$"))]
    pub role: String,
    /// A developer's apps.
    #[serde(default)]
    #[schemars(length(max = 100), inner(length(min = 1)))]
    pub apps: Vec<String>,
}

/// What to change of a user; what is absent stays.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UserChange {
    /// The new role.
    #[serde(default)]
    #[schemars(regex(pattern = r"^(owner|admin|viewer|developer)$"))]
    pub role: Option<String>,
    /// A developer's apps, all of them.
    #[serde(default)]
    #[schemars(length(max = 100), inner(length(min = 1)))]
    pub apps: Option<Vec<String>>,
}

/// A one-time path under the dashboard's address; made only on the box.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct SetupLink {
    /// Where the dashboard answers.
    pub address: String,
    /// The path under it.
    pub path: Secret,
    /// Whether somebody has set a password already.
    pub set_up: bool,
    /// Tokens of the owner's that go on: a new link ends sessions, not programs.
    #[serde(default)]
    pub tokens_left: usize,
}

/// A one-time link; it is not told again.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct UserLink {
    /// Whom it is for.
    pub name: String,
    /// The whole address.
    pub link: Secret,
    /// Tokens of theirs that go on: a new link ends sessions, not programs.
    #[serde(default)]
    pub tokens_left: usize,
}
