//! Compression of answers for clients that take it: which, and how their heads change.
//!
//! Only what fits into memory is compressed, and of what says no length only what is there as soon as its head: never a
//! stream, server-sent events, gRPC. A strong tag becomes a weak one, as the bytes are others; a client that shows it again is understood.
//! What mixes secrets with a stranger's words may tell them by its length (BREACH): unless the policy says otherwise,
//! nothing is compressed that sets a cookie, or that was asked for with a cookie or credentials and is not `public`. Our own
//! cookie (`sticky`) tells nobody from another; a password that the edge asked for does, as any other.
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use tokio::time::timeout;

use crate::base::policies::{Coding, Compress};
use crate::proxy::body::{Broken, EdgeBody};
use crate::proxy::compressor::Compressed;
use crate::proxy::content_coding::{self, ContentCoding, Taken};
use crate::proxy::error::EdgeError;
use crate::proxy::exchange::Exchange;
use crate::proxy::headers::has_token;
use crate::proxy::sticky;

/// Longer answers go as they are.
const MOST: u64 = 1024 * 1024;
/// How long an answer may take from its head to its end; a slower one goes as it is.
const PATIENCE: Duration = Duration::from_millis(250);
/// The same where it says no length, as many frameworks do for pages that are whole: what lasts longer is a stream, and
/// its client has waited no longer for its beginning.
const AT_ONCE: Duration = Duration::from_millis(20);
/// What is known to gain by it, beside `text/*`, `*+json` and `*+xml`.
const TYPES: [&str; 11] = [
    "application/json",
    "application/javascript",
    "application/x-javascript",
    "application/xml",
    "application/wasm",
    "application/graphql-response",
    "application/vnd.ms-fontobject",
    "font/ttf",
    "font/otf",
    "image/bmp",
    "image/x-icon",
];
static DIGESTS: [HeaderName; 4] = [
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-md5"),
];

/// The policy of a route.
#[derive(Debug)]
pub(in crate::proxy) struct Compression {
    codings: Vec<ContentCoding>,
    types: Vec<String>,
    least: u64,
    with_cookies: bool,
}

impl Compression {
    pub(super) fn new(from: Compress) -> Compression {
        let coding = |coding: &Coding| match coding {
            Coding::Zstd => ContentCoding::Zstd,
            Coding::Br => ContentCoding::Brotli,
            Coding::Gzip => ContentCoding::Gzip,
        };
        Compression {
            codings: from.codings.iter().map(coding).collect(),
            types: from.types,
            least: u64::from(from.min_bytes),
            with_cookies: from.with_cookies,
        }
    }

    fn covers(&self, content_type: &HeaderValue) -> bool {
        let Ok(text) = content_type.to_str() else {
            return false;
        };
        let name = text.split(';').next().unwrap_or_default();
        let name = name.trim().to_ascii_lowercase();
        // Streams by nature, whatever their length says.
        if name == "text/event-stream" || name.starts_with("application/grpc") {
            return false;
        }
        if self.types.is_empty() {
            return name.starts_with("text/")
                || name.ends_with("+json")
                || name.ends_with("+xml")
                || TYPES.contains(&name.as_str());
        }
        self.types
            .iter()
            .any(|wanted| match wanted.strip_suffix('*') {
                Some(kind) => name.starts_with(kind),
                None => name == *wanted,
            })
    }
}

/// What a request says that counts for the compression of its answer.
pub(in crate::proxy) struct Asked {
    rules: Arc<Compression>,
    taken: Taken,
    /// The whole of a content, not a part of it.
    wants_whole: bool,
    /// The head alone, which is the one that the whole would have.
    head_only: bool,
    has_credentials: bool,
    /// Tags of what the client has.
    known: Vec<HeaderValue>,
}

#[derive(Debug, PartialEq, Eq)]
enum Decision {
    /// None of our business.
    Leave,
    /// It could have been compressed, for another client or at another time.
    AsItIs,
    Compress(ContentCoding),
}

impl Asked {
    /// Looks at a request, and lets an app that compares tags byte by byte know those again that we made weak.
    pub(in crate::proxy) fn of(rules: &Arc<Compression>, parts: &mut Parts) -> Asked {
        let headers = &parts.headers;
        let asked = Asked {
            rules: rules.clone(),
            taken: Taken::of(headers),
            wants_whole: !headers.contains_key(header::RANGE) && !forbids_change(headers),
            head_only: parts.method == Method::HEAD,
            has_credentials: sticky::has_other_cookies(headers)
                || headers.contains_key(header::AUTHORIZATION),
            known: headers
                .get_all(header::IF_NONE_MATCH)
                .iter()
                .cloned()
                .collect(),
        };
        for known in &asked.known {
            let strong: Vec<_> = tags(known.as_bytes())
                .filter_map(|tag| tag.strip_prefix(b"W/"))
                .collect();
            if let Ok(also) = HeaderValue::from_bytes(&strong.join(&b", "[..]))
                && !strong.is_empty()
            {
                parts.headers.append(header::IF_NONE_MATCH, also);
            }
        }
        asked
    }

    fn decide(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        length: Option<u64>,
        is_public: bool,
    ) -> Decision {
        let is_whole = matches!(status.as_u16(), 200..=203 | 403 | 404 | 410);
        let is_plain = headers
            .get_all(header::CONTENT_ENCODING)
            .iter()
            .all(|value| value.as_bytes().eq_ignore_ascii_case(b"identity"));
        let fits = length.is_none_or(|length| (self.rules.least..=MOST).contains(&length));
        let may = is_whole
            && is_plain
            && fits
            && !headers.contains_key(header::CONTENT_RANGE)
            && !headers.contains_key(header::TRAILER)
            && !forbids_change(headers)
            // They are of the bytes as they are.
            && !DIGESTS.iter().any(|digest| headers.contains_key(digest));
        let covered = headers
            .get(header::CONTENT_TYPE)
            .is_some_and(|kind| self.rules.covers(kind));
        if !may || !covered {
            return Decision::Leave;
        }
        let may_tell = sticky::sets_other_cookies(headers)
            || self.has_credentials && !is_public && !says(headers, "public");
        if !self.wants_whole || may_tell && !self.rules.with_cookies {
            return Decision::AsItIs;
        }
        self.taken
            .best(self.rules.codings.iter().copied())
            .map_or(Decision::AsItIs, Decision::Compress)
    }

    /// The answer, compressed where that is right. `is_public`: everybody gets the same.
    ///
    /// # Errors
    /// Where the answer breaks off before its head was sent on.
    pub(in crate::proxy) async fn apply(
        self,
        exchange: &mut Exchange,
        mut response: Response<EdgeBody>,
        is_public: bool,
    ) -> Result<Response<EdgeBody>, EdgeError> {
        if response.status() == StatusCode::NOT_MODIFIED {
            self.recall(response.headers_mut());
            return Ok(response);
        }
        let length = match self.head_only {
            true => told_length(response.headers()),
            false => http_body::Body::size_hint(response.body()).exact(),
        };
        let decision = self.decide(response.status(), response.headers(), length, is_public);
        if decision != Decision::Leave {
            content_coding::varies(response.headers_mut());
        }
        let Decision::Compress(coding) = decision else {
            return Ok(response);
        };
        if self.head_only {
            // Without a length the whole may be a stream.
            if length.is_some() {
                become_coded(response.headers_mut(), coding);
                // How long it would be is known by compressing it alone.
                response.headers_mut().remove(header::CONTENT_LENGTH);
            }
            return Ok(response);
        }
        let (most, patience) = match length {
            Some(length) => (length as usize, PATIENCE),
            None => (MOST as usize, AT_ONCE),
        };
        let shared = exchange.client.worker.shared.clone();
        let Some(mut room) = shared.compressor.room(most) else {
            return Ok(response);
        };
        let mut read = BytesMut::with_capacity(length.map_or(0, |_| most));
        let gathering = response.body_mut().gather(exchange, &mut read, most);
        let is_whole = match timeout(patience, gathering).await {
            Ok(gathered) => gathered.map_err(broken)?,
            Err(_late) => false,
        };
        if length.is_none()
            && let Some(enough) = shared.compressor.room(read.len())
        {
            room = enough;
        }
        if !is_whole {
            let beginning = Compressed::new(read.freeze(), room);
            return Ok(response.map(|body| body.begun(beginning)));
        }
        let whole: Bytes = read.freeze();
        if (whole.len() as u64) < self.rules.least {
            return Ok(response.map(|_| EdgeBody::foreign(Compressed::new(whole, room))));
        }
        let Some(compressed) = shared
            .compressor
            .compress(whole.clone(), &room, coding)
            .await
        else {
            return Ok(response.map(|_| EdgeBody::foreign(Compressed::new(whole, room))));
        };
        let headers = response.headers_mut();
        become_coded(headers, coding);
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(compressed.len()));
        Ok(response.map(|_| EdgeBody::foreign(Compressed::new(compressed, room))))
    }

    /// The tag of what the client has, as it has it.
    fn recall(&self, headers: &mut HeaderMap) {
        content_coding::varies(headers);
        let Some(weak) = headers.get(header::ETAG).and_then(weak) else {
            return;
        };
        let known = self.known.iter().flat_map(|known| tags(known.as_bytes()));
        if known.into_iter().any(|tag| tag == weak.as_bytes()) {
            headers.insert(header::ETAG, weak);
        }
    }
}

/// What the head of a compressed answer says, but for its length.
fn become_coded(headers: &mut HeaderMap, coding: ContentCoding) {
    headers.insert(header::CONTENT_ENCODING, coding.value());
    headers.remove(header::ACCEPT_RANGES);
    if let Some(weak) = headers.get(header::ETAG).and_then(weak) {
        headers.insert(header::ETAG, weak);
    }
}

/// The length that a head without a body tells of it.
fn told_length(headers: &HeaderMap) -> Option<u64> {
    let text = headers.get(header::CONTENT_LENGTH)?.to_str().ok()?;
    text.parse().ok()
}

fn broken(broken: Broken) -> EdgeError {
    match broken {
        Broken::CutShort => EdgeError::UpstreamClosed,
        Broken::Malformed(what) => EdgeError::UpstreamMalformed(what),
        Broken::File => EdgeError::FileUnreadable,
        Broken::Client => EdgeError::BodyBroken,
        Broken::ClientSlow => EdgeError::BodyStalled,
        // No drain ends what is gathered.
        Broken::AtLimit | Broken::Panicked => EdgeError::Panicked,
    }
}

fn says(headers: &HeaderMap, directive: &str) -> bool {
    headers
        .get_all(header::CACHE_CONTROL)
        .iter()
        .any(|value| has_token(value, directive))
}

fn forbids_change(headers: &HeaderMap) -> bool {
    says(headers, "no-transform")
}

/// The weak form of a strong tag.
fn weak(tag: &HeaderValue) -> Option<HeaderValue> {
    let is_strong = tag.as_bytes().starts_with(b"\"");
    is_strong
        .then(|| HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat()).ok())
        .flatten()
}

/// The tags of a list, each as it is written; up to the first that is malformed.
fn tags(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = list;
    std::iter::from_fn(move || {
        while let [b' ' | b'\t' | b',', after @ ..] = rest {
            rest = after;
        }
        let opening = if rest.starts_with(b"W/") { 2 } else { 0 };
        if rest.get(opening) != Some(&b'"') {
            return None;
        }
        let inside = &rest[opening + 1..];
        let length = opening + 2 + memchr::memchr(b'"', inside)?;
        let (tag, after) = rest.split_at(length);
        rest = after;
        Some(tag)
    })
}

#[cfg(test)]
mod tests;
