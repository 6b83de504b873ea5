//! Head guard: HTTP/1 as it comes from a client, looked at byte by byte before hyper reads it. Pure.
//!
//! hyper takes what RFC 9112 lets a server take; here is refused what somebody else could read in another way: a line
//! that ends in a line feed alone, a second Content-Length, a length beside a transfer coding. It follows each message
//! to its end, so that no head goes by unseen. A head goes on only when it is whole and well: a refusal always finds
//! hyper between two messages, and is answered with a page of ours.
//!
//! It refuses whatever hyper refuses of a head, and more; what it passes, hyper reads with the same bounds (`framing`).
use http::Uri;
use memchr::memchr;

use super::chunk_guard::Chunks;
use super::error::EdgeError;
use super::grammar::{controls, fields_of, is_plain, is_token, trimmed};
use super::headers::{self, FIELDS};
use super::limits::Limits;

/// Longer than any method there is.
const METHOD: usize = 32;
/// Empty lines before a request, which some clients send after a body (RFC 9112, 2.2).
const EMPTY: usize = 64;

pub(super) struct HeadGuard {
    state: State,
    passed: u64,
}

enum State {
    Head(Scan),
    Length(u64),
    Chunked(Chunks),
    /// The last head asks for another protocol: what follows is HTTP only if the answer is no.
    Undecided,
}

/// What may go on of the bytes that were looked at.
#[derive(Debug, PartialEq)]
pub(super) struct Look {
    /// So many, from the first on.
    pub(super) pass: usize,
    pub(super) then: Then,
}

/// What is to be done with the others.
#[derive(Debug, PartialEq)]
pub(super) enum Then {
    /// There are none.
    Nothing,
    /// They are to be kept, and looked at again with what comes after them.
    Keep,
    /// They are a head that must not go on; nothing after it is looked at.
    Refuse(EdgeError),
    /// They are in a body and cannot be understood; nothing after them is looked at.
    Break,
}

impl HeadGuard {
    pub(super) fn new() -> HeadGuard {
        HeadGuard {
            state: State::Head(Scan::default()),
            passed: 0,
        }
    }

    /// Heads that went on so far.
    pub(super) fn passed(&self) -> u64 {
        self.passed
    }

    /// Whether it depends on the answer to the last head what the next bytes are.
    pub(super) fn is_undecided(&self) -> bool {
        matches!(self.state, State::Undecided)
    }

    /// Whether nothing of a body is open.
    #[cfg(any(test, freehold_fuzz))]
    pub(super) fn awaits_head(&self) -> bool {
        matches!(self.state, State::Head(_) | State::Undecided)
    }

    /// The answer was no: HTTP goes on.
    pub(super) fn goes_on(&mut self) {
        self.state = State::Head(Scan::default());
    }

    /// Looks at bytes, which begin where those ended that went on before.
    pub(super) fn look(&mut self, bytes: &[u8], limits: &Limits) -> Look {
        let mut pass = 0;
        while pass < bytes.len() {
            let rest = &bytes[pass..];
            match &mut self.state {
                State::Head(scan) => match scan.read(rest, limits) {
                    Ok(Some(length)) => {
                        pass += length;
                        self.passed += 1;
                        self.state = scan.behind(limits);
                    }
                    Ok(None) => {
                        let then = Then::Keep;
                        return Look { pass, then };
                    }
                    Err(error) => {
                        let then = Then::Refuse(error);
                        return Look { pass, then };
                    }
                },
                State::Length(left) => {
                    let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                    pass += taken;
                    *left -= taken as u64;
                    if *left == 0 {
                        self.goes_on();
                    }
                }
                State::Chunked(chunks) => {
                    let (taken, broken) = chunks.pass(rest);
                    pass += taken;
                    if broken {
                        let then = Then::Break;
                        return Look { pass, then };
                    }
                    if chunks.is_ended() {
                        self.goes_on();
                    }
                }
                State::Undecided => {
                    let then = Then::Keep;
                    return Look { pass, then };
                }
            }
        }
        let then = Then::Nothing;
        Look { pass, then }
    }
}

/// A head, read line by line.
#[derive(Default)]
struct Scan {
    /// Where the line begins that is being read, and how far its end was looked for.
    line: usize,
    seen: usize,
    /// Where the fields begin; 0 before the request line.
    fields: usize,
    count: usize,
    lines: usize,
    http10: bool,
    length: Option<u64>,
    codings: Codings,
    upgrade: bool,
}

/// What was seen of `Transfer-Encoding`.
#[derive(Default, PartialEq)]
enum Codings {
    #[default]
    None,
    Chunked,
    /// To be judged with all lines at hand.
    Odd,
}

impl Scan {
    /// The head's length, if it ends in these bytes, which begin with it.
    fn read(&mut self, bytes: &[u8], limits: &Limits) -> Result<Option<usize>, EdgeError> {
        while let Some(at) = memchr(b'\n', &bytes[self.seen..]) {
            let end = self.seen + at;
            if end == self.line || bytes[end - 1] != b'\r' {
                return Err(bad("a line of its head ends in a line feed alone"));
            }
            let line = &bytes[self.line..end - 1];
            (self.line, self.seen) = (end + 1, end + 1);
            self.lines += 1;
            if self.fields == 0 {
                if !line.is_empty() {
                    self.request_line(line, limits)?;
                    self.fields = self.line;
                } else if self.line > EMPTY {
                    return Err(bad("too many empty lines stand before it"));
                }
            } else if !line.is_empty() {
                self.field(line, limits)?;
            } else {
                self.whole(&bytes[..self.line], limits)?;
                return Ok(Some(self.line));
            }
        }
        self.seen = bytes.len();
        self.unfinished(bytes, limits)?;
        Ok(None)
    }

    fn request_line(&mut self, line: &[u8], limits: &Limits) -> Result<(), EdgeError> {
        let method = line.iter().take_while(|byte| is_token(**byte)).count();
        if method > METHOD {
            return Err(bad("its method is too long"));
        }
        if method == 0 || line.get(method) != Some(&b' ') {
            return Err(bad("its method is malformed"));
        }
        let (method, rest) = (&line[..method], &line[method + 1..]);
        let plain = rest.iter().take_while(|byte| is_plain(**byte)).count();
        let end = match rest.get(plain) {
            Some(b' ') => Some(plain),
            _ => memchr(b' ', rest),
        };
        let (target, version) = match end {
            Some(end) => (&rest[..end], &rest[end + 1..]),
            None => (rest, &b""[..]),
        };
        if target.len() > limits.uri_bytes {
            return Err(EdgeError::UriTooLong(limits.uri_bytes));
        }
        self.http10 = match version {
            b"HTTP/1.1" => false,
            b"HTTP/1.0" => true,
            [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => {
                return Err(EdgeError::VersionRefused);
            }
            _ => return Err(bad("its first line is no request line of HTTP/1.1")),
        };
        let usual = plain == target.len() && target.first() == Some(&b'/');
        if !usual {
            check_target(method, target)?;
        }
        Ok(())
    }

    fn field(&mut self, line: &[u8], limits: &Limits) -> Result<(), EdgeError> {
        self.count += 1;
        if self.count > FIELDS {
            return Err(EdgeError::TooManyFields(FIELDS));
        }
        let name = line.iter().take_while(|byte| is_token(**byte)).count();
        match line.get(name) {
            Some(b':') if name > 0 => {}
            Some(b' ' | b'\t') if name == 0 => {
                return Err(bad("a header goes on over a second line"));
            }
            Some(b' ' | b'\t') => return Err(bad("a blank stands before the colon of a header")),
            _ => return Err(bad("the name of a header is malformed")),
        }
        let (name, value) = (&line[..name], &line[name + 1..]);
        match name.len() {
            7 if name.eq_ignore_ascii_case(b"upgrade") => self.upgrade = true,
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                if self.length.is_some() {
                    return Err(bad("it has several Content-Length fields"));
                }
                self.length = Some(content_length(value, limits)?);
            }
            17 if is_transfer_encoding(name) => {
                let chunked = trimmed(value).eq_ignore_ascii_case(b"chunked");
                self.codings = match self.codings {
                    Codings::None if chunked => Codings::Chunked,
                    _ => Codings::Odd,
                };
            }
            _ => {}
        }
        Ok(())
    }

    /// What can be judged only with the head as a whole.
    fn whole(&self, head: &[u8], limits: &Limits) -> Result<(), EdgeError> {
        if head.len() - self.fields > limits.header_bytes {
            return Err(EdgeError::HeadTooLarge(limits.header_bytes));
        }
        // Each line has its two and no other.
        if controls(head) != 2 * self.lines {
            return Err(bad("a control character stands in its head"));
        }
        if self.codings == Codings::None {
            return Ok(());
        }
        if self.http10 {
            return Err(bad("it is HTTP/1.0 and has a Transfer-Encoding"));
        }
        if self.length.is_some() {
            return Err(bad("it has both a Content-Length and a Transfer-Encoding"));
        }
        if self.codings == Codings::Odd {
            let values = fields_of(&head[self.fields..])
                .filter(|(name, _)| is_transfer_encoding(name))
                .map(|(_, value)| value);
            headers::check_codings(values)?;
        }
        Ok(())
    }

    /// What can be told of a head before it is whole. Nothing that is too large or no HTTP is waited for.
    fn unfinished(&self, bytes: &[u8], limits: &Limits) -> Result<(), EdgeError> {
        if self.fields > 0 {
            return match bytes.len() - self.fields > limits.header_bytes {
                true => Err(EdgeError::HeadTooLarge(limits.header_bytes)),
                false => Ok(()),
            };
        }
        let line = &bytes[self.line..];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let (method, rest) = match memchr(b' ', line) {
            Some(space) => (&line[..space], &line[space + 1..]),
            None => (line, &b""[..]),
        };
        if method.len() > METHOD {
            return Err(bad("its method is too long"));
        }
        if !method.iter().all(|byte| is_token(*byte)) {
            return Err(bad("its method is malformed"));
        }
        if controls(rest) > 0 {
            return Err(bad("a control character stands in its head"));
        }
        let target = memchr(b' ', rest).unwrap_or(rest.len());
        if target > limits.uri_bytes {
            Err(EdgeError::UriTooLong(limits.uri_bytes))
        } else if rest.len() - target > " HTTP/1.1".len() {
            Err(bad("its first line is no request line of HTTP/1.1"))
        } else {
            Ok(())
        }
    }

    /// What is behind the head that was read.
    fn behind(&self, limits: &Limits) -> State {
        match self.length {
            _ if self.codings != Codings::None => State::Chunked(Chunks::new(limits.header_bytes)),
            Some(length @ 1..) => State::Length(length),
            _ if self.upgrade => State::Undecided,
            _ => State::Head(Scan::default()),
        }
    }
}

fn bad(what: &'static str) -> EdgeError {
    EdgeError::BadRequest(what)
}

/// A target in a form or with characters that are rare: read as hyper reads it.
fn check_target(method: &[u8], target: &[u8]) -> Result<(), EdgeError> {
    // A line that is ours alone: see `stand_in`.
    if target == b"*" && method != b"OPTIONS" {
        return Err(bad("its path does not begin with a slash"));
    }
    let well = std::str::from_utf8(target).is_ok_and(|target| target.parse::<Uri>().is_ok());
    match well && controls(target) == 0 && !target.contains(&b'\t') {
        true => Ok(()),
        false => Err(bad("its address is malformed")),
    }
}

fn content_length(value: &[u8], limits: &Limits) -> Result<u64, EdgeError> {
    let digits = trimmed(value);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(bad("its Content-Length is malformed"));
    }
    let length = std::str::from_utf8(digits)
        .ok()
        .and_then(|digits| digits.parse().ok());
    // No disk holds more, and hyper keeps the largest numbers for itself.
    match length {
        Some(length) if length <= i64::MAX as u64 => Ok(length),
        _ => Err(EdgeError::BodyTooLarge(limits.body_bytes)),
    }
}

fn is_transfer_encoding(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"transfer-encoding")
}

#[cfg(test)]
mod tests;
