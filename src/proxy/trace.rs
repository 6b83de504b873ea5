//! Trace: the fields of W3C Trace Context as the target gets them. Pure.
//!
//! A client's trace goes on, with a parent id of ours, for the edge is one station of it; a trace that is malformed counts
//! as none. Where there is none one begins, named like the request: a log of the edge and a trace of the app meet there.
//! It is not sampled, so that tracing costs an app only what it asked for. Level 1 of the specification, and the flag of level 2.
use std::borrow::Cow;

use http::HeaderValue;
use http::header::{HeaderMap, HeaderName};

pub(super) static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub(super) static TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

const DIGITS: &[u8; 16] = b"0123456789abcdef";
/// `00-`, a trace id of 32 digits, `-`, a parent id of 16, `-`, two of flags.
const LENGTH: usize = 55;
/// Sampled, and (level 2) that the trace id is chance.
const KNOWN_FLAGS: u8 = 0x03;
/// Of a tracestate (3.3.1.1 and 3.3.1.5).
const MOST_MEMBERS: usize = 32;
const MOST_BYTES: usize = 512;

/// What a request says of its trace upstream.
pub(super) struct Trace<'a> {
    parent: [u8; LENGTH],
    state: Option<Cow<'a, [u8]>>,
}

impl<'a> Trace<'a> {
    /// `id` is the request's, in 32 hexadecimal digits; `drawn` is chance for the parent id.
    pub(super) fn of(headers: &'a HeaderMap, id: &HeaderValue, drawn: u64) -> Trace<'a> {
        let mut all = headers.get_all(&TRACEPARENT).iter();
        let told = match (all.next(), all.next()) {
            (Some(value), None) => parse(value.as_bytes()),
            _ => None,
        };
        let mut parent = *b"00-00000000000000000000000000000001-0000000000000000-00";
        match told {
            Some((trace, flags)) => {
                parent[3..35].copy_from_slice(trace);
                parent[LENGTH - 1] = DIGITS[usize::from(flags & KNOWN_FLAGS)];
            }
            None => {
                if id.len() == 32 {
                    parent[3..35].copy_from_slice(id.as_bytes());
                }
            }
        }
        // An id of zeros would be none.
        let drawn = drawn.max(1);
        for (index, digit) in parent[36..52].iter_mut().enumerate() {
            *digit = DIGITS[(drawn >> (60 - 4 * index)) as usize & 15];
        }
        Trace {
            parent,
            state: told.and_then(|_| state(headers)),
        }
    }

    pub(super) fn parent(&self) -> &[u8] {
        &self.parent
    }

    pub(super) fn state(&self) -> Option<&[u8]> {
        self.state.as_deref()
    }
}

/// The trace id and the flags of a `traceparent`, if it is well-formed (3.2.2).
fn parse(value: &[u8]) -> Option<(&[u8], u8)> {
    let version = byte(value.get(..2)?)?;
    // A later version may have more behind what is known of it; the first has not.
    let ends = match version {
        0 => value.len() == LENGTH,
        0xff => false,
        _ => value.len() == LENGTH || value.get(LENGTH) == Some(&b'-'),
    };
    let (trace, parent, flags) = (
        value.get(3..35)?,
        value.get(36..52)?,
        value.get(53..LENGTH)?,
    );
    let cut = [2, 35, 52].iter().all(|at| value[*at] == b'-');
    // In one pass without a branch.
    let named = |id: &[u8]| {
        let seen = id.iter().fold((true, false), |(good, some), b| {
            (good & digit(*b).is_some(), some | (*b != b'0'))
        });
        seen == (true, true)
    };
    (ends && cut && named(trace) && named(parent)).then_some(())?;
    Some((trace, byte(flags)?))
}

fn byte(text: &[u8]) -> Option<u8> {
    Some(digit(text[0])? << 4 | digit(text[1])?)
}

/// Upper case is refused (3.2.1).
fn digit(character: u8) -> Option<u8> {
    match character {
        b'0'..=b'9' => Some(character - b'0'),
        b'a'..=b'f' => Some(character - b'a' + 10),
        _ => None,
    }
}

/// The `tracestate` as one field; nothing where it is malformed or too long, which says nothing of the trace itself (3.3).
fn state(headers: &HeaderMap) -> Option<Cow<'_, [u8]>> {
    let mut lines = headers
        .get_all(&TRACESTATE)
        .iter()
        .map(HeaderValue::as_bytes);
    let mut whole = Cow::Borrowed(lines.next()?);
    for line in lines {
        if whole.len() + line.len() > MOST_BYTES {
            return None;
        }
        let joined = whole.to_mut();
        joined.push(b',');
        joined.extend_from_slice(line);
    }
    if whole.len() > MOST_BYTES {
        return None;
    }
    let mut members = 0;
    for member in whole.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
        if member.is_empty() {
            continue;
        }
        members += 1;
        if !is_member(member) {
            return None;
        }
    }
    (1..=MOST_MEMBERS).contains(&members).then_some(whole)
}

/// `key=value` (3.3.1.3): what another reader could not take apart is not passed on.
fn is_member(member: &[u8]) -> bool {
    let Some(at) = member.iter().position(|byte| *byte == b'=') else {
        return false;
    };
    let (key, value) = (&member[..at], &member[at + 1..]);
    let in_key = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-*/@".contains(b);
    let in_value = |b: &u8| (0x20..=0x7e).contains(b) && *b != b'=';
    let begins = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    key.first().is_some_and(begins)
        && key.len() <= 256
        && key.iter().all(in_key)
        && !value.is_empty()
        && value.len() <= 256
        && value.iter().all(in_value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef";
    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn traced(fields: &[(&'static str, &str)]) -> (String, Option<String>) {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        let id = HeaderValue::from_static(ID);
        let trace = Trace::of(&map, &id, 0x0011_2233_4455_66ff);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        (text(trace.parent()), trace.state().map(text))
    }

    fn parent(value: &str) -> String {
        traced(&[("traceparent", value)]).0
    }

    #[test]
    fn e7_a_trace_goes_on_with_a_parent_id_of_ours() {
        let ours = "00-4bf92f3577b34da6a3ce929d0e0e4736-00112233445566ff-01";
        assert_eq!(parent(GOOD), ours);
        for (flags, passed) in [("00", "00"), ("01", "01"), ("02", "02"), ("ff", "03")] {
            let value = format!("{}{flags}", &GOOD[..53]);
            assert!(parent(&value).ends_with(&format!("-{passed}")), "{value}");
        }
        // A later version is read as far as it is known.
        assert_eq!(parent(&format!("cc{}", &GOOD[2..])), ours);
        assert_eq!(parent(&format!("cc{}-what", &GOOD[2..])), ours);
    }

    #[test]
    fn e7_without_a_trace_or_with_a_bad_one_one_begins_under_the_requests_id() {
        let fresh = format!("00-{ID}-00112233445566ff-00");
        assert_eq!(traced(&[]), (fresh.clone(), None));
        let zeros = "0".repeat(32);
        for bad in [
            "",
            "00",
            "x",
            &GOOD[..54],
            &format!("{GOOD}-"),
            &format!("{GOOD}-more"),
            &format!("{GOOD}0"),
            &format!("ff{}", &GOOD[2..]),
            &format!("cc{}x", &GOOD[2..]),
            &format!("0x{}", &GOOD[2..]),
            &GOOD.to_uppercase(),
            &GOOD.replacen('-', "_", 1),
            &GOOD.replace("-01", "-0g"),
            &GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", &zeros),
            &GOOD.replace("00f067aa0ba902b7", &zeros[..16]),
            &GOOD.replace("00f067aa0ba902b7", "00f067aa0ba902bZ"),
            &format!("{GOOD},{GOOD}"),
        ] {
            let state = ("tracestate", "a=1");
            assert_eq!(
                traced(&[("traceparent", bad), state]),
                (fresh.clone(), None),
                "{bad}"
            );
        }
        // Twice is one too many; and a state without a trace belongs to nothing.
        let twice = [("traceparent", GOOD), ("traceparent", GOOD)];
        assert_eq!(traced(&twice), (fresh.clone(), None));
        assert_eq!(traced(&[("tracestate", "a=1")]), (fresh, None));
    }

    #[test]
    fn e7_an_id_of_ours_is_never_zero() {
        let id = HeaderValue::from_static("0");
        let trace = Trace::of(&HeaderMap::new(), &id, 0).parent;
        assert!(parse(&trace).is_some());
    }

    #[test]
    fn e7_a_tracestate_is_passed_on_within_its_limits() {
        let told = |lines: &[&str]| {
            let mut fields = vec![("traceparent", GOOD)];
            fields.extend(lines.iter().map(|line| ("tracestate", *line)));
            traced(&fields).1
        };
        let members = |count: usize| vec!["a=1"; count].join(",");
        let long = |value: usize| format!("a={},b={}", "x".repeat(250), "y".repeat(value));
        for (lines, passed) in [
            (
                &["rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"][..],
                Some("rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"),
            ),
            (&["a=1", "b=2"], Some("a=1,b=2")),
            (&["a=1 , , b@c/d-e_f*=2"], Some("a=1 , , b@c/d-e_f*=2")),
            (&[&members(32)], Some(&*members(32))),
            (&[&members(33)], None),
            (&[&long(256)], Some(&*long(256))),
            (&[&long(257)], None),
            (&[&long(200), &long(200)], None),
            (&["A=1"], None),
            (&["a"], None),
            (&["a="], None),
            (&["=1"], None),
            (&["a=1=2"], None),
            (&["a=\u{e9}"], None),
            (&[""], None),
            (&[","], None),
        ] {
            assert_eq!(told(lines).as_deref(), passed, "{lines:?}");
        }
    }
}
