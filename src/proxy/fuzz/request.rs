//! Fuzz target of a request's whole way through the edge, from the client's bytes to the target's.
use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;

use super::reader;
use crate::proxy::forward::Inquiry;
use crate::proxy::framing::{Memory, guarded, of_guard};
use crate::proxy::host::Host;
use crate::proxy::limits::Limits;
use crate::proxy::origin::{End, Origin};
use crate::proxy::request_head::{head_of, wanted_upgrade};
use crate::proxy::site;
use crate::proxy::trace::Trace;
use crate::proxy::upstream::fuzz::arriving;
use crate::proxy::upstream::{BodySource, RequestBody};

/// What is said of a request by us alone, each once.
const OURS: [&str; 8] = [
    "host",
    "x-forwarded-for",
    "x-real-ip",
    "x-forwarded-proto",
    "x-forwarded-host",
    "forwarded",
    "x-request-id",
    "traceparent",
];

/// For each request that the guard lets through and the edge forwards, a strict reader at the target finds one request: the
/// client's, with the client's body; and none at all where the client's has no end.
pub fn request(data: &[u8]) {
    let [piece, bytes @ ..] = data else { return };
    let limits = Limits {
        header_bytes: 2_048,
        uri_bytes: 512,
        ..Limits::default()
    };
    let (passed, _) = guarded(bytes, usize::from(*piece).max(1), &limits);
    let ours = of_guard(&passed, &limits);
    let theirs = forwarded(&passed, limits);
    assert!(theirs.len() <= ours.len());
    for (ours, theirs) in ours.iter().zip(&theirs) {
        let Some((written, whole)) = theirs else {
            continue;
        };
        let shown = String::from_utf8_lossy(written);
        let read = match reader::read(written) {
            Ok(read) => read,
            Err(what) => panic!("{what}: {shown:?}"),
        };
        assert_eq!(*whole, ours.whole, "{shown:?}");
        let Some(read) = read else {
            assert!(!whole, "no whole request arrives: {shown:?}");
            continue;
        };
        assert!(whole, "half a request arrives as a whole one: {shown:?}");
        assert_eq!(read.body, ours.body, "{shown:?}");
        let target: Option<Uri> = ours.target.parse().ok();
        let path = target.as_ref().and_then(Uri::path_and_query);
        assert_eq!(
            path.map(|path| path.as_str()),
            Some(read.target),
            "{shown:?}"
        );
        says_what_is_ours(&read, &shown);
    }
}

/// What we say of a request is said once and by us alone, and nothing of its hop goes on.
pub(super) fn says_what_is_ours(read: &reader::Read<'_>, shown: &str) {
    for name in OURS {
        assert_eq!(read.of(name).len(), 1, "{name}: {shown:?}");
        let lookalike = name.replace('-', "_");
        assert!(
            lookalike == name || read.of(&lookalike).is_empty(),
            "{shown:?}"
        );
    }
    assert_eq!(read.of("x-forwarded-for"), ["203.0.113.9"]);
    for hop in [
        "keep-alive",
        "proxy-connection",
        "proxy-authorization",
        "http2-settings",
    ] {
        assert!(read.of(hop).is_empty(), "{hop}: {shown:?}");
    }
}

/// What a target gets for each request in these bytes, and whether all of it was there; nothing where the edge refuses it.
fn forwarded(bytes: &[u8], limits: Limits) -> Vec<Option<(Vec<u8>, bool)>> {
    let all = Rc::new(RefCell::new(Vec::new()));
    let seen = all.clone();
    let service = service_fn(move |request| {
        let seen = seen.clone();
        async move {
            let sent = sent(request, &limits).await;
            seen.borrow_mut().push(sent);
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .unwrap_or_else(|error| panic!("{error}"));
    let connection = http1::Builder::new()
        .half_close(true)
        .serve_connection(Memory(bytes.to_vec()), service);
    // How it ends is the client's business.
    let _ended = runtime.block_on(connection);
    all.take()
}

pub(super) async fn sent(request: Request<Incoming>, limits: &Limits) -> Option<(Vec<u8>, bool)> {
    let (parts, incoming) = request.into_parts();
    let host = Host::of(&parts).ok()?;
    site::check(&parts, limits).ok()?;
    let origin = Origin::peer(End {
        address: [203, 0, 113, 9].into(),
        text: "203.0.113.9",
        https: true,
        header: None,
    });
    let id = HeaderValue::from_static("0123456789abcdef0123456789abcdef");
    let body = BodySource::new(incoming, u64::MAX, limits.header_bytes, false);
    let trace = Trace::of(&parts.headers, &id, 7);
    let inquiry = Inquiry {
        parts: &parts,
        host: &host,
        origin: &origin,
        id: &id,
        trace: &trace,
        body_limit: u64::MAX,
        handshake: None,
        target: None,
        prefix: "",
    };
    let head = head_of(&inquiry, &body, wanted_upgrade(&parts, &body));
    let arrived = arriving(RequestBody::new(head, body)).await;
    Some(arrived.unwrap_or_else(|error| panic!("{error}")))
}
