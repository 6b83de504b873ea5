//! What can go wrong with a database, told apart where someone acts on it.

use rusqlite::ErrorCode;

/// A failed read, write or opening.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// SQLite refused; the sentence is its own.
    #[error("the state database refused: {0}")]
    Sqlite(#[source] rusqlite::Error),
    /// The disk is full. Nothing was changed.
    #[error(
        "the disk that holds Freehold's state is full, so the change was not made: free some space (`docker system df` shows what images and volumes take, `du -xhd2 /` the rest) and try again"
    )]
    DiskFull,
    /// A sealed value did not open, or could not be sealed.
    #[error(transparent)]
    Seal(#[from] crate::base::secret::SealError),
    /// The file was written by a newer Freehold.
    #[error(
        "the database has version {found}, this Freehold knows up to {known}: install the newer Freehold again"
    )]
    Newer {
        /// The file's schema version.
        found: i64,
        /// The newest this program knows.
        known: i64,
    },
    /// The file failed SQLite's check.
    #[error("the database at {path} is damaged ({what}): {remedy}")]
    Damaged {
        /// The file.
        path: String,
        /// SQLite's first finding.
        what: String,
        /// What to do.
        remedy: &'static str,
    },
    /// A stored value is not what this program writes.
    #[error("a row holds something this program cannot read: {0}")]
    Unreadable(String),
    /// The database cannot be used just now.
    #[error("the state database is not available: {0}")]
    Unavailable(String),
}

impl DbError {
    pub(super) fn closed() -> Self {
        Self::Unavailable("the daemon is stopping".into())
    }

    /// The same for another change that shared its transaction.
    pub(super) fn told_again(&self) -> Self {
        match self {
            Self::DiskFull => Self::DiskFull,
            Self::Sqlite(rusqlite::Error::SqliteFailure(code, words)) => {
                Self::Sqlite(rusqlite::Error::SqliteFailure(*code, words.clone()))
            }
            Self::Unavailable(why) => Self::Unavailable(why.clone()),
            other => Self::Unavailable(other.to_string()),
        }
    }

    /// Whether space is what is missing.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::DiskFull)
    }

    /// Whether a UNIQUE or foreign key constraint refused the change; what a trigger refuses is something else.
    pub fn is_constraint(&self) -> bool {
        let Self::Sqlite(error) = self else {
            return false;
        };
        error.sqlite_error().is_some_and(|e| {
            e.code == ErrorCode::ConstraintViolation
                && e.extended_code != rusqlite::ffi::SQLITE_CONSTRAINT_TRIGGER
        })
    }
}

impl From<rusqlite::Error> for DbError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::DiskFull,
            _ => Self::Sqlite(error),
        }
    }
}

impl From<serde_json::Error> for DbError {
    fn from(error: serde_json::Error) -> Self {
        Self::Unreadable(error.to_string())
    }
}
