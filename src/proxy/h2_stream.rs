//! The streams of a client's HTTP/2 connection, each a task of the worker, and watched: is the answer taken?
//!
//! A stream whose client takes nothing more of its answer for `client_idle` is reset, whatever the others on the
//! connection do. Dropping its task is the one way to end a stream of hyper's from outside: h2 then throws away what was
//! queued for it and says RST_STREAM CANCEL, and the claim on the app is given back.
//!
//! A stream that waits for its client holds memory, up to 160 KB: what h2 keeps of its answer and the piece behind that.
//! So those that wait are counted, with the connections of HTTP/1.1 that do (`client`), and when a worker has many, a
//! connection keeps no more than a few of them, and when it has eight times as many, none more.
//! A request that would be a further one of those is refused before it costs an app anything (`serve_http2`).
//!
//! A hundred requests of a connection can come, be answered or be given up in one moment, and each may cost a tenth of a
//! millisecond: whose turn it is says `h2_line`.
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::rt::Executor;
use tokio::time::{Sleep, sleep_until};

use super::client::{Client, Piece};
use super::h2_line::{GIVEN_UP, Place};
use super::local::Local;
use super::refusal::Refusal;

/// A stream is looked at again after this part of the limit while the whole connection waits for its client.
pub(super) const AGAIN: u32 = 8;
/// When so many answers of a worker wait for their clients (80 MB) …
pub(super) const CROWD: u32 = 512;
/// … those of one connection may be no more than these: more than a page of large pictures on a slow line needs.
const FEW: u32 = 16;
/// When so many wait (640 MB), none more may: many connections of few streams hold as much as few of many.
pub(super) const FULL: u32 = 8 * CROWD;

/// Tasks of a connection: 128 streams at most run at a time, but one that is reset while it stands in line leaves its task there.
const MOST_TASKS: u32 = 1_024;
/// A stream that ends after it has waited for its client this long costs as much as one that is given up.
const LONG: Duration = Duration::from_millis(100);

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
        if self.0.streams.get() > MOST_TASKS {
            return self.0.condemn(Refusal::Abandoned);
        }
        Local.execute(watched(Task::of(&self.0), stream));
    }
}

/// One of a client's tasks, counted until it is dropped.
struct Task(Rc<Client>);

impl Task {
    fn of(client: &Rc<Client>) -> Task {
        client.streams.set(client.streams.get() + 1);
        Task(client.clone())
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.streams.set(self.0.streams.get() - 1);
    }
}

async fn watched(task: Task, stream: impl Future<Output = ()>) {
    let client = &task.0;
    let mut stream = pin!(stream);
    let mut stall = Stall::of(client.clone());
    let mut place = Place::default();
    poll_fn(|cx| {
        let Some(_turn) = client.worker.line.turn(&client.share, &mut place, cx) else {
            return Poll::Pending;
        };
        client.piece.set(Piece::Untouched);
        // A body that may have lost some of its trailers must not pass for whole; the connection is over anyway.
        if client.trailers_lost.get() {
            return Poll::Ready(());
        }
        if stream.as_mut().poll(cx).is_ready() {
            // One whose last piece was taken just now has not waited to its end; if its connection has gone, many end at once.
            if client.piece.get() == Piece::Untouched
                && stall.since.is_some_and(|since| since.elapsed() > LONG)
            {
                client.spends(GIVEN_UP);
            }
            return Poll::Ready(());
        }
        match client.piece.get() {
            Piece::Untouched => {}
            Piece::Wanted => stall.ends(),
            Piece::Given => stall.begins(),
        }
        if stall.is_over(cx) {
            client.spends(GIVEN_UP);
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

impl Client {
    /// Many streams wait, and of its own so many that another one would be reset as soon as it does too. Who speaks for many is
    /// not asked: what one of them leaves lying is not the others' doing.
    pub(super) fn has_its_few(&self) -> bool {
        self.worker.waiting.get() > CROWD && self.waiting.get() >= FEW && !self.stands_for_many()
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
