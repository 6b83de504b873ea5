//! Time that only goes forward, for waits that live in memory.
//!
//! The box's clock can be set back by an hour or forward by a year; a wait of a second stays a second by this one, which
//! no setting moves (`CLOCK_MONOTONIC`; it stands still while the machine sleeps, as the runtime's timers do). It means
//! nothing to another boot or machine: rows have [`super::clock::UnixMs`]. Decisions take it as an argument.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Milliseconds since some moment before this boot's first process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mono(pub u64);

impl Mono {
    /// The present moment.
    pub fn now() -> Self {
        let now = clock_gettime(ClockId::Monotonic);
        let part = |n: i64| u64::try_from(n).unwrap_or(0);
        Self(
            part(now.tv_sec)
                .saturating_mul(1_000)
                .saturating_add(part(now.tv_nsec) / 1_000_000),
        )
    }

    /// This moment moved forward.
    pub fn plus(self, by: Duration) -> Self {
        let by = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(by))
    }

    /// How long after `earlier` this is; zero when it is not after.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n7_it_goes_forward_and_never_below_zero() {
        let now = Mono::now();
        assert!(now.0 > 0 && Mono::now() >= now);
        assert_eq!(now.since(now.plus(Duration::from_secs(9))), Duration::ZERO);
        assert_eq!(
            now.plus(Duration::from_secs(9)).since(now),
            Duration::from_secs(9)
        );
        assert_eq!(Mono(u64::MAX).plus(Duration::MAX).0, u64::MAX);
    }
}
