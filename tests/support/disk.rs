//! A small disk of its own that a test may fill up.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::process::run;

/// Mounted as long as it lives. What uses it is to be dropped first.
pub struct Disk {
    folder: tempfile::TempDir,
    /// What an ext4 lies in; goes with the disk.
    _image: Option<tempfile::NamedTempFile>,
}

impl Disk {
    /// Mounts one of `megabytes` in memory. Needs root, as the engine does.
    pub fn mount(megabytes: u64) -> Self {
        let folder = folder();
        run(Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={megabytes}m,mode=700")])
            .arg("freehold-test")
            .arg(folder.path()));
        Self {
            folder,
            _image: None,
        }
    }

    /// Mounts an ext4 of `megabytes` by a loop device: space is given out as a real disk does it, late and in blocks.
    pub fn loop_ext4(megabytes: u64) -> Self {
        let image = tempfile::Builder::new()
            .prefix("fh-image-")
            .tempfile()
            .unwrap();
        image.as_file().set_len(megabytes << 20).unwrap();
        // None of it is root's alone: who fills it here is root.
        run(Command::new("mkfs.ext4")
            .args(["-q", "-F", "-m", "0"])
            .arg(image.path()));
        let folder = folder();
        // The loop device goes with the mount.
        run(Command::new("mount")
            .args(["-o", "loop"])
            .arg(image.path())
            .arg(folder.path()));
        Self {
            folder,
            _image: Some(image),
        }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Bytes that may still be written.
    pub fn left(&self) -> u64 {
        let disk = rustix::fs::statvfs(self.path()).unwrap();
        disk.f_bavail * disk.f_frsize
    }

    /// Leaves `left` bytes of space, within some blocks.
    pub fn fill(&self, left: u64) {
        let file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.filler())
            .unwrap();
        // What is written late takes its space now; and an ext4 takes some for the list of a file's pieces.
        rustix::fs::syncfs(std::fs::File::open(self.path()).unwrap()).unwrap();
        for _ in 0..8 {
            let (size, free) = (file.metadata().unwrap().len(), self.left());
            if free < left {
                file.set_len(size.saturating_sub(left - free)).unwrap();
                return;
            }
            if free == left {
                return;
            }
            let size = size + free - left;
            let taken = rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, size);
            match taken {
                Err(rustix::io::Errno::NOSPC) => {}
                other => other.unwrap(),
            }
        }
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

fn folder() -> tempfile::TempDir {
    tempfile::Builder::new()
        .prefix("fh-disk-")
        .tempdir()
        .unwrap()
}
