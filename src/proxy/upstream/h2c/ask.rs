//! One request out on a stream, its answer's head back.
//!
//! Both directions run at once. Time limits are the client's while the body is missing, the target's otherwise. A gRPC
//! call whose body is open may be silent for far longer, an hour by default.
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use h2::Reason;
use http::{HeaderMap, Method, Request, StatusCode};

use super::super::answer_head;
use super::super::request_body::{BodySource, BodyTrouble, Coding, WaitsFor};
use super::super::send::SendFailure;
use super::super::timer::Timer;
use super::answer::AnswerBody;
use super::connections::Slot;
use super::upload::{Progress, Upload};
use crate::proxy::attempt::STALE_WITHIN;
use crate::proxy::limits::Limits;
use crate::proxy::vigil::Vigil;

pub(in crate::proxy) struct Answer {
    pub(in crate::proxy) status: StatusCode,
    /// Without hop-by-hop fields.
    pub(in crate::proxy) headers: HeaderMap,
    pub(in crate::proxy) body: AnswerBody,
    pub(in crate::proxy) upload: Rc<Progress>,
}

/// Why there was no answer.
pub(in crate::proxy) struct Failure {
    pub(in crate::proxy) why: SendFailure,
    /// The target has not seen the request, or says that it did nothing for it.
    pub(in crate::proxy) unsent: bool,
    /// The connection had served before and ended within a moment, or took no more: most likely it was closed before the
    /// request came.
    pub(in crate::proxy) stale: bool,
    /// The body, if nothing was taken from it.
    pub(in crate::proxy) body: Option<BodySource>,
}

/// `patient`: see the module's words on gRPC.
pub(in crate::proxy) async fn ask(
    mut slot: Slot,
    request: Request<()>,
    body: BodySource,
    limits: &Limits,
    patient: bool,
    mut vigil: Option<Vigil<'_>>,
) -> Result<Answer, Failure> {
    let method = request.method().clone();
    let (reused, began) = (slot.is_reused(), Instant::now());
    let before = slot.written();
    let bodiless = body.coding() == Coding::None;
    let (mut response, stream) = match slot.sender.send_request(request, bodiless) {
        Ok(opened) => opened,
        Err(error) => {
            slot.forget();
            return Err(Failure {
                why: unanswered(&slot, error),
                unsent: slot.has_spoken(),
                stale: reused,
                body: Some(body),
            });
        }
    };
    let mut upload = Upload::new(stream, body);
    upload.hurry(limits.client_idle);
    let mut clock = Clock::default();
    // A stream, by a target that is there and began with it.
    let mut was_reset = false;
    let answered = poll_fn(|cx| {
        if !upload.is_done() {
            match upload.poll_pump(cx) {
                Poll::Ready(Err(BodyTrouble::Client)) => {
                    return Poll::Ready(Err((SendFailure::ClientGone, false)));
                }
                Poll::Ready(Err(BodyTrouble::TooLarge)) => {
                    return Poll::Ready(Err((SendFailure::BodyTooLarge, false)));
                }
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
        }
        if let Poll::Ready(result) = Pin::new(&mut response).poll(cx) {
            return Poll::Ready(result.map_err(|error| {
                let untouched = slot.has_spoken() && slot.written() == before;
                let unsent = untouched || was_refused(&error);
                was_reset = error.is_remote()
                    && error.is_reset()
                    && error.reason() != Some(Reason::REFUSED_STREAM);
                (unanswered(&slot, error), unsent)
            }));
        }
        if patient && !upload.is_done() {
            ready!(upload.poll_quiet(cx));
            return Poll::Ready(Err((SendFailure::ClientSilent, false)));
        }
        let (waits_for, limit) = match (upload.is_done(), upload.waits_for()) {
            (false, WaitsFor::Client) => (WaitsFor::Client, limits.client_idle),
            _ => (WaitsFor::Target, limits.upstream_answer),
        };
        let state = (waits_for, upload.is_done(), upload.progress.taken.get());
        let since = clock.since(state);
        if waits_for == WaitsFor::Target {
            upload.rest();
            if let Some(vigil) = &mut vigil
                && vigil.poll(cx, &mut clock.timer, since).is_ready()
            {
                return Poll::Ready(Err((SendFailure::Left, false)));
            }
            ready!(clock.timer.poll_until(cx, since + limit));
            return Poll::Ready(Err((SendFailure::Silent, false)));
        }
        ready!(poll_slowness(
            cx,
            &mut upload,
            &mut clock.timer,
            since + limit
        ));
        Poll::Ready(Err((SendFailure::ClientSilent, false)))
    })
    .await;
    match answered {
        Ok(response) => {
            slot.served();
            finish(response, &method, slot, upload).map_err(|what| Failure {
                why: SendFailure::Malformed(what),
                unsent: false,
                stale: false,
                body: None,
            })
        }
        Err((why, unsent)) => {
            if matches!(why, SendFailure::Silent | SendFailure::Left) {
                // Whether it is the app or the way to it: other requests need not share it.
                slot.forget();
            }
            Err(Failure {
                why,
                unsent,
                stale: reused && !was_reset && began.elapsed() < STALE_WITHIN,
                body: upload.into_source(),
            })
        }
    }
}

/// Whether the target says that it did nothing for the request (RFC 9113, 8.7): a stream refused, or one above the last
/// that a GOAWAY lets pass.
fn was_refused(error: &h2::Error) -> bool {
    error.is_remote() && (error.is_go_away() || error.reason() == Some(Reason::REFUSED_STREAM))
}

fn unanswered(slot: &Slot, error: h2::Error) -> SendFailure {
    if error.is_library() || slot.is_malformed() {
        return SendFailure::Malformed("what it says is not HTTP/2, or breaks its rules");
    }
    SendFailure::Unanswered(io::Error::other(error))
}

fn finish(
    response: http::Response<h2::RecvStream>,
    method: &Method,
    slot: Slot,
    mut upload: Upload,
) -> Result<Answer, &'static str> {
    upload.answered();
    let (parts, stream) = response.into_parts();
    let (headers, length) = answer_head::judge(parts.status, parts.headers, method)?;
    let progress = upload.progress.clone();
    Ok(Answer {
        status: parts.status,
        headers,
        body: AnswerBody::new(stream, length, slot, upload),
        upload: progress,
    })
}

/// Ready when the client has brought nothing up to the deadline, or too little.
fn poll_slowness(
    cx: &mut Context<'_>,
    upload: &mut Upload,
    timer: &mut Timer,
    deadline: Instant,
) -> Poll<()> {
    loop {
        let now = Instant::now();
        let Some(until) = upload.judge_pace(now).filter(|_| now < deadline) else {
            return Poll::Ready(());
        };
        ready!(timer.poll_until(cx, until.min(deadline)));
    }
}

/// Since when nothing has changed.
#[derive(Default)]
struct Clock {
    timer: Timer,
    state: Option<((WaitsFor, bool, u64), Instant)>,
}

impl Clock {
    fn since(&mut self, state: (WaitsFor, bool, u64)) -> Instant {
        match self.state {
            Some((same, since)) if same == state => since,
            _ => {
                let now = Instant::now();
                self.state = Some((state, now));
                now
            }
        }
    }
}
