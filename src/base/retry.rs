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
        assert!(backoff.delay_with_jitter(4, 0) >= Duration::from_secs(6));
    }
}
