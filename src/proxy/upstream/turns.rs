//! Turns: how many connections to one target a worker opens at once, and who waits for one meanwhile.
//!
//! Several hundred requests that come in the same moment, such as those that were held while an app was away, would open as
//! many connections: the first answers free theirs long before that, and an app that has just started has no room for so many
//! that it has not accepted. So each turn lasts until the app has answered, but no longer than a moment, and those beyond a
//! few wait for whatever comes first: a connection that is given back, a turn to open one, or the end of their patience, so
//! that a slow target holds nobody up; and of those whose patience is over there are not too many at once either.
use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// Connections of a worker to one target that were just opened, and not answered on yet.
const AT_ONCE: usize = 8;
/// Whoever has waited this long opens one all the same; and so long a turn lasts at most …
pub(crate) const PATIENCE: Duration = Duration::from_millis(20);
/// … while there are no more than these.
const LATE: usize = 40;

#[derive(Default)]
pub(crate) struct Turns {
    of_target: RefCell<HashMap<u64, OfTarget>>,
}

#[derive(Default)]
struct OfTarget {
    /// Of those whose turn lasts, when it began, the first first.
    recent: VecDeque<Instant>,
    /// Those that were taken by [`Turns::take_of`].
    opening: u32,
    waiting: u32,
    freed: Rc<Notify>,
}

impl OfTarget {
    fn is_over(&self) -> bool {
        self.opening == 0 && self.waiting == 0 && self.recent.is_empty()
    }
}

/// The right to open a connection, until dropped.
pub(crate) struct Turn<'a> {
    turns: &'a Turns,
    target: u64,
    began: Option<Instant>,
}

impl Turns {
    /// A turn, if there is one left; `late`: for who has waited long.
    pub(crate) fn take(&self, target: u64, late: bool, now: Instant) -> Option<Turn<'_>> {
        let mut all = self.of_target.borrow_mut();
        let of_target = all.entry(target).or_default();
        while of_target
            .recent
            .front()
            .is_some_and(|began| now >= *began + PATIENCE)
        {
            of_target.recent.pop_front();
        }
        if of_target.recent.len() >= if late { LATE } else { AT_ONCE } {
            return None;
        }
        of_target.recent.push_back(now);
        Some(Turn {
            turns: self,
            target,
            began: Some(now),
        })
    }

    /// A turn, if fewer than `most` are taken, which lasts until it is dropped.
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
            began: None,
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
        let began = self.began;
        self.turns.leave(self.target, |of_target| match began {
            None => of_target.opening -= 1,
            Some(began) => {
                let recent = &mut of_target.recent;
                if let Some(at) = recent.iter().position(|one| *one == began) {
                    recent.remove(at);
                }
            }
        });
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
        let (turns, now) = (Turns::default(), Instant::now());
        let mut held: Vec<_> = (0..AT_ONCE).map(|_| turns.take(1, false, now)).collect();
        assert!(held.iter().all(Option::is_some));
        assert!(turns.take(1, false, now).is_none(), "one too many");
        assert!(
            turns.take(2, false, now).is_some(),
            "another target is free"
        );
        let late: Vec<_> = (0..LATE).map_while(|_| turns.take(1, true, now)).collect();
        assert_eq!(late.len(), LATE - AT_ONCE, "patience is over");
        // What is not answered for long keeps nobody waiting.
        let later = now + PATIENCE;
        let more: Vec<_> = (0..LATE)
            .map_while(|_| turns.take(1, false, later))
            .collect();
        assert_eq!(more.len(), AT_ONCE);
        drop((late, more));

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
        let (turns, now) = (Turns::default(), Instant::now());
        let held: Vec<_> = (0..AT_ONCE).map(|_| turns.take(1, false, now)).collect();
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
