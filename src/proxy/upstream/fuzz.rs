//! Fuzz target of an upstream's answer: head, then body in whichever framing the head names.
use bytes::BytesMut;
use http::{Method, StatusCode};

use super::answer_head::{self, Framing};
use super::chunked::{Chunked, Decoded};

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
