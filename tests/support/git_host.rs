//! A git host: ordinary repositories behind git's own HTTP backend over TLS,
//! a working copy to push from, and the push event the host would post.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::address::accepts;
use super::authority::Authority;
use super::port::free_port;
use super::process::{Process, run};

pub struct GitHost {
    _server: Process,
    root: PathBuf,
    port: u16,
    ca_file: PathBuf,
}

/// A clone somebody works in.
pub struct WorkingCopy {
    pub dir: PathBuf,
    ca_file: PathBuf,
    /// The repository's address, as an app is told it.
    pub url: String,
}

impl GitHost {
    pub fn start(dir: &Path, authority: &Authority) -> Self {
        let root = dir.join("repositories");
        std::fs::create_dir_all(&root).unwrap();
        let served = authority.issue(&["127.0.0.1"]);
        let port = free_port(Ipv4Addr::LOCALHOST);
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rig/git_host.py");
        let server = Process::start(
            Command::new(script)
                .args(["127.0.0.1", &port.to_string()])
                .args([&served.certificate, &served.key, &root]),
            dir.join("git.log"),
        )
        .ready("the git host", || accepts(Ipv4Addr::LOCALHOST, port));
        Self {
            _server: server,
            root,
            port,
            ca_file: authority.root_file.clone(),
        }
    }

    /// A new repository on the host, and a working copy with `content` as its
    /// first commit on `main`, pushed.
    pub fn repository(&self, name: &str, content: &Path) -> WorkingCopy {
        let bare = self.bare(name);
        run(Command::new("git")
            .args(["init", "-q", "--bare", "-b", "main"])
            .arg(&bare));
        let copy = WorkingCopy {
            dir: self.root.with_file_name(format!("{name}-work")),
            ca_file: self.ca_file.clone(),
            url: format!("https://127.0.0.1:{}/{name}.git", self.port),
        };
        run(Command::new("cp").arg("-a").arg(content).arg(&copy.dir));
        copy.git(&["init", "-q", "-b", "main"]);
        copy.git(&["remote", "add", "origin", &copy.url]);
        copy.push("First");
        copy
    }

    /// Takes a repository away; [`GitHost::bring_back`] ends it.
    pub fn take_away(&self, name: &str) {
        std::fs::rename(self.bare(name), self.bare(&format!("{name}-away"))).unwrap();
    }

    pub fn bring_back(&self, name: &str) {
        std::fs::rename(self.bare(&format!("{name}-away")), self.bare(name)).unwrap();
    }

    fn bare(&self, name: &str) -> PathBuf {
        self.root.join(format!("{name}.git"))
    }
}

impl WorkingCopy {
    /// Runs git here as the person who works here.
    pub fn git(&self, arguments: &[&str]) -> String {
        run(Command::new("git")
            .current_dir(&self.dir)
            .env("GIT_SSL_CAINFO", &self.ca_file)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .args(["-c", "user.name=Ada", "-c", "user.email=ada@example.com"])
            .args(arguments))
    }

    /// Commits everything, pushes the current branch, gives the commit's id.
    pub fn push(&self, message: &str) -> String {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", message]);
        self.git(&["push", "-q", "origin", "HEAD"]);
        self.git(&["rev-parse", "HEAD"]).trim().to_owned()
    }

    pub fn write(&self, path: &str, text: &str) {
        std::fs::write(self.dir.join(path), text).unwrap();
    }

    /// Replaces text in a file; panics when it is not there.
    pub fn replace(&self, path: &str, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.dir.join(path)).unwrap();
        assert!(text.contains(from), "{path} has no {from:?}");
        self.write(path, &text.replace(from, to));
    }

    /// The body of GitHub's push event for `commit` on `branch`.
    pub fn push_event(&self, branch: &str, commit: &str) -> String {
        serde_json::json!({
            "ref": format!("refs/heads/{branch}"),
            "before": "0".repeat(40), "after": commit, "deleted": false, "forced": false,
            "repository": { "full_name": "ada/tasks", "clone_url": self.url, "default_branch": "main" },
            "head_commit": { "id": commit, "message": "A commit", "timestamp": "2026-11-21T00:00:00Z",
                "author": { "name": "Ada", "email": "ada@example.com" } },
            "pusher": { "name": "ada", "email": "ada@example.com" },
        })
        .to_string()
    }
}

/// `X-Hub-Signature-256` of `body`.
pub fn signature(secret: &str, body: &str) -> String {
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret.as_bytes());
    format!(
        "sha256={}",
        hex::encode(aws_lc_rs::hmac::sign(&key, body.as_bytes()).as_ref())
    )
}
