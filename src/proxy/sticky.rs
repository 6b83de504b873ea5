//! Sticky: a cookie that brings a client back to the target that answered it before.
//!
//! It names the target by a mark that only this process can make (`Target::mark`), so it tells nothing and cannot be chosen;
//! after a restart, or when the target is gone, another is chosen and the cookie replaced.
use std::fmt::Write;

use http::header::{self, HeaderMap, HeaderValue};

const NAME: &str = "freehold-replica";

/// The mark that the client's cookie names.
pub(super) fn mark(headers: &HeaderMap) -> Option<u64> {
    let lines = headers.get_all(header::COOKIE).iter();
    let mut pairs = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    pairs.find_map(|(name, value)| {
        let well =
            name == NAME && value.len() == 16 && value.bytes().all(|b| b.is_ascii_hexdigit());
        well.then(|| u64::from_str_radix(value, 16).ok())?
    })
}

/// The field that gives a client its cookie, for the paths of the route; `None` where the path cannot stand in one.
pub(super) fn cookie(mark: u64, path: &str, https: bool) -> Option<HeaderValue> {
    if path
        .bytes()
        .any(|byte| byte == b';' || !byte.is_ascii_graphic())
    {
        return None;
    }
    let path = match path {
        "" => "/",
        path => path,
    };
    let mut text = format!("{NAME}={mark:016x}; Path={path}; HttpOnly; SameSite=Lax");
    if https {
        // Writing to a string does not fail.
        let _written = write!(text, "; Secure");
    }
    HeaderValue::try_from(text).ok()
}

/// Whether a request comes with a cookie beside ours: one that may say who somebody is.
pub(super) fn has_other_cookies(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::COOKIE).iter();
    lines
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b';'))
        .any(|pair| !pair.trim_ascii().is_empty() && !is_ours(pair))
}

/// Whether an answer sets a cookie beside ours.
pub(super) fn sets_other_cookies(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::SET_COOKIE).iter();
    lines.into_iter().any(|line| !is_ours(line.as_bytes()))
}

fn is_ours(pair: &[u8]) -> bool {
    let value = pair.trim_ascii_start().strip_prefix(NAME.as_bytes());
    value.is_some_and(|value| value.first() == Some(&b'='))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e6_our_own_cookie_says_nothing_of_who_somebody_is() {
        for (lines, others) in [
            (&[][..], false),
            (&["freehold-replica=00000000000000ff"], false),
            (&["freehold-replica=00000000000000ff; "], false),
            (&["a=b; freehold-replica=00000000000000ff"], true),
            (&["freehold-replica=00000000000000ff", "a=b"], true),
            (&["freehold-replica"], true),
            (&["freehold-replicas=1"], true),
            (&["session"], true),
        ] {
            let of = |name: header::HeaderName| -> HeaderMap {
                let values = lines.iter().map(|line| HeaderValue::from_static(line));
                values.map(|value| (name.clone(), value)).collect()
            };
            assert_eq!(has_other_cookies(&of(header::COOKIE)), others, "{lines:?}");
        }
        for (line, other) in [
            ("freehold-replica=00000000000000ff; Path=/; HttpOnly", false),
            ("session=1; Path=/", true),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::SET_COOKIE, HeaderValue::from_static(line));
            assert_eq!(sets_other_cookies(&headers), other, "{line}");
        }
    }

    #[test]
    fn e5_the_cookie_is_read_among_others_and_only_whole() {
        for (lines, expected) in [
            (&["freehold-replica=00000000000000ff"][..], Some(255)),
            (&["a=b; freehold-replica=00000000000000ff; c=d"], Some(255)),
            (&["a=b", "freehold-replica=00000000000000FF"], Some(255)),
            (
                &["freehold-replica=ff; freehold-replica=0000000000000001"],
                Some(1),
            ),
            (&["xfreehold-replica=00000000000000ff"], None),
            (&["freehold-replica=+0000000000000ff"], None),
            (&["freehold-replica=00000000000000ff0"], None),
            (&["freehold-replica"], None),
            (&[], None),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::COOKIE, HeaderValue::from_static(line));
            }
            assert_eq!(mark(&headers), expected, "{lines:?}");
        }
    }

    #[test]
    fn e5_the_cookie_is_written_for_the_routes_paths() {
        let text = |path, https| cookie(255, path, https).map(|c| c.to_str().unwrap().to_owned());
        let expected = "freehold-replica=00000000000000ff; Path=/api; HttpOnly; SameSite=Lax";
        assert_eq!(text("/api", false).as_deref(), Some(expected));
        assert_eq!(
            text("/", true).unwrap(),
            expected.replace("/api", "/") + "; Secure"
        );
        assert_eq!(text("/a; Domain=test", true), None);
    }
}
