//! The attacks, each as hard as its processor time allows, from many addresses of 127.1.0.0/16.
//!
//! From a blank listener, which answers no request, no answer is waited for. `size` is how many connections an attack holds
//! or uses.
use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::task::LocalSet;

use super::{Door, Outcome};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// `:method GET, :scheme https, :path /1k, :authority localhost` in HPACK.
const FIELDS: &[u8] = b"\x82\x87\x04\x03/1k\x01\x09localhost";
const FLOOD_PIECE: usize = 32 * 1024;

trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

/// How many connections were made and bytes sent.
#[derive(Clone, Default)]
struct Done(Rc<(Cell<u64>, Cell<u64>)>);

impl Done {
    fn connected(&self) {
        self.0.0.set(self.0.0.get() + 1);
    }

    fn sent(&self, bytes: usize) {
        self.0.1.set(self.0.1.get() + bytes as u64);
    }
}

pub async fn attack(kind: &str, door: Door, lasts: Duration, size: u32) -> Outcome {
    let done = Done::default();
    let known = [
        "slow-heads",
        "slow-bodies",
        "slow-readers",
        "connections",
        "hellos",
        "handshakes",
        "open",
        "rapid-reset",
        "continuation",
        "settings",
        "ping",
        "window-update",
        "empty-data",
        "priority",
        "panic",
    ];
    if !known.contains(&kind) {
        return Err(format!("attacks are {}", known.join(", ")).into());
    }
    let attackers = LocalSet::new();
    for number in 0..size {
        let (door, kind, done) = (door.clone(), kind.to_owned(), done.clone());
        attackers.spawn_local(async move {
            // All at once would be one packet of connects.
            tokio::time::sleep(lasts.mul_f64(0.2) * number / size).await;
            let mut from = number;
            loop {
                if once(&kind, &door, from, &done).await.is_err() {
                    // Whoever is turned away comes back, from another address.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                from += size;
            }
        });
    }
    drop(tokio::time::timeout(lasts, attackers).await);
    let (connections, bytes) = (done.0.0.get(), done.0.1.get());
    println!(
        "{}",
        serde_json::json!({"connections": connections, "bytes": bytes})
    );
    Ok(())
}

async fn once(kind: &str, door: &Door, from: u32, done: &Done) -> io::Result<()> {
    match kind {
        "connections" => {
            drop(door.plain(from).await?);
            done.connected();
            Ok(())
        }
        "hellos" => {
            // The first flight of a handshake, and gone.
            let mut stream = door.plain(from).await?;
            done.connected();
            stream.write_all(&hello()).await?;
            let mut piece = [0; 4096];
            if !door.blank {
                drop(tokio::time::timeout(Duration::from_secs(1), stream.read(&mut piece)).await);
            }
            Ok(())
        }
        "slow-heads" => {
            let mut stream = open(door, from, false, done).await?;
            send(&mut *stream, b"GET / HTTP/1.1\r\nHost: localhost\r\n", done).await?;
            loop {
                send(&mut *stream, b"X: y\r\n", done).await?;
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }
        "slow-bodies" => {
            let mut stream = open(door, from, false, done).await?;
            let head = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n";
            send(&mut *stream, head, done).await?;
            loop {
                send(&mut *stream, b"x", done).await?;
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }
        "slow-readers" => {
            let mut stream = open(door, from, false, done).await?;
            let head = b"GET /10m HTTP/1.1\r\nHost: localhost\r\n\r\n";
            send(&mut *stream, head, done).await?;
            let mut byte = [0];
            loop {
                tokio::time::sleep(Duration::from_millis(500)).await;
                if !door.blank && stream.read(&mut byte).await? == 0 {
                    return Ok(());
                }
            }
        }
        "open" => {
            let mut stream = open(door, from, false, done).await?;
            send(
                &mut *stream,
                b"GET /1k HTTP/1.1\r\nHost: localhost\r\n\r\n",
                done,
            )
            .await?;
            let mut piece = [0; 4096];
            loop {
                if stream.read(&mut piece).await? == 0 {
                    return Ok(());
                }
            }
        }
        "handshakes" => {
            drop(open(door, from, true, done).await?);
            Ok(())
        }
        "panic" => {
            let mut stream = open(door, from, false, done).await?;
            let head = b"GET /1k HTTP/1.1\r\nHost: localhost\r\nX-Freehold-Test-Panic: 1\r\n\r\n";
            let mut piece = [0; 4096];
            loop {
                send(&mut *stream, head, done).await?;
                if door.blank {
                    // The edge ends the connection, too.
                    return Ok(());
                }
                if stream.read(&mut piece).await? == 0 {
                    return Ok(());
                }
            }
        }
        flood => {
            let mut stream = open(door, from, true, done).await?;
            send(&mut *stream, PREFACE, done).await?;
            flooded(flood, &mut *stream, door.blank, done).await
        }
    }
}

/// Frames of one kind without end; what comes back is read and forgotten.
async fn flooded(kind: &str, stream: &mut dyn Stream, blank: bool, done: &Done) -> io::Result<()> {
    let (mut next, begun) = (1, Instant::now());
    if kind == "continuation" {
        send(stream, &frame(1, 0x1, 1, FIELDS), done).await?;
    }
    if kind == "empty-data" {
        let post = [&b"\x83"[..], &FIELDS[1..]].concat();
        send(stream, &frame(1, 0x4, 1, &post), done).await?;
    }
    loop {
        let mut piece = Vec::with_capacity(FLOOD_PIECE + 64);
        while piece.len() < FLOOD_PIECE {
            match kind {
                "rapid-reset" => {
                    piece.extend(frame(1, 0x5, next, FIELDS));
                    piece.extend(frame(3, 0, next, &8u32.to_be_bytes()));
                    next += 2;
                }
                "continuation" => piece.extend(frame(9, 0, 1, b"\x40\x01a\x01b")),
                "settings" => piece.extend(frame(4, 0, 0, b"\0\x03\0\0\0\x64")),
                "ping" => piece.extend(frame(6, 0, 0, &[7; 8])),
                "window-update" => piece.extend(frame(8, 0, 0, &1u32.to_be_bytes())),
                "empty-data" => piece.extend(frame(0, 0, 1, b"")),
                _ => piece.extend(frame(2, 0, 1, &[0, 0, 0, 0, 16])),
            }
            if next > 1_000_000_000 {
                return Ok(());
            }
        }
        send(stream, &piece, done).await?;
        let mut answer = [0; 16 * 1024];
        let reading = stream.read(&mut answer);
        if !blank
            && matches!(
                tokio::time::timeout(Duration::ZERO, reading).await,
                Ok(Ok(0) | Err(_))
            )
        {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        if begun.elapsed() > Duration::from_secs(60) {
            return Ok(());
        }
        tokio::task::yield_now().await;
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A ClientHello as rustls writes it.
fn hello() -> Vec<u8> {
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let built = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map(|config| {
            config
                .with_root_certificates(rustls::RootCertStore::empty())
                .with_no_client_auth()
        });
    let mut bytes = Vec::new();
    if let (Ok(config), Ok(name)) = (built, super::NAME.try_into())
        && let Ok(mut client) = rustls::ClientConnection::new(std::sync::Arc::new(config), name)
        && client.write_tls(&mut bytes).is_ok()
    {
        return bytes;
    }
    bytes
}

async fn open(door: &Door, from: u32, http2: bool, done: &Done) -> io::Result<Box<dyn Stream>> {
    let stream = Box::new(door.tls(from, http2).await?);
    done.connected();
    Ok(stream)
}

async fn send(stream: &mut dyn Stream, bytes: &[u8], done: &Done) -> io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await?;
    done.sent(bytes.len());
    Ok(())
}
