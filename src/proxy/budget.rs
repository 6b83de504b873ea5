//! Retry budget: how often requests of one route that may have arrived are sent again, at most.
//!
//! A fifth of the requests of some ten seconds, and one a second in any case, up to five at once, so that a lone request may
//! have a second chance. What was earned is lost again as it gets older: an hour of good requests is no leave to send each of
//! the next ones twice. A request only looks: what was earned is seen from the route's own count of requests, every other second
//! and when somebody wants to spend.
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// In units of what one request earns: the price of a resend.
const PRICE: u64 = 5;
/// Time goes in steps, each of which brings one unit of itself.
const STEP_MS: u64 = 1_000 / PRICE;
/// So many units of those are kept.
const FLOOR: u64 = 5 * PRICE;
/// Steps in which what requests have earned is lost.
const WINDOW: u64 = 10_000 / STEP_MS;
/// So often it is looked how many requests there were.
const LOOK: u64 = WINDOW / 5;
/// So many units of that are kept, however many requests there are.
const MOST: u64 = 500 * PRICE;

/// Units that came of themselves (6 bits) and by requests (12 bits), and up to which step (22 bits) and request (24 bits)
/// they were reckoned, in a circle both.
pub(super) struct RetryBudget(AtomicU64);

#[derive(Clone, Copy)]
struct Reckoned {
    floor: u64,
    earned: u64,
    step: u64,
    requests: u64,
}

const STEPS: u64 = (1 << 22) - 1;
const REQUESTS: u64 = (1 << 24) - 1;

impl Default for RetryBudget {
    fn default() -> RetryBudget {
        let new = Reckoned {
            floor: FLOOR,
            earned: 0,
            step: 0,
            requests: 0,
        };
        RetryBudget(AtomicU64::new(new.word()))
    }
}

impl RetryBudget {
    /// A request of the route begins. `requests` is how many have begun in all.
    pub(super) fn look(&self, now: u64, requests: impl FnOnce() -> u64) {
        let word = self.0.load(Relaxed);
        let last = Reckoned::of(word);
        let step = now / STEP_MS;
        if since(step, last.step, STEPS) >= LOOK {
            let next = last.at(requests(), step).word();
            // Whoever was quicker has looked, too.
            let (Ok(_) | Err(_)) = self.0.compare_exchange(word, next, Relaxed, Relaxed);
        }
    }

    /// Takes one resend off, if one is left. `requests` is how many the route has begun in all.
    pub(super) fn spend(&self, requests: u64, now: u64) -> bool {
        let mut word = self.0.load(Relaxed);
        loop {
            let Some(rest) = Reckoned::of(word).at(requests, now / STEP_MS).spent() else {
                return false;
            };
            match self
                .0
                .compare_exchange_weak(word, rest.word(), Relaxed, Relaxed)
            {
                Ok(_) => return true,
                Err(meanwhile) => word = meanwhile,
            }
        }
    }
}

impl Reckoned {
    fn of(word: u64) -> Reckoned {
        Reckoned {
            floor: word >> 58,
            earned: word >> 46 & 0xfff,
            step: word >> 24 & STEPS,
            requests: word & REQUESTS,
        }
    }

    fn word(self) -> u64 {
        self.floor << 58 | self.earned << 46 | self.step << 24 | self.requests
    }

    fn at(self, requests: u64, step: u64) -> Reckoned {
        let steps = since(step, self.step, STEPS);
        let more = since(requests, self.requests, REQUESTS);
        // Of a longer time those of the last ten seconds are not known; they were as many as in any.
        let new = more * WINDOW / steps.max(WINDOW);
        let old = self.earned * WINDOW.saturating_sub(steps) / WINDOW;
        Reckoned {
            floor: (self.floor + steps).min(FLOOR),
            earned: (old + new).min(MOST),
            step: (self.step + steps) & STEPS,
            requests: (self.requests + more) & REQUESTS,
        }
    }

    /// What was earned goes first: it would be lost.
    fn spent(self) -> Option<Reckoned> {
        let by_requests = self.earned.min(PRICE);
        Some(Reckoned {
            earned: self.earned - by_requests,
            floor: self.floor.checked_sub(PRICE - by_requests)?,
            ..self
        })
    }
}

/// How much later this is in its circle; nothing where another thread has been ahead of it.
fn since(now: u64, then: u64, circle: u64) -> u64 {
    let later = now.wrapping_sub(then) & circle;
    if later > circle - circle / 64 {
        0
    } else {
        later
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spent(budget: &RetryBudget, requests: u64, now: u64) -> usize {
        (0..10_000)
            .take_while(|_| budget.spend(requests, now))
            .count()
    }

    #[test]
    fn e5_a_fifth_of_the_requests_are_sent_again_and_one_a_second() {
        let budget = RetryBudget::default();
        assert_eq!(spent(&budget, 0, 0), 5, "a new route may begin");
        assert_eq!(spent(&budget, 1_000, 0), 200, "a fifth");
        assert_eq!(spent(&budget, 1_000, 1_000), 1, "one a second");
        assert_eq!(spent(&budget, 1_500, 3_000), 102, "both");
        assert_eq!(spent(&budget, 1_500, 3_000_000), 5, "no more are kept");
    }

    /// The point's own sum: of a thousand that all fail once, two hundred are sent again, and what comes of itself.
    #[test]
    fn e5_of_a_thousand_that_fail_once_no_more_than_a_fifth_are_sent_again() {
        for (each_ms, seconds) in [(0, 0), (1, 1), (10, 10), (100, 100), (7_777, 7_777)] {
            let budget = RetryBudget::default();
            let again = (1..=1_000)
                .filter(|n| budget.spend(*n, n * each_ms))
                .count();
            let most = 200 + 5 + seconds;
            assert!(again <= most, "{again} of {most}");
            assert!(again >= 199, "{again}");
        }
    }

    #[test]
    fn e5_what_requests_have_earned_is_lost_within_seconds() {
        let earned = |then: u64| {
            let budget = RetryBudget::default();
            spent(&budget, 0, 0);
            // It is looked at once, so that it is known when they were.
            assert!(budget.spend(1_000, 0));
            spent(&budget, 1_000, then) - (then / 1_000).min(5) as usize
        };
        assert_eq!(earned(0), 199);
        assert_eq!(earned(2_000), 159);
        assert_eq!(earned(9_000), 19);
        assert_eq!(earned(10_000), 0);
        assert_eq!(earned(60_000), 0);
        // A day of ten requests a second is a fifth of ten seconds of them, and not of the day.
        let budget = RetryBudget::default();
        assert_eq!(spent(&budget, 864_000, 86_400_000), 20 + 5);
        // And of very many no more than this.
        assert_eq!(spent(&budget, 1_864_000, 86_400_000), 500);
    }

    #[test]
    fn e5_asking_often_earns_neither_more_nor_less() {
        let budget = RetryBudget::default();
        spent(&budget, 0, 0);
        let often = (0..=10_000).filter(|now| budget.spend(0, *now)).count();
        assert_eq!(often, 10);
    }

    /// A route that had nothing to do for an hour, and then very much.
    #[test]
    fn e5_what_requests_earn_is_known_when_it_is_needed() {
        let budget = RetryBudget::default();
        let hour = 3_600_000;
        for n in 1..=1_000 {
            budget.look(hour + n, || n);
        }
        // All but the first, which may be of any second of the hour.
        assert_eq!(spent(&budget, 1_000, hour + 1_000), 999 / 5 + 5);
        // It is looked at seldom.
        let looks = std::cell::Cell::new(0);
        for n in 0..60_000 {
            budget.look(2 * hour + n, || {
                looks.set(looks.get() + 1);
                1_000 + n
            });
        }
        assert_eq!(looks.get(), 30);
    }

    #[test]
    fn e5_a_thread_that_is_behind_the_others_earns_nothing() {
        let budget = RetryBudget::default();
        spent(&budget, 1_000, 60_000);
        for (requests, now) in [(999, 60_000), (1_000, 59_000), (900, 50_000)] {
            assert!(!budget.spend(requests, now), "{requests} {now}");
        }
        let budget = RetryBudget::default();
        let requests = AtomicU64::new(0);
        let again = || {
            let ask = |_: &u64| {
                requests.fetch_add(1, Relaxed);
                budget.spend(requests.load(Relaxed), 0)
            };
            (0..50_000).filter(ask).count()
        };
        let again: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(again)).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum()
        });
        assert!(again <= 200_000 / 5 + 5, "{again}");
    }

    #[test]
    fn e5_the_counts_go_round() {
        let budget = RetryBudget::default();
        for quarter in 1..20 {
            let (requests, steps) = (quarter * (REQUESTS + 1) / 4, quarter * (STEPS + 1) / 4);
            budget.look(steps * STEP_MS, || requests);
        }
        let (requests, now) = (5 * (REQUESTS + 1) - 10, (5 * (STEPS + 1) - 2) * STEP_MS);
        spent(&budget, requests, now);
        assert_eq!(spent(&budget, requests + 20, now + 2_000), 4 + 2);
    }

    proptest! {
        /// In any stretch of time: no more than a fifth of its requests, one a second, what was kept of both.
        #[test]
        fn e5_no_order_of_things_gets_more(
            steps in prop::collection::vec((0_u64..200, 0_u64..3_000, 0_usize..60), 1..60),
        ) {
            let budget = RetryBudget::default();
            let (mut requests, mut now, mut again) = (0, 0, 0);
            for (more, ms, tries) in steps {
                requests += more;
                now += ms;
                again += (0..tries).filter(|_| budget.spend(requests, now)).count() as u64;
                prop_assert!(again <= requests / PRICE + 5 + now / 1_000 + 1, "{again}");
            }
        }
    }
}
