//! Errors as the API says them (RFC 9457, `application/problem+json`).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What kind of failure; decides the HTTP status and the CLI's exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum ProblemKind {
    /// The request cannot be read. 400; exit 2.
    Malformed,
    /// The body is not of a kind that is taken here. 415; exit 2.
    Unsupported,
    /// The address is there, this method is not. 405; exit 2.
    NoSuchMethod,
    /// It is no longer what `If-Match` says. 412; exit 4.
    Changed,
    /// Something in the request is not valid. 422; exit 2.
    Invalid,
    /// Nobody is signed in. 401; exit 4.
    SignIn,
    /// The caller may not do this. 403; exit 4.
    Forbidden,
    /// The caller may do this once they gave their password again. 403; exit 4.
    Confirm,
    /// No such thing. 404; exit 3.
    NotFound,
    /// The state of things forbids it now, such as a name that is taken. 409; exit 4.
    Conflict,
    /// The request is larger than allowed. 413; exit 2.
    TooLarge,
    /// Too many tries. 429; exit 4.
    SlowDown,
    /// Something outside failed: engine, registry, store, git host. 502; exit 1.
    Outside,
    /// Freehold cannot serve this just now: disk full, stopping. 503; exit 1.
    Unavailable,
    /// A defect of ours. 500; exit 1.
    Internal,
}

impl ProblemKind {
    /// The HTTP status.
    pub fn status(self) -> u16 {
        match self {
            Self::Malformed => 400,
            Self::Unsupported => 415,
            Self::NoSuchMethod => 405,
            Self::Changed => 412,
            Self::Invalid => 422,
            Self::SignIn => 401,
            Self::Forbidden | Self::Confirm => 403,
            Self::NotFound => 404,
            Self::Conflict => 409,
            Self::TooLarge => 413,
            Self::SlowDown => 429,
            Self::Outside => 502,
            Self::Unavailable => 503,
            Self::Internal => 500,
        }
    }

    /// The CLI's exit code.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Malformed
            | Self::Unsupported
            | Self::NoSuchMethod
            | Self::Invalid
            | Self::TooLarge => 2,
            Self::NotFound => 3,
            Self::SignIn
            | Self::Forbidden
            | Self::Confirm
            | Self::Conflict
            | Self::Changed
            | Self::SlowDown => 4,
            Self::Outside | Self::Unavailable | Self::Internal => 1,
        }
    }

    /// A short title.
    pub fn title(self) -> &'static str {
        match self {
            Self::Malformed => "That cannot be read",
            Self::Unsupported => "Not of a kind that is taken",
            Self::NoSuchMethod => "No such method",
            Self::Changed => "Changed meanwhile",
            Self::Invalid => "That is not valid",
            Self::SignIn => "Please sign in",
            Self::Forbidden => "Not allowed",
            Self::Confirm => "Your password again",
            Self::NotFound => "Not found",
            Self::Conflict => "Not possible now",
            Self::TooLarge => "Too large",
            Self::SlowDown => "Too many tries",
            Self::Outside => "Something outside failed",
            Self::Unavailable => "Not available just now",
            Self::Internal => "A fault of Freehold's",
        }
    }
}

/// An error for a person: what happened, why, and what to do next.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// Stable identifier, `urn:freehold:problem:<kind>`.
    #[serde(rename = "type")]
    pub type_: String,
    /// Short and the same for every problem of its kind.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened and why.
    pub detail: String,
    /// What to do next; empty when `detail` says it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub remedy: String,
    /// Which kind, for programs.
    pub kind: ProblemKind,
    /// The request it answers, `urn:freehold:request:<id>`; the same id stands in the log.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub instance: String,
}

impl Problem {
    /// A problem of `kind` told by `detail`.
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self {
            type_: format!(
                "urn:freehold:problem:{}",
                serde_json::to_value(kind)
                    .ok()
                    .and_then(|v| v.as_str().map(str::to_owned))
                    .unwrap_or_default()
            ),
            title: kind.title().into(),
            status: kind.status(),
            detail: detail.into(),
            remedy: String::new(),
            kind,
            instance: String::new(),
        }
    }

    /// The same with what to do next.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = remedy.into();
        self
    }
}
