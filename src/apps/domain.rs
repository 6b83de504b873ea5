//! Where an app is reached: a host and, if wanted, a path under it.

use std::fmt;

use crate::base::clock::UnixMs;
use crate::base::ids::HostName;
use crate::base::policies::Policies;

use super::error::AppError;

/// A host with the path prefix that is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domain {
    /// The host.
    pub host: HostName,
    /// `/`, or `/api` without a slash at its end.
    pub path: String,
}

impl Domain {
    /// Reads `shop.example.com` or `shop.example.com/api`.
    ///
    /// # Errors
    /// [`AppError::Invalid`] with what is allowed.
    pub fn parse(text: &str) -> Result<Self, AppError> {
        let (host, path) = match text.find('/') {
            Some(at) if !text.contains("://") => text.split_at(at),
            _ => (text, "/"),
        };
        let host = HostName::parse(host)?;
        let trimmed = path.trim_end_matches('/');
        let good = trimmed.len() <= 200
            && trimmed
                .split('/')
                .skip(1)
                .all(|part| !part.is_empty() && part != "." && part != "..")
            && trimmed
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-._~/".contains(&b));
        if !good {
            let shown: String = path.chars().take(80).collect();
            return Err(AppError::Invalid(format!(
                "\"{shown}\" cannot be the path of a domain: use letters, digits, hyphens and single slashes, such as /api."
            )));
        }
        Ok(Self {
            host,
            path: match trimmed {
                "" => "/".to_owned(),
                trimmed => trimmed.to_owned(),
            },
        })
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.as_str() {
            "/" => write!(f, "{}", self.host),
            path => write!(f, "{}{path}", self.host),
        }
    }
}

/// A stored route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Its row; `route:<id>` in figures.
    pub id: i64,
    /// Whose it is.
    pub app: i64,
    /// Where.
    pub domain: Domain,
    /// Which process answers.
    pub process: String,
    /// Since when.
    pub created: UnixMs,
    /// Its own policies, which go before the app's file; `None` where they cannot be read, as after a step back to an
    /// older Freehold: then it must not be served without them.
    pub policies: Option<Policies>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f4_domains_with_and_without_a_path() {
        for (given, wanted) in [
            ("Shop.Example.com", "shop.example.com"),
            ("a.test/", "a.test"),
            ("a.test/api/", "a.test/api"),
            ("a.test/api/v1", "a.test/api/v1"),
        ] {
            assert_eq!(Domain::parse(given).unwrap().to_string(), wanted);
        }
        for bad in [
            "",
            "https://a.test",
            "a.test/../x",
            "a.test/a//b",
            "a.test/a b",
            "a.test/?x",
            "a.test:80",
        ] {
            assert!(Domain::parse(bad).is_err(), "{bad}");
        }
    }
}
