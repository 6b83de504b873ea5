//! When the disk needs its reader: by what is left in bytes, and by when it will
//! be full as it goes on now.
//!
//! Never by percent: 5 GB hold the next builds whatever the disk's size, though
//! they are 2 % of a large one.

use super::{Attention, Machine, Urgency, item, size};

/// What is left when writes begin to fail: less than a write-ahead log, an
/// upload and a container's log may need at once.
const FULL: u64 = 512 << 20;
/// Below this no build starts.
const BUILD: u64 = 2 << 30;
/// Below this one more build may be the last.
const SHORT: u64 = 2 * BUILD;
/// A forecast beyond this is nobody's worry yet.
const SOON_DAYS: f64 = 14.0;

/// What is to be said of the disk, if anything.
pub fn disk(m: &Machine) -> Option<Attention> {
    let free = m.disk_total.saturating_sub(m.disk_used);
    let left = format!("{} of {} are free", size(free), size(m.disk_total));
    let (level, what, why) = match free {
        _ if m.disk_total == 0 => return None,
        free if free < FULL => (
            Urgency::Bad,
            "The disk is full".to_owned(),
            format!("{left}. Writes begin to fail."),
        ),
        free if free < BUILD => (
            Urgency::Bad,
            "The disk is too full for a build".to_owned(),
            format!(
                "{left} and a build needs {}. What runs goes on.",
                size(BUILD)
            ),
        ),
        free if free < SHORT => (
            Urgency::Warning,
            "The disk is nearly full".to_owned(),
            format!("{left}; below {} no build starts.", size(BUILD)),
        ),
        _ => {
            let days = m.disk_full_in_days.filter(|days| *days < SOON_DAYS)?;
            let what = match days.ceil() {
                days if days > 1.0 => format!("The disk will be full in about {days} days"),
                _ => "The disk will be full within a day".to_owned(),
            };
            let why = format!("{left}, and it has been filling steadily.");
            (Urgency::Warning, what, why)
        }
    };
    let remedy = "Remove what is not needed (`docker system df` shows what images and volumes take, `du -xhd2 /` the rest), or make the disk larger: the box page shows how it fills.";
    Some(item(level, what, why, remedy, "/box"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(total_gb: u64, free_mb: u64, days: Option<f64>) -> Option<(Urgency, String)> {
        let machine = Machine {
            disk_total: total_gb << 30,
            disk_used: (total_gb << 30) - (free_mb << 20),
            disk_full_in_days: days,
            ..Machine::default()
        };
        disk(&machine).map(|a| (a.level, a.what))
    }

    #[test]
    fn f7_bytes_that_are_left_count_and_not_their_share_of_the_disk() {
        for total in [20, 252, 4_000] {
            assert_eq!(said(total, 5 << 10, None), None, "5 GB of {total}");
            let (level, what) = said(total, 3 << 10, None).unwrap();
            assert_eq!(level, Urgency::Warning);
            assert_eq!(what, "The disk is nearly full");
            let (level, what) = said(total, 2_000, None).unwrap();
            assert_eq!(level, Urgency::Bad);
            assert_eq!(what, "The disk is too full for a build");
            let (level, what) = said(total, 400, None).unwrap();
            assert_eq!(level, Urgency::Bad);
            assert_eq!(what, "The disk is full");
        }
        assert_eq!(disk(&Machine::default()), None, "not measured yet");
    }

    #[test]
    fn f7_the_disk_is_told_before_it_is_full() {
        let (_, what) = said(252, 100 << 10, Some(8.2)).unwrap();
        assert_eq!(what, "The disk will be full in about 9 days");
        let (_, what) = said(252, 100 << 10, Some(0.4)).unwrap();
        assert_eq!(what, "The disk will be full within a day");
        assert_eq!(said(252, 100 << 10, Some(20.0)), None);
        let (_, what) = said(252, 3 << 10, Some(0.4)).unwrap();
        assert_eq!(what, "The disk is nearly full");
    }

    #[test]
    fn f7_the_remedy_and_the_figures_are_told() {
        let machine = Machine {
            disk_total: 252 << 30,
            disk_used: (252 << 30) - (1_000 << 20),
            ..Machine::default()
        };
        let found = disk(&machine).unwrap();
        assert_eq!(
            found.why,
            "1000 MB of 252.0 GB are free and a build needs 2.0 GB. What runs goes on."
        );
        assert!(found.remedy.contains("the box page"), "{}", found.remedy);
    }
}
