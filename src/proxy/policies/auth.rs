//! Basic authentication: credentials against verifiers, in a time that tells nothing of either.
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{self, HeaderMap, HeaderValue};

use crate::base::policies::{BasicAuth, VerifierKey};
use crate::base::secret::constant_time_eq;
use crate::proxy::error::EdgeError;

/// Bytes of a field that is looked at: more than the longest name and password take.
const LONGEST: usize = 512;

#[derive(Debug)]
pub(super) struct Auth {
    key: VerifierKey,
    verifiers: Verifiers,
    challenge: HeaderValue,
}

struct Verifiers(Vec<[u8; 32]>);

impl std::fmt::Debug for Verifiers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} users", self.0.len())
    }
}

impl Auth {
    pub(super) fn new(from: &BasicAuth, key: &VerifierKey) -> Auth {
        let mut from = from.clone();
        from.users.iter_mut().for_each(|user| user.take_in(key));
        let verifiers = from.users.iter().filter_map(|user| user.verifier.as_ref());
        // A realm is checked to be of characters that may stand here.
        let challenge = format!("Basic realm=\"{}\", charset=\"UTF-8\"", from.realm);
        Auth {
            key: key.clone(),
            verifiers: Verifiers(verifiers.map(|verifier| verifier.0).collect()),
            challenge: HeaderValue::try_from(challenge)
                .unwrap_or(HeaderValue::from_static("Basic realm=\"Restricted\"")),
        }
    }

    pub(super) fn check(&self, headers: &HeaderMap) -> Result<(), EdgeError> {
        let signed = credentials(headers).map(|given| self.key.sign(&given));
        // All are looked at, so that the time does not tell whose it was.
        let known = signed.is_some_and(|signed| {
            let same = |verifier: &[u8; 32]| constant_time_eq(verifier, &signed);
            self.verifiers.0.iter().filter(|one| same(one)).count() > 0
        });
        match known {
            true => Ok(()),
            false => Err(EdgeError::Unauthorized(self.challenge.clone())),
        }
    }
}

/// `name:password` as it is given, where there is one field of a length that can be right.
fn credentials(headers: &HeaderMap) -> Option<Vec<u8>> {
    let mut fields = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(field), None) = (fields.next(), fields.next()) else {
        return None;
    };
    let field = field.as_bytes();
    if field.len() > LONGEST {
        return None;
    }
    let (scheme, given) = field.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    STANDARD.decode(given.trim_ascii()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::policies::Policies;

    fn auth() -> Auth {
        let text = "basic_auth.users = [{ name = \"ana\", password = \"p:ss\" }, { name = \"ben\", password = \"ö\" }]";
        let policies: Policies = toml::from_str(text).unwrap();
        Auth::new(&policies.basic_auth.unwrap(), &VerifierKey::new(b"key"))
    }

    fn judged(lines: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::AUTHORIZATION, HeaderValue::from_str(line).unwrap());
        }
        auth().check(&headers).is_ok()
    }

    fn basic(both: &str) -> String {
        format!("Basic {}", STANDARD.encode(both))
    }

    #[test]
    fn e6_only_a_users_own_password_lets_in() {
        for both in ["ana:p:ss", "ben:ö"] {
            assert!(judged(&[&basic(both)]), "{both}");
            assert!(judged(&[&basic(both).replace("Basic", "bAsIc")]), "{both}");
        }
        for both in [
            "ana:",
            "ana",
            "",
            ":",
            "ana:p:ss ",
            "Ana:p:ss",
            "ben:p:ss",
            "ana:ö",
            "ana:p",
        ] {
            assert!(!judged(&[&basic(both)]), "{both}");
        }
    }

    #[test]
    fn e6_credentials_that_are_several_malformed_or_too_long_are_none() {
        let good = basic("ana:p:ss");
        assert!(!judged(&[]));
        assert!(!judged(&[&good, &good]));
        assert!(!judged(&[&good, "Basic x"]) && !judged(&["Basic x", &good]));
        assert!(!judged(&[&good.replace("Basic", "Bearer")]));
        assert!(!judged(&[&good[6..]]) && !judged(&["Basic"]) && !judged(&["Basic *"]));
        assert!(!judged(&[&format!("{good}, {good}")]));
        assert!(!judged(&[&basic(&format!("ana:{}", "p".repeat(100_000)))]));
        let printed = format!("{:?}", auth());
        assert!(
            !printed.contains("p:ss") && printed.contains("2 users"),
            "{printed}"
        );
    }
}
