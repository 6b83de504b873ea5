//! Retry budget: how often requests of one route that may have arrived are sent again, at most.
//!
//! Each request earns a fifth of a resend, and ten a second are there in any case; what is not used is kept up to a bound. A
//! dead group of targets so gets a fifth more than its load, and not several times that. Costs a request nothing: what was
//! earned is seen from the route's own count of requests when somebody wants to spend.
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// In units of what one request earns: the price of a resend.
const PRICE: u64 = 5;
/// Ten resends a second come of themselves: one unit each so many milliseconds.
const UNIT_MS: u64 = 1_000 / (10 * PRICE);
const FIRST: u64 = 10 * PRICE;
const MOST: u64 = 500 * PRICE;
const PART: u64 = (1 << 24) - 1;

/// Units left (16 bits), and the requests and milliseconds up to which they were reckoned (24 bits each, in a circle).
pub(super) struct RetryBudget(AtomicU64);

impl Default for RetryBudget {
    fn default() -> RetryBudget {
        RetryBudget(AtomicU64::new(packed(FIRST, 0, 0)))
    }
}

impl RetryBudget {
    /// Takes one resend off, if one is left. `requests` is how many the route has begun in all.
    pub(super) fn spend(&self, requests: u64, now: u64) -> bool {
        let mut word = self.0.load(Relaxed);
        loop {
            let (left, counted, since) = (word >> 48, word >> 24 & PART, word & PART);
            let units = (now.wrapping_sub(since) & PART) / UNIT_MS;
            let earned = left + (requests.wrapping_sub(counted) & PART) + units;
            let Some(rest) = earned.min(MOST).checked_sub(PRICE) else {
                return false;
            };
            let next = packed(rest, requests, since + units * UNIT_MS);
            match self.0.compare_exchange_weak(word, next, Relaxed, Relaxed) {
                Ok(_) => return true,
                Err(meanwhile) => word = meanwhile,
            }
        }
    }
}

fn packed(left: u64, requests: u64, now: u64) -> u64 {
    left << 48 | (requests & PART) << 24 | now & PART
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spent(budget: &RetryBudget, requests: u64, now: u64) -> usize {
        (0..10_000)
            .take_while(|_| budget.spend(requests, now))
            .count()
    }

    #[test]
    fn e5_a_fifth_of_the_requests_or_ten_a_second_are_sent_again() {
        let budget = RetryBudget::default();
        assert_eq!(spent(&budget, 0, 0), 10, "a new route may begin");
        assert_eq!(spent(&budget, 1_000, 0), 200, "a fifth");
        assert_eq!(spent(&budget, 1_000, 1_000), 10, "ten a second");
        assert_eq!(spent(&budget, 1_500, 3_000), 120, "both");
        assert_eq!(spent(&budget, 1_000_000, 3_000), 500, "no more are kept");
        assert_eq!(spent(&budget, 1_000_000, 3_000_000), 500);
    }

    #[test]
    fn e5_asking_often_earns_neither_more_nor_less() {
        let budget = RetryBudget::default();
        spent(&budget, 0, 0);
        let often = (0..=10_000).filter(|now| budget.spend(0, *now)).count();
        assert_eq!(often, 100);
    }

    #[test]
    fn e5_the_counts_go_round() {
        let budget = RetryBudget::default();
        let (requests, now) = (5 * (PART + 1) - 10, 7 * (PART + 1) - 20);
        spent(&budget, requests, now);
        assert_eq!(spent(&budget, requests + 20, now + 100), 5);
    }
}
