//! Attacks with what is larger than it may be, and connections that do nothing between two requests.
use std::io;

use super::Door;
use super::attacks::{Done, PAUSE, Stream, listen, open, send, status};
use super::attacks_http2::{
    DATA, END_HEADERS, END_STREAM, Ear, HEADERS, LIVES, asked, fields, frame, literal, preface,
};
use tokio::io::AsyncReadExt;

pub const KINDS: [&str; 8] = [
    "large-bodies",
    "large-bodies-chunked",
    "large-bodies-h2",
    "large-bodies-h2-unsaid",
    "long-uris",
    "long-uris-h2",
    "idle",
    "idle-h2",
];

/// Of a body, which may have 50 KB where this attacks, and how many of them are more than that, but no more than a stream of
/// HTTP/2 takes from whom does not listen to its settings.
const PIECE: usize = 12 * 1024;
const PIECES: usize = 5;
/// What a length says that nobody means to send.
const SAID: &str = "200000000";
/// Bodies on a connection of HTTP/2: less than its window takes, so that none waits for it to grow.
const BODIES: u32 = 4;
/// More than an address may have.
const LONG_URI: usize = 9_000;

/// One connection's worth of an attack; an error where the other side ended it.
pub async fn once(kind: &str, door: &Door, from: u32, done: &Done) -> io::Result<()> {
    let mut stream = open(door, from, kind.contains("-h2"), done).await?;
    let stream = &mut *stream;
    match kind {
        "large-bodies" | "large-bodies-chunked" => {
            let chunked = kind == "large-bodies-chunked";
            body(stream, chunked, done).await.or_else(refused_midway)?;
            match door.blank {
                true => Ok(()),
                // The edge ends the connection, too.
                false => listen(stream, done).await,
            }
        }
        "large-bodies-h2" | "large-bodies-h2-unsaid" => {
            let unsaid = kind == "large-bodies-h2-unsaid";
            send(stream, &preface(&[]), done).await?;
            let mut ear = Ear::default();
            for number in 0..BODIES {
                let id = 2 * number + 1;
                send(stream, &body_http2(id, unsaid), done).await?;
                while !door.blank && ear.hear(stream, LIVES, done).await?.is_empty() {}
            }
            Ok(())
        }
        "long-uris" => {
            let path = "a".repeat(LONG_URI);
            let head = format!("GET /{path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
            let mut piece = [0; 16 * 1024];
            loop {
                send(stream, head.as_bytes(), done).await?;
                if door.blank {
                    continue;
                }
                match stream.read(&mut piece).await? {
                    0 => return Ok(()),
                    count => status(&piece[..count], done),
                }
            }
        }
        "long-uris-h2" => {
            let mut block = vec![0x82, 0x87, 0x04];
            block.extend(literal(LONG_URI));
            block.extend(b"\x01\x09localhost");
            let mut ear = Ear::default();
            send(stream, &preface(&[]), done).await?;
            for number in 0.. {
                let ask = frame(HEADERS, END_STREAM | END_HEADERS, 2 * number + 1, &block);
                send(stream, &ask, done).await?;
                while !door.blank && ear.hear(stream, LIVES, done).await?.is_empty() {}
            }
            Ok(())
        }
        "idle-h2" => {
            let mut ear = Ear::default();
            let ask = [preface(&[]), asked(1, "/1k")].concat();
            send(stream, &ask, done).await?;
            loop {
                ear.hear(stream, PAUSE, done).await?;
            }
        }
        // Idle: until the other side ends it.
        _ => {
            let ask = b"GET /1k HTTP/1.1\r\nHost: localhost\r\n\r\n";
            send(stream, ask, done).await?;
            listen(stream, done).await?;
            done.heard("end");
            Err(io::ErrorKind::ConnectionAborted.into())
        }
    }
}

/// A body of which the first bytes say that it is too large, or of which the last do.
async fn body(stream: &mut dyn Stream, chunked: bool, done: &Done) -> io::Result<()> {
    let framing = match chunked {
        true => "Transfer-Encoding: chunked".into(),
        false => format!("Content-Length: {SAID}"),
    };
    let head = format!("POST / HTTP/1.1\r\nHost: localhost\r\n{framing}\r\n\r\n");
    send(stream, head.as_bytes(), done).await?;
    let mut piece = Vec::new();
    if chunked {
        piece.extend(format!("{PIECE:x}\r\n").as_bytes());
    }
    piece.resize(piece.len() + PIECE, b'x');
    if chunked {
        piece.extend(b"\r\n");
    }
    for _ in 0..PIECES {
        send(stream, &piece, done).await?;
    }
    Ok(())
}

/// What was answered before all of it was sent is there to be read.
fn refused_midway(error: io::Error) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Ok(()),
        _ => Err(error),
    }
}

fn body_http2(stream: u32, unsaid: bool) -> Vec<u8> {
    let mut block = fields(0x83, "/");
    if !unsaid {
        // content-length, from the static table.
        block.extend([0x0f, 0x0d, SAID.len() as u8]);
        block.extend(SAID.as_bytes());
    }
    let mut bytes = frame(HEADERS, END_HEADERS, stream, &block);
    for _ in 0..if unsaid { PIECES } else { 1 } {
        bytes.extend(frame(DATA, 0, stream, &[b'x'; PIECE]));
    }
    bytes
}
