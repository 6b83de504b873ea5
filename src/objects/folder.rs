//! A folder as a store: written beside, synced, renamed.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use tokio::fs::{self, File, OpenOptions};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::Entry;
use super::error::StoreError;

/// Space that stays free on the folder's disk: databases and the box itself
/// often live on the same one.
const FLOOR: u64 = 256 * 1024 * 1024;
/// How often the free space is looked at.
const LOOK_EVERY: u64 = 16 * 1024 * 1024;
const PIECE: usize = 256 * 1024;
const PARTIAL: &str = ".partial";

/// What `ProtectHome` of `freehold.service` hides from it.
const HIDDEN: &[&str] = &["/home", "/root", "/run/user"];

#[derive(Clone, Debug)]
pub(super) struct Folder {
    root: PathBuf,
    /// Space that stays free.
    floor: u64,
}

fn free(path: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(path).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

impl Folder {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root, floor: FLOOR }
    }

    pub(super) fn place(&self) -> String {
        self.root.display().to_string()
    }

    fn error(&self, error: &std::io::Error) -> StoreError {
        let place = self.place();
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => self.full(),
            ErrorKind::PermissionDenied => StoreError::Folder {
                place,
                why: if HIDDEN.iter().any(|hidden| self.root.starts_with(hidden)) {
                    "the service sees nothing below /home, /root and /run/user: choose a folder elsewhere, such as /srv/backups, and give it to the service with `chown freehold`"
                        .into()
                } else {
                    "Freehold's user may not write there: give it the folder with `chown freehold`"
                        .into()
                },
            },
            ErrorKind::NotFound => StoreError::Folder {
                place,
                why: "it is not there: create it, or mount its disk".into(),
            },
            _ => StoreError::Folder {
                place,
                why: error.to_string(),
            },
        }
    }

    fn full(&self) -> StoreError {
        StoreError::DiskFull {
            place: self.place(),
            free: free(&self.root).unwrap_or(0) / (1024 * 1024),
        }
    }

    fn path(&self, key: &str) -> PathBuf {
        self.root.join(key)
    }

    fn partial(&self, key: &str) -> PathBuf {
        self.root.join(format!("{key}{PARTIAL}"))
    }

    /// Where the folder itself is gone, as with most disks that are not mounted, nothing is said of what it held. One whose
    /// empty mount point stays looks empty.
    async fn is_there(&self) -> Result<(), StoreError> {
        match fs::try_exists(&self.root).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(self.error(&ErrorKind::NotFound.into())),
            Err(error) => Err(self.error(&error)),
        }
    }

    pub(super) async fn begin(&self, key: &str) -> Result<FolderUpload, StoreError> {
        let partial = self.partial(key);
        // The root itself is not made: a disk that is not mounted must not be
        // replaced by an ordinary folder without anybody noticing.
        self.is_there().await?;
        if free(&self.root).is_some_and(|left| left < self.floor) {
            return Err(self.full());
        }
        if let Some(parent) = partial.parent() {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(parent)
                .await
                .map_err(|e| self.error(&e))?;
        }
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&partial)
            .await
            .map_err(|e| self.error(&e))?;
        Ok(FolderUpload {
            folder: self.clone(),
            file,
            partial,
            path: self.path(key),
            unlooked: 0,
        })
    }

    pub(super) async fn remove_partial(&self, key: &str) -> Result<(), StoreError> {
        self.remove(&self.partial(key)).await
    }

    pub(super) async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.remove(&self.path(key)).await
    }

    async fn remove(&self, path: &Path) -> Result<(), StoreError> {
        match fs::remove_file(path).await {
            Ok(()) => Ok(()),
            // It may be away with its folder.
            Err(e) if e.kind() == ErrorKind::NotFound => self.is_there().await,
            Err(e) => Err(self.error(&e)),
        }
    }

    pub(super) async fn head(&self, key: &str) -> Result<Option<u64>, StoreError> {
        match fs::metadata(self.path(key)).await {
            Ok(meta) => Ok(Some(meta.len())),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(self.error(&e)),
        }
    }

    pub(super) async fn read(&self, key: &str) -> Result<FolderReading, StoreError> {
        match File::open(self.path(key)).await {
            Ok(file) => Ok(FolderReading {
                folder: self.clone(),
                file,
                buffer: BytesMut::new(),
            }),
            Err(e) if e.kind() == ErrorKind::NotFound => {
                self.is_there().await?;
                Err(StoreError::Missing {
                    place: self.place(),
                    key: key.to_owned(),
                })
            }
            Err(e) => Err(self.error(&e)),
        }
    }

    pub(super) async fn list(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        let mut found = Vec::new();
        let mut folders = vec![self.root.clone()];
        while let Some(folder) = folders.pop() {
            let mut entries = match fs::read_dir(&folder).await {
                Ok(entries) => entries,
                Err(e) if e.kind() == ErrorKind::NotFound => continue,
                Err(e) => return Err(self.error(&e)),
            };
            while let Some(entry) = entries.next_entry().await.map_err(|e| self.error(&e))? {
                let path = entry.path();
                let meta = entry.metadata().await.map_err(|e| self.error(&e))?;
                if meta.is_dir() {
                    folders.push(path);
                    continue;
                }
                let key = path
                    .strip_prefix(&self.root)
                    .map(|p| p.to_string_lossy().into_owned())
                    .unwrap_or_default();
                if key.starts_with(prefix) && !key.ends_with(PARTIAL) {
                    found.push(Entry {
                        key,
                        size: meta.len(),
                    });
                }
            }
        }
        found.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(found)
    }
}

pub(super) struct FolderUpload {
    folder: Folder,
    file: File,
    partial: PathBuf,
    path: PathBuf,
    unlooked: u64,
}

impl FolderUpload {
    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.unlooked += bytes.len() as u64;
        if self.unlooked >= LOOK_EVERY {
            self.unlooked = 0;
            if free(&self.folder.root).is_some_and(|left| left < self.folder.floor) {
                return Err(self.folder.full());
            }
        }
        self.file
            .write_all(bytes)
            .await
            .map_err(|e| self.folder.error(&e))
    }

    pub(super) async fn finish(mut self) -> Result<(), StoreError> {
        let done = async {
            self.file.flush().await?;
            self.file.sync_all().await?;
            fs::rename(&self.partial, &self.path).await?;
            if let Some(parent) = self.path.parent() {
                File::open(parent).await?.sync_all().await?;
            }
            Ok::<(), std::io::Error>(())
        }
        .await;
        if let Err(error) = done {
            let error = self.folder.error(&error);
            self.abort().await;
            return Err(error);
        }
        Ok(())
    }

    pub(super) async fn abort(self) {
        drop(self.file);
        if let Err(error) = self.folder.remove(&self.partial).await {
            tracing::warn!(%error, "an unfinished file could not be removed; the next sweep tries again");
        }
    }
}

pub(super) struct FolderReading {
    folder: Folder,
    file: File,
    buffer: BytesMut,
}

impl FolderReading {
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        self.buffer.reserve(PIECE);
        let read = self
            .file
            .read_buf(&mut self.buffer)
            .await
            .map_err(|e| self.folder.error(&e))?;
        Ok((read > 0).then(|| self.buffer.split().freeze()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f6_a_folder_the_service_cannot_see_is_not_called_absent() {
        let said = |place: &str| {
            let store = Folder::new(place.into());
            store.error(&ErrorKind::PermissionDenied.into()).to_string()
        };
        let home = said("/home/ana/dumps");
        assert!(home.contains("sees nothing below /home"), "{home}");
        let other = said("/srv/dumps");
        assert!(other.contains("`chown freehold`"), "{other}");
    }

    #[tokio::test]
    async fn f6_a_disk_that_is_nearly_full_is_told_before_anything_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Folder::new(folder.path().to_owned());
        store.floor = u64::MAX;
        let said = store.begin("a.dump").await.err().unwrap().to_string();
        assert!(
            said.contains("is full") && said.contains("freehold target add"),
            "{said}"
        );
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn f6_a_disk_that_fills_up_meanwhile_fails_the_object() {
        let folder = tempfile::tempdir().unwrap();
        let store = Folder::new(folder.path().to_owned());
        let mut upload = store.begin("a.dump").await.unwrap();
        upload.folder.floor = u64::MAX;
        let piece = vec![0u8; LOOK_EVERY as usize];
        let error = upload.write(&piece).await.unwrap_err();
        assert!(matches!(error, StoreError::DiskFull { .. }), "{error}");
        upload.abort().await;
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
