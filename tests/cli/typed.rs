//! `freehold …` typed: in a pipe, or at a terminal.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::terminal;

pub const BINARY: &str = env!("CARGO_BIN_EXE_freehold");

/// What a command printed and ended with.
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Said {
    pub fn all(&self) -> String {
        format!("{}{}", self.out, self.err)
    }
}

/// Over the daemon's socket, nothing on standard input.
pub fn freehold(socket: &Path, arguments: &[&str]) -> Said {
    let out = command(socket, arguments).output().unwrap();
    Said {
        code: out.status.code().unwrap(),
        out: String::from_utf8(out.stdout).unwrap(),
        err: String::from_utf8(out.stderr).unwrap(),
    }
}

/// The command, with a home of nobody's.
pub fn command(socket: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command
        .args(arguments)
        .env("FREEHOLD_SOCKET", socket)
        .env("XDG_CONFIG_HOME", socket.parent().unwrap())
        .env("TZ", "UTC")
        .env_remove("NO_COLOR")
        .stdin(Stdio::null());
    command
}

/// At a terminal of `columns`, where a person types `line` at the first question. Both streams come out of it.
pub fn at_a_terminal(columns: u16, line: &str, command: &Command) -> Said {
    let out = terminal::at_a_terminal(columns, &[(": ", line)], command);
    Said {
        code: out.status.code().unwrap(),
        out: String::from_utf8_lossy(&out.stdout).into_owned(),
        err: String::from_utf8_lossy(&out.stderr).into_owned(),
    }
}
