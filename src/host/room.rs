//! Space and inodes of a disk.

use std::io;
use std::path::{Path, PathBuf};

/// A disk, by a folder on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Disk {
    /// The folder.
    pub path: PathBuf,
    /// Bytes in all.
    pub total: u64,
    /// Bytes that programs may still write.
    pub available: u64,
    /// Inodes in all; 0 where the file system has no fixed number.
    pub inodes: u64,
    /// Inodes that programs may still take.
    pub inodes_free: u64,
    /// Whether the reserve for a full disk lies on it.
    pub reserve: bool,
}

impl Disk {
    /// The disk that holds `path`; the reserve is looked for beside state.db there.
    ///
    /// # Errors
    /// When the folder cannot be looked at.
    pub fn of(path: &Path) -> io::Result<Self> {
        let disk = rustix::fs::statvfs(path)?;
        Ok(Self {
            path: path.to_owned(),
            total: disk.f_frsize.saturating_mul(disk.f_blocks),
            available: disk.f_frsize.saturating_mul(disk.f_bavail),
            inodes: disk.f_files,
            inodes_free: disk.f_favail,
            reserve: path.join("state.reserve").exists(),
        })
    }
}
