//! The attacks, each as hard as its processor time allows: from many addresses of 127.0.0.0/8, or from one where that one's
//! limit is attacked. Those over HTTP/2 are in `attacks_http2`, those with what is too large in `attacks_sizes`.
//!
//! From a blank listener, which answers no request, no answer is waited for. `size` is how many connections an attack holds
//! or uses. What the other side says or does in return is counted by name, and told at the end.
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::sync::OnceLock;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::task::LocalSet;
use tokio::time::timeout;

use super::{Door, Outcome, attacks_http2, attacks_sizes};

/// Between two drops of a trickle.
pub const PAUSE: Duration = Duration::from_millis(500);
/// How often a slow reader takes a byte: longer than it is let.
const SIPS: u32 = 8;
/// Whoever is turned away comes back after it, from another address where it has several.
const BACK: Duration = Duration::from_millis(20);
/// More than any limit of a head.
const LARGE_HEAD: usize = 60_000;
/// More of them need most of an attack's time to come.
const MANY: u32 = 2_000;
/// Those that are here.
const KINDS: [&str; 13] = [
    "nobody",
    "slow-heads",
    "slow-bodies",
    "slow-readers",
    "large-heads",
    "connections",
    "hellos",
    "half-open",
    "too-many",
    "too-fast",
    "in-all",
    "open",
    "panic",
];

pub trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

/// What was done and what came back.
#[derive(Clone, Default)]
pub struct Done(Rc<Tally>);

#[derive(Default)]
struct Tally {
    connections: Cell<u64>,
    open: Cell<u64>,
    most_open: Cell<u64>,
    bytes: Cell<u64>,
    heard: RefCell<BTreeMap<String, u64>>,
}

impl Done {
    fn connected(&self) {
        self.0.connections.set(self.0.connections.get() + 1);
    }

    fn sent(&self, bytes: usize) {
        self.0.bytes.set(self.0.bytes.get() + bytes as u64);
    }

    pub fn heard(&self, what: &str) {
        *self.0.heard.borrow_mut().entry(what.into()).or_default() += 1;
    }

    /// Counts an attacker's connection as open until the guard is dropped.
    fn holds(&self) -> Held {
        let open = self.0.open.get() + 1;
        self.0.open.set(open);
        self.0.most_open.set(self.0.most_open.get().max(open));
        Held(self.clone())
    }

    fn told(&self) -> serde_json::Value {
        let tally = &self.0;
        serde_json::json!({
            "connections": tally.connections.get(),
            "most_open": tally.most_open.get(),
            "bytes": tally.bytes.get(),
            "heard": *tally.heard.borrow(),
        })
    }
}

struct Held(Done);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.0.open.set(self.0.0.open.get() - 1);
    }
}

/// One of several processes that attack together: it has the connections from `first` on, by steps.
#[derive(Clone, Copy)]
pub struct Part {
    pub size: u32,
    pub first: u32,
    pub step: u32,
}

pub async fn attack(kind: &str, door: Door, lasts: Duration, part: Part) -> Outcome {
    let known = [&KINDS[..], &attacks_http2::KINDS, &attacks_sizes::KINDS].concat();
    if !known.contains(&kind) {
        let known = known.join(", ");
        return Err(format!("attacks are {known}").into());
    }
    let (done, attackers) = (Done::default(), LocalSet::new());
    let mine = part.size / part.step;
    // All at once would be one packet of connects; and each of very many takes its time.
    let ramp = lasts.mul_f64(if mine > MANY { 0.9 } else { 0.2 });
    for number in 0..mine {
        let (door, kind, done) = (door.clone(), kind.to_owned(), done.clone());
        attackers.spawn_local(async move {
            tokio::time::sleep(ramp * number / mine).await;
            let mut from = part.first + number * part.step;
            loop {
                if once(&kind, &door, from, &done).await.is_err() {
                    done.heard("turned away");
                    tokio::time::sleep(BACK).await;
                }
                from = from.wrapping_add(part.size);
            }
        });
    }
    drop(timeout(lasts, attackers).await);
    println!("{}", done.told());
    Ok(())
}

async fn once(kind: &str, door: &Door, from: u32, done: &Done) -> io::Result<()> {
    let _held = done.holds();
    match kind {
        "connections" => {
            drop(door.plain(from).await?);
            done.connected();
            Ok(())
        }
        "too-fast" => {
            let stream = door.plain(from).await?;
            done.connected();
            // With a reset, so that one address does not run out of ports.
            SockRef::from(&stream).set_linger(Some(Duration::ZERO))
        }
        "hellos" => {
            // The first flight of a handshake, and gone.
            let mut stream = said_hello(door, from, done).await?;
            let mut piece = [0; 4096];
            if !door.blank {
                drop(timeout(Duration::from_secs(1), stream.read(&mut piece)).await);
            }
            Ok(())
        }
        "half-open" => {
            let mut stream = said_hello(door, from, done).await?;
            let mut piece = [0; 8192];
            if stream.read(&mut piece).await? > 0 {
                done.heard("hello answered");
                while stream.read(&mut piece).await? > 0 {}
            }
            Err(io::ErrorKind::ConnectionAborted.into())
        }
        "slow-heads" => {
            let mut stream = open(door, from, false, done).await?;
            let head = b"GET / HTTP/1.1\r\nHost: localhost\r\n";
            send(&mut *stream, head, done).await?;
            trickle(&mut *stream, b"X: y\r\n", done).await
        }
        "slow-bodies" => {
            let mut stream = open(door, from, false, done).await?;
            let head = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n";
            send(&mut *stream, head, done).await?;
            trickle(&mut *stream, b"x", done).await
        }
        "slow-readers" => {
            let mut stream = open(door, from, false, done).await?;
            let head = b"GET /10m HTTP/1.1\r\nHost: localhost\r\n\r\n";
            send(&mut *stream, head, done).await?;
            sip(&mut *stream, door.blank).await
        }
        "large-heads" => {
            let mut stream = open(door, from, false, done).await?;
            let mut head = b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ".to_vec();
            head.resize(LARGE_HEAD, b'a');
            // Refused before all of it was taken.
            let sent = send(&mut *stream, &head, done).await;
            match door.blank {
                true => sent,
                false => listen(&mut *stream, done).await,
            }
        }
        "too-many" | "in-all" | "open" => {
            let mut stream = open(door, from, false, done).await?;
            let ask = b"GET /1k HTTP/1.1\r\nHost: localhost\r\n\r\n";
            send(&mut *stream, ask, done).await?;
            listen(&mut *stream, done).await?;
            Err(io::ErrorKind::ConnectionAborted.into())
        }
        "panic" => {
            let mut stream = open(door, from, false, done).await?;
            let head = b"GET /1k HTTP/1.1\r\nHost: localhost\r\nX-Freehold-Test-Panic: 1\r\n\r\n";
            send(&mut *stream, head, done).await?;
            match door.blank {
                true => Ok(()),
                // The edge ends the connection, too.
                false => listen(&mut *stream, done).await,
            }
        }
        sized if attacks_sizes::KINDS.contains(&sized) => {
            attacks_sizes::once(sized, door, from, done).await
        }
        over_http2 => {
            let mut stream = open(door, from, true, done).await?;
            attacks_http2::once(over_http2, &mut *stream, from, door.blank, done).await
        }
    }
}

/// A drop again and again, until the other side has enough.
async fn trickle(stream: &mut dyn Stream, drop: &[u8], done: &Done) -> io::Result<()> {
    let mut piece = [0; 4096];
    loop {
        send(stream, drop, done).await?;
        match timeout(PAUSE, stream.read(&mut piece)).await {
            Ok(Ok(count @ 1..)) => status(&piece[..count], done),
            Ok(_) => return Err(io::ErrorKind::ConnectionAborted.into()),
            Err(_) => {}
        }
    }
}

/// Takes a byte now and then, of what has been received long since, so that the end is not seen; then tries anew.
pub async fn sip(stream: &mut dyn Stream, blank: bool) -> io::Result<()> {
    let mut byte = [0];
    for _ in 0..SIPS {
        tokio::time::sleep(PAUSE).await;
        if !blank && stream.read(&mut byte).await? == 0 {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
    }
    Ok(())
}

/// Reads to the end, and counts the answers.
pub async fn listen(stream: &mut dyn Stream, done: &Done) -> io::Result<()> {
    let mut piece = [0; 4096];
    loop {
        match stream.read(&mut piece).await? {
            0 => return Ok(()),
            count => status(&piece[..count], done),
        }
    }
}

pub fn status(piece: &[u8], done: &Done) {
    if let Some(answer) = piece.strip_prefix(b"HTTP/1.1 ")
        && let Some(code) = answer.first_chunk::<3>()
    {
        done.heard(&String::from_utf8_lossy(code));
    }
}

async fn said_hello(door: &Door, from: u32, done: &Done) -> io::Result<tokio::net::TcpStream> {
    let mut stream = door.plain(from).await?;
    done.connected();
    let hello = hello();
    stream.write_all(hello).await?;
    done.sent(hello.len());
    Ok(stream)
}

/// A ClientHello as rustls writes it; the same one always, as an attacker would spare himself the keys.
fn hello() -> &'static [u8] {
    static HELLO: OnceLock<Vec<u8>> = OnceLock::new();
    HELLO.get_or_init(|| {
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
    })
}

pub async fn open(door: &Door, from: u32, http2: bool, done: &Done) -> io::Result<Box<dyn Stream>> {
    let stream = Box::new(door.tls(from, http2).await?);
    done.connected();
    Ok(stream)
}

pub async fn send(stream: &mut dyn Stream, bytes: &[u8], done: &Done) -> io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await?;
    done.sent(bytes.len());
    Ok(())
}
