//! Which stored backups have had their time: pure.
//!
//! Backups are in the order in which they were made, and time is told by the days that have one: a clock that leaps a year
//! forward is one more day, and one that is set back does not make the newest look old.

use std::collections::HashSet;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::base::clock::UnixMs;

/// How many are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// The newest of each of this many days.
    pub daily: u32,
    /// The newest of each of this many weeks.
    pub weekly: u32,
    /// The newest of each of this many months.
    pub monthly: u32,
}

/// A stored backup of one database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The row; a later one is higher.
    pub id: i64,
    /// When it was made.
    pub at: UnixMs,
    /// Whether somebody asked for it by hand.
    pub asked: bool,
}

/// One that was asked for stays this long in any case, and until as many later days have one (or as are kept at most):
/// it was made for a reason.
const ASKED_STAYS: Duration = Duration::from_secs(7 * 24 * 3600);

/// The ids of those that may go. The newest one always stays.
pub fn past_their_time(stored: &[Kept], keep: Keep, now: UnixMs, zone: &TimeZone) -> Vec<i64> {
    let mut newest_first: Vec<Kept> = stored.to_vec();
    newest_first.sort_by_key(|k| std::cmp::Reverse(k.id));
    let mut stays: HashSet<i64> = newest_first.first().map(|k| k.id).into_iter().collect();
    let date = |at: UnixMs| {
        Timestamp::from_millisecond(at.0)
            .unwrap_or_default()
            .to_zoned(zone.clone())
            .date()
    };
    let day = |at: UnixMs| date(at).to_string();
    let week = |at: UnixMs| {
        let week = date(at).iso_week_date();
        format!("{}-{}", week.year(), week.week())
    };
    let month = |at: UnixMs| format!("{}-{}", date(at).year(), date(at).month());
    let spans: [(&dyn Fn(UnixMs) -> String, u32); 3] = [
        (&day, keep.daily),
        (&week, keep.weekly),
        (&month, keep.monthly),
    ];
    for (span, count) in spans {
        let mut seen = HashSet::new();
        for kept in &newest_first {
            if seen.len() >= count as usize {
                break;
            }
            if seen.insert(span(kept.at)) {
                stays.insert(kept.id);
            }
        }
    }
    let enough = (ASKED_STAYS.as_secs() / (24 * 3600)).min(keep.daily.into());
    let mut days = HashSet::new();
    newest_first
        .iter()
        .filter(|k| {
            days.insert(day(k.at));
            let is_old = now.since(k.at) >= ASKED_STAYS && days.len() as u64 > enough;
            !stays.contains(&k.id) && (!k.asked || is_old)
        })
        .map(|k| k.id)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24 * 3600 * 1000;
    const KEEP: Keep = Keep {
        daily: 7,
        weekly: 4,
        monthly: 12,
    };
    /// Saturday, 2026-11-21, 02:17 UTC.
    const NOW: i64 = 1_795_227_420_000;

    fn daily(days: i64) -> Vec<Kept> {
        (0..days)
            .map(|n| Kept {
                id: 10_000 - 10 * n,
                at: UnixMs(NOW - n * DAY),
                asked: false,
            })
            .collect()
    }

    /// How many days ago those were made that stay.
    fn left(stored: &[Kept]) -> Vec<i64> {
        let left = left_of(stored).into_iter();
        left.map(|id| (10_000 - id) / 10).collect()
    }

    fn left_of(stored: &[Kept]) -> Vec<i64> {
        let gone = past_their_time(stored, KEEP, UnixMs(NOW), &TimeZone::UTC);
        stored
            .iter()
            .map(|k| k.id)
            .filter(|id| !gone.contains(id))
            .collect()
    }

    #[test]
    fn f6_seven_daily_four_weekly_and_twelve_monthly_stay() {
        let stored = daily(800);
        let left = left(&stored);
        assert!((0..7).all(|n| left.contains(&n)), "{left:?}");
        // Sundays end ISO weeks: 15 and 8 November, 1 November, within the four newest weeks.
        assert!(left.contains(&6) && left.contains(&13), "{left:?}");
        // The last day of October, and of each month before it.
        assert!(left.contains(&21), "{left:?}");
        let weekly = 4 - 2;
        let monthly = 12 - 1;
        assert_eq!(left.len(), 7 + weekly + monthly, "{left:?}");
    }

    #[test]
    fn f6_the_newest_stays_whatever_is_set() {
        let none = Keep {
            daily: 0,
            weekly: 0,
            monthly: 0,
        };
        let gone = past_their_time(&daily(3), none, UnixMs(NOW), &TimeZone::UTC);
        assert_eq!(gone, [9_990, 9_980]);
        assert!(past_their_time(&[], none, UnixMs(NOW), &TimeZone::UTC).is_empty());
    }

    #[test]
    fn f6_a_gap_in_the_days_does_not_cost_older_ones() {
        let sparse: Vec<Kept> = daily(60).into_iter().filter(|k| k.id % 50 == 0).collect();
        let left = left(&sparse);
        assert!((0..7).all(|n| left.contains(&(n * 5))), "{left:?}");
    }

    #[test]
    fn f6_one_asked_for_by_hand_outlives_a_newer_one_of_its_day() {
        let mut stored = daily(2);
        stored.push(Kept {
            id: 9_995,
            at: UnixMs(NOW - 3_600_000),
            asked: true,
        });
        assert!(left_of(&stored).contains(&9_995));
        let long_ago = |id, at| Kept {
            id,
            at: UnixMs(NOW - at),
            asked: id == 51,
        };
        stored.extend([long_ago(51, 20 * DAY + 3_600_000), long_ago(52, 20 * DAY)]);
        let few = Keep {
            daily: 2,
            weekly: 1,
            monthly: 1,
        };
        let gone = past_their_time(&stored, few, UnixMs(NOW), &TimeZone::UTC);
        assert!(gone.contains(&51), "{gone:?}");
    }

    /// A schedule's worth: a day, a week and a month that fall out of what is kept.
    const WORTH: usize = 3;

    #[test]
    fn n7_a_clock_that_leaps_a_year_forward_costs_no_more_than_a_day_that_passes() {
        let mut stored: Vec<Kept> = daily(400);
        let stays = left_of(&stored);
        stored.retain(|k| stays.contains(&k.id));
        stored.push(Kept {
            id: 9_995,
            at: UnixMs(NOW - 3_600_000),
            asked: true,
        });
        for leap in [3_600_000, 365 * DAY] {
            let now = UnixMs(NOW + leap);
            let mut after = stored.clone();
            after.push(Kept {
                id: 10_010,
                at: now,
                asked: false,
            });
            let gone = past_their_time(&after, KEEP, now, &TimeZone::UTC);
            assert!(gone.len() <= WORTH, "{gone:?}");
            assert!(!gone.contains(&9_995), "one that was asked for this day");
            // The saboteur: by their ages all that is older than what is kept daily and weekly had its time.
            let age = Duration::from_secs(28 * 24 * 3600);
            let by_ages = after.iter().filter(|k| now.since(k.at) > age);
            let costs = by_ages.count() - stored.iter().filter(|k| k.at.0 < NOW - 28 * DAY).count();
            assert_eq!(costs > WORTH, leap > DAY, "{costs}");
        }
    }

    #[test]
    fn n7_what_is_made_after_the_clock_was_set_back_stays() {
        // Ten days by a clock that was a year ahead, then three by the right one.
        let ahead = daily(10).into_iter().map(|k| Kept {
            at: UnixMs(k.at.0 + 365 * DAY),
            ..k
        });
        let right = (1..=3).map(|n| Kept {
            id: 10_000 + n,
            at: UnixMs(NOW + n * DAY),
            asked: false,
        });
        let stored: Vec<Kept> = ahead.chain(right).collect();
        let few = Keep {
            daily: 7,
            weekly: 0,
            monthly: 0,
        };
        let now = UnixMs(NOW + 3 * DAY);
        let gone = past_their_time(&stored, few, now, &TimeZone::UTC);
        assert_eq!(gone.len(), 6, "{gone:?}");
        assert!(gone.iter().all(|id| *id < 10_000), "{gone:?}");
        // The saboteur: in the order of their times those of the right clock look the oldest.
        let mut by_times = stored;
        by_times.sort_by_key(|k| k.at);
        (0..).zip(&mut by_times).for_each(|(n, k)| k.id = n);
        let gone = past_their_time(&by_times, few, now, &TimeZone::UTC);
        assert!((0..3).all(|id| gone.contains(&id)), "{gone:?}");
    }
}
