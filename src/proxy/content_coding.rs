//! Content coding: which of the codings of a body a client takes, and which it likes best (RFC 9110, 12.5.3). Pure.
use http::header::{self, HeaderMap, HeaderValue};

/// The codings that we know to make or to pass on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ContentCoding {
    Zstd,
    Brotli,
    Gzip,
}

/// The highest weight, in thousandths.
const FULL: u16 = 1_000;

impl ContentCoding {
    pub(super) const ALL: [ContentCoding; 3] = [
        ContentCoding::Zstd,
        ContentCoding::Brotli,
        ContentCoding::Gzip,
    ];

    /// As `Content-Encoding` names it.
    pub(super) fn name(self) -> &'static str {
        match self {
            ContentCoding::Zstd => "zstd",
            ContentCoding::Brotli => "br",
            ContentCoding::Gzip => "gzip",
        }
    }

    pub(super) fn value(self) -> HeaderValue {
        HeaderValue::from_static(self.name())
    }
}

/// What a client takes: a weight for each coding, and for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    /// In the order of [`ContentCoding::ALL`].
    weights: [u16; 3],
    /// An answer without a coding, if the client says something about it.
    identity: Option<u16>,
}

impl Taken {
    /// Who says nothing gets no coding: nobody who wants one leaves it out.
    pub(super) fn of(headers: &HeaderMap) -> Taken {
        let (mut weights, mut identity, mut others) = ([None; 3], None, None);
        for value in headers.get_all(header::ACCEPT_ENCODING) {
            for part in value.as_bytes().split(|byte| *byte == b',') {
                let Some((name, weight)) = member(part) else {
                    continue;
                };
                let named = |coding: &ContentCoding| {
                    name.eq_ignore_ascii_case(coding.name().as_bytes())
                        || *coding == ContentCoding::Gzip && name.eq_ignore_ascii_case(b"x-gzip")
                };
                if let Some(at) = ContentCoding::ALL.iter().position(named) {
                    weights[at] = Some(weight);
                } else if name == b"*" {
                    others = Some(weight);
                } else if name.eq_ignore_ascii_case(b"identity") {
                    identity = Some(weight);
                }
            }
        }
        Taken {
            weights: weights.map(|weight| weight.or(others).unwrap_or(0)),
            identity,
        }
    }

    /// The one of these that the client likes best, the earlier of two that it likes equally; none where it would rather
    /// have no coding. (One that refuses everything gets no coding too: an answer is better than none.)
    pub(super) fn best(
        &self,
        ours: impl IntoIterator<Item = ContentCoding>,
    ) -> Option<ContentCoding> {
        let mut best = None;
        let mut least = self.identity.unwrap_or(0).max(1);
        for coding in ours {
            let weight = self.weights[coding as usize];
            if weight >= least {
                best = Some(coding);
                least = weight + 1;
            }
        }
        best
    }
}

/// `gzip;q=0.5`: the name and its weight; nothing where the weight is malformed.
fn member(part: &[u8]) -> Option<(&[u8], u16)> {
    let mut pieces = part.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    let name = pieces.next().filter(|name| !name.is_empty())?;
    let mut weight = FULL;
    for parameter in pieces {
        if let [b'q' | b'Q', b'=', digits @ ..] = parameter {
            weight = thousandths(digits)?;
        }
    }
    Some((name, weight))
}

/// `0`, `0.5`, `1.000`
fn thousandths(digits: &[u8]) -> Option<u16> {
    let (whole, fraction) = match digits {
        [whole] => (whole, &[][..]),
        [whole, b'.', fraction @ ..] if fraction.len() <= 3 => (whole, fraction),
        _ => return None,
    };
    if !matches!(whole, b'0' | b'1') || !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let mut sum = u16::from(whole - b'0') * FULL;
    for (digit, place) in fraction.iter().zip([100, 10, 1]) {
        sum += u16::from(digit - b'0') * place;
    }
    (sum <= FULL).then_some(sum)
}

/// Whether caches are told that the answer depends on what the client takes.
pub(super) fn is_varied(headers: &HeaderMap) -> bool {
    headers.get_all(header::VARY).iter().any(|value| {
        value.as_bytes().split(|byte| *byte == b',').any(|part| {
            let part = part.trim_ascii();
            part == b"*" || part.eq_ignore_ascii_case(b"accept-encoding")
        })
    })
}

/// Caches learn that the answer depends on what the client takes.
pub(super) fn varies(headers: &mut HeaderMap) {
    if !is_varied(headers) {
        headers.append(
            header::VARY,
            HeaderValue::from_static(header::ACCEPT_ENCODING.as_str()),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::ContentCoding::*;
    use super::*;

    fn best(lines: &[&'static str]) -> Option<ContentCoding> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::ACCEPT_ENCODING, HeaderValue::from_static(line));
        }
        Taken::of(&headers).best(ContentCoding::ALL)
    }

    #[test]
    fn e6_the_coding_that_the_client_likes_best_is_taken() {
        for (lines, coding) in [
            (&[][..], None),
            (&[""], None),
            (&["gzip, deflate, br, zstd"], Some(Zstd)),
            (&["gzip, deflate, br"], Some(Brotli)),
            (&["gzip", "br"], Some(Brotli)),
            (&["GZIP"], Some(Gzip)),
            (&["x-gzip"], Some(Gzip)),
            (&["deflate, compress"], None),
            (&["gzip;q=1.0, br;q=0.5"], Some(Gzip)),
            (&["gzip;q=0.999, br;q=1"], Some(Brotli)),
            (&["br;q=0, gzip"], Some(Gzip)),
            (&["br;q=0.000,gzip;q=0"], None),
            (&["*"], Some(Zstd)),
            (&["*;q=0.5, zstd;q=0"], Some(Brotli)),
            (&["*;q=0"], None),
            (&["identity, gzip;q=0.5"], None),
            (&["identity;q=0.5, gzip;q=1.0"], Some(Gzip)),
            (&["identity;q=0"], None),
            (&["gzip ; q=0.2 , br ; Q=0.1"], Some(Gzip)),
            (&["gzip;q=2, br;q=0.1"], Some(Brotli)),
            (&["gzip;q=1.001"], None),
            (&["gzip;q=0.1234"], None),
            (&["gzip;q="], None),
            (&["gzip;q=-1"], None),
            (&["gzip;x=1"], Some(Gzip)),
            (&[",,gzip,,"], Some(Gzip)),
            (&["notgzip, gzipx"], None),
        ] {
            assert_eq!(best(lines), coding, "{lines:?}");
        }
    }

    #[test]
    fn e6_vary_is_said_once() {
        for (lines, after) in [
            (&[][..], 1),
            (&["cookie"], 2),
            (&["Accept-Encoding"], 1),
            (&["cookie, accept-encoding"], 1),
            (&["*"], 1),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::VARY, HeaderValue::from_static(line));
            }
            varies(&mut headers);
            assert_eq!(
                headers.get_all(header::VARY).iter().count(),
                after,
                "{lines:?}"
            );
        }
    }
}
