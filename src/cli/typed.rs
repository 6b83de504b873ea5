//! A secret that is given as an option's value, or as `-` on standard input: what stands among the
//! arguments can be read by every user of the machine.

use std::io::{IsTerminal, Read, Write as _};

use rustix::termios::{self, LocalModes, OptionalActions, Termios};

use super::output::{self, Fail};
use crate::base::secret::Secret;

/// The longest secret that is read.
const LONGEST: u64 = 16 << 10;

/// The option's value; `-` is all of standard input, without its line's end.
///
/// # Errors
/// That standard input holds nothing, more than one line or too much, or cannot be read.
pub fn secret(given: Option<String>) -> Result<Option<Secret>, Fail> {
    match given.as_deref() {
        Some("-") => read(std::io::stdin()).map(Some),
        _ => Ok(given.map(Secret::new)),
    }
}

/// Asked for on a terminal, where it is not seen; elsewhere the line on standard input.
///
/// # Errors
/// That none came.
pub fn password(of: &str) -> Result<Secret, Fail> {
    let missing = || {
        Fail::usage(format!(
            "the password of {of} is missing: type it when it is asked for, or give it as one line on standard input, as in `… < password.txt`"
        ))
    };
    if !std::io::stdin().is_terminal() {
        return read(std::io::stdin()).map_err(|_| missing());
    }
    let unseen = Unseen::begin();
    let typed = output::ask(&format!("Password of {of}: "));
    drop(unseen);
    // The line's end was not seen either.
    if writeln!(std::io::stderr()).is_err() {
        tracing::trace!("nobody reads the terminal");
    }
    match typed.trim_end_matches(['\r', '\n']) {
        "" => Err(missing()),
        typed => Ok(Secret::new(typed)),
    }
}

/// The terminal as it was, put back when this value goes; until then nothing that is typed is seen.
struct Unseen(Termios);

impl Unseen {
    fn begin() -> Option<Self> {
        let stdin = std::io::stdin();
        let before = termios::tcgetattr(&stdin).ok()?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        termios::tcsetattr(&stdin, OptionalActions::Now, &silent).ok()?;
        Some(Self(before))
    }
}

impl Drop for Unseen {
    fn drop(&mut self) {
        let put_back = termios::tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0);
        if let Err(error) = put_back {
            tracing::warn!(%error, "the terminal could not be put back; `reset` does it");
        }
    }
}

fn read(from: impl Read) -> Result<Secret, Fail> {
    let mut text = String::new();
    from.take(LONGEST + 1)
        .read_to_string(&mut text)
        .map_err(|e| {
            Fail::usage(format!(
                "the secret cannot be read from standard input: {e}"
            ))
        })?;
    match text.trim_end_matches(['\r', '\n']) {
        _ if text.len() as u64 > LONGEST => Err(Fail::usage("the secret is longer than 16 KB")),
        lines if lines.contains('\n') => Err(Fail::usage(
            "- takes one line as the secret, and more than one came",
        )),
        "" => Err(Fail::usage(
            "- says that the secret comes on standard input, and nothing came",
        )),
        secret => Ok(Secret::new(secret)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a7_a_secret_on_standard_input_is_taken_without_its_lines_end() {
        assert_eq!(read(&b"s3cret\r\n"[..]).unwrap().expose(), "s3cret");
        assert!(read(&b"\n"[..]).is_err());
        assert!(read(&b"one\ntwo\n"[..]).is_err());
        assert!(read(&vec![b'x'; 20_000][..]).is_err());
        assert_eq!(
            secret(Some("plain".into())).unwrap().unwrap().expose(),
            "plain"
        );
        assert!(secret(None).unwrap().is_none());
    }
}
