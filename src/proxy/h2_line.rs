//! The line of a worker's HTTP/2 streams: which of those that are ready is run next, when there are many.
//!
//! One connection can have a hundred streams that are ready in the same moment, and many connections thousands; each may cost
//! a tenth of a millisecond, and whatever else came meanwhile would wait for all of them. So all streams of a worker
//! together may cost some milliseconds in a row, then the sockets are looked at and everything else that is ready has its
//! turn. Streams that are ready beyond that stand in line: of a connection the first comes first, and the connections take
//! turns, so that one with a few waits for as many of each other at most.
//!
//! A connection that has cost little lately does not stand in line: who asks for little is not held up by those who take
//! all they can.
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Waker};

use tokio::sync::Notify;
use tokio::task::yield_now;

/// What all streams of a worker may cost in a row, ten milliseconds of work at most: each that is run costs 1 … (With fewer of them,
/// small answers of one connection would go out in more and smaller records and writes.)
const IN_A_ROW: u32 = 1_024;
/// … every so many bytes of a piece of an answer that is not small 1 more, …
const BYTES_FOR_ONE: usize = 320;
const SMALL: usize = 2 * 1024;
/// … a connection to an app that is opened so much, …
pub(super) const OPENED: u32 = 128;
/// … and a stream that is given up, with all that was held for it, so much.
pub(super) const GIVEN_UP: u32 = 256;
/// What is forgiven a connection of its cost each time that everything else has had its turn.
const FORGIVEN: u32 = 64;
/// With less than this on it a connection is one that costs little: of a page's requests all that come at once.
const LIGHT: u32 = FORGIVEN / 2;
/// No connection is held to more of what it has cost: it would stand in line for long after.
const MOST: u32 = 2 * IN_A_ROW;

/// What a piece of an answer of so many bytes costs.
pub(super) fn cost_of(bytes: usize) -> u32 {
    u32::try_from(bytes.saturating_sub(SMALL) / BYTES_FOR_ONE).unwrap_or(IN_A_ROW)
}

/// What the streams of one connection have cost lately.
#[derive(Default)]
pub(super) struct Share {
    cost: Cell<u32>,
    /// The row in which that was last looked at.
    row: Cell<u32>,
    standing: Queue,
}

/// Streams of one connection, in their order.
type Queue = Rc<RefCell<VecDeque<Rc<Standing>>>>;

#[derive(Default)]
pub(super) struct Line {
    /// How often everything else has had its turn.
    row: Cell<u32>,
    spent: Cell<u32>,
    /// Connections whose queue is not empty, each once.
    standing: RefCell<VecDeque<Queue>>,
    joined: Notify,
}

/// Of one stream.
#[derive(Default)]
pub(super) struct Place(Option<Rc<Standing>>);

struct Standing {
    called: Cell<bool>,
    waker: RefCell<Waker>,
}

/// The stream's turn, until dropped.
pub(super) struct Turn<'a> {
    line: &'a Line,
    was_called: bool,
}

impl Line {
    /// The stream may be run now; `None`: it stands in line and is woken when it may.
    pub(super) fn turn(
        &self,
        share: &Share,
        place: &mut Place,
        cx: &mut Context<'_>,
    ) -> Option<Turn<'_>> {
        let was_called = match &place.0 {
            Some(standing) if standing.called.get() => true,
            Some(standing) => {
                standing.waker.borrow_mut().clone_from(cx.waker());
                return None;
            }
            None if !self.has_room() && !self.is_light(share) => {
                place.0 = Some(self.join(&share.standing, cx.waker()));
                return None;
            }
            None => false,
        };
        place.0 = None;
        self.spend(share, 1);
        Some(Turn {
            line: self,
            was_called,
        })
    }

    fn join(&self, queue: &Queue, waker: &Waker) -> Rc<Standing> {
        let standing = Rc::new(Standing {
            called: Cell::new(false),
            waker: RefCell::new(waker.clone()),
        });
        let mut of_connection = queue.borrow_mut();
        if of_connection.is_empty() {
            self.standing.borrow_mut().push_back(queue.clone());
            self.joined.notify_one();
        }
        of_connection.push_back(standing.clone());
        standing
    }

    /// A stream of the connection has cost so much.
    pub(super) fn spend(&self, share: &Share, cost: u32) {
        self.spent.set(self.spent.get().saturating_add(cost));
        let all = self.forgiven(share).saturating_add(cost);
        share.cost.set(all.min(MOST));
    }

    fn has_room(&self) -> bool {
        self.spent.get() < IN_A_ROW && self.standing.borrow().is_empty()
    }

    fn is_light(&self, share: &Share) -> bool {
        self.forgiven(share) < LIGHT
    }

    /// What the connection has cost and was not forgiven.
    fn forgiven(&self, share: &Share) -> u32 {
        let row = self.row.get();
        let rows = row.wrapping_sub(share.row.replace(row));
        let left = share
            .cost
            .get()
            .saturating_sub(rows.saturating_mul(FORGIVEN));
        share.cost.set(left);
        left
    }

    /// Calls streams from the line, row after row, for as long as it is polled.
    pub(super) async fn calls(&self) {
        loop {
            while self.standing.borrow().is_empty() {
                self.joined.notified().await;
            }
            // Goes on when everything that was ready has had its turn, and the sockets have been looked at.
            yield_now().await;
            self.row.set(self.row.get().wrapping_add(1));
            self.spent.set(0);
            self.call_next();
        }
    }

    /// The first in line that is still there; its connection is the last from now on.
    fn call_next(&self) {
        let mut standing = self.standing.borrow_mut();
        while let Some(queue) = standing.pop_front() {
            let mut of_connection = queue.borrow_mut();
            while let Some(first) = of_connection.pop_front() {
                // Whose stream is gone is held by nobody else.
                if Rc::strong_count(&first) == 1 {
                    continue;
                }
                first.called.set(true);
                first.waker.borrow().wake_by_ref();
                if !of_connection.is_empty() {
                    standing.push_back(queue.clone());
                }
                return;
            }
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        // What a stream costs is known when it was run, so one calls the other: those that did not stand in line call nobody, or
        // a row of many of them would have no end.
        if self.was_called && self.line.spent.get() < IN_A_ROW {
            self.line.call_next();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::{Pin, pin};

    /// Streams that are ready, each of a connection, with its place.
    type Ready = Vec<(usize, Place)>;

    fn ready(connections: usize, streams: usize) -> Ready {
        let all = 0..connections * streams;
        all.map(|number| (number / streams, Place::default()))
            .collect()
    }

    /// Runs those whose turn it is, each at this cost, until none is left that may: of which connections they were.
    fn run(line: &Line, shares: &[Share], ready: &mut Ready, cost: u32) -> Vec<usize> {
        let mut cx = Context::from_waker(Waker::noop());
        let mut were = Vec::new();
        loop {
            let before = were.len();
            ready.retain_mut(|(of, place)| {
                let turn = line.turn(&shares[*of], place, &mut cx);
                if turn.is_some() {
                    line.spend(&shares[*of], cost - 1);
                    were.push(*of);
                }
                turn.is_none()
            });
            if were.len() == before {
                return were;
            }
        }
    }

    /// Everything else has its turn.
    fn next_row(line: &Line, mut calls: Pin<&mut impl Future<Output = ()>>) {
        let mut cx = Context::from_waker(Waker::noop());
        let row = line.row.get();
        while line.row.get() == row {
            assert!(calls.as_mut().poll(&mut cx).is_pending());
        }
    }

    fn shares(connections: usize) -> Vec<Share> {
        (0..connections).map(|_| Share::default()).collect()
    }

    #[test]
    fn e4_of_many_streams_that_are_ready_a_few_are_run_in_a_row() {
        for (connections, streams, bytes, expected) in [
            // Of the last twelve connections those that cost little.
            (20, 128, 1_024, vec![1_024 + 12 * 32, 1_024, 128]),
            (1, 12, 64 * 1_024, vec![6, 6]),
            // The first of each connection, which has cost nothing before.
            (10, 3, 64 * 1_024, vec![14, 6, 6, 4]),
        ] {
            let (line, shares) = (Line::default(), shares(connections));
            let mut calls = pin!(line.calls());
            let mut all = ready(connections, streams);
            let mut rows = Vec::new();
            loop {
                rows.push(run(&line, &shares, &mut all, 1 + cost_of(bytes)).len());
                if all.is_empty() {
                    break;
                }
                next_row(&line, calls.as_mut());
            }
            assert_eq!(rows, expected, "{connections} of {streams}");
        }
    }

    #[test]
    fn e4_in_line_connections_take_turns() {
        let (line, shares) = (Line::default(), shares(3));
        let mut calls = pin!(line.calls());
        let mut all = ready(3, 3);
        assert_eq!(run(&line, &shares, &mut all, IN_A_ROW), [0, 1, 2]);
        // Each connection has cost what is not forgiven in some rows.
        for of in [0, 1, 2, 0, 1, 2] {
            next_row(&line, calls.as_mut());
            assert_eq!(run(&line, &shares, &mut all, IN_A_ROW), [of]);
        }
    }

    #[test]
    fn e4_a_connection_that_costs_little_does_not_stand_in_line() {
        let (line, shares) = (Line::default(), shares(21));
        let mut calls = pin!(line.calls());
        let mut crowd = ready(20, 128);
        let page = |streams| -> Ready { (0..streams).map(|_| (20, Place::default())).collect() };
        for _ in 0..50 {
            run(&line, &shares, &mut crowd, 200);
            assert_eq!(run(&line, &shares, &mut page(20), 1).len(), 20);
            assert_eq!(run(&line, &shares, &mut page(1), 50), [20]);
            next_row(&line, calls.as_mut());
            next_row(&line, calls.as_mut());
        }
        assert!(crowd.len() > 1_800, "all of the crowd was run too");
        // Saboteur: one that costs as much as the others stands where they do, and is called in its turn.
        let mut large = page(10);
        assert_eq!(run(&line, &shares, &mut large, 200).len(), 1);
        for _ in 0..5 {
            run(&line, &shares, &mut crowd, 200);
            run(&line, &shares, &mut large, 200);
            next_row(&line, calls.as_mut());
        }
        assert!((6..9).contains(&large.len()), "{}", large.len());
    }

    #[test]
    fn e4_those_that_pass_the_line_call_nobody() {
        let (line, shares) = (Line::default(), shares(301));
        let mut calls = pin!(line.calls());
        let mut crowd: Ready = (0..400).map(|_| (0, Place::default())).collect();
        run(&line, &shares, &mut crowd, 200);
        next_row(&line, calls.as_mut());
        let mut light: Ready = (1..301).map(|of| (of, Place::default())).collect();
        assert_eq!(run(&line, &shares, &mut light, 1).len(), 300);
        assert!(run(&line, &shares, &mut crowd, 200).len() < 7);
    }

    #[test]
    fn e4_who_left_the_line_holds_nobody_up() {
        let (line, shares) = (Line::default(), shares(1));
        let mut calls = pin!(line.calls());
        let mut all = ready(1, 9);
        run(&line, &shares, &mut all, IN_A_ROW);
        assert_eq!(all.len(), 8);
        all.drain(..7);
        next_row(&line, calls.as_mut());
        assert_eq!(run(&line, &shares, &mut all, IN_A_ROW), [0]);
        // One that is called and goes before it is run: the next row calls another.
        let mut all = ready(1, 9);
        next_row_begins(&line, calls.as_mut(), &shares, &mut all);
        all.remove(0);
        next_row(&line, calls.as_mut());
        assert_eq!(run(&line, &shares, &mut all, IN_A_ROW), [0]);
    }

    /// Of streams of which none has room the first is called.
    fn next_row_begins(
        line: &Line,
        calls: Pin<&mut impl Future<Output = ()>>,
        shares: &[Share],
        ready: &mut Ready,
    ) {
        line.spend(&shares[0], MOST);
        assert!(run(line, shares, ready, 1).is_empty());
        next_row(line, calls);
        assert!(
            ready[0]
                .1
                .0
                .as_ref()
                .is_some_and(|first| first.called.get())
        );
    }
}
