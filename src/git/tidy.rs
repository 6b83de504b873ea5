//! A repository here only grows by itself: every fetch adds to it, and git's
//! own maintenance is turned off. So it is packed anew now and then, without
//! what no fetch needs any more.

use std::path::Path;
use std::time::Duration;

use super::Git;
use super::error::GitError;

/// Packs and loose objects a repository may have before it is packed anew.
const PACKS: u64 = 50;
const LOOSE: u64 = 2_000;
/// What cut fetches left.
const GARBAGE: u64 = 4;
/// The longest that packing may take; the app's next deploy waits for it.
const LIMIT: Duration = Duration::from_secs(300);

/// What a repository consists of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) packs: u64,
    pub(super) loose: u64,
    pub(super) garbage: u64,
}

impl Count {
    /// From `git count-objects -v`.
    fn parse(text: &str) -> Self {
        let mut count = Self::default();
        for (name, value) in text.lines().filter_map(|l| l.split_once(": ")) {
            let place = match name {
                "packs" => &mut count.packs,
                "count" => &mut count.loose,
                "garbage" => &mut count.garbage,
                _ => continue,
            };
            *place = value.trim().parse().unwrap_or(0);
        }
        count
    }

    fn is_much(self) -> bool {
        self.packs > PACKS || self.loose > LOOSE || self.garbage > GARBAGE
    }
}

impl Git {
    /// Packs the repository at `repo` anew when it consists of too many pieces:
    /// what the last fetch brought stays, the rest goes. Says whether it did.
    /// Not while something else works on that repository.
    ///
    /// # Errors
    /// [`GitError`] as a sentence; the repository is as good as before.
    pub async fn tidy(&self, repo: &Path) -> Result<bool, GitError> {
        if !repo.join("HEAD").exists() || !self.count(repo).await?.is_much() {
            return Ok(false);
        }
        self.unlock(repo)?;
        self.call(LIMIT)
            .gently()
            .args(["-c", "pack.threads=1", "-c", "pack.windowMemory=32m"])
            .args(["-c", "gc.writeCommitGraph=false", "-C"])
            .arg(repo)
            // One that was killed leaves its mark, and `--force` minds none.
            .args(["gc", "--prune=now", "--quiet", "--force"])
            .output_local()
            .await?;
        Ok(true)
    }

    pub(super) async fn count(&self, repo: &Path) -> Result<Count, GitError> {
        let out = self
            .local(repo)
            .args(["count-objects", "-v"])
            .output_local()
            .await?;
        Ok(Count::parse(&String::from_utf8_lossy(&out)))
    }
}
