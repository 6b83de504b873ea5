//! Fuzz targets of what policies read of a request: who asks, how often, and where its path leads.
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Uri;
use http::header::{self, HeaderMap};
use percent_encoding::percent_decode_str;

use super::auth::Auth;
use super::rate::{Quota, RateTable, Who};
use super::redirect::Redirect;
use super::{Policies, strip};
use crate::base::policies::{self as base, VerifierKey};
use crate::proxy::fuzz::fields;
use crate::proxy::host::Host;
use crate::proxy::routes::{Found, Route, RouteSpec, RouteTable};
use crate::proxy::snapshot::Snapshot;

fn policies(text: &str) -> base::Policies {
    match toml::from_str(text) {
        Ok(policies) => policies,
        Err(error) => panic!("{text}: {error}"),
    }
}

/// The lines are fields, of `Authorization` where they name none. In comes who says one user's name and password, once and
/// in the one way to write them.
pub fn basic_auth(data: &[u8]) {
    static AUTH: OnceLock<Auth> = OnceLock::new();
    let auth = AUTH.get_or_init(|| {
        let text = "basic_auth.users = [{ name = \"ana\", password = \"p:ss\" }]";
        let users = policies(text).basic_auth;
        users.map_or_else(
            || panic!("{text}"),
            |users| Auth::new(&users, &VerifierKey::new(b"key")),
        )
    });
    let headers = fields(data, "authorization");
    if auth.check(&headers).is_ok() {
        let all: Vec<_> = headers.get_all(header::AUTHORIZATION).iter().collect();
        let [one] = all[..] else {
            panic!("several were taken: {all:?}");
        };
        let given = one.as_bytes().split_at(6).1.trim_ascii();
        assert_eq!(given, STANDARD.encode("ana:p:ss").as_bytes());
    }
}

/// The lines are fields, of the one that tells clients apart where they name none. A client has its quota and no more,
/// however it calls itself, and uses up nobody else's.
pub fn rate_key(data: &[u8]) {
    static QUOTA: OnceLock<Quota> = OnceLock::new();
    let quota = QUOTA.get_or_init(|| {
        let text = "rate_limit = { requests = 3, per = \"minute\", header = \"x-key\" }";
        let limit = policies(text).rate_limit;
        limit.map_or_else(|| panic!("{text}"), |limit| Quota::new(&limit))
    });
    let headers = fields(data, "x-key");
    let address = match data.first() {
        Some(byte @ 128..) => IpAddr::from([0x2001_u16, 0xdb8, 0, 0, 0, 0, 0, u16::from(*byte)]),
        byte => IpAddr::from([203, 0, 113, byte.copied().unwrap_or(0)]),
    };
    let (table, now) = (RateTable::default(), Instant::now());
    let who = quota.who(&headers, address);
    let said = headers.get_all("x-key").iter().count();
    assert_eq!(matches!(who, Who::Said(_)), said == 1);
    let verdicts: [_; 4] = std::array::from_fn(|_| table.take(quota, who, now));
    assert_eq!(
        verdicts.map(|verdict| verdict.allowed),
        [true, true, true, false]
    );
    assert!((1..=60).contains(&verdicts[3].retry_after()));
    let none = HeaderMap::new();
    let other = quota.who(&none, IpAddr::from([198, 51, 100, 7]));
    assert!(table.take(quota, other, now).allowed);
    let mut told = HeaderMap::new();
    quota.tell(verdicts[3], &mut told);
    assert!(told.values().all(|value| value.to_str().is_ok()) && told.len() == 2);
}

/// A path, read as an app may read it: the first byte is how many steps that takes, one byte each. Where the route of the
/// path is served, this reading of it leads to no other one.
pub fn doubtful_path(data: &[u8]) {
    static TABLE: OnceLock<RouteTable> = OnceLock::new();
    let table = TABLE.get_or_init(|| {
        let guarded = Arc::new(Policies::compile(
            &policies("allow = [\"10.0.0.0/8\"]"),
            &VerifierKey::default(),
        ));
        let none = Snapshot::default();
        let route = |prefix: &str, policies: &Arc<Policies>| {
            let spec = RouteSpec {
                key: prefix.into(),
                host: "a.test".into(),
                path_prefix: prefix.into(),
                policies: policies.clone(),
                ..RouteSpec::default()
            };
            Route::new(spec, &none)
        };
        let open = Arc::default();
        RouteTable::new([route("/", &open), route("/ad", &guarded)])
    });
    let [count, rest @ ..] = data else { return };
    let Some((steps, path)) = rest.split_at_checked(usize::from(count & 7)) else {
        return;
    };
    let Some(uri) = std::str::from_utf8(path).ok().and_then(as_path) else {
        return;
    };
    let path = uri.path();
    let Found::Route(route) = table.resolve("a.test", path) else {
        return;
    };
    let (mut text, mut decodes) = (path.to_owned(), 2);
    for step in steps {
        text = match step % 6 {
            0 if decodes > 0 => {
                decodes -= 1;
                percent_decode_str(&text).decode_utf8_lossy().into_owned()
            }
            1 => text.replace('\\', "/"),
            2 => without_parameters(&text),
            3 => {
                let end = text.find(['?', '#', '\0']).unwrap_or(text.len());
                text[..end].to_owned()
            }
            4 => merged(&text),
            5 => walked(&text),
            _ => text,
        };
    }
    let text = text.to_ascii_lowercase();
    let reads_guarded = text == "/ad" || text.starts_with("/ad/");
    let is_guarded = &*route.spec.path_prefix == "/ad";
    assert_eq!(
        reads_guarded, is_guarded,
        "{path:?} by {steps:?} is {text:?}"
    );
}

/// What a request can have as its path.
fn as_path(text: &str) -> Option<Uri> {
    let uri: Uri = text.parse().ok()?;
    (uri.host().is_none() && uri.path().starts_with('/')).then_some(uri)
}

fn without_parameters(path: &str) -> String {
    let (mut text, mut skips) = (String::new(), false);
    for letter in path.chars() {
        skips = letter == ';' || skips && letter != '/';
        if !skips {
            text.push(letter);
        }
    }
    text
}

fn merged(path: &str) -> String {
    let mut text = String::new();
    for letter in path.chars() {
        if letter != '/' || !text.ends_with('/') {
            text.push(letter);
        }
    }
    text
}

/// RFC 3986, 5.2.4, to the letter.
fn walked(path: &str) -> String {
    let (mut input, mut output) = (path.to_owned(), String::new());
    while !input.is_empty() {
        if input.starts_with("/./") {
            input.drain(..2);
        } else if input == "/." {
            input = "/".into();
        } else if input.starts_with("/../") || input == "/.." {
            let rest = input.split_off(3);
            input = if rest.is_empty() { "/".into() } else { rest };
            output.truncate(output.rfind('/').unwrap_or(0));
        } else {
            let first = input
                .char_indices()
                .skip(1)
                .find(|(_, letter)| *letter == '/');
            let rest = input.split_off(first.map_or(input.len(), |(at, _)| at));
            output.push_str(&input);
            input = rest;
        }
    }
    output
}

/// Where a request is sent, and what is left of its path for the app, never begins as another host's address.
pub fn rewritten_path(data: &[u8]) {
    static REDIRECTS: OnceLock<[Redirect; 2]> = OnceLock::new();
    let redirects = REDIRECTS.get_or_init(|| {
        ["to = \"https://b.test\"", "path = \"/old\"\nto = \"/\""].map(|text| match toml::from_str(
            text,
        ) {
            Ok(redirect) => Redirect::new(&redirect),
            Err(error) => panic!("{text}: {error}"),
        })
    });
    let Some(uri) = std::str::from_utf8(data).ok().and_then(as_path) else {
        return;
    };
    let host = Host {
        written: "a.test".into(),
        name: "a.test".into(),
    };
    for (redirect, place) in redirects.iter().zip(["https://b.test", "https://a.test"]) {
        if let Some((status, location)) = redirect.applied(&host, true, &uri) {
            let behind = location.as_bytes().strip_prefix(place.as_bytes());
            assert!(
                matches!(behind, Some([] | [b'/' | b'?', ..])),
                "{uri} to {location:?}"
            );
            assert!(status.is_redirection());
        }
    }
    for prefix in ["/", "/api"] {
        if let Ok(Some(left)) = strip::stripped(prefix, &uri) {
            assert!(left.starts_with('/') && !left.starts_with("//") && !left.starts_with("/\\"));
            assert!(
                left.parse::<Uri>().is_ok_and(|uri| uri.host().is_none()),
                "{left}"
            );
        }
    }
}
