//! Requests of one HTTP/2 connection that were reset before they were answered: the mark of a rapid reset attack.
//!
//! h2 counts only those that are reset before hyper has taken them, so resets that are paced a little cost a request each
//! and are never counted there.
use std::time::{Duration, Instant};

const MINUTE: Duration = Duration::from_secs(60);
/// More than these in a minute, and more than were answered, end the connection.
const MOST: u32 = 100;
/// From these on, and if they are more than were answered, its requests wait before they go to an app.
const HASTY: u32 = 10;

#[derive(Clone, Copy, Debug)]
pub(super) struct Abandoned {
    /// When the minute began, and how many requests were over then.
    since: Instant,
    over_before: u64,
    count: u32,
}

impl Abandoned {
    pub(super) fn new(now: Instant) -> Abandoned {
        Abandoned {
            since: now,
            over_before: 0,
            count: 0,
        }
    }

    /// One more; `over` are all requests that are over, this one too. Whether the connection is to end.
    pub(super) fn another(&mut self, now: Instant, over: u64) -> bool {
        if now.saturating_duration_since(self.since) >= MINUTE {
            *self = Abandoned {
                since: now,
                over_before: over - 1,
                count: 0,
            };
        }
        self.count += 1;
        self.count > MOST && self.is_most(over)
    }

    pub(super) fn is_hasty(&self, now: Instant, over: u64) -> bool {
        self.count >= HASTY
            && now.saturating_duration_since(self.since) < MINUTE
            && self.is_most(over)
    }

    fn is_most(&self, over: u64) -> bool {
        let count = u64::from(self.count);
        count > (over - self.over_before).saturating_sub(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e4_more_than_a_hundred_in_a_minute_and_more_than_answered_are_an_attack() {
        let began = Instant::now();
        let mut abandoned = Abandoned::new(began);
        let cut = (1..200).find(|over| abandoned.another(began, *over));
        assert_eq!(cut, Some(101));
        // As many answered as abandoned: somebody who types in a search box.
        let mut abandoned = Abandoned::new(began);
        assert!((1..200).all(|turn| !abandoned.another(began, turn * 2)));
        assert!(!abandoned.is_hasty(began, 398));
        assert!(abandoned.is_hasty(began, 397));
        // Slow ones are never many.
        let mut abandoned = Abandoned::new(began);
        let at = |turn: u64| began + Duration::from_millis(600 * turn);
        assert!((1..10_000).all(|turn| !abandoned.another(at(turn), turn)));
    }

    #[test]
    fn e4_whoever_abandons_ten_and_most_is_hasty_until_answers_are_more() {
        let began = Instant::now();
        let mut abandoned = Abandoned::new(began);
        (1..10).for_each(|over| assert!(!abandoned.another(began, over)));
        assert!(!abandoned.is_hasty(began, 9));
        abandoned.another(began, 10);
        assert!(abandoned.is_hasty(began, 10));
        assert!(abandoned.is_hasty(began, 19));
        assert!(!abandoned.is_hasty(began, 20));
        assert!(!abandoned.is_hasty(began + MINUTE, 10));
    }
}
