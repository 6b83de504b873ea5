//! Why something about a database could not be done.

use crate::base::secret::SealError;
use crate::db::DbError;
use crate::docker::EngineError;
use crate::supervise::SuperviseError;

/// A failure, as a sentence with its remedy.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// No database of this name.
    #[error("there is no database \"{0}\": `freehold db list` shows those there are")]
    NotFound(String),
    /// The name is in use.
    #[error(
        "there is a database \"{0}\" already: choose another name, or remove it with `freehold db rm {0}`"
    )]
    NameTaken(String),
    /// The input is not valid.
    #[error("{0}")]
    Invalid(String),
    /// The state of things forbids it now.
    #[error("{0}")]
    Conflict(String),
    /// The server said no to a statement.
    #[error("the database server refused: {0}")]
    Refused(String),
    /// The server is not what was asked for.
    #[error("{0}")]
    NotAsAsked(String),
    /// Its container or the engine.
    #[error(transparent)]
    Supervise(#[from] SuperviseError),
    /// The state database.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<SealError> for PostgresError {
    fn from(error: SealError) -> Self {
        Self::Db(error.into())
    }
}

impl PostgresError {
    /// Whether the same may succeed later without anybody's doing.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Supervise(SuperviseError::Engine(e)) => {
                e.is_passing() || matches!(e, EngineError::CutShort { .. })
            }
            // It does not run just now: it is being brought back.
            Self::Supervise(SuperviseError::Stopping | SuperviseError::NotFound(_)) => true,
            Self::Db(DbError::DiskFull | DbError::Unavailable(_)) => true,
            _ => false,
        }
    }
}
