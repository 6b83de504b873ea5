//! Client: one connection from outside, what it is doing, and how long it may go on doing nothing.
//!
//! The connection's own task is the only one that touches it; the worker sets its phase and wakes it.
use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use http::HeaderMap;

use super::abandoned::{Abandoned, AbandonedBy, Haste};
use super::error::EdgeError;
use super::h2_frames::earned_by;
use super::h2_line::{self, Share};
use super::h2_stream::{AGAIN, CROWD, FULL};
use super::limits::Limits;
use super::origin::{End, Header, Origin};
use super::refusal::Refusal;
use super::sources::Source;
use super::tunnel::Tunnel;
use super::worker::Worker;

/// A connection this long without a request gives back the buffers of its protocol.
const PARKED_AFTER: Duration = Duration::from_millis(300);

/// A client that does not take all that is there for it takes this much in `client_idle`, or is dropped: 273 bytes a
/// second in a minute.
const TAKEN_IN_TIME: u64 = 16 * 1024;
/// Who has just come is about to say why: an edge that goes down waits so long for it.
const FIRST_WORD: Duration = Duration::from_secs(2);
/// How long a condemned connection has for its last frames.
const LAST_WORD: Duration = Duration::from_secs(1);

/// How far the edge is on its way down, as each connection sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    Serving,
    /// Answers say that the connection ends with them; idle ones wait a moment for a last request.
    Leaving,
    /// The same, and another edge takes new connections by now: those of HTTP/2 end, what cannot be
    /// told without an end, idle ones of HTTP/1.1 and tunnels, goes on for a while.
    Succeeded,
    /// As `Ending`, beside another edge: the held wait on, for it may say that what they wait for is there.
    Parting,
    /// Idle connections and tunnels end, and so do the held; running requests go on.
    Ending,
    /// The drain's limit is reached: streams end in their own way, other answers without a length are broken off.
    AtLimit,
    /// It has passed.
    Cut,
}

/// How long a connection of HTTP/1.1 may be blocked, when so many answers of its worker wait to be taken.
fn patience(waiting: u32, limit: Duration) -> Duration {
    if waiting <= CROWD {
        limit
    } else if waiting <= FULL {
        limit / AGAIN
    } else {
        Duration::ZERO
    }
}

/// What a connection deserves at a moment.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Wait(Instant),
    /// Quiet for a moment: keep nothing of it but the connection.
    Park,
    /// Idle for long enough: end it with the protocol's own words.
    End,
    /// Drop it: it keeps us waiting, for the reason given, or never began.
    Drop(Option<Refusal>),
}

/// What became of an answer's body while the stream of HTTP/2 that it is on was run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Untouched,
    /// More of it was asked for, and there is none yet.
    Wanted,
    /// A piece was handed over: the next move is the client's.
    Given,
}

pub(super) struct Client {
    pub(super) worker: Rc<Worker>,
    /// The peer's; if that is a proxy that speaks the PROXY protocol, the one it told of.
    pub(super) address: IpAddr,
    pub(super) address_text: String,
    /// What that proxy said before.
    header: Option<Header>,
    /// The name in TLS; `None` on port 80 or without one.
    pub(super) name: Option<Arc<str>>,
    pub(super) https: bool,
    pub(super) http2: Cell<bool>,
    /// Set by the request that became a tunnel, taken by the connection once the 101 is out.
    pub(super) tunnel: RefCell<Option<Box<Tunnel>>>,
    /// Why the head was refused that a stand-in came for.
    pub(super) refused_head: Cell<Option<EdgeError>>,
    /// Over HTTP/2, what a request's head and its trailers may have: as much as when h2 was given its bound.
    pub(super) header_bytes: Cell<usize>,
    /// Over HTTP/2: a request's trailers were longer than what is sure to be told of them.
    pub(super) trailers_lost: Cell<bool>,
    /// An answer whose end is that of the connection broke off, which a polite end would pass for whole, or nobody takes it.
    pub(super) is_to_be_reset: Cell<bool>,
    in_flight: Cell<u32>,
    /// Requests that are over.
    answered: Cell<u64>,
    /// Those that a target has answered.
    by_apps: Cell<u64>,
    /// The connection is to be woken when the next request is over.
    awaits_answer: Cell<bool>,
    idle_since: Cell<Instant>,
    head_since: Cell<Option<Instant>>,
    /// The same over HTTP/2, where a head has come in part.
    part_since: Cell<Option<Instant>>,
    /// Bytes of it that were taken, and since when, and at how many of those, the client takes no more.
    sent: Cell<u64>,
    blocked: Cell<Option<(Instant, u64)>>,
    /// The last request was read to its end, so that what comes next is a new one.
    at_boundary: Cell<bool>,
    /// Something came from it.
    heard: Cell<bool>,
    pub(super) piece: Cell<Piece>,
    /// Streams of HTTP/2 whose answer waits to be taken.
    pub(super) waiting: Cell<u32>,
    /// Tasks of its streams of HTTP/2, those that stand in line included.
    pub(super) streams: Cell<u32>,
    /// What its streams of HTTP/2 have cost.
    pub(super) share: Share,
    /// What pieces of answers have earned (`h2_frames`).
    earned: Cell<u32>,
    abandoned: Cell<Abandoned>,
    /// The same of those that a trusted proxy speaks for on it.
    abandoned_by: RefCell<Option<Box<AbandonedBy>>>,
    /// Since when nothing is taken from it but the end.
    condemned: Cell<Option<Instant>>,
    phase: Cell<Phase>,
    waker: RefCell<Option<Waker>>,
}

impl Client {
    pub(super) fn new(
        worker: Rc<Worker>,
        address: IpAddr,
        header: Option<Header>,
        https: bool,
        name: Option<Arc<str>>,
        now: Instant,
    ) -> Client {
        let phase = worker.phase.get();
        Client {
            worker,
            address,
            address_text: address.to_string(),
            header,
            name,
            https,
            http2: Cell::new(false),
            tunnel: RefCell::new(None),
            refused_head: Cell::new(None),
            header_bytes: Cell::new(usize::MAX),
            trailers_lost: Cell::new(false),
            is_to_be_reset: Cell::new(false),
            in_flight: Cell::new(0),
            answered: Cell::new(0),
            by_apps: Cell::new(0),
            awaits_answer: Cell::new(false),
            // Since its handshake, if there was one.
            idle_since: Cell::new(Instant::now()),
            // The first head is due from the start.
            head_since: Cell::new(Some(now)),
            part_since: Cell::new(None),
            sent: Cell::new(0),
            blocked: Cell::new(None),
            at_boundary: Cell::new(false),
            heard: Cell::new(false),
            piece: Cell::new(Piece::Untouched),
            waiting: Cell::new(0),
            streams: Cell::new(0),
            share: Share::default(),
            earned: Cell::new(0),
            abandoned: Cell::new(Abandoned::new(now)),
            abandoned_by: RefCell::default(),
            condemned: Cell::new(None),
            phase: Cell::new(phase),
            waker: RefCell::new(None),
        }
    }

    /// The limits in force now. Over HTTP/2 that of heads is at most what it was when the connection began: h2 keeps the
    /// bound it was given, and leaves out what of trailers goes over it, so that ours must decide before.
    pub(super) fn limits(&self) -> Limits {
        let mut limits = **self.worker.shared.limits.load();
        limits.header_bytes = limits.header_bytes.min(self.header_bytes.get());
        limits
    }

    /// Who a request with these fields comes from: this connection's peer, or whom it speaks for.
    pub(super) fn origin(&self, headers: &HeaderMap) -> Origin<'_> {
        let end = End {
            address: self.address,
            text: &self.address_text,
            https: self.https,
            header: self.header,
        };
        match self.worker.shared.trust.load() {
            Some(proxies) => Origin::told(&proxies, end, headers),
            None => Origin::peer(end),
        }
    }

    pub(super) fn request_begins(&self) {
        self.in_flight.set(self.in_flight.get() + 1);
        self.head_since.set(None);
    }

    /// `read_whole`: nothing of the request's body is left on the connection. `answered`: it got a head, `by_app`: of a
    /// target. `spoken_for`: whose it was, where a trusted proxy told.
    pub(super) fn request_ends(
        &self,
        read_whole: bool,
        answered: bool,
        by_app: bool,
        spoken_for: Option<Source>,
    ) {
        let left = self.in_flight.get() - 1;
        self.in_flight.set(left);
        self.at_boundary.set(read_whole);
        self.answered.set(self.answered.get() + 1);
        if answered && by_app {
            self.by_apps.set(self.by_apps.get() + 1);
        }
        if self.awaits_answer.take() {
            self.wake();
        }
        if let (false, true, Some(of)) = (answered, self.http2.get(), spoken_for) {
            let mut abandoned = self.abandoned_by.borrow_mut();
            let abandoned = abandoned.get_or_insert_default();
            abandoned.another(of, Instant::now(), self.by_apps.get());
        } else if !answered && self.http2.get() {
            let mut abandoned = self.abandoned.get();
            let is_attack = abandoned.another(Instant::now(), self.by_apps.get());
            self.abandoned.set(abandoned);
            if is_attack {
                self.condemn(Refusal::Abandoned);
            }
        }
        if left == 0 {
            self.idle_since.set(Instant::now());
        }
    }

    /// How many requests are being served.
    pub(super) fn under_way(&self) -> u32 {
        self.in_flight.get()
    }

    /// Whether a request is being served.
    pub(super) fn is_served(&self) -> bool {
        self.in_flight.get() > 0
    }

    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// So many requests on it, or of whom it speaks for, were reset before they were answered that each waits a moment
    /// before it costs an app anything, or is refused.
    pub(super) fn haste(&self, now: Instant, spoken_for: Option<Source>) -> Haste {
        let by_apps = self.by_apps.get();
        match spoken_for {
            Some(of) => match &*self.abandoned_by.borrow() {
                Some(abandoned) => abandoned.haste(of, now, by_apps),
                None => Haste::None,
            },
            None if self.abandoned.get().is_hasty(now, by_apps) => Haste::Waits,
            None => Haste::None,
        }
    }

    /// Whether many clients stand behind it.
    pub(super) fn stands_for_many(&self) -> bool {
        self.worker.shared.stands_for_many(self.address)
    }

    /// Counts why this client was turned away.
    pub(super) fn refused(&self, why: Refusal) {
        self.worker.shared.refused.count(why);
    }

    /// Counts a panic that was caught, and tells of one a minute.
    pub(super) fn panicked(&self, request: Option<&str>, route: Option<&str>) {
        self.refused(Refusal::Panic);
        if self.worker.shared.said_panic.is_due(Instant::now()) {
            tracing::error!(
                request,
                route,
                "a request panicked in the edge, which is a mistake of the edge: it was answered with 500 or broken off, the others go on. More of them are counted, and told once a minute"
            );
        }
    }

    /// Ends the connection for this reason, with `ENHANCE_YOUR_CALM`; only over HTTP/2.
    pub(super) fn condemn(&self, why: Refusal) {
        if self.condemned.get().is_none() {
            self.condemned.set(Some(Instant::now()));
            self.refused(why);
            self.wake();
        }
    }

    /// The connection is over: the requests that end with it are no attack.
    pub(super) fn leaves(&self) {
        if self.condemned.get().is_none() {
            self.condemned.set(Some(Instant::now()));
        }
    }

    pub(super) fn is_condemned(&self) -> bool {
        self.condemned.get().is_some()
    }

    /// Requests that are over.
    pub(super) fn answered(&self) -> u64 {
        self.answered.get()
    }

    /// What was read is held until a request is over.
    pub(super) fn awaits_answer(&self) {
        self.awaits_answer.set(true);
    }

    pub(super) fn bytes_arrived(&self) {
        self.heard.set(true);
        if self.in_flight.get() == 0 && self.head_since.get().is_none() && !self.http2.get() {
            self.head_since.set(Some(Instant::now()));
        }
    }

    /// Over HTTP/2: whether a head has come in part, which is due as over HTTP/1.1.
    pub(super) fn head_goes_on(&self, in_part: bool) {
        if in_part != self.part_since.get().is_some() {
            self.part_since.set(in_part.then(Instant::now));
        }
    }

    /// Since when a head is due.
    fn head_due_since(&self) -> Option<Instant> {
        self.head_since.get().or(self.part_since.get())
    }

    /// The client took so many bytes of what it is sent.
    pub(super) fn bytes_went(&self, count: usize) {
        let sent = self.sent.get() + count as u64;
        self.sent.set(sent);
        if let Some((_, before)) = self.blocked.get()
            && sent - before >= TAKEN_IN_TIME
        {
            self.write_goes_on();
        }
    }

    /// It took all there is.
    pub(super) fn all_went(&self) {
        self.write_goes_on();
    }

    pub(super) fn write_is_blocked(&self) {
        if self.blocked.get().is_none() {
            self.blocked.set(Some((Instant::now(), self.sent.get())));
            // Over HTTP/2 its streams are counted.
            if !self.http2.get() {
                self.worker.waiting.set(self.worker.waiting.get() + 1);
            }
        }
    }

    fn write_goes_on(&self) {
        if self.blocked.take().is_some() && !self.http2.get() {
            self.worker.waiting.set(self.worker.waiting.get() - 1);
        }
    }

    /// It has not taken all it could have.
    pub(super) fn is_blocked(&self) -> bool {
        self.blocked.get().is_some()
    }

    /// A piece of an answer was handed over: the next move is the client's.
    pub(super) fn piece_given(&self, length: usize) {
        self.piece.set(Piece::Given);
        self.spends(h2_line::cost_of(length));
        self.earns(length);
    }

    /// One of its streams of HTTP/2 has cost the worker so much more than being run.
    pub(super) fn spends(&self, cost: u32) {
        if self.http2.get() {
            self.worker.line.spend(&self.share, cost);
        }
    }

    /// So much was handed over: its client will grant room for more.
    pub(super) fn earns(&self, length: usize) {
        self.earned
            .set(self.earned.get().saturating_add(earned_by(length)));
    }

    /// What pieces of answers have earned since this was asked.
    pub(super) fn take_earned(&self) -> u32 {
        self.earned.take()
    }

    /// Until when the connection may be blocked, as far as is known, and when that is to be asked again: meanwhile others
    /// may have come who take nothing either.
    fn may_be_blocked(&self, since: Instant, now: Instant) -> (Instant, Instant) {
        let limit = self.limits().client_idle;
        let patience = match self.http2.get() {
            true => limit,
            false => patience(self.worker.waiting.get(), limit),
        };
        let end = since + patience;
        (end, end.min(now + limit / AGAIN))
    }

    fn is_quiet(&self) -> bool {
        self.in_flight.get() == 0
            && self.head_since.get().is_none()
            && !self.is_blocked()
            && self.at_boundary.get()
            && !self.http2.get()
    }

    pub(super) fn verdict(&self, now: Instant) -> Verdict {
        let limits = self.limits();
        let past = |since: Instant, limit: Duration| now.saturating_duration_since(since) >= limit;
        if let Some(condemned) = self.condemned.get() {
            // Whoever condemned it has counted it.
            return if past(condemned, LAST_WORD) {
                Verdict::Drop(None)
            } else {
                Verdict::Wait(condemned + LAST_WORD)
            };
        }
        if let Some((blocked, _)) = self.blocked.get() {
            let (end, next) = self.may_be_blocked(blocked, now);
            return if now >= end {
                Verdict::Drop(Some(Refusal::SlowReader))
            } else {
                Verdict::Wait(next)
            };
        }
        if self.in_flight.get() > 0 {
            return Verdict::Wait(now + limits.client_idle);
        }
        if let Some(head) = self.head_due_since() {
            return if past(head, limits.client_header) {
                // Browsers connect ahead of need.
                let began = match self.http2.get() {
                    true => self.part_since.get().is_some(),
                    false => self.heard.get(),
                };
                Verdict::Drop(began.then_some(Refusal::SlowHead))
            } else {
                Verdict::Wait(head + limits.client_header)
            };
        }
        let idle = self.idle_since.get();
        if self.is_quiet() && !past(idle, limits.client_idle) {
            return if past(idle, PARKED_AFTER) {
                Verdict::Park
            } else {
                Verdict::Wait(idle + PARKED_AFTER)
            };
        }
        if past(idle, limits.client_idle) {
            Verdict::End
        } else {
            Verdict::Wait(idle + limits.client_idle)
        }
    }

    /// Until when a request is waited for by an edge that goes down, a first one or one of which a part has come; `None` where
    /// none is, or where the end can be told without losing one.
    pub(super) fn comes_until(&self) -> Option<Instant> {
        if self.in_flight.get() > 0 || self.http2.get() {
            return None;
        }
        let since = match self.answered.get() {
            0 => Some(self.idle_since.get()),
            _ => self.head_since.get(),
        };
        since.map(|since| since + FIRST_WORD)
    }

    /// The earliest moment at which the verdict could change for the worse.
    pub(super) fn due(&self) -> Option<Instant> {
        let head = self.head_due_since();
        match (self.condemned.get(), self.blocked.get()) {
            (Some(condemned), _) => Some(condemned + LAST_WORD),
            (None, Some((blocked, _))) => Some(self.may_be_blocked(blocked, Instant::now()).1),
            (None, None) => match head {
                Some(head) => Some(head + self.limits().client_header),
                None => self
                    .is_quiet()
                    .then(|| self.idle_since.get() + PARKED_AFTER),
            },
        }
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase.get()
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.phase.set(phase);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    pub(super) fn idle_until(&self) -> Instant {
        self.idle_since.get() + self.limits().client_idle
    }

    /// The task to wake when the phase changes.
    pub(super) fn listen(&self, cx: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        if !waker
            .as_ref()
            .is_some_and(|waker| waker.will_wake(cx.waker()))
        {
            *waker = Some(cx.waker().clone());
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.write_goes_on();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e4_the_more_answers_wait_the_sooner_a_connection_that_takes_nothing_is_given_up() {
        let limit = Duration::from_secs(60);
        for (waiting, seconds) in [(1, 60.0), (CROWD, 60.0), (CROWD + 1, 7.5), (FULL, 7.5)] {
            assert_eq!(patience(waiting, limit).as_secs_f64(), seconds, "{waiting}");
        }
        assert_eq!(patience(FULL + 1, limit), Duration::ZERO);
    }
}
