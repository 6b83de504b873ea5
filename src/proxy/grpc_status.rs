//! gRPC status: an error of the edge in the words of a gRPC client, who reads no status of HTTP and no page.
//!
//! An answer of trailers only (gRPC over HTTP/2, "Responses"): `200`, the status and the message in its head.
use http::Response;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::body::EdgeBody;
use super::error::EdgeError;

const UNAVAILABLE: u16 = 14;

static GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
static GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
/// What of a message is escaped, beside what is not ASCII.
const ESCAPED: &AsciiSet = &CONTROLS.add(b'%');

/// Whether a request is a gRPC call.
pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|value| {
        let kind = value.as_bytes();
        let rest = kind.strip_prefix(b"application/grpc");
        // `application/grpc-web` is another protocol, whose clients read HTTP.
        matches!(rest.map(<[u8]>::first), Some(None | Some(b'+' | b';')))
    })
}

pub(super) fn render(error: &EdgeError) -> Response<EdgeBody> {
    let mut response = Response::new(EdgeBody::empty());
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    headers.insert(
        GRPC_STATUS.clone(),
        HeaderValue::from(code(error.status().as_u16())),
    );
    let message = utf8_percent_encode(&error.sentence(), ESCAPED).to_string();
    if let Ok(message) = HeaderValue::try_from(message) {
        headers.insert(GRPC_MESSAGE.clone(), message);
    }
    response
}

/// The trailers of a call that is ended because its app goes away: its client is to try again.
pub(super) fn drained() -> HeaderMap {
    let message = HeaderValue::from_static(
        "The app is being replaced and the call outlasted its drain; call again.",
    );
    let mut trailers = HeaderMap::with_capacity(2);
    trailers.insert(GRPC_STATUS.clone(), HeaderValue::from(UNAVAILABLE));
    trailers.insert(GRPC_MESSAGE.clone(), message);
    trailers
}

/// The gRPC status that stands for one of HTTP.
///
/// As gRPC's own table for clients has it, but where that only knows UNKNOWN, or where we know better what is wrong.
fn code(status: u16) -> u16 {
    const DEADLINE_EXCEEDED: u16 = 4;
    const PERMISSION_DENIED: u16 = 7;
    const RESOURCE_EXHAUSTED: u16 = 8;
    const UNIMPLEMENTED: u16 = 12;
    const INTERNAL: u16 = 13;
    const UNAUTHENTICATED: u16 = 16;
    match status {
        502 | 503 => UNAVAILABLE,
        408 | 504 => DEADLINE_EXCEEDED,
        413 | 429 | 431 => RESOURCE_EXHAUSTED,
        404 | 501 => UNIMPLEMENTED,
        401 => UNAUTHENTICATED,
        403 => PERMISSION_DENIED,
        _ => INTERNAL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e2_a_grpc_call_is_known_by_its_content_type() {
        for (kind, is) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;charset=utf-8", true),
            ("application/grpc-web", false),
            ("application/grpcx", false),
            ("application/json", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
            assert_eq!(is_grpc(&headers), is, "{kind}");
        }
        assert!(!is_grpc(&HeaderMap::new()));
    }

    #[test]
    fn e2_errors_are_told_in_the_words_of_grpc() {
        for (error, status) in [
            (EdgeError::UpstreamClosed, "14"),
            (EdgeError::HeldFull, "14"),
            (EdgeError::UpstreamSilent(std::time::Duration::ZERO), "4"),
            (EdgeError::BodyStalled, "4"),
            (EdgeError::TooManyStreams, "8"),
            (EdgeError::BodyTooLarge(1), "8"),
            (EdgeError::NoRoute, "12"),
            (EdgeError::UpgradeUnserved, "12"),
            (EdgeError::Panicked, "13"),
        ] {
            let answer = render(&error);
            assert_eq!(answer.status(), 200);
            assert_eq!(answer.headers()["grpc-status"], status, "{error:?}");
            assert!(!answer.headers()["grpc-message"].is_empty());
        }
    }
}
