//! Policies of a domain, as they are set and told.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::base::policies::Policies;

/// All of a domain's own policies. A user of `basic_auth` without a password keeps the one that is set.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(transparent)]
pub struct OwnPolicies(#[schemars(with = "Policies")] pub Map<String, Value>);

/// What a domain asks of requests and does to answers. Of users their names alone are told.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct DomainPolicies {
    /// `shop.example.com` or `shop.example.com/api`.
    pub domain: String,
    /// Its own, as they can be sent again.
    #[schemars(with = "Policies")]
    pub policies: Map<String, Value>,
    /// What the live release's freehold.toml says for the domain's process; it holds for each key that the domain's own
    /// do not name.
    #[schemars(with = "Policies")]
    pub app_file: Map<String, Value>,
    /// What holds, a sentence each.
    pub words: Vec<String>,
    /// Another text whenever a password of its own is another one; none without any.
    pub passwords_mark: Option<String>,
}
