//! Fuzz targets of the data plane: heads and names that clients send, and frames of a tunnel.
use http::header;

use super::framing;
use super::host::{Host, parse};
use super::ws_frames::Frames;

pub use super::upstream::fuzz::answer;

/// What the guard lets through, hyper reads alike, however it comes: the first byte cuts it.
pub fn head_guard(data: &[u8]) {
    let [piece, bytes @ ..] = data else { return };
    framing::check(bytes, usize::from(*piece));
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
