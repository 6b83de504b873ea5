//! A request whose body nobody read to its end is the last of its connection, and its answer says so.
//!
//! hyper closes such a connection, because what follows would be the rest of the body. Where the answer does not tell, the
//! edge sends the next request into the closing connection, and of a POST nobody knows whether it was taken.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use hyper::body::{Body, Frame, Incoming, SizeHint};

/// A request's body that notes when it was read to its end.
pub struct Noted {
    body: Incoming,
    whole: Arc<AtomicBool>,
}

/// Whether the body was read to its end by now.
pub struct Whole(Arc<AtomicBool>);

impl Noted {
    pub fn new(body: Incoming) -> (Self, Whole) {
        let whole = Arc::new(AtomicBool::new(body.is_end_stream()));
        let told = Whole(Arc::clone(&whole));
        (Self { body, whole }, told)
    }
}

impl Body for Noted {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if matches!(polled, Poll::Ready(None)) || self.body.is_end_stream() {
            self.whole.store(true, Relaxed);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Whole {
    /// The answer, which says that its connection ends where it does.
    pub fn told<B>(&self, mut answer: Response<B>) -> Response<B> {
        if !self.0.load(Relaxed) && answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            let close = HeaderValue::from_static("close");
            answer.headers_mut().insert(header::CONNECTION, close);
        }
        answer
    }
}
