//! Fuzz targets of single fields of a head.
use std::io::Read;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::proxy::compressor::encoded;
use crate::proxy::content_coding::{ContentCoding, Taken};
use crate::proxy::sticky::{cookie, mark};
use crate::proxy::trace::{TRACEPARENT, TRACESTATE, Trace};

/// The lines as fields: `name: value`, or the value alone of the usual name.
pub(in crate::proxy) fn fields(lines: &[u8], usual: &'static str) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for line in lines.split(|byte| *byte == b'\n').take(100) {
        let named = line
            .iter()
            .position(|byte| *byte == b':')
            .and_then(|colon| {
                let name = HeaderName::from_bytes(&line[..colon]).ok()?;
                Some((name, line[colon + 1..].trim_ascii()))
            });
        let (name, value) = named.unwrap_or((HeaderName::from_static(usual), line.trim_ascii()));
        if let Ok(value) = HeaderValue::from_bytes(value) {
            fields.append(name, value);
        }
    }
    fields
}

/// The lines are fields. What an app is told of a trace is well-formed, and the next who reads it finds the same in it.
pub fn trace(data: &[u8]) {
    let headers = fields(data, "traceparent");
    let id = HeaderValue::from_static("0123456789abcdef0123456789abcdef");
    let told = Trace::of(&headers, &id, 0x0011_2233_4455_66ff);
    let parent = told.parent();
    let text = String::from_utf8_lossy(parent);
    let parts: Vec<_> = text.split('-').collect();
    let hexadecimal = |text: &str| {
        text.bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let [version, trace, station, flags] = parts[..] else {
        panic!("{text}");
    };
    assert!(version == "00" && station == "00112233445566ff", "{text}");
    assert!(trace.len() == 32 && hexadecimal(trace) && trace.bytes().any(|byte| byte != b'0'));
    assert!(flags.len() == 2 && hexadecimal(flags), "{text}");
    if let Some(state) = told.state() {
        assert!(state.len() <= 512 && state.is_ascii());
        let members = state.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        let members: Vec<_> = members.filter(|member| !member.is_empty()).collect();
        assert!((1..=32).contains(&members.len()));
        let halves = |member: &&[u8]| member.split(|byte| *byte == b'=').count() == 2;
        assert!(members.iter().all(halves), "{members:?}");
        assert!(headers.contains_key(&TRACEPARENT));
    }
    let mut next = HeaderMap::new();
    let all = [(&TRACEPARENT, Some(parent)), (&TRACESTATE, told.state())];
    for (name, value) in all {
        if let Some(value) = value.map(HeaderValue::from_bytes) {
            next.append(name, value.unwrap_or_else(|_| panic!("{name} is no field")));
        }
    }
    let other = HeaderValue::from_static("ffffffffffffffffffffffffffffffff");
    let read = Trace::of(&next, &other, 0x0011_2233_4455_66ff);
    assert_eq!(read.parent(), parent);
    assert_eq!(read.state(), told.state());
}

/// The first line is a route's path, the others are fields. A mark that is read is read again from the cookie that is made
/// of it, and no path brings an attribute of its own into that.
pub fn sticky(data: &[u8]) {
    let end = data.iter().position(|byte| *byte == b'\n');
    let (path, lines) = data.split_at(end.unwrap_or(0));
    let read = mark(&fields(lines, "cookie"));
    let Ok(path) = std::str::from_utf8(path) else {
        return;
    };
    let given = read.unwrap_or(0x1234);
    for https in [false, true] {
        let Some(made) = cookie(given, path, https) else {
            continue;
        };
        let text = made.to_str().unwrap_or_default();
        let parts: Vec<_> = text.split("; ").collect();
        let usual = if path.is_empty() { "/" } else { path };
        let secure: &[&str] = if https { &["Secure"] } else { &[] };
        assert_eq!(parts[1], format!("Path={usual}"));
        assert_eq!(parts[2..], [&["HttpOnly", "SameSite=Lax"], secure].concat());
        let mut back = HeaderMap::new();
        back.append(
            header::COOKIE,
            HeaderValue::from_str(parts[0]).unwrap_or_else(|_| panic!("{text}")),
        );
        assert_eq!(mark(&back), Some(given));
    }
}

/// The lines are fields of `Accept-Encoding`. One field of them all says the same; a coding is taken only if the client
/// names it, or all others, and not if it takes it back.
pub fn accept_encoding(data: &[u8]) {
    let headers = fields(data, "accept-encoding");
    let name = header::ACCEPT_ENCODING;
    let lines: Vec<_> = headers
        .get_all(&name)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    let best = Taken::of(&headers).best(ContentCoding::ALL);
    let with = |more: &str| {
        let mut all = lines.join(&b","[..]);
        all.extend_from_slice(more.as_bytes());
        let mut one = HeaderMap::new();
        if let Ok(value) = HeaderValue::from_bytes(&all) {
            one.append(&name, value);
        }
        Taken::of(&one).best(ContentCoding::ALL)
    };
    assert_eq!(with(""), best);
    if let Some(coding) = best {
        let text = lines.join(&b","[..]).to_ascii_lowercase();
        let text = String::from_utf8_lossy(&text);
        assert!(text.contains(coding.name()) || text.contains('*'), "{text}");
        assert_ne!(with(&format!(", {};q=0", coding.name())), Some(coding));
    }
}

/// The first byte chooses the coding. What is compressed is the same again when it is taken apart.
pub fn compressed(data: &[u8]) {
    let [choice, bytes @ ..] = data else { return };
    let coding = ContentCoding::ALL[usize::from(*choice) % 3];
    let coded = encoded(coding, bytes).unwrap_or_else(|error| panic!("{coding:?}: {error}"));
    let mut read = Vec::new();
    let result = match coding {
        ContentCoding::Zstd => zstd::bulk::decompress(&coded, bytes.len()).map(|all| read = all),
        ContentCoding::Brotli => {
            let mut coded = brotli::Decompressor::new(&*coded, 4_096);
            coded.read_to_end(&mut read).map(drop)
        }
        ContentCoding::Gzip => {
            let mut coded = flate2::read::GzDecoder::new(&*coded);
            coded.read_to_end(&mut read).map(drop)
        }
    };
    assert!(result.is_ok() && read == bytes, "{coding:?}");
}
