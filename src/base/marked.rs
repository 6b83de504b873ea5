//! Secrets that scanners for leaked ones know: a prefix for each kind, forty random letters and digits, a checksum.
//!
//! `freehold_(pat|dep|whs)_[0-9A-Za-z]{46}`: the last six are the CRC-32 of the
//! forty before them in base 62, so that a scanner tells one from text that
//! only looks like it without asking anybody.

use super::secret::{SealError, Secret, constant_time_eq, fill_random};

/// A person's program.
pub const PERSONAL: &str = "freehold_pat_";
/// A program that deploys one app.
pub const DEPLOY: &str = "freehold_dep_";
/// What a git host signs its events with.
pub const WEBHOOK: &str = "freehold_whs_";

const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// 238 random bits.
const RANDOM: usize = 40;
const CHECK: usize = 6;

/// A new secret of the kind that begins with `prefix`.
///
/// # Errors
/// [`SealError::Refused`] when the random source fails.
pub fn new(prefix: &str) -> Result<Secret, SealError> {
    let mut body = String::new();
    while body.len() < RANDOM {
        let mut bytes = [0u8; 64];
        fill_random(&mut bytes)?;
        // Only what falls evenly on the letters.
        let even = bytes.iter().filter(|b| **b < 248);
        body.extend(even.map(|b| char::from(LETTERS[usize::from(*b) % 62])));
    }
    body.truncate(RANDOM);
    Ok(Secret::new(format!("{prefix}{body}{}", check(&body))))
}

/// Whether `text` is one of that kind, as far as it tells by itself.
pub fn is(prefix: &str, text: &str) -> bool {
    let Some(rest) = text.strip_prefix(prefix) else {
        return false;
    };
    let whole = rest.len() == RANDOM + CHECK && rest.bytes().all(|b| b.is_ascii_alphanumeric());
    whole
        && constant_time_eq(
            check(&rest[..RANDOM]).as_bytes(),
            &rest.as_bytes()[RANDOM..],
        )
}

fn check(body: &str) -> String {
    let mut crc = crc32(body.as_bytes());
    let mut digits = [b'0'; CHECK];
    for digit in digits.iter_mut().rev() {
        *digit = LETTERS[(crc % 62) as usize];
        crc /= 62;
    }
    digits.iter().map(|d| char::from(*d)).collect()
}

/// The CRC-32 of zlib and PNG.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| match crc & 1 {
            1 => crc >> 1 ^ 0xedb8_8320,
            _ => crc >> 1,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a3_a_token_is_known_by_its_prefix_and_its_checksum() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        let token = new(PERSONAL).unwrap();
        let text = token.expose();
        assert_eq!(text.len(), PERSONAL.len() + 46);
        assert!(is(PERSONAL, text) && !is(DEPLOY, text) && !is(WEBHOOK, text));
        let last = text.chars().next_back().unwrap();
        let bent = match last {
            'a' => 'b',
            _ => 'a',
        };
        for other in [
            format!("{}{bent}", &text[..text.len() - 1]),
            text[..text.len() - 1].to_owned(),
            format!("{text}a"),
            format!("{}é", &text[..text.len() - 2]),
            PERSONAL.to_owned(),
            String::new(),
        ] {
            assert!(!is(PERSONAL, &other), "{other}");
        }
        assert_ne!(new(PERSONAL).unwrap(), token);
    }
}
