//! Latencies of a slot as counts by bucket, so that slots add up and their percentiles stay right.
//!
//! Percentiles are never averaged: slots are merged first. The stored form is a
//! list of (bucket, count) in variable-length numbers, some 60 bytes for a busy
//! app; a damaged one reads as far as it goes.

use crate::proxy::Histogram;

/// Counts by the largest value of their bucket, in microseconds; rising, each bucket once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Latency(Vec<(u64, u64)>);

impl From<&Histogram> for Latency {
    fn from(histogram: &Histogram) -> Self {
        Self(histogram.buckets().collect())
    }
}

impl Latency {
    /// Adds the counts of `other`.
    pub fn merge(&mut self, other: &Self) {
        if self.0.is_empty() {
            self.0.clone_from(&other.0);
            return;
        }
        let mut from = 0;
        for (bucket, count) in &other.0 {
            while self.0.get(from).is_some_and(|(b, _)| b < bucket) {
                from += 1;
            }
            match self.0.get_mut(from) {
                Some((b, sum)) if b == bucket => *sum = sum.saturating_add(*count),
                _ => self.0.insert(from, (*bucket, *count)),
            }
        }
    }

    /// How many were counted.
    pub fn total(&self) -> u64 {
        self.0.iter().fold(0, |sum, (_, n)| sum.saturating_add(*n))
    }

    /// The value, in milliseconds, at or below which `share` of all lie; `None` without any.
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss
    )]
    pub fn quantile_ms(&self, share: f64) -> Option<f64> {
        let total = self.total();
        let rank = ((total as f64 * share).ceil() as u64).clamp(1, total.max(1));
        let mut seen = 0u64;
        for (bucket, count) in &self.0 {
            seen = seen.saturating_add(*count);
            if seen >= rank {
                return Some(*bucket as f64 / 1_000.0);
            }
        }
        None
    }

    /// The stored form.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.0.len() * 4);
        let mut last = 0;
        for (bucket, count) in &self.0 {
            put(&mut bytes, bucket - last);
            put(&mut bytes, *count);
            last = *bucket;
        }
        bytes
    }

    /// From the stored form.
    pub fn from_bytes(mut bytes: &[u8]) -> Self {
        let mut counts: Vec<(u64, u64)> = Vec::with_capacity(bytes.len() / 3);
        let mut last = 0u64;
        while let (Some(gap), Some(count)) = (take(&mut bytes), take(&mut bytes)) {
            last = last.saturating_add(gap);
            if counts.last().is_none_or(|(b, _)| *b < last) {
                counts.push((last, count));
            }
        }
        Self(counts)
    }
}

/// Seven bits a byte, lowest first; the top bit says that more follow.
fn put(bytes: &mut Vec<u8>, mut number: u64) {
    loop {
        let low = u8::try_from(number & 0x7f).unwrap_or(0);
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return;
        }
        bytes.push(low | 0x80);
    }
}

fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn f7_percentiles_come_from_merged_counts_not_from_averages() {
        // 95 quick answers in one slot, 5 slow ones in another: the p95 of all is quick.
        let mut both = Latency([(1_000, 95)].into());
        let slow = Latency([(900_000, 5)].into());
        both.merge(&slow);
        assert_eq!(both.quantile_ms(0.95), Some(1.0));
        assert_eq!(both.quantile_ms(0.99), Some(900.0));
        assert_eq!(both.total(), 100);
        assert_eq!(Latency::default().quantile_ms(0.95), None);
    }

    proptest! {
        #[test]
        fn f7_what_is_stored_comes_back(counts in prop::collection::btree_map(any::<u64>(), any::<u64>(), 0..40)) {
            let latency = Latency(counts.into_iter().collect());
            prop_assert_eq!(Latency::from_bytes(&latency.to_bytes()), latency);
        }

        #[test]
        fn f7_damaged_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let latency = Latency::from_bytes(&bytes);
            prop_assert!(latency.quantile_ms(0.5).is_some() || latency.total() == 0);
        }
    }
}
