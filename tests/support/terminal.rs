//! A terminal at which a person types, for commands that ask whether they have one.

use std::process::{Command, Output};

/// Runs the command at a terminal of `columns` and types the second of each pair once the screen ends with the first
/// (see `terminal.py`). Both its streams come out of it.
pub fn at_a_terminal(columns: u16, talk: &[(&str, &str)], command: &Command) -> Output {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/terminal.py");
    let mut terminal = Command::new("python3");
    terminal.arg(script).arg(columns.to_string());
    for (words, line) in talk {
        terminal.args([words, line]);
    }
    terminal
        .arg("--")
        .arg(command.get_program())
        .args(command.get_args())
        .env("TERM", "xterm-256color");
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => terminal.env(name, value),
            None => terminal.env_remove(name),
        };
    }
    terminal.output().unwrap()
}
