//! Chunk guard: where a chunked body of HTTP/1 ends, and whether its chunks are well. Pure; see `head_guard`.
//!
//! It moves through the bytes and changes none. hyper takes off the coding behind it; that one passes over what its
//! extensions hold, takes blanks after a size and a bare line feed between two trailers, and this does not. Extensions
//! are bounded as hyper bounds them, and the blanks before them too.
use super::grammar::is_token;

/// Digits of a size: as many as fit into 64 bits.
const DIGITS: u8 = 16;
/// Bytes of a body's extensions together, with the blanks before them.
const EXTENSIONS: u32 = 16 * 1024 - 1;
/// Lines of trailers, as many as hyper takes.
const TRAILERS: u32 = 100;

pub(super) struct Chunks {
    state: State,
    /// Bytes that the trailers may still have.
    room: usize,
    trailers: u32,
    /// Bytes that extensions may still have.
    extensions: u32,
}

#[derive(Clone, Copy)]
enum State {
    Size {
        digits: u8,
        size: u64,
    },
    /// Blanks, of which an extension must come.
    Blank {
        size: u64,
    },
    Extension {
        size: u64,
    },
    SizeEnd {
        size: u64,
    },
    Data {
        left: u64,
    },
    DataReturn,
    DataEnd,
    /// The beginning of a trailer, or of the empty line.
    Line,
    Name,
    Value,
    TrailerEnd,
    LastEnd,
    Ended,
}

impl Chunks {
    /// `trailers`: how many bytes the trailers may have.
    pub(super) fn new(trailers: usize) -> Chunks {
        Chunks {
            state: FIRST,
            room: trailers,
            trailers: 0,
            extensions: EXTENSIONS,
        }
    }

    pub(super) fn is_ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    /// Goes through the bytes up to the body's end: how many of them are well, and whether what follows them is not.
    pub(super) fn pass(&mut self, bytes: &[u8]) -> (usize, bool) {
        let mut at = 0;
        while at < bytes.len() && !self.is_ended() {
            if let State::Data { left } = self.state {
                let taken = usize::try_from(left)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len() - at);
                at += taken;
                self.state = match left - taken as u64 {
                    0 => State::DataReturn,
                    left => State::Data { left },
                };
                continue;
            }
            let Some(next) = self.step(bytes[at]) else {
                return (at, true);
            };
            self.state = next;
            at += 1;
        }
        (at, false)
    }

    /// The state after one byte outside of the data; `None` if it may not stand there.
    fn step(&mut self, byte: u8) -> Option<State> {
        if matches!(self.state, State::Line | State::Name | State::Value) {
            self.room = self.room.checked_sub(1)?;
        }
        if matches!(self.state, State::Blank { .. } | State::Extension { .. }) && byte != b'\r' {
            self.extensions = self.extensions.checked_sub(1)?;
        }
        let blank = matches!(byte, b' ' | b'\t');
        let text = blank || byte > b' ' && byte != 0x7f;
        Some(match (self.state, byte) {
            (State::Size { digits, size }, _) if byte.is_ascii_hexdigit() && digits < DIGITS => {
                let digit = (byte as char).to_digit(16)?;
                State::Size {
                    digits: digits + 1,
                    size: size << 4 | u64::from(digit),
                }
            }
            (State::Size { digits: 1.., size }, b'\r') => State::SizeEnd { size },
            (State::Size { digits: 1.., size } | State::Blank { size }, b';') => {
                State::Extension { size }
            }
            (State::Size { digits: 1.., size } | State::Blank { size }, _) if blank => {
                State::Blank { size }
            }
            (State::Extension { size }, b'\r') => State::SizeEnd { size },
            (State::Extension { size }, _) if text => State::Extension { size },
            (State::SizeEnd { size: 0 }, b'\n') => State::Line,
            (State::SizeEnd { size }, b'\n') => State::Data { left: size },
            (State::DataReturn, b'\r') => State::DataEnd,
            (State::DataEnd, b'\n') => FIRST,
            (State::Line, b'\r') => State::LastEnd,
            (State::Line | State::Name, _) if is_token(byte) => State::Name,
            (State::Name, b':') => State::Value,
            (State::Value, b'\r') => State::TrailerEnd,
            (State::Value, _) if text => State::Value,
            (State::TrailerEnd, b'\n') => {
                self.trailers += 1;
                (self.trailers <= TRAILERS).then_some(State::Line)?
            }
            (State::LastEnd, b'\n') => State::Ended,
            _ => return None,
        })
    }
}

const FIRST: State = State::Size { digits: 0, size: 0 };

#[cfg(test)]
mod tests {
    use super::*;

    /// How many bytes the body has that these begin with, `Err` with how many are well.
    fn length(bytes: &[u8], piece: usize) -> Result<Option<usize>, usize> {
        let (mut chunks, mut at) = (Chunks::new(50), 0);
        for piece in bytes.chunks(piece) {
            let (passed, broken) = chunks.pass(piece);
            at += passed;
            if broken {
                return Err(at);
            }
            if chunks.is_ended() {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    #[test]
    fn e3_a_chunked_body_ends_where_its_last_line_ends() {
        for body in [
            &b"0\r\n\r\n"[..],
            b"5\r\nhello\r\n0\r\n\r\n",
            b"00005\r\nhello\r\n000\r\n\r\n",
            b"5;a=b;c=\"d\xff\"\r\nhello\r\n0;e\r\n\r\n",
            b"5 \t;a\r\nhello\r\n0\r\n\r\n",
            b"A\r\n0123\r\n\r\n\r\n\r\n0\r\n\r\n",
            b"1\r\n0\r\n0\r\nX-Sum: 1\r\nY:\r\n\r\n",
        ] {
            let more = [body, b"GET / HTTP/1.1\r\n"].concat();
            for piece in 1..more.len() {
                let shown = String::from_utf8_lossy(body);
                assert_eq!(length(&more, piece), Ok(Some(body.len())), "{shown}");
            }
            for cut in 0..body.len() {
                assert_eq!(length(&body[..cut], 7), Ok(None));
            }
        }
    }

    #[test]
    fn e3_chunks_that_could_end_in_two_places_are_no_chunks() {
        for (well, rest) in [
            (&b""[..], &b"\r\n"[..]),
            (b"", b"-5\r\n"),
            (b"", b" 5\r\n"),
            (b"", b";a\r\n"),
            (b"0", b"x5\r\n"),
            (b"5", b"\nhello"),
            (b"5 ", b"\r\nhello"),
            (b"5 ", b"5\r\n"),
            (b"5\r", b"hello"),
            (b"5;a", b"\nb\r\n"),
            (b"5;a", b"\0\r\n"),
            (b"5;a\r", b"b\r\n"),
            (b"5\r\nhello", b"X\r\n"),
            (b"5\r\nhello", b"\n0\r\n\r\n"),
            (b"5\r\nhello\r", b"0\r\n\r\n"),
            (b"1234567890123456", b"7\r\n"),
            (b"0\r\n", b"\n"),
            (b"0\r\n", b" folded: x\r\n\r\n"),
            (b"0\r\n", b": x\r\n\r\n"),
            (b"0\r\nX", b" : y\r\n\r\n"),
            (b"0\r\nX: a", b"\nY: b\r\n\r\n"),
            (b"0\r\nX: a\r", b"Y: b\r\n\r\n"),
            (b"0\r\nX: a", b"\0\r\n\r\n"),
            (b"0\r\nX: a\r\n\r", b"\r\n"),
        ] {
            let bytes = [well, rest].concat();
            for piece in 1..=bytes.len() {
                let shown = String::from_utf8_lossy(&bytes);
                assert_eq!(length(&bytes, piece), Err(well.len()), "{shown}");
            }
        }
        let long = format!("0\r\nX: {}", "a".repeat(100));
        assert_eq!(length(long.as_bytes(), 9), Err(3 + 50));
        let extended = |length: usize| format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(length));
        let most = EXTENSIONS as usize;
        let well = extended(most);
        assert_eq!(length(well.as_bytes(), 999), Ok(Some(well.len())));
        for bytes in [
            extended(most + 1),
            // Not each by itself, but all of a body.
            [&well[..well.len() - 5], &extended(1)].concat(),
            format!("1{}", " ".repeat(most + 2)),
        ] {
            assert!(length(bytes.as_bytes(), 999).is_err(), "{}", bytes.len());
        }
        let mut chunks = Chunks::new(10_000);
        let many = format!("0\r\n{}", "X: a\r\n".repeat(101));
        assert_eq!(chunks.pass(many.as_bytes()), (3 + 101 * 6 - 1, true));
    }
}
