//! Apps, their settings and what runs of them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::overview::Usage;
use crate::base::clock::UnixMs;
use crate::base::secret::Secret;

/// An app in a list.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct AppSummary {
    /// Its row.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// `running`, `partly running`, `starting`, `failing`, `stopped`,
    /// `not deployed`, `maintenance`, `being removed`.
    pub state: String,
    /// The live release's number.
    pub release: Option<i64>,
    /// Where it answers.
    pub domains: Vec<String>,
    /// The newest deploy's state.
    pub last_deploy: Option<String>,
    /// When it was made.
    pub created_ms: i64,
}

/// One app, whole.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct AppDetail {
    /// As in the list.
    #[serde(flatten)]
    pub summary: AppSummary,
    /// Its repository.
    pub git_url: Option<String>,
    /// The branch whose pushes are deployed.
    pub git_branch: String,
    /// Whether a token or key for git is kept.
    pub has_git_credentials: bool,
    /// The image registry it has a sign-in for, such as `ghcr.io`; no other is told it.
    #[serde(default)]
    pub registry_host: Option<String>,
    /// The name there.
    pub registry_user: Option<String>,
    /// Another one whenever a git token, a git key or a registry password is given; none without any.
    #[serde(default)]
    pub credentials_mark: Option<String>,
    /// Whether a maintenance page answers.
    pub maintenance: bool,
    /// When that ends by itself.
    #[serde(default)]
    pub maintenance_until_ms: Option<i64>,
    /// Where pushes are told. What signs them is told by a reveal only.
    pub webhook: Webhook,
    /// What runs.
    pub replicas: Vec<Replica>,
    /// What was set beside freehold.toml, by process.
    pub scale: BTreeMap<String, Scale>,
}

/// An app's webhook.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Webhook {
    /// The whole address.
    pub url: String,
    /// Another one whenever its secret is replaced.
    #[serde(default)]
    pub mark: String,
}

/// An app's webhook with what signs it, for the git host's form.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct WebhookSecret {
    /// The whole address.
    pub url: String,
    /// The secret.
    pub secret: Secret,
}

/// One running container.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Replica {
    /// Its name.
    pub name: String,
    /// Its process.
    pub process: String,
    /// Its release's number.
    pub release: Option<i64>,
    /// `healthy`, `starting`, …, with the reason.
    pub state: String,
    /// How often it was brought back.
    pub restarts: u32,
    /// When it began.
    pub started_ms: Option<i64>,
    /// What it uses, once it was measured.
    #[serde(default)]
    pub usage: Option<Usage>,
    /// Why the edge sends it nothing, or did not a moment ago.
    #[serde(default)]
    pub left_out: Option<LeftOut>,
    /// How it died of late, the newest first: at most five, since the daemon began.
    #[serde(default)]
    pub deaths: Vec<Death>,
}

/// Why the edge leaves a replica out of its rotation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LeftOut {
    /// Whether it does so now; if not, it comes back, or came back within the last minute.
    pub now: bool,
    /// When that began.
    pub since_ms: i64,
    /// A sentence: "it hangs: …".
    pub why: String,
}

impl LeftOut {
    /// "left out of traffic since 2026-11-29T12:04:31Z: it hangs: …".
    pub fn words(&self) -> String {
        let (when, why) = (UnixMs(self.since_ms).iso(), &self.why);
        match self.now {
            true => format!("left out of traffic since {when}: {why}"),
            false => format!("comes back after it was left out at {when}: {why}"),
        }
    }
}

/// How a replica's process ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Death {
    /// When.
    pub at_ms: i64,
    /// In words that follow its name: "ran out of its memory limit and was killed (exit code 137)".
    pub why: String,
    /// `null` when Freehold ended it, because it gave no good answer.
    pub exit_code: Option<i64>,
    /// The signal that ended it.
    pub signal: Option<i64>,
    /// Whether the kernel ended it for want of memory.
    pub out_of_memory: bool,
    /// Which one in a row it was.
    pub in_a_row: u32,
    /// The last it wrote, the oldest first: at most twenty lines.
    pub lines: Vec<String>,
}

/// What was set for a process.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Scale {
    /// Replicas that always run.
    pub min: Option<u32>,
    /// Replicas at most.
    pub max: Option<u32>,
    /// Memory limit.
    pub memory_bytes: Option<u64>,
    /// Processor limit in billionths of a core.
    pub nano_cpus: Option<u64>,
}

/// What is asked when an app is made (`name` needed) or changed (no `name`).
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AppForm {
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its repository, https or ssh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git_url: Option<String>,
    /// The branch whose pushes are deployed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git_branch: Option<String>,
    /// For a private repository over https; empty removes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git_token: Option<Secret>,
    /// For a private repository over ssh; empty removes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git_key: Option<Secret>,
    /// The image registry that user and password are for, such as `ghcr.io`; Docker Hub when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry_host: Option<String>,
    /// The name there; empty removes name and password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry_user: Option<String>,
    /// The password there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry_password: Option<Secret>,
}

/// One variable. Its value is told by a reveal only.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct EnvEntry {
    /// Its name.
    pub name: String,
    /// When it was set.
    pub set_ms: i64,
}

/// Which values to tell: `POST /api/v1/apps/{app}/env/reveal`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EnvReveal {
    /// Names; all of them when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub names: Option<Vec<String>>,
}

/// One variable with its value.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct EnvValue {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Secret,
    /// When it was set.
    pub set_ms: i64,
}

/// A change of the environment, made in one step.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EnvChange {
    /// To be set.
    #[serde(default)]
    pub set: BTreeMap<String, Secret>,
    /// To be unset.
    #[serde(default)]
    pub unset: Vec<String>,
}

/// What a change led to.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Changed {
    /// Whether anything is different now.
    pub changed: bool,
    /// The deploy that brings it to the containers, if one was needed.
    pub deploy: Option<i64>,
}

/// Where an app answers.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Domain {
    /// `shop.example.com` or `shop.example.com/api`.
    pub domain: String,
    /// Which process answers.
    #[serde(default = "web")]
    pub process: String,
}

fn web() -> String {
    "web".into()
}

/// A domain of an app, and how its certificate stands.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct DomainLine {
    /// `shop.example.com` or `shop.example.com/api`.
    pub domain: String,
    /// Which process answers.
    pub process: String,
    /// Its certificate: `waiting`, `ordering`, `failed`, `valid`, `expiring`, `expired`.
    pub certificate: String,
    /// The certificate's last moment.
    pub not_after_ms: Option<i64>,
    /// While there is none: since when, what was tried, what fails, when the next try is.
    pub pending: Option<String>,
}

/// How one process is to be scaled; what is absent stays.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScaleForm {
    /// The process.
    pub process: String,
    /// `2` or `1..4`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<String>,
    /// Such as `512M`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<String>,
    /// Such as `0.5`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<String>,
}

/// Maintenance, on or off.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Switch {
    /// Its position.
    pub on: bool,
    /// How long it is on, such as `2h`; a day where nothing is said.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub lasts: Option<String>,
}

/// How an app is to be removed.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Removal {
    /// Its volumes with their data too.
    #[serde(default)]
    pub volumes: bool,
}

/// A line an app wrote.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct AppLine {
    /// When.
    pub at_ms: i64,
    /// Which container.
    pub container: String,
    /// Its process.
    pub process: String,
    /// The line.
    pub text: String,
}
