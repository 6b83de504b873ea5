//! Requests of one HTTP/2 connection that were reset before they were answered: the mark of a rapid reset attack.
//!
//! h2 counts only those that are reset before hyper has taken them, so resets that are paced a little cost a request each
//! and are never counted there.
use std::time::{Duration, Instant};

const MINUTE: Duration = Duration::from_secs(60);
/// More than these in a minute, and more than apps answered, end the connection …
const MOST: u32 = 100;
/// … and more than these whatever was answered: that can be had for the cheapest of requests.
const CEILING: u32 = 1_000;
/// From these on, and if they are more than apps answered, its requests wait before they go to an app.
const HASTY: u32 = 10;

#[derive(Clone, Copy, Debug)]
pub(super) struct Abandoned {
    /// When the minute began, and how many requests apps had answered then.
    since: Instant,
    answered_before: u64,
    count: u32,
}

impl Abandoned {
    pub(super) fn new(now: Instant) -> Abandoned {
        Abandoned {
            since: now,
            answered_before: 0,
            count: 0,
        }
    }

    /// One more; `answered` are all requests that an app has answered: what the edge says by itself costs nobody anything,
    /// so it excuses nothing. Whether the connection is to end.
    pub(super) fn another(&mut self, now: Instant, answered: u64) -> bool {
        if now.saturating_duration_since(self.since) >= MINUTE {
            *self = Abandoned {
                since: now,
                answered_before: answered,
                count: 0,
            };
        }
        self.count += 1;
        self.count > CEILING || self.count > MOST && self.is_most(answered)
    }

    pub(super) fn is_hasty(&self, now: Instant, answered: u64) -> bool {
        self.count >= HASTY
            && now.saturating_duration_since(self.since) < MINUTE
            && self.is_most(answered)
    }

    fn is_most(&self, answered: u64) -> bool {
        u64::from(self.count) > answered - self.answered_before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e4_more_than_a_hundred_in_a_minute_and_more_than_answered_are_an_attack() {
        let began = Instant::now();
        let mut abandoned = Abandoned::new(began);
        let cut = (1..200).find(|_| abandoned.another(began, 0));
        assert_eq!(cut, Some(101));
        // As many answered as abandoned: somebody who types in a search box.
        let mut abandoned = Abandoned::new(began);
        assert!((1..200).all(|turn| !abandoned.another(began, turn)));
        assert!(!abandoned.is_hasty(began, 199));
        assert!(abandoned.is_hasty(began, 198));
        // Nobody types so fast.
        let mut abandoned = Abandoned::new(began);
        let cut = (1..2_000).find(|turn| abandoned.another(began, *turn));
        assert_eq!(cut, Some(1_001));
        // Slow ones are never many.
        let mut abandoned = Abandoned::new(began);
        let at = |turn: u64| began + Duration::from_millis(600 * turn);
        assert!((1..10_000).all(|turn| !abandoned.another(at(turn), 0)));
    }

    #[test]
    fn e4_whoever_abandons_ten_and_most_is_hasty_until_answers_are_more() {
        let began = Instant::now();
        let mut abandoned = Abandoned::new(began);
        (1..10).for_each(|_| assert!(!abandoned.another(began, 0)));
        assert!(!abandoned.is_hasty(began, 0));
        abandoned.another(began, 0);
        assert!(abandoned.is_hasty(began, 0));
        assert!(abandoned.is_hasty(began, 9));
        assert!(!abandoned.is_hasty(began, 10));
        assert!(!abandoned.is_hasty(began + MINUTE, 0));
    }
}
