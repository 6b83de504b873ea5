//! The body of an answer as it comes from the target, while the rest of the request may still be on its way there.
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use http_body::Frame;

use super::answer_head::Framing;
use super::chunked::{Chunked, Decoded};
use super::connection::Connection;
use super::request_body::{RequestBody, WaitsFor};

/// Why an answer could not be brought to its end. The client sees a cut connection or a reset stream.
#[derive(Debug)]
pub(crate) enum BodyFailure {
    CutShort,
    Malformed(&'static str),
    Client,
    /// The rest of the request's body came too slowly.
    ClientSlow,
}

pub(crate) struct AnswerBody {
    connection: Option<Connection>,
    request: Option<RequestBody>,
    state: State,
    keep_alive: bool,
    taken_before: u64,
    request_was_whole: bool,
}

enum State {
    Length(u64),
    Chunked(Chunked),
    UntilClose,
    Ended,
}

impl AnswerBody {
    /// The connection is kept for another request only if both messages end well.
    pub(crate) fn new(
        connection: Connection,
        request: RequestBody,
        framing: Framing,
        keep_alive: bool,
    ) -> AnswerBody {
        let state = match framing {
            Framing::Length(0) => State::Ended,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Chunked(Chunked::Size),
            Framing::UntilClose => State::UntilClose,
        };
        // A body the target never asked for is not sent any more; it may still expect it, so the connection ends here.
        let keep_alive = keep_alive && !request.awaits_continue();
        let (taken_before, request_was_whole) = (request.taken, request.is_whole());
        let request = (!request.is_whole() && !request.awaits_continue()).then_some(request);
        AnswerBody {
            connection: Some(connection),
            request,
            state,
            keep_alive,
            taken_before,
            request_was_whole,
        }
    }

    pub(crate) fn is_ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    /// What is left of a body of known length.
    pub(crate) fn left(&self) -> Option<u64> {
        match self.state {
            State::Length(left) => Some(left),
            State::Ended => Some(0),
            _ => None,
        }
    }

    /// The connection, if it may serve another request. Ask once the body has ended.
    pub(crate) fn reusable(&mut self) -> Option<Connection> {
        let whole = self.is_ended() && self.request.as_ref().is_none_or(RequestBody::is_whole);
        let connection = self.connection.take()?;
        if whole && self.keep_alive && connection.read.is_empty() {
            return Some(connection);
        }
        if whole && self.taken_before + self.taken() == 0 {
            // All was said. Who closes first would keep the port for a minute, and there are few of them to one address. Of a
            // body some may be on its way yet, and a reset would take it back.
            connection.reset();
        }
        None
    }

    /// Whether the request's body was read to its end from the client.
    pub(crate) fn request_is_whole(&self) -> bool {
        self.request_was_whole || self.request.as_ref().is_some_and(RequestBody::is_whole)
    }

    /// Body bytes of the request that came after the answer's head.
    pub(crate) fn taken(&self) -> u64 {
        self.request
            .as_ref()
            .map_or(0, |request| request.taken - self.taken_before)
    }

    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFailure>>> {
        let Some(connection) = &mut self.connection else {
            return Poll::Ready(None);
        };
        if let Some(request) = &mut self.request
            && !request.is_done()
            && let Err(failure) = pump(request, cx, connection)
        {
            return Poll::Ready(Some(Err(failure)));
        }
        loop {
            match &mut self.state {
                State::Ended => return Poll::Ready(None),
                State::Length(left) if !connection.read.is_empty() => {
                    let take = usize::try_from(*left)
                        .unwrap_or(usize::MAX)
                        .min(connection.read.len());
                    *left -= take as u64;
                    if *left == 0 {
                        self.state = State::Ended;
                    }
                    return Poll::Ready(Some(Ok(Frame::data(
                        connection.read.split_to(take).freeze(),
                    ))));
                }
                State::UntilClose if !connection.read.is_empty() => {
                    return Poll::Ready(Some(Ok(Frame::data(connection.read.split().freeze()))));
                }
                State::Chunked(chunked) => match chunked.decode(&mut connection.read) {
                    Ok(Decoded::Data(data)) => {
                        if chunked.ends_here(&mut connection.read) {
                            self.state = State::Ended;
                        }
                        return Poll::Ready(Some(Ok(Frame::data(data))));
                    }
                    Ok(Decoded::Trailers(trailers)) => {
                        self.state = State::Ended;
                        return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                    }
                    Ok(Decoded::End) => {
                        self.state = State::Ended;
                        return Poll::Ready(None);
                    }
                    Ok(Decoded::More) => {}
                    Err(what) => return Poll::Ready(Some(Err(BodyFailure::Malformed(what)))),
                },
                State::Length(_) | State::UntilClose => {}
            }
            match ready!(connection.poll_fill(cx, true)) {
                Ok(0) if matches!(self.state, State::UntilClose) => {
                    self.state = State::Ended;
                    return Poll::Ready(None);
                }
                Ok(0) | Err(_) => return Poll::Ready(Some(Err(BodyFailure::CutShort))),
                Ok(_) => {}
            }
        }
    }
}

/// Moves the rest of a request while its answer is under way already.
fn pump(
    request: &mut RequestBody,
    cx: &mut Context<'_>,
    connection: &mut Connection,
) -> Result<(), BodyFailure> {
    loop {
        if let Poll::Ready(Err(_)) = request.poll_pump(cx, connection) {
            return Err(BodyFailure::Client);
        }
        if request.is_done() {
            return Ok(());
        }
        if request.waits_for() != WaitsFor::Client {
            request.pace.rest();
            return Ok(());
        }
        let until = request
            .judge_pace(Instant::now())
            .ok_or(BodyFailure::ClientSlow)?;
        if connection.timer.poll_until(cx, until).is_pending() {
            return Ok(());
        }
    }
}
