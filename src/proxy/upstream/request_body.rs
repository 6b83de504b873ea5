//! A request on its way to the target: head first, then the client's body as it comes, framed anew.
//!
//! Holds at most one chunk at a time: what the target does not take, the client is not asked for.
use std::collections::VecDeque;
use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use http::header::{self, HeaderMap};
use http_body::{Body, Frame};
use hyper::body::Incoming;

use super::connection::Connection;
use super::pace::Pace;
use crate::proxy::headers;

/// How the body is told to the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    None,
    Length,
    Chunked,
}

pub(crate) struct RequestBody {
    out: BytesMut,
    chunk: Bytes,
    tail: &'static [u8],
    source: Option<Source>,
    coding: Coding,
    limit: u64,
    /// Body bytes taken from the client.
    pub(crate) taken: u64,
    /// The client waits for `100 Continue`, and the target has not said it yet.
    awaits_continue: bool,
    /// The target stopped reading; its answer may still come.
    refused: bool,
    length: Option<u64>,
    expected_continue: bool,
    pub(super) pace: Pace,
}

#[derive(Debug)]
pub(crate) enum BodyTrouble {
    /// The client's body broke off.
    Client,
    TooLarge,
}

/// What a pump that is not done waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaitsFor {
    Client,
    Target,
    Continue,
}

/// The client's body and what was decided about it; becomes a `RequestBody` once the head is written.
pub(crate) struct BodySource {
    pub(super) source: Option<Source>,
    pub(super) length: Option<u64>,
    pub(super) coding: Coding,
    pub(super) limit: u64,
    pub(super) expects_continue: bool,
    pub(super) may_trickle: bool,
}

/// What is left of a body: pieces that were sent to a target in vain, then what the client sends.
pub(crate) struct Source {
    pub(super) again: VecDeque<Bytes>,
    /// `None`: the client has sent all of it.
    pub(super) incoming: Option<Incoming>,
    /// Bytes that its trailers may have.
    pub(super) trailers: usize,
}

impl Source {
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyTrouble>>> {
        if let Some(piece) = self.again.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        let Some(incoming) = &mut self.incoming else {
            return Poll::Ready(None);
        };
        let mut frame = ready!(Pin::new(incoming).poll_frame(cx));
        if let Some(Ok(frame)) = &mut frame
            && let Some(trailers) = frame.trailers_mut()
        {
            // Ours, over HTTP/2 (`h2_trailers`): not one of theirs to be counted.
            trailers.remove(header::PROXY_AUTHENTICATE);
        }
        Poll::Ready(frame.map(|frame| match frame {
            // Over HTTP/2 nobody has looked at their number and size before.
            Ok(frame) if frame.trailers_ref().is_some_and(|t| self.are_too_large(t)) => {
                Err(BodyTrouble::Client)
            }
            frame => frame.map_err(|_| BodyTrouble::Client),
        }))
    }

    fn are_too_large(&self, trailers: &HeaderMap) -> bool {
        trailers.len() > headers::FIELDS || headers::bytes(trailers) > self.trailers
    }

    pub(super) fn is_end(&self) -> bool {
        self.again.is_empty() && self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }
}

impl BodySource {
    /// `limit`: bytes it may have; `trailers`: those that may follow it.
    pub(crate) fn new(
        incoming: Incoming,
        limit: u64,
        trailers: usize,
        expects_continue: bool,
    ) -> BodySource {
        let coding = match (incoming.is_end_stream(), incoming.size_hint().exact()) {
            (true, _) => Coding::None,
            (false, Some(_)) => Coding::Length,
            (false, None) => Coding::Chunked,
        };
        let length = incoming.size_hint().exact();
        let expects_continue = expects_continue && coding != Coding::None;
        BodySource {
            source: (coding != Coding::None).then_some(Source {
                again: VecDeque::new(),
                incoming: Some(incoming),
                trailers,
            }),
            length,
            coding,
            limit,
            expects_continue,
            may_trickle: false,
        }
    }

    /// Whether the body is a conversation: no pace is asked of it, where its target is spoken to over HTTP/2.
    pub(crate) fn may_trickle(mut self, may: bool) -> BodySource {
        self.may_trickle = may;
        self
    }

    /// So much is taken, at most.
    pub(crate) fn limit_to(&mut self, limit: u64) {
        self.limit = limit;
    }

    pub(crate) fn length(&self) -> Option<u64> {
        self.length
    }

    pub(crate) fn coding(&self) -> Coding {
        self.coding
    }

    pub(crate) fn expects_continue(&self) -> bool {
        self.expects_continue
    }
}

impl RequestBody {
    /// `head` is the request's head, ready to be sent.
    pub(crate) fn new(head: BytesMut, source: BodySource) -> RequestBody {
        RequestBody {
            out: head,
            chunk: Bytes::new(),
            tail: b"",
            coding: source.coding,
            limit: source.limit,
            awaits_continue: source.expects_continue,
            length: source.length,
            expected_continue: source.expects_continue,
            source: source.source,
            taken: 0,
            refused: false,
            pace: Pace::default(),
        }
    }

    /// The body back for another attempt, if nothing was taken from it.
    pub(crate) fn into_source(self) -> Option<BodySource> {
        let untouched = self.taken == 0 && (self.coding == Coding::None || self.source.is_some());
        untouched.then_some(BodySource {
            source: self.source,
            length: self.length,
            coding: self.coding,
            limit: self.limit,
            expects_continue: self.expected_continue,
            may_trickle: false,
        })
    }

    /// From now on the body has to come at a pace.
    pub(super) fn hurry(&mut self, client_idle: Duration) {
        self.pace.set(client_idle);
    }

    /// Until when the pump may wait for the client, if it waits for it; `None`: it is too slow.
    pub(super) fn judge_pace(&mut self, now: Instant) -> Option<Instant> {
        self.pace.judge(now, self.taken)
    }

    pub(crate) fn is_done(&self) -> bool {
        self.refused || (self.source.is_none() && !self.has_pending())
    }

    /// Whether all of it reached the target's socket.
    pub(crate) fn is_whole(&self) -> bool {
        !self.refused && self.is_done()
    }

    pub(crate) fn awaits_continue(&self) -> bool {
        self.awaits_continue
    }

    pub(crate) fn go_on(&mut self) {
        self.awaits_continue = false;
    }

    fn has_pending(&self) -> bool {
        !self.out.is_empty() || !self.chunk.is_empty() || !self.tail.is_empty()
    }

    pub(crate) fn waits_for(&self) -> WaitsFor {
        if self.has_pending() {
            WaitsFor::Target
        } else if self.awaits_continue {
            WaitsFor::Continue
        } else {
            WaitsFor::Client
        }
    }

    /// Moves what can be moved. A target that stops reading ends the pump without error: its answer decides.
    pub(crate) fn poll_pump(
        &mut self,
        cx: &mut Context<'_>,
        connection: &mut Connection,
    ) -> Poll<Result<(), BodyTrouble>> {
        loop {
            while self.has_pending() {
                let slices = [
                    IoSlice::new(&self.out),
                    IoSlice::new(&self.chunk),
                    IoSlice::new(self.tail),
                ];
                let slices = if self.chunk.is_empty() && self.tail.is_empty() {
                    &slices[..1]
                } else {
                    &slices[..]
                };
                match ready!(connection.poll_write(cx, slices)) {
                    Ok(written) => self.advance(written),
                    Err(_) => {
                        self.refused = true;
                        return Poll::Ready(Ok(()));
                    }
                }
            }
            let Some(source) = &mut self.source else {
                return Poll::Ready(Ok(()));
            };
            if self.awaits_continue {
                return Poll::Pending;
            }
            match ready!(source.poll_frame(cx)) {
                Some(Ok(frame)) => self.queue(frame)?,
                Some(Err(trouble)) => return Poll::Ready(Err(trouble)),
                None => {
                    self.source = None;
                    if self.coding == Coding::Chunked {
                        self.tail = b"0\r\n\r\n";
                    }
                }
            }
        }
    }

    fn queue(&mut self, frame: Frame<Bytes>) -> Result<(), BodyTrouble> {
        match frame.into_data() {
            Ok(data) if data.is_empty() => {}
            Ok(data) => {
                self.taken += data.len() as u64;
                if self.taken > self.limit {
                    return Err(BodyTrouble::TooLarge);
                }
                if self.coding == Coding::Chunked {
                    self.out
                        .extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
                    self.tail = b"\r\n";
                }
                self.chunk = data;
            }
            Err(frame) => {
                let Ok(trailers) = frame.into_trailers() else {
                    return Ok(());
                };
                self.source = None;
                if self.coding == Coding::Chunked {
                    self.out.extend_from_slice(b"0\r\n");
                    for (name, value) in &trailers {
                        if headers::may_be_trailer(name) {
                            headers::write_field(&mut self.out, name.as_str(), value.as_bytes());
                        }
                    }
                    self.out.extend_from_slice(b"\r\n");
                }
            }
        }
        Ok(())
    }

    fn advance(&mut self, mut written: usize) {
        let out = written.min(self.out.len());
        self.out.advance(out);
        written -= out;
        let chunk = written.min(self.chunk.len());
        self.chunk.advance(chunk);
        written -= chunk;
        self.tail = &self.tail[written.min(self.tail.len())..];
    }
}
