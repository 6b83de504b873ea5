//! Files that follow each other: the newest is written, and when it is full each steps back by one and the oldest goes.
//!
//! A failed write leaves no half line behind where the file system lets us take it back; where it does not, the next
//! writer begins a line of its own. The files may be moved or removed by others at any time.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::Settings;

/// A setting made smaller leaves at most so many files to remove.
const MOST_FILES: u32 = 100;

pub(super) struct Files {
    path: PathBuf,
    open: Option<Open>,
}

struct Open {
    file: File,
    /// Device and inode.
    identity: (u64, u64),
    size: u64,
}

impl Files {
    pub(super) fn new(path: PathBuf) -> Files {
        Files { path, open: None }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Adds whole lines to the newest file, all or none.
    ///
    /// # Errors
    /// The file system's. The next call begins anew.
    pub(super) fn write(&mut self, lines: &[u8], kept: Settings) -> io::Result<()> {
        let added = lines.len() as u64;
        let full = {
            let open = self.current()?;
            open.size > 0 && open.size + added > kept.size
        };
        if full {
            self.step_back(kept.files)?;
        }
        let open = self.current()?;
        let written = open.file.write_all(lines);
        match written {
            Ok(()) => open.size += added,
            Err(_) => {
                let taken_back = open.file.set_len(open.size);
                tracing::trace!(?taken_back, "a write of the access log failed");
                self.open = None;
            }
        }
        written
    }

    /// The newest file, as it lies there now.
    fn current(&mut self) -> io::Result<&mut Open> {
        let there = fs::symlink_metadata(&self.path).ok();
        let there = there.map(|found| (found.dev(), found.ino()));
        let open = match self.open.take() {
            Some(open) if Some(open.identity) == there => open,
            _ => Open::at(&self.path)?,
        };
        Ok(self.open.insert(open))
    }

    fn older(&self, step: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{step}"));
        name.into()
    }

    fn step_back(&mut self, files: u32) -> io::Result<()> {
        self.open = None;
        let files = files.clamp(1, MOST_FILES);
        // What would be one too many, and what an edited setting leaves over.
        for step in files.saturating_sub(1).max(1)..=MOST_FILES {
            if !gone(fs::remove_file(self.older(step)))? {
                break;
            }
        }
        for step in (1..files.saturating_sub(1)).rev() {
            gone(fs::rename(self.older(step), self.older(step + 1)))?;
        }
        if files == 1 {
            gone(fs::remove_file(&self.path))?;
        } else {
            gone(fs::rename(&self.path, self.older(1)))?;
        }
        Ok(())
    }
}

/// Whether there was a file to do it with; that there was none is no failure.
fn gone(done: io::Result<()>) -> io::Result<bool> {
    match done {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

impl Open {
    fn at(path: &Path) -> io::Result<Open> {
        if let Some(folder) = path.parent() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)?;
        }
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)?;
        let found = file.metadata()?;
        let mut size = found.len();
        if size > 0 {
            let mut last = [0];
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
            if last != *b"\n" {
                // Its writer was killed inside a line.
                file.write_all(b"\n")?;
                size += 1;
            }
        }
        Ok(Open {
            identity: (found.dev(), found.ino()),
            file,
            size,
        })
    }
}
