//! A file kept only to be deleted: on a full disk it is released, so that the
//! fact that the disk is full can still be recorded.

use std::fs;
use std::path::{Path, PathBuf};

const MB: usize = 1024 * 1024;

pub(super) struct Reserve {
    path: PathBuf,
    /// Bytes.
    size: usize,
}

impl Reserve {
    /// For writing down that the disk is full.
    pub(super) fn beside(database: &Path) -> Self {
        Self {
            path: database.with_extension("reserve"),
            size: 4 * MB,
        }
    }

    /// For starting on a disk that stayed full after the other was given up: SQLite needs room for the
    /// index of its log, and a process that maps a file the disk has no room for is killed (SIGBUS).
    pub(super) fn to_start_with(database: &Path) -> Self {
        Self {
            path: database.with_extension("start-reserve"),
            size: MB,
        }
    }

    /// Makes the file unless it is there or would take what is needed now; failing is no error.
    pub(super) fn keep(&self) {
        if self.path.exists() || self.free().is_none_or(|free| free < 4 * self.size as u64) {
            return;
        }
        if let Err(error) = fs::write(&self.path, vec![0u8; self.size]) {
            tracing::warn!(%error, "the reserve for a full disk could not be kept");
            self.release();
        }
    }

    /// Makes the file again when there is ample space, looked at after writes.
    pub(super) fn tend(&self) {
        if self.path.exists() {
            return;
        }
        if self.free().is_some_and(|free| free > 32 * self.size as u64) {
            self.keep();
        }
    }

    /// Whether less is left on the disk than the file takes.
    pub(super) fn is_full(&self) -> bool {
        self.free().is_some_and(|free| free < self.size as u64)
    }

    /// Gives the space back where nothing else is left.
    pub(super) fn release_if_full(&self) {
        if self.is_full() && self.path.exists() {
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
