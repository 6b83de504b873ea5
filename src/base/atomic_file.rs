//! Files that are either the old content or the new one, never half.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Writes `bytes` to `path` through a sibling temporary file, with `mode`
/// (such as `0o600`), synced, then renamed, then the folder synced.
///
/// # Errors
/// Any failure of the file system; the old file is then untouched.
pub fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let folder = path
        .parent()
        .ok_or_else(|| io::Error::other("the path has no folder"))?;
    let mut name = path
        .file_name()
        .ok_or_else(|| io::Error::other("the path names no file"))?
        .to_os_string();
    name.push(format!(".{}.tmp", std::process::id()));
    sweep(folder, path);
    let temporary = folder.join(name);
    let written = (|| {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        File::open(folder)?.sync_all()
    })();
    if written.is_err() && temporary.exists() {
        fs::remove_file(&temporary)?;
    }
    written
}

/// Removes what writers of `path` that were killed before their rename left behind. What cannot be
/// removed is in nobody's way: the next writer comes by again.
fn sweep(folder: &Path, path: &Path) {
    let Some(name) = path.file_name().and_then(|n| n.to_str()) else {
        return;
    };
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let found = entry.file_name();
        let writer = found
            .to_str()
            .and_then(|n| {
                n.strip_prefix(name)?
                    .strip_prefix('.')?
                    .strip_suffix(".tmp")
            })
            .and_then(|pid| pid.parse::<u32>().ok());
        let gone = writer.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists());
        if gone && let Err(error) = fs::remove_file(entry.path()) {
            tracing::debug!(%error, file = %entry.path().display(), "a killed writer's file is still there");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn replaces_whole_and_sets_the_mode() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master.key");
        write(&path, b"one", 0o600).unwrap();
        write(&path, b"two", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn n5_what_a_killed_writer_left_goes_with_the_next_write() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("root.pem");
        // No process has this number: it is above what a kernel gives out.
        let left = folder.path().join("root.pem.4194305.tmp");
        let ours = folder.path().join("root.pem.new.tmp");
        let running = folder.path().join("root.pem.1.tmp");
        for file in [&left, &ours, &running] {
            fs::write(file, "half").unwrap();
        }
        write(&path, b"whole", 0o644).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        assert!(!left.exists());
        assert!(ours.exists() && running.exists());
    }
}
