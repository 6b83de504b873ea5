//! What an authenticator on a phone does: reads a key, shows codes (RFC 6238).

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;

/// The bytes of a key as it is typed.
pub fn key(typed: &str) -> Vec<u8> {
    let (mut bits, mut held, mut key) = (0, 0u32, Vec::new());
    for c in typed.bytes().filter(|c| !c.is_ascii_whitespace()) {
        let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
        let value = letters.iter().position(|l| *l == c).unwrap();
        held = held << 5 | u32::try_from(value).unwrap();
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            key.push(u8::try_from(held >> bits & 0xff).unwrap());
        }
    }
    key
}

/// The code it shows now, or so many steps from now.
pub fn code(key: &[u8], ahead: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let step = now.as_secs() / 30 + ahead;
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key);
    let tag = hmac::sign(&key, &step.to_be_bytes());
    let at = usize::from(tag.as_ref()[19] & 0x0f);
    let word: [u8; 4] = tag.as_ref()[at..at + 4].try_into().unwrap();
    format!(
        "{:06}",
        (u32::from_be_bytes(word) & 0x7fff_ffff) % 1_000_000
    )
}
