//! Managed databases.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::apps::Changed;
use crate::base::secret::Secret;

/// A database to be made: `POST /api/v1/databases`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewDatabase {
    /// Its name.
    #[schemars(regex(pattern = r"^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$"))]
    pub name: String,
    /// Major version, such as `17`; the box's default when absent.
    #[schemars(regex(pattern = r"^1[3-8]$"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Memory limit, such as `512M`; the box's default when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<String>,
}

/// A database.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Database {
    /// Its name.
    pub name: String,
    /// creating, starting, verifying, ready, failed, removing.
    pub state: String,
    /// Why it failed or waits.
    pub reason: Option<String>,
    /// Major version.
    pub version: u32,
    /// As the server said.
    pub server_version: Option<String>,
    /// The image it runs.
    pub image: String,
    /// Its memory limit.
    pub memory_bytes: u64,
    /// When it was asked for.
    pub created_ms: i64,
    /// The apps that use it.
    pub apps: Vec<Attachment>,
}

/// An app on a database.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Attachment {
    /// The app's name.
    pub app: String,
    /// Its role and database on the server.
    pub role: String,
    /// The variable it finds the URL in.
    pub env_name: String,
    /// attaching, attached, detaching, failed.
    pub state: String,
    /// Why it failed.
    pub reason: Option<String>,
}

/// What attaching an app led to.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Attached {
    /// The app on the database.
    #[serde(flatten)]
    pub link: Attachment,
    /// Whether anything is different now, and the deploy that brings it to the
    /// app's containers.
    #[serde(flatten)]
    pub change: Changed,
}

/// A database with what is inside: `GET /api/v1/databases/{name}`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct DatabaseDetails {
    /// What the list shows.
    #[serde(flatten)]
    pub database: Database,
    /// What the server last said of itself, and when: nobody waits for it here.
    pub inside: Option<Inside>,
    /// Why it did not answer when it was last asked, or that it was not asked yet.
    pub silent: Option<String>,
    /// When its next dump is due.
    pub next_backup_ms: i64,
    /// The minute of the day, box time, at which it is dumped: `02:17`.
    pub backup_at: String,
}

/// A server seen from inside.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Inside {
    /// When the server said so; one that is read about is asked every few seconds.
    #[serde(default)]
    pub as_of_ms: i64,
    /// All its databases together.
    pub size_bytes: u64,
    /// Open connections.
    pub connections: u32,
    /// The most it takes.
    pub max_connections: u32,
    /// Its databases.
    pub databases: Vec<Logical>,
}

/// One database on a server.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Logical {
    /// Its name.
    pub name: String,
    /// The role that owns it.
    pub owner: String,
    /// On disk.
    pub size_bytes: u64,
}

/// The URL an app is given: `POST /api/v1/databases/{name}/attachments/{app}/reveal`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct AttachmentUrl {
    /// The variable it finds the URL in.
    pub env_name: String,
    /// The URL, with the app's own password.
    pub url: Secret,
}

/// `POST /api/v1/databases/{name}/attachments`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Attach {
    /// The app.
    pub app: String,
    /// The variable; `DATABASE_URL` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env_name: Option<String>,
}

/// What goes.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Removing {
    /// Its name; it is gone when it is shown no more.
    pub removing: String,
}

/// `DELETE /api/v1/databases/{name}`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Remove {
    /// The name, typed again.
    #[serde(default)]
    pub confirm: String,
}
