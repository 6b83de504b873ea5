//! The audit log, as the API, its export and `freehold audit` tell it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One thing somebody did, or tried.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "AuditEntry")]
pub struct Entry {
    /// Rising with time.
    pub id: i64,
    /// When it was begun.
    pub at_ms: i64,
    /// Who.
    pub who: Who,
    /// Where from; empty on the box itself.
    pub address: String,
    /// The request's id, as in the edge's log; empty on the box itself.
    pub request: String,
    /// What: `app.env.change`.
    pub action: String,
    /// On what; `null` is the box.
    pub subject: Option<Subject>,
    /// `done`, `refused`, `failed`, `under way`, `cut off`.
    pub state: String,
    /// As answered over HTTP; `null` while it goes on and when it was cut off.
    pub status: Option<u16>,
    /// A sentence where not all went well.
    pub detail: String,
    /// When it was over.
    pub ended_ms: Option<i64>,
    /// What differs, before. Secrets are masked.
    pub before: Map<String, Value>,
    /// What differs, after. Secrets are masked.
    pub after: Map<String, Value>,
}

/// Somebody.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "AuditWho")]
pub struct Who {
    /// `user`, `token`, `local`, `webhook`, `nobody`, `file`.
    pub kind: String,
    /// The row of the user or token, or the uid.
    pub id: Option<i64>,
    /// The name.
    pub name: String,
    /// The token's name or the delivery's id.
    pub via: String,
}

/// What was acted on.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "AuditSubject")]
pub struct Subject {
    /// `app`, `database`, `target`, `user`, `token`, `check`, `backup`, `restore`.
    pub kind: String,
    /// Its row, where it has one.
    pub id: Option<i64>,
    /// Its name.
    pub name: String,
}
