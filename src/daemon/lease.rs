//! One control plane at a time: a lock on `<data_dir>/lease`, held for life.

use std::fs::{File, OpenOptions};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

/// Held while this process may act; released by the kernel when it ends.
#[derive(Debug)]
pub struct Lease {
    _file: File,
}

impl Lease {
    /// Takes the lease.
    ///
    /// # Errors
    /// A sentence when another Freehold holds it, or the file cannot be made.
    pub fn take(data_dir: &Path) -> Result<Self, String> {
        let path = data_dir.join("lease");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|e| format!("{}: {e}", path.display()))?;
        flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
            format!(
                "another Freehold already runs on {}: stop it first, or give this one another data_dir",
                data_dir.display()
            )
        })?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f8_two_daemons_never_both_act() {
        let folder = tempfile::tempdir().unwrap();
        let first = Lease::take(folder.path()).unwrap();
        assert!(
            Lease::take(folder.path())
                .unwrap_err()
                .contains("already runs")
        );
        drop(first);
        assert!(Lease::take(folder.path()).is_ok());
    }
}
