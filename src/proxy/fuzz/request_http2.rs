//! Fuzz target of a request's whole way through the edge over HTTP/2: from a client's frames to the bytes that a target gets.
use std::cell::RefCell;
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::rt::ReadBufCursor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use tokio::task::LocalSet;

use super::{reader, request};
use crate::proxy::h2_frames::{H2Frames, heads_of};
use crate::proxy::limits::Limits;
use crate::proxy::local::Local;

const STREAMS: usize = 10;

/// A request as its client sent it.
#[derive(Default)]
struct Asked {
    path: Option<Vec<u8>>,
    length: Option<Vec<u8>>,
    data: Vec<u8>,
    ended: bool,
}

/// Frames stand apart by NULs, each a letter (small with END_STREAM), the number of a stream, and fields (`name=value` with
/// bars between) or data. For each request that passes, a strict reader at the target finds one request: the client's, with
/// the client's body; and where the client's has no end none, or what was whole by its own length before it broke.
pub fn request_http2(data: &[u8]) {
    let [piece, rest @ ..] = data else { return };
    let limits = Limits {
        header_bytes: 2_048,
        uri_bytes: 512,
        ..Limits::default()
    };
    let mut frames = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    let mut asked: [Asked; STREAMS] = Default::default();
    for text in rest.split(|byte| *byte == 0).take(200) {
        write_frame(&mut frames, &mut asked, text);
    }
    let piece = usize::from(*piece).max(16);
    for (stream, arrived) in forwarded(passed(&frames, piece), piece, limits) {
        let Some((written, whole)) = arrived else {
            continue;
        };
        let shown = String::from_utf8_lossy(&written);
        let read = match reader::read(&written) {
            Ok(read) => read,
            Err(what) => panic!("{what}: {shown:?}"),
        };
        let Some(read) = read else {
            assert!(!whole, "no whole request arrives: {shown:?}");
            continue;
        };
        let asked = &asked[stream];
        if whole {
            assert!(
                asked.ended,
                "half a request arrives as a whole one: {shown:?}"
            );
            assert_eq!(read.body, asked.data, "{shown:?}");
        } else {
            let length = read.body.len().to_string().into_bytes();
            assert_eq!(asked.length, Some(length), "{shown:?}");
            assert!(asked.data.starts_with(&read.body), "{shown:?}");
        }
        // A fragment is for the client alone. Where nothing is left, or h2 took it without a path because its scheme is
        // another, the root is asked for.
        let path = asked.path.as_deref().unwrap_or_default();
        let path = path.split(|byte| *byte == b'#').next().unwrap_or_default();
        let path = if path.is_empty() { b"/" } else { path };
        assert_eq!(path, read.target.as_bytes(), "{shown:?}");
        request::says_what_is_ours(&read, &shown);
    }
}

fn write_frame(out: &mut Vec<u8>, asked: &mut [Asked; STREAMS], text: &[u8]) {
    let [letter, digit, rest @ ..] = text else {
        return;
    };
    let stream = usize::from(*digit) % STREAMS;
    let asked = &mut asked[stream];
    let is_first = asked.path.is_none();
    let ends = u8::from(letter.is_ascii_lowercase());
    match letter.to_ascii_uppercase() {
        b'H' => {
            let mut block = Vec::new();
            for field in rest.split(|byte| *byte == b'|') {
                let equals = field.iter().position(|byte| *byte == b'=');
                let (name, value) = field.split_at(equals.unwrap_or(field.len()));
                let value = value.strip_prefix(b"=").unwrap_or(value);
                write_field(&mut block, name, value);
                match name {
                    b":path" if is_first => asked.path = Some(value.to_vec()),
                    b"content-length" if is_first => asked.length = Some(value.to_vec()),
                    _ => {}
                }
            }
            if is_first {
                asked.path.get_or_insert_default();
                write_field(&mut block, b"x-stream", &[b'0' + stream as u8]);
            }
            frame(out, 1, 4 | ends, stream, &block);
            asked.ended |= ends == 1;
        }
        b'D' => {
            frame(out, 0, ends, stream, rest);
            if !is_first && !asked.ended {
                asked.data.extend_from_slice(rest);
                asked.ended = ends == 1;
            }
        }
        b'R' => frame(out, 3, 0, stream, &[0, 0, 0, 8]),
        // Any frame beside those that are kept account of.
        other if !matches!(other % 16, 0 | 1 | 3) => frame(out, other % 16, ends, stream, rest),
        _ => {}
    }
}

/// A literal without an index and in no code (RFC 7541, 6.2.2).
fn write_field(block: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    block.push(0);
    for text in [name, value] {
        match text.len().checked_sub(127) {
            None => block.push(text.len() as u8),
            Some(mut left) => {
                block.push(127);
                while left >= 128 {
                    block.push((left % 128) as u8 | 128);
                    left /= 128;
                }
                block.push(left as u8);
            }
        }
        block.extend_from_slice(text);
    }
}

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: usize, payload: &[u8]) {
    let (length, id) = (payload.len() as u32, 2 * stream as u32 + 1);
    out.extend_from_slice(&length.to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&id.to_be_bytes());
    out.extend_from_slice(payload);
}

/// What of the frames goes on when they come in pieces of this size.
fn passed(bytes: &[u8], piece: usize) -> Vec<u8> {
    let now = Instant::now();
    let (mut frames, mut at) = (H2Frames::new(now), 0);
    for piece in bytes.chunks(piece) {
        if let Some(end) = frames.look(piece, &mut || (now, 0)) {
            return [&bytes[..at + end], &frames.stand_in()].concat();
        }
        at += piece.len();
    }
    bytes.to_vec()
}

type Arrived = Option<(Vec<u8>, bool)>;

/// What a target gets for each request, by its stream; nothing where the edge refuses it.
fn forwarded(bytes: Vec<u8>, piece: usize, limits: Limits) -> Vec<(usize, Arrived)> {
    let all = Rc::new(RefCell::new(Vec::new()));
    let seen = all.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let seen = seen.clone();
        async move {
            let stream = request.headers().get_all("x-stream").iter().next_back();
            let stream = stream.and_then(|value| value.as_bytes().last());
            let stream = stream.map_or(0, |digit| usize::from(digit - b'0'));
            let sent = request::sent(request, &limits).await;
            seen.borrow_mut().push((stream, sent));
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .unwrap_or_else(|error| panic!("{error}"));
    let local = LocalSet::new();
    // How it ends is the client's business.
    let _ended = local.block_on(&runtime, async {
        http2::Builder::new(Local)
            .max_header_list_size(heads_of(limits.uri_bytes, limits.header_bytes))
            .serve_connection(Pieces::of(&bytes, piece), service)
            .await
    });
    // Those that are under way see the end of their connection.
    runtime.block_on(local);
    all.take()
}

/// A connection that takes whatever is answered, and on which one piece comes after the other: in between, and before the
/// end, whoever was woken has his turn. h2 shows no request of a connection that has ended.
struct Pieces {
    left: Vec<Vec<u8>>,
    waits: u8,
}

/// Between two pieces, and before the end.
const TURNS: u8 = 2;

impl Pieces {
    fn of(bytes: &[u8], piece: usize) -> Pieces {
        let pieces = bytes.chunks(piece).map(<[u8]>::to_vec);
        let mut left: Vec<_> = pieces.collect();
        left.reverse();
        Pieces { left, waits: 0 }
    }
}

impl hyper::rt::Read for Pieces {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.waits < TURNS {
            this.waits += 1;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        this.waits = 0;
        if let Some(mut piece) = this.left.pop() {
            let rest = piece.split_off(piece.len().min(buffer.remaining()));
            buffer.put_slice(&piece);
            if !rest.is_empty() {
                this.left.push(rest);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl hyper::rt::Write for Pieces {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
