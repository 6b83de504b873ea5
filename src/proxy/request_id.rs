//! Request id: 32 hexadecimal digits, the first 12 of them the time in milliseconds, the rest chance.
//!
//! Sorted by time in a log, and of the form a W3C trace id has. Unique, not secret.
use std::cell::Cell;

use http::HeaderValue;

/// The source of one worker.
pub(super) struct RequestIds {
    state: Cell<u64>,
}

impl RequestIds {
    pub(super) fn new(seed: u64) -> RequestIds {
        RequestIds {
            state: Cell::new(seed),
        }
    }

    /// Chance for balancing and ids (splitmix64); nothing secret hangs on it.
    pub(super) fn random(&self) -> u64 {
        let state = self.state.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.state.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn next(&self, now_ms: u64) -> HeaderValue {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let high = now_ms << 16 | (self.random() & 0xffff);
        let low = self.random();
        let mut text = [0; 32];
        for (index, digit) in text.iter_mut().enumerate() {
            let half = if index < 16 { high } else { low };
            *digit = DIGITS[(half >> (60 - 4 * (index % 16))) as usize & 15];
        }
        HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static("0"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f4_ids_begin_with_the_time_and_differ() {
        let ids = RequestIds::new(7);
        let (first, second) = (ids.next(0x0123_4567_89ab), ids.next(0x0123_4567_89ab));
        assert!(first.to_str().unwrap().starts_with("0123456789ab"));
        assert_eq!(first.len(), 32);
        assert_ne!(first, second);
    }
}
