//! Vigil: over a request that waits for its answer at one of several targets.
//!
//! After a moment it listens whether its target is given up: a request that only reads then goes elsewhere. After a long
//! time of silence it speaks against the target itself, and has the control plane look at it. The waits end on a timer that the request has anyhow, and a request that is
//! answered within the moment has no part in any of it.
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::sync::futures::OwnedNotified;

use super::attempt;
use super::edge::What;
use super::outliers;
use super::routes::Route;
use super::target::Target;
use super::upstream::Timer;
use super::worker::Worker;
use crate::base::sabotage::Sabotage;

const MOMENT: Duration = Duration::from_millis(250);
/// So long a silence speaks against a target, if its siblings answer.
const SILENCE: Duration = Duration::from_secs(10);

pub(super) struct Vigil<'a> {
    route: &'a Route,
    target: &'a Arc<Target>,
    worker: &'a Worker,
    /// Sending it again changes nothing at the target.
    may_go: bool,
    leaves: u64,
    /// Since when it waits, and what comes next.
    since: Option<Instant>,
    next: Option<(Instant, Next)>,
    signal: Option<Pin<Box<OwnedNotified>>>,
}

#[derive(Clone, Copy)]
enum Next {
    Listen,
    Judge,
}

impl<'a> Vigil<'a> {
    pub(super) fn new(
        route: &'a Route,
        target: &'a Arc<Target>,
        worker: &'a Worker,
        may_go: bool,
    ) -> Vigil<'a> {
        Vigil {
            route,
            target,
            worker,
            may_go,
            leaves: target.leaves(),
            since: None,
            next: None,
            signal: None,
        }
    }

    /// Ready when the request is to go elsewhere. `since` is when its wait for the target began.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        timer: &mut Timer,
        since: Instant,
    ) -> Poll<()> {
        if self.since != Some(since) {
            self.since = Some(since);
            self.next = Some(match self.may_go {
                true => (since + MOMENT, Next::Listen),
                false => (since + SILENCE, Next::Judge),
            });
        }
        while let Some((moment, next)) = self.next {
            if timer.poll_until(cx, moment).is_pending() {
                break;
            }
            match next {
                Next::Listen => {
                    let signal = self.target.leave_signal().clone();
                    self.signal = Some(Box::pin(signal.notified_owned()));
                    self.next = Some((since + SILENCE, Next::Judge));
                }
                Next::Judge => {
                    self.next = None;
                    let (since, now) = (self.worker.ms(since), self.worker.ms(Instant::now()));
                    if !self.target.standing().answered_since(since) {
                        // Whether it hangs is found out by asking it: few requests never speak loud enough.
                        let silent = What::Silent(self.target.traits().protocol);
                        attempt::report(self.worker, self.target, silent);
                    }
                    outliers::silent(self.route, self.target, since, now);
                }
            }
        }
        let Some(signal) = &mut self.signal else {
            return Poll::Pending;
        };
        // Listening first: what happens between the look and the wait wakes it.
        let told = signal.as_mut().poll(cx).is_ready() || self.target.leaves() != self.leaves;
        if !told {
            return Poll::Pending;
        }
        self.signal = None;
        if may_resend(self.route, self.worker) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

/// Takes one off what a route may send again, if there is one left.
pub(super) fn may_resend(route: &Route, worker: &Worker) -> bool {
    let now = worker.ms(Instant::now());
    !Sabotage::NoRetries.is_on() && route.budget().spend(route.meter().started(), now)
}
