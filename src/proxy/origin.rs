//! Origin: who a request comes from. Pure.
//!
//! The peer of the connection, or whom its header of the PROXY protocol told of, unless that is a proxy the settings trust:
//! then whom it and those before it name. What strangers say of themselves is not looked at; a header that names nobody
//! leaves it open whose words follow, so none of them count. Of a trusted one at most [`MOST`] entries are looked at.
use std::borrow::Cow;
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use http::header::HeaderMap;

use super::proxies::Proxies;
use super::proxy_protocol::Told;

/// Entries of a field that are looked at; what stands before them is as if it were not there.
const MOST: usize = 32;

/// The other end of a connection.
#[derive(Clone, Copy)]
pub(super) struct End<'a> {
    /// The peer's address; where a header of the PROXY protocol named a client, that one's.
    pub(super) address: IpAddr,
    /// The same as text.
    pub(super) text: &'a str,
    /// It came through the door for https.
    pub(super) https: bool,
    /// What came before the connection's own first byte.
    pub(super) header: Option<Header>,
}

/// A header of the PROXY protocol, and who sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) peer: IpAddr,
    pub(super) told: Told,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Origin<'a> {
    /// The client's address as text.
    pub(super) client: Cow<'a, str>,
    pub(super) address: IpAddr,
    pub(super) client_is_v6: bool,
    /// The client came by https, though perhaps not to us.
    pub(super) https: bool,
    /// The trusted proxies between, nearest last, as they are joined to `X-Forwarded-For`: `, 10.0.0.1`.
    pub(super) hops: String,
    /// The same as elements of `Forwarded` (RFC 7239, 4): `, for=10.0.0.1`.
    pub(super) forwarded: String,
}

impl<'a> Origin<'a> {
    /// The end itself, at the door it came through.
    pub(super) fn peer(end: End<'a>) -> Origin<'a> {
        Origin {
            client: Cow::Borrowed(end.text),
            client_is_v6: end.address.is_ipv6(),
            // That it did not come by TLS says nothing where TLS passes through the proxy.
            https: end.https || end.header.is_some_and(|header| header.told.by_tls),
            address: end.address,
            hops: String::new(),
            forwarded: String::new(),
        }
    }

    /// Whom a trusted end speaks for; the end itself where it is not trusted or says nothing that can be read.
    pub(super) fn told(proxies: &Proxies, end: End<'a>, headers: &HeaderMap) -> Origin<'a> {
        let mut origin = Origin::peer(end);
        let peer = end.address;
        let trusted = proxies.trusts(peer);
        let header_is_trusted = match end.header {
            Some(header) if header.told.client.is_none() => return origin,
            Some(header) => proxies.trusts(header.peer),
            None => false,
        };
        if (trusted || header_is_trusted)
            && let Some(told) = proto(headers)
        {
            origin.https = told;
        }
        if !trusted {
            return origin;
        }
        let chain = chain(proxies, peer, headers);
        let [between @ .., client] = &*chain else {
            return origin;
        };
        origin.client = Cow::Owned(client.to_string());
        origin.client_is_v6 = client.is_ipv6();
        origin.address = *client;
        for hop in between.iter().rev().chain([&peer]) {
            // Writing to a string does not fail.
            let _written = write!(origin.hops, ", {hop}");
            let _written = match hop {
                IpAddr::V4(hop) => write!(origin.forwarded, ", for={hop}"),
                IpAddr::V6(hop) => write!(origin.forwarded, ", for=\"[{hop}]\""),
            };
        }
        origin
    }
}

/// Whom the peer names, from the nearest to the client, who is the first that is not trusted, or the last that is named.
fn chain(proxies: &Proxies, peer: IpAddr, headers: &HeaderMap) -> Vec<IpAddr> {
    if proxies.is_cloudflare(peer) {
        let mut named = headers.get_all("cf-connecting-ip").iter();
        match (named.next(), named.next()) {
            (Some(one), None) => return address(one.as_bytes()).into_iter().collect(),
            (Some(_), Some(_)) => return Vec::new(),
            (None, _) => {}
        }
    }
    let mut chain = Vec::new();
    for entry in from_the_right(headers, "x-forwarded-for") {
        let Some(address) = address(entry) else { break };
        chain.push(address);
        if !proxies.trusts(address) {
            break;
        }
    }
    chain
}

/// The entries of a field, those of all its lines as if it were one (RFC 9110, 5.3), the last first.
fn from_the_right<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a [u8]> {
    // Kept by line, so that a long field is not cut up whole.
    let lines: Vec<&[u8]> = headers
        .get_all(name)
        .iter()
        .map(|line| line.as_bytes())
        .collect();
    lines
        .into_iter()
        .rev()
        .flat_map(|line| line.rsplit(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .take(MOST)
}

/// An address, also with a port, as some proxies write it: `192.0.2.1:80`, `[2001:db8::1]`, `[2001:db8::1]:80`.
fn address(entry: &[u8]) -> Option<IpAddr> {
    // No address is longer; what is need not be looked at.
    if entry.len() > 64 {
        return None;
    }
    let text = std::str::from_utf8(entry).ok()?;
    let alone = || text.parse().ok();
    let with_port = || text.parse().ok().map(|both: SocketAddr| both.ip());
    let in_brackets = || {
        let inside = text.strip_prefix('[')?.strip_suffix(']')?;
        inside.parse().ok().map(IpAddr::V6)
    };
    let found: Option<IpAddr> = alone().or_else(with_port).or_else(in_brackets);
    found.map(|address| address.to_canonical())
}

/// Whether the client came by https, by the last entry alone: the word of the nearest proxy that said anything.
///
/// Proxies set this field, they do not join it; what stands before the last entry may be the client's own.
fn proto(headers: &HeaderMap) -> Option<bool> {
    let entry = from_the_right(headers, "x-forwarded-proto").next()?;
    if entry.eq_ignore_ascii_case(b"https") {
        Some(true)
    } else if entry.eq_ignore_ascii_case(b"http") {
        Some(false)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;
    use crate::base::cidr::Cidr;

    const CLOUD: &str = "172.64.0.1";

    fn proxies() -> Proxies {
        Proxies {
            trusted: vec![
                Cidr::parse("10.0.0.0/8").unwrap(),
                Cidr::parse("fd00::/8").unwrap(),
            ],
            cloudflare: true,
            ..Proxies::default()
        }
    }

    fn end(text: &str, https: bool) -> End<'_> {
        End {
            address: text.parse().unwrap(),
            text,
            https,
            header: None,
        }
    }

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        map
    }

    /// Client and hops, as `X-Forwarded-For` is written.
    fn told(peer: &str, fields: &[(&'static str, &str)]) -> String {
        let fields = headers(fields);
        let origin = Origin::told(&proxies(), end(peer, false), &fields);
        format!("{}{}", origin.client, origin.hops)
    }

    #[test]
    fn e2_a_strangers_word_is_not_looked_at() {
        let fields = &[
            ("x-forwarded-for", "192.0.2.1"),
            ("x-forwarded-proto", "https"),
            ("cf-connecting-ip", "192.0.2.1"),
        ];
        let stranger = end("203.0.113.9", false);
        assert_eq!(
            Origin::told(&proxies(), stranger, &headers(fields)),
            Origin::peer(stranger)
        );
        // The same said by a trusted one counts.
        assert_eq!(told("10.0.0.1", fields), "192.0.2.1, 10.0.0.1");
    }

    #[test]
    fn e2_the_chain_is_walked_from_the_right_while_hops_are_trusted() {
        for (lines, expected) in [
            (&[][..], "10.0.0.1"),
            (&["192.0.2.1"], "192.0.2.1, 10.0.0.1"),
            (&["6.6.6.6, 192.0.2.1"], "192.0.2.1, 10.0.0.1"),
            (&["6.6.6.6", "192.0.2.1"], "192.0.2.1, 10.0.0.1"),
            (
                &["6.6.6.6, 192.0.2.1, 10.9.9.9"],
                "192.0.2.1, 10.9.9.9, 10.0.0.1",
            ),
            (
                &["6.6.6.6,192.0.2.1", "10.9.9.9"],
                "192.0.2.1, 10.9.9.9, 10.0.0.1",
            ),
            (
                &["192.0.2.1, 172.64.0.9"],
                "192.0.2.1, 172.64.0.9, 10.0.0.1",
            ),
            (&["10.1.1.1, 10.2.2.2"], "10.1.1.1, 10.2.2.2, 10.0.0.1"),
            (&["2001:db8::1, fd00::2"], "2001:db8::1, fd00::2, 10.0.0.1"),
            (&["192.0.2.1:4711"], "192.0.2.1, 10.0.0.1"),
            (&["[2001:db8::1]:80"], "2001:db8::1, 10.0.0.1"),
            (&["[2001:db8::1]"], "2001:db8::1, 10.0.0.1"),
            (&["::ffff:192.0.2.1"], "192.0.2.1, 10.0.0.1"),
            // Malformed: the last good one.
            (&["unknown"], "10.0.0.1"),
            (&[""], "10.0.0.1"),
            (&["192.0.2.1,"], "10.0.0.1"),
            (&["192.0.2.1, evil, 10.9.9.9"], "10.9.9.9, 10.0.0.1"),
            (&["192.0.2.1, 10.9.9.9, ,10.8.8.8"], "10.8.8.8, 10.0.0.1"),
            (&["[192.0.2.1]"], "10.0.0.1"),
            (&["192.0.2.1 10.9.9.9"], "10.0.0.1"),
        ] {
            let fields: Vec<_> = lines
                .iter()
                .map(|line| ("x-forwarded-for", *line))
                .collect();
            assert_eq!(told("10.0.0.1", &fields), expected, "{lines:?}");
        }
    }

    #[test]
    fn e2_a_long_field_costs_no_more_than_32_entries() {
        let trusted = vec!["10.9.9.9"; 1_000].join(",");
        let written = told(
            "10.0.0.1",
            &[("x-forwarded-for", &format!("192.0.2.1,{trusted}"))],
        );
        assert_eq!(written.split(", ").count(), MOST + 1);
        assert!(!written.contains("192.0.2.1"));
        let near = vec!["10.9.9.9"; MOST - 1].join(",");
        let written = told(
            "10.0.0.1",
            &[("x-forwarded-for", &format!("192.0.2.1,{near}"))],
        );
        assert!(written.starts_with("192.0.2.1, 10.9.9.9, "), "{written}");
    }

    #[test]
    fn e2_cloudflares_word_counts_from_its_ranges_only() {
        let named = ("cf-connecting-ip", "192.0.2.1");
        let other = ("x-forwarded-for", "192.0.2.2");
        for (peer, fields, expected) in [
            (CLOUD, &[named][..], "192.0.2.1, 172.64.0.1"),
            (CLOUD, &[named, other], "192.0.2.1, 172.64.0.1"),
            (CLOUD, &[other], "192.0.2.2, 172.64.0.1"),
            (CLOUD, &[named, named], CLOUD),
            (CLOUD, &[("cf-connecting-ip", "me"), other], CLOUD),
            ("10.0.0.1", &[named], "10.0.0.1"),
            ("10.0.0.1", &[named, other], "192.0.2.2, 10.0.0.1"),
            ("203.0.113.9", &[named], "203.0.113.9"),
        ] {
            assert_eq!(told(peer, fields), expected, "{peer} {fields:?}");
        }
    }

    #[test]
    fn e2_https_is_what_the_proxy_says_that_the_client_spoke_to() {
        let two = ("x-forwarded-for", "6.6.6.6, 192.0.2.1, 10.9.9.9");
        let proto = |value| ("x-forwarded-proto", value);
        for (door, fields, https) in [
            (false, &[proto("https")][..], true),
            (true, &[proto("http")], false),
            (false, &[proto("HTTPS")], true),
            (false, &[proto("ftp")], false),
            (true, &[], true),
            // One hop: what a client said before it does not count.
            (false, &[proto("https, http")], false),
            (false, &[proto("https"), proto("http")], false),
            // Nor however many hops stand between: which of them set the field, nobody can tell.
            (false, &[two, proto("https, http")], false),
            (true, &[two, proto("http, https")], true),
            (false, &[two, proto("https")], true),
        ] {
            let map = headers(fields);
            let origin = Origin::told(&proxies(), end("10.0.0.1", door), &map);
            assert_eq!(origin.https, https, "{fields:?}");
        }
    }

    /// Client, hops and whether by https, of a connection whose header came from one and told of another.
    fn behind(
        peer: &str,
        client: Option<&str>,
        by_tls: bool,
        fields: &[(&'static str, &str)],
    ) -> (String, bool) {
        let told = Told {
            client: client.map(|text| text.parse().unwrap()),
            by_tls,
        };
        let header = Header {
            peer: peer.parse().unwrap(),
            told,
        };
        let end = End {
            header: Some(header),
            ..end(client.unwrap_or(peer), false)
        };
        let map = headers(fields);
        let origin = Origin::told(&proxies(), end, &map);
        (format!("{}{}", origin.client, origin.hops), origin.https)
    }

    #[test]
    fn e2_a_header_that_names_nobody_leaves_no_word_of_a_stranger() {
        let fields = &[
            ("x-forwarded-for", "192.0.2.1"),
            ("x-forwarded-proto", "https"),
        ];
        // Though the one that sent it is trusted: it does not say whose words these are.
        assert_eq!(
            behind("10.0.0.1", None, false, fields),
            ("10.0.0.1".into(), false)
        );
        // Without such a header they are its own.
        assert_eq!(told("10.0.0.1", fields), "192.0.2.1, 10.0.0.1");
    }

    #[test]
    fn e2_by_https_is_also_what_the_sender_of_the_header_knows() {
        let stranger = Some("203.0.113.9");
        let field = |value| [("x-forwarded-proto", value)];
        for (peer, by_tls, fields, https) in [
            // In both lists: its field counts, though the client is a stranger.
            ("10.0.0.1", false, &field("https")[..], true),
            ("10.0.0.1", true, &field("http"), false),
            ("10.0.0.1", false, &[], false),
            // Only in that of the PROXY protocol: the header's own word, and no field.
            ("198.51.100.1", false, &field("https"), false),
            ("198.51.100.1", true, &field("http"), true),
        ] {
            let got = behind(peer, stranger, by_tls, fields);
            assert_eq!(got, ("203.0.113.9".into(), https), "{peer} {by_tls}");
        }
        // A trusted one that is told of speaks for its own client.
        let for_its_own = &[("x-forwarded-for", "192.0.2.1")];
        assert_eq!(
            behind("198.51.100.1", Some("10.0.0.2"), false, for_its_own).0,
            "192.0.2.1, 10.0.0.2"
        );
    }

    #[test]
    fn e2_forwarded_says_the_same_as_the_chain() {
        let map = headers(&[("x-forwarded-for", "2001:db8::1, fd00::2")]);
        let origin = Origin::told(&proxies(), end("10.0.0.1", true), &map);
        assert_eq!(origin.forwarded, ", for=\"[fd00::2]\", for=10.0.0.1");
        assert!(origin.client_is_v6);
    }

    proptest! {
        /// Whatever stands in it: the client is the peer or an entry of the field, and all before it are trusted.
        #[test]
        fn e2_no_field_makes_a_client_that_nobody_named(
            entries in proptest::collection::vec("(10\\.0\\.0\\.[0-9]|192\\.0\\.2\\.[0-9]|[ -+.-~]{0,12})", 0..40)
        ) {
            let proxies = proxies();
            let field = entries.join(",");
            let map = headers(&[("x-forwarded-for", &field)]);
            let peer: IpAddr = "10.0.0.99".parse().unwrap();
            let origin = Origin::told(&proxies, end("10.0.0.99", false), &map);
            let written = format!("{}{}", origin.client, origin.hops);
            let mut chain: Vec<IpAddr> = written.split(", ").map(|one| one.parse().unwrap()).collect();
            prop_assert_eq!(chain.pop(), Some(peer));
            prop_assert!(chain.len() <= MOST);
            for (entry, found) in entries.iter().rev().zip(chain.iter().rev()) {
                prop_assert_eq!(address(entry.trim().as_bytes()), Some(*found));
            }
            prop_assert!(chain.iter().skip(1).all(|hop| proxies.trusts(*hop)));
        }
    }
}
