//! How long to wait before trying again, decided purely.

use std::time::Duration;

/// Exponential waiting between tries.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// The wait after the first failure.
    pub first: Duration,
    /// No wait is longer.
    pub max: Duration,
    /// Each wait is this many times the one before.
    pub factor: u32,
}

impl Backoff {
    /// The wait after `failures` failures in a row (1 for the first), without jitter.
    pub fn delay(&self, failures: u32) -> Duration {
        let mut wait = self.first;
        for _ in 1..failures.min(64) {
            wait = wait.saturating_mul(self.factor);
            if wait >= self.max {
                return self.max;
            }
        }
        wait.min(self.max)
    }

    /// How long all waits after so many failures are together.
    pub fn waited(&self, failures: u32) -> Duration {
        let mut all = Duration::ZERO;
        for failure in 1..=failures {
            let wait = self.delay(failure);
            all = all.saturating_add(wait);
            if wait >= self.max {
                return all.saturating_add(self.max.saturating_mul(failures - failure));
            }
        }
        all
    }

    /// [`Self::delay`] spread over its last quarter; `random` is in `0..=255`.
    pub fn delay_with_jitter(&self, failures: u32, random: u8) -> Duration {
        let whole = self.delay(failures);
        let quarter = whole / 4;
        whole - quarter + quarter * u32::from(random) / 255
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_its_limit() {
        let backoff = Backoff {
            first: Duration::from_secs(1),
            max: Duration::from_secs(300),
            factor: 2,
        };
        assert_eq!(backoff.delay(1), Duration::from_secs(1));
        assert_eq!(backoff.delay(4), Duration::from_secs(8));
        assert_eq!(backoff.delay(40), Duration::from_secs(300));
        assert_eq!(backoff.waited(0), Duration::ZERO);
        assert_eq!(backoff.waited(4), Duration::from_secs(1 + 2 + 4 + 8));
        // 511 s until the ninth, and 300 s after each from then on.
        assert_eq!(backoff.waited(10), Duration::from_secs(511 + 300));
        assert_eq!(backoff.waited(1_009), Duration::from_secs(511 + 300_000));
        assert!(backoff.delay_with_jitter(4, 0) >= Duration::from_secs(6));
    }
}
