//! The uptime check of a domain: where it asks, and what counts as an answer. Pure.
//!
//! A check comes through the edge as a visitor does, without credentials. Where the domain's policies turn some visitors away,
//! it may be one of them, and 401, 403 or 429 says as little against the app as any answer below 500.

use crate::apps::Domain;
use crate::base::policies::Policies;
use crate::monitor::WantedCheck;

/// Whose check it is.
pub struct Whose {
    /// `app:7`
    pub subject: String,
    /// The app's name.
    pub name: String,
    /// Whether it should answer now.
    pub active: bool,
}

/// The check of a domain by the health path of its process and the policies in force there.
pub fn of(whose: Whose, domain: &Domain, health: Option<&str>, policies: &Policies) -> WantedCheck {
    let base = domain.path.trim_end_matches('/');
    // Below a path nobody knows what the health path is called.
    let health = health.filter(|_| base.is_empty());
    WantedCheck {
        subject: whose.subject,
        name: whose.name,
        url: match health {
            Some(path) => format!("https://{}{path}", domain.host),
            None => format!("https://{}{base}/", domain.host),
        },
        strict: health.is_some() && !policies.guard(),
        active: whose.active,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(domain: &str, health: Option<&str>, policies: &str) -> WantedCheck {
        let whose = Whose {
            subject: "app:1".into(),
            name: "shop".into(),
            active: true,
        };
        let policies: Policies = toml::from_str(policies).unwrap();
        of(whose, &Domain::parse(domain).unwrap(), health, &policies)
    }

    #[test]
    fn e6_a_password_or_a_range_does_not_make_an_app_seem_down() {
        for policies in [
            "basic_auth.users = [{ name = \"ana\", password = \"x\" }]",
            "allow = [\"10.0.0.0/8\"]",
            "deny = [\"127.0.0.1\"]",
            "rate_limit = { requests = 1, per = \"day\" }",
        ] {
            let guarded = check("a.test", Some("/health"), policies);
            assert_eq!(guarded.url, "https://a.test/health");
            assert!(!guarded.strict, "{policies}");
        }
        for policies in [
            "",
            "hsts = true\ncompress = true",
            "redirects = [{ to = \"https://b.test\" }]",
        ] {
            assert!(
                check("a.test", Some("/health"), policies).strict,
                "{policies}"
            );
        }
    }

    #[test]
    fn e6_a_check_asks_the_health_path_where_it_knows_it() {
        let below = check("a.test/api", Some("/health"), "");
        assert_eq!(
            (below.url.as_str(), below.strict),
            ("https://a.test/api/", false)
        );
        let none = check("a.test", None, "");
        assert_eq!((none.url.as_str(), none.strict), ("https://a.test/", false));
    }
}
