//! Why something about an app was refused.

use crate::base::ids::InvalidName;
use crate::db::DbError;
use crate::git::InvalidGit;

/// A refusal or failure, as a sentence.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// No such app.
    #[error("there is no app called \"{0}\": `freehold app list` shows those that are")]
    NotFound(String),
    /// The name is another app's.
    #[error("there already is an app called \"{0}\": choose another name, or use that one")]
    NameTaken(String),
    /// A value is not valid.
    #[error("{0}")]
    Invalid(String),
    /// The domain is somebody else's.
    #[error(
        "{domain} already belongs to {owner}: remove it there first, or choose another name or path"
    )]
    DomainTaken {
        /// What was asked for.
        domain: String,
        /// Whose it is.
        owner: String,
    },
    /// Another app answers on the host, and a path of it would be taken from that one.
    #[error(
        "{other} answers on {host}, and a path of it would be taken from there: ask an admin of this box to add it, or choose another host"
    )]
    HostTaken {
        /// The host.
        host: String,
        /// Who answers there.
        other: String,
    },
    /// The app has no such domain.
    #[error("the app has no domain {0}: `freehold domain list` shows those it has")]
    NoDomain(String),
    /// The database refused.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<InvalidName> for AppError {
    fn from(error: InvalidName) -> Self {
        Self::Invalid(error.0)
    }
}

impl From<InvalidGit> for AppError {
    fn from(error: InvalidGit) -> Self {
        Self::Invalid(error.0)
    }
}

impl From<rusqlite::Error> for AppError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Db(error.into())
    }
}
