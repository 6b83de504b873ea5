//! The guard of heads, held against hyper's own reading by `framing`.

use super::*;
use crate::proxy::framing;

fn limits() -> Limits {
    Limits {
        header_bytes: 1_024,
        uri_bytes: 256,
        ..Limits::default()
    }
}

/// The answer to what the guard stops at, however the bytes come; 0 if it stops at nothing.
fn judged(bytes: &[u8]) -> u16 {
    let mut answers: Vec<u16> = [1, 2, 3, 7, 50, bytes.len()]
        .into_iter()
        .map(|piece| {
            framing::check(bytes, piece);
            let (mut guard, mut kept) = (HeadGuard::new(), Vec::new());
            for piece in bytes.chunks(piece) {
                kept.extend_from_slice(piece);
                let look = guard.look(&kept, &limits());
                kept.drain(..look.pass);
                match look.then {
                    Then::Refuse(error) => return error.status().as_u16(),
                    Then::Break => return 1,
                    Then::Nothing | Then::Keep => {}
                }
            }
            0
        })
        .collect();
    answers.dedup();
    assert_eq!(answers.len(), 1, "{:?}", String::from_utf8_lossy(bytes));
    answers[0]
}

#[test]
fn e3_what_is_said_once_and_clearly_passes() {
    for head in [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.0\r\nHost: a\r\n\r\n",
        "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /a%20b?c=[d]{e} HTTP/1.1\r\nX: \u{e9}\tb\r\nY:\r\nZ:  \t \r\n\r\n",
        "GET http://a.test HTTP/1.1\r\nHost: a.test\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: a.test\r\n\r\n",
        "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 005 \r\n\r\nhelloGET /b HTTP/1.1\r\n\r\n",
        "POST / HTTP/1.1\r\ncontent-length:0\r\n\r\nGET /b HTTP/1.1\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: \t Chunked \r\n\r\n3;x\r\nabc\r\n0\r\nT: 1\r\n\r\nGET /b HTTP/1.1\r\n\r\n",
        "POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
        "!#$%&'*+-.^_`|~09az / HTTP/1.1\r\n!#$%&'*+-.^_`|~09AZ: x\r\n\r\n",
        "PATCH /a#b HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        assert_eq!(judged(head.as_bytes()), 0, "{head:?}");
    }
    assert_eq!(judged(b"GET / HTTP/1.1\r\nX: \x80\xff\r\n\r\n"), 0);
}

#[test]
fn e3_what_could_be_read_in_two_ways_does_not_pass() {
    for (rest, status) in [
        // Line ends.
        ("GET / HTTP/1.1\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\n\n", 400),
        ("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nX: a\rb\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nX\r: a\r\n\r\n", 400),
        ("GET /\r HTTP/1.1\r\nX: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\r\n\r\n", 400),
        ("\rGET / HTTP/1.1\r\n\r\n", 400),
        ("\r\r\nGET / HTTP/1.1\r\n\r\n", 400),
        // Control characters.
        ("GET / HTTP/1.1\r\nX: a\0b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nX\0: a\r\n\r\n", 400),
        ("GET /\0 HTTP/1.1\r\n\r\n", 400),
        ("G\0T / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nX: \x7f\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nX: \x0b\r\n\r\n", 400),
        // Names.
        ("GET / HTTP/1.1\r\nX : a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nX\t: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n X: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nX: a\r\n b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nX\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n(X): a\r\n\r\n", 400),
        // The first line.
        ("GET  / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1 \r\n\r\n", 400),
        ("GET /  HTTP/1.1\r\n\r\n", 400),
        (" GET / HTTP/1.1\r\n\r\n", 400),
        ("GET\t/\tHTTP/1.1\r\n\r\n", 400),
        ("GET /a b HTTP/1.1\r\n\r\n", 400),
        ("GET /a\tb HTTP/1.1\r\n\r\n", 400),
        ("GET /<a> HTTP/1.1\r\n\r\n", 400),
        ("GET * HTTP/1.1\r\n\r\n", 400),
        ("GET /\r\n", 400),
        ("GET\r\n\r\n", 400),
        ("GET / http/1.1\r\n\r\n", 400),
        ("GET / HTTP/11\r\n\r\n", 400),
        ("GET / HTTP/2.0\r\n\r\n", 505),
        ("GET / HTTP/1.2\r\n\r\n", 505),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        ("\u{16}\u{3}\u{1}", 400),
        // Lengths.
        (
            "POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
            400,
        ),
        ("POST / HTTP/1.1\r\nContent-Length: 5, 5\r\n\r\nhello", 400),
        ("POST / HTTP/1.1\r\nContent-Length: +5\r\n\r\nhello", 400),
        ("POST / HTTP/1.1\r\nContent-Length: 0x5\r\n\r\nhello", 400),
        ("POST / HTTP/1.1\r\nContent-Length:\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nContent-Length: 5 5\r\n\r\n", 400),
        (
            "POST / HTTP/1.1\r\nContent-Length: 18446744073709551615\r\n\r\n",
            413,
        ),
        (
            "POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
            413,
        ),
        (
            "POST / HTTP/1.1\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\n",
            400,
        ),
        // Codings.
        (
            "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            501,
        ),
        (
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n",
            400,
        ),
        ("POST / HTTP/1.1\r\nTransfer-Encoding:\r\n\r\n", 400),
        // Bodies: 1.
        (
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n",
            1,
        ),
        (
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: b\nC: d\r\n\r\n",
            1,
        ),
    ] {
        assert_eq!(judged(rest.as_bytes()), status, "{rest:?}");
        // Behind a request with a body it is seen as well.
        for before in [
            "POST /a HTTP/1.1\r\nContent-Length: 3\r\n\r\nG\n\r",
            "POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nG\n\r\r\n0\r\n\r\n",
        ] {
            let both = [before, rest].concat();
            assert_eq!(judged(both.as_bytes()), status, "{rest:?}");
        }
    }
}

#[test]
fn e3_sizes_have_limits_that_are_not_waited_for() {
    let a = |count: usize| "a".repeat(count);
    for (head, status) in [
        (format!("GET /{} HTTP/1.1\r\n\r\n", a(255)), 0),
        (format!("GET /{} HTTP/1.1\r\n\r\n", a(256)), 414),
        (format!("GET /{}", a(256)), 414),
        (format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", a(1_017)), 0),
        (format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", a(1_018)), 431),
        (format!("GET / HTTP/1.1\r\nX: {}", a(1_022)), 431),
        (format!("GET / HTTP/1.1\r\n{}\r\n", "X:\r\n".repeat(100)), 0),
        (
            format!("GET / HTTP/1.1\r\n{}\r\n", "X:\r\n".repeat(101)),
            431,
        ),
        (a(33), 400),
        (format!("{} / HTTP/1.1\r\n\r\n", a(33)), 400),
        (format!("{}GET / HTTP/1.1\r\n\r\n", "\r\n".repeat(32)), 0),
        (format!("{}GET / HTTP/1.1\r\n\r\n", "\r\n".repeat(33)), 400),
        (format!("GET / {}", a(20)), 400),
    ] {
        assert_eq!(judged(head.as_bytes()), status, "{head:?}");
    }
}

#[test]
fn e3_behind_a_change_of_protocol_nothing_goes_on_before_it_is_decided() {
    let head = b"GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    let both = [&head[..], b"\x81\x00\n"].concat();
    let mut guard = HeadGuard::new();
    let look = guard.look(&both, &limits());
    let kept = Look {
        pass: head.len(),
        then: Then::Keep,
    };
    assert_eq!(look, kept);
    assert!(guard.is_undecided() && guard.passed() == 1);
    assert_eq!(guard.look(&both[head.len()..], &limits()).pass, 0);
    guard.goes_on();
    let look = guard.look(&both[head.len()..], &limits());
    assert!(matches!(look.then, Then::Refuse(_)), "{look:?}");
    // With a body it is none that we let change.
    let body = b"GET / HTTP/1.1\r\nUpgrade: x\r\nContent-Length: 1\r\n\r\na";
    let mut guard = HeadGuard::new();
    assert_eq!(guard.look(body, &limits()).then, Then::Nothing);
    assert!(!guard.is_undecided());
}

/// Parts of which requests are made that are nearly right.
const PARTS: &[&str] = &[
    "GET / HTTP/1.1\r\n",
    "POST /a HTTP/1.1\r\n",
    "GET /b HTTP/1.0\r\n",
    "OPTIONS * HTTP/1.1\r\n",
    "Host: a\r\n",
    "Content-Length: 5\r\n",
    "Content-Length: 0\r\n",
    "content-length:",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: ",
    "chunked",
    "identity",
    ",",
    "Connection: close\r\n",
    "Connection: upgrade\r\nUpgrade: x\r\n",
    "Expect: 100-continue\r\n",
    "Accept: */*\r\n",
    "\r\n",
    "\r\n\r\n",
    "\n",
    "\r",
    "\t",
    " ",
    ":",
    ";",
    "\0",
    "\x7f",
    "hello",
    "5\r\nhello\r\n",
    "0\r\n\r\n",
    "0\r\n",
    "5",
    "a",
    "X: y\r\n",
    "HTTP/1.1",
    "/",
    "\u{e9}",
    "%",
    "#",
    "http://a",
];

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(5_000))]

    #[test]
    fn e3_what_passes_is_read_alike(
        parts in proptest::collection::vec(proptest::sample::select(PARTS), 0..14),
        piece in 1usize..40,
    ) {
        framing::check(parts.concat().as_bytes(), piece);
    }

    /// A request that is right, with a few bytes of it changed.
    #[test]
    fn e3_a_changed_byte_is_read_alike_or_not_at_all(
        request in proptest::sample::select(&[
            "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloGET /b HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nT: u\r\n\r\nGET /b HTTP/1.1\r\n\r\n",
        ][..]),
        changes in proptest::collection::vec((0usize..140, proptest::prelude::any::<u8>()), 0..4),
        piece in 1usize..40,
    ) {
        let mut bytes = request.as_bytes().to_vec();
        for (at, byte) in changes {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        framing::check(&bytes, piece);
    }
}
