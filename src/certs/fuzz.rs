//! Fuzz targets of what is read to get a certificate: a DNS server's answer, an ACME server's refusal, and the certificate.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use rustls_pki_types::CertificateDer;

use super::{acme_http, dns, failure, leaf};
use crate::base::clock::UnixMs;
use crate::http_client::{date, retry_after};

/// Whoever answers on the way: addresses, none, or unreadable, and an end.
pub fn dns(data: &[u8]) {
    for kind in [1, 28] {
        let _lookup = dns::read(data, kind);
    }
}

/// The first line is what `Retry-After`, and `Date`, says, the rest an answer with an error. Whatever it is becomes a sentence that can be
/// read, kept and shown: one line, of bounded length.
pub fn acme_refusal(data: &[u8]) {
    let end = data.iter().position(|byte| *byte == b'\n');
    let (wait, body) = data.split_at(end.unwrap_or(data.len()));
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_bytes(wait) {
        headers.insert(http::header::DATE, value.clone());
        headers.insert(http::header::RETRY_AFTER, value);
    }
    let _either = date(&headers);
    let now = UnixMs(1_795_244_400_123);
    let asked = retry_after(&headers, now);
    assert!(asked.is_none_or(|wait| now.plus(wait) >= now));
    let body = Bytes::copy_from_slice(body.strip_prefix(b"\n").unwrap_or(body));
    let is_json = serde_json::from_slice::<serde_json::Value>(&body).is_ok();
    let mut answer = Response::new(body.clone());
    *answer.status_mut() = StatusCode::BAD_REQUEST;
    let error = match acme_http::understood(answer) {
        Ok(_) => {
            assert!(is_json);
            // As instant-acme reads it.
            match serde_json::from_slice(&body) {
                Ok(problem) => instant_acme::Error::Api(problem),
                Err(error) => instant_acme::Error::Json(error),
            }
        }
        Err(error) => error,
    };
    let failure = failure::explain("shop.example.com", "acme.example", &error, asked);
    assert_eq!(failure.asked, asked);
    if matches!(error, instant_acme::Error::Api(_)) {
        assert!(
            failure.sentence.chars().count() < 1_000,
            "{}",
            failure.sentence
        );
        assert!(
            !failure.sentence.contains(char::is_control),
            "{}",
            failure.sentence
        );
    }
}

/// The certificate itself, without the text around it. What it names it covers, and its issuer can be shown.
pub fn certificate(data: &[u8]) {
    let Ok(facts) = leaf::facts(&CertificateDer::from(data)) else {
        return;
    };
    assert!(facts.issuer.chars().count() <= 200);
    assert!(
        !facts.issuer.contains(char::is_control),
        "{:?}",
        facts.issuer
    );
    assert!(!facts.listed().contains(char::is_control));
    assert!(facts.names.iter().all(|name| facts.covers(name)));
    // A name of one label more than any of these.
    let longest = facts
        .names
        .iter()
        .max_by_key(|name| name.split('.').count());
    if let Some(name) = longest {
        assert!(!facts.covers(&format!("a.b.{name}")), "{name}");
    }
}
