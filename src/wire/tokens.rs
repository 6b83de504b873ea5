//! Tokens of programs, as the API and `freehold token` tell them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::secret::Secret;

/// A token; itself it is never told again.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Token {
    /// Its row.
    pub id: i64,
    /// What it is for.
    pub name: String,
    /// Its first characters.
    pub mark: String,
    /// `personal`, or `deploy`: belongs to one app, and deploys that one.
    pub kind: String,
    /// Whose; none for the box's own.
    pub user: Option<String>,
    /// `read`, `deploy` or `change`.
    pub verb: String,
    /// The apps it is for; all of its user's when none.
    pub apps: Option<Vec<String>>,
    /// When it was made.
    pub created_ms: i64,
    /// When it ends.
    pub expires_ms: Option<i64>,
    /// When it was last used, to the minute.
    pub used_ms: Option<i64>,
}

/// A token to make.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// What it is for.
    pub name: String,
    /// `personal` (when absent), or `deploy`: for one app, which it does nothing but deploy, and goes with.
    #[serde(default)]
    pub kind: Option<String>,
    /// `read`, `deploy` (when absent) or `change`.
    #[serde(default)]
    #[schemars(regex(pattern = r"^(read|deploy|change)$"))]
    pub verb: Option<String>,
    /// The apps it is for; all of its maker's when absent.
    #[serde(default)]
    #[schemars(length(min = 1, max = 100), inner(length(min = 1)))]
    pub apps: Option<Vec<String>>,
    /// Days until it ends; 90 when absent, 0 is never.
    #[serde(default)]
    #[schemars(range(max = 3650))]
    pub days: Option<u32>,
}

/// A token just made.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct MadeToken {
    /// Its row.
    #[serde(default)]
    pub id: i64,
    /// Its first characters, by which the list tells it.
    #[serde(default)]
    pub mark: String,
    /// The token itself, told this once.
    pub token: Secret,
}
