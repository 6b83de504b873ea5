//! Names that outside people choose, parsed once and valid from then on.
//!
//! A value of one of these types is safe in a container name, a path segment,
//! an SQL identifier after quoting and a page: only lower-case letters, digits
//! and inner hyphens, except for hosts, which follow RFC 1123.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

/// Why a name was refused, as a sentence for the person who typed it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidName(pub String);

fn plain(what: &str, text: &str, longest: usize) -> Result<String, InvalidName> {
    let good = !text.is_empty()
        && text.len() <= longest
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && !text.ends_with('-')
        && text
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if good {
        return Ok(text.to_owned());
    }
    let shown: String = text.chars().take(60).collect();
    Err(InvalidName(format!(
        "\"{shown}\" cannot be the name of {what}: use 1 to {longest} lower-case letters, digits and hyphens, beginning with a letter, such as \"shop-2\"."
    )))
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal, $longest:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $type(String);

        impl $type {
            /// Checks `text`.
            ///
            /// # Errors
            /// [`InvalidName`] with a sentence that says what is allowed.
            pub fn parse(text: &str) -> Result<Self, InvalidName> {
                plain($what, text, $longest).map(Self)
            }

            /// The name.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::str::FromStr for $type {
            type Err = InvalidName;
            fn from_str(text: &str) -> Result<Self, InvalidName> {
                Self::parse(text)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = String::deserialize(from)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

name!(
    /// An app's name, unique on the box.
    AppName, "an app", 40
);
name!(
    /// A kind of container of an app: `web`, `worker`.
    ProcessName, "a process", 30
);
name!(
    /// A managed database's name, unique on the box.
    DatabaseName, "a database", 40
);
name!(
    /// A backup target's name, unique on the box.
    TargetName, "a backup target", 40
);
name!(
    /// A volume's name, unique in its app.
    VolumeName, "a volume", 30
);
name!(
    /// This installation's id; every engine object of ours carries it.
    InstallationId, "an installation", 40
);

/// A host name as in a URL: lower case, no port, no trailing dot (RFC 1123).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct HostName(String);

impl HostName {
    /// Checks and lower-cases `text`. International names are given in their
    /// ASCII form (`xn--…`).
    ///
    /// # Errors
    /// [`InvalidName`] with a sentence that says what is allowed.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        let lower = text.trim_end_matches('.').to_ascii_lowercase();
        let label = |l: &str| {
            !l.is_empty()
                && l.len() <= 63
                && !l.starts_with('-')
                && !l.ends_with('-')
                && l.bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        let numeric = lower
            .split('.')
            .all(|l| l.bytes().all(|b| b.is_ascii_digit()));
        if !lower.is_empty() && lower.len() <= 253 && !numeric && lower.split('.').all(label) {
            return Ok(Self(lower));
        }
        let shown: String = text.chars().take(80).collect();
        Err(InvalidName(format!(
            "\"{shown}\" is not a host name: write it without https://, port or path, such as shop.example.com."
        )))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether no public certificate authority would issue for it: a single
    /// label, or under `localhost`, `internal`, `local`, `home.arpa` (RFC 6761,
    /// RFC 8375, ICANN's `.internal`). `.test` is left to ACME, because a
    /// private ACME server may well serve it.
    pub fn is_private(&self) -> bool {
        !self.0.contains('.')
            || ["localhost", "internal", "local", "home.arpa"]
                .iter()
                .any(|end| {
                    self.0
                        .strip_suffix(end)
                        .is_some_and(|r| r.is_empty() || r.ends_with('.'))
                })
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for HostName {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        Self::parse(text)
    }
}

impl<'de> Deserialize<'de> for HostName {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_escape_are_refused_with_a_sentence() {
        for bad in [
            "",
            "a/b",
            "../x",
            "A",
            "-a",
            "a-",
            "a b",
            "a;rm",
            "ä",
            "1a",
            &"a".repeat(41),
        ] {
            let error = AppName::parse(bad).unwrap_err();
            assert!(error.0.contains("cannot be the name of an app"), "{bad}");
        }
        assert_eq!(AppName::parse("shop-2").unwrap().as_str(), "shop-2");
    }

    #[test]
    fn hosts_are_lower_case_and_bare() {
        assert_eq!(
            HostName::parse("Shop.Example.com.").unwrap().as_str(),
            "shop.example.com"
        );
        for bad in [
            "https://a.b",
            "a.b:80",
            "a_b.c",
            "",
            "a..b",
            "10.0.0.1",
            "*.a.b",
            "a.b/c",
        ] {
            assert!(HostName::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn f5_private_names_are_told_from_public_ones() {
        for private in ["tasks.localhost", "localhost", "db.internal", "box"] {
            assert!(HostName::parse(private).unwrap().is_private(), "{private}");
        }
        for public in ["tasks.test", "notlocalhost.com", "a.xinternal"] {
            assert!(!HostName::parse(public).unwrap().is_private(), "{public}");
        }
    }
}
