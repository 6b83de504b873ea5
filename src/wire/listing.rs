//! A page of a list, as every list of the API is answered.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Some of a list, and where the rest begins.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "{T}List")]
pub struct Listing<T> {
    /// In the list's order.
    pub items: Vec<T>,
    /// To be given as `after` for what follows; `null` at the end.
    pub next: Option<String>,
}
