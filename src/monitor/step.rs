//! How finely history is kept, and for how long; and the slots a graph is made of.

use std::time::Duration;

use crate::base::clock::UnixMs;

/// The length of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// 10 s, kept for 2 hours: what is going on.
    Moment,
    /// 1 min, kept for 26 hours: the last day.
    Minute,
    /// 15 min, kept for 90 days: the last weeks.
    Quarter,
    /// 1 h, kept for 400 days: the last year.
    Hour,
}

impl Step {
    /// Finest first.
    pub const ALL: [Self; 4] = [Self::Moment, Self::Minute, Self::Quarter, Self::Hour];
    /// Those that checks use; they are asked every 30 s.
    pub const OF_CHECKS: [Self; 3] = [Self::Minute, Self::Quarter, Self::Hour];

    /// Its length.
    pub fn length(self) -> Duration {
        Duration::from_secs(u64::try_from(self.seconds()).unwrap_or(1))
    }

    /// Its length in seconds, as in the tables.
    pub fn seconds(self) -> i64 {
        match self {
            Self::Moment => 10,
            Self::Minute => 60,
            Self::Quarter => 900,
            Self::Hour => 3_600,
        }
    }

    /// How long its slots are kept.
    pub fn kept(self) -> Duration {
        const HOUR: u64 = 3_600;
        Duration::from_secs(match self {
            Self::Moment => 2 * HOUR,
            Self::Minute => 26 * HOUR,
            Self::Quarter => 90 * 24 * HOUR,
            Self::Hour => 400 * 24 * HOUR,
        })
    }

    /// The start of the slot that holds `at`.
    pub fn slot(self, at: UnixMs) -> UnixMs {
        let length = self.seconds() * 1_000;
        UnixMs(at.0.div_euclid(length) * length)
    }
}

/// A run of slots that ends with the one of now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The slots' length.
    pub step: Step,
    /// The start of the first.
    pub from: UnixMs,
    /// How many.
    pub slots: usize,
}

impl Window {
    /// The last `slots` slots of `step` up to `now`.
    pub fn last(step: Step, slots: usize, now: UnixMs) -> Self {
        let back = step.length() * u32::try_from(slots.saturating_sub(1)).unwrap_or(0);
        Self {
            step,
            from: step.slot(now).minus(back),
            slots,
        }
    }

    /// The last day in quarters of an hour.
    pub fn day(now: UnixMs) -> Self {
        Self::last(Step::Quarter, 96, now)
    }

    /// What [`Self::named`] knows, shortest first.
    pub const NAMES: [&'static str; 5] = ["hour", "day", "week", "month", "year"];

    /// The window a page asks for: one of [`Self::NAMES`].
    pub fn named(name: &str, now: UnixMs) -> Option<Self> {
        Some(match name {
            "hour" => Self::last(Step::Moment, 360, now),
            "day" => Self::day(now),
            "week" => Self::last(Step::Quarter, 7 * 96, now),
            "month" => Self::last(Step::Hour, 30 * 24, now),
            "year" => Self::last(Step::Hour, 365 * 24, now),
            _ => return None,
        })
    }

    /// Which slot holds `at`.
    pub fn index(&self, at: UnixMs) -> Option<usize> {
        let after = at.0.checked_sub(self.from.0).filter(|a| *a >= 0)?;
        let index = usize::try_from(after / (self.step.seconds() * 1_000)).ok()?;
        (index < self.slots).then_some(index)
    }

    /// The start of slot `index`.
    pub fn start(&self, index: usize) -> UnixMs {
        self.from
            .plus(self.step.length() * u32::try_from(index).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f7_a_window_ends_with_the_slot_of_now() {
        let now = UnixMs(1_800_000_123_456);
        for name in Window::NAMES {
            let window = Window::named(name, now).unwrap();
            assert_eq!(window.index(now), Some(window.slots - 1), "{name}");
            assert_eq!(window.index(window.from), Some(0), "{name}");
            assert_eq!(
                window.index(window.from.minus(Duration::from_millis(1))),
                None
            );
            assert_eq!(window.index(now.plus(window.step.length())), None);
            let span = window.step.length() * u32::try_from(window.slots).unwrap();
            assert!(
                span <= window.step.kept(),
                "{name} asks for more than is kept"
            );
        }
        assert_eq!(Window::named("century", now), None);
    }
}
