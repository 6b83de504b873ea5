//! Deploys, releases and what git hosts told us.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A deploy.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Deploy {
    /// Its row.
    pub id: i64,
    /// The app's name.
    pub app: String,
    /// `queued`, `building`, …, `live`, `failed`.
    pub state: String,
    /// Whether its work is over (`watching` too: what follows is only watched).
    pub settled: bool,
    /// Whether its release became live.
    pub success: bool,
    /// `git`, `upload`, `image`, `release`, `settings`.
    pub source: String,
    /// The same in words.
    pub from: String,
    /// `webhook`, `person`, `rollback`, `restart`, `settings`, `return`.
    pub cause: String,
    /// Who asked.
    pub by: String,
    /// The commit.
    pub commit: Option<String>,
    /// The commit's first line.
    pub title: Option<String>,
    /// The release's number.
    pub release: Option<i64>,
    /// Why it failed.
    pub error: Option<String>,
    /// When it was asked for.
    pub created_ms: i64,
    /// When it began.
    pub started_ms: Option<i64>,
    /// When its release became live.
    pub switched_ms: Option<i64>,
    /// When it ended.
    pub finished_ms: Option<i64>,
    /// When each state was entered; only where one deploy is shown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Step>,
}

/// A state a deploy entered.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Step {
    /// Which.
    pub state: String,
    /// When.
    pub begun_ms: i64,
}

/// What is to be deployed; with neither, the newest commit of the app's branch.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeployForm {
    /// An image's reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// A repository other than the app's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git_url: Option<String>,
    /// A branch or a whole commit id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git_ref: Option<String>,
    /// Build though an image of the commit is kept, as when its base image moved.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rebuild: bool,
}

/// A deploy that was queued.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Queued {
    /// Its row.
    pub deploy: i64,
}

/// Which release to go back to; the one before when absent.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RollbackForm {
    /// Its number.
    #[serde(default)]
    pub release: Option<i64>,
}

/// A release.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Release {
    /// Its number.
    pub number: i64,
    /// The image's id.
    pub image: String,
    /// The commit.
    pub commit: Option<String>,
    /// The commit's first line.
    pub title: Option<String>,
    /// When it was made.
    pub created_ms: i64,
    /// When it first became live.
    pub live_ms: Option<i64>,
    /// Whether its image is still kept, so that a rollback can go there.
    pub kept: bool,
    /// Whether it is live now.
    pub live: bool,
    /// Whether what is kept of it cannot be read any more.
    #[serde(default)]
    pub unreadable: bool,
}

/// A piece of a deploy's log, as newline-delimited JSON.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogPart {
    /// A line.
    Line {
        /// When.
        at_ms: i64,
        /// The line, without secrets.
        text: String,
        /// To go on from here: `?from=`.
        next: u64,
    },
    /// The log is whole; how the deploy stands.
    End(Box<Deploy>),
}

/// What a git host told us and what was answered.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Delivery {
    /// When.
    pub at_ms: i64,
    /// Who.
    pub host: String,
    /// The host's id of it.
    pub delivery: Option<String>,
    /// The event's name.
    pub event: String,
    /// The status that was answered.
    pub status: u16,
    /// The sentence.
    pub reason: String,
    /// The deploy it started.
    pub deploy: Option<i64>,
}

/// The answer to a webhook.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct HookAnswer {
    /// The sentence.
    pub reason: String,
    /// The deploy it started, or that took it already.
    pub deploy: Option<i64>,
}
