//! The head of an answer, parsed and judged: status, fields that may pass, and how the body ends.
use std::mem::MaybeUninit;

use bytes::BytesMut;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, StatusCode};

use crate::proxy::headers;

const FIELDS: usize = 128;
const HEAD: usize = 64 * 1024;

/// How an answer's body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    Length(u64),
    Chunked,
    UntilClose,
}

#[derive(Debug)]
pub(crate) struct AnswerHead {
    pub(crate) status: StatusCode,
    /// Without hop-by-hop fields; `Content-Length` as the upstream gave it.
    pub(crate) headers: HeaderMap,
    pub(crate) framing: Framing,
    /// Whether the connection may serve another request afterwards.
    pub(crate) keep_alive: bool,
    /// Seconds of `Keep-Alive: timeout`.
    pub(crate) idle_timeout: Option<u32>,
    /// The protocol of a 101.
    pub(crate) upgrade: Option<HeaderValue>,
}

/// The next head in the buffer, `None` until it is whole.
pub(crate) fn parse(
    buffer: &mut BytesMut,
    method: &Method,
) -> Result<Option<AnswerHead>, &'static str> {
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS];
    let mut spans = [(0, 0, 0, 0); FIELDS];
    let mut answer = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
        &mut answer,
        buffer,
        &mut fields,
    );
    let length = match parsed {
        Ok(httparse::Status::Complete(length)) if length <= HEAD => length,
        Ok(httparse::Status::Partial) if buffer.len() <= HEAD => return Ok(None),
        Ok(_) => return Err("its answer's head is larger than 64 KB"),
        Err(httparse::Error::TooManyHeaders) => {
            return Err("its answer has more than 128 header fields");
        }
        Err(_) => return Err("its answer's head is malformed"),
    };
    let status = answer
        .code
        .and_then(|code| StatusCode::from_u16(code).ok())
        .ok_or("its answer has no valid status")?;
    let version_11 = answer.version == Some(1);
    let start = buffer.as_ptr() as usize;
    let count = answer.headers.len();
    for (span, field) in spans.iter_mut().zip(answer.headers.iter()) {
        let (name, value) = (
            field.name.as_ptr() as usize - start,
            field.value.as_ptr() as usize - start,
        );
        *span = (
            name,
            name + field.name.len(),
            value,
            value + field.value.len(),
        );
    }
    let bytes = buffer.split_to(length).freeze();

    let mut seen = Seen::default();
    let mut headers = HeaderMap::with_capacity(count + 2);
    for &(name, name_end, value, value_end) in &spans[..count] {
        let name = HeaderName::from_bytes(&bytes[name..name_end])
            .map_err(|_| "a field name of its answer is malformed")?;
        let value = HeaderValue::from_maybe_shared(bytes.slice(value..value_end))
            .map_err(|_| "a field value of its answer is malformed")?;
        if seen.note(&name, &value)? {
            headers.append(name, value);
        }
    }
    if let Some(named) = &seen.connection {
        headers::remove_named(&mut headers, named);
    }
    finish(status, version_11, headers, seen, method).map(Some)
}

/// The fields of an answer that came framed (HTTP/2): those that may pass, and the length of the body where it is told.
pub(crate) fn judge(
    status: StatusCode,
    fields: HeaderMap,
    method: &Method,
) -> Result<(HeaderMap, Option<u64>), &'static str> {
    if status.is_informational() {
        return Err("its answer changes the protocol unasked");
    }
    let mut seen = Seen::default();
    let mut headers = HeaderMap::with_capacity(fields.len() + 2);
    let mut last = None;
    for (name, value) in fields {
        // A name is given with the first of its values only.
        if name.is_some() {
            last = name;
        }
        if let Some(name) = &last
            && seen.note(name, &value)?
        {
            headers.append(name.clone(), value);
        }
    }
    if status == StatusCode::NO_CONTENT {
        headers.remove(header::CONTENT_LENGTH);
    }
    let bodiless = *method == Method::HEAD
        || status == StatusCode::NOT_MODIFIED
        || status == StatusCode::NO_CONTENT;
    Ok((headers, if bodiless { Some(0) } else { seen.length }))
}

/// What the fields say about framing and the connection.
#[derive(Default)]
struct Seen {
    length: Option<u64>,
    chunked: bool,
    connection: Option<Vec<HeaderValue>>,
    close: bool,
    keep_alive: bool,
    idle_timeout: Option<u32>,
    upgrade: Option<HeaderValue>,
}

impl Seen {
    /// Whether the field passes on to the client.
    fn note(&mut self, name: &HeaderName, value: &HeaderValue) -> Result<bool, &'static str> {
        if *name == header::CONTENT_LENGTH {
            let length = content_length(value.as_bytes())
                .ok_or("its answer's Content-Length is malformed")?;
            match self.length.replace(length) {
                None => return Ok(true),
                Some(before) if before == length => return Ok(false),
                Some(_) => return Err("its answer has two different Content-Length fields"),
            }
        }
        if *name == header::TRANSFER_ENCODING {
            if self.chunked || !value.as_bytes().eq_ignore_ascii_case(b"chunked") {
                return Err("its answer has a Transfer-Encoding other than chunked");
            }
            self.chunked = true;
        } else if *name == header::CONNECTION {
            self.close |= headers::has_token(value, "close");
            self.keep_alive |= headers::has_token(value, "keep-alive");
            if headers::names_fields(value) {
                self.connection.get_or_insert_default().push(value.clone());
            }
        } else if *name == header::UPGRADE {
            self.upgrade = Some(value.clone());
        } else if *name == headers::KEEP_ALIVE {
            self.idle_timeout = keep_alive_timeout(value);
        }
        Ok(!headers::is_hop_by_hop(name))
    }
}

fn finish(
    status: StatusCode,
    version_11: bool,
    headers: HeaderMap,
    seen: Seen,
    method: &Method,
) -> Result<AnswerHead, &'static str> {
    if seen.chunked && seen.length.is_some() {
        return Err("its answer has both Content-Length and Transfer-Encoding");
    }
    if seen.chunked && !version_11 {
        return Err("its answer has a Transfer-Encoding in HTTP/1.0");
    }
    let mut keep_alive = !seen.close && (version_11 || seen.keep_alive);
    // Some apps send a body to HEAD all the same, and it may come late: it must not be the answer to who asks next.
    keep_alive &= *method != Method::HEAD;
    if status == StatusCode::NOT_MODIFIED {
        // So may what a 304 announces.
        keep_alive &= !seen.chunked && seen.length.unwrap_or(0) == 0;
    }
    let bodiless = *method == Method::HEAD || status == StatusCode::NOT_MODIFIED;
    let framing = if bodiless {
        Framing::Length(0)
    } else if status.is_informational() || status == StatusCode::NO_CONTENT {
        // Such an answer has no body. One that announces bytes all the same is not trusted with another request.
        keep_alive &= !seen.chunked && seen.length.unwrap_or(0) == 0;
        Framing::Length(0)
    } else if seen.chunked {
        Framing::Chunked
    } else if let Some(length) = seen.length {
        Framing::Length(length)
    } else {
        keep_alive = false;
        Framing::UntilClose
    };
    let upgrade = seen
        .upgrade
        .filter(|_| status == StatusCode::SWITCHING_PROTOCOLS);
    let mut head = AnswerHead {
        status,
        headers,
        framing,
        keep_alive,
        idle_timeout: seen.idle_timeout,
        upgrade,
    };
    if status.is_informational() || status == StatusCode::NO_CONTENT {
        head.headers.remove(header::CONTENT_LENGTH);
    }
    Ok(head)
}

/// Digits only: `+5`, `5,5` and an empty value are not lengths.
fn content_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 19 {
        return None;
    }
    value.iter().try_fold(0u64, |sum, digit| {
        digit
            .is_ascii_digit()
            .then(|| sum * 10 + u64::from(digit - b'0'))
    })
}

fn keep_alive_timeout(value: &HeaderValue) -> Option<u32> {
    let parameters = value.to_str().ok()?.split(',');
    parameters
        .filter_map(|parameter| parameter.trim().strip_prefix("timeout="))
        .find_map(|seconds| seconds.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Result<Option<AnswerHead>, &'static str> {
        parse(&mut BytesMut::from(text), &Method::GET)
    }

    #[test]
    fn f5_framing_follows_the_head() {
        for (text, framing, keep_alive) in [
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
                Framing::Length(5),
                true,
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
                Framing::Length(5),
                true,
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n",
                Framing::Chunked,
                true,
            ),
            (
                "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\n",
                Framing::Length(5),
                false,
            ),
            (
                "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n",
                Framing::Length(5),
                false,
            ),
            (
                "HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 5\r\n\r\n",
                Framing::Length(5),
                true,
            ),
            ("HTTP/1.1 200 OK\r\n\r\n", Framing::UntilClose, false),
            ("HTTP/1.1 204 No Content\r\n\r\n", Framing::Length(0), true),
            (
                "HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\n",
                Framing::Length(0),
                false,
            ),
            (
                "HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n",
                Framing::Length(0),
                false,
            ),
        ] {
            let found = head(text).unwrap().unwrap();
            assert_eq!(
                (found.framing, found.keep_alive),
                (framing, keep_alive),
                "{text}"
            );
        }
        assert!(head("HTTP/1.1 200 OK\r\nContent-Le").unwrap().is_none());
    }

    #[test]
    fn f5_ambiguous_answers_are_refused() {
        for text in [
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\n",
            "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n",
            "HTTP/2 200 OK\r\n\r\n",
            "nonsense\r\n\r\n",
        ] {
            assert!(head(text).is_err(), "{text}");
        }
        let large = format!("HTTP/1.1 200 OK\r\nX: {}", "a".repeat(70_000));
        assert!(head(&large).is_err());
    }

    #[test]
    fn f5_hop_by_hop_fields_stay_on_their_hop() {
        let found = head(
            "HTTP/1.1 200 OK\r\nConnection: X-Own, close\r\nX-Own: 1\r\nKeep-Alive: timeout=5, max=9\r\nX-App: 2\r\n\r\n",
        );
        let found = found.unwrap().unwrap();
        assert_eq!(
            found
                .headers
                .keys()
                .map(|name| name.as_str())
                .collect::<Vec<_>>(),
            ["x-app"]
        );
        assert_eq!(found.idle_timeout, Some(5));
    }

    proptest::proptest! {
        /// Whatever an upstream sends: an answer, more bytes wanted, or an error, and the buffer loses only a whole head.
        #[test]
        fn f5_no_bytes_bring_the_parser_down(bytes in proptest::collection::vec(0u8.., 0..200), tail in "[ -~\r\n]{0,200}") {
            for start in [&b""[..], b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: "] {
                let mut buffer = BytesMut::from([start, &bytes, tail.as_bytes()].concat().as_slice());
                let length = buffer.len();
                if let Ok(None) = parse(&mut buffer, &Method::GET) {
                    proptest::prop_assert_eq!(buffer.len(), length);
                }
            }
        }
    }
}
