//! The real daemon without an engine, with a log that can be read and started in a way the test chooses.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::support::address::own_address;
use crate::support::edge::Edge;
use crate::support::freehold::{BINARY, words};
use crate::support::process::Process;
use crate::support::until::{secs, until};

pub struct QuietBox {
    pub address: Ipv4Addr,
    dir: tempfile::TempDir,
    daemon: Option<Process>,
}

impl QuietBox {
    /// One that is not started yet, with more settings.
    pub fn new(more: &str) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("fh-quiet-")
            .tempdir()
            .unwrap();
        let this = Self {
            address: own_address(),
            dir,
            daemon: None,
        };
        std::fs::create_dir(this.path("routes.d")).unwrap();
        let text = format!(
            "data_dir = \"{}\"\nrun_dir = \"{}\"\n[listen]\nhttp = \"{address}:80\"\nhttps = \"{address}:443\"\n\
             [docker]\nhost = \"unix://{}\"\n{more}",
            this.data().display(),
            this.path("run").display(),
            this.path("no-engine.sock").display(),
            address = this.address,
        );
        std::fs::write(this.path("config.toml"), text).unwrap();
        this
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn data(&self) -> PathBuf {
        self.path("data")
    }

    pub fn https(&self) -> SocketAddr {
        (self.address, 443).into()
    }

    /// Starts it behind `prefix`, a command that becomes what follows it, and waits until it answers.
    pub fn start_by(&mut self, prefix: &[&str]) {
        assert!(self.daemon.is_none(), "started already");
        let all = [prefix, &[BINARY, "serve", "--config"]].concat();
        let mut command = Command::new(all[0]);
        command.args(&all[1..]).arg(self.path("config.toml"));
        self.daemon = Some(Process::start(&mut command, self.path("freehold.log")));
        until("the daemon to answer", secs(120), || {
            let out = self.try_cli(&["status"]);
            let up = out.status.success().then_some(());
            up.ok_or_else(|| format!("{}\n{}", words(&out), self.log()))
        });
    }

    pub fn start(&mut self) {
        self.start_by(&[]);
    }

    pub fn pid(&self) -> u32 {
        self.daemon.as_ref().unwrap().pid()
    }

    /// kill -9, as a power cut would; what it said until then.
    pub fn kill(&mut self) -> String {
        let mut daemon = self.daemon.take().unwrap();
        daemon.signal("KILL");
        daemon.stop(secs(10));
        daemon.log_text()
    }

    pub fn log(&self) -> String {
        self.daemon
            .as_ref()
            .map_or_else(String::new, Process::log_text)
    }

    pub fn try_cli(&self, arguments: &[&str]) -> Output {
        Command::new(BINARY)
            .args(arguments)
            .env("FREEHOLD_SOCKET", self.path("run").join("freehold.sock"))
            .env("FREEHOLD_SECRET_KEY", "secret")
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    pub fn cli(&self, arguments: &[&str]) -> String {
        let out = self.try_cli(arguments);
        assert!(
            out.status.success(),
            "freehold {}: {}\n{}",
            arguments.join(" "),
            words(&out),
            self.log()
        );
        String::from_utf8(out.stdout).unwrap()
    }

    pub fn json(&self, arguments: &[&str]) -> serde_json::Value {
        let text = self.cli(&[arguments, &["--json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{arguments:?}: {e}\n{text}"))
    }

    /// Clients that trust the box's own root.
    pub fn edge(&self) -> Edge {
        let status = self.json(&["status"]);
        let roots = Path::new(status["root_file"].as_str().unwrap()).to_owned();
        Edge {
            address: self.address,
            roots,
        }
    }
}

impl Drop for QuietBox {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the daemon's log\n{}", self.log());
        }
    }
}
