//! Frames of HTTP/2 by hand, so that what no library would send can be sent: written, and read back far enough.
use std::collections::BTreeMap;

use tokio::io::{AsyncRead, AsyncReadExt};

/// The largest frame that is taken without asking.
const LARGEST: usize = 16_384;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RESET: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

/// What a connection begins with.
pub fn preface() -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(SETTINGS, 0, 0, &[]));
    bytes
}

/// A frame as a row of the table has it: `HEADERS 1 es eh *2`, then names and values, or a payload. `*2` sends it twice,
/// the second time, where it is `HEADERS`, on the next stream. The highest stream comes with it.
pub fn written(words: &str, rest: &[Vec<u8>]) -> (Vec<u8>, u32) {
    let words: Vec<&str> = words.split(' ').collect();
    let stream: u32 = words[1].parse().unwrap();
    let has = |flag: &str, bit: u8| if words.contains(&flag) { bit } else { 0 };
    let times = words.iter().find_map(|word| word.strip_prefix('*'));
    let times: u32 = times.map_or(1, |times| times.parse().unwrap());
    let (mut bytes, mut highest) = (Vec::new(), stream);
    for turn in 0..times {
        match words[0] {
            "HEADERS" => {
                highest = stream + 2 * turn;
                let flags = (has("es", END_STREAM), has("eh", END_HEADERS));
                bytes.extend(headers(highest, flags, &block(rest)));
            }
            "CONTINUATION" => {
                let flags = has("eh", END_HEADERS);
                bytes.extend(frame(CONTINUATION, flags, stream, &block(rest)));
            }
            kind => {
                let kind = match kind {
                    "DATA" => DATA,
                    "SETTINGS" => SETTINGS,
                    "PING" => PING,
                    kind => kind.parse().unwrap(),
                };
                bytes.extend(frame(kind, has("es", END_STREAM), stream, &rest.concat()));
            }
        }
    }
    (bytes, highest)
}

/// A whole request without a body, or the beginning of one with a body.
pub fn request(stream: u32, method: &str, path: &str, end: bool) -> Vec<u8> {
    let fields = [
        ":method",
        method,
        ":scheme",
        "https",
        ":authority",
        "tasks.test",
        ":path",
        path,
    ];
    let fields = fields.map(|text| text.as_bytes().to_vec());
    let end = if end { END_STREAM } else { 0 };
    headers(stream, (end, END_HEADERS), &block(&fields))
}

/// `HEADERS`, and `CONTINUATION` for what does not fit.
fn headers(stream: u32, (end, whole): (u8, u8), block: &[u8]) -> Vec<u8> {
    let pieces: Vec<&[u8]> = match block.is_empty() {
        true => vec![block],
        false => block.chunks(LARGEST).collect(),
    };
    let mut bytes = Vec::new();
    for (number, piece) in pieces.iter().enumerate() {
        let (kind, first) = match number {
            0 => (HEADERS, end),
            _ => (CONTINUATION, 0),
        };
        let last = if number + 1 == pieces.len() { whole } else { 0 };
        bytes.extend(frame(kind, first | last, stream, piece));
    }
    bytes
}

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Names and values in turn, each as a literal without an index (RFC 7541, 6.2.2), in no Huffman code.
fn block(fields: &[Vec<u8>]) -> Vec<u8> {
    let mut block = Vec::new();
    for pair in fields.chunks(2) {
        block.push(0);
        for text in pair {
            // A number with a prefix of seven bits (5.1).
            let mut left = text.len();
            if left < 127 {
                block.push(left as u8);
            } else {
                block.push(127);
                left -= 127;
                while left >= 128 {
                    block.push((left % 128) as u8 | 128);
                    left /= 128;
                }
                block.push(left as u8);
            }
            block.extend(text);
        }
    }
    block
}

/// What became of a stream.
#[derive(Debug, Default)]
pub struct Told {
    /// `200`, `reset PROTOCOL_ERROR`; empty if nothing was said.
    pub answer: String,
    pub body: Vec<u8>,
    pub ended: bool,
}

/// What the other side said on a connection.
#[derive(Debug, Default)]
pub struct Heard {
    pub streams: BTreeMap<u32, Told>,
    /// `PROTOCOL_ERROR`, if it was ended with a reason.
    pub goaway: Option<String>,
    pub closed: bool,
    /// Answers to our PINGs.
    pub pongs: u32,
}

impl Heard {
    /// Reads the next frame, if one comes.
    pub async fn read(&mut self, stream: &mut (impl AsyncRead + Unpin)) {
        let mut head = [0; 9];
        if stream.read_exact(&mut head).await.is_err() {
            self.closed = true;
            return;
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let mut payload = vec![0; length];
        if stream.read_exact(&mut payload).await.is_err() {
            self.closed = true;
            return;
        }
        let code = |at: usize| {
            let bytes = payload[at..at + 4].try_into().unwrap();
            NAMES[u32::from_be_bytes(bytes) as usize].to_owned()
        };
        match head[3] {
            GOAWAY if code(4) != "NO_ERROR" => self.goaway = Some(code(4)),
            PING if head[4] & ACK != 0 => self.pongs += 1,
            RESET => {
                let told = self.streams.entry(id).or_default();
                // After an answer it only says that no more of the body is wanted.
                if !(told.ended && code(0) == "NO_ERROR") {
                    told.answer = format!("reset {}", code(0));
                }
                told.ended = true;
            }
            kind @ (HEADERS | DATA) => {
                let told = self.streams.entry(id).or_default();
                match kind {
                    HEADERS if told.answer.is_empty() => told.answer = status(&payload),
                    HEADERS => {}
                    _ => told.body.extend(&payload),
                }
                told.ended |= head[4] & END_STREAM != 0;
            }
            _ => {}
        }
    }
}

/// RFC 9113, 7.
const NAMES: [&str; 14] = [
    "NO_ERROR",
    "PROTOCOL_ERROR",
    "INTERNAL_ERROR",
    "FLOW_CONTROL_ERROR",
    "SETTINGS_TIMEOUT",
    "STREAM_CLOSED",
    "FRAME_SIZE_ERROR",
    "REFUSED_STREAM",
    "CANCEL",
    "COMPRESSION_ERROR",
    "CONNECT_ERROR",
    "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY",
    "HTTP_1_1_REQUIRED",
];

/// The status that a block of fields begins with: one of the static table, or a literal under that name.
fn status(block: &[u8]) -> String {
    match block {
        [0x88, ..] => "200".into(),
        [0x8c, ..] => "400".into(),
        [0x8d, ..] => "404".into(),
        [0x48 | 0x08, 0x03, digits @ ..] => String::from_utf8_lossy(&digits[..3]).into_owned(),
        [0x48 | 0x08, length, digits @ ..] if length & 0x80 != 0 => {
            let bits: Vec<bool> = digits
                .iter()
                .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1))
                .collect();
            huffman_digits(&bits)
        }
        other => panic!("no status in {other:?}"),
    }
}

/// Three digits in Huffman code (RFC 7541, B): 0 to 2 have five bits, the others six from 25 on.
fn huffman_digits(mut bits: &[bool]) -> String {
    let number = |bits: &[bool]| bits.iter().fold(0, |sum, bit| sum * 2 + u32::from(*bit));
    let mut text = String::new();
    while text.len() < 3 {
        let (digit, length) = match number(&bits[..5]) {
            digit @ 0..=2 => (digit, 5),
            _ => (number(&bits[..6]) - 22, 6),
        };
        text.push(char::from_digit(digit, 10).unwrap());
        bits = &bits[length..];
    }
    text
}
