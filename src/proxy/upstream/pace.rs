//! Pace: how fast the body of a request must come from its client, so that a trickle does not hold a target's connection.
use std::time::{Duration, Instant};

/// What must come on average.
const BYTES_A_SECOND: u64 = 500;
/// It is judged over this part of `client_idle`, which is 20 s of a minute; the first is the grace.
const PART: u32 = 3;

/// The last while, as far as it was spent waiting for the client alone.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// `None`: it may come as it likes.
    while_of: Option<Duration>,
    since: Option<Instant>,
    taken_before: u64,
}

impl Pace {
    /// From now on it counts.
    pub(crate) fn set(&mut self, client_idle: Duration) {
        self.while_of = Some(client_idle / PART);
    }

    /// The client is waited for and `taken` bytes have come in all. Until when it may be waited for before this is to be
    /// asked again; `None`: that was too slow.
    pub(crate) fn judge(&mut self, now: Instant, taken: u64) -> Option<Instant> {
        let Some(long) = self.while_of else {
            return Some(now + Duration::from_secs(3_600));
        };
        if let Some(since) = self.since
            && now < since + long
        {
            return Some(since + long);
        }
        let came = taken - self.taken_before;
        let least = u128::from(BYTES_A_SECOND) * long.as_millis() / 1_000;
        if self.since.is_some() && u128::from(came) < least {
            return None;
        }
        self.since = Some(now);
        self.taken_before = taken;
        Some(now + long)
    }

    /// It is not the client that is waited for.
    pub(crate) fn rest(&mut self) {
        self.since = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After how many seconds a body that brings `bytes` every `every` seconds is given up, of at most 1,000.
    fn given_up(bytes: u64, every: u64) -> Option<u64> {
        let mut pace = Pace::default();
        pace.set(Duration::from_secs(60));
        let began = Instant::now();
        (0..1_000).find(|second| {
            let taken = bytes * (second / every);
            pace.judge(began + Duration::from_secs(*second), taken)
                .is_none()
        })
    }

    #[test]
    fn e4_less_than_five_hundred_bytes_a_second_over_twenty_seconds_are_too_slow() {
        assert_eq!(given_up(0, 1), Some(20));
        assert_eq!(given_up(499, 1), Some(20));
        assert_eq!(given_up(500, 1), None);
        // All of it at once, and then a pause within each while.
        assert_eq!(given_up(10_000, 20), None);
        assert_eq!(given_up(100_000, 60), Some(20));
    }

    #[test]
    fn e4_what_the_target_does_not_take_is_not_the_clients_fault() {
        let mut pace = Pace::default();
        pace.set(Duration::from_secs(60));
        let began = Instant::now();
        for minute in 0..10 {
            let now = began + Duration::from_secs(60 * minute);
            assert!(pace.judge(now, 0).is_some(), "{minute}");
            pace.rest();
        }
    }
}
