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

use super::error::EdgeError;
use super::limits::Limits;
use super::origin::{End, Header, Origin};
use super::tunnel::Tunnel;
use super::worker::Worker;

/// A connection this long without a request gives back the buffers of its protocol.
const PARKED_AFTER: Duration = Duration::from_millis(300);

/// How far the edge is on its way down, as each connection sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    Serving,
    /// Answers say that the connection ends with them; idle ones wait a moment for a last request.
    Leaving,
    /// Idle connections and tunnels end, running requests go on.
    Ending,
    /// The drain's limit has passed.
    Cut,
}

/// What a connection deserves at a moment.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Wait(Instant),
    /// Quiet for a moment: keep nothing of it but the connection.
    Park,
    /// Idle for long enough: end it with the protocol's own words.
    End,
    /// It keeps us waiting: drop it.
    Drop,
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
    pub(super) tunnel: RefCell<Option<Tunnel>>,
    /// Why the head was refused that a stand-in came for.
    pub(super) refused_head: Cell<Option<EdgeError>>,
    in_flight: Cell<u32>,
    /// Requests that are over.
    answered: Cell<u64>,
    /// The connection is to be woken when the next request is over.
    awaits_answer: Cell<bool>,
    idle_since: Cell<Instant>,
    head_since: Cell<Option<Instant>>,
    blocked_since: Cell<Option<Instant>>,
    /// The last request was read to its end, so that what comes next is a new one.
    at_boundary: Cell<bool>,
    /// Answers of HTTP/2 whose next piece the client does not ask for, and when it last asked for any.
    unwanted: Cell<u32>,
    wanted_at: Cell<Instant>,
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
            in_flight: Cell::new(0),
            answered: Cell::new(0),
            awaits_answer: Cell::new(false),
            idle_since: Cell::new(now),
            // The first head is due from the start.
            head_since: Cell::new(Some(now)),
            blocked_since: Cell::new(None),
            at_boundary: Cell::new(false),
            unwanted: Cell::new(0),
            wanted_at: Cell::new(now),
            phase: Cell::new(phase),
            waker: RefCell::new(None),
        }
    }

    /// The limits in force now.
    pub(super) fn limits(&self) -> Limits {
        **self.worker.shared.limits.load()
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

    /// `read_whole`: nothing of the request's body is left on the connection.
    pub(super) fn request_ends(&self, read_whole: bool) {
        let left = self.in_flight.get() - 1;
        self.in_flight.set(left);
        self.at_boundary.set(read_whole);
        self.answered.set(self.answered.get() + 1);
        if self.awaits_answer.take()
            && let Some(waker) = &*self.waker.borrow()
        {
            waker.wake_by_ref();
        }
        if left == 0 {
            self.idle_since.set(Instant::now());
        }
    }

    /// Whether a request is being served.
    pub(super) fn is_served(&self) -> bool {
        self.in_flight.get() > 0
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
        if self.in_flight.get() == 0 && self.head_since.get().is_none() && !self.http2.get() {
            self.head_since.set(Some(Instant::now()));
        }
    }

    pub(super) fn write_went(&self, blocked: bool) {
        match (blocked, self.blocked_since.get()) {
            (true, None) => self.blocked_since.set(Some(Instant::now())),
            (false, Some(_)) => self.blocked_since.set(None),
            _ => {}
        }
    }

    /// A piece of an answer was handed over: the next move is the client's.
    pub(super) fn piece_given(&self) {
        if self.http2.get() {
            self.unwanted.set(self.unwanted.get() + 1);
        }
    }

    /// The client asked for more of an answer, or that answer is over.
    pub(super) fn piece_wanted(&self) {
        if self.http2.get() {
            self.unwanted.set(self.unwanted.get().saturating_sub(1));
            self.wanted_at.set(Instant::now());
        }
    }

    /// Every answer on the connection waits for the client to take more of it.
    fn is_stalled(&self) -> bool {
        self.in_flight.get() > 0 && self.unwanted.get() == self.in_flight.get()
    }

    fn is_quiet(&self) -> bool {
        self.in_flight.get() == 0
            && self.head_since.get().is_none()
            && self.blocked_since.get().is_none()
            && self.at_boundary.get()
            && !self.http2.get()
    }

    pub(super) fn verdict(&self, now: Instant) -> Verdict {
        let limits = self.limits();
        let past = |since: Instant, limit: Duration| now.saturating_duration_since(since) >= limit;
        if let Some(blocked) = self.blocked_since.get() {
            return if past(blocked, limits.client_idle) {
                Verdict::Drop
            } else {
                Verdict::Wait(blocked + limits.client_idle)
            };
        }
        if self.in_flight.get() > 0 {
            let stalled = self.is_stalled() && past(self.wanted_at.get(), limits.client_idle);
            return if stalled {
                Verdict::Drop
            } else {
                Verdict::Wait(now + limits.client_idle)
            };
        }
        if let Some(head) = self.head_since.get() {
            return if past(head, limits.client_header) {
                Verdict::Drop
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

    /// The earliest moment at which the verdict could change for the worse.
    pub(super) fn due(&self) -> Option<Instant> {
        match (self.blocked_since.get(), self.head_since.get()) {
            (Some(blocked), _) => Some(blocked + self.limits().client_idle),
            (None, Some(head)) => Some(head + self.limits().client_header),
            (None, None) if self.is_stalled() => {
                Some(self.wanted_at.get() + self.limits().client_idle)
            }
            (None, None) => self
                .is_quiet()
                .then(|| self.idle_since.get() + PARKED_AFTER),
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
