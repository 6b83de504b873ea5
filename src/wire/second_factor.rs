//! The second factor, as the API tells it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::secret::Secret;

/// How one stands with it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct SecondFactor {
    /// Since when codes are asked for; none where they are not.
    pub active_since_ms: Option<i64>,
    /// Recovery codes not used yet.
    pub recovery_codes_left: u32,
}

/// A key to put into an authenticator; codes are asked for once one was right.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct SecondFactorKey {
    /// In base32, as it is typed.
    pub key: Secret,
    /// `otpauth://…`, as it is read from a QR code.
    pub url: Secret,
}

/// A code of the authenticator.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecondFactorCode {
    /// Six digits.
    pub code: String,
}

/// Recovery codes just made; each works once, and they are not told again.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RecoveryCodes {
    /// All of them; those of before work no more.
    pub recovery_codes: Vec<Secret>,
}
