//! Requests of one HTTP/2 connection that were reset before they were answered: the mark of a rapid reset attack.
//!
//! h2 counts only those that are reset before hyper has taken them, so resets that are paced a little cost a request each
//! and are never counted there.
use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::sources::Source;

const MINUTE: Duration = Duration::from_secs(60);
/// More than these in a minute, and more than apps answered, end the connection …
const MOST: u32 = 100;
/// … and more than these whatever was answered: that can be had for the cheapest of requests.
const CEILING: u32 = 1_000;
/// Clients of whom this is kept on a connection that a proxy has; those who abandoned least give way.
const CLIENTS: usize = 256;
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
        self.is_attack(now, answered)
    }

    fn is_attack(&self, now: Instant, answered: u64) -> bool {
        let are_too_many = self.count > CEILING || self.count > MOST && self.is_most(answered);
        are_too_many && now.saturating_duration_since(self.since) < MINUTE
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

/// The same for each client that a proxy's connection speaks for: what one of them does is answered to that one alone, and
/// the connection, which the others need, goes on.
#[derive(Default)]
pub(super) struct AbandonedBy(HashMap<Source, Abandoned>);

/// What a request is to wait for before it costs an app anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Haste {
    None,
    /// A moment.
    Waits,
    /// A better time: its client is refused.
    Refused,
}

impl AbandonedBy {
    /// One more of this client's.
    pub(super) fn another(&mut self, of: Source, now: Instant, answered: u64) {
        if self.0.len() >= CLIENTS && !self.0.contains_key(&of) {
            let least = self.0.iter().min_by_key(|(_, abandoned)| {
                let is_over = now.saturating_duration_since(abandoned.since) >= MINUTE;
                if is_over { 0 } else { abandoned.count }
            });
            if let Some(least) = least.map(|(source, _)| *source) {
                self.0.remove(&least);
            }
        }
        let first = || Abandoned {
            since: now,
            answered_before: answered,
            count: 0,
        };
        let abandoned = self.0.entry(of).or_insert_with(first);
        abandoned.another(now, answered);
    }

    pub(super) fn haste(&self, of: Source, now: Instant, answered: u64) -> Haste {
        match self.0.get(&of) {
            Some(abandoned) if abandoned.is_attack(now, answered) => Haste::Refused,
            Some(abandoned) if abandoned.is_hasty(now, answered) => Haste::Waits,
            _ => Haste::None,
        }
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

    #[test]
    fn e4_a_proxys_clients_are_told_apart_and_the_least_gives_way() {
        let now = Instant::now();
        let mut all = AbandonedBy::default();
        let of = |n: u32| Source::V4(n);
        for _ in 0..MOST {
            all.another(of(0), now, 0);
        }
        assert_eq!(all.haste(of(0), now, 0), Haste::Waits);
        all.another(of(0), now, 0);
        assert_eq!(all.haste(of(0), now, 0), Haste::Refused);
        assert_eq!(all.haste(of(1), now, 0), Haste::None);
        // Apps answer more on the connection: it may be somebody who types in a search box.
        assert_eq!(all.haste(of(0), now, 1_000), Haste::None);
        // However many come, the one that abandons most is not forgotten, and no more are kept.
        for n in 1..10_000 {
            all.another(of(n), now, 0);
        }
        assert_eq!(all.0.len(), CLIENTS);
        assert_eq!(all.haste(of(0), now, 0), Haste::Refused);
        assert_eq!(all.haste(of(0), now + MINUTE, 0), Haste::None);
    }
}
