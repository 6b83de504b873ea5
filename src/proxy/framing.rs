//! Framing: how hyper reads the bytes of a connection, to hold the guard's reading against. For tests and the fuzzer.
use std::cell::RefCell;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri, Version, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::rt::ReadBufCursor;
use hyper::server::conn::http1;
use hyper::service::service_fn;

use super::head_guard::{HeadGuard, Then};
use super::headers::has_token;
use super::limits::Limits;

/// One request as it was understood.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Message {
    pub(super) target: String,
    pub(super) body: Vec<u8>,
    /// Its end came.
    pub(super) whole: bool,
    /// It may say that no other comes after it.
    may_end: bool,
}

/// The guard's promise about these bytes: however they come, it passes the same of them, and what it passes hyper takes
/// for the same requests with the same bodies, and takes all of it.
pub(super) fn check(bytes: &[u8], piece: usize) {
    let limits = Limits {
        header_bytes: 1_024,
        uri_bytes: 256,
        ..Limits::default()
    };
    let (passed, then) = guarded(bytes, piece.max(1), &limits);
    let shown = String::from_utf8_lossy(bytes);
    let whole = guarded(bytes, bytes.len().max(1), &limits);
    // A head that is wrong in two ways may show the second first when it comes in pieces.
    let same = std::mem::discriminant(&then) == std::mem::discriminant(&whole.1);
    assert!(passed == whole.0 && same, "{piece}: {shown:?}");

    let ours = of_guard(&passed, &limits);
    let (theirs, refused) = of_hyper(&passed);
    assert!(!refused, "hyper refuses a head that passed: {shown:?}");
    let all = theirs.len() == ours.len();
    let ended = theirs.len() < ours.len() && theirs.last().is_some_and(|last| last.may_end);
    assert!(all || ended, "{shown:?} {ours:?} {theirs:?}");
    for (ours, theirs) in ours.iter().zip(&theirs) {
        let ours = (&ours.target, &ours.body, ours.whole);
        assert_eq!(
            ours,
            (&theirs.target, &theirs.body, theirs.whole),
            "{shown:?}"
        );
    }
}

/// What the guard passes of the bytes when they come in pieces of this size, and what it does with the rest.
pub(super) fn guarded(bytes: &[u8], piece: usize, limits: &Limits) -> (Vec<u8>, Then) {
    let (mut guard, mut passed, mut kept) = (HeadGuard::new(), Vec::new(), Vec::new());
    let mut then = Then::Nothing;
    for piece in bytes.chunks(piece) {
        kept.extend_from_slice(piece);
        let look = guard.look(&kept, limits);
        passed.extend(kept.drain(..look.pass));
        then = look.then;
        if !matches!(then, Then::Nothing | Then::Keep) {
            break;
        }
        assert!(kept.is_empty() == (then == Then::Nothing));
    }
    (passed, then)
}

/// The requests in bytes that passed, as the guard bounds them.
pub(super) fn of_guard(bytes: &[u8], limits: &Limits) -> Vec<Message> {
    let (mut guard, mut head) = (HeadGuard::new(), Vec::new());
    let mut heads: Vec<(Message, bool)> = Vec::new();
    for byte in bytes {
        let before = guard.passed();
        head.push(*byte);
        let look = guard.look(&head, limits);
        if look.pass == 0 {
            continue;
        }
        let ended = std::mem::take(&mut head);
        match heads.last_mut() {
            _ if guard.passed() > before => heads.push(head_of(&ended)),
            Some((message, _)) => message.body.extend(ended),
            None => panic!("a body without a head"),
        }
        if let Some((message, _)) = heads.last_mut() {
            message.whole = guard.awaits_head();
        }
    }
    let messages = heads.into_iter().map(|(mut message, chunked)| {
        if chunked {
            message.body = without_chunks(&message.body);
        }
        message
    });
    messages.collect()
}

/// A request as its head tells of it, and whether its body comes in chunks.
fn head_of(head: &[u8]) -> (Message, bool) {
    let text = String::from_utf8_lossy(head);
    let target = text
        .split(' ')
        .nth(1)
        .and_then(|target| target.parse::<Uri>().ok());
    let message = Message {
        target: target.map(|target| target.to_string()).unwrap_or_default(),
        ..Message::default()
    };
    (
        message,
        text.to_ascii_lowercase().contains("\ntransfer-encoding:"),
    )
}

/// The data of chunks that are known to be well, as far as they came.
pub(super) fn without_chunks(mut coded: &[u8]) -> Vec<u8> {
    let mut data = Vec::new();
    while let Some(end) = coded.iter().position(|byte| *byte == b'\n') {
        let digits = coded
            .iter()
            .take_while(|byte| byte.is_ascii_hexdigit())
            .count();
        let size = std::str::from_utf8(&coded[..digits]).unwrap_or_default();
        let size = usize::from_str_radix(size, 16).unwrap_or_default();
        coded = &coded[end + 1..];
        if size == 0 {
            break;
        }
        let came = size.min(coded.len());
        data.extend_from_slice(&coded[..came]);
        coded = coded[came..].get(2..).unwrap_or_default();
    }
    data
}

/// The requests that hyper reads in these bytes, and whether it refuses a head.
fn of_hyper(bytes: &[u8]) -> (Vec<Message>, bool) {
    let messages = Rc::new(RefCell::new(Vec::new()));
    let seen = messages.clone();
    let service = service_fn(move |request| {
        let seen = seen.clone();
        async move {
            let message = read(request).await;
            seen.borrow_mut().push(message);
            let mut response = Response::new(Empty::<Bytes>::new());
            *response.status_mut() = StatusCode::BAD_REQUEST;
            Ok::<_, Infallible>(response)
        }
    });
    let mut connection = pin!(
        http1::Builder::new()
            .half_close(true)
            .serve_connection(Memory(bytes.to_vec()), service)
    );
    let mut cx = Context::from_waker(Waker::noop());
    // Nothing in it waits for anything but itself.
    let ended = (0..100_000).find_map(|_| match connection.as_mut().poll(&mut cx) {
        Poll::Ready(result) => Some(result),
        Poll::Pending => None,
    });
    let refused = match ended {
        Some(result) => result.is_err_and(|error| error.is_parse()),
        None => panic!("hyper comes to no end"),
    };
    (messages.take(), refused)
}

async fn read(request: Request<Incoming>) -> Message {
    let connection = request.headers().get_all(header::CONNECTION);
    let mut message = Message {
        target: request.uri().to_string(),
        may_end: request.version() == Version::HTTP_10
            || connection.iter().any(|value| has_token(value, "close")),
        ..Message::default()
    };
    let mut body = request.into_body();
    loop {
        match body.frame().await {
            Some(Ok(frame)) => message.body.extend(frame.data_ref().into_iter().flatten()),
            Some(Err(_)) => break,
            None => {
                message.whole = true;
                break;
            }
        }
    }
    message
}

/// A connection on which all has come already, and that takes whatever is answered.
pub(super) struct Memory(pub(super) Vec<u8>);

impl hyper::rt::Read for Memory {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let left = &mut self.get_mut().0;
        let count = left.len().min(buffer.remaining());
        buffer.put_slice(&left[..count]);
        left.drain(..count);
        Poll::Ready(Ok(()))
    }
}

impl hyper::rt::Write for Memory {
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
