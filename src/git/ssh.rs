//! ssh for git without a shell in between.
//!
//! Git's own ways to give ssh options go through a shell (`GIT_SSH_COMMAND`) or
//! take none (`GIT_SSH`). So `GIT_SSH` is this program itself: its `main` asks
//! [`wanted`] first and becomes ssh with the right options.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use crate::base::atomic_file;
use crate::base::secret::{Secret, random_id};

use super::error::GitError;

const HOSTS: &str = "FREEHOLD_SSH_KNOWN_HOSTS";
const KEY: &str = "FREEHOLD_SSH_KEY";

/// A private key on disk (0600) for as long as this value lives.
pub(super) struct KeyFile(PathBuf);

impl KeyFile {
    pub(super) fn write(folder: &Path, key: &Secret) -> Result<Self, GitError> {
        let id = random_id(16).map_err(|e| GitError::Local(e.to_string()))?;
        let path = folder.join(format!("key-{id}"));
        let mut text = key.expose().replace("\r\n", "\n");
        if !text.ends_with('\n') {
            text.push('\n');
        }
        atomic_file::write(&path, text.as_bytes(), 0o600)
            .map_err(|e| GitError::Local(e.to_string()))?;
        Ok(Self(path))
    }
}

impl Drop for KeyFile {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            tracing::warn!(%error, "a deploy key's file could not be removed");
        }
    }
}

pub(super) fn environment(
    key: &KeyFile,
    folder: &Path,
) -> Result<Vec<(&'static str, OsString)>, GitError> {
    let mut all = environment_without_key(folder)?;
    all.push((KEY, key.0.clone().into()));
    Ok(all)
}

pub(super) fn environment_without_key(
    folder: &Path,
) -> Result<Vec<(&'static str, OsString)>, GitError> {
    let me = std::env::current_exe().map_err(|e| GitError::Local(e.to_string()))?;
    Ok(vec![
        ("GIT_SSH", me.into()),
        ("GIT_SSH_VARIANT", "ssh".into()),
        (HOSTS, folder.join("known_hosts").into()),
    ])
}

/// Whether git started this program to be its ssh; the options before git's own.
fn options(hosts: Option<OsString>, key: Option<OsString>) -> Option<Vec<OsString>> {
    let mut known = OsString::from("UserKnownHostsFile=");
    known.push(hosts?);
    let mut all: Vec<OsString> = vec![
        "-F".into(),
        "/dev/null".into(),
        "-o".into(),
        known,
        "-o".into(),
        // The first key a host shows is kept; another one later is refused.
        "StrictHostKeyChecking=accept-new".into(),
        "-o".into(),
        "BatchMode=yes".into(),
        "-o".into(),
        "ConnectTimeout=15".into(),
        "-o".into(),
        "ForwardAgent=no".into(),
        "-o".into(),
        "PermitLocalCommand=no".into(),
    ];
    if let Some(key) = key {
        all.extend(["-o".into(), "IdentitiesOnly=yes".into(), "-i".into(), key]);
    }
    Some(all)
}

/// When git started this program to be its ssh: becomes it and does not return
/// unless that fails. Otherwise returns at once.
pub fn wanted() -> Option<std::io::Error> {
    let options = options(std::env::var_os(HOSTS), std::env::var_os(KEY))?;
    Some(
        std::process::Command::new("ssh")
            .args(options)
            .args(std::env::args_os().skip(1))
            .env_remove(HOSTS)
            .env_remove(KEY)
            .exec(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f4_the_key_lives_only_as_long_as_its_call() {
        let folder = tempfile::tempdir().unwrap();
        let key = KeyFile::write(folder.path(), &Secret::new("PRIVATE")).unwrap();
        assert_eq!(std::fs::read(&key.0).unwrap(), b"PRIVATE\n");
        drop(key);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn f4_ssh_never_asks_and_never_reads_a_users_settings() {
        assert!(
            options(None, Some("k".into())).is_none(),
            "not started by git"
        );
        let all = options(Some("/x/known_hosts".into()), Some("/x/key".into())).unwrap();
        let text = format!("{all:?}");
        for part in ["BatchMode=yes", "/dev/null", "IdentitiesOnly=yes", "/x/key"] {
            assert!(text.contains(part), "{part}");
        }
    }
}
