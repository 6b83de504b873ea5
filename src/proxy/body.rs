//! The body of an answer as the client's protocol takes it, and with it the exchange it ends.
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::access_log::Ending;
use super::client::Piece;
use super::compressor::Compressed;
use super::exchange::Exchange;
use super::meter::AtLimit;
use super::refusal::Refusal;
use super::stream_end::{Farewell, StreamEnd};
use super::turn::Turn;
use super::upstream::{AnswerBody, BodyFailure};

/// Over HTTP/2 a piece that is larger …
const UNWATCHED: usize = 16 * 1024;
/// … has its end in a frame of its own: hyper forgets a stream whose last piece it has handed to h2, which it does as soon
/// as there is room for one byte, and h2 would keep all the rest for ever. Copied, so that it does not hold the piece.
const ITS_END: usize = 1024;
pub(super) struct EdgeBody {
    content: Content,
    /// The end of the piece that was given last.
    rest: Bytes,
    exchange: Option<Box<Exchange>>,
    end: StreamEnd,
}

enum Content {
    Bytes(Bytes),
    Answer(Box<AnswerBody>),
    /// A beginning that was read already, and what comes behind it.
    Begun(Box<(Compressed, Content)>),
    /// All that is left of an answer.
    Trailers(Box<HeaderMap>),
    /// Made by somebody else, in pieces.
    Foreign(Pin<Box<dyn Body<Data = Bytes, Error = Broken>>>),
    Nothing,
}

/// The answer ended before its time; hyper cuts the connection or resets the stream, so that the client notices.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error("the upstream closed the connection inside its answer's body")]
    CutShort,
    #[error("the upstream's answer is malformed: {0}")]
    Malformed(&'static str),
    #[error("the file changed or could not be read while it was sent")]
    File,
    #[error("the client's body broke off")]
    Client,
    #[error("the client's body came too slowly")]
    ClientSlow,
    #[error("the drain of what answers has reached its limit")]
    AtLimit,
    #[error("a panic while the answer was passed on")]
    Panicked,
}

impl Broken {
    fn ending(&self) -> Ending {
        match self {
            Broken::CutShort => Ending::UpstreamCut,
            Broken::Malformed(_) => Ending::UpstreamMalformed,
            Broken::File => Ending::FileChanged,
            Broken::Client => Ending::ClientGone,
            Broken::ClientSlow => Ending::ClientSlow,
            Broken::AtLimit => Ending::CutAtLimit,
            Broken::Panicked => Ending::Panicked,
        }
    }
}

impl From<BodyFailure> for Broken {
    fn from(failure: BodyFailure) -> Broken {
        match failure {
            BodyFailure::CutShort => Broken::CutShort,
            BodyFailure::Malformed(what) => Broken::Malformed(what),
            BodyFailure::Client => Broken::Client,
            BodyFailure::ClientSlow => Broken::ClientSlow,
        }
    }
}

impl EdgeBody {
    pub(super) fn empty() -> EdgeBody {
        EdgeBody {
            content: Content::Nothing,
            rest: Bytes::new(),
            exchange: None,
            end: StreamEnd::none(),
        }
    }

    pub(super) fn text(text: impl Into<Bytes>) -> EdgeBody {
        EdgeBody {
            content: Content::Bytes(text.into()),
            rest: Bytes::new(),
            exchange: None,
            end: StreamEnd::none(),
        }
    }

    pub(super) fn answer(answer: AnswerBody) -> EdgeBody {
        EdgeBody {
            content: Content::Answer(Box::new(answer)),
            rest: Bytes::new(),
            exchange: None,
            end: StreamEnd::none(),
        }
    }

    pub(super) fn foreign(body: impl Body<Data = Bytes, Error = Broken> + 'static) -> EdgeBody {
        EdgeBody {
            content: Content::Foreign(Box::pin(body)),
            rest: Bytes::new(),
            exchange: None,
            end: StreamEnd::none(),
        }
    }

    /// This body, of which the beginning was taken by [`EdgeBody::gather`].
    pub(super) fn begun(self, beginning: Compressed) -> EdgeBody {
        EdgeBody {
            content: Content::Begun(Box::new((beginning, self.content))),
            rest: self.rest,
            exchange: self.exchange,
            end: self.end,
        }
    }

    /// Reads a body before it is answered with: whether to its end, without trailers, within `most` bytes. What was read
    /// stays in `into` when this is given up midway, and what is left stays here.
    pub(super) async fn gather(
        &mut self,
        exchange: &mut Exchange,
        into: &mut BytesMut,
        most: usize,
    ) -> Result<bool, Broken> {
        while into.len() <= most {
            let frame = poll_fn(|cx| self.content.poll(cx)).await;
            self.content.settle(exchange);
            let Some(frame) = frame else {
                return Ok(true);
            };
            match frame?.into_data() {
                Ok(data) => into.extend_from_slice(&data),
                Err(frame) => {
                    if let Ok(trailers) = frame.into_trailers() {
                        self.content = Content::Trailers(Box::new(trailers));
                        return Ok(false);
                    }
                }
            }
        }
        Ok(false)
    }

    /// The exchange ends with this body; `is_head_alone`: nobody will ask for any of it.
    pub(super) fn ends(&mut self, exchange: Exchange, is_head_alone: bool, end: StreamEnd) {
        self.end = end;
        let mut exchange = Box::new(exchange);
        let is_over = is_head_alone || matches!(self.content, Content::Bytes(_) | Content::Nothing);
        exchange.ending = if is_over {
            Ending::Whole
        } else {
            Ending::default()
        };
        self.exchange = Some(exchange);
        self.settle();
        if is_head_alone {
            // Some apps send one all the same.
            self.content = Content::Nothing;
        }
        self.note_end();
    }

    /// Whoever sends it does not ask for more of a body that says that it is over.
    fn note_end(&mut self) {
        if self.is_end_stream() {
            self.is_whole();
        }
    }

    fn is_whole(&mut self) {
        if let Some(exchange) = &mut self.exchange
            && exchange.outcome.at_limit.is_none()
        {
            exchange.ending = Ending::Whole;
        }
    }

    fn settle(&mut self) {
        if let Some(exchange) = &mut self.exchange {
            self.content.settle(exchange);
        }
    }

    /// More of an answer that a drain may end.
    fn poll_endable(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let Some(exchange) = &mut self.exchange else {
            return self.content.poll(cx);
        };
        let Some(claim) = exchange.claim() else {
            return self.content.poll(cx);
        };
        let (client, target, end) = (&exchange.client, claim.target(), &mut self.end);
        if !end.is_due(client, target) {
            let polled = self.content.poll(cx);
            if let Poll::Ready(Some(Ok(frame))) = &polled
                && let Some(data) = frame.data_ref()
            {
                end.passed(data);
            }
            if polled.is_pending() {
                end.listen(cx, client, target);
            }
            return polled;
        }
        let is_late = end.is_late(cx);
        let mut polled = self.content.poll(cx);
        let is_its_own_end = match &polled {
            Poll::Ready(Some(Ok(frame))) => frame.is_trailers(),
            Poll::Ready(None | Some(Err(_))) => true,
            Poll::Pending => false,
        };
        if is_its_own_end {
            return polled;
        }
        match end.farewell(is_late) {
            Farewell::Not => {}
            Farewell::Breaks => return Poll::Ready(Some(Err(Broken::AtLimit))),
            Farewell::Ends(trailers) => {
                exchange.ended_at_limit(AtLimit::Ended);
                self.content = Content::Nothing;
                return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
            }
        }
        if let Poll::Ready(Some(Ok(frame))) = &mut polled
            && let Some(data) = frame.data_mut()
        {
            let last = end.passes_last(data);
            data.truncate(last);
        }
        polled
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if let Some(exchange) = &mut self.exchange {
            exchange.client.piece.set(Piece::Wanted);
            if exchange.turn.is_over() {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
        let polled = match self.rest.is_empty() {
            true if self.end.may_come() => self.poll_endable(cx),
            true => self.content.poll(cx),
            false => Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.rest))))),
        };
        match polled {
            Poll::Pending => {
                if let Some(exchange) = &mut self.exchange {
                    exchange.turn = Turn::default();
                }
                Poll::Pending
            }
            Poll::Ready(Some(Ok(mut frame))) => {
                if let (Some(exchange), Some(data)) = (&mut self.exchange, frame.data_mut()) {
                    if data.len() > UNWATCHED && exchange.client.http2.get() {
                        let at = data.len() - ITS_END;
                        self.rest = Bytes::copy_from_slice(&data[at..]);
                        data.truncate(at);
                    }
                    exchange.outcome.bytes_out += data.len() as u64;
                    exchange.turn.given(data.len());
                    exchange.client.piece_given(data.len());
                }
                self.settle();
                self.note_end();
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(None) => {
                self.settle();
                self.is_whole();
                self.content = Content::Nothing;
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(broken))) => {
                if let Some(exchange) = &mut self.exchange {
                    exchange.outcome.failed = !matches!(
                        broken,
                        Broken::Client | Broken::ClientSlow | Broken::AtLimit
                    );
                    if self.end.is_told_by_close {
                        exchange.client.is_to_be_reset.set(true);
                    }
                    if matches!(broken, Broken::ClientSlow) {
                        exchange.client.refused(Refusal::SlowBody);
                    }
                    exchange.ending = broken.ending();
                    if matches!(broken, Broken::AtLimit) {
                        exchange.ended_at_limit(AtLimit::Cut);
                    }
                }
                self.content = Content::Nothing;
                Poll::Ready(Some(Err(broken)))
            }
        }
    }
}

impl Body for EdgeBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let this = self.get_mut();
        match catch_unwind(AssertUnwindSafe(|| this.poll(cx))) {
            Ok(polled) => polled,
            Err(_) => {
                if let Some(exchange) = &mut this.exchange {
                    exchange.ending = Ending::Panicked;
                    let route = exchange.route().map(|route| &*route.spec.key);
                    exchange.client.panicked(None, route);
                }
                Poll::Ready(Some(Err(Broken::Panicked)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            _ if !self.rest.is_empty() => false,
            Content::Nothing => true,
            Content::Bytes(bytes) => bytes.is_empty(),
            Content::Answer(_) | Content::Begun(_) | Content::Trailers(_) => false,
            Content::Foreign(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.content.size_hint()
    }
}

impl Content {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match self {
            Content::Nothing => Poll::Ready(None),
            Content::Bytes(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = Content::Nothing;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Content::Begun(both) => {
                let beginning = Pin::new(&mut both.0).poll_frame(cx);
                if !matches!(beginning, Poll::Ready(None)) {
                    return beginning;
                }
                *self = std::mem::replace(&mut both.1, Content::Nothing);
                self.poll(cx)
            }
            Content::Answer(answer) => answer.poll_frame(cx).map_err(Broken::from),
            Content::Trailers(trailers) => {
                let trailers = std::mem::take(&mut **trailers);
                *self = Content::Nothing;
                Poll::Ready(Some(Ok(Frame::trailers(trailers))))
            }
            Content::Foreign(body) => body.as_mut().poll_frame(cx),
        }
    }

    /// An answer that has ended gives its connection back at once, not when the client has read it.
    fn settle(&mut self, exchange: &mut Exchange) {
        let Content::Answer(answer) = self else {
            return;
        };
        if !answer.is_ended() {
            return;
        }
        exchange.outcome.bytes_in += answer.taken();
        exchange.read_whole = answer.request_is_whole();
        if let (Some(connection), Some(claim)) = (answer.reusable(), exchange.claim()) {
            let worker = &exchange.client.worker;
            worker
                .pool
                .borrow_mut()
                .give_back(claim.target(), connection, Instant::now());
            worker.turns.freed(claim.target().id());
        }
        *self = Content::Nothing;
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Content::Nothing => SizeHint::with_exact(0),
            Content::Bytes(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Content::Answer(answer) => answer.left().map(SizeHint::with_exact).unwrap_or_default(),
            Content::Foreign(body) => body.size_hint(),
            Content::Trailers(_) => SizeHint::default(),
            Content::Begun(both) => {
                let (beginning, rest) = (both.0.size_hint(), both.1.size_hint());
                let exact = rest.exact().zip(beginning.exact());
                exact
                    .map(|(rest, beginning)| SizeHint::with_exact(rest + beginning))
                    .unwrap_or_default()
            }
        }
    }
}
