//! A file kept only to be deleted: on a full disk it is released, so that the
//! fact that the disk is full can still be recorded.

use std::fs;
use std::path::{Path, PathBuf};

/// Size of the reserve in bytes.
const SIZE: usize = 4 * 1024 * 1024;

pub(super) struct Reserve {
    path: PathBuf,
}

impl Reserve {
    pub(super) fn beside(database: &Path) -> Self {
        Self {
            path: database.with_extension("reserve"),
        }
    }

    /// Makes the file unless it is there; failing is no error, space may be short.
    pub(super) fn keep(&self) {
        if self.path.exists() {
            return;
        }
        if let Err(error) = fs::write(&self.path, vec![0u8; SIZE]) {
            tracing::warn!(%error, "the reserve for a full disk could not be kept");
            self.release();
        }
    }

    /// Makes the file again when there is ample space, looked at after writes.
    pub(super) fn tend(&self) {
        if self.path.exists() {
            return;
        }
        if self.free().is_some_and(|free| free > 32 * SIZE as u64) {
            self.keep();
        }
    }

    /// Gives the space back where nothing else is left.
    pub(super) fn release_if_full(&self) {
        if self.free().is_some_and(|free| free < SIZE as u64) && self.path.exists() {
            self.release();
        }
    }

    fn free(&self) -> Option<u64> {
        let disk = rustix::fs::statvfs(self.path.parent()?).ok()?;
        Some(disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    /// Gives the space back.
    pub(super) fn release(&self) {
        if let Err(error) = fs::remove_file(&self.path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "the reserve for a full disk could not be released");
        }
    }
}
