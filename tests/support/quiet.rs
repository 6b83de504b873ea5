//! The real daemon without an engine: for what must hold whatever else works.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub struct Daemon {
    child: Child,
    folder: tempfile::TempDir,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Daemon {
    pub fn start() -> Self {
        Self::start_at(0)
    }

    /// With the edge's TLS on `https` of 127.0.0.1.
    pub fn start_at(https: u16) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let config = format!(
            "data_dir = \"{}\"\nrun_dir = \"{}\"\n[listen]\nhttp = \"127.0.0.1:0\"\nhttps = \"127.0.0.1:{https}\"\n[docker]\nhost = \"unix://{}\"\n",
            at("data").display(),
            at("run").display(),
            at("no-engine.sock").display()
        );
        std::fs::write(at("config.toml"), config).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_freehold"))
            .args(["serve", "--config"])
            .arg(at("config.toml"))
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let daemon = Self { child, folder };
        let started = Instant::now();
        // Both: the one for the box's owner is made last.
        let is_up = |name| UnixStream::connect(daemon.socket(name)).is_ok();
        while !(is_up("edge.sock") && is_up("freehold.sock")) {
            assert!(
                started.elapsed() < Duration::from_secs(60),
                "the daemon did not start"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        daemon
    }

    pub fn socket(&self, name: &str) -> PathBuf {
        self.folder.path().join("run").join(name)
    }

    #[allow(dead_code)]
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }
}
