//! One control plane at a time: a lock on `<data_dir>/lease`, held for life.

use std::fs::{File, OpenOptions};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

use crate::base::sabotage::Sabotage;

/// Held while this process may act; released by the kernel when it ends.
#[derive(Debug)]
pub struct Lease {
    file: File,
}

/// For one that was let go of to be free: a process that was just started may share the file until it runs its program.
const SOON: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(20);

impl Drop for Lease {
    /// For all who share the file, too.
    fn drop(&mut self) {
        if let Err(error) = flock(&self.file, FlockOperation::Unlock) {
            tracing::error!(%error, "the lease could not be let go of before the end of this process");
        }
    }
}

impl Lease {
    /// Takes the lease.
    ///
    /// # Errors
    /// A sentence when another Freehold holds it, or the file cannot be made.
    pub fn take(data_dir: &Path) -> Result<Self, String> {
        let path = data_dir.join("lease");
        let words = |e: std::io::Error| format!("{}: {e}", path.display());
        if Sabotage::StolenLease.is_on() {
            // Another file in its place, on which nobody has a lock.
            let another = data_dir.join("lease.new");
            File::create(&another).map_err(words)?;
            std::fs::rename(&another, &path).map_err(words)?;
        }
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(words)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
            format!(
                "another Freehold already runs on {}: stop it first, or give this one another data_dir",
                data_dir.display()
            )
        })?;
        Ok(Self { file })
    }

    /// Takes one that its holder has just let go of.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub async fn take_soon(data_dir: &Path) -> Result<Self, String> {
        let begun = Instant::now();
        loop {
            match Self::take(data_dir) {
                Err(_) if begun.elapsed() < SOON => tokio::time::sleep(LOOK).await,
                taken => return taken,
            }
        }
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
