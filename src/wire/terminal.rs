//! A command with the caller's keyboard, over an upgraded connection.
//!
//! After `101 Switching Protocols` to `Upgrade: freehold-terminal` both sides
//! send frames: a kind byte, a length (u32, big-endian), that many bytes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The protocol's name in the `Upgrade` header.
pub const PROTOCOL: &str = "freehold-terminal";
/// No frame is longer.
pub const LONGEST: usize = 1 << 20;

/// A frame's kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// To the command's standard input.
    Input = 0,
    /// No more input comes.
    EndOfInput = 1,
    /// The terminal's rows and columns, two u16.
    Resize = 2,
    /// From standard output.
    Output = 3,
    /// From standard error.
    Error = 4,
    /// The exit code, an i64: the last frame.
    Exit = 5,
    /// Why it failed, a sentence: the last frame.
    Failed = 6,
}

impl Frame {
    /// The kind of a byte.
    pub fn of(byte: u8) -> Option<Self> {
        [
            Self::Input,
            Self::EndOfInput,
            Self::Resize,
            Self::Output,
            Self::Error,
            Self::Exit,
            Self::Failed,
        ]
        .into_iter()
        .find(|f| *f as u8 == byte)
    }

    /// Its bytes with `content`, which must be at most [`LONGEST`].
    pub fn encode(self, content: &[u8]) -> Vec<u8> {
        let length = u32::try_from(content.len()).unwrap_or(u32::MAX);
        let mut bytes = Vec::with_capacity(5 + content.len());
        bytes.push(self as u8);
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(content);
        bytes
    }

    /// The first whole frame of `bytes` and how long it is; `None` when more is
    /// needed.
    ///
    /// # Errors
    /// When it is no frame.
    pub fn decode(bytes: &[u8]) -> Result<Option<Decoded<'_>>, &'static str> {
        let [kind, a, b, c, d, rest @ ..] = bytes else {
            return Ok(None);
        };
        let kind = Self::of(*kind).ok_or("an unknown kind of frame")?;
        let length = usize::try_from(u32::from_be_bytes([*a, *b, *c, *d])).unwrap_or(usize::MAX);
        if length > LONGEST {
            return Err("a frame is too long");
        }
        Ok(rest
            .get(..length)
            .map(|content| (kind, content, length + 5)))
    }
}

/// A frame's kind, its content, and how many bytes it took.
pub type Decoded<'a> = (Frame, &'a [u8], usize);

/// What to run.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct TerminalForm {
    /// The words of the command, as JSON in the query.
    pub command: String,
    /// Which process's replica, for exec.
    #[serde(default)]
    pub process: Option<String>,
    /// Rows of the caller's terminal, when there is one.
    #[serde(default)]
    pub rows: Option<u16>,
    /// Columns of it.
    #[serde(default)]
    pub columns: Option<u16>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_being_cut_anywhere() {
        let bytes = [
            Frame::Output.encode(b"hello"),
            Frame::Exit.encode(&3i64.to_be_bytes()),
        ]
        .concat();
        assert_eq!(Frame::decode(&bytes[..7]).unwrap(), None);
        let (kind, content, used) = Frame::decode(&bytes).unwrap().unwrap();
        assert_eq!((kind, content), (Frame::Output, &b"hello"[..]));
        let (kind, content, _) = Frame::decode(&bytes[used..]).unwrap().unwrap();
        assert_eq!((kind, content), (Frame::Exit, &3i64.to_be_bytes()[..]));
        assert!(Frame::decode(&[9, 0, 0, 0, 0]).is_err());
        assert!(Frame::decode(&[0, 255, 0, 0, 0]).is_err());
    }
}
