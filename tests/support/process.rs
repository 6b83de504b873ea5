//! A helper server: started with a log file, ended with its value.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::until::until_true;

/// A running program. Dropping it ends it: SIGTERM, and SIGKILL after 10 s.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with both outputs in `log`.
    pub fn start(command: &mut Command, log: impl Into<PathBuf>) -> Self {
        let log = log.into();
        let out = File::create(&log).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .spawn()
            .unwrap_or_else(|e| panic!("{:?} does not start: {e}; run tests/rig/apt", command));
        Self { child, log }
    }

    /// Waits until `ready` holds; panics with the log when the program ends
    /// before that.
    pub fn ready(mut self, what: &str, mut ready: impl FnMut() -> bool) -> Self {
        until_true(what, Duration::from_secs(120), || {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("{what} ended with {status}:\n{}", self.log_text());
            }
            ready()
        });
        self
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn log_path(&self) -> &Path {
        &self.log
    }

    pub fn log_text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Sends a signal such as `TERM`.
    pub fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    /// SIGTERM, then waits; SIGKILL after `limit`.
    pub fn stop(&mut self, limit: Duration) {
        self.signal("TERM");
        let begun = std::time::Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            if begun.elapsed() > limit {
                self.child.kill().unwrap();
                self.child.wait().unwrap();
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.stop(Duration::from_secs(10));
        }
    }
}

/// Sends a signal such as `KILL` to any process. By the system and not by a command, whose start takes its time on a busy
/// machine: some are to be met in the midst of something.
pub fn signal(pid: u32, name: &str) {
    let signal = match name {
        "KILL" => Signal::KILL,
        "TERM" => Signal::TERM,
        "STOP" => Signal::STOP,
        "CONT" => Signal::CONT,
        other => panic!("no test sent {other} so far"),
    };
    let pid = Pid::from_raw(pid.try_into().unwrap()).unwrap();
    // One that has ended is none to send it to.
    kill_process(pid, signal).ok();
}

/// Runs to the end and gives what it printed; panics with it on failure.
pub fn run(command: &mut Command) -> String {
    let out = command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|e| panic!("{command:?} does not start: {e}; run tests/rig/apt"));
    assert!(
        out.status.success(),
        "{command:?} ended with {}:\n{}{}",
        out.status,
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
    String::from_utf8(out.stdout).unwrap()
}

/// Where `tests/rig` put a tool that no package has.
pub fn tool(path: &str) -> PathBuf {
    let root = std::env::var("FREEHOLD_TEST_TOOLS")
        .expect("FREEHOLD_TEST_TOOLS is not set: run tests/run, or source tests/rig/env");
    let tool = Path::new(&root).join(path);
    assert!(
        tool.exists(),
        "{} is missing: run tests/run",
        tool.display()
    );
    tool
}

/// Makes a program. By a child: while this process has a file open for writing, what another of its threads starts meanwhile
/// has it too, and who would run it hears that it is busy.
pub fn make_program(file: &Path, bytes: &[u8]) {
    let mut command = Command::new("sh");
    command.args(["-c", "cat >\"$1\" && chmod 755 \"$1\"", "sh"]);
    let mut child = command.arg(file).stdin(Stdio::piped()).spawn().unwrap();
    // Dropped at the end of the statement, which is the end of the input.
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    assert!(child.wait().unwrap().success(), "{}", file.display());
}
