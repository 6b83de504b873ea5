//! Backup targets, backups and restores.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::secret::Secret;

/// A target to be added: `POST /api/v1/targets`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTarget {
    /// Its name.
    #[schemars(regex(pattern = r"^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$"))]
    pub name: String,
    /// `s3://bucket/prefix` or `dir:///path`.
    pub place: String,
    /// The store's address; Amazon's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The region; `us-east-1` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// `https://host/bucket` rather than `https://bucket.host`; decided by the endpoint when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_style: Option<bool>,
    /// The access key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_key: Option<String>,
    /// Its secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key: Option<Secret>,
    /// Whether dumps go there from now on.
    #[serde(default)]
    pub default: bool,
}

/// A target; its credentials are never told.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Target {
    /// Its name.
    pub name: String,
    /// `s3://bucket/prefix` or `dir:///path`.
    pub place: String,
    /// The store's address.
    pub endpoint: Option<String>,
    /// The region.
    pub region: Option<String>,
    /// Whether dumps go there.
    pub default: bool,
    /// When it was last tried.
    pub used_ms: Option<i64>,
    /// Why the last try failed.
    pub fault: Option<String>,
    /// When it was added.
    pub created_ms: i64,
}

/// A backup: one dump of one database on a server.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Backup {
    /// Its number.
    pub id: i64,
    /// The server's name.
    pub database: String,
    /// The database's name on the server, such as an attached app's.
    pub part: String,
    /// The role it belongs to.
    pub owner: String,
    /// queued, running, verifying, stored, failed.
    pub state: String,
    /// Why it failed.
    pub reason: Option<String>,
    /// schedule, asked, retry.
    pub cause: String,
    /// 1 for the first try.
    pub attempt: u32,
    /// The target's name; `null` is the box's own disk.
    pub target: Option<String>,
    /// Its key in the target.
    pub key: String,
    /// The dump's size.
    pub size_bytes: Option<u64>,
    /// The dump's SHA-256, hex.
    pub sha256: Option<String>,
    /// Tables it holds.
    pub tables: Option<u64>,
    /// When it was asked for.
    pub created_ms: i64,
    /// Not before.
    pub due_ms: i64,
    /// When it began.
    pub started_ms: Option<i64>,
    /// When it ended.
    pub finished_ms: Option<i64>,
    /// The last `verify`: running, good, bad.
    pub check: Option<String>,
    /// What it found.
    pub check_note: Option<String>,
    /// When it ended.
    pub checked_ms: Option<i64>,
}

/// `POST /api/v1/backups/{id}/restore`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AskRestore {
    /// Another server than its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub into: Option<String>,
}

/// A restore.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Restore {
    /// Its number.
    pub id: i64,
    /// What is brought back.
    pub backup: i64,
    /// The name it takes.
    pub part: String,
    /// The old one's name after the swap.
    pub kept: String,
    /// queued, loading, comparing, swapping, done, failed.
    pub state: String,
    /// Why it failed.
    pub reason: Option<String>,
    /// Tables found in it.
    pub tables: Option<u64>,
    /// Rows found in it, by the server's statistics.
    pub rows: Option<u64>,
    /// When it was asked for.
    pub created_ms: i64,
    /// When it ended.
    pub finished_ms: Option<i64>,
    /// When the old one was dropped.
    pub confirmed_ms: Option<i64>,
}
