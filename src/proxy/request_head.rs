//! Request head: what the target is told of a request, and which other protocol a client may ask for.
use bytes::BytesMut;
use http::header::{self, HeaderValue};
use http::request::Parts;
use http::uri::Scheme;
use http::{Method, Request, Uri, Version};

use super::forward::Inquiry;
use super::headers::{self, Facts};
use super::upstream::{BodySource, Coding};

/// The head as it is written to a target that speaks HTTP/1.1.
pub(super) fn head_of(
    inquiry: &Inquiry<'_>,
    body: &BodySource,
    upgrade: Option<&HeaderValue>,
) -> BytesMut {
    let mut head = BytesMut::new();
    headers::write_head(
        &mut head,
        &facts(inquiry, body, upgrade),
        &inquiry.parts.headers,
    );
    head
}

/// The head for a target that speaks HTTP/2; `None` where the client's target cannot be told in it.
///
/// Says `http`, as the connection to the target is; what the client came by stands in `x-forwarded-proto`. A client that
/// expects `100 Continue` gets it from us, as soon as the target takes of the body.
pub(super) fn request_of(inquiry: &Inquiry<'_>, body: &BodySource) -> Option<Request<()>> {
    let facts = facts(inquiry, body, None);
    let uri = Uri::builder()
        .scheme(Scheme::HTTP)
        .authority(facts.host)
        .path_and_query(facts.target)
        .build()
        .ok()?;
    let mut request = Request::new(());
    *request.method_mut() = inquiry.parts.method.clone();
    *request.uri_mut() = uri;
    *request.version_mut() = Version::HTTP_2;
    request
        .headers_mut()
        .reserve(inquiry.parts.headers.len() + 8);
    headers::each_passing(request.headers_mut(), &inquiry.parts.headers);
    headers::each_of_ours(request.headers_mut(), &facts);
    Some(request)
}

fn facts<'a>(
    inquiry: &Inquiry<'a>,
    body: &BodySource,
    upgrade: Option<&'a HeaderValue>,
) -> Facts<'a> {
    let parts = inquiry.parts;
    // A method that usually has a body says that this time there is none.
    let expects_length = parts.method == Method::POST
        || parts.method == Method::PUT
        || parts.method == Method::PATCH;
    Facts {
        method: parts.method.as_str(),
        target: match inquiry.target {
            Some(stripped) => stripped,
            None => parts.uri.path_and_query().map_or("/", |path| path.as_str()),
        },
        prefix: inquiry.prefix,
        host: &inquiry.host.written,
        origin: inquiry.origin,
        request_id: inquiry.id,
        trace: inquiry.trace,
        upgrade,
        length: match body.coding() {
            Coding::None => expects_length.then_some(0),
            Coding::Length => body.length(),
            Coding::Chunked => None,
        },
        chunked: body.coding() == Coding::Chunked,
        expects_continue: body.expects_continue(),
        takes_trailers: parts
            .headers
            .get_all(header::TE)
            .iter()
            .any(|value| headers::has_token(value, "trailers")),
    }
}

/// The protocol a client wants to change to, where we let it: from HTTP/1.1, without a body, and never to a form of HTTP
/// or TLS, behind which an app would see requests that did not come through here.
pub(super) fn wanted_upgrade<'a>(parts: &'a Parts, body: &BodySource) -> Option<&'a HeaderValue> {
    let mut protocols = parts.headers.get_all(header::UPGRADE).iter();
    let protocol = protocols.next()?;
    let asked = parts
        .headers
        .get_all(header::CONNECTION)
        .iter()
        .any(|value| headers::has_token(value, "upgrade"));
    let text = protocol.to_str().ok()?.to_ascii_lowercase();
    let well = asked
        && protocols.next().is_none()
        && parts.version == Version::HTTP_11
        && parts.method == Method::GET
        && body.coding() == Coding::None
        && !["h2", "http", "tls"]
            .iter()
            .any(|prefix| text.trim_start().starts_with(prefix))
        && !text.contains(',');
    well.then_some(protocol)
}
