//! The system's git, by argument vector: the one place that runs it.
//!
//! Invariants: only https and ssh; no hooks, no system or global settings, no
//! prompt; credentials travel by environment, never by argument; every call has
//! a timeout and a limit on what it may write, and dies with its whole process
//! group when the caller goes away. A repository here is bare, one an app, and
//! only a cache: it may be deleted at any time.
//! Left to others: which commit to fetch and what becomes of the tree (deploy).
//! Submodules and LFS objects are not fetched.

mod error;
#[cfg(freehold_fuzz)]
pub mod fuzz;
mod names;
mod run;
pub mod ssh;
mod tidy;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::base::hearsay::one_line;
use crate::base::secret::Secret;

pub use error::GitError;
pub use names::{Branch, CommitId, GitUrl, InvalidGit};

/// What a private repository asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Credentials {
    /// A public repository.
    #[default]
    None,
    /// For https: a token, or `user:password`.
    Token(Secret),
    /// For ssh: a private key in OpenSSH's format.
    Key(Secret),
}

/// Where to fetch from.
#[derive(Clone, Debug)]
pub struct Remote {
    /// The address.
    pub url: GitUrl,
    /// What it asks for.
    pub credentials: Credentials,
}

/// What a commit says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitInfo {
    /// Its message's first line, at most 200 characters.
    pub title: String,
}

/// The largest tree that is taken, as a tar.
const TREE_LIMIT: u64 = 4 << 30;
/// Questions to a server.
const ASK: Duration = Duration::from_secs(60);
/// Work on the disk alone.
const LOCAL: Duration = Duration::from_secs(300);

/// A handle; cheap to clone.
#[derive(Clone, Debug)]
pub struct Git {
    program: PathBuf,
    /// Roots for https: the system's with the configured one appended.
    bundle: Option<PathBuf>,
    /// Where ssh keys lie for the moment they are used.
    scratch: PathBuf,
    protocols: &'static str,
}

impl Git {
    /// A handle that keeps passing files in `scratch`. With `ca_file`, that root
    /// is trusted beside the system's own.
    ///
    /// # Errors
    /// When `ca_file` cannot be read or the joined bundle not written.
    pub fn new(scratch: &Path, ca_file: Option<&Path>) -> Result<Self, GitError> {
        let local = |e: std::io::Error| GitError::Local(e.to_string());
        std::fs::create_dir_all(scratch).map_err(local)?;
        let bundle = match ca_file {
            None => None,
            Some(extra) => {
                let own = std::fs::read(extra).map_err(|e| {
                    GitError::Local(format!(
                        "[git] ca_file = \"{}\" cannot be read: {e}",
                        extra.display()
                    ))
                })?;
                let mut all = SYSTEM_ROOTS
                    .iter()
                    .find_map(|path| std::fs::read(path).ok())
                    .unwrap_or_default();
                all.push(b'\n');
                all.extend_from_slice(&own);
                let path = scratch.join("git-roots.pem");
                crate::base::atomic_file::write(&path, &all, 0o644).map_err(local)?;
                Some(path)
            }
        };
        Ok(Self {
            program: PathBuf::from("git"),
            bundle,
            scratch: scratch.to_owned(),
            protocols: "https:ssh",
        })
    }

    /// A handle for tests on this disk.
    #[cfg(test)]
    pub(crate) fn allowing_files(mut self) -> Self {
        self.protocols = "file";
        self
    }

    /// The commit that `branch` points to on the server.
    ///
    /// # Errors
    /// [`GitError`] as a sentence; [`GitError::NoBranch`] when there is none.
    pub async fn head(&self, remote: &Remote, branch: &Branch) -> Result<CommitId, GitError> {
        let wanted = format!("refs/heads/{}", branch.as_str());
        let mut call = self.call(ASK);
        self.authorize(&mut call, remote)?;
        let out = call
            .args(["ls-remote", "--quiet", "--"])
            .arg(remote.url.as_str())
            .arg(&wanted)
            .output(&remote.url)
            .await?;
        listed(&out, &wanted).ok_or_else(|| GitError::NoBranch {
            url: remote.url.to_string(),
            branch: branch.to_string(),
        })
    }

    /// Brings exactly `commit` into the bare repository at `repo`, which is made
    /// when it is not there. `branch` is where to look when the server does not
    /// hand out a commit by its id.
    ///
    /// # Errors
    /// [`GitError`] as a sentence; [`GitError::NoCommit`] when the server has it no more.
    pub async fn fetch(
        &self,
        repo: &Path,
        remote: &Remote,
        commit: &CommitId,
        branch: &Branch,
        limit: Duration,
    ) -> Result<(), GitError> {
        self.prepare(repo, commit).await?;
        if self.has(repo, commit).await {
            return Ok(());
        }
        let exact = format!("+{commit}:refs/freehold/fetched");
        match self.fetch_spec(repo, remote, &exact, true, limit).await {
            Err(GitError::NotHandedOut | GitError::NoCommit { .. }) => {
                let whole = format!("+refs/heads/{branch}:refs/freehold/branch");
                self.fetch_spec(repo, remote, &whole, false, limit).await?;
            }
            other => other?,
        }
        if self.has(repo, commit).await {
            return Ok(());
        }
        Err(GitError::NoCommit {
            url: remote.url.to_string(),
            commit: commit.to_string(),
        })
    }

    /// Writes the tree of `commit` to `to` as a tar; says how many bytes it has.
    ///
    /// # Errors
    /// When the commit is not there, or its tree is larger than 4 GB.
    pub async fn archive(
        &self,
        repo: &Path,
        commit: &CommitId,
        to: &Path,
    ) -> Result<u64, GitError> {
        self.local(repo)
            .args(["archive", "--format=tar"])
            .arg(commit.as_str())
            .into_file(to, TREE_LIMIT)
            .await
    }

    /// What `commit` says of itself.
    ///
    /// # Errors
    /// When the commit is not there.
    pub async fn info(&self, repo: &Path, commit: &CommitId) -> Result<CommitInfo, GitError> {
        let out = self
            .local(repo)
            .args(["log", "-1", "--no-show-signature", "--format=%s"])
            .arg(commit.as_str())
            .output_local()
            .await?;
        Ok(CommitInfo { title: title(&out) })
    }

    async fn prepare(&self, repo: &Path, commit: &CommitId) -> Result<(), GitError> {
        let local = |e: std::io::Error| GitError::Local(e.to_string());
        if !repo.join("HEAD").exists() {
            std::fs::create_dir_all(repo).map_err(local)?;
            self.call(LOCAL)
                .args(["init", "--quiet", "--bare", "--template="])
                .arg(commit.object_format())
                .arg("--")
                .arg(repo)
                .output_local()
                .await?;
        }
        self.unlock(repo)?;
        // A build sees the tree as it is, not as `git archive` would trim it.
        let info = repo.join("info");
        std::fs::create_dir_all(&info).map_err(local)?;
        std::fs::write(info.join("attributes"), "* -export-ignore -export-subst\n").map_err(local)
    }

    /// What a crash left locked is ours alone: jobs of one app never run beside each other.
    fn unlock(&self, repo: &Path) -> Result<(), GitError> {
        for left in [
            "shallow.lock",
            "config.lock",
            "packed-refs.lock",
            "HEAD.lock",
            "refs/freehold/fetched.lock",
            "refs/freehold/branch.lock",
        ] {
            match std::fs::remove_file(repo.join(left)) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(GitError::Local(e.to_string()));
                }
                _ => {}
            }
        }
        Ok(())
    }

    async fn has(&self, repo: &Path, commit: &CommitId) -> bool {
        self.local(repo)
            .args(["rev-parse", "--quiet", "--verify"])
            .arg(format!("{commit}^{{tree}}"))
            .output_local()
            .await
            .is_ok()
    }

    async fn fetch_spec(
        &self,
        repo: &Path,
        remote: &Remote,
        spec: &str,
        shallow: bool,
        limit: Duration,
    ) -> Result<(), GitError> {
        let mut call = self.call(limit);
        self.authorize(&mut call, remote)?;
        let call = call.arg("-C").arg(repo).args([
            "fetch",
            "--quiet",
            "--no-tags",
            "--no-recurse-submodules",
            "--no-write-fetch-head",
            "--no-auto-maintenance",
            "--update-shallow",
        ]);
        let call = if shallow { call.arg("--depth=1") } else { call };
        call.arg("--")
            .arg(remote.url.as_str())
            .arg(spec)
            .output(&remote.url)
            .await
            .map(drop)
    }

    fn local(&self, repo: &Path) -> run::Call {
        self.call(LOCAL).arg("-C").arg(repo)
    }

    /// A call with nothing of the surroundings in it.
    fn call(&self, limit: Duration) -> run::Call {
        let mut call = run::Call::new(&self.program, limit);
        call.env("GIT_ALLOW_PROTOCOL", self.protocols);
        if let Some(bundle) = &self.bundle {
            call.env("GIT_SSL_CAINFO", bundle);
        }
        call
    }

    fn authorize(&self, call: &mut run::Call, remote: &Remote) -> Result<(), GitError> {
        match &remote.credentials {
            Credentials::Token(token) if remote.url.is_https() => {
                let pair = match token.expose().contains(':') {
                    true => token.expose().to_owned(),
                    false => format!("x-access-token:{}", token.expose()),
                };
                call.env("GIT_CONFIG_COUNT", "1");
                call.env(
                    "GIT_CONFIG_KEY_0",
                    format!("http.{}.extraHeader", remote.url.origin()),
                );
                call.env(
                    "GIT_CONFIG_VALUE_0",
                    format!("Authorization: Basic {}", STANDARD.encode(pair)),
                );
            }
            Credentials::Key(key) if !remote.url.is_https() => {
                let file = ssh::KeyFile::write(&self.scratch, key)?;
                for (name, value) in ssh::environment(&file, &self.scratch)? {
                    call.env(name, value);
                }
                call.keep(file);
            }
            _ if !remote.url.is_https() => {
                for (name, value) in ssh::environment_without_key(&self.scratch)? {
                    call.env(name, value);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

const SYSTEM_ROOTS: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

/// Settings given to every call, stronger than what a repository says.
fn settings() -> Vec<OsString> {
    [
        "core.hooksPath=/dev/null",
        "core.fsmonitor=false",
        "core.attributesFile=/dev/null",
        "credential.helper=",
        "fetch.fsckObjects=true",
        "fetch.recurseSubmodules=false",
        "gc.auto=0",
        "maintenance.auto=false",
        "http.lowSpeedLimit=200",
        "http.lowSpeedTime=30",
        "protocol.version=2",
        "tar.umask=0022",
        "transfer.bundleURI=false",
    ]
    .iter()
    .flat_map(|setting| ["-c".into(), OsString::from(setting)])
    .collect()
}

/// The commit that a server's list of names has under `wanted`.
fn listed(out: &[u8], wanted: &str) -> Option<CommitId> {
    let text = String::from_utf8_lossy(out);
    let mut all = text.lines().filter_map(|line| line.split_once('\t'));
    let (id, _) = all.find(|(_, name)| *name == wanted)?;
    CommitId::parse(id).ok()
}

/// A message's first line, as it can be shown.
fn title(out: &[u8]) -> String {
    let text = String::from_utf8_lossy(out);
    one_line(text.lines().next().unwrap_or_default(), 200)
}

#[cfg(test)]
mod tests;
