//! The PROXY protocol, versions 1 and 2: what a proxy says of its client before the connection's own first byte.
//!
//! The reading is pure: [`step`] says what is still missing, so that whoever reads takes not a byte of what follows.
//! As told at <https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>.
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// What version 2 begins with.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family, length.
const FIXED: usize = 16;
/// A line of version 1 at most, its end included.
const LONGEST_LINE: usize = 107;
/// Addresses and extensions of version 2 at most, in bytes.
const LONGEST_REST: usize = 2_048;

/// `PP2_TYPE_SSL`, and the bit of its first byte that says that the client came by TLS (`PP2_CLIENT_SSL`).
const EXTENSION_TLS: u8 = 0x20;
const CLIENT_BY_TLS: u8 = 0x01;

/// What there is to do about a header of which some bytes are here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Read exactly so many bytes more.
    Read(usize),
    /// Read up to a line feed, that included, but no more than so many bytes.
    ReadLine(usize),
    /// The header is whole.
    Done(Told),
}

/// What a header says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// The client; `None` where it names none (`UNKNOWN`, `LOCAL`, what is not TCP).
    pub(super) client: Option<IpAddr>,
    /// The proxy says that the client came to it by TLS.
    pub(super) by_tls: bool,
}

/// Why a header is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Malformed {
    /// It begins as neither version does.
    NotOne,
    /// Its line has no end within 107 bytes, or none of CR and LF.
    Line,
    /// Version 1 with another protocol than TCP4, TCP6 or UNKNOWN, or version 2 with another version or command.
    Unknown,
    /// An address or port is not one of its family.
    Address,
    /// Version 2 with a family of addresses or a transport that it does not know.
    Family,
    /// Its length is too small for its addresses, or beyond 2 KB.
    Length,
}

impl Malformed {
    fn words(self) -> &'static str {
        match self {
            Malformed::NotOne => "the connection begins with no header of the PROXY protocol",
            Malformed::Line => "the line of a PROXY header does not end as it must",
            Malformed::Unknown => "a PROXY header is of an unknown kind",
            Malformed::Address => "an address of a PROXY header cannot be read",
            Malformed::Family => "a PROXY header is of a family that there is not",
            Malformed::Length => "the length of a PROXY header does not fit",
        }
    }
}

/// What is missing to the header that begins with these bytes.
pub(super) fn step(bytes: &[u8]) -> Result<Step, Malformed> {
    // No header of either version is shorter than that.
    let Some(first) = bytes.first_chunk::<12>() else {
        return Ok(Step::Read(12 - bytes.len()));
    };
    if *first == SIGNATURE {
        return binary(bytes);
    }
    if !bytes.starts_with(b"PROXY ") {
        return Err(Malformed::NotOne);
    }
    match bytes.iter().position(|byte| *byte == b'\n') {
        Some(at) if at + 1 == bytes.len() => line(bytes).map(Step::Done),
        Some(_) => Err(Malformed::Line),
        None if bytes.len() >= LONGEST_LINE => Err(Malformed::Line),
        None => Ok(Step::ReadLine(LONGEST_LINE - bytes.len())),
    }
}

fn line(bytes: &[u8]) -> Result<Told, Malformed> {
    let text = bytes.strip_suffix(b"\r\n").ok_or(Malformed::Line)?;
    let mut words = text.split(|byte| *byte == b' ').skip(1);
    let is_v6 = match words.next() {
        Some(b"TCP4") => false,
        Some(b"TCP6") => true,
        // What follows is to be ignored.
        Some(b"UNKNOWN") => return Ok(Told::default()),
        _ => return Err(Malformed::Unknown),
    };
    let mut address = || -> Option<IpAddr> {
        let text = std::str::from_utf8(words.next()?).ok()?;
        if is_v6 {
            text.parse().ok().map(IpAddr::V6)
        } else {
            text.parse().ok().map(IpAddr::V4)
        }
    };
    let (source, _destination) = address().zip(address()).ok_or(Malformed::Address)?;
    let both_ports = is_port(words.next()) && is_port(words.next());
    if !both_ports || words.next().is_some() {
        return Err(Malformed::Address);
    }
    Ok(Told {
        client: Some(source.to_canonical()),
        by_tls: false,
    })
}

fn is_port(word: Option<&[u8]>) -> bool {
    let Some(digits) = word else { return false };
    let number = std::str::from_utf8(digits)
        .ok()
        .and_then(|text| text.parse::<u16>().ok());
    digits.iter().all(u8::is_ascii_digit)
        && (digits.len() == 1 || digits.first() != Some(&b'0'))
        && number.is_some()
}

fn binary(bytes: &[u8]) -> Result<Step, Malformed> {
    let Some(fixed) = bytes.first_chunk::<FIXED>() else {
        return Ok(Step::Read(FIXED - bytes.len()));
    };
    let [.., command, family, high, low] = *fixed;
    let length = usize::from(u16::from_be_bytes([high, low]));
    let local = match command {
        0x20 => true,
        0x21 => false,
        _ => return Err(Malformed::Unknown),
    };
    if length > LONGEST_REST {
        return Err(Malformed::Length);
    }
    // Of a connection of the proxy's own, and of one that it cannot tell of, the rest is ignored.
    let addresses = match family {
        _ if local => 0,
        // Datagrams and unix sockets tell of nobody whom a request over TCP could come from.
        0x00 | 0x12 | 0x22 | 0x31 | 0x32 => 0,
        0x11 => 12,
        0x21 => 36,
        _ => return Err(Malformed::Family),
    };
    if length < addresses {
        return Err(Malformed::Length);
    }
    let rest = &bytes[FIXED..];
    if rest.len() < length {
        return Ok(Step::Read(length - rest.len()));
    }
    if rest.len() > length {
        return Err(Malformed::Length);
    }
    if addresses == 0 {
        return Ok(Step::Done(Told::default()));
    }
    let source: Option<IpAddr> = match addresses {
        12 => rest
            .first_chunk::<4>()
            .map(|four| Ipv4Addr::from(*four).into()),
        36 => rest
            .first_chunk::<16>()
            .map(|all| Ipv6Addr::from(*all).into()),
        _ => None,
    };
    Ok(Step::Done(Told {
        client: source.map(|address| address.to_canonical()),
        by_tls: by_tls(&rest[addresses..]),
    }))
}

/// What the extensions (type, length, value) say of TLS. What does not fit is as if it were not there: it is the proxy's
/// own word, and no request's.
fn by_tls(mut extensions: &[u8]) -> bool {
    while let Some((&[kind, high, low], rest)) = extensions.split_first_chunk::<3>() {
        let length = usize::from(u16::from_be_bytes([high, low]));
        let Some((value, rest)) = rest.split_at_checked(length) else {
            break;
        };
        if kind == EXTENSION_TLS {
            return value
                .first()
                .is_some_and(|client| client & CLIENT_BY_TLS != 0);
        }
        extensions = rest;
    }
    false
}

/// Reads the header, and not a byte behind it: what follows is TLS or a request, and others look at that from its start.
///
/// # Errors
/// The connection ended or broke, or what it begins with is no header.
pub(super) async fn read(stream: &mut TcpStream) -> io::Result<Told> {
    let mut bytes = Vec::with_capacity(LONGEST_LINE);
    let refused = |why: Malformed| io::Error::new(io::ErrorKind::InvalidData, why.words());
    loop {
        let have = bytes.len();
        let count = match step(&bytes).map_err(refused)? {
            Step::Done(told) => return Ok(told),
            Step::Read(count) => count,
            Step::ReadLine(most) => {
                // Looked at first, taken up to the line's end then: what is looked at is never more than one line.
                let mut ahead = [0; LONGEST_LINE];
                let seen = stream.peek(&mut ahead[..most]).await?;
                if seen == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                let line = ahead[..seen].iter().position(|byte| *byte == b'\n');
                line.map_or(seen, |at| at + 1)
            }
        };
        bytes.resize(have + count, 0);
        stream.read_exact(&mut bytes[have..]).await?;
    }
}

/// As if the bytes came from a connection: what is told, and how many bytes the header has.
#[cfg(any(test, freehold_fuzz))]
pub(super) fn read_from(bytes: &[u8]) -> Option<Result<(Told, usize), Malformed>> {
    let mut have = 0;
    loop {
        let more = match step(&bytes[..have]) {
            Err(why) => return Some(Err(why)),
            Ok(Step::Done(told)) => return Some(Ok((told, have))),
            Ok(Step::Read(count)) => count,
            Ok(Step::ReadLine(most)) => {
                let ahead = &bytes[have..];
                let ahead = &ahead[..ahead.len().min(most)];
                if ahead.is_empty() {
                    return None;
                }
                let line = ahead.iter().position(|byte| *byte == b'\n');
                line.map_or(ahead.len(), |at| at + 1)
            }
        };
        assert!(more > 0, "a step that asks for nothing never ends");
        have += more;
        if have > bytes.len() {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(client: Option<&str>) -> Told {
        Told {
            client: client.map(|text| text.parse().unwrap()),
            by_tls: false,
        }
    }

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([command, family]);
        bytes.extend((rest.len() as u16).to_be_bytes());
        bytes.extend(rest);
        bytes
    }

    #[test]
    fn e2_a_line_of_version_1_tells_of_its_client() {
        let long = format!("PROXY UNKNOWN {}\r\n", "f".repeat(LONGEST_LINE - 16));
        for (line, client) in [
            (
                "PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n",
                Some("192.0.2.1"),
            ),
            (
                "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
                Some("255.255.255.255"),
            ),
            (
                "PROXY TCP6 2001:db8::1 2001:db8::2 0 443\r\n",
                Some("2001:db8::1"),
            ),
            ("PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n", Some("192.0.2.1")),
            ("PROXY UNKNOWN\r\n", None),
            ("PROXY UNKNOWN what ever it says\r\n", None),
            (&long, None),
        ] {
            let followed = format!("{line}GET / HTTP/1.1\r\n");
            assert_eq!(
                read_from(followed.as_bytes()),
                Some(Ok((of(client), line.len()))),
                "{line}"
            );
        }
    }

    #[test]
    fn e2_a_line_that_is_not_of_version_1_is_refused() {
        use Malformed::*;
        let long = format!("PROXY UNKNOWN {}\r\n", "f".repeat(LONGEST_LINE - 15));
        for (line, why) in [
            ("GET / HTTP/1.1\r\n", NotOne),
            ("\x16\x03\x01\x02\x00\x01\x00\x01\x7c\x03\x03\x00", NotOne),
            ("proxy TCP4 192.0.2.1 198.51.100.1 1 2\r\n", NotOne),
            ("PROXY\tTCP4 192.0.2.1 198.51.100.1 1 2\r\n", NotOne),
            ("PROXY TCP4 192.0.2.1 198.51.100.1 1 2\n", Line),
            ("PROXY UNKNOWN\n", Line),
            (&long, Line),
            ("PROXY  TCP4 192.0.2.1 198.51.100.1 1 2\r\n", Unknown),
            ("PROXY UDP4 192.0.2.1 198.51.100.1 1 2\r\n", Unknown),
            ("PROXY tcp4 192.0.2.1 198.51.100.1 1 2\r\n", Unknown),
            ("PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n", Address),
            ("PROXY TCP6 192.0.2.1 198.51.100.1 1 2\r\n", Address),
            ("PROXY TCP4 192.0.2.1 198.51.100.1 1\r\n", Address),
            ("PROXY TCP4 192.0.2.1 198.51.100.1 1 2 3\r\n", Address),
            ("PROXY TCP4 192.0.2.1  198.51.100.1 1 2\r\n", Address),
            ("PROXY TCP4 192.0.2.01 198.51.100.1 1 2\r\n", Address),
            ("PROXY TCP4 192.0.2.1 198.51.100.1 1 65536\r\n", Address),
            ("PROXY TCP4 192.0.2.1 198.51.100.1 +1 2\r\n", Address),
            ("PROXY TCP4 192.0.2.1 198.51.100.1 01 2\r\n", Address),
            ("PROXY TCP4 192.0.2.1 198.51.100.1 1 2 \r\n", Address),
            ("PROXY TCP4 192.0.2.1 198.51.100.1 1 \r\n", Address),
        ] {
            assert_eq!(read_from(line.as_bytes()), Some(Err(why)), "{line:?}");
        }
    }

    #[test]
    fn e2_version_2_tells_of_its_client() {
        let four = [192, 0, 2, 1, 198, 51, 100, 1, 0xdc, 4, 1, 0xbb];
        let mut six = [0; 36];
        six[..4].copy_from_slice(&[0x20, 1, 0xd, 0xb8]);
        six[15] = 1;
        let extended = [&four[..], &[0x20; 300]].concat();
        let longest = [&four[..], &[0; LONGEST_REST - 12]].concat();
        for (header, client) in [
            (v2(0x21, 0x11, &four), Some("192.0.2.1")),
            (v2(0x21, 0x21, &six), Some("2001:db8::1")),
            (v2(0x21, 0x11, &extended), Some("192.0.2.1")),
            (v2(0x21, 0x11, &longest), Some("192.0.2.1")),
            (v2(0x21, 0x00, &[]), None),
            (v2(0x21, 0x00, &four), None),
            (v2(0x20, 0x00, &[]), None),
            (v2(0x20, 0x11, &four), None),
            (v2(0x20, 0xff, &[1, 2, 3]), None),
            // Not TCP: as if it named nobody.
            (v2(0x21, 0x12, &four), None),
            (v2(0x21, 0x22, &six), None),
            (v2(0x21, 0x31, &[b'/'; 216]), None),
            (v2(0x21, 0x32, &[]), None),
        ] {
            let followed = [&header[..], b"\x16\x03\x01"].concat();
            assert_eq!(
                read_from(&followed),
                Some(Ok((of(client), header.len()))),
                "{header:?}"
            );
        }
    }

    #[test]
    fn e2_what_is_not_of_version_2_is_refused() {
        use Malformed::*;
        let mut damaged = v2(0x21, 0x11, &[0; 12]);
        damaged[11] = 0;
        for (header, why) in [
            (damaged, NotOne),
            (v2(0x11, 0x11, &[0; 12]), Unknown),
            (v2(0x22, 0x11, &[0; 12]), Unknown),
            (v2(0x21, 0x01, &[0; 12]), Family),
            (v2(0x21, 0x13, &[0; 12]), Family),
            (v2(0x21, 0x41, &[0; 216]), Family),
            (v2(0x21, 0x11, &[0; 11]), Length),
            (v2(0x21, 0x21, &[0; 35]), Length),
            (v2(0x21, 0x11, &[0; LONGEST_REST + 1]), Length),
            (v2(0x20, 0x00, &[0; LONGEST_REST + 1]), Length),
        ] {
            assert_eq!(read_from(&header), Some(Err(why)), "{header:?}");
        }
    }

    #[test]
    fn e2_version_2_tells_whether_its_client_came_by_tls() {
        let four = [192, 0, 2, 1, 198, 51, 100, 1, 0xdc, 4, 1, 0xbb];
        for (extensions, by_tls) in [
            (&[][..], false),
            (&[0x20, 0, 5, 1, 0, 0, 0, 0], true),
            (&[0x20, 0, 5, 0, 0, 0, 0, 0], false),
            (&[0x20, 0, 5, 7, 0, 0, 0, 0], true),
            // Behind another one; with parts of its own.
            (&[4, 0, 2, 9, 9, 0x20, 0, 5, 1, 0, 0, 0, 0], true),
            (&[0x20, 0, 10, 1, 0, 0, 0, 0, 0x21, 0, 2, b'1', b'3'], true),
            // Empty, cut off, or not where an extension begins.
            (&[0x20, 0, 0], false),
            (&[0x20, 0, 5, 1], false),
            (&[0x20, 0], false),
            (&[4, 0, 3, 0x20, 0, 5], false),
        ] {
            let header = v2(0x21, 0x11, &[&four[..], extensions].concat());
            let (told, _) = read_from(&header).unwrap().unwrap();
            assert_eq!(told.by_tls, by_tls, "{extensions:?}");
            assert_eq!(told.client, of(Some("192.0.2.1")).client);
            // Of a connection that is the proxy's own nothing counts.
            let local = v2(0x20, 0x11, &[&four[..], extensions].concat());
            assert_eq!(read_from(&local), Some(Ok((of(None), local.len()))));
        }
    }

    proptest! {
        /// No bytes panic; a header found does not depend on what follows it, and is not found in a piece of itself.
        #[test]
        fn e2_a_header_is_read_up_to_its_end_and_no_further(
            begin in 0usize..4,
            bytes in proptest::collection::vec(any::<u8>(), 0..80),
            after in proptest::collection::vec(any::<u8>(), 0..20)
        ) {
            let begin: &[u8] = [&b""[..], b"PROXY ", b"PROXY TCP4 1.2.3.4 5.6.7.8 ", &SIGNATURE][begin];
            let all = [begin, &bytes].concat();
            if let Some(Ok((client, length))) = read_from(&all) {
                let followed = [&all[..length], &after].concat();
                prop_assert_eq!(read_from(&followed), Some(Ok((client, length))));
                for cut in 0..length {
                    prop_assert_eq!(read_from(&all[..cut]), None);
                }
            }
        }

        #[test]
        fn e2_what_a_proxy_writes_is_read(a: u32, b: u32, c: u128, d: u128, e: u16, f: u16, rest in 0usize..200) {
            let (from, to) = (Ipv4Addr::from_bits(a), Ipv4Addr::from_bits(b));
            let line = format!("PROXY TCP4 {from} {to} {e} {f}\r\n");
            prop_assert_eq!(read_from(line.as_bytes()), Some(Ok((Told { client: Some(from.into()), by_tls: false }, line.len()))));
            let (from, to) = (Ipv6Addr::from_bits(c), Ipv6Addr::from_bits(d));
            let told = Told { client: Some(IpAddr::from(from).to_canonical()), by_tls: false };
            let line = format!("PROXY TCP6 {from} {to} {e} {f}\r\n");
            prop_assert_eq!(read_from(line.as_bytes()), Some(Ok((told, line.len()))));
            let mut body = [from.octets(), to.octets()].concat();
            body.extend([e.to_be_bytes(), f.to_be_bytes()].concat());
            body.resize(36 + rest, 7);
            let header = v2(0x21, 0x21, &body);
            prop_assert_eq!(read_from(&header), Some(Ok((told, header.len()))));
        }
    }
}
