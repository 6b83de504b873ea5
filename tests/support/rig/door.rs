//! The way in: connections to one address under one name, over TLS or plain, and the requests that go over them.
//!
//! Each connection is made and kept by hand over hyper's own: nothing here connects, retries or reconnects unasked.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::goodbyes::{Goodbyes, Heard};

pub type Body = UnsyncBoxBody<Bytes, Infallible>;

/// A connection that was idle for longer is ours to close: well below the edge's own limit, so that the two never meet.
const IDLE: Duration = Duration::from_secs(20);
/// So many HTTP/2 connections share the requests.
const SHARED: usize = 3;

/// Where requests go. Clones are the same door.
#[derive(Clone)]
pub struct Door {
    pub address: SocketAddr,
    pub name: String,
    /// None: plain; HTTP/2 as one who knows that it is spoken there.
    pub tls: Option<rustls::ClientConfig>,
}

enum Wire {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// What holds the connections of a run; lives on one thread.
pub struct Connections {
    door: Door,
    idle: RefCell<Vec<(http1::SendRequest<Body>, Instant)>>,
    shared: [tokio::sync::Mutex<Option<Shared>>; SHARED],
    pub closed_while_idle: Cell<u64>,
    /// Requests that were never written, because their connection had been told to end (GOAWAY) when they came to it: each
    /// went over a new one, as RFC 9113 section 6.8 has every client do.
    pub moved: Cell<u64>,
    pub goodbyes: Goodbyes,
    made: Cell<u64>,
}

/// One of the connections that requests share; its number is no other's.
#[derive(Clone)]
pub struct Shared {
    pub sender: http2::SendRequest<Body>,
    number: u64,
}

/// One connection of HTTP/1.1, which takes one request at a time.
pub struct One(http1::SendRequest<Body>);

impl Connections {
    pub fn new(door: Door) -> Self {
        Self {
            door,
            idle: RefCell::default(),
            shared: std::array::from_fn(|_| tokio::sync::Mutex::new(None)),
            closed_while_idle: Cell::new(0),
            moved: Cell::new(0),
            goodbyes: Goodbyes::default(),
            made: Cell::new(0),
        }
    }

    pub fn name(&self) -> &str {
        &self.door.name
    }

    async fn wire(&self, protocol: &str) -> io::Result<Wire> {
        let stream = TcpStream::connect(self.door.address).await?;
        stream.set_nodelay(true)?;
        let Some(tls) = &self.door.tls else {
            return Ok(Wire::Plain(stream));
        };
        let mut tls = tls.clone();
        tls.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        let name = ServerName::try_from(self.door.name.clone()).map_err(io::Error::other)?;
        let stream = TlsConnector::from(Arc::new(tls))
            .connect(name, stream)
            .await?;
        Ok(Wire::Tls(Box::new(stream)))
    }

    /// A connection of one's own.
    pub async fn fresh(&self) -> io::Result<One> {
        let sender = match self.wire("http/1.1").await? {
            Wire::Plain(stream) => over(stream).await?,
            Wire::Tls(stream) => over(stream).await?,
        };
        Ok(One(sender))
    }

    /// One that had requests before, if there is one: the newest, so that the others grow old. And whether it is one.
    pub async fn kept(&self) -> (io::Result<One>, bool) {
        loop {
            let Some((sender, since)) = self.idle.borrow_mut().pop() else {
                return (self.fresh().await, false);
            };
            if sender.is_closed() {
                self.found_closed();
            } else if since.elapsed() < IDLE {
                return (Ok(One(sender)), true);
            }
        }
    }

    /// One that was kept had been closed when a request came to it.
    pub fn found_closed(&self) {
        self.closed_while_idle.set(self.closed_while_idle.get() + 1);
    }

    /// Keeps a connection for the next request, unless either side is done with it.
    pub async fn keep(&self, mut one: One) {
        if one.0.ready().await.is_ok() {
            self.idle.borrow_mut().push((one.0, Instant::now()));
        }
    }

    /// A place on one of the shared connections; a new one is made where the last took its leave.
    pub async fn shared(&self, number: u64) -> io::Result<Shared> {
        let mut held = self.slot(number).lock().await;
        if let Some(shared) = held.as_ref() {
            if !shared.sender.is_closed() {
                return Ok(shared.clone());
            }
            self.closed_while_idle.set(self.closed_while_idle.get() + 1);
        }
        let goodbyes = self.goodbyes.clone();
        let sender = match self.wire("h2").await? {
            Wire::Plain(stream) => among_others(stream, goodbyes).await?,
            Wire::Tls(stream) => among_others(stream, goodbyes).await?,
        };
        self.made.set(self.made.get() + 1);
        let shared = Shared {
            sender,
            number: self.made.get(),
        };
        *held = Some(shared.clone());
        Ok(shared)
    }

    /// A request came to this one and was never written: the next ones go over another.
    pub async fn moves(&self, number: u64, from: &Shared) {
        self.moved.set(self.moved.get() + 1);
        let mut held = self.slot(number).lock().await;
        if held.as_ref().is_some_and(|held| held.number == from.number) {
            *held = None;
        }
    }

    fn slot(&self, number: u64) -> &tokio::sync::Mutex<Option<Shared>> {
        &self.shared[usize::try_from(number).unwrap_or(0) % SHARED]
    }
}

async fn over<S>(stream: S) -> io::Result<http1::SendRequest<Body>>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    tokio::spawn(connection.with_upgrades());
    Ok(sender)
}

async fn among_others<S>(stream: S, goodbyes: Goodbyes) -> io::Result<http2::SendRequest<Body>>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let stream = TokioIo::new(Heard::new(stream, goodbyes));
    let (sender, connection) = http2::handshake(TokioExecutor::new(), stream)
        .await
        .map_err(io::Error::other)?;
    // What ends it is told to each of its requests.
    tokio::spawn(connection);
    Ok(sender)
}

impl One {
    /// # Errors
    /// Hyper's, as they are.
    pub async fn send(&mut self, request: Request<Body>) -> hyper::Result<Response<Incoming>> {
        self.0.ready().await?;
        self.0.send_request(request).await
    }
}
