//! Upload: a request's body on its way to the target, as it comes, one chunk at a time.
//!
//! What the target gives no window for, the client is not asked for.
use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http::HeaderMap;
use http_body::Frame;

use super::super::pace::Pace;
use super::super::request_body::{BodySource, BodyTrouble, Coding, Source, WaitsFor};
use super::super::timer::Timer;
use crate::proxy::headers;

/// Bytes of a body that are kept for another attempt, until the answer's head is there.
const KEPT: u64 = 64 * 1024;
/// A call whose request is open may be quiet for this many times `client_idle`: an hour. Who keeps one open for longer lets
/// something be heard, as those who would know that the other side is still there do anyway.
const QUIET: u32 = 60;
/// How often it is looked whether one was quiet, in that time.
const LOOKS: u32 = 8;
/// Pieces they may have come in.
const PIECES: usize = 64;

/// How far the body has come; read after the upload itself is gone.
#[derive(Default)]
pub(in crate::proxy) struct Progress {
    /// Bytes taken from the client.
    pub(in crate::proxy) taken: Cell<u64>,
    /// The body was read to its end.
    pub(in crate::proxy) whole: Cell<bool>,
    /// It broke off on the client's side, or was too large.
    pub(super) broken: Cell<bool>,
    /// It came too slowly.
    pub(super) slow: Cell<bool>,
    /// Pieces of the answer that came meanwhile.
    pub(super) answered: Cell<u64>,
}

pub(super) struct Upload {
    stream: SendStream<Bytes>,
    source: Option<Source>,
    /// All of what was taken, while it is little: an app that says goodbye refuses calls that it has not looked at.
    kept: Option<VecDeque<Bytes>>,
    chunk: Bytes,
    /// The chunk is the body's last.
    is_last: bool,
    /// The target takes no more of it; its answer may still come.
    refused: bool,
    limit: u64,
    length: Option<u64>,
    coding: Coding,
    expects_continue: bool,
    may_trickle: bool,
    pace: Pace,
    quiet: Quiet,
    pub(super) progress: Rc<Progress>,
}

/// Since when nothing has passed either way.
#[derive(Default)]
struct Quiet {
    /// How long that may be so; `None` before it counts.
    limit: Option<Duration>,
    since: Option<Instant>,
    passed: (u64, u64),
    timer: Timer,
}

impl Quiet {
    /// Ready once it has been quiet for too long; `passed` counts what has gone each way.
    fn poll_over(&mut self, cx: &mut Context<'_>, passed: (u64, u64)) -> Poll<()> {
        let Some(limit) = self.limit else {
            return Poll::Pending;
        };
        if self.passed != passed {
            (self.since, self.passed) = (None, passed);
        }
        loop {
            let now = Instant::now();
            let due = *self.since.get_or_insert(now) + limit;
            if now >= due {
                return Poll::Ready(());
            }
            // An answer wakes nobody here: it is looked for every now and then.
            ready!(self.timer.poll_until(cx, due.min(now + limit / LOOKS)));
        }
    }
}

impl Upload {
    pub(super) fn new(stream: SendStream<Bytes>, source: BodySource) -> Upload {
        let progress = Rc::<Progress>::default();
        progress.whole.set(source.source.is_none());
        Upload {
            stream,
            source: source.source,
            kept: Some(VecDeque::new()),
            chunk: Bytes::new(),
            is_last: false,
            refused: false,
            limit: source.limit,
            length: source.length,
            coding: source.coding,
            expects_continue: source.expects_continue,
            may_trickle: source.may_trickle,
            pace: Pace::default(),
            quiet: Quiet::default(),
            progress,
        }
    }

    /// The body back for another attempt, if what was taken from it is still there.
    pub(super) fn into_source(self) -> Option<BodySource> {
        let mut again = self.kept?;
        let source = match (self.coding, self.source) {
            (Coding::None, _) => None,
            (_, Some(source)) => {
                again.extend(source.again);
                Some(Source { again, ..source })
            }
            (_, None) => Some(Source {
                again,
                incoming: None,
                trailers: 0,
            }),
        };
        Some(BodySource {
            source,
            length: self.length,
            coding: self.coding,
            limit: self.limit,
            expects_continue: self.expects_continue,
            may_trickle: self.may_trickle,
        })
    }

    /// There is an answer: nothing is sent again.
    pub(super) fn answered(&mut self) {
        self.kept = None;
    }

    /// From now on the body has to come at a pace; one that may trickle only may not be quiet for ever.
    pub(super) fn hurry(&mut self, client_idle: Duration) {
        match self.may_trickle {
            true => self.quiet.limit = Some(client_idle * QUIET),
            false => self.pace.set(client_idle),
        }
    }

    /// Ready once nothing has passed either way for too long, where a pace is not asked for.
    pub(super) fn poll_quiet(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let passed = (self.progress.taken.get(), self.progress.answered.get());
        self.quiet.poll_over(cx, passed)
    }

    /// Until when the client may be waited for, if it is what is waited for; `None`: it is too slow.
    pub(super) fn judge_pace(&mut self, now: Instant) -> Option<Instant> {
        self.pace.judge(now, self.progress.taken.get())
    }

    /// It is not the client that is waited for.
    pub(super) fn rest(&mut self) {
        self.pace.rest();
    }

    /// Moves all of what is left, at its pace. What comes too slowly ends, and its stream with it.
    pub(super) fn poll_whole(&mut self, cx: &mut Context<'_>, timer: &mut Timer) -> Poll<()> {
        loop {
            if self.poll_pump(cx).is_ready() {
                return Poll::Ready(());
            }
            if self.may_trickle {
                ready!(self.poll_quiet(cx));
                return self.is_too_slow();
            }
            if self.waits_for() != WaitsFor::Client {
                self.rest();
                return Poll::Pending;
            }
            let Some(until) = self.judge_pace(Instant::now()) else {
                return self.is_too_slow();
            };
            ready!(timer.poll_until(cx, until));
        }
    }

    /// It ends here, and its stream with it.
    fn is_too_slow(&mut self) -> Poll<()> {
        self.progress.slow.set(true);
        self.breaks(BodyTrouble::Client);
        Poll::Ready(())
    }

    pub(super) fn is_done(&self) -> bool {
        self.refused || (self.source.is_none() && self.chunk.is_empty())
    }

    /// What an upload that is not done waits for.
    pub(super) fn waits_for(&self) -> WaitsFor {
        match self.chunk.is_empty() {
            true => WaitsFor::Client,
            false => WaitsFor::Target,
        }
    }

    /// Moves what can be moved. A target that stops reading ends the upload without error: its answer decides.
    pub(super) fn poll_pump(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyTrouble>> {
        while !self.is_done() {
            if !self.chunk.is_empty() {
                if !ready!(self.poll_room(cx)) {
                    break;
                }
                let (chunk, is_last) = (std::mem::take(&mut self.chunk), self.is_last);
                self.sent(|stream| stream.send_data(chunk, is_last));
                continue;
            }
            let Some(source) = &mut self.source else {
                break;
            };
            match ready!(source.poll_frame(cx)) {
                Some(Ok(frame)) => self.queue(frame)?,
                Some(Err(trouble)) => return Poll::Ready(Err(self.breaks(trouble))),
                None => self.end(None),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Whether a chunk may be sent; `false`: the target wants no more.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        // A claim on the least: asking for all of it would take the connection's window from the other streams.
        self.stream.reserve_capacity(1);
        while self.stream.capacity() == 0 {
            match ready!(self.stream.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(_)) | None => {
                    self.refused = true;
                    return Poll::Ready(false);
                }
            }
        }
        Poll::Ready(true)
    }

    fn queue(&mut self, frame: Frame<Bytes>) -> Result<(), BodyTrouble> {
        match frame.into_data() {
            Ok(data) if data.is_empty() => {}
            Ok(data) => {
                let taken = self.progress.taken.get() + data.len() as u64;
                self.progress.taken.set(taken);
                if taken > self.limit {
                    return Err(self.breaks(BodyTrouble::TooLarge));
                }
                self.kept = self
                    .kept
                    .take()
                    .filter(|kept| taken <= KEPT && kept.len() < PIECES);
                if let Some(kept) = &mut self.kept {
                    kept.push_back(data.clone());
                }
                self.chunk = data;
                self.is_last = self.source.as_ref().is_some_and(Source::is_end);
                if self.is_last {
                    self.ended();
                }
            }
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    self.end(Some(trailers));
                }
            }
        }
        Ok(())
    }

    fn end(&mut self, trailers: Option<HeaderMap>) {
        self.ended();
        match trailers {
            Some(mut trailers) => {
                self.kept = None;
                headers::keep_trailers(&mut trailers);
                self.sent(|stream| stream.send_trailers(trailers));
            }
            None => self.sent(|stream| stream.send_data(Bytes::new(), true)),
        }
    }

    fn ended(&mut self) {
        self.source = None;
        self.progress.whole.set(true);
    }

    fn sent(&mut self, send: impl FnOnce(&mut SendStream<Bytes>) -> Result<(), h2::Error>) {
        self.refused |= send(&mut self.stream).is_err();
    }

    /// The target must not take a part of the body for the whole.
    fn breaks(&mut self, trouble: BodyTrouble) -> BodyTrouble {
        self.progress.broken.set(true);
        (self.source, self.kept) = (None, None);
        self.refused = true;
        self.stream.send_reset(Reason::CANCEL);
        trouble
    }
}
