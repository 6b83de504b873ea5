//! Histogram: latencies in log-linear buckets, cheap to count and exact to an eighth of the value.
//!
//! Values are microseconds. Below 16 each has its own bucket; above, every power of two is cut into eight.
//! Values over an hour fall into the last bucket.
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

const EXACT: usize = 16;
const STEPS: usize = 8;
const POWERS: usize = 28;
pub const BUCKETS: usize = EXACT + POWERS * STEPS;

pub(super) struct Counting([AtomicU32; BUCKETS]);

impl Counting {
    pub(super) fn new() -> Counting {
        Counting([const { AtomicU32::new(0) }; BUCKETS])
    }

    pub(super) fn count(&self, micros: u64) {
        self.0[bucket(micros)].fetch_add(1, Relaxed);
    }

    pub(super) fn add(&self, histogram: &Histogram) {
        for (sum, count) in self.0.iter().zip(histogram.0.iter()) {
            if *count > 0 {
                sum.fetch_add(u32::try_from(*count).unwrap_or(u32::MAX), Relaxed);
            }
        }
    }

    pub(super) fn add_to(&self, histogram: &mut Histogram) {
        for (sum, count) in histogram.0.iter_mut().zip(&self.0) {
            *sum += u64::from(count.load(Relaxed));
        }
    }
}

/// A reading; readings of the same route at two times subtract to what happened in between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram(Box<[u64; BUCKETS]>);

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram(Box::new([0; BUCKETS]))
    }
}

impl Histogram {
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The value below which this share (0 to 1) of the requests lies, in microseconds; `None` without any.
    pub fn quantile(&self, share: f64) -> Option<u64> {
        let total = self.total();
        let rank = ((total as f64 * share).ceil() as u64).clamp(1, total.max(1));
        let mut seen = 0;
        for (index, count) in self.0.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Some(upper_end(index));
            }
        }
        None
    }

    /// What was counted since an earlier reading. Counters wrap at 2^32, which a reading a minute never meets.
    pub fn since(&self, earlier: &Histogram) -> Histogram {
        let mut difference = self.clone();
        for (now, before) in difference.0.iter_mut().zip(earlier.0.iter()) {
            *now = now.saturating_sub(*before);
        }
        difference
    }

    pub fn merge(&mut self, other: &Histogram) {
        for (sum, count) in self.0.iter_mut().zip(other.0.iter()) {
            *sum += count;
        }
    }

    /// What [`Histogram::buckets`] told.
    pub fn of_buckets(buckets: impl IntoIterator<Item = (u64, u64)>) -> Histogram {
        let mut histogram = Histogram::default();
        for (largest, count) in buckets {
            histogram.0[bucket(largest)] += count;
        }
        histogram
    }

    /// Buckets as (largest value in microseconds, count), empty ones left out.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.0
            .iter()
            .enumerate()
            .filter(|(_, count)| **count > 0)
            .map(|(index, count)| (upper_end(index), *count))
    }
}

fn bucket(value: u64) -> usize {
    if value < EXACT as u64 {
        return value as usize;
    }
    let power = 63 - value.leading_zeros() as usize;
    let step = (value >> (power - 3)) as usize & (STEPS - 1);
    (EXACT + (power - 4) * STEPS + step).min(BUCKETS - 1)
}

/// The largest value a bucket counts.
fn upper_end(index: usize) -> u64 {
    if index < EXACT {
        return index as u64;
    }
    let power = (index - EXACT) / STEPS + 4;
    let step = ((index - EXACT) % STEPS) as u64;
    (1 << power) + ((step + 1) << (power - 3)) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f7_every_value_lies_in_its_bucket_and_buckets_follow_on() {
        for value in (0..4_000).chain((0..31).map(|power| 1u64 << power)) {
            let index = bucket(value);
            assert!(value <= upper_end(index), "{value}");
            assert!(index == 0 || value > upper_end(index - 1), "{value}");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn f7_quantiles_are_within_an_eighth() {
        let counting = Counting::new();
        (1..=1_000u64).for_each(|milli| counting.count(milli * 1_000));
        let mut reading = Histogram::default();
        counting.add_to(&mut reading);
        for (share, expected) in [(0.5, 500_000.0), (0.95, 950_000.0), (0.99, 990_000.0)] {
            let found = reading.quantile(share).unwrap_or(0) as f64;
            assert!((found / expected - 1.0).abs() < 0.125, "{share}: {found}");
        }
        assert_eq!(Histogram::default().quantile(0.5), None);
        assert_eq!(reading.since(&reading).total(), 0);
    }
}
