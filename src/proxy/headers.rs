//! Header fields: which stay on their hop, which a stranger may not set, and how a request's head is written upstream.
use bytes::{BufMut, BytesMut};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

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
fn is_ours_to_say(name: &str) -> bool {
    let bytes = name.as_bytes();
    let same = |other: &str| {
        bytes.len() == other.len()
            && bytes
                .iter()
                .zip(other.as_bytes())
                .all(|(a, b)| a == b || (*a == b'_' && *b == b'-'))
    };
    match bytes.first() {
        Some(b'x') => {
            same("x-request-id")
                || same("x-real-ip")
                || (bytes.len() > 12 && {
                    bytes[..12]
                        .iter()
                        .zip(b"x-forwarded-")
                        .all(|(a, b)| a == b || (*a == b'_' && *b == b'-'))
                })
        }
        Some(b'f') => same("forwarded"),
        Some(b'p') => same("proxy"),
        Some(b'h') => same("host"),
        Some(b'c') => same("content-length"),
        Some(b't') => name == "transfer_encoding",
        _ => false,
    }
}

pub(super) fn may_be_trailer(name: &HeaderName) -> bool {
    // Framing, routing and who asks are not a trailer's business (RFC 9110, 6.5.1).
    !is_hop_by_hop(name) && !is_ours_to_say(name.as_str()) && *name != header::TRAILER
}

/// Whether a comma-separated field names this token.
pub(super) fn has_token(value: &HeaderValue, token: &str) -> bool {
    value
        .as_bytes()
        .split(|byte| *byte == b',')
        .any(|part| part.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
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
    pub(super) host: &'a str,
    pub(super) https: bool,
    pub(super) client: &'a str,
    pub(super) client_is_v6: bool,
    pub(super) request_id: &'a HeaderValue,
    /// The protocol asked for, e.g. `websocket`.
    pub(super) upgrade: Option<&'a HeaderValue>,
    pub(super) length: Option<u64>,
    pub(super) chunked: bool,
    pub(super) expects_continue: bool,
    /// The client said that it can take trailers.
    pub(super) takes_trailers: bool,
}

/// The head as the target gets it.
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
        if *name == header::COOKIE {
            cookies += 1;
            continue;
        }
        let skipped = *name == header::EXPECT
            || is_hop_by_hop(name)
            || is_ours_to_say(name.as_str())
            || named
                .iter()
                .any(|named| named.eq_ignore_ascii_case(name.as_str().as_bytes()));
        if !skipped {
            write_field(out, name.as_str(), value.as_bytes());
        }
    }
    if cookies > 0 {
        // HTTP/2 may cut cookies into crumbs; HTTP/1.1 knows one field (RFC 9113, 8.2.3).
        let crumbs: Vec<&[u8]> = fields
            .get_all(header::COOKIE)
            .iter()
            .map(HeaderValue::as_bytes)
            .collect();
        write_field(out, "cookie", &crumbs.join(&b"; "[..]));
    }
    write_ours(out, facts);
}

fn write_ours(out: &mut BytesMut, facts: &Facts<'_>) {
    let proto = if facts.https { "https" } else { "http" };
    let (open, close) = if facts.client_is_v6 {
        ("\"[", "]\"")
    } else {
        ("", "")
    };
    let parts = [
        "x-forwarded-for: ",
        facts.client,
        "\r\nx-real-ip: ",
        facts.client,
        "\r\nx-forwarded-proto: ",
        proto,
        "\r\nx-forwarded-host: ",
        facts.host,
        "\r\nforwarded: for=",
        open,
        facts.client,
        close,
        ";proto=",
        proto,
        ";host=\"",
        facts.host,
        "\"\r\n",
    ];
    for part in parts {
        out.put_slice(part.as_bytes());
    }
    write_field(out, "x-request-id", facts.request_id.as_bytes());
    if facts.takes_trailers {
        out.put_slice(b"te: trailers\r\n");
        if facts.upgrade.is_none() {
            out.put_slice(b"connection: te\r\n");
        }
    }
    if let Some(protocol) = facts.upgrade {
        write_field(out, "connection", b"upgrade");
        write_field(out, "upgrade", protocol.as_bytes());
    }
    if facts.chunked {
        out.put_slice(b"transfer-encoding: chunked\r\n");
    } else if let Some(length) = facts.length {
        write_field(out, "content-length", length.to_string().as_bytes());
    }
    if facts.expects_continue {
        out.put_slice(b"expect: 100-continue\r\n");
    }
    out.put_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(fields: &[(&'static str, &'static str)]) -> String {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(*name, HeaderValue::from_static(value));
        }
        let facts = Facts {
            method: "GET",
            target: "/a?b",
            host: "tasks.test",
            https: true,
            client: "203.0.113.9",
            client_is_v6: false,
            request_id: &HeaderValue::from_static("id1"),
            upgrade: None,
            length: None,
            chunked: false,
            expects_continue: false,
            takes_trailers: false,
        };
        let mut out = BytesMut::new();
        write_head(&mut out, &facts, &map);
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
}
