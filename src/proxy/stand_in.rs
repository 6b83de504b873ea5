//! Stand-in: what hyper is given in place of a head that is refused, so that it asks us for an answer to it.
use http::Method;
use http::request::Parts;

use super::grammar::fields_of;

/// Bytes of an Accept field that are taken over.
const ACCEPT: usize = 1_024;

/// A request with a line that no client's head goes by with (`head_guard`); it keeps how the client wants to be answered,
/// and the connection ends with it.
pub(super) fn for_head(refused: &[u8]) -> Vec<u8> {
    let method = match refused.starts_with(b"HEAD ") {
        true => "HEAD",
        false => "GET",
    };
    let mut head = format!("{method} * HTTP/1.1\r\nconnection: close\r\n").into_bytes();
    let accept = fields_of(refused).find(|(name, value)| {
        name.eq_ignore_ascii_case(b"accept")
            && value.len() < ACCEPT
            && value.iter().all(|byte| matches!(byte, b' '..=b'~'))
    });
    if let Some((_, value)) = accept {
        head.extend_from_slice(b"accept: ");
        head.extend_from_slice(value);
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}

/// Whether a request is [`for_head`]'s.
pub(super) fn stands_in(parts: &Parts) -> bool {
    parts.uri.path() == "*" && parts.method != Method::OPTIONS
}
