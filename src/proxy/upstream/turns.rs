//! Turns: how many connections to one target a worker opens at once, and who waits for one meanwhile.
//!
//! Several hundred requests that come in the same moment would open as many connections, although the first answers free
//! theirs long before the last connect is through. Those beyond a few wait for whatever comes first: a connection that
//! is given back, a turn to open one, or the end of their patience, so that a slow target holds nobody up.
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;

/// Connects of a worker to one target that run at once.
const AT_ONCE: u32 = 8;
/// Whoever has waited this long opens one all the same.
pub(crate) const PATIENCE: Duration = Duration::from_millis(20);

#[derive(Default)]
pub(crate) struct Turns {
    of_target: RefCell<HashMap<u64, OfTarget>>,
}

#[derive(Default)]
struct OfTarget {
    opening: u32,
    waiting: u32,
    freed: Rc<Notify>,
}

impl OfTarget {
    fn is_over(&self) -> bool {
        self.opening == 0 && self.waiting == 0
    }
}

/// The right to open a connection, until dropped.
pub(crate) struct Turn<'a> {
    turns: &'a Turns,
    target: u64,
}

impl Turns {
    /// A turn, if there is one left; with `at_all_costs` in any case.
    pub(crate) fn take(&self, target: u64, at_all_costs: bool) -> Option<Turn<'_>> {
        self.take_of(target, if at_all_costs { u32::MAX } else { AT_ONCE })
    }

    /// A turn, if fewer than `most` are taken.
    pub(crate) fn take_of(&self, target: u64, most: u32) -> Option<Turn<'_>> {
        let mut all = self.of_target.borrow_mut();
        let opening = all.get(&target).map_or(0, |of_target| of_target.opening);
        if opening >= most {
            return None;
        }
        all.entry(target).or_default().opening += 1;
        Some(Turn {
            turns: self,
            target,
        })
    }

    /// Waits until a connection to the target may have become free, or a turn.
    pub(crate) async fn wait(&self, target: u64) {
        let freed = {
            let mut all = self.of_target.borrow_mut();
            let of_target = all.entry(target).or_default();
            of_target.waiting += 1;
            of_target.freed.clone()
        };
        let _waiting = Waiting {
            turns: self,
            target,
        };
        freed.notified().await;
    }

    /// A connection was given back: the longest waiting may have it.
    pub(crate) fn freed(&self, target: u64) {
        if let Some(of_target) = self.of_target.borrow().get(&target)
            && of_target.waiting > 0
        {
            of_target.freed.notify_one();
        }
    }

    fn leave(&self, target: u64, end: impl FnOnce(&mut OfTarget)) {
        let mut all = self.of_target.borrow_mut();
        if let Some(of_target) = all.get_mut(&target) {
            end(of_target);
            if of_target.is_over() {
                all.remove(&target);
            }
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.turns
            .leave(self.target, |of_target| of_target.opening -= 1);
        self.turns.freed(self.target);
    }
}

struct Waiting<'a> {
    turns: &'a Turns,
    target: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        // Wakes nobody: who was woken for nothing would wake the next for nothing, and so on for ever.
        self.turns
            .leave(self.target, |of_target| of_target.waiting -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::{Context, Waker};

    /// As many as may open at once do; another waits until one of them is through, or somebody gives a connection back.
    #[test]
    fn e1_few_open_at_once_and_the_others_wait_their_turn() {
        let turns = Turns::default();
        let mut held: Vec<_> = (0..AT_ONCE).map(|_| turns.take(1, false)).collect();
        assert!(held.iter().all(Option::is_some));
        assert!(turns.take(1, false).is_none(), "one too many");
        assert!(turns.take(2, false).is_some(), "another target is free");
        assert!(turns.take(1, true).is_some(), "patience is over");

        let mut cx = Context::from_waker(Waker::noop());
        let mut first = Box::pin(turns.wait(1));
        let mut second = Box::pin(turns.wait(1));
        assert!(first.as_mut().poll(&mut cx).is_pending());
        assert!(second.as_mut().poll(&mut cx).is_pending());
        held.pop();
        assert!(first.as_mut().poll(&mut cx).is_ready());
        assert!(second.as_mut().poll(&mut cx).is_pending());
        turns.freed(1);
        assert!(second.as_mut().poll(&mut cx).is_ready());

        drop((first, second, held));
        assert!(turns.of_target.borrow().is_empty(), "nothing is left over");
    }

    /// A waiter that goes away hands on what it was woken for.
    #[test]
    fn e1_a_turn_given_to_somebody_who_left_is_the_next_ones() {
        let turns = Turns::default();
        let held: Vec<_> = (0..AT_ONCE).map(|_| turns.take(1, false)).collect();
        let mut cx = Context::from_waker(Waker::noop());
        let mut first = Box::pin(turns.wait(1));
        let mut second = Box::pin(turns.wait(1));
        assert!(first.as_mut().poll(&mut cx).is_pending());
        assert!(second.as_mut().poll(&mut cx).is_pending());
        turns.freed(1);
        drop(first);
        assert!(second.as_mut().poll(&mut cx).is_ready());
        drop((second, held));
    }
}
