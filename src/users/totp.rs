//! Codes of an authenticator (RFC 6238): HMAC-SHA-1, six digits, steps of thirty seconds.
//!
//! SHA-1 and six digits are what every authenticator has. A code is taken from
//! the step before to the step after, for clocks that differ, and once.

use aws_lc_rs::hmac;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::base::clock::UnixMs;
use crate::base::secret::{Secret, constant_time_eq};

/// Bytes of a key: as many as SHA-1 gives, as RFC 4226 asks for.
pub(super) const KEY: usize = 20;
const STEP_MS: i64 = 30_000;

/// The code of one step.
pub(super) fn code(key: &[u8], step: i64) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key);
    let tag = hmac::sign(&key, &step.to_be_bytes());
    let tag = tag.as_ref();
    let at = usize::from(tag.last().copied().unwrap_or_default() & 0x0f);
    let word = tag.get(at..at + 4).unwrap_or(&[0; 4]);
    let number = word.iter().fold(0u32, |n, b| n << 8 | u32::from(*b)) & 0x7fff_ffff;
    format!("{:06}", number % 1_000_000)
}

/// The step `given` is the code of, if it is one that may be used now: none up to `spent`.
pub(super) fn step_of(key: &[u8], given: &str, now: UnixMs, spent: i64) -> Option<i64> {
    let this = now.0.div_euclid(STEP_MS);
    // All three are looked at, so that the time taken tells nothing.
    let mut found = None;
    for step in [this - 1, this, this + 1] {
        let same = constant_time_eq(code(key, step).as_bytes(), given.as_bytes());
        if same && step > spent {
            found = Some(step);
        }
    }
    found
}

/// The key as it is typed: base32 (RFC 4648) without padding.
pub(super) fn base32(key: &[u8]) -> Secret {
    const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut text = String::new();
    let (mut bits, mut held) = (0u32, 0u32);
    for byte in key {
        held = held << 8 | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            text.push(char::from(LETTERS[(held >> bits & 31) as usize]));
        }
    }
    if bits > 0 {
        text.push(char::from(LETTERS[(held << (5 - bits) & 31) as usize]));
    }
    Secret::new(text)
}

/// What an authenticator reads from a QR code.
pub(super) fn url(key: &[u8], user: &str, issuer: &str) -> Secret {
    let plain = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let (issuer, user) = (plain(issuer), plain(user));
    Secret::new(format!(
        "otpauth://totp/{issuer}:{user}?secret={}&issuer={issuer}&algorithm=SHA1&digits=6&period=30",
        base32(key).expose()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RFC: &[u8] = b"12345678901234567890";

    #[test]
    fn a2_codes_are_those_of_rfc_6238() {
        for (seconds, eight_digits) in [
            (59, "94287082"),
            (1_111_111_109, "07081804"),
            (1_111_111_111, "14050471"),
            (1_234_567_890, "89005924"),
            (2_000_000_000, "69279037"),
            (20_000_000_000, "65353130"),
        ] {
            assert_eq!(code(RFC, seconds / 30), eight_digits[2..], "{seconds}");
        }
    }

    #[test]
    fn a2_a_code_is_taken_a_step_around_and_once() {
        let now = UnixMs(1_111_111_111_000);
        let this = now.0 / STEP_MS;
        let given = code(RFC, this);
        assert_eq!(step_of(RFC, &given, now, 0), Some(this));
        assert_eq!(step_of(RFC, &given, now, this), None, "used up");
        let at = |steps: i64| UnixMs(now.0 + steps * STEP_MS);
        assert_eq!(step_of(RFC, &given, at(1), 0), Some(this));
        assert_eq!(step_of(RFC, &given, at(-1), 0), Some(this));
        assert_eq!(step_of(RFC, &given, at(2), 0), None);
        assert_eq!(step_of(RFC, &given, at(-2), 0), None);
        for wrong in ["", "000000", "0500471", "05047", "١٢٣٤٥٦"] {
            assert_eq!(step_of(RFC, wrong, now, 0), None, "{wrong}");
        }
    }

    #[test]
    fn a2_a_key_is_typed_as_base32() {
        assert_eq!(base32(RFC).expose(), "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");
        assert_eq!(base32(b"foob").expose(), "MZXW6YQ");
        assert_eq!(
            url(b"foob", "ana@example.com", "Freehold p.test").expose(),
            "otpauth://totp/Freehold%20p%2Etest:ana%40example%2Ecom?secret=MZXW6YQ&issuer=Freehold%20p%2Etest&algorithm=SHA1&digits=6&period=30"
        );
    }
}
