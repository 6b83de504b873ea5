//! The chunked coding of answers, decoded strictly.
//!
//! Sizes are plain hexadecimal, lines end in CR LF, extensions are skipped up to a limit, trailers are parsed. Anything
//! else is an error: a lenient reading here could end an answer elsewhere than the upstream meant.
use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

const LINE: usize = 4 * 1024;
const TRAILERS: usize = 16 * 1024;
const TRAILER_COUNT: usize = 64;

#[derive(Debug)]
pub(crate) enum Chunked {
    Size,
    Data(u64),
    DataEnd,
    Trailers,
    Done,
}

#[derive(Debug, PartialEq)]
pub(crate) enum Decoded {
    Data(Bytes),
    Trailers(HeaderMap),
    End,
    /// More bytes are needed.
    More,
}

impl Chunked {
    pub(crate) fn decode(&mut self, buffer: &mut BytesMut) -> Result<Decoded, &'static str> {
        loop {
            match self {
                Chunked::Size => {
                    let Some(end) = line_end(buffer, LINE)? else {
                        return Ok(Decoded::More);
                    };
                    let size = chunk_size(&buffer[..end])?;
                    buffer.advance(end + 2);
                    *self = if size == 0 {
                        Chunked::Trailers
                    } else {
                        Chunked::Data(size)
                    };
                }
                Chunked::Data(left) => {
                    if buffer.is_empty() {
                        return Ok(Decoded::More);
                    }
                    let take = usize::try_from(*left)
                        .unwrap_or(usize::MAX)
                        .min(buffer.len());
                    let data = buffer.split_to(take).freeze();
                    *left -= take as u64;
                    if *left == 0 {
                        *self = Chunked::DataEnd;
                    }
                    return Ok(Decoded::Data(data));
                }
                Chunked::DataEnd => {
                    if buffer.len() < 2 {
                        return Ok(Decoded::More);
                    }
                    if !buffer.starts_with(b"\r\n") {
                        return Err("a chunk does not end where its size says");
                    }
                    buffer.advance(2);
                    *self = Chunked::Size;
                }
                Chunked::Trailers => {
                    if buffer.starts_with(b"\r\n") {
                        buffer.advance(2);
                        *self = Chunked::Done;
                        return Ok(Decoded::End);
                    }
                    let mut fields = [httparse::EMPTY_HEADER; TRAILER_COUNT];
                    let (length, trailers) = match httparse::parse_headers(buffer, &mut fields) {
                        Ok(httparse::Status::Complete((length, fields))) => {
                            (length, trailer_map(fields)?)
                        }
                        Ok(httparse::Status::Partial) if buffer.len() <= TRAILERS => {
                            return Ok(Decoded::More);
                        }
                        Ok(httparse::Status::Partial) => return Err("the trailers are too large"),
                        Err(_) => return Err("the trailers are malformed"),
                    };
                    if has_bare_line_feed(&buffer[..length]) {
                        return Err("a line of the trailers ends in a bare line feed");
                    }
                    buffer.advance(length);
                    *self = Chunked::Done;
                    return Ok(Decoded::Trailers(trailers));
                }
                Chunked::Done => return Ok(Decoded::End),
            }
        }
    }

    /// Whether the buffer holds nothing but the end of the body, which is then taken: so that the last data can be
    /// passed on as the last.
    pub(crate) fn ends_here(&mut self, buffer: &mut BytesMut) -> bool {
        let ends = matches!(self, Chunked::DataEnd) && buffer[..] == *b"\r\n0\r\n\r\n";
        if ends {
            buffer.clear();
            *self = Chunked::Done;
        }
        ends
    }

    #[cfg(test)]
    fn is_done(&self) -> bool {
        matches!(self, Chunked::Done)
    }
}

fn line_end(buffer: &[u8], limit: usize) -> Result<Option<usize>, &'static str> {
    match buffer.iter().take(limit).position(|byte| *byte == b'\n') {
        Some(0) => Err("a chunk line ends in a bare line feed"),
        Some(at) if buffer[at - 1] != b'\r' => Err("a chunk line ends in a bare line feed"),
        Some(at) => Ok(Some(at - 1)),
        None if buffer.len() >= limit => Err("a chunk line is too long"),
        None => Ok(None),
    }
}

/// The parser takes it for the end of a line.
fn has_bare_line_feed(bytes: &[u8]) -> bool {
    let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    ends.into_iter()
        .any(|(at, _)| at == 0 || bytes[at - 1] != b'\r')
}

fn chunk_size(line: &[u8]) -> Result<u64, &'static str> {
    let digits = line
        .iter()
        .position(|byte| !byte.is_ascii_hexdigit())
        .unwrap_or(line.len());
    if digits == 0 || digits > 15 {
        return Err("a chunk size is malformed");
    }
    let blank = line[digits..]
        .iter()
        .take_while(|byte| matches!(**byte, b' ' | b'\t'));
    let rest = &line[digits + blank.count()..];
    if !(rest.is_empty() || rest[0] == b';') || rest.contains(&b'\r') {
        return Err("a chunk size is malformed");
    }
    Ok(line[..digits].iter().fold(0, |size, digit| {
        size << 4 | u64::from((*digit as char).to_digit(16).unwrap_or(0))
    }))
}

fn trailer_map(fields: &[httparse::Header<'_>]) -> Result<HeaderMap, &'static str> {
    let mut trailers = HeaderMap::with_capacity(fields.len());
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes())
            .map_err(|_| "a trailer's name is malformed")?;
        let value =
            HeaderValue::from_bytes(field.value).map_err(|_| "a trailer's value is malformed")?;
        if crate::proxy::headers::may_be_trailer(&name) {
            trailers.append(name, value);
        }
    }
    Ok(trailers)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds the bytes in pieces of one size; the body, or the error.
    fn decode(bytes: &[u8], piece: usize) -> Result<(Vec<u8>, HeaderMap, usize), &'static str> {
        let (mut buffer, mut chunked) = (BytesMut::new(), Chunked::Size);
        let (mut body, mut trailers) = (Vec::new(), HeaderMap::new());
        for piece in bytes.chunks(piece) {
            buffer.extend_from_slice(piece);
            loop {
                match chunked.decode(&mut buffer)? {
                    Decoded::Data(data) => body.extend_from_slice(&data),
                    Decoded::Trailers(map) => trailers = map,
                    Decoded::More | Decoded::End => break,
                }
            }
        }
        if chunked.is_done() {
            Ok((body, trailers, buffer.len()))
        } else {
            Err("not done")
        }
    }

    #[test]
    fn f5_chunks_are_decoded_however_they_are_cut() {
        let bytes = b"5\r\nhello\r\n6 ; name=value\r\n world\r\n00\r\nX-Sum: 11\r\nTransfer-Encoding: chunked\r\n\r\nrest";
        for piece in 1..bytes.len() {
            let (body, trailers, rest) = decode(bytes, piece).unwrap();
            assert_eq!(
                (body.as_slice(), trailers.len()),
                (&b"hello world"[..], 1),
                "{piece}"
            );
            assert_eq!(trailers["x-sum"], "11");
            assert!(rest <= 4);
        }
    }

    #[test]
    fn f5_what_could_be_read_in_two_ways_is_refused() {
        for bytes in [
            &b"5\nhello\r\n0\r\n\r\n"[..],
            b"5\r\nhelloX\r\n0\r\n\r\n",
            b"-5\r\nhello\r\n0\r\n\r\n",
            b"0x5\r\nhello\r\n0\r\n\r\n",
            b"\r\nhello\r\n0\r\n\r\n",
            b" 5\r\nhello\r\n0\r\n\r\n",
            b"5 5\r\nhello\r\n0\r\n\r\n",
            b"1234567890123456\r\n",
            b"5;a\rb\r\nhello\r\n0\r\n\r\n",
            b"0\r\nbad header\r\n\r\n",
            b"5\r\r\nhello\r\n0\r\n\r\n",
            b"5\x0c\r\nhello\r\n0\r\n\r\n",
            b"5\r\nhello\r\n0\r\n\n",
            b"5\r\nhello\r\n0\r\nx-sum: 1\n\r\n",
        ] {
            for piece in [1, 3, bytes.len()] {
                assert!(
                    decode(bytes, piece).is_err(),
                    "{:?}",
                    String::from_utf8_lossy(bytes)
                );
            }
        }
        assert!(decode(&[b'1'; 5_000], 100).is_err());
    }

    proptest::proptest! {
        /// However the bytes arrive, the reading is the same, and never a panic.
        #[test]
        fn f5_a_reading_does_not_depend_on_the_cuts(bytes in "[0-9a-f;\r\n xX-]{0,60}", piece in 1usize..20) {
            let whole = decode(bytes.as_bytes(), bytes.len().max(1));
            let cut = decode(bytes.as_bytes(), piece);
            proptest::prop_assert_eq!(whole.map(|(body, ..)| body), cut.map(|(body, ..)| body));
        }

        #[test]
        fn f5_what_is_coded_is_decoded(chunks in proptest::collection::vec(proptest::collection::vec(0u8.., 1..300), 0..10), piece in 1usize..50) {
            let mut coded = Vec::new();
            for chunk in &chunks {
                coded.extend(format!("{:X}\r\n", chunk.len()).as_bytes());
                coded.extend(chunk);
                coded.extend(b"\r\n");
            }
            coded.extend(b"0\r\n\r\n");
            proptest::prop_assert_eq!(decode(&coded, piece).map(|(body, ..)| body), Ok(chunks.concat()));
        }
    }
}
