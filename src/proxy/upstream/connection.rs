//! One connection to a target, with the bytes read ahead of their use.
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_util::io::poll_read_buf;

use super::timer::Timer;
use crate::proxy::listener;
use crate::proxy::target::Address;

/// Room asked for before a read; grows with what the body turns out to be.
const READ: usize = 8 * 1024;
const READ_BODY: usize = 64 * 1024;
/// A target that takes a connect in this time is on this box or beside it, and needs no window for what is on the way.
const NEAR: Duration = Duration::from_millis(5);
/// In this, on this one.
const ON_THIS_BOX: Duration = Duration::from_millis(1);
/// What the system holds of what the target takes slowly, and of what is not read of its answer (it takes that twice); its own
/// measure goes to 6 MB and more. The less of an answer waits here, the less work is done for whoever does not take it.
const HELD: usize = 256 * 1024;
const UNREAD: usize = 64 * 1024;
/// When a target elsewhere that says nothing is asked whether it is still there, and how often: what is open and quiet, such as a
/// WebSocket, would else outlive a server that lost its power.
const QUIET: Duration = Duration::from_secs(60);
const ASKED_EVERY: Duration = Duration::from_secs(15);
const ASKED: u32 = 4;

pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

pub(crate) struct Connection {
    stream: Stream,
    pub(crate) read: BytesMut,
    /// Since when the connection lies in the pool; its birth before that.
    pub(crate) idle_since: Instant,
    /// Whether it has served a request before: then it may have been closed behind our back.
    pub(crate) reused: bool,
    written: u64,
    /// Of all its requests, one after the other.
    pub(super) timer: Timer,
}

impl Connection {
    /// Ends it without a word, and without keeping its port.
    pub(crate) fn reset(self) {
        if let Stream::Tcp(stream) = &self.stream {
            listener::reset(stream);
        }
    }
}

/// Opens a connection; an error is the address's, none of it was sent.
pub(crate) async fn connect(address: &Address, limit: Duration) -> io::Result<Connection> {
    let opening = async {
        io::Result::Ok(match address {
            Address::Tcp(address) => {
                let asked = Instant::now();
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                let took = asked.elapsed();
                if took < NEAR {
                    hold_little(&stream, took);
                }
                if !address.ip().is_loopback() {
                    keep_in_touch(&stream);
                }
                Stream::Tcp(stream)
            }
            Address::Unix(path) => Stream::Unix(UnixStream::connect(path).await?),
        })
    };
    let stream = match tokio::time::timeout(limit, opening).await {
        Ok(opened) => opened?,
        Err(_) => {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("no answer to the connect within {} ms", limit.as_millis()),
            ));
        }
    };
    Ok(Connection::over(stream))
}

/// Where the system does not let us, it goes by its own measure.
fn hold_little(stream: &TcpStream, took: Duration) {
    let socket = SockRef::from(stream);
    let unread = if took < ON_THIS_BOX { UNREAD } else { HELD };
    socket.set_recv_buffer_size(unread).ok();
    socket.set_tcp_notsent_lowat(HELD as u32).ok();
}

/// Where the system does not let us, an end is noticed by who writes.
fn keep_in_touch(stream: &TcpStream) {
    let times = TcpKeepalive::new()
        .with_time(QUIET)
        .with_interval(ASKED_EVERY)
        .with_retries(ASKED);
    SockRef::from(stream).set_tcp_keepalive(&times).ok();
}

impl Connection {
    /// One that has just been opened.
    pub(super) fn over(stream: Stream) -> Connection {
        Connection {
            stream,
            read: BytesMut::new(),
            idle_since: Instant::now(),
            reused: false,
            written: 0,
            timer: Timer::default(),
        }
    }

    /// Bytes written since `begin`.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    pub(crate) fn begin(&mut self) {
        self.written = 0;
    }

    /// Reads more into `read`; 0 is the end.
    pub(crate) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        in_body: bool,
    ) -> Poll<io::Result<usize>> {
        let free = self.read.capacity() - self.read.len();
        if free < READ / 2 {
            self.read.reserve(if in_body { READ_BODY } else { READ });
        }
        poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.read)
    }

    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let stream = Pin::new(&mut self.stream);
        let written = match slices {
            [one] => stream.poll_write(cx, one),
            _ => stream.poll_write_vectored(cx, slices),
        };
        match written {
            Poll::Ready(Ok(0)) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            Poll::Ready(Ok(count)) => {
                self.written += count as u64;
                Poll::Ready(Ok(count))
            }
            other => other,
        }
    }

    /// Whether an idle connection was closed or spoken to since: either way it is of no use. No system call when quiet.
    pub(crate) fn is_stale(&mut self) -> bool {
        let mut byte = [0];
        let mut buffer = ReadBuf::new(&mut byte);
        let mut cx = Context::from_waker(Waker::noop());
        !self.read.is_empty()
            || Pin::new(&mut self.stream)
                .poll_read(&mut cx, &mut buffer)
                .is_ready()
    }

    /// The bare stream and what was already read from it, for a tunnel.
    pub(crate) fn into_parts(self) -> (Stream, BytesMut) {
        (self.stream, self.read)
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Stream::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
