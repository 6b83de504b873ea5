//! When a database is dumped, and when a good backup is missing: pure.

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Time;
use jiff::tz::TimeZone;

use crate::base::clock::UnixMs;
use crate::base::secret::sha256_hex;

/// Databases are spread over this many minutes, so that a box with ten of them
/// does not dump them all at once.
const SPREAD: u32 = 180;
/// A day, and the time a dump and its retries may take.
const MISSING_AFTER: Duration = Duration::from_secs(27 * 3600);
/// A missing backup is told again this often.
const ALARM_AGAIN: Duration = Duration::from_secs(24 * 3600);

/// The minute of the day at which a database is dumped: the same for ever,
/// another for each database and box.
pub fn minute_of(installation: &str, database: i64, after_hour: u32) -> u32 {
    let digest = sha256_hex(format!("{installation}:{database}").as_bytes());
    let number = u32::from_str_radix(digest.get(..6).unwrap_or("0"), 16).unwrap_or(0);
    (after_hour * 60 + number % SPREAD) % (24 * 60)
}

/// The next time it is `minute` of the day after `now`, by the box's clock.
pub fn next_due(now: UnixMs, minute: u32, zone: &TimeZone) -> UnixMs {
    let zoned = Timestamp::from_millisecond(now.0)
        .unwrap_or_default()
        .to_zoned(zone.clone());
    let hour = i8::try_from(minute / 60 % 24).unwrap_or(0);
    let minute = i8::try_from(minute % 60).unwrap_or(0);
    let time = Time::new(hour, minute, 0, 0).unwrap_or(Time::midnight());
    let mut date = zoned.date();
    for _ in 0..3 {
        if let Ok(at) = date.to_datetime(time).to_zoned(zone.clone()) {
            let at = UnixMs(at.timestamp().as_millisecond());
            if at > now {
                return at;
            }
        }
        date = date.tomorrow().unwrap_or(date);
    }
    now.plus(Duration::from_secs(24 * 3600))
}

/// What is known of a database's backups.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// When its schedule began.
    pub since: UnixMs,
    /// The newest good backup.
    pub newest: Option<UnixMs>,
    /// When a missing one was last told, of this database or another of its server.
    pub told: Option<UnixMs>,
}

/// For how long a good backup has been missing, when it is.
pub fn missing(known: Known, now: UnixMs) -> Option<Duration> {
    let since = known.newest.unwrap_or(known.since);
    let age = now.since(since);
    (age > MISSING_AFTER).then_some(age)
}

/// Whether that is to be told now. What was told before this one was missing
/// was told of another.
pub fn alarm_due(known: Known, now: UnixMs) -> bool {
    let begun = known.newest.unwrap_or(known.since).plus(MISSING_AFTER);
    missing(known, now).is_some()
        && known
            .told
            .is_none_or(|at| at <= begun || now.since(at) > ALARM_AGAIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;

    fn berlin() -> TimeZone {
        TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
    }

    #[test]
    fn f6_every_database_has_its_minute_after_two() {
        let minutes: Vec<u32> = (1..40).map(|id| minute_of("abc", id, 2)).collect();
        assert!(minutes.iter().all(|m| (120..300).contains(m)));
        assert!(minutes.iter().any(|m| *m != minutes[0]));
        assert_eq!(minute_of("abc", 7, 2), minute_of("abc", 7, 2));
        assert!(minute_of("abc", 7, 23) < 24 * 60);
    }

    #[test]
    fn f6_due_is_the_next_such_minute_by_the_boxs_clock() {
        let zone = berlin();
        let now = UnixMs(1_795_227_420_000);
        let due = next_due(now, 137, &zone);
        assert!(due > now && due.since(now) <= Duration::from_secs(24 * 3600));
        let local = Timestamp::from_millisecond(due.0)
            .unwrap()
            .to_zoned(zone.clone());
        assert_eq!((local.hour(), local.minute()), (2, 17));
        let again = next_due(due, 137, &zone);
        assert_eq!(again.since(due), Duration::from_secs(24 * 3600));
    }

    #[test]
    fn f6_the_hour_that_summer_time_skips_is_no_missed_backup() {
        let zone = berlin();
        // 2026-03-29 02:30 does not exist there.
        let before = UnixMs(1_774_738_800_000);
        let due = next_due(before, 150, &zone);
        assert!(due.since(before) < Duration::from_secs(26 * 3600));
    }

    #[test]
    fn f6_a_missing_backup_is_told_once_a_day() {
        let known = |newest: Option<i64>, told: Option<i64>| Known {
            since: UnixMs(0),
            newest: newest.map(|h| UnixMs(h * HOUR)),
            told: told.map(|h| UnixMs(h * HOUR)),
        };
        let now = UnixMs(100 * HOUR);
        assert!(!alarm_due(known(Some(80), None), now));
        assert!(alarm_due(known(Some(60), None), now));
        assert!(!alarm_due(known(Some(60), Some(90)), now));
        assert!(alarm_due(known(None, Some(70)), now));
        assert!(!alarm_due(known(None, None), UnixMs(20 * HOUR)));
        // What was told at 80 h was of another database: this one's newest was good until 87 h.
        assert!(alarm_due(known(Some(60), Some(80)), now));
    }
}
