//! The real daemon without an engine: for what must hold whatever else works.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Of the daemon's folder: what it has for /etc/hosts, if it has one of its own.
const HOSTS: &str = "hosts";

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
    #[allow(dead_code)]
    pub fn start() -> Self {
        Self::start_at(0)
    }

    #[allow(dead_code)]
    /// With the edge's TLS on `https` of 127.0.0.1.
    pub fn start_at(https: u16) -> Self {
        Self::start_with(&format!("127.0.0.1:{https}"), "")
    }

    /// With the edge's TLS on `https`, and more settings.
    pub fn start_with(https: &str, more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_config(&folder, https, more);
        let child = Self::serve(&folder, &[]);
        let daemon = Self { child, folder };
        daemon.until_up();
        daemon
    }

    /// The same for one that knows the names in `hosts`, written as in /etc/hosts, and none of the machine's: nobody else
    /// sees them. Needs root.
    #[allow(dead_code)]
    pub fn start_knowing(hosts: &str, https: &str, more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(HOSTS), hosts).unwrap();
        write_config(&folder, https, more);
        let child = Self::serve(&folder, &[]);
        let daemon = Self { child, folder };
        daemon.until_up();
        daemon
    }

    /// Other settings, while it runs.
    #[allow(dead_code)]
    pub fn configure(&self, https: &str, more: &str) {
        write_config(&self.folder, https, more);
    }

    /// One that kills itself at `point` and leaves `mark`.
    #[allow(dead_code)]
    pub fn start_to_die_at(point: &str, mark: &Path) -> Self {
        let mut daemon = Self::start();
        daemon.child.kill().unwrap();
        daemon.child.wait().unwrap();
        for name in ["edge.sock", "freehold.sock"] {
            std::fs::remove_file(daemon.socket(name)).ok();
        }
        let mark = mark.to_str().unwrap();
        let environment = [("FREEHOLD_CRASH_AT", point), ("FREEHOLD_CRASH_MARK", mark)];
        daemon.child = Self::serve(&daemon.folder, &environment);
        daemon.until_up();
        daemon
    }

    fn serve(folder: &tempfile::TempDir, environment: &[(&str, &str)]) -> Child {
        let binary = env!("CARGO_BIN_EXE_freehold");
        let hosts = folder.path().join(HOSTS);
        let mut command = match hosts.exists() {
            false => Command::new(binary),
            true => {
                let mut command = Command::new("unshare");
                let script = "mount --bind \"$0\" /etc/hosts && exec \"$@\"";
                command.args(["--mount", "sh", "-c", script]);
                command.arg(hosts).arg(binary);
                command
            }
        };
        command
            .args(["serve", "--config"])
            .arg(folder.path().join("config.toml"))
            .envs(environment.iter().copied())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// Ends it, does `meanwhile`, and starts it again on the same folder.
    #[allow(dead_code)]
    pub fn restart(&mut self, meanwhile: impl FnOnce(&Self)) {
        self.restart_with(&[], meanwhile);
    }

    /// The same, with these in its environment.
    #[allow(dead_code)]
    pub fn restart_with(&mut self, environment: &[(&str, &str)], meanwhile: impl FnOnce(&Self)) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        meanwhile(self);
        for name in ["edge.sock", "freehold.sock"] {
            std::fs::remove_file(self.socket(name)).ok();
        }
        self.child = Self::serve(&self.folder, environment);
        self.until_up();
    }

    fn until_up(&self) {
        let started = Instant::now();
        // An answer: the sockets are there before anybody answers at them.
        let is_up = |name| answers(&self.socket(name)).unwrap_or(false);
        while !(is_up("edge.sock") && is_up("freehold.sock")) {
            assert!(
                started.elapsed() < Duration::from_secs(120),
                "the daemon did not start"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn socket(&self, name: &str) -> PathBuf {
        self.folder.path().join("run").join(name)
    }

    #[allow(dead_code)]
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }
}

fn answers(socket: &Path) -> std::io::Result<bool> {
    use std::io::{Read as _, Write as _};
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(b"GET /api/v1/health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
    let mut head = [0; 9];
    stream.read_exact(&mut head)?;
    Ok(&head == b"HTTP/1.1 ")
}

/// `more` begins in the table `[listen]`, where its first line is a key.
fn write_config(folder: &tempfile::TempDir, https: &str, more: &str) {
    let at = |name: &str| folder.path().join(name);
    let config = format!(
        "data_dir = \"{}\"\nrun_dir = \"{}\"\n[docker]\nhost = \"unix://{}\"\n[listen]\nhttp = \"127.0.0.1:0\"\nhttps = \"{https}\"\n{more}",
        at("data").display(),
        at("run").display(),
        at("no-engine.sock").display()
    );
    // As editors do it: there is never half a file.
    std::fs::write(at("config.new"), config).unwrap();
    std::fs::rename(at("config.new"), at("config.toml")).unwrap();
}
