//! Extended CONNECT: a WebSocket asked for over HTTP/2 (RFC 8441), told to the app as it knows it from HTTP/1.1.
//!
//! To the app it is a GET that asks for an upgrade, with a key of ours; to the client a stream that is answered with 200
//! and carries the same frames. What the app does not prove with that key is no WebSocket.
use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use hyper::ext::Protocol;
use hyper::upgrade::OnUpgrade;

use super::body::EdgeBody;
use super::error::EdgeError;
use super::request_id::RequestIds;

/// What a server appends to the key before it hashes it (RFC 6455, 1.3).
const MAGIC: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

pub(super) static WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");

/// A WebSocket that a client asked for over HTTP/2.
pub(super) struct Handshake {
    key: HeaderValue,
    stream: OnUpgrade,
}

/// Whether a CONNECT may go on: we are no proxy to elsewhere, and of the protocols within only WebSocket is served.
pub(super) fn check(parts: &Parts) -> Result<(), EdgeError> {
    match parts.extensions.get::<Protocol>().map(Protocol::as_str) {
        Some("websocket") => Ok(()),
        Some(_) => Err(EdgeError::ProtocolRefused),
        None => Err(EdgeError::MethodRefused),
    }
}

impl Handshake {
    /// Makes of a CONNECT that was let through the request that the app is asked; any other stays what it is.
    pub(super) fn translate(
        parts: &mut Parts,
        ids: &RequestIds,
    ) -> Result<Option<Handshake>, EdgeError> {
        if parts.method != Method::CONNECT {
            return Ok(None);
        }
        let stream = parts.extensions.remove::<OnUpgrade>();
        let stream = stream.ok_or(EdgeError::MethodRefused)?;
        // It has to be new, not secret: it shows that the app read it.
        let random = [ids.random(), ids.random()].map(u64::to_ne_bytes).concat();
        let key =
            HeaderValue::try_from(STANDARD.encode(random)).map_err(|_| EdgeError::MethodRefused)?;
        parts.method = Method::GET;
        let fields = &mut parts.headers;
        fields.insert(header::SEC_WEBSOCKET_KEY, key.clone());
        fields
            .entry(header::SEC_WEBSOCKET_VERSION)
            .or_insert(HeaderValue::from_static("13"));
        Ok(Some(Handshake { key, stream }))
    }

    /// Turns the app's 101 into the client's 200, and says where the frames of the client will come from; or what is wrong.
    pub(super) fn accept(
        &self,
        protocol: &HeaderValue,
        response: &mut Response<EdgeBody>,
    ) -> Result<OnUpgrade, &'static str> {
        let accept = response.headers_mut().remove(header::SEC_WEBSOCKET_ACCEPT);
        let proven = protocol.as_bytes().eq_ignore_ascii_case(b"websocket")
            && accept.is_some_and(|accept| accept.as_bytes() == proof(&self.key).as_bytes());
        if !proven {
            return Err("it changes the protocol without proof that it speaks WebSocket");
        }
        *response.status_mut() = StatusCode::OK;
        response.headers_mut().remove(header::CONTENT_LENGTH);
        Ok(self.stream.clone())
    }
}

fn proof(key: &HeaderValue) -> String {
    let text = [key.as_bytes(), MAGIC].concat();
    STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &text))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 6455, 1.3.
    #[test]
    fn e2_an_app_proves_a_websocket_with_the_key_and_nothing_else() {
        let key = HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(proof(&key), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        let other = HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZA==");
        assert_ne!(proof(&key), proof(&other));
    }
}
