//! Look: whether a client has left behind bytes that nobody reads.
//!
//! The end of what a client sends stands behind all of it, and as long as there is something to read the system tells of
//! nothing new. So the socket is asked, now and then, and only while somebody waits: who is quick never pays for it.
//! What it does not tell is an end that is still with the client's system, behind bytes that ours has no room for.
use std::os::fd::AsFd;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::upstream::Timer;

/// How often a client that is not read from is looked at.
pub(super) const LOOK: Duration = Duration::from_millis(250);

#[derive(Default)]
pub(super) struct Look {
    timer: Timer,
    next: Option<Instant>,
}

impl Look {
    /// It is read from again.
    pub(super) fn rests(&mut self) {
        self.next = None;
    }

    /// Ready each time that it is to be looked at.
    pub(super) fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let next = *self.next.get_or_insert_with(|| Instant::now() + LOOK);
        ready!(self.timer.poll_until(cx, next));
        self.next = None;
        Poll::Ready(())
    }
}

/// What a socket tells of its other side without being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// It may send more.
    Open,
    /// It has ended its sending, as whoever closes does; it may still listen.
    Ended,
    /// The connection broke: it was reset, or nothing is heard of its system.
    Broken,
}

impl Seen {
    pub(super) fn of(socket: impl AsFd) -> Seen {
        let mut asked = [PollFd::new(&socket, PollFlags::RDHUP)];
        // It does not wait. A failure says nothing of the client.
        if poll(&mut asked, Some(&Timespec::default())).is_err() {
            return Seen::Open;
        }
        let told = asked[0].revents();
        if told.contains(PollFlags::ERR) {
            Seen::Broken
        } else if told.intersects(PollFlags::RDHUP | PollFlags::HUP) {
            Seen::Ended
        } else {
            Seen::Open
        }
    }
}
