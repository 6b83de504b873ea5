//! What bodies consist of, so that both sides know every byte of them: bytes that follow from a seed and their place.

/// The bytes of a body from `at` on: no two seeds that follow each other share a place's byte.
pub fn bytes(seed: u64, at: u64, count: usize) -> Vec<u8> {
    let first = seed % 26 + at % 26;
    let letters = (0..26).map(|n| b'a' + ((first + n) % 26) as u8);
    letters.cycle().take(count).collect()
}

/// A running FNV-1a sum of 64 bits; begins at [`SUM`].
pub fn sum(before: u64, bytes: &[u8]) -> u64 {
    let step = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    bytes.iter().fold(before, step)
}

/// The sum of nothing.
pub const SUM: u64 = 0xcbf2_9ce4_8422_2325;
