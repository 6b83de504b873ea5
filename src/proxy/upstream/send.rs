//! One request out, one answer's head back, over one connection.
//!
//! Both directions run at once: a target may answer before it has read the whole body. Time limits are the client's
//! while the body is missing, the target's otherwise.
use std::future::poll_fn;
use std::io;
use std::task::{Poll, ready};
use std::time::{Duration, Instant};

use http::{Method, StatusCode};

use super::answer_head::{self, AnswerHead};
use super::connection::Connection;
use super::request_body::{BodyTrouble, RequestBody, WaitsFor};
use crate::proxy::limits::Waits;
use crate::proxy::vigil::Vigil;

/// A target that does not say `100 Continue` within this time gets the body all the same (RFC 9110, 10.1.1).
const CONTINUE: Duration = Duration::from_secs(1);
/// Interim answers of one request, at most.
const INTERIM: u32 = 16;

#[derive(Debug)]
pub(crate) enum SendFailure {
    /// The connection ended before a byte of the answer came.
    Unanswered(io::Error),
    /// It ended inside the answer's head.
    CutShort,
    /// The answer cannot be understood.
    Malformed(&'static str),
    /// The target said nothing for too long.
    Silent,
    /// The target was given up while it had not answered.
    Left,
    ClientGone,
    ClientSilent,
    BodyTooLarge,
    /// What the request is for cannot be said in the target's protocol.
    Untellable,
    /// The request's source has as many streams to such targets as it may.
    TooManyOfSource,
}

pub(crate) fn send(
    connection: &mut Connection,
    method: &Method,
    body: &mut RequestBody,
    waits: Waits,
    mut vigil: Option<Vigil<'_>>,
) -> impl Future<Output = Result<AnswerHead, SendFailure>> {
    connection.begin();
    body.hurry(waits.client_idle);
    let mut waiting = None;
    let mut pumped = body.taken;
    let mut interim = 0;
    let mut answered = false;
    poll_fn(move |cx| {
        loop {
            if !body.is_done() {
                match body.poll_pump(cx, connection) {
                    Poll::Ready(Ok(())) => waiting = None,
                    Poll::Ready(Err(BodyTrouble::Client)) => {
                        return Poll::Ready(Err(SendFailure::ClientGone));
                    }
                    Poll::Ready(Err(BodyTrouble::TooLarge)) => {
                        return Poll::Ready(Err(SendFailure::BodyTooLarge));
                    }
                    Poll::Pending => {}
                }
                if body.taken != pumped {
                    pumped = body.taken;
                    waiting = None;
                }
            }
            match connection.poll_fill(cx, false) {
                Poll::Ready(Ok(0)) if answered || !connection.read.is_empty() => {
                    return Poll::Ready(Err(SendFailure::CutShort));
                }
                Poll::Ready(Ok(0)) => {
                    return Poll::Ready(Err(SendFailure::Unanswered(
                        io::ErrorKind::UnexpectedEof.into(),
                    )));
                }
                Poll::Ready(Err(_)) if answered || !connection.read.is_empty() => {
                    return Poll::Ready(Err(SendFailure::CutShort));
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(SendFailure::Unanswered(error))),
                Poll::Ready(Ok(_)) => {
                    while let Some(head) = answer_head::parse(&mut connection.read, method)
                        .map_err(SendFailure::Malformed)?
                    {
                        if !head.status.is_informational()
                            || head.status == StatusCode::SWITCHING_PROTOCOLS
                        {
                            return Poll::Ready(Ok(head));
                        }
                        // 103 and its like end here: hyper cannot pass them on.
                        answered = true;
                        interim += 1;
                        if interim > INTERIM {
                            return Poll::Ready(Err(SendFailure::Malformed(
                                "it sends one interim answer after another",
                            )));
                        }
                        body.go_on();
                    }
                    continue;
                }
                Poll::Pending => {}
            }
            let waits_for = if body.is_done() {
                WaitsFor::Target
            } else {
                body.waits_for()
            };
            let limit = match waits_for {
                WaitsFor::Target => waits.upstream_answer,
                WaitsFor::Client => waits.client_idle,
                WaitsFor::Continue => CONTINUE,
            };
            let deadline = match waiting {
                Some((what, deadline)) if what == waits_for => deadline,
                _ => Instant::now() + limit,
            };
            waiting = Some((waits_for, deadline));
            if waits_for == WaitsFor::Target
                && !answered
                && let Some(vigil) = &mut vigil
                && vigil
                    .poll(cx, &mut connection.timer, deadline - limit)
                    .is_ready()
            {
                return Poll::Ready(Err(SendFailure::Left));
            }
            let judged = match waits_for {
                WaitsFor::Client => body.judge_pace(Instant::now()),
                _ => {
                    body.pace.rest();
                    Some(deadline)
                }
            };
            let Some(judged) = judged else {
                return Poll::Ready(Err(SendFailure::ClientSilent));
            };
            ready!(connection.timer.poll_until(cx, deadline.min(judged)));
            match waits_for {
                WaitsFor::Target => return Poll::Ready(Err(SendFailure::Silent)),
                WaitsFor::Client if Instant::now() < deadline => {}
                WaitsFor::Client => return Poll::Ready(Err(SendFailure::ClientSilent)),
                WaitsFor::Continue => {
                    body.go_on();
                    waiting = None;
                }
            }
        }
    })
}
