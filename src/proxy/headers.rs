//! Header fields: which stay on their hop, which a stranger may not set, and how a request's head is written upstream.
use bytes::{BufMut, Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::error::EdgeError;
use super::origin::Origin;
use super::trace::Trace;

pub(super) static KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
static PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
static HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
pub(super) static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Fields that mean something only between two neighbours (RFC 9110, 7.6.1).
pub(super) fn is_hop_by_hop(name: &HeaderName) -> bool {
    *name == header::CONNECTION
        || *name == header::TRANSFER_ENCODING
        || *name == header::UPGRADE
        || *name == header::TE
        || *name == header::PROXY_AUTHENTICATE
        || *name == header::PROXY_AUTHORIZATION
        || *name == KEEP_ALIVE
        || *name == PROXY_CONNECTION
        || *name == HTTP2_SETTINGS
}

/// Fields that say who asks, and from where: only ours count. An app that reads `_` for `-` must not be fooled either.
///
/// Beside those that we write, the ones are taken out that other proxies write and apps believe.
fn is_ours_to_say(name: &str) -> bool {
    let bytes = name.as_bytes();
    let begins = |with: &str| {
        bytes.len() >= with.len()
            && bytes
                .iter()
                .zip(with.as_bytes())
                .all(|(a, b)| a == b || (*a == b'_' && *b == b'-'))
    };
    let same = |other: &str| bytes.len() == other.len() && begins(other);
    match bytes.first() {
        Some(b'x') => {
            same("x-request-id")
                || same("x-real-ip")
                || same("x-forwarded")
                || begins("x-forwarded-")
                || same("x-client-ip")
                || same("x-cluster-client-ip")
                || same("x-original-forwarded-for")
                || same("x-appengine-user-ip")
        }
        Some(b'f') => same("forwarded") || same("forwarded-for") || same("fastly-client-ip"),
        Some(b'p') => same("proxy"),
        Some(b'h') => same("host"),
        Some(b'c') => {
            same("content-length")
                || same("client-ip")
                || begins("cf-connecting-ip")
                || same("cf-pseudo-ipv4")
        }
        Some(b't') if same("true-client-ip") || same("traceparent") || same("tracestate") => true,
        Some(b't') => name == "transfer_encoding",
        _ => false,
    }
}

/// Fields that a head or trailers may have: as many as hyper takes over HTTP/1.
pub(super) const FIELDS: usize = 100;

/// How many fields these are, as HTTP/1.1 would have them: there cookies that HTTP/2 cut into crumbs are one.
pub(super) fn count(fields: &HeaderMap) -> usize {
    let crumbs = fields.get_all(header::COOKIE).iter().count();
    fields.len() - crumbs.saturating_sub(1)
}

/// How many bytes they have there.
pub(super) fn bytes(fields: &HeaderMap) -> usize {
    let of = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + 4;
    fields.iter().map(of).sum()
}

/// Whether the name is one that HTTP/1.1 can have: over HTTP/2 the type is made of names with quotes, too, which are no tokens
/// (RFC 9110, 5.6.2).
pub(super) fn is_http1_name(name: &HeaderName) -> bool {
    !name.as_str().contains('"')
}

pub(super) fn may_be_trailer(name: &HeaderName) -> bool {
    // Framing, routing and who asks are not a trailer's business (RFC 9110, 6.5.1).
    is_http1_name(name)
        && !is_hop_by_hop(name)
        && !is_ours_to_say(name.as_str())
        && *name != header::TRAILER
}

/// Takes out of a message's trailers what may not stand there.
pub(super) fn keep_trailers(trailers: &mut HeaderMap) {
    let refused: Vec<HeaderName> = trailers
        .keys()
        .filter(|name| !may_be_trailer(name))
        .cloned()
        .collect();
    for name in refused {
        trailers.remove(name);
    }
}

/// Whether a comma-separated field names this token.
pub(super) fn has_token(value: &HeaderValue, token: &str) -> bool {
    value
        .as_bytes()
        .split(|byte| *byte == b',')
        .any(|part| part.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

/// Whether a `Connection` field names any field beside those that never pass on anyway; `close` is an option of the
/// connection and no field's name (RFC 9110, 7.6.1).
pub(super) fn names_fields(connection: &HeaderValue) -> bool {
    connection
        .as_bytes()
        .split(|byte| *byte == b',')
        .any(|part| {
            let name = part.trim_ascii();
            let of_ours = ["close", "keep-alive", "upgrade", ""];
            !of_ours
                .iter()
                .any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
        })
}

/// The codings of a body as `Transfer-Encoding` names them, line by line: exactly one `chunked`, or none.
///
/// We take chunked off and put it on again. Another coding would be lost on the way and its body told as plain, and
/// where `chunked` is not the last nobody knows where the body ends (RFC 9112, 6.1 and 6.3).
pub(super) fn check_codings<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Result<(), EdgeError> {
    let (mut any, mut chunked, mut unknown) = (false, false, false);
    for line in lines {
        any = true;
        for coding in line.split(|byte| *byte == b',') {
            let coding = coding.trim_ascii();
            if chunked {
                return Err(EdgeError::BadRequest(
                    "chunked is not the last of its transfer codings",
                ));
            } else if coding.eq_ignore_ascii_case(b"chunked") {
                chunked = true;
            } else if HeaderName::from_bytes(coding).is_ok() {
                unknown = true;
            } else {
                return Err(EdgeError::BadRequest("its Transfer-Encoding is malformed"));
            }
        }
    }
    match (any, chunked, unknown) {
        (true, false, _) => Err(EdgeError::BadRequest(
            "chunked is not the last of its transfer codings",
        )),
        (true, true, true) => Err(EdgeError::CodingRefused),
        _ => Ok(()),
    }
}

/// Takes out the fields that `Connection` names as belonging to the hop.
pub(super) fn remove_named(headers: &mut HeaderMap, connection: &[HeaderValue]) {
    for value in connection {
        for part in value.as_bytes().split(|byte| *byte == b',') {
            if let Ok(name) = HeaderName::from_bytes(part.trim_ascii()) {
                headers.remove(&name);
            }
        }
    }
}

pub(super) fn write_field(out: &mut BytesMut, name: &str, value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    out.put_slice(name.as_bytes());
    out.put_slice(b": ");
    out.put_slice(value);
    out.put_slice(b"\r\n");
}

/// What the edge itself says about a request.
pub(super) struct Facts<'a> {
    pub(super) method: &'a str,
    pub(super) target: &'a str,
    /// What was taken off the target's path; empty for nothing.
    pub(super) prefix: &'a str,
    pub(super) host: &'a str,
    pub(super) origin: &'a Origin<'a>,
    pub(super) request_id: &'a HeaderValue,
    pub(super) trace: &'a Trace<'a>,
    /// The protocol asked for, e.g. `websocket`.
    pub(super) upgrade: Option<&'a HeaderValue>,
    pub(super) length: Option<u64>,
    pub(super) chunked: bool,
    pub(super) expects_continue: bool,
    /// The client said that it can take trailers.
    pub(super) takes_trailers: bool,
}

/// Takes the fields of a request's head, one after another.
pub(super) trait FieldSink {
    /// A field of the client's that passes.
    fn pass(&mut self, name: &HeaderName, value: &HeaderValue);
    /// A field that we say; its value in pieces.
    fn say(&mut self, name: &'static str, value: &[&[u8]]);
}

impl FieldSink for BytesMut {
    fn pass(&mut self, name: &HeaderName, value: &HeaderValue) {
        write_field(self, name.as_str(), value.as_bytes());
    }

    fn say(&mut self, name: &'static str, value: &[&[u8]]) {
        self.put_slice(name.as_bytes());
        self.put_slice(b": ");
        for part in value {
            self.put_slice(part);
        }
        self.put_slice(b"\r\n");
    }
}

impl FieldSink for HeaderMap {
    fn pass(&mut self, name: &HeaderName, value: &HeaderValue) {
        self.append(name.clone(), value.clone());
    }

    fn say(&mut self, name: &'static str, value: &[&[u8]]) {
        // All of it was in a head before, so that it may be in one again.
        if let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(value.concat())) {
            self.append(HeaderName::from_static(name), value);
        }
    }
}

/// The head as the target gets it over HTTP/1.1.
pub(super) fn write_head(out: &mut BytesMut, facts: &Facts<'_>, fields: &HeaderMap) {
    out.reserve(512 + facts.target.len());
    for part in [
        facts.method,
        " ",
        facts.target,
        " HTTP/1.1\r\nhost: ",
        facts.host,
        "\r\n",
    ] {
        out.put_slice(part.as_bytes());
    }
    each_passing(out, fields);
    each_of_ours(out, facts);
    if facts.takes_trailers && facts.upgrade.is_none() {
        out.put_slice(b"connection: te\r\n");
    }
    if let Some(protocol) = facts.upgrade {
        write_field(out, "connection", b"upgrade");
        write_field(out, "upgrade", protocol.as_bytes());
    }
    if facts.chunked {
        out.put_slice(b"transfer-encoding: chunked\r\n");
    }
    if facts.expects_continue {
        out.put_slice(b"expect: 100-continue\r\n");
    }
    out.put_slice(b"\r\n");
}

/// The client's fields that pass, whatever the target is spoken to with.
pub(super) fn each_passing(out: &mut impl FieldSink, fields: &HeaderMap) {
    let named: Vec<&[u8]> = fields
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(|name| name.trim_ascii())
        .filter(|name| {
            !name.is_empty()
                && !name.eq_ignore_ascii_case(b"close")
                && !name.eq_ignore_ascii_case(b"keep-alive")
        })
        .collect();
    let mut cookies = 0;
    for (name, value) in fields {
        let skipped = *name == header::EXPECT
            || is_hop_by_hop(name)
            || is_ours_to_say(name.as_str())
            || named
                .iter()
                .any(|named| named.eq_ignore_ascii_case(name.as_str().as_bytes()));
        if skipped {
            continue;
        }
        if *name == header::COOKIE {
            cookies += 1;
        } else {
            out.pass(name, value);
        }
    }
    if cookies > 0 {
        // HTTP/2 may cut cookies into crumbs; HTTP/1.1 knows one field (RFC 9113, 8.2.3).
        let crumbs: Vec<&[u8]> = fields
            .get_all(header::COOKIE)
            .iter()
            .map(HeaderValue::as_bytes)
            .collect();
        out.say("cookie", &[&crumbs.join(&b"; "[..])]);
    }
}

/// What we say of a request, whatever the target is spoken to with.
pub(super) fn each_of_ours(out: &mut impl FieldSink, facts: &Facts<'_>) {
    let origin = facts.origin;
    let (client, host) = (origin.client.as_bytes(), facts.host.as_bytes());
    let proto: &[u8] = if origin.https { b"https" } else { b"http" };
    let (open, close): (&[u8], &[u8]) = if origin.client_is_v6 {
        (b"\"[", b"]\"")
    } else {
        (b"", b"")
    };
    out.say("x-forwarded-for", &[client, origin.hops.as_bytes()]);
    out.say("x-real-ip", &[client]);
    out.say("x-forwarded-proto", &[proto]);
    out.say("x-forwarded-host", &[host]);
    out.say(
        "forwarded",
        &[
            b"for=",
            open,
            client,
            close,
            b";proto=",
            proto,
            b";host=\"",
            host,
            b"\"",
            origin.forwarded.as_bytes(),
        ],
    );
    out.say("x-request-id", &[facts.request_id.as_bytes()]);
    if !facts.prefix.is_empty() {
        out.say("x-forwarded-prefix", &[facts.prefix.as_bytes()]);
    }
    out.say("traceparent", &[facts.trace.parent()]);
    if let Some(state) = facts.trace.state() {
        out.say("tracestate", &[state]);
    }
    if facts.takes_trailers {
        out.say("te", &[b"trailers"]);
    }
    if let (Some(length), false) = (facts.length, facts.chunked) {
        out.say("content-length", &[length.to_string().as_bytes()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::origin::End;

    #[test]
    fn e3_cookies_in_crumbs_are_one_field() {
        let fields = |names: &[&'static str]| {
            let fields = names.iter().map(|name| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static("a=1"),
                )
            });
            count(&fields.collect())
        };
        assert_eq!(fields(&[]), 0);
        assert_eq!(fields(&["x", "x", "y"]), 3);
        assert_eq!(fields(&["cookie", "x", "cookie", "cookie"]), 2);
    }

    fn written(fields: &[(&'static str, &'static str)]) -> String {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(*name, HeaderValue::from_static(value));
        }
        head_of(&map)
    }

    fn head_of(map: &HeaderMap) -> String {
        let id = HeaderValue::from_static("id1");
        let facts = Facts {
            method: "GET",
            target: "/a?b",
            prefix: "",
            host: "tasks.test",
            origin: &Origin::peer(End {
                address: [203, 0, 113, 9].into(),
                text: "203.0.113.9",
                https: true,
                header: None,
            }),
            request_id: &id,
            trace: &Trace::of(map, &id, 7),
            upgrade: None,
            length: None,
            chunked: false,
            expects_continue: false,
            takes_trailers: false,
        };
        let mut out = BytesMut::new();
        write_head(&mut out, &facts, map);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn f5_a_strangers_word_about_itself_is_never_passed_on() {
        let head = written(&[
            ("x-forwarded-for", "6.6.6.6"),
            ("x_forwarded_for", "6.6.6.6"),
            ("x-forwarded_proto", "6.6.6.6"),
            ("x-forwarded-prefix", "6.6.6.6"),
            ("forwarded", "for=6.6.6.6"),
            ("x-real-ip", "6.6.6.6"),
            ("x-request-id", "6.6.6.6"),
            ("x_request_id", "6.6.6.6"),
            ("content_length", "6.6.6.6"),
            ("host", "6.6.6.6"),
            ("proxy", "http://6.6.6.6"),
            ("accept", "*/*"),
        ]);
        assert!(!head.contains("6.6.6.6"), "{head}");
        assert!(
            head.starts_with("GET /a?b HTTP/1.1\r\nhost: tasks.test\r\naccept: */*\r\n"),
            "{head}"
        );
        for ours in [
            "x-forwarded-for: 203.0.113.9\r\n",
            "x-forwarded-proto: https\r\n",
            "x-forwarded-host: tasks.test\r\n",
            "forwarded: for=203.0.113.9;proto=https;host=\"tasks.test\"\r\n",
            "x-request-id: id1\r\n",
        ] {
            assert_eq!(head.matches(ours).count(), 1, "{ours} in {head}");
        }
    }

    #[test]
    fn e3_what_other_proxies_say_of_the_client_is_a_strangers_word_here() {
        for name in [
            "true-client-ip",
            "True_Client_Ip",
            "cf-connecting-ip",
            "cf-connecting-ipv6",
            "cf-pseudo-ipv4",
            "x-client-ip",
            "x_client_ip",
            "x-cluster-client-ip",
            "x-original-forwarded-for",
            "x-appengine-user-ip",
            "x-forwarded",
            "forwarded-for",
            "fastly-client-ip",
            "client-ip",
        ] {
            let mut map = HeaderMap::new();
            map.insert(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_static("6.6.6.6"),
            );
            assert!(!head_of(&map).contains("6.6.6.6"), "{name}");
            map.clear();
            map.insert(
                HeaderName::from_bytes(format!("y{name}").as_bytes()).unwrap(),
                HeaderValue::from_static("6.6.6.6"),
            );
            assert!(head_of(&map).contains("6.6.6.6"), "y{name}");
        }
    }

    #[test]
    fn e3_connection_takes_none_of_our_fields_away() {
        let plain = written(&[("accept", "*/*")]);
        let named = written(&[
            ("accept", "*/*"),
            (
                "connection",
                "x-forwarded-for, X-Real-IP, x-forwarded-proto, x-forwarded-host",
            ),
            ("connection", "forwarded,x-request-id,host,content-length"),
        ]);
        assert_eq!(named, plain);
        let cookies = written(&[("cookie", "a=1"), ("connection", "cookie")]);
        assert!(!cookies.contains("a=1"), "{cookies}");
    }

    #[test]
    fn e3_one_coding_is_known_and_only_once() {
        let check = |lines: &[&'static str]| {
            check_codings(lines.iter().map(|line| line.as_bytes()))
                .map_err(|error| error.status().as_u16())
        };
        for (lines, judged) in [
            (&[][..], Ok(())),
            (&["chunked"], Ok(())),
            (&[" Chunked\t"], Ok(())),
            (&["gzip, chunked"], Err(501)),
            (&["identity", "chunked"], Err(501)),
            (&["gzip"], Err(400)),
            (&["chunked, chunked"], Err(400)),
            (&["chunked", "chunked"], Err(400)),
            (&["chunked, gzip"], Err(400)),
            (&["chunked", "identity"], Err(400)),
            (&["chunked,"], Err(400)),
            (&[", chunked"], Err(400)),
            (&[""], Err(400)),
            (&["x chunked"], Err(400)),
            (&["chunked;q=1"], Err(400)),
            (&["\u{b}chunked"], Err(400)),
            (&["xchunked"], Err(400)),
        ] {
            assert_eq!(check(lines), judged, "{lines:?}");
        }
    }

    #[test]
    fn f5_hop_by_hop_fields_and_those_named_by_connection_are_left_out() {
        let head = written(&[
            ("connection", "keep-alive, X-Secret"),
            ("x-secret", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAMAAABkAAQCAAAAAAIAAAAA"),
            ("proxy-connection", "close"),
            ("transfer-encoding", "chunked"),
        ]);
        for left_out in [
            "secret",
            "keep-alive",
            "te:",
            "upgrade",
            "settings",
            "proxy-connection",
            "transfer-encoding",
        ] {
            assert!(!head.contains(left_out), "{left_out} in {head}");
        }
    }

    #[test]
    fn f5_cookie_crumbs_become_one_field() {
        assert!(written(&[("cookie", "a=1"), ("cookie", "b=2")]).contains("cookie: a=1; b=2\r\n"));
    }

    /// As h2 takes it.
    #[test]
    fn e3_a_name_with_a_quote_is_left_out_of_trailers() {
        let mut trailers = HeaderMap::new();
        for name in ["con\"ent-length", "x-sum"] {
            let name = HeaderName::from_lowercase(name.as_bytes()).unwrap();
            trailers.insert(name, HeaderValue::from_static("9"));
        }
        keep_trailers(&mut trailers);
        let kept: Vec<_> = trailers.keys().map(HeaderName::as_str).collect();
        assert_eq!(kept, ["x-sum"]);
    }
}
