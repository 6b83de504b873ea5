//! Tunnel watch: when a tunnel is over though nobody has ended it.
//!
//! A quiet tunnel is a good one. One whose bytes are not taken holds them and a place at the app for nobody, and so does
//! one of which a side has ended when nothing passes the other way any more. A client that nobody reads from
//! is looked at: it may have left. Who has ended its sending alone may still hear what the app says.
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::time::{Sleep, sleep_until};

use super::client::Client;
use super::client_io::Wire;
use super::look::{LOOK, Seen};
use super::tunnel::Direction;

#[derive(Default)]
pub(super) struct TunnelWatch {
    up: Since,
    down: Since,
    half: Since,
    timer: Option<Pin<Box<Sleep>>>,
    wire: Option<Rc<Wire>>,
}

/// Since when something holds without a byte moved, and how many had by then.
#[derive(Default)]
struct Since(Option<(Instant, u64)>);

impl Since {
    fn note(&mut self, holds: bool, moved: u64) -> Option<Instant> {
        self.0 = match self.0 {
            _ if !holds => None,
            Some((since, before)) if before == moved => Some((since, before)),
            _ => Some((Instant::now(), moved)),
        };
        self.0.map(|(since, _)| since)
    }
}

impl TunnelWatch {
    /// `wire`: the client's, if it is looked at by its socket. A stream of HTTP/2 that is reset while nobody reads from it tells
    /// whoever tries to write to it.
    pub(super) fn over(wire: Option<Rc<Wire>>) -> TunnelWatch {
        TunnelWatch {
            wire,
            ..TunnelWatch::default()
        }
    }

    /// Ready once the tunnel has to end: a side took nothing, or one that is left alone said nothing, for as long as a client
    /// may be idle. Costs nothing while both ways are open.
    pub(super) fn poll_over(
        &mut self,
        cx: &mut Context<'_>,
        client: &Client,
        up: &Direction,
        down: &Direction,
    ) -> Poll<()> {
        let since = [
            self.up.note(up.blocked, up.moved),
            self.down.note(down.blocked, down.moved),
            self.half
                .note(up.ended || down.ended, up.moved + down.moved),
        ];
        let Some(first) = since.into_iter().flatten().min() else {
            return Poll::Pending;
        };
        let due = first + client.limits().client_idle;
        // The timer wakes the tunnel, which tries to write before it asks here.
        let is_left_alone = self.half.0.is_some() || self.up.0.is_some();
        let next = match is_left_alone {
            true => due.min(Instant::now() + LOOK),
            false => due,
        };
        let is_read = !up.blocked && !up.ended;
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(sleep_until(next.into())));
        // Moved only when it fires, or must fire sooner.
        if timer.deadline().into_std() > next {
            timer.as_mut().reset(next.into());
        }
        while timer.as_mut().poll(cx).is_ready() {
            if Instant::now() >= due || (!is_read && is_broken(self.wire.as_deref())) {
                return Poll::Ready(());
            }
            timer.as_mut().reset(next.into());
        }
        Poll::Pending
    }
}

fn is_broken(wire: Option<&Wire>) -> bool {
    wire.is_some_and(|wire| wire.seen() == Seen::Broken)
}
