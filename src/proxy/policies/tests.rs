//! No policy makes a head that is none, whatever its texts: checked or not.
use std::net::IpAddr;

use bytes::BytesMut;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;

use super::*;
use crate::base::policies::{BasicAuth, BasicUser, HeaderRules, RateLimit, VerifierKey, Window};
use crate::base::secret::Secret;
use crate::proxy::headers::{Facts, write_head};
use crate::proxy::origin::{End, Origin};
use crate::proxy::trace::Trace;

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z-]{1,12}",
        "(?s).{0,12}",
        Just("x-a\r\nx-b".to_owned()),
        Just("transfer-encoding".to_owned()),
        Just("Content_Length".to_owned()),
        Just("host".to_owned()),
        Just("connection".to_owned()),
    ]
}

fn rules() -> impl Strategy<Value = HeaderRules> {
    use proptest::collection::{btree_map, vec};
    let pairs = || btree_map(text(), text(), 0..4);
    (pairs(), pairs(), vec(text(), 0..4)).prop_map(|(set, add, remove)| HeaderRules {
        set,
        add,
        remove,
    })
}

fn policies() -> impl Strategy<Value = base::Policies> {
    let texts = (text(), text(), text(), text(), text());
    (rules(), rules(), texts, any::<(u16, bool, u32)>()).prop_map(
        |(request_headers, answer_headers, (a, b, c, d, e), (status, keep, number))| {
            base::Policies {
                redirects: vec![base::Redirect {
                    host: None,
                    path: a,
                    to: b,
                    status,
                    keep,
                }],
                strip_prefix: Some(keep),
                request_headers,
                answer_headers,
                hsts: Some(base::Toggle::Full(base::Hsts {
                    max_age_days: number,
                    include_subdomains: keep,
                    preload: !keep,
                })),
                basic_auth: Some(BasicAuth {
                    realm: c,
                    users: vec![BasicUser {
                        name: d,
                        password: Some(Secret::new("p")),
                        verifier: None,
                    }],
                }),
                rate_limit: Some(RateLimit {
                    requests: number,
                    per: Window::Day,
                    header: Some(e),
                }),
                ..base::Policies::default()
            }
        },
    )
}

/// A name is a token, a value has no control character (RFC 9110, 5.1 and 5.5).
fn is_line(name: &str, value: &[u8]) -> bool {
    HeaderName::from_bytes(name.as_bytes()).is_ok()
        && value
            .iter()
            .all(|byte| *byte >= b' ' && *byte != 0x7f || *byte == b'\t')
}

fn are_lines(headers: &HeaderMap) -> bool {
    headers
        .iter()
        .all(|(name, value)| is_line(name.as_str(), value.as_bytes()))
}

proptest! {
    #[test]
    fn e6_no_policy_makes_a_head_with_illegal_bytes_or_two_ends(from in policies(), path in "/[!-~]{0,20}", written in "[a-z]{1,8}") {
        let compiled = Policies::compile(&from, &VerifierKey::new(b"key"));
        let compiled = compiled.0.unwrap();
        let address: IpAddr = [192, 0, 2, 1].into();
        let mut request = HeaderMap::new();
        for line in ["keep-alive", written.as_str()] {
            request.append(header::CONNECTION, HeaderValue::from_str(line).unwrap());
        }
        compiled.request.change_request(&mut request);
        let Ok(uri) = path.parse::<http::Uri>() else { return Ok(()) };
        let stripped = strip::stripped("/a", &uri).unwrap_or_default();
        let id = HeaderValue::from_static("id");
        let facts = Facts {
            method: "POST",
            target: stripped.as_deref().unwrap_or(uri.path()),
            prefix: "/a",
            host: "a.test",
            origin: &Origin::peer(End { address, text: "192.0.2.1", https: true, header: None }),
            request_id: &id,
            trace: &Trace::of(&request, &id, 7),
            upgrade: None,
            length: Some(7),
            chunked: false,
            expects_continue: false,
            takes_trailers: false,
        };
        let mut head = BytesMut::new();
        write_head(&mut head, &facts, &request);
        let head = String::from_utf8_lossy(&head).into_owned();
        let (lines, rest) = head.split_once("\r\n\r\n").unwrap();
        prop_assert_eq!(rest, "");
        let mut lines = lines.split("\r\n");
        let first = lines.next().unwrap();
        prop_assert_eq!(first.split(' ').count(), 3, "{}", first);
        let mut ends = Vec::new();
        for line in lines {
            let (name, value) = line.split_once(": ").unwrap();
            prop_assert!(is_line(name, value.as_bytes()), "{}", line);
            let name = name.replace('_', "-");
            if ["content-length", "transfer-encoding", "host"].contains(&name.as_str()) {
                ends.push(name);
            }
        }
        prop_assert_eq!(ends, ["host", "content-length"]);

        let mut answer = HeaderMap::new();
        compiled.answer.change(&mut answer);
        for framing in [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONNECTION] {
            prop_assert!(!answer.contains_key(framing));
        }
        answer.insert("hsts", compiled.hsts.clone().unwrap());
        let quota = compiled.quota.as_ref().unwrap();
        let now = std::time::Instant::now();
        quota.tell(RateTable::default().take(quota, quota.who(&request, address), now), &mut answer);
        let sent_to = http::Request::builder().uri("https://a.test/").version(http::Version::HTTP_2).body(()).unwrap();
        let host = Host::of(&sent_to.into_parts().0).unwrap();
        if let Some((_, location)) = compiled.redirects[0].applied(&host, true, &uri) {
            answer.insert(header::LOCATION, location);
        }
        if let Err(EdgeError::Unauthorized(challenge)) = compiled.auth.as_ref().unwrap().check(&request) {
            answer.insert(header::WWW_AUTHENTICATE, challenge);
        }
        prop_assert!(are_lines(&answer), "{:?}", answer);
    }

    /// And what is checked says so before: it can be compiled whole.
    #[test]
    fn e6_what_a_check_lets_through_is_compiled_whole(from in rules()) {
        let policies = base::Policies { request_headers: from.clone(), ..base::Policies::default() };
        if policies.check().is_ok() {
            let mut headers = HeaderMap::new();
            Fields::new(&from).change(&mut headers);
            let names = from.set.keys().chain(from.add.keys());
            prop_assert!(names.clone().all(|name| headers.contains_key(name)));
        }
    }
}

#[test]
fn e7_a_share_of_the_access_log_alone_is_no_policy_that_costs_a_request() {
    let compiled = |text: &str| {
        let policies: base::Policies = toml::from_str(text).unwrap();
        Policies::compile(&policies, &VerifierKey::new(b"key"))
    };
    assert!(compiled("access_log = \"off\"").0.is_none());
    assert!(compiled("access_log = 0.1\nhsts = true").0.is_some());
}
