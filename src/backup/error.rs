//! Why something about a backup could not be done.

use super::ports::Trouble;
use crate::base::secret::SealError;
use crate::db::DbError;
use crate::docker::EngineError;
use crate::objects::StoreError;
use crate::supervise::SuperviseError;

/// A failure, as a sentence with its remedy.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// No such backup.
    #[error("there is no backup {0}: `freehold backup list` shows those there are")]
    NotFound(i64),
    /// No such restore.
    #[error("there is no restore {0}: `freehold backup restores` shows those there are")]
    NoRestore(i64),
    /// No such database.
    #[error("there is no database \"{0}\": `freehold db list` shows those there are")]
    NoDatabase(String),
    /// No such target.
    #[error("there is no backup target \"{0}\": `freehold target list` shows those there are")]
    NoTarget(String),
    /// The target's name is in use.
    #[error(
        "there is a backup target \"{0}\" already: choose another name, or remove it with `freehold target rm {0}`"
    )]
    TargetTaken(String),
    /// The input is not valid.
    #[error("{0}")]
    Invalid(String),
    /// The state of things forbids it now.
    #[error("{0}")]
    Conflict(String),
    /// The dump or the restore itself went wrong.
    #[error("{0}")]
    Work(String),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store, when it was tried out: the target's settings do not work.
    #[error(transparent)]
    Trial(StoreError),
    /// The database server.
    #[error("{0}")]
    Server(Trouble),
    /// Its side container, or the engine.
    #[error(transparent)]
    Supervise(#[from] SuperviseError),
    /// The stream out of a side container.
    #[error("the dump was cut off: {0}")]
    Cut(EngineError),
    /// The state database.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<SealError> for BackupError {
    fn from(error: SealError) -> Self {
        Self::Db(error.into())
    }
}

impl From<Trouble> for BackupError {
    fn from(trouble: Trouble) -> Self {
        Self::Server(trouble)
    }
}

impl BackupError {
    /// Whether the same may succeed later without anybody's doing.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Server(trouble) => trouble.passing,
            Self::Supervise(SuperviseError::Engine(e)) => e.is_passing(),
            Self::Supervise(SuperviseError::Stopping) => true,
            Self::Cut(e) => e.is_unreachable() || matches!(e, EngineError::CutShort { .. }),
            Self::Db(DbError::DiskFull | DbError::Unavailable(_)) => true,
            Self::Store(StoreError::Http(_)) => true,
            _ => false,
        }
    }

    /// Whether it says that a stored dump is of no use: other bytes came back, none are there, or Postgres' own
    /// tool cannot read them. All else (a store that refuses, an engine that is away) says nothing of it.
    pub(super) fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::Work(_) | Self::Store(StoreError::Changed { .. } | StoreError::Missing { .. })
        )
    }
}
