//! When to renew, when to try again, when to warn. Pure; time is an argument.

use std::time::Duration;

use crate::base::clock::UnixMs;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// Waits after 1, 2, 3 … failures in a row. Four tries in the first hour stay
/// below the five failed validations an hour that Let's Encrypt allows.
const RETRIES: [Duration; 8] = [
    MINUTE,
    Duration::from_secs(5 * 60),
    Duration::from_secs(15 * 60),
    HOUR,
    Duration::from_secs(3 * 3_600),
    Duration::from_secs(6 * 3_600),
    Duration::from_secs(12 * 3_600),
    DAY,
];

/// No name waits longer for its next try.
pub const LONGEST_WAIT: Duration = Duration::from_secs(7 * 86_400);

/// The notices before a certificate runs out, for one that lives 90 days or more.
const NOTICES: [u32; 3] = [14, 7, 3];
const FULL_LIFE: Duration = Duration::from_secs(90 * 86_400);

/// A certificate's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// Its first moment.
    pub not_before: UnixMs,
    /// Its last.
    pub not_after: UnixMs,
}

impl Life {
    /// How long it lives in all.
    pub fn whole(self) -> Duration {
        self.not_after.since(self.not_before)
    }

    /// How long it still lives.
    pub fn left(self, now: UnixMs) -> Duration {
        self.not_after.since(now)
    }
}

/// When to renew: at a third of the life left, or earlier when the server's
/// renewal information says so. Never soon after the last issue, so that a
/// wrong clock does not order for ever.
pub fn renew_at(life: Life, issued: UnixMs, suggested: Option<UnixMs>) -> UnixMs {
    let third = life.not_after.minus(life.whole() / 3);
    let wish = suggested.map_or(third, |s| s.min(third));
    wish.max(issued.plus((life.whole() / 3).min(12 * HOUR)))
}

/// How long to wait after `failures` failures in a row. While a certificate
/// still serves for `left`, tries come closer as its end does. `asked` is what
/// the server asked for, and is always kept.
pub fn retry_in(failures: u32, left: Option<Duration>, asked: Option<Duration>) -> Duration {
    let at = usize::try_from(failures.saturating_sub(1)).unwrap_or(usize::MAX);
    let mut wait = RETRIES[at.min(RETRIES.len() - 1)];
    if let Some(left) = left.filter(|l| !l.is_zero()) {
        wait = wait.min((left / 8).max(Duration::from_secs(5)));
    }
    asked.map_or(wait, |a| wait.max(a.min(LONGEST_WAIT)))
}

/// How long to wait while the name does not exist in DNS: nobody was bothered,
/// so more often than after a refusal.
pub fn dns_retry_in(failures: u32) -> Duration {
    (MINUTE * failures.clamp(1, 10)).min(10 * MINUTE)
}

/// The notice that is due now: 14, 7 or 3 days before the end (scaled down for
/// shorter lives), 0 once it is over.
pub fn notice(life: Life, now: UnixMs) -> Option<u32> {
    if now >= life.not_after {
        return Some(0);
    }
    let left = life.left(now);
    NOTICES
        .into_iter()
        .rev()
        .find(|days| left <= scaled(*days, life.whole()))
}

/// When the next notice after `now` is due.
pub fn next_notice(life: Life, now: UnixMs) -> Option<UnixMs> {
    NOTICES
        .into_iter()
        .map(|days| life.not_after.minus(scaled(days, life.whole())))
        .chain([life.not_after])
        .find(|at| *at > now)
}

fn scaled(days: u32, whole: Duration) -> Duration {
    let full = DAY * days;
    if whole >= FULL_LIFE {
        return full;
    }
    full.mul_f64(whole.as_secs_f64() / FULL_LIFE.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life(seconds: i64) -> Life {
        Life {
            not_before: UnixMs(0),
            not_after: UnixMs(seconds * 1_000),
        }
    }

    #[test]
    fn f5_renews_at_a_third_of_the_life_left() {
        let days = |n: i64| UnixMs(n * 86_400_000);
        assert_eq!(renew_at(life(90 * 86_400), UnixMs(0), None), days(60));
        assert_eq!(renew_at(life(60), UnixMs(0), None), UnixMs(40_000));
        assert_eq!(
            renew_at(life(90 * 86_400), UnixMs(0), Some(days(20))),
            days(20)
        );
        assert_eq!(
            renew_at(life(90 * 86_400), UnixMs(0), Some(days(80))),
            days(60)
        );
    }

    #[test]
    fn f5_a_wrong_clock_does_not_order_for_ever() {
        let issued = UnixMs(400 * 86_400_000);
        assert!(renew_at(life(90 * 86_400), issued, None) >= issued.plus(12 * HOUR));
    }

    #[test]
    fn f5_retries_are_front_loaded_and_keep_what_the_server_asks() {
        assert_eq!(retry_in(1, None, None), MINUTE);
        assert_eq!(retry_in(2, None, None), 5 * MINUTE);
        assert_eq!(retry_in(99, None, None), DAY);
        assert_eq!(retry_in(1, None, Some(2 * HOUR)), 2 * HOUR);
        let first_hour: Duration = (1..4).map(|n| retry_in(n, None, None)).sum();
        assert!(
            first_hour + retry_in(4, None, None) > HOUR,
            "at most 4 in an hour"
        );
        assert_eq!(
            retry_in(8, Some(Duration::from_secs(80)), None),
            Duration::from_secs(10)
        );
        assert_eq!(
            retry_in(1, Some(Duration::from_secs(10)), None),
            Duration::from_secs(5)
        );
        assert_eq!(dns_retry_in(1), MINUTE);
        assert_eq!(dns_retry_in(50), 10 * MINUTE);
    }

    #[test]
    fn f5_notices_come_at_14_7_and_3_days_or_their_like() {
        let year = life(90 * 86_400);
        let at = |days_left: i64| UnixMs((90 - days_left) * 86_400_000);
        assert_eq!(notice(year, at(15)), None);
        assert_eq!(notice(year, at(14)), Some(14));
        assert_eq!(notice(year, at(6)), Some(7));
        assert_eq!(notice(year, at(2)), Some(3));
        assert_eq!(notice(year, at(0)), Some(0));
        assert_eq!(next_notice(year, at(15)), Some(at(14)));
        assert_eq!(next_notice(year, at(0)), None);
        let minute = life(60);
        assert_eq!(notice(minute, UnixMs(40_000)), None);
        assert_eq!(notice(minute, UnixMs(51_000)), Some(14));
    }
}
