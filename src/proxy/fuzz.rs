//! Fuzz targets of the data plane: heads, bodies and names that clients send, and frames of a tunnel.
mod fields;
mod reader;
mod request;
mod request_http2;

use std::net::IpAddr;
use std::time::Instant;

use bytes::BytesMut;
use http::header;

use super::chunk_guard::Chunks;
use super::framing;
use super::h2_frames::{Earning, H2Frames};
use super::h2_trailers::{Passed, Trailers};
use super::host::{Host, parse};
use super::origin::{End, Origin};
use super::proxies::Proxies;
use super::proxy_protocol::read_from;
use super::ws_frames::Frames;

use super::upstream::fuzz::without_coding;
use super::upstream::h2c::AnswerFrames;
use crate::base::cidr::Cidr;

pub use super::policies::fuzz::{basic_auth, doubtful_path, rate_key, rewritten_path};
pub use super::static_site::fuzz::{file_conditions, file_path};
pub use super::stream_end::fuzz::stream_end;
pub use super::upstream::fuzz::{answer, answer_fields};
pub(super) use fields::fields;
pub use fields::{accept_encoding, compressed, sticky, trace};
pub use request::request;
pub use request_http2::request_http2;

/// What the guard lets through, hyper reads alike, however it comes: the first byte cuts it.
pub fn head_guard(data: &[u8]) {
    let [piece, bytes @ ..] = data else { return };
    framing::check(bytes, usize::from(*piece));
}

/// Where a chunked body of a request ends does not depend on how the bytes arrive, and it is where the reader of answers
/// finds the same data to end; nothing that goes on behind it, and nothing shorter, is the body.
pub fn chunk_guard(data: &[u8]) {
    let [piece, bytes @ ..] = data else { return };
    let (mut whole, mut cut) = (Chunks::new(200), Chunks::new(200));
    let (end, broken) = whole.pass(bytes);
    let (mut at, mut broken_in_pieces) = (0, false);
    for piece in bytes.chunks(usize::from(*piece).max(1)) {
        let (passed, broken) = cut.pass(piece);
        at += passed;
        broken_in_pieces = broken;
        if broken || cut.is_ended() {
            break;
        }
    }
    assert_eq!(
        (end, broken, whole.is_ended()),
        (at, broken_in_pieces, cut.is_ended())
    );
    if !whole.is_ended() {
        assert!(broken || end == bytes.len());
        return;
    }
    let body = &bytes[..end];
    assert!(!broken && body.ends_with(b"\r\n"));
    let mut buffer = BytesMut::from(body);
    // The other one takes shorter lines and fewer trailers.
    if let Ok(read) = without_coding(&mut buffer) {
        assert!(buffer.is_empty(), "{body:?}");
        assert_eq!(read, Some(framing::without_chunks(body)), "{body:?}");
    }
}

/// A header found does not depend on what follows it, and is not found in a piece of itself.
pub fn proxy_protocol(data: &[u8]) {
    let Some(Ok((told, length))) = read_from(data) else {
        return;
    };
    assert!(length <= 16 + 2_048);
    assert_eq!(read_from(&data[..length]), Some(Ok((told, length))));
    assert_eq!(read_from(&data[..length - 1]), None);
}

/// Each line is one of `X-Forwarded-For`, as a trusted peer sends it; after an empty one, of `X-Forwarded-Proto`.
/// The client is who the peer is, or whom an entry names, and what is said to the app is addresses alone.
pub fn forwarded(data: &[u8]) {
    let proxies = Proxies {
        trusted: vec![Cidr::v4([10, 0, 0, 0], 8), Cidr::v6([0xfd00, 0, 0], 16)],
        ..Proxies::default()
    };
    let mut fields = header::HeaderMap::new();
    let mut name = "x-forwarded-for";
    for line in data.split(|byte| *byte == b'\n').take(100) {
        if line.is_empty() {
            name = "x-forwarded-proto";
        } else if let Ok(value) = header::HeaderValue::from_bytes(line) {
            fields.append(name, value);
        }
    }
    let peer = IpAddr::from([10, 0, 0, 1]);
    let end = End {
        address: peer,
        text: "10.0.0.1",
        https: false,
        header: None,
    };
    let origin = Origin::told(&proxies, end, &fields);
    let said = format!("{}{}", origin.client, origin.hops);
    let chain: Vec<Result<IpAddr, _>> = said.split(", ").map(str::parse).collect();
    assert!(
        chain.len() <= 33 && chain.last() == Some(&Ok(peer)),
        "{said}"
    );
    assert!(
        chain[1..].iter().flatten().all(|hop| proxies.trusts(*hop)),
        "{said}"
    );
    assert!(chain.iter().all(Result::is_ok), "{said}");
    assert_eq!(origin.forwarded.matches("for=").count(), chain.len() - 1);
}

/// A name that passes is in its normal form, which is its own normal form; a request's address and Host never panic.
pub fn host(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let (address, field) = text.split_once('\n').unwrap_or(("/", text));
    if let Some(name) = parse(field) {
        assert_eq!(parse(&name).as_deref(), Some(name.as_str()), "{field:?}");
        assert!(!name.bytes().any(|byte| byte.is_ascii_uppercase()));
    }
    let request = http::Request::builder()
        .uri(address)
        .header(header::HOST, field)
        .body(());
    if let Ok(request) = request
        && let Ok(host) = Host::of(&request.into_parts().0)
    {
        assert_eq!(parse(&host.written), Some(host.name.clone()));
        let _either = host.has_port() && host.is_address();
    }
}

/// What of a connection's frames may pass, what comes in place of the rest, and whether trailers were too long, does not
/// depend on how the bytes arrive: the first byte cuts them.
pub fn h2_frames(data: &[u8]) {
    let [piece, bytes @ ..] = data else { return };
    let now = Instant::now();
    let (mut whole, mut cut) = (H2Frames::new(now), H2Frames::new(now));
    let end = whole.look(bytes, &mut || (now, 0));
    let mut at = 0;
    for piece in bytes.chunks(usize::from(*piece).max(1)) {
        if let Some(end_in_pieces) = cut.look(piece, &mut || (now, 0)) {
            assert!(cut.is_between_frames());
            assert_eq!(end, Some(at + end_in_pieces));
            assert_eq!(whole.stand_in(), cut.stand_in());
            let is_long = whole.trailers_are_too_long();
            assert_eq!(is_long, cut.trailers_are_too_long());
            return;
        }
        at += piece.len();
    }
    assert_eq!(end, None);
    assert_eq!(whole.is_between_frames(), cut.is_between_frames());
}

/// What goes on of a client's frames, trailers marked, does not depend on how they arrive: the first byte cuts them.
pub fn h2_trailers(data: &[u8]) {
    let now = Instant::now();
    passed_alike(
        data,
        || H2Frames::new(now),
        |frames, trailers, piece| trailers.pass(&mut Earning(frames, || (now, 0)), piece),
    );
}

/// The same of what an app says that speaks HTTP/2.
pub fn h2c_frames(data: &[u8]) {
    passed_alike(data, AnswerFrames::default, |frames, trailers, piece| {
        trailers.pass(frames, piece)
    });
}

fn passed_alike<F>(
    data: &[u8],
    begun: impl Fn() -> F,
    pass: impl Fn(&mut F, &mut Trailers, &[u8]) -> (Passed, bool),
) {
    let [piece, bytes @ ..] = data else { return };
    let all = |piece: usize| {
        let (mut frames, mut trailers, mut all) = (begun(), Trailers::default(), Vec::new());
        for piece in bytes.chunks(piece) {
            let (passed, is_over) = pass(&mut frames, &mut trailers, piece);
            match passed {
                Passed::AsTheyAre(count) => all.extend(&piece[..count]),
                Passed::Instead(bytes) => all.extend(bytes),
            }
            if is_over {
                return (all, true);
            }
        }
        (all, false)
    };
    let whole = all(bytes.len().max(1));
    assert_eq!(whole, all(usize::from(*piece).max(1)));
    // A mark and a head of its own for each frame at most, and of a head that is cut nothing.
    let most = bytes.len() + bytes.len() / 9 * 12;
    assert!(whole.0.len() <= most);
}

/// Where frames end does not depend on how the bytes arrive.
pub fn websocket(data: &[u8]) {
    let [piece, bytes @ ..] = data else { return };
    let (mut whole, mut cut) = (Frames::default(), Frames::default());
    whole.passed(bytes);
    bytes
        .chunks(usize::from(*piece).max(1))
        .for_each(|bytes| cut.passed(bytes));
    assert_eq!(
        (whole.at_boundary(), whole.closed),
        (cut.at_boundary(), cut.closed)
    );
}
