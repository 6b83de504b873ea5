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
}
