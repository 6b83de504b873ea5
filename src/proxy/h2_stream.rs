//! The streams of a client's HTTP/2 connection, each a task of the worker, and watched: is the answer taken?
//!
//! A stream whose client takes nothing more of its answer for `client_idle` is reset, whatever the others on the
//! connection do. Dropping its task is the one way to end a stream of hyper's from outside: h2 then throws away what was
//! queued for it and says RST_STREAM CANCEL, and the claim on the app is given back.
//!
//! A stream that waits for its client holds memory, up to 160 KB: what h2 keeps of its answer and the piece behind that.
//! So those that wait are counted, and when a worker has many, a connection keeps no more than a few of them, and when it has four times as many, none more.
//!
//! Of the streams of a connection only some are run before the sockets are looked at and everything else that is ready has
//! its turn: a hundred requests can come, be answered or be given up in one moment, and each may cost a tenth of a millisecond.
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use hyper::rt::Executor;
use tokio::task::yield_now;
use tokio::time::{Sleep, sleep_until};

use super::client::{Client, Piece};
use super::local::Local;
use super::refusal::Refusal;

/// A stream is looked at again after this part of the limit while the whole connection waits for its client.
const AGAIN: u32 = 8;
/// When so many streams of a worker wait for their clients (160 MB) …
const CROWD: u32 = 1_024;
/// … those of one connection may be no more than these: more than a page of large pictures on a slow line needs.
const FEW: u32 = 16;
/// When so many wait (640 MB), none more may: many connections of few streams hold as much as few of many.
const FULL: u32 = 4 * CROWD;

/// What the streams of a connection may cost in a row, some milliseconds of work: each that is run costs 1, …
const IN_A_ROW: u32 = 48;
/// … every so many bytes of an answer 1 more, …
const BYTES_FOR_ONE: usize = 4 * 1024;
/// … a connection to an app that is opened so much, …
const OPENED: u32 = 8;
/// … and a stream that is given up, with all that was held for it, so much.
const GIVEN_UP: u32 = 16;

/// What a connection's streams have cost since everything else had its turn.
#[derive(Default)]
pub(super) struct Round {
    number: Cell<u32>,
    spent: Cell<u32>,
}

impl Round {
    /// Everything else had its turn.
    pub(super) fn begin(&self) {
        self.number.set(self.number.get().wrapping_add(1));
        self.spent.set(0);
    }

    /// A piece of an answer was handed over.
    pub(super) fn moved(&self, bytes: usize) {
        self.spend(u32::try_from(bytes / BYTES_FOR_ONE).unwrap_or(IN_A_ROW));
    }

    /// A connection to an app was opened.
    pub(super) fn opened(&self) {
        self.spend(OPENED);
    }

    fn spend(&self, cost: u32) {
        self.spent.set(self.spent.get().saturating_add(cost));
    }

    /// Whether a stream may be run; `waits` is the round at whose end it is to be asked for again.
    fn admits(&self, waits: &mut Option<u32>) -> bool {
        if waits.take() == Some(self.number.get()) {
            self.begin();
        }
        if self.spent.get() >= IN_A_ROW {
            *waits = Some(self.number.get());
            return false;
        }
        self.spend(1);
        true
    }
}

/// Runs the streams of one connection.
#[derive(Clone)]
pub(super) struct Streams(Rc<Client>);

impl Streams {
    pub(super) fn of(client: &Rc<Client>) -> Streams {
        Streams(client.clone())
    }
}

impl<F: Future<Output = ()> + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        Local.execute(watched(self.0.clone(), stream));
    }
}

async fn watched(client: Rc<Client>, stream: impl Future<Output = ()>) {
    let mut stream = pin!(stream);
    let mut stall = Stall::of(client.clone());
    let mut waits = None;
    poll_fn(|cx| {
        if !client.round.admits(&mut waits) {
            // Woken when the sockets have been looked at.
            return pin!(yield_now()).poll(cx);
        }
        client.piece.set(Piece::Untouched);
        // A body that may have lost some of its trailers must not pass for whole; the connection is over anyway.
        if client.trailers_lost.get() {
            return Poll::Ready(());
        }
        if stream.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        match client.piece.get() {
            Piece::Untouched => {}
            Piece::Wanted => stall.ends(),
            Piece::Given => stall.begins(),
        }
        if stall.is_over(cx) {
            client.round.spend(GIVEN_UP);
            client.refused(Refusal::SlowReader);
            return Poll::Ready(());
        }
        Poll::Pending
    })
    .await;
}

/// How long the last piece of an answer has been waiting to be taken.
struct Stall {
    client: Rc<Client>,
    since: Option<Instant>,
    /// Made once a limit and not once a piece: most pieces are taken at once.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Stall {
    fn of(client: Rc<Client>) -> Stall {
        Stall {
            client,
            since: None,
            timer: None,
        }
    }

    fn begins(&mut self) {
        if self.since.replace(Instant::now()).is_none() {
            let (of_client, of_worker) = (&self.client.waiting, &self.client.worker.waiting);
            of_client.set(of_client.get() + 1);
            of_worker.set(of_worker.get() + 1);
        }
    }

    fn ends(&mut self) {
        if self.since.take().is_some() {
            let (of_client, of_worker) = (&self.client.waiting, &self.client.worker.waiting);
            of_client.set(of_client.get() - 1);
            of_worker.set(of_worker.get() - 1);
        }
    }

    fn is_one_too_many(&self) -> bool {
        let (of_client, of_worker) = (&self.client.waiting, &self.client.worker.waiting);
        self.since.is_some() && are_too_many(of_worker.get(), of_client.get())
    }

    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        let client = &self.client;
        if self.is_one_too_many() {
            return true;
        }
        loop {
            let timer = match (&mut self.timer, self.since) {
                (None, None) => return false,
                (Some(timer), _) => timer,
                (timer, Some(since)) => {
                    let due = since + client.limits().client_idle;
                    timer.insert(Box::pin(sleep_until(due.into())))
                }
            };
            if timer.as_mut().poll(cx).is_pending() {
                return false;
            }
            let Some(since) = self.since else {
                self.timer = None;
                return false;
            };
            let limit = client.limits().client_idle;
            let (now, mut due) = (Instant::now(), since + limit);
            if due <= now {
                // On a slow line streams wait for each other, and how slow a line may be is not decided here.
                if !client.is_blocked() {
                    return true;
                }
                due = now + limit / AGAIN;
            }
            timer.as_mut().reset(due.into());
        }
    }
}

impl Drop for Stall {
    fn drop(&mut self) {
        self.ends();
    }
}

/// Whether a stream that waits is one too many, when so many of its worker and of its connection do.
fn are_too_many(of_worker: u32, of_client: u32) -> bool {
    of_worker > FULL || (of_worker > CROWD && of_client > FEW)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e4_of_many_streams_that_are_ready_a_few_are_run_in_a_row() {
        let round = Round::default();
        // How many of 128 that are ready are run in each row, with answers of so many bytes.
        let rows = |bytes: usize| {
            let mut streams = [None; 128];
            let mut left: Vec<_> = streams.iter_mut().collect();
            let mut rows = Vec::new();
            round.begin();
            while !left.is_empty() {
                let before = left.len();
                left.retain_mut(|waits| {
                    let is_run = round.admits(waits);
                    if is_run {
                        round.moved(bytes);
                    }
                    !is_run
                });
                rows.push(before - left.len());
            }
            rows
        };
        assert_eq!(rows(1_024), [48, 48, 32]);
        assert_eq!(rows(64 * 1024)[..3], [3, 3, 3]);
        // One that is run again and again while nothing else is begins a round of its own.
        let mut waits = None;
        let run = (0..1_000).filter(|_| round.admits(&mut waits)).count();
        assert!(run > 900, "{run}");
        // Whoever was told to wait finds the next round begun by the connection.
        while round.admits(&mut waits) {}
        round.begin();
        assert!(round.admits(&mut waits));
        assert_eq!(round.spent.get(), 1);
    }

    #[test]
    fn e4_the_more_answers_wait_the_fewer_a_connection_keeps_down_to_none() {
        for (of_worker, of_client, too_many) in [
            (CROWD, 128, false),
            (CROWD + 1, FEW, false),
            (CROWD + 1, FEW + 1, true),
            (FULL, 1, false),
            (FULL + 1, 1, true),
        ] {
            let are = are_too_many(of_worker, of_client);
            assert_eq!(are, too_many, "{of_worker} {of_client}");
        }
    }
}
