//! A secret that is given as an option's value, or as `-` on standard input: what stands among the
//! arguments can be read by every user of the machine.

use std::io::Read;

use super::output::Fail;
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
