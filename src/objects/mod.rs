//! Where dumps are kept: an S3-compatible store, or a folder.
//!
//! Objects go up in parts of one reused buffer and come back as a stream, so a
//! gigabyte costs no more memory than a megabyte. Invariants: an object is
//! visible only when all of it is there (multipart completed, or file synced
//! and renamed); an aborted upload leaves nothing; an error says which store
//! and what to do, and never holds a key or a signed URL.
//! Left to others: what is kept and for how long, and whether what came back
//! is what went up (`backup` compares).

mod error;
mod folder;
#[cfg(freehold_fuzz)]
pub mod fuzz;
mod location;
mod s3;
mod s3_answer;
mod s3_upload;

use std::time::Duration;

use bytes::Bytes;

use crate::base::secret::random_id;
use crate::http_client::HttpClient;

pub use error::StoreError;
pub use location::{Location, Place, S3Location, S3Options};

use folder::{Folder, FolderReading, FolderUpload};
use s3::{S3, S3Reading};
use s3_upload::S3Upload;

/// How long a trial may take: somebody waits for it.
const TRIAL: Duration = Duration::from_secs(12);

/// A store; cheap to clone.
#[derive(Clone)]
pub struct Store(Kind);

#[derive(Clone)]
enum Kind {
    S3(S3),
    Folder(Folder),
}

/// An object in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its whole key.
    pub key: String,
    /// Its size in bytes.
    pub size: u64,
}

/// What went up, by our own count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Bytes.
    pub size: u64,
    /// SHA-256 of all of them, hex.
    pub sha256: String,
}

impl Store {
    /// The store at `location`. Nothing is asked yet.
    ///
    /// # Errors
    /// When the location cannot be a store.
    pub fn open(location: &Location, client: HttpClient) -> Result<Self, StoreError> {
        Ok(Self(match location {
            Location::S3(location) => Kind::S3(S3::new(location, client)?),
            Location::Folder(path) => Kind::Folder(Folder::new(path.clone())),
        }))
    }

    /// The folder at `path`, without a location.
    pub fn folder(path: std::path::PathBuf) -> Self {
        Self(Kind::Folder(Folder::new(path)))
    }

    /// Where it is, in words, without secrets.
    pub fn place(&self) -> String {
        match &self.0 {
            Kind::S3(s3) => s3.place(),
            Kind::Folder(folder) => folder.place(),
        }
    }

    /// Begins an object of about `expected` bytes.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn begin(&self, key: &str, expected: u64) -> Result<Upload, StoreError> {
        check_key(key)?;
        let inner = match &self.0 {
            Kind::S3(s3) => Going::S3(S3Upload::begin(s3.clone(), key, expected).await?),
            Kind::Folder(folder) => Going::Folder(folder.begin(key).await?),
        };
        Ok(Upload {
            inner,
            hash: aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256),
            size: 0,
        })
    }

    /// Removes what an upload that was cut off by a crash left behind: `token`
    /// is what [`Upload::token`] said, when that could still be written down.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn abort(&self, key: &str, token: Option<&str>) -> Result<(), StoreError> {
        check_key(key)?;
        match &self.0 {
            Kind::S3(s3) => s3_upload::abort_leftovers(s3, key, token).await,
            Kind::Folder(folder) => folder.remove_partial(key).await,
        }
    }

    /// Stores a small object in one piece.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn put(&self, key: &str, bytes: Bytes) -> Result<(), StoreError> {
        check_key(key)?;
        match &self.0 {
            Kind::S3(s3) => s3.put(key, bytes).await,
            Kind::Folder(folder) => {
                let mut upload = folder.begin(key).await?;
                match upload.write(&bytes).await {
                    Ok(()) => upload.finish().await,
                    Err(error) => {
                        upload.abort().await;
                        Err(error)
                    }
                }
            }
        }
    }

    /// Reads an object from its beginning.
    ///
    /// # Errors
    /// [`StoreError::Missing`] when it is not there.
    pub async fn read(&self, key: &str) -> Result<Reading, StoreError> {
        check_key(key)?;
        Ok(Reading(match &self.0 {
            Kind::S3(s3) => Coming::S3(Box::new(s3.read(key).await?)),
            Kind::Folder(folder) => Coming::Folder(folder.read(key).await?),
        }))
    }

    /// An object's size, or `None` when it is not there.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn head(&self, key: &str) -> Result<Option<u64>, StoreError> {
        check_key(key)?;
        match &self.0 {
            Kind::S3(s3) => s3.head(key).await,
            Kind::Folder(folder) => folder.head(key).await,
        }
    }

    /// Removes an object; none there is no error.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn delete(&self, key: &str) -> Result<(), StoreError> {
        check_key(key)?;
        match &self.0 {
            Kind::S3(s3) => s3.delete(key).await,
            Kind::Folder(folder) => folder.delete(key).await,
        }
    }

    /// The objects whose keys begin with `prefix`, in order.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn list(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        match &self.0 {
            Kind::S3(s3) => s3.list(prefix).await,
            Kind::Folder(folder) => folder.list(prefix).await,
        }
    }

    /// Whether an object can be stored, read back and removed.
    ///
    /// # Errors
    /// What the store answered to the step that failed.
    pub async fn test(&self) -> Result<(), StoreError> {
        let hasty = match &self.0 {
            Kind::S3(s3) => Self(Kind::S3(s3.for_a_trial())),
            Kind::Folder(_) => self.clone(),
        };
        let tried = tokio::time::timeout(TRIAL, hasty.try_out()).await;
        tried.unwrap_or_else(|_| {
            Err(StoreError::Slow {
                place: self.place(),
                seconds: TRIAL.as_secs(),
            })
        })
    }

    async fn try_out(&self) -> Result<(), StoreError> {
        let id = random_id(12).map_err(|e| StoreError::Local(e.to_string()))?;
        let key = format!("freehold-test-{id}.txt");
        let content = Bytes::from(format!("Freehold tests this store: {id}\n"));
        if let Kind::S3(s3) = &self.0 {
            s3.look_at_bucket().await?;
        }
        self.put(&key, content.clone()).await?;
        let back = self.read_small(&key, 1024).await;
        self.delete(&key).await?;
        if back? != content {
            return Err(StoreError::Changed {
                place: self.place(),
                key,
                what: "the test object came back with another content".into(),
            });
        }
        Ok(())
    }

    /// A whole object of at most `limit` bytes.
    ///
    /// # Errors
    /// When it is not there, longer, or the store refuses.
    pub async fn read_small(&self, key: &str, limit: usize) -> Result<Bytes, StoreError> {
        let mut reading = self.read(key).await?;
        let mut whole = bytes::BytesMut::new();
        while let Some(piece) = reading.next().await? {
            if whole.len() + piece.len() > limit {
                return Err(StoreError::Changed {
                    place: self.place(),
                    key: key.to_owned(),
                    what: format!("it is longer than {limit} bytes"),
                });
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole.freeze())
    }
}

/// An object on its way up. End it with [`Upload::finish`] or [`Upload::abort`].
pub struct Upload {
    inner: Going,
    hash: aws_lc_rs::digest::Context,
    size: u64,
}

enum Going {
    S3(S3Upload),
    Folder(FolderUpload),
}

impl Upload {
    /// What [`Store::abort`] needs after a crash.
    pub fn token(&self) -> Option<&str> {
        match &self.inner {
            Going::S3(upload) => Some(upload.id()),
            Going::Folder(_) => None,
        }
    }

    /// Takes the next bytes; waits while a full part goes up.
    ///
    /// # Errors
    /// When the store refuses; the upload must then be aborted.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.hash.update(bytes);
        self.size += bytes.len() as u64;
        match &mut self.inner {
            Going::S3(upload) => upload.write(bytes).await,
            Going::Folder(upload) => upload.write(bytes).await,
        }
    }

    /// Makes the object visible. On an error it was aborted.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn finish(self) -> Result<Written, StoreError> {
        match self.inner {
            Going::S3(upload) => upload.finish(self.size).await?,
            Going::Folder(upload) => upload.finish().await?,
        }
        Ok(Written {
            size: self.size,
            sha256: hex::encode(self.hash.finish()),
        })
    }

    /// Takes it all back; a failure to do so is logged and left to the sweep.
    pub async fn abort(self) {
        match self.inner {
            Going::S3(upload) => upload.abort().await,
            Going::Folder(upload) => upload.abort().await,
        }
    }
}

/// An object on its way back.
pub struct Reading(Coming);

enum Coming {
    S3(Box<S3Reading>),
    Folder(FolderReading),
}

impl Reading {
    /// The next piece; `None` at its end.
    ///
    /// # Errors
    /// When it breaks off.
    pub async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        match &mut self.0 {
            Coming::S3(reading) => reading.next().await,
            Coming::Folder(reading) => reading.next().await,
        }
    }
}

/// Keys are ours and plain; anything else is a defect caught here.
fn check_key(key: &str) -> Result<(), StoreError> {
    let good = !key.is_empty()
        && key.len() <= 900
        && key.split('/').all(|part| {
            !part.is_empty()
                && !part.starts_with('.')
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        });
    if good {
        return Ok(());
    }
    Err(StoreError::Local(format!(
        "\"{key}\" cannot be the key of an object"
    )))
}

#[cfg(test)]
mod tests;
