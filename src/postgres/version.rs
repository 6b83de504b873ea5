//! The Postgres versions Freehold runs.

use super::error::PostgresError;

/// Every major version that is run, oldest first.
pub const SUPPORTED: [u32; 6] = [13, 14, 15, 16, 17, 18];

/// The major version `text` names.
///
/// # Errors
/// A sentence with the versions there are.
pub fn parse(text: &str) -> Result<u32, PostgresError> {
    text.trim()
        .parse()
        .ok()
        .filter(|v| SUPPORTED.contains(v))
        .ok_or_else(|| {
            let shown: String = text.chars().take(40).collect();
            let known: Vec<String> = SUPPORTED.iter().map(u32::to_string).collect();
            PostgresError::Invalid(format!(
                "\"{shown}\" is not a Postgres version that Freehold runs: choose one of {}.",
                known.join(", ")
            ))
        })
}

/// The major version of what `SHOW server_version` says: "17.5 (Debian 17.5-1)" is 17.
pub fn major_of(said: &str) -> Option<u32> {
    let digits: String = said.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f3_an_unknown_version_is_refused_with_the_known_ones() {
        assert_eq!(parse("17").unwrap(), 17);
        for wrong in ["", "12", "99", "17.2", "latest", "17; rm", "-1"] {
            let said = parse(wrong).unwrap_err().to_string();
            assert!(said.contains("13, 14, 15, 16, 17, 18"), "{said}");
        }
    }

    #[test]
    fn f3_the_major_version_is_read_from_the_servers_words() {
        assert_eq!(major_of("17.5 (Debian 17.5-1.pgdg12+1)"), Some(17));
        assert_eq!(major_of("18beta1"), Some(18));
        assert_eq!(major_of("unknown"), None);
    }
}
