//! One run of git: a clean environment, a timeout, bounded output, and no
//! process of its group left behind.

use std::any::Any;
use std::ffi::OsStr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group, setpriority_process};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use super::error::{GitError, explain};
use super::names::GitUrl;

/// The lowest priority for processor time there is.
const LEAST: i32 = 19;
/// What is kept of an answer.
const OUT_LIMIT: u64 = 1 << 20;

/// A call being put together.
pub(super) struct Call {
    command: Command,
    limit: Duration,
    /// Behind everything else on this box.
    gentle: bool,
    kept: Vec<Box<dyn Any + Send + Sync>>,
}

/// Kills the whole group when it goes out of sight unfinished.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0
            && let Err(error) = kill_process_group(pid, Signal::KILL)
        {
            tracing::debug!(%error, "a git process group was already gone");
        }
    }
}

impl Call {
    pub(super) fn new(program: &Path, limit: Duration) -> Self {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", "/nonexistent")
            .env("LC_ALL", "C")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_ATTR_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_OPTIONAL_LOCKS", "0")
            .env("GIT_LFS_SKIP_SMUDGE", "1")
            .args(super::settings())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        Self {
            command,
            limit,
            gentle: false,
            kept: Vec::new(),
        }
    }

    pub(super) fn env(&mut self, name: &str, value: impl AsRef<OsStr>) {
        self.command.env(name, value);
    }

    pub(super) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    pub(super) fn args<const N: usize>(mut self, args: [&str; N]) -> Self {
        self.command.args(args);
        self
    }

    /// Lets it, and what it starts, run behind everything else on this box.
    pub(super) fn gently(mut self) -> Self {
        self.gentle = true;
        self
    }

    /// Keeps `thing` until the call is over.
    pub(super) fn keep(&mut self, thing: impl Any + Send + Sync) {
        self.kept.push(Box::new(thing));
    }

    /// Standard output of a call that speaks to `url`.
    pub(super) async fn output(self, url: &GitUrl) -> Result<Vec<u8>, GitError> {
        self.whole(Some(url)).await
    }

    /// Standard output of a call that stays on this box.
    pub(super) async fn output_local(self) -> Result<Vec<u8>, GitError> {
        self.whole(None).await
    }

    async fn whole(mut self, url: Option<&GitUrl>) -> Result<Vec<u8>, GitError> {
        let limit = self.limit;
        let (mut child, mut group) = self.spawn()?;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let work = async {
            let (out, err, status) =
                tokio::join!(all(out, OUT_LIMIT), all(err, OUT_LIMIT), child.wait());
            Ok::<_, GitError>((out?, err?, status.map_err(local)?))
        };
        let (out, err, status) = tokio::time::timeout(limit, work)
            .await
            .map_err(|_| GitError::TimedOut(limit))??;
        group.0 = None;
        match status.success() {
            true => Ok(out),
            false => Err(explain(&String::from_utf8_lossy(&err), url)),
        }
    }

    /// Standard output written to the new file `to`, at most `most` bytes.
    pub(super) async fn into_file(mut self, to: &Path, most: u64) -> Result<u64, GitError> {
        let limit = self.limit;
        let (mut child, mut group) = self.spawn()?;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let work = async {
            let write = async {
                let mut file = tokio::fs::File::create(to).await.map_err(local)?;
                let mut written = 0;
                if let Some(out) = out {
                    let mut bounded = out.take(most + 1);
                    written = tokio::io::copy(&mut bounded, &mut file)
                        .await
                        .map_err(local)?;
                }
                file.flush().await.map_err(local)?;
                match written > most {
                    true => Err(GitError::TooLarge(most)),
                    false => Ok(written),
                }
            };
            let (written, err) = tokio::join!(write, all(err, OUT_LIMIT));
            let written = written?;
            Ok::<_, GitError>((written, err?, child.wait().await.map_err(local)?))
        };
        let (written, err, status) = tokio::time::timeout(limit, work)
            .await
            .map_err(|_| GitError::TimedOut(limit))??;
        group.0 = None;
        match status.success() {
            true => Ok(written),
            false => Err(explain(&String::from_utf8_lossy(&err), None)),
        }
    }

    fn spawn(&mut self) -> Result<(Child, Group), GitError> {
        let child = self.command.spawn().map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => GitError::NotInstalled,
            _ => local(e),
        })?;
        let pid = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw);
        if self.gentle
            && let Err(error) = setpriority_process(pid, LEAST)
        {
            tracing::debug!(%error, "git runs as everything else does");
        }
        Ok((child, Group(pid)))
    }
}

fn local(error: std::io::Error) -> GitError {
    GitError::Local(error.to_string())
}

/// Reads to the end, keeps at most `most` bytes.
async fn all(from: Option<impl AsyncRead + Unpin>, most: u64) -> Result<Vec<u8>, GitError> {
    let Some(mut from) = from else {
        return Ok(Vec::new());
    };
    let mut kept = Vec::new();
    (&mut from)
        .take(most)
        .read_to_end(&mut kept)
        .await
        .map_err(local)?;
    tokio::io::copy(&mut from, &mut tokio::io::sink())
        .await
        .map_err(local)?;
    Ok(kept)
}

/// For the tests: the arguments as they would be given.
#[cfg(test)]
pub(super) fn arguments(call: &Call) -> Vec<std::ffi::OsString> {
    call.command
        .as_std()
        .get_args()
        .map(OsStr::to_owned)
        .collect()
}
