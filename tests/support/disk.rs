//! A small disk of its own, in memory, that a test may fill up.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::process::run;

/// Mounted as long as it lives. What uses it is to be dropped first.
pub struct Disk {
    folder: tempfile::TempDir,
}

impl Disk {
    /// Mounts one of `megabytes`. Needs root, as the engine does.
    pub fn mount(megabytes: u64) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("fh-disk-")
            .tempdir()
            .unwrap();
        run(Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={megabytes}m,mode=700")])
            .arg("freehold-test")
            .arg(folder.path()));
        Self { folder }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Takes all space but `left` bytes.
    pub fn fill(&self, left: u64) {
        let disk = rustix::fs::statvfs(self.path()).unwrap();
        let free = disk.f_bavail * disk.f_frsize;
        let file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.filler())
            .unwrap();
        let size = file.metadata().unwrap().len() + free.saturating_sub(left);
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, size).unwrap();
    }

    /// Gives it back.
    pub fn free(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }

    fn filler(&self) -> PathBuf {
        self.path().join("somebody-elses-file")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        Command::new("umount")
            .arg("--lazy")
            .arg(self.path())
            .status()
            .ok();
    }
}
