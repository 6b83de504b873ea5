//! Fuzz target of an upstream's answer: head, then body in whichever framing the head names. What others need of this leg.
use std::future::poll_fn;
use std::io::{self, Read};
use std::os::unix::net::UnixStream;

use bytes::BytesMut;
use http::{HeaderMap, Method, StatusCode};

use super::answer_head::{self, Framing};
use super::chunked::{Chunked, Decoded};
use super::connection::{Connection, Stream};
use super::request_body::RequestBody;
use crate::proxy::fuzz::fields;
use crate::proxy::headers::is_hop_by_hop;

/// The first byte chooses the method and the cuts. What is read does not depend on how the bytes arrive.
pub fn answer(data: &[u8]) {
    let [choice, bytes @ ..] = data else { return };
    let method = match choice & 1 {
        0 => Method::GET,
        _ => Method::HEAD,
    };
    let whole = read(bytes, bytes.len().max(1), &method);
    let cut = read(bytes, usize::from(choice >> 1) % 32 + 1, &method);
    match (whole, cut) {
        (Ok(whole), Ok(cut)) => assert_eq!(whole, cut),
        (whole, cut) => assert_eq!(whole.is_err(), cut.is_err(), "{whole:?} {cut:?}"),
    }
}

/// The first byte chooses method and status, the lines are fields. An answer that came framed (HTTP/2) is judged as the
/// same one in HTTP/1.1 is: the same fields pass, and the same length counts.
pub fn answer_fields(data: &[u8]) {
    let [choice, lines @ ..] = data else { return };
    let method = match choice & 1 {
        0 => Method::GET,
        _ => Method::HEAD,
    };
    let status = [200, 204, 206, 304, 404, 500][usize::from(choice >> 1) % 6];
    // h2 refuses an answer that speaks of its hop.
    let all = fields(lines, "content-length").into_iter();
    let mut headers = HeaderMap::new();
    let (mut text, mut last) = (format!("HTTP/1.1 {status} Yes\r\n").into_bytes(), None);
    for (name, value) in all {
        last = name.or(last);
        let Some(name) = last.as_ref().filter(|name| !is_hop_by_hop(name)) else {
            continue;
        };
        text.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
        headers.append(name, value);
    }
    text.extend(b"\r\n");
    let Ok(code) = StatusCode::from_u16(status) else {
        panic!("{status} is one");
    };
    let judged = answer_head::judge(code, headers, &method);
    let parsed = answer_head::parse(&mut BytesMut::from(&text[..]), &method);
    match (judged, parsed) {
        (Ok((headers, length)), Ok(Some(head))) => {
            assert_eq!(headers, head.headers);
            let framing = length.map_or(Framing::UntilClose, Framing::Length);
            assert_eq!(framing, head.framing, "{headers:?}");
        }
        (Err(one), Err(other)) => assert_eq!(one, other),
        (judged, parsed) => panic!("{judged:?} and {parsed:?}"),
    }
}

#[derive(Debug, Default, PartialEq)]
struct Reading {
    status: Option<StatusCode>,
    body: Vec<u8>,
    ended: bool,
}

fn read(bytes: &[u8], piece: usize, method: &Method) -> Result<Reading, &'static str> {
    let (mut buffer, mut framing, mut chunked) = (BytesMut::new(), None, Chunked::Size);
    let mut reading = Reading::default();
    for piece in bytes.chunks(piece) {
        buffer.extend_from_slice(piece);
        while !reading.ended {
            let before = (buffer.len(), framing);
            match framing {
                None => {
                    let Some(head) = answer_head::parse(&mut buffer, method)? else {
                        assert_eq!(buffer.len(), before.0, "bytes lost before a head was whole");
                        break;
                    };
                    let interim = head.status.is_informational()
                        && head.status != StatusCode::SWITCHING_PROTOCOLS;
                    if !interim {
                        reading.status = Some(head.status);
                        framing = Some(head.framing);
                    }
                }
                Some(Framing::Length(length)) => {
                    let left = length - reading.body.len() as u64;
                    let take = usize::try_from(left)
                        .unwrap_or(usize::MAX)
                        .min(buffer.len());
                    reading.body.extend(buffer.split_to(take));
                    reading.ended = reading.body.len() as u64 == length;
                    break;
                }
                Some(Framing::UntilClose) => {
                    reading.body.extend(buffer.split());
                    break;
                }
                Some(Framing::Chunked) => match chunked.decode(&mut buffer)? {
                    Decoded::Data(data) => {
                        reading.body.extend(data);
                        reading.ended = chunked.ends_here(&mut buffer);
                    }
                    Decoded::Trailers(_) | Decoded::End => reading.ended = true,
                    Decoded::More => break,
                },
            }
        }
    }
    Ok(reading)
}

/// The data of a chunked body, as an answer's is read; nothing where it has no end.
pub(in crate::proxy) fn without_coding(
    buffer: &mut BytesMut,
) -> Result<Option<Vec<u8>>, &'static str> {
    let (mut chunked, mut data) = (Chunked::Size, Vec::new());
    loop {
        match chunked.decode(buffer)? {
            Decoded::Data(piece) => data.extend(piece),
            Decoded::Trailers(_) | Decoded::End => return Ok(Some(data)),
            Decoded::More => return Ok(None),
        }
    }
}

/// What arrives at a target of this request, and whether the client sent all of it.
pub(in crate::proxy) async fn arriving(mut request: RequestBody) -> io::Result<(Vec<u8>, bool)> {
    let (ours, mut theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let ours = tokio::net::UnixStream::from_std(ours)?;
    let mut connection = Connection::over(Stream::Unix(ours));
    request.go_on();
    let pumped = poll_fn(|cx| request.poll_pump(cx, &mut connection)).await;
    assert_eq!(pumped.is_ok(), request.is_whole());
    drop(connection);
    let mut bytes = Vec::new();
    theirs.read_to_end(&mut bytes)?;
    Ok((bytes, pumped.is_ok()))
}
