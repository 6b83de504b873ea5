//! A certificate that is not there yet, told to the box's owner: since when, what was tried, what fails, what comes
//! next. Pure.

use std::time::Duration;

use crate::base::clock::UnixMs;

use super::state::OrderState;
use super::status::CertStatus;

impl CertStatus {
    /// What there is to say while nothing is in service for the name; `None` once something is.
    pub fn pending(&self, now: UnixMs) -> Option<String> {
        if self.not_after.is_some() {
            return None;
        }
        let age = words(now.since(self.since));
        let doing = self.doing();
        Some(match (&self.error, self.tries) {
            (Some(error), tries @ 2..) => format!(
                "Pending for {age}: {tries} tries failed, the last so: {} {}",
                stopped(error),
                self.next(now)
            ),
            (Some(error), _) => format!(
                "Pending for {age}: the first try failed: {} {}",
                stopped(error),
                self.next(now)
            ),
            (None, _) => format!("Pending for {age}: {doing}."),
        })
    }

    fn next(&self, now: UnixMs) -> String {
        match (&self.order, self.next_try) {
            (Some(_), _) => format!("Trying again: {}.", self.doing()),
            (None, Some(at)) => format!("Next try in {}.", words(at.since(now))),
            (None, None) => "The next try is about to begin.".into(),
        }
    }

    fn doing(&self) -> String {
        let host = &self.host;
        match self.order.and_then(OrderState::parse) {
            Some(OrderState::Prepared) => "its key is made, the order comes next".into(),
            Some(OrderState::Ordered) => {
                format!("ordered; port 80 is about to answer the challenge for {host}")
            }
            Some(OrderState::ChallengeLive) => format!(
                "the certificate authority looks at http://{host}/.well-known/acme-challenge/"
            ),
            Some(_) => "the name is proven, the certificate is being issued".into(),
            None => match self.source {
                "internal" => "this box’s own CA is about to make it".into(),
                "files" => "its files are about to be read".into(),
                _ => "it is about to be ordered".into(),
            },
        }
    }
}

fn stopped(error: &str) -> String {
    let error = error.trim_end();
    let stop = if error.ends_with(['.', '!', '?']) {
        ""
    } else {
        "."
    };
    format!("{error}{stop}")
}

fn words(time: Duration) -> String {
    match time.as_secs() {
        s @ 0..=119 => format!("{s} s"),
        s @ 120..=7_199 => format!("{} min", s / 60),
        s @ 7_200..=172_799 => format!("{} h", s / 3_600),
        s => format!("{} days", s / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::super::status::CertState;
    use super::*;

    const NOW: UnixMs = UnixMs(10_000_000_000);

    fn waiting() -> CertStatus {
        CertStatus {
            host: "shop.test".into(),
            source: "acme",
            state: CertState::Waiting,
            since: NOW.minus(Duration::from_secs(7)),
            tries: 0,
            not_after: None,
            renews_at: None,
            issuer: None,
            error: None,
            warning: None,
            next_try: None,
            order: None,
        }
    }

    #[test]
    fn f5_a_pending_certificate_says_since_when_and_what_is_done() {
        assert_eq!(
            waiting().pending(NOW).unwrap(),
            "Pending for 7 s: it is about to be ordered."
        );
        let ordered = CertStatus {
            order: Some("challenge_live"),
            ..waiting()
        };
        let said = ordered.pending(NOW).unwrap();
        assert!(
            said.contains("looks at http://shop.test/.well-known/"),
            "{said}"
        );
        let there = CertStatus {
            not_after: Some(NOW),
            ..waiting()
        };
        assert_eq!(there.pending(NOW), None);
    }

    #[test]
    fn f5_a_failing_one_says_what_fails_and_when_it_is_tried_again() {
        let failed = CertStatus {
            state: CertState::Failed,
            tries: 3,
            since: NOW.minus(Duration::from_secs(1_500)),
            error: Some("Port 80 does not answer: open it".into()),
            next_try: Some(NOW.plus(Duration::from_secs(900))),
            ..waiting()
        };
        assert_eq!(
            failed.pending(NOW).unwrap(),
            "Pending for 25 min: 3 tries failed, the last so: Port 80 does not answer: open it. Next try in 15 min."
        );
        let again = CertStatus {
            tries: 1,
            order: Some("ordered"),
            next_try: None,
            ..failed
        };
        let said = again.pending(NOW).unwrap();
        assert!(
            said.contains("the first try failed") && said.contains("Trying again: ordered"),
            "{said}"
        );
    }
}
