//! Why a try failed, as a sentence with its remedy, and what becomes of the order.
//!
//! The table from the server's problem types to sentences stands here; it is
//! the one place that turns an ACME error into words.

use std::time::Duration;

use instant_acme::{Error, Problem};

use crate::db::DbError;

/// Characters of what a server says, and of its problem's type.
const DETAIL: usize = 400;
const KIND: usize = 100;

/// What becomes of the order that was being worked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It stays, and the next try goes on with it.
    Keep,
    /// It is over; the next try makes another.
    Drop,
    /// The server does not know our account; it is made anew.
    ForgetAccount,
}

/// A failed try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) sentence: String,
    pub(super) fate: Fate,
    /// What the server asked us to wait.
    pub(super) asked: Option<Duration>,
    /// Nobody was asked: the name does not lead here yet.
    pub(super) unasked: bool,
    /// Nothing was wrong but the nonce: the same request with a fresh one is right (RFC 8555, section 6.5).
    pub(super) at_once: bool,
}

impl Failure {
    pub(super) fn keep(sentence: impl Into<String>) -> Self {
        Self {
            sentence: sentence.into(),
            fate: Fate::Keep,
            asked: None,
            unasked: false,
            at_once: false,
        }
    }

    pub(super) fn over(sentence: impl Into<String>) -> Self {
        Self {
            fate: Fate::Drop,
            ..Self::keep(sentence)
        }
    }

    pub(super) fn unasked(sentence: impl Into<String>) -> Self {
        Self {
            unasked: true,
            ..Self::keep(sentence)
        }
    }
}

impl From<DbError> for Failure {
    fn from(error: DbError) -> Self {
        Self::keep(format!("{error}."))
    }
}

/// The words for an error of the ACME server or of the way to it.
pub(super) fn explain(host: &str, server: &str, error: &Error, asked: Option<Duration>) -> Failure {
    let failure = match error {
        Error::Api(problem) => problem_sentence(host, server, problem),
        Error::Other(why) => Failure::keep(format!(
            "The certificate server {server} could not be used: {why}. Check that this box reaches it, and [acme] in the config."
        )),
        Error::Timeout(_) => Failure::keep(format!(
            "The certificate server {server} did not finish in time; Freehold goes on with the same order."
        )),
        Error::Json(_) | Error::Http(_) | Error::InvalidUri(_) => Failure::keep(format!(
            "What answers at {server} is not an ACME server: {error}. Check [acme] directory in the config."
        )),
        other => Failure::over(format!(
            "The certificate server {server} and Freehold did not understand each other: {other}."
        )),
    };
    Failure { asked, ..failure }
}

fn problem_sentence(host: &str, server: &str, problem: &Problem) -> Failure {
    let said = detail(problem);
    let kind = problem.r#type.as_deref().unwrap_or_default();
    match kind.rsplit(':').next().unwrap_or_default() {
        "connection" | "tls" => Failure::over(format!(
            "The certificate authority could not reach {host} on port 80 ({said}). Open port 80 in this box's firewall and at the provider, and check that {host} points here."
        )),
        "dns" => Failure::over(format!(
            "The certificate authority finds no address for {host} ({said}). Add an A record (and AAAA, if this box has IPv6) that points to this box."
        )),
        "unauthorized" | "incorrectResponse" => Failure::over(format!(
            "The certificate authority got a wrong answer from {host} ({said}). Another server answers for the name: point its A and AAAA records only to this box."
        )),
        "caa" => Failure::over(format!(
            "A CAA record of {host} forbids this certificate authority ({said}). Add the authority to the CAA record, or remove the record."
        )),
        "rejectedIdentifier" | "unsupportedIdentifier" => Failure::over(format!(
            "The certificate authority does not issue for {host} ({said}). For a private name set tls = \"internal\"."
        )),
        "rateLimited" => Failure::keep(format!(
            "The certificate authority's limit for {host} is reached ({said}). Freehold waits as long as it asks; nothing needs to be done."
        )),
        "accountDoesNotExist" => Failure {
            fate: Fate::ForgetAccount,
            ..Failure::over(format!(
                "The certificate server {server} no longer knows this box's account; Freehold makes a new one at the next try."
            ))
        },
        "externalAccountRequired" => Failure::over(format!(
            "The certificate server {server} wants an account made elsewhere first (external account binding), which Freehold does not do: choose another [acme] directory."
        )),
        "serverInternal" | "badNonce" => Failure {
            at_once: kind.ends_with(":badNonce"),
            ..Failure::keep(format!(
                "The certificate server {server} has trouble of its own ({said}); Freehold tries again."
            ))
        },
        _ => Failure::over(format!(
            "The certificate authority refused {host}: {said} ({}).",
            short(kind, KIND)
        )),
    }
}

/// The server's own words, its subproblems included, without the closing dot.
fn detail(problem: &Problem) -> String {
    let mut said = problem
        .detail
        .clone()
        .unwrap_or_else(|| "without a reason".into());
    for sub in &problem.subproblems {
        if said.len() > DETAIL {
            break;
        }
        if let Some(more) = &sub.detail
            && !said.contains(more)
        {
            said.push_str("; ");
            said.push_str(more);
        }
    }
    short(said.trim_end_matches('.'), DETAIL)
}

/// The beginning of a server's text, on one line: it stands in the middle of ours, in a row and on a page.
fn short(text: &str, most: usize) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().take(most).map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(kind: &str) -> Error {
        let text = format!(
            r#"{{"type":"urn:ietf:params:acme:error:{kind}","detail":"Some detail.","status":400}}"#
        );
        Error::Api(serde_json::from_str(&text).unwrap())
    }

    #[test]
    fn f5_a_refused_nonce_is_tried_again_at_once() {
        let at_once = |kind| explain("a.test", "ca.test", &problem(kind), None).at_once;
        assert!(at_once("badNonce"));
        assert!(!at_once("serverInternal") && !at_once("dns"));
    }

    #[test]
    fn f5_a_refusal_is_a_sentence_with_its_remedy() {
        for (kind, remedy, fate) in [
            ("connection", "Open port 80", Fate::Drop),
            ("dns", "Add an A record", Fate::Drop),
            ("unauthorized", "point its A and AAAA records", Fate::Drop),
            ("caa", "CAA record", Fate::Drop),
            ("rejectedIdentifier", "tls = \"internal\"", Fate::Drop),
            ("rateLimited", "nothing needs to be done", Fate::Keep),
            (
                "accountDoesNotExist",
                "makes a new one",
                Fate::ForgetAccount,
            ),
            (
                "externalAccountRequired",
                "another [acme] directory",
                Fate::Drop,
            ),
            ("serverInternal", "tries again", Fate::Keep),
            ("somethingNew", "refused a.example", Fate::Drop),
        ] {
            let failure = explain("a.example", "acme.example", &problem(kind), None);
            assert!(failure.sentence.contains(remedy), "{}", failure.sentence);
            assert!(failure.sentence.ends_with('.'), "{}", failure.sentence);
            assert_eq!(failure.fate, fate, "{kind}");
        }
    }

    #[test]
    fn f5_a_servers_words_are_a_part_of_one_line_whatever_they_are() {
        let text = serde_json::json!({
            "type": "x\n".repeat(100_000), "detail": "no\r\n".repeat(100_000), "status": 400,
        });
        let error = Error::Api(serde_json::from_value(text).unwrap());
        let sentence = explain("a.example", "acme.example", &error, None).sentence;
        assert!(sentence.chars().count() < 600, "{}", sentence.len());
        assert!(!sentence.contains(char::is_control), "{sentence}");
    }

    #[test]
    fn f5_what_the_server_asks_to_wait_is_kept() {
        let wait = Some(Duration::from_secs(3_600));
        let failure = explain("a.example", "acme.example", &problem("rateLimited"), wait);
        assert_eq!(failure.asked, wait);
    }
}
