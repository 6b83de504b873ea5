//! `multipart/form-data` (RFC 7578) as a browser sends it, read as it comes: a form with a file that may be larger than
//! memory. Of what is held there is never more than a part's head and a piece of its content.

use std::fmt::{self, Display, Formatter};

use axum::http::{HeaderMap, header};
use bytes::{Buf, Bytes, BytesMut};
use futures_util::{Stream, StreamExt};

/// The longest head of a part; a browser's has some 150 bytes and the file's name.
const LONGEST_HEAD: usize = 8 << 10;
/// The longest boundary (RFC 2046, 5.1.1).
const LONGEST_BOUNDARY: usize = 70;

/// Why a form cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken(String);

impl Display for Broken {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn broken<T>(why: &str) -> Result<T, Broken> {
    Err(Broken(why.to_owned()))
}

/// Where in the form its reader is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    /// Before the first part.
    Start,
    /// In a part's content.
    Content,
    /// After the last part.
    End,
}

/// A form, part by part.
pub struct Parts<S> {
    body: S,
    held: BytesMut,
    /// What ends a part's content: `\r\n--` and the boundary.
    mark: Vec<u8>,
    at: At,
}

impl<S, E> Parts<S>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
    E: Display,
{
    /// The form in `body`; none when these headers do not say that it is one.
    pub fn of(headers: &HeaderMap, body: S) -> Option<Self> {
        let kind = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
        let mark = format!("\r\n--{}", boundary(kind)?).into_bytes();
        Some(Self {
            body,
            // The first mark has no line before it.
            held: BytesMut::from(&b"\r\n"[..]),
            mark,
            at: At::Start,
        })
    }

    /// The name of the next field, whose content follows; what was not read of the one before is left out. None after
    /// the last.
    ///
    /// # Errors
    /// The body is no such form, or broke off.
    pub async fn next(&mut self) -> Result<Option<String>, Broken> {
        match self.at {
            At::End => return Ok(None),
            At::Start => {
                while self.held.len() < self.mark.len() {
                    self.fill().await?;
                }
                if !self.held.starts_with(&self.mark) {
                    return broken("the form does not begin with its boundary");
                }
            }
            At::Content => while self.piece().await?.is_some() {},
        }
        self.held.advance(self.mark.len());
        while self.held.len() < 2 {
            self.fill().await?;
        }
        if self.held.starts_with(b"--") {
            self.at = At::End;
            return Ok(None);
        }
        let end = loop {
            if let Some(end) = found(&self.held, b"\r\n\r\n") {
                break end;
            }
            if self.held.len() > LONGEST_HEAD {
                return broken("a field of the form has a head that is longer than 8 KB");
            }
            self.fill().await?;
        };
        let head = self.held.split_to(end + 4);
        self.at = At::Content;
        match name(&String::from_utf8_lossy(&head)) {
            Some(name) => Ok(Some(name)),
            None => broken("a field of the form has no name"),
        }
    }

    /// The next piece of this field's content; none at its end.
    ///
    /// # Errors
    /// The body broke off.
    pub async fn piece(&mut self) -> Result<Option<Bytes>, Broken> {
        if self.at != At::Content {
            return Ok(None);
        }
        loop {
            let ready = match found(&self.held, &self.mark) {
                Some(0) => return Ok(None),
                Some(end) => end,
                // Its last bytes may be the beginning of a mark.
                None => (self.held.len() + 1).saturating_sub(self.mark.len()),
            };
            if ready > 0 {
                return Ok(Some(self.held.split_to(ready).freeze()));
            }
            self.fill().await?;
        }
    }

    /// This field's content, which has at most `most` bytes.
    ///
    /// # Errors
    /// It is longer, no text, or broke off.
    pub async fn text(&mut self, most: usize) -> Result<String, Broken> {
        let mut text = Vec::new();
        while let Some(piece) = self.piece().await? {
            if text.len() + piece.len() > most {
                return broken("a field of the form is too long");
            }
            text.extend_from_slice(&piece);
        }
        String::from_utf8(text).or_else(|_| broken("a field of the form is no text"))
    }

    /// What it reads from.
    pub fn into_inner(self) -> S {
        self.body
    }

    async fn fill(&mut self) -> Result<(), Broken> {
        match self.body.next().await {
            Some(Ok(bytes)) => {
                self.held.extend_from_slice(&bytes);
                Ok(())
            }
            Some(Err(error)) => broken(&error.to_string()),
            None => broken("the form has no end"),
        }
    }
}

/// The boundary that a content type names.
fn boundary(kind: &str) -> Option<&str> {
    let mut parts = kind.split(';').map(str::trim);
    let is_form = parts.next()?.eq_ignore_ascii_case("multipart/form-data");
    let given = parts.find_map(|part| {
        let (key, value) = part.split_once('=')?;
        key.eq_ignore_ascii_case("boundary").then_some(value)
    })?;
    let given = given
        .strip_prefix('"')
        .and_then(|g| g.strip_suffix('"'))
        .unwrap_or(given);
    let good = given.bytes().all(|b| b.is_ascii_graphic());
    (is_form && good && (1..=LONGEST_BOUNDARY).contains(&given.len())).then_some(given)
}

/// The field's name in a part's head. A browser writes a quote in it as `%22`.
fn name(head: &str) -> Option<String> {
    let said = head.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        let own = key.trim().eq_ignore_ascii_case("content-disposition");
        own.then_some(value)
    })?;
    let named = said
        .split(';')
        .find_map(|part| part.trim().strip_prefix("name=\""));
    Some(named?.strip_suffix('"')?.to_owned())
}

/// Where `wanted` begins in `bytes`.
fn found(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    let (first, mut from) = (wanted.first()?, 0);
    while let Some(at) = bytes.get(from..)?.iter().position(|b| b == first) {
        let at = from + at;
        if bytes.get(at..)?.starts_with(wanted) {
            return Some(at);
        }
        from = at + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use proptest::prelude::*;

    use super::*;

    const KIND: &str = "multipart/form-data; boundary=----Browser7MA4";

    fn body(fields: &[(&str, &[u8])]) -> Vec<u8> {
        let mut body = Vec::new();
        for (name, content) in fields {
            body.extend_from_slice(b"------Browser7MA4\r\nContent-Disposition: form-data; name=\"");
            body.extend_from_slice(name.as_bytes());
            body.extend_from_slice(
                b"\"; filename=\"my name=.tar\"\r\nContent-Type: text/plain\r\n\r\n",
            );
            body.extend_from_slice(content);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"------Browser7MA4--\r\n");
        body
    }

    /// All fields, from a body that comes in pieces of `size`.
    fn read(kind: &str, body: &[u8], size: usize) -> Result<Vec<(String, Vec<u8>)>, Broken> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, kind.parse().unwrap());
        let pieces = body.chunks(size).map(Bytes::copy_from_slice);
        let pieces = stream::iter(pieces.map(Ok::<_, String>).collect::<Vec<_>>());
        futures_util::FutureExt::now_or_never(async {
            let Some(mut parts) = Parts::of(&headers, pieces) else {
                return broken("no form");
            };
            let mut all = Vec::new();
            while let Some(name) = parts.next().await? {
                let mut content = Vec::new();
                while let Some(piece) = parts.piece().await? {
                    content.extend_from_slice(&piece);
                }
                all.push((name, content));
            }
            Ok(all)
        })
        .unwrap()
    }

    proptest! {
        #[test]
        fn a1_a_form_is_read_however_it_is_cut(
            content in proptest::collection::vec(
                prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'-'), Just(b'B'), any::<u8>()], 0..200
            ),
            near in any::<bool>(),
            size in 1usize..80,
        ) {
            let mut content = content;
            if near {
                // All of a mark but its end.
                content.extend_from_slice(b"\r\n------Browser7MA");
            }
            let form = body(&[("form-token", b"abc"), ("folder", &content)]);
            let all = read(KIND, &form, size).unwrap();
            let both = [("form-token".to_owned(), b"abc".to_vec()), ("folder".to_owned(), content)];
            prop_assert_eq!(all, both);
            // Wherever it is cut short before its last mark, that is seen.
            for end in 0..form.len() - 4 {
                prop_assert!(read(KIND, &form[..end], size).is_err(), "{}", end);
            }
        }
    }

    #[test]
    fn a6_what_is_no_form_of_a_browser_is_refused() {
        let form = body(&[("folder", b"x")]);
        for kind in [
            "text/plain",
            "multipart/form-data",
            "multipart/mixed; boundary=----Browser7MA4",
        ] {
            assert_eq!(read(kind, &form, 10), broken("no form"), "{kind}");
        }
        let long = format!("multipart/form-data; boundary={}", "x".repeat(71));
        assert_eq!(read(&long, &form, 10), broken("no form"));
        let quoted = "multipart/form-data; charset=utf-8; boundary=\"----Browser7MA4\"";
        assert_eq!(read(quoted, &form, 10).unwrap().len(), 1);
        let preamble = [b"hello\r\n".as_slice(), &form].concat();
        assert!(read(KIND, &preamble, 10).is_err());
        let nameless =
            b"------Browser7MA4\r\nContent-Type: text/plain\r\n\r\nx\r\n------Browser7MA4--";
        assert!(read(KIND, nameless, 10).is_err());
        let endless = [b"------Browser7MA4\r\nX: ".as_slice(), &[b'x'; 9 << 10]].concat();
        let why = read(KIND, &endless, 100).unwrap_err();
        assert!(why.to_string().contains("8 KB"), "{why}");
    }
}
