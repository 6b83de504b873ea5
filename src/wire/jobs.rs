//! Long work that can be followed and cancelled: `/api/v1/jobs`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::problem::Problem;

/// How a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// Waits for its turn, or for its next try.
    Queued,
    /// Being done.
    Running,
    /// Done.
    Done,
    /// Given up.
    Failed,
    /// Taken back by somebody: what it had begun was undone.
    Cancelled,
}

impl JobState {
    /// Whether nothing comes after it.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Cancelled)
    }

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// A piece of long work.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Job {
    /// Its row.
    pub id: i64,
    /// `deploy`, `app.remove`, `app.replicas`, `database`, `attachment`, `backup`, `backup.check`,
    /// `restore`, `restore.confirm`.
    pub kind: String,
    /// In a few words.
    pub what: String,
    /// How it stands.
    pub state: JobState,
    /// What it is about: `app:7`, `database:3`.
    pub subject: String,
    /// The app it belongs to, if it does.
    pub app: Option<String>,
    /// The resource it works on.
    pub resource: Option<String>,
    /// The deploy that it is, or that brings what it changed to the app's containers.
    #[serde(default)]
    pub deploy: Option<i64>,
    /// Whether it can be cancelled now.
    pub cancellable: bool,
    /// How often it was begun.
    pub attempts: u32,
    /// When it was asked for.
    pub created_ms: i64,
    /// When it was last begun.
    pub started_ms: Option<i64>,
    /// When it ended.
    pub finished_ms: Option<i64>,
    /// Why it failed, or is tried again.
    pub error: Option<Problem>,
}

/// What was asked for, and the work that brings it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "{T}WithJob")]
pub struct WithJob<T> {
    /// As it stands now.
    #[serde(flatten)]
    pub what: T,
    /// The work; `null` when there is nothing to do.
    pub job: Option<Job>,
}
