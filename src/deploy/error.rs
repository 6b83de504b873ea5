//! Why a deploy was refused or failed.

use crate::base::ids::InvalidName;
use crate::db::DbError;
use crate::supervise::SuperviseError;

/// A refusal, before a deploy exists or about one that does.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// No such deploy.
    #[error("there is no deploy {0} of this app")]
    NotFound(i64),
    /// The release is not kept, or never was.
    #[error("{0}")]
    NoRelease(String),
    /// What was asked for is not possible now.
    #[error("{0}")]
    Conflict(String),
    /// A value is not valid.
    #[error("{0}")]
    Invalid(String),
    /// An upload is larger than is taken.
    #[error("the upload is larger than {} MB: name what the build does not need in .dockerignore, or let more in with [build] upload in config.toml", .0 >> 20)]
    TooLarge(u64),
    /// The box cannot take it just now.
    #[error("{0}")]
    Unavailable(String),
    /// The database refused.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<InvalidName> for DeployError {
    fn from(error: InvalidName) -> Self {
        Self::Invalid(error.0)
    }
}

impl From<rusqlite::Error> for DeployError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Db(error.into())
    }
}

/// How a step of a running deploy ended badly.
#[derive(Debug)]
pub(super) enum Stop {
    /// With a sentence for the person.
    Failed(String),
    /// Because somebody asked.
    Cancelled,
    /// What it needs is away, or the state could not be written; to be tried again as it is.
    Again(String),
}

impl From<DbError> for Stop {
    fn from(error: DbError) -> Self {
        Self::Again(error.to_string())
    }
}

impl From<SuperviseError> for Stop {
    /// What passes by itself is nobody's failure: an engine that is away, a row that cannot be written, a daemon that stops.
    fn from(error: SuperviseError) -> Self {
        let passes = match &error {
            SuperviseError::Engine(error) => error.is_passing(),
            SuperviseError::State(_) | SuperviseError::Stopping => true,
            _ => false,
        };
        match passes {
            true => Self::Again(error.to_string()),
            false => Self::Failed(error.to_string()),
        }
    }
}

impl From<String> for Stop {
    fn from(why: String) -> Self {
        Self::Failed(why)
    }
}
