//! The box under test: the real binary under the holder of its sockets, with
//! a config, data folder and loopback address of its own.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use super::address::own_address;
use super::documented;
use super::edge::Edge;
use super::process::{Process, run, signal};
use super::sweep::Killed;
use super::until::{secs, until, until_true};

/// The daemon's binary, built with crash points.
pub const BINARY: &str = env!("CARGO_BIN_EXE_freehold");

pub struct Freehold {
    pub dir: tempfile::TempDir,
    pub address: Ipv4Addr,
    /// The daemon's file; [`BINARY`] unless a test wants one that it can replace.
    pub program: PathBuf,
    /// Somebody else holds its sockets, as systemd does; else it binds its own.
    pub is_held: bool,
    holder: Option<Process>,
}

impl Freehold {
    /// A box that is not started yet; [`Freehold::configure`] it first.
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("fh-").tempdir().unwrap();
        std::fs::create_dir(dir.path().join("routes.d")).unwrap();
        Self {
            dir,
            address: own_address(),
            program: BINARY.into(),
            is_held: true,
            holder: None,
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn data_dir(&self) -> PathBuf {
        self.path("data")
    }

    pub fn config_file(&self) -> PathBuf {
        self.path("config.toml")
    }

    pub fn socket(&self) -> PathBuf {
        self.path("run").join("freehold.sock")
    }

    /// Writes the config: what every box under test has, and `more`.
    pub fn configure(&self, more: &str) {
        self.configure_on(&engine(), more);
    }

    /// The same on another engine than the tests' own, or by another way to it.
    pub fn configure_on(&self, engine: &str, more: &str) {
        let text = format!(
            "data_dir = \"{data}\"\nrun_dir = \"{run}\"\n\
             [listen]\nhttp = \"{address}:80\"\nhttps = \"{address}:443\"\n\
             [docker]\nhost = \"{engine}\"\n\
             [network]\nsubnets = \"{subnets}\"\n{}",
            by_day(more),
            data = self.data_dir().display(),
            run = self.path("run").display(),
            address = self.address,
            subnets = self.subnets(),
        );
        std::fs::write(self.config_file(), text).unwrap();
    }

    /// Where this box's networks come from: boxes side by side on one machine must not route into each other.
    pub fn subnets(&self) -> String {
        let [_, second, third, number] = self.address.octets();
        // An eighth of a /16 each; boxes of one process differ by their number.
        let eighth = (third / 32).wrapping_add(number) % 8;
        format!("10.{}.{}.0/19", 100 + second % 100, eighth * 32)
    }

    /// Starts the holder and the daemon, and waits until it answers.
    pub fn start(&mut self) {
        assert!(self.holder.is_none(), "started already");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rig/hold.py");
        let mut command = Command::new(script);
        command
            .arg("--pidfile")
            .arg(self.path("pid"))
            .arg("--env-file")
            .arg(self.path("env"));
        if self.is_held {
            command
                .arg(format!("http={}:80", self.address))
                .arg(format!("https={}:443", self.address));
        }
        command
            .arg("--")
            .arg(&self.program)
            .args(["serve", "--config"])
            .arg(self.config_file())
            .env("RUST_BACKTRACE", "1");
        self.holder = Some(Process::start(&mut command, self.path("freehold.log")));
        self.wait_until_up();
    }

    /// Waits until the daemon answers its owner.
    pub fn wait_until_up(&self) {
        until("the daemon to answer", secs(120), || {
            let out = self.try_cli(&["status"]);
            if out.status.success() {
                return Ok(());
            }
            Err(format!("{}\n{}", words(&out), self.log_tail()))
        });
    }

    /// Ends the daemon and its holder in order.
    pub fn stop(&mut self) {
        if let Some(mut holder) = self.holder.take() {
            holder.stop(secs(30));
        }
    }

    /// The daemon's process id.
    pub fn pid(&self) -> u32 {
        until("the pid file", secs(120), || {
            let text = std::fs::read_to_string(self.path("pid")).map_err(|e| e.to_string())?;
            text.trim().parse().map_err(|_| text)
        })
    }

    /// kill -9 of the daemon; the holder starts it again.
    pub fn kill(&self) {
        let pid = self.pid();
        signal(pid, "KILL");
        self.wait_for_another_pid(pid);
    }

    /// An ordinary restart.
    pub fn restart(&self) {
        let pid = self.pid();
        signal(pid, "TERM");
        self.wait_for_another_pid(pid);
        self.wait_until_up();
    }

    fn wait_for_another_pid(&self, old: u32) {
        until_true("a new daemon", secs(120), || self.pid() != old);
    }

    /// Restarts the daemon so that it kills itself at `point` the first time
    /// it passes it. [`Freehold::crashed`] says when it has.
    pub fn arm(&self, point: &str) {
        self.arm_next(point);
        self.restart();
    }

    /// The same for the daemon that is started next.
    pub fn arm_next(&self, point: &str) {
        let mark = self.crash_mark(point);
        std::fs::remove_file(&mark).ok();
        let text = format!(
            "FREEHOLD_CRASH_AT={point}\nFREEHOLD_CRASH_MARK={}\n",
            mark.display()
        );
        std::fs::write(self.path("env"), text).unwrap();
    }

    /// Restarts the daemon so that it kills itself at each of `points`, one after another, and each next one goes on.
    /// [`Freehold::crashed_at_all`] says when all have struck.
    pub fn arm_all(&self, points: &[String]) {
        let [_, _, ..] = points else {
            return points.iter().for_each(|point| self.arm(point));
        };
        for point in points {
            std::fs::remove_file(self.crash_mark(point)).ok();
        }
        let text = format!(
            "FREEHOLD_CRASH_AT={}\nFREEHOLD_CRASH_MARK={}\n",
            points.join(","),
            self.crash_mark("").display()
        );
        std::fs::write(self.path("env"), text).unwrap();
        self.restart();
    }

    /// Waits until every armed point has killed the daemon, arms nothing any more, and waits until the next one answers.
    pub fn crashed_at_all(&self, points: &[String], limit: Duration) -> Vec<Killed> {
        let struck: Vec<Killed> = points.iter().map(|p| self.struck(p, limit)).collect();
        struck.into_iter().map(|killed| self.back(killed)).collect()
    }

    /// Restarts the daemon with one of its protections off, or with all of them on again.
    pub fn sabotage(&self, word: Option<&str>) {
        match word {
            Some(word) => {
                std::fs::write(self.path("env"), format!("FREEHOLD_SABOTAGE={word}\n")).unwrap();
            }
            None => std::fs::remove_file(self.path("env")).unwrap(),
        }
        self.restart();
    }

    /// Waits until the armed point has killed the daemon and the next one answers.
    pub fn crashed(&self, point: &str, limit: Duration) -> Killed {
        self.back(self.struck(point, limit))
    }

    /// Waits until the armed point has killed the daemon; the next one may just be beginning.
    pub fn struck(&self, point: &str, limit: Duration) -> Killed {
        let mark = self.crash_mark(point);
        // The mark is made just before the kill: until that has come through, the one that dies answers still, and would be
        // taken for the next.
        until(&format!("the crash at {point}"), limit, || {
            let pid = std::fs::read_to_string(&mark).map_err(|_| self.log_tail())?;
            let pid: u32 = pid.parse().map_err(|_| "its mark is being written")?;
            match is_dead(pid) {
                true => Ok(()),
                false => Err(format!("process {pid} has not ended")),
            }
        });
        Killed::at(point, &mark)
    }

    /// Waits until the daemon answers again, and arms nothing any more.
    pub fn back(&self, killed: Killed) -> Killed {
        self.wait_until_up();
        std::fs::remove_file(self.path("env")).ok();
        killed
    }

    fn crash_mark(&self, point: &str) -> PathBuf {
        self.path(&format!("crashed-{point}"))
    }

    /// The command line, as the box's owner types it; gives what it printed.
    pub fn cli(&self, arguments: &[&str]) -> String {
        let out = self.try_cli(arguments);
        assert!(
            out.status.success(),
            "freehold {}: {}\n{}",
            arguments.join(" "),
            words(&out),
            self.log_tail()
        );
        String::from_utf8(out.stdout).unwrap()
    }

    /// The same with `--json`.
    pub fn json(&self, arguments: &[&str]) -> serde_json::Value {
        let text = self.cli(&[arguments, &["--json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{arguments:?}: {e}\n{text}"))
    }

    /// All that `verb`, typed so, prints with `--json`, held against what docs/cli.md says of it.
    pub fn documented(&self, verb: &str, arguments: &[&str]) -> Vec<serde_json::Value> {
        // In front: what stands behind `--` is a command's own.
        let text = self.cli(&[&["--json"], arguments].concat());
        documented::held(verb, &text)
    }

    /// A command that must fail; gives the sentence it says.
    pub fn refused(&self, arguments: &[&str]) -> String {
        let out = self.try_cli(arguments);
        assert!(
            !out.status.success(),
            "freehold {} was not refused: {}",
            arguments.join(" "),
            words(&out)
        );
        words(&out)
    }

    pub fn try_cli(&self, arguments: &[&str]) -> Output {
        self.command(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// The command line, to be run by the caller.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command
            .args(arguments)
            .env("FREEHOLD_SOCKET", self.socket())
            .env("NO_COLOR", "1");
        command
    }

    /// Clients of this box that trust the roots in `roots` only.
    pub fn edge(&self, roots: &Path) -> Edge {
        Edge {
            address: self.address,
            roots: roots.to_owned(),
        }
    }

    pub fn log_text(&self) -> String {
        std::fs::read_to_string(self.path("freehold.log")).unwrap_or_default()
    }

    pub fn log_tail(&self) -> String {
        let text = self.log_text();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// This installation's id, as its engine objects carry it.
    pub fn installation(&self) -> String {
        self.json(&["status"])["installation"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// Removes every engine object of this installation.
    fn clean_engine(&self, id: &str) {
        let label = format!("label=freehold.installation={id}");
        let list = |arguments: &[&str]| -> Vec<String> {
            let mut command = Command::new("docker");
            command.args(arguments).args(["-q", "--filter", &label]);
            run(&mut command)
                .split_whitespace()
                .map(str::to_owned)
                .collect()
        };
        for (kind, remove) in [
            (&["ps", "-a"][..], &["rm", "-f", "-v"][..]),
            (&["network", "ls"], &["network", "rm"]),
            (&["volume", "ls"], &["volume", "rm", "-f"]),
            (&["image", "ls"], &["image", "rm", "-f"]),
        ] {
            let found = list(kind);
            if !found.is_empty() {
                Command::new("docker")
                    .args(remove)
                    .args(&found)
                    .stdout(Stdio::null())
                    .status()
                    .ok();
            }
        }
    }
}

impl Default for Freehold {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Freehold {
    fn drop(&mut self) {
        let status = self.try_cli(&["status", "--json"]);
        let status: Option<serde_json::Value> = serde_json::from_slice(&status.stdout).ok();
        let id = status.and_then(|s| Some(s["installation"].as_str()?.to_owned()));
        self.stop();
        if std::thread::panicking() {
            eprintln!("--- the daemon's log\n{}", self.log_tail());
        }
        if let Some(id) = id {
            self.clean_engine(&id);
        }
    }
}

/// Whether a process has ended, if only its number is left of it.
fn is_dead(pid: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return true;
    };
    // Behind its name, which may hold anything.
    let state = stat.rsplit_once(") ").map(|(_, rest)| rest);
    state.is_none_or(|state| state.starts_with(['Z', 'X']))
}

/// Settings with which no night's dumps come while a test runs: they are half a day away, whenever it runs.
fn by_day(more: &str) -> String {
    static FAR: OnceLock<i8> = OnceLock::new();
    let far = FAR.get_or_init(|| (jiff::Zoned::now().hour() + 12) % 24);
    let database = "[database]\n";
    let night = format!("{database}dump_after_hour = {far}\n");
    if more.contains("dump_after_hour") {
        more.to_owned()
    } else if more.contains(database) {
        more.replacen(database, &night, 1)
    } else {
        format!("{more}\n{night}")
    }
}

/// The engine that the rig put up.
pub fn engine() -> String {
    std::env::var("FREEHOLD_TEST_ENGINE")
        .expect("FREEHOLD_TEST_ENGINE is not set: run tests/run, or source tests/rig/env")
}

/// Everything a command said.
pub fn words(out: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    )
    .trim()
    .to_owned()
}
