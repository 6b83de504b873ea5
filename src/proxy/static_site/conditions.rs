//! Conditions: what a client's validators and range make of an answer (RFC 9110, 13 and 14). Pure.
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::Method;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// What stands for a content: a strong tag, and the second it was last changed.
pub(super) struct Validators<'a> {
    /// With its quotes.
    pub(super) etag: &'a str,
    pub(super) modified: SystemTime,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Judged {
    Whole,
    /// From the first to the last byte, both included.
    Part(u64, u64),
    NotModified,
    /// A condition of the client does not hold.
    Failed,
    /// No byte of the range is there.
    Unsatisfiable,
}

pub(super) fn judge(
    method: &Method,
    headers: &HeaderMap,
    of: &Validators<'_>,
    length: u64,
) -> Judged {
    if headers.contains_key(header::IF_MATCH) {
        if !names(headers, &header::IF_MATCH, of.etag, Compare::Strong) {
            return Judged::Failed;
        }
    } else if date(headers, &header::IF_UNMODIFIED_SINCE).is_some_and(|since| of.modified > since) {
        return Judged::Failed;
    }
    if headers.contains_key(header::IF_NONE_MATCH) {
        if names(headers, &header::IF_NONE_MATCH, of.etag, Compare::Weak) {
            return Judged::NotModified;
        }
    } else if date(headers, &header::IF_MODIFIED_SINCE) == Some(of.modified) {
        // Another date is another file, an earlier one too: after a rollback the files are older than what clients have.
        return Judged::NotModified;
    }
    if *method == Method::GET && is_same_range(headers, of) {
        range(headers, length)
    } else {
        Judged::Whole
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Compare {
    Strong,
    Weak,
}

/// Whether a list of tags names this one. Ours hold no comma, so that a list may be cut at each.
fn names(headers: &HeaderMap, field: &HeaderName, etag: &str, compare: Compare) -> bool {
    headers.get_all(field).iter().any(|value| {
        value.as_bytes().split(|byte| *byte == b',').any(|tag| {
            let tag = tag.trim_ascii();
            let opaque = match (compare, tag.strip_prefix(b"W/")) {
                (Compare::Weak, Some(opaque)) => opaque,
                _ => tag,
            };
            tag == b"*" || opaque == etag.as_bytes()
        })
    })
}

fn date(headers: &HeaderMap, field: &HeaderName) -> Option<SystemTime> {
    let text = headers.get(field)?.to_str().ok()?;
    httpdate::parse_http_date(text).ok()
}

/// Whether what the client has a part of is what we have.
fn is_same_range(headers: &HeaderMap, of: &Validators<'_>) -> bool {
    match headers.get(header::IF_RANGE) {
        None => true,
        Some(value) if value.as_bytes().contains(&b'"') => {
            value.as_bytes().trim_ascii() == of.etag.as_bytes()
        }
        Some(_) => date(headers, &header::IF_RANGE) == Some(of.modified),
    }
}

/// The one range that is asked for. Several are answered with the whole, which a server may do, and so is nonsense.
fn range(headers: &HeaderMap, length: u64) -> Judged {
    let mut values = headers.get_all(header::RANGE).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Judged::Whole;
    };
    let Some((unit, ranges)) = value.to_str().ok().and_then(|text| text.split_once('=')) else {
        return Judged::Whole;
    };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Judged::Whole;
    }
    let Some((first, last)) = ranges.trim().split_once('-') else {
        return Judged::Whole;
    };
    match (number(first), number(last)) {
        (Number::Of(first), Number::Of(last)) if first > last => Judged::Whole,
        (Number::Of(first), Number::Of(last)) if first < length => {
            Judged::Part(first, last.min(length - 1))
        }
        (Number::Of(first), Number::None) if first < length => Judged::Part(first, length - 1),
        (Number::None, Number::Of(count)) if count > 0 && length > 0 => {
            Judged::Part(length.saturating_sub(count), length - 1)
        }
        (Number::Of(_), Number::Of(_) | Number::None) | (Number::None, Number::Of(_)) => {
            Judged::Unsatisfiable
        }
        _ => Judged::Whole,
    }
}

enum Number {
    Of(u64),
    None,
    Malformed,
}

/// One that is too large for us is larger than any file.
fn number(digits: &str) -> Number {
    if digits.is_empty() {
        Number::None
    } else if digits.bytes().all(|byte| byte.is_ascii_digit()) {
        Number::Of(digits.parse().unwrap_or(u64::MAX))
    } else {
        Number::Malformed
    }
}

/// The second of a moment, as HTTP knows it; nothing before 1970.
pub(super) fn second(unix: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(u64::try_from(unix).unwrap_or(0))
}

/// As `Last-Modified` says it; nothing for what HTTP cannot say (after the year 9999).
pub(super) fn written(moment: SystemTime) -> Option<HeaderValue> {
    let seconds = moment.duration_since(UNIX_EPOCH).ok()?.as_secs();
    (seconds < 253_402_300_800)
        .then(|| HeaderValue::try_from(httpdate::fmt_http_date(moment)).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const THEN: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const LATER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";
    const EARLIER: &str = "Sun, 06 Nov 1994 08:49:36 GMT";

    fn judged(method: Method, fields: &[(HeaderName, &'static str)]) -> Judged {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(name, HeaderValue::from_static(value));
        }
        let of = Validators {
            etag: "\"abc\"",
            modified: second(784_111_777),
        };
        judge(&method, &headers, &of, 1_000)
    }

    #[test]
    fn e6_conditions_are_judged_in_the_order_of_the_rfc() {
        use Judged::*;
        use header::*;
        for (fields, expected) in [
            (&[][..], Whole),
            (&[(IF_NONE_MATCH, "\"abc\"")], NotModified),
            (&[(IF_NONE_MATCH, "W/\"abc\"")], NotModified),
            (&[(IF_NONE_MATCH, "\"x\", \"abc\"")], NotModified),
            (&[(IF_NONE_MATCH, "*")], NotModified),
            (&[(IF_NONE_MATCH, "\"x\"")], Whole),
            (&[(IF_NONE_MATCH, "abc")], Whole),
            (&[(IF_MODIFIED_SINCE, THEN)], NotModified),
            (&[(IF_MODIFIED_SINCE, LATER)], Whole),
            (&[(IF_MODIFIED_SINCE, EARLIER)], Whole),
            (
                &[(IF_MODIFIED_SINCE, "Sunday, 06-Nov-94 08:49:37 GMT")],
                NotModified,
            ),
            (&[(IF_MODIFIED_SINCE, "yesterday")], Whole),
            // The tag is the better witness.
            (
                &[(IF_NONE_MATCH, "\"x\""), (IF_MODIFIED_SINCE, THEN)],
                Whole,
            ),
            (&[(IF_MATCH, "\"abc\"")], Whole),
            (&[(IF_MATCH, "*")], Whole),
            (&[(IF_MATCH, "W/\"abc\"")], Failed),
            (&[(IF_MATCH, "\"x\""), (IF_NONE_MATCH, "\"abc\"")], Failed),
            (&[(IF_UNMODIFIED_SINCE, EARLIER)], Failed),
            (&[(IF_UNMODIFIED_SINCE, THEN)], Whole),
            (
                &[(RANGE, "bytes=0-9"), (IF_NONE_MATCH, "\"abc\"")],
                NotModified,
            ),
        ] {
            assert_eq!(judged(Method::GET, fields), expected, "{fields:?}");
        }
    }

    #[test]
    fn e6_one_range_is_served_and_several_are_not() {
        use Judged::*;
        for (range, expected) in [
            ("bytes=0-9", Part(0, 9)),
            ("bytes=990-", Part(990, 999)),
            ("bytes=-10", Part(990, 999)),
            ("bytes=-5000", Part(0, 999)),
            ("bytes=0-5000", Part(0, 999)),
            ("bytes=999-999", Part(999, 999)),
            ("bytes=0-99999999999999999999999", Part(0, 999)),
            ("bytes=1000-", Unsatisfiable),
            ("bytes=99999999999999999999999-", Unsatisfiable),
            ("bytes=-0", Unsatisfiable),
            ("bytes=9-0", Whole),
            ("bytes=0-1,5-6", Whole),
            ("bytes=0-,0-,0-,0-", Whole),
            ("bytes=", Whole),
            ("bytes=-", Whole),
            ("bytes", Whole),
            ("bytes=a-b", Whole),
            ("bytes=+1-2", Whole),
            ("bytes=1-2-3", Whole),
            ("lines=0-9", Whole),
        ] {
            let fields = [(header::RANGE, range)];
            assert_eq!(judged(Method::GET, &fields), expected, "{range}");
            assert_eq!(judged(Method::HEAD, &fields), Whole, "{range}");
        }
        for (validator, expected) in [
            ("\"abc\"", Part(0, 9)),
            ("\"x\"", Whole),
            ("W/\"abc\"", Whole),
            (THEN, Part(0, 9)),
            (LATER, Whole),
            (EARLIER, Whole),
            ("nonsense", Whole),
        ] {
            let fields = [(header::RANGE, "bytes=0-9"), (header::IF_RANGE, validator)];
            assert_eq!(judged(Method::GET, &fields), expected, "{validator}");
        }
        let twice = [(header::RANGE, "bytes=0-9"), (header::RANGE, "bytes=5-9")];
        assert_eq!(judged(Method::GET, &twice), Whole);
    }
}
