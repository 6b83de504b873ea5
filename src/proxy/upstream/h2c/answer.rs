//! The body of an answer that comes on a stream, while the rest of the request may still be on its way.
//!
//! What is left of the request moves by itself, so that a client that does not read for a while can go on sending.
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, RecvStream};
use http_body::{Body, Frame, SizeHint};
use tokio::task::{AbortHandle, spawn_local};

use super::super::timer::Timer;
use super::connections::Slot;
use super::upload::{Progress, Upload};
use crate::proxy::body::Broken;
use crate::proxy::headers;

/// Dropped before its end, it resets the stream: the target learns that nobody waits any more.
pub(in crate::proxy) struct AnswerBody {
    stream: RecvStream,
    /// What is left of a body of known length.
    left: Option<u64>,
    data_ended: bool,
    upload: Rc<Progress>,
    rest: Option<AbortHandle>,
    _slot: Slot,
}

impl AnswerBody {
    pub(super) fn new(
        stream: RecvStream,
        left: Option<u64>,
        slot: Slot,
        mut upload: Upload,
    ) -> AnswerBody {
        let progress = upload.progress.clone();
        let rest = (!upload.is_done()).then(|| {
            spawn_local(async move {
                let mut timer = Timer::default();
                // Its trouble is seen at the answer, whose stream it resets.
                poll_fn(|cx| upload.poll_whole(cx, &mut timer)).await;
            })
            .abort_handle()
        });
        AnswerBody {
            stream,
            left,
            data_ended: false,
            upload: progress,
            rest,
            _slot: slot,
        }
    }

    fn broken(&self, error: &h2::Error) -> Broken {
        if self.upload.slow.get() {
            Broken::ClientSlow
        } else if self.upload.broken.get() {
            Broken::Client
        } else if error.is_library() {
            Broken::Malformed("it breaks the rules of HTTP/2")
        } else {
            Broken::CutShort
        }
    }

    /// A stream that is reset with "no error" when all of its answer was there (RFC 9113, 8.1). After END_STREAM h2 tells
    /// the end and not the reset; before it only the promised length says that nothing is missing.
    fn is_over(&self, error: &h2::Error) -> bool {
        error.is_remote()
            && error.is_reset()
            && error.reason() == Some(Reason::NO_ERROR)
            && self.left == Some(0)
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let this = self.get_mut();
        while !this.data_ended {
            match ready!(this.stream.poll_data(cx)) {
                Some(Ok(data)) => {
                    let length = data.len();
                    // It is handed on now; the next is asked for when this one is gone.
                    if let Err(error) = this.stream.flow_control().release_capacity(length) {
                        return Poll::Ready(Some(Err(this.broken(&error))));
                    }
                    if length > 0 {
                        let answered = &this.upload.answered;
                        answered.set(answered.get() + 1);
                        this.left = this.left.map(|left| left.saturating_sub(length as u64));
                        return Poll::Ready(Some(Ok(Frame::data(data))));
                    }
                }
                Some(Err(error)) if this.is_over(&error) => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(this.broken(&error)))),
                None => this.data_ended = true,
            }
        }
        match ready!(this.stream.poll_trailers(cx)) {
            Ok(Some(mut trailers)) => {
                headers::keep_trailers(&mut trailers);
                Poll::Ready(Some(Ok(Frame::trailers(trailers))))
            }
            Ok(None) => Poll::Ready(None),
            Err(error) if this.is_over(&error) => Poll::Ready(None),
            Err(error) => Poll::Ready(Some(Err(this.broken(&error)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map(SizeHint::with_exact).unwrap_or_default()
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        if let Some(rest) = &self.rest {
            rest.abort();
        }
    }
}
