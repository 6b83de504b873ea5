//! What can go wrong with a store, as sentences that say what to do.

use crate::http_client::HttpError;

/// Why a store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The location is not one.
    #[error("{0}")]
    BadLocation(String),
    /// There is no such bucket.
    #[error(
        "the bucket \"{bucket}\" does not exist at {host}: create it there, or correct the bucket's name in the target"
    )]
    NoBucket {
        /// Its name.
        bucket: String,
        /// The store.
        host: String,
    },
    /// The key is unknown, or may not do this.
    #[error(
        "{host} refused the access key for the bucket \"{bucket}\" ({code}): check that the key exists and may read, write, list and delete objects there"
    )]
    KeyRefused {
        /// The bucket.
        bucket: String,
        /// The store.
        host: String,
        /// The store's own word.
        code: String,
    },
    /// The secret, or the region that it is signed for, is wrong.
    #[error(
        "{host} refused the signature for the bucket \"{bucket}\" ({code}): the secret key does not belong to the access key, or the region \"{region}\" is not the bucket's"
    )]
    Signature {
        /// The bucket.
        bucket: String,
        /// The store.
        host: String,
        /// The region we signed for.
        region: String,
        /// The store's own word.
        code: String,
    },
    /// Our clock and the store's differ.
    #[error(
        "{host} refused the request because this box's clock differs from its own: set the time (`timedatectl set-ntp true`) and try again"
    )]
    Clock {
        /// The store.
        host: String,
    },
    /// The store has no space left.
    #[error("{place} has no space left: free some, or give the target another place")]
    Full {
        /// The store.
        place: String,
    },
    /// The disk that holds the folder is full, or nearly.
    #[error(
        "the disk that holds {place} is full ({free} MB left): free some space, or add a backup target on another machine with `freehold target add`"
    )]
    DiskFull {
        /// The folder.
        place: String,
        /// What is left.
        free: u64,
    },
    /// The object is not there.
    #[error("{place} does not hold the object {key}: it was removed there")]
    Missing {
        /// The store.
        place: String,
        /// The key.
        key: String,
    },
    /// What came back is not what went up.
    #[error("the object {key} in {place} is not what was stored: {what}")]
    Changed {
        /// The store.
        place: String,
        /// The key.
        key: String,
        /// The difference.
        what: String,
    },
    /// It did not come to an end in time.
    #[error(
        "{place} did not answer within {seconds} s: check the target's endpoint, and that this box may reach it"
    )]
    Slow {
        /// The store.
        place: String,
        /// How long it had.
        seconds: u64,
    },
    /// No answer: name, port, TLS, a broken connection.
    #[error(
        "the backup store cannot be used: {0}. Check the target's endpoint, and that this box may reach it"
    )]
    Http(#[from] HttpError),
    /// Any other refusal.
    #[error("{host} refused to {what}: {code} (status {status}) {message}")]
    Refused {
        /// The store.
        host: String,
        /// What was asked.
        what: String,
        /// The HTTP status.
        status: u16,
        /// The store's own word.
        code: String,
        /// The store's own sentence.
        message: String,
    },
    /// The folder refused.
    #[error("the folder {place}: {why}")]
    Folder {
        /// The folder.
        place: String,
        /// What the system said, with a remedy where there is one.
        why: String,
    },
    /// Something of this box.
    #[error("{0}")]
    Local(String),
}

impl StoreError {
    /// Whether asking again soon can help.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Http(error) => !matches!(error, HttpError::Roots { .. } | HttpError::BadUrl),
            Self::Refused { status, .. } => {
                *status >= 500 && *status != 501 || *status == 429 || *status == 408
            }
            _ => false,
        }
    }
}
