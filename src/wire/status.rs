//! One look at everything: what `freehold status`, `freehold doctor` and `GET /api/v1/status` say.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whether the daemon answers.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Health {
    /// `ok`.
    pub status: String,
    /// Of this program.
    pub version: String,
}

/// The box and all that lives on it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// Of this program.
    pub version: String,
    /// The id every engine object of ours carries.
    pub installation: String,
    /// When the daemon started.
    pub started_ms: i64,
    /// Where the dashboard is.
    pub dashboard: String,
    /// Whether somebody has set a password.
    pub owner: bool,
    /// The box's own root certificate, as a file to trust.
    pub root_file: String,
    /// Its SHA-256.
    pub fingerprint: String,
    /// The container engine.
    pub engine: Engine,
    /// By name.
    pub apps: Vec<AppLine>,
    /// By name.
    pub certificates: Vec<CertificateLine>,
    /// What wants somebody, worst first.
    pub findings: Vec<Finding>,
}

/// The container engine.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Engine {
    /// Where it is.
    pub host: String,
    /// Its version, when it answers.
    pub version: Option<String>,
    /// Why not, when it does not.
    pub error: Option<String>,
}

/// One app.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "AppStatus")]
pub struct AppLine {
    /// Its name.
    pub name: String,
    /// In a word or two.
    pub state: String,
    /// Where it answers.
    pub urls: Vec<String>,
    /// The newest death of a replica within the last hour, as a sentence.
    #[serde(default)]
    pub died: Option<String>,
}

/// One name's certificate.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct CertificateLine {
    /// The name.
    pub host: String,
    /// `valid`, `ordering`, `failed`, …
    pub state: String,
    /// Its last moment.
    pub not_after_ms: Option<i64>,
    /// Why the last try failed.
    pub error: Option<String>,
    /// While there is none: since when, what was tried, what fails, when the next try is.
    #[serde(default)]
    pub pending: Option<String>,
}

/// How bad a finding is.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Something does not work.
    Error,
    /// Something will not work, or is less safe than it looks.
    Warning,
}

/// Something that wants somebody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// How bad.
    pub severity: Severity,
    /// What, in a sentence.
    pub what: String,
    /// What to do.
    pub remedy: String,
}
