//! Tunnel: what a connection becomes after a 101, or a stream of HTTP/2: bytes both ways until both sides have ended.
//!
//! The claim is kept for all that time. A WebSocket that has to end (drain, restart) is closed between two frames with
//! code 1012, "service restart", so that its client comes back instead of waiting; other protocols are just closed.
//! One that stands still is left alone for ever, unless somebody does not take what is there for it, or only one side is
//! left of it (`tunnel_watch`).
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::task::spawn_local;
use tokio::time::timeout;
use tokio_util::io::poll_read_buf;

use super::access_log::Ending;
use super::client::{Client, Phase};
use super::client_io::Wire;
use super::exchange::Exchange;
use super::meter::AtLimit;
use super::target::Target;
use super::tunnel_watch::TunnelWatch;
use super::upstream::Connection;
use super::ws_frames::Frames;

const PIECE: usize = 16 * 1024;
/// How long the frame that is on its way, and our last one, may take when a tunnel ends.
const FAREWELL: Duration = Duration::from_secs(1);
/// An unmasked close frame with code 1012.
const SERVICE_RESTART: [u8; 4] = [0x88, 2, 0x03, 0xf4];

pub(super) struct Tunnel {
    connection: Connection,
    target: Arc<Target>,
    is_websocket: bool,
    /// Of HTTP/2, once its answer is out.
    stream: Option<OnUpgrade>,
    exchange: Option<Exchange>,
}

impl Tunnel {
    pub(super) fn new(
        connection: Connection,
        target: Arc<Target>,
        is_websocket: bool,
        stream: Option<OnUpgrade>,
    ) -> Tunnel {
        Tunnel {
            connection,
            target,
            is_websocket,
            stream,
            exchange: None,
        }
    }

    /// The exchange ends with the tunnel. Over HTTP/1.1 the connection becomes it once the 101 is out; over HTTP/2 a stream
    /// does, in a task of its own, which ends with the connection if not before.
    pub(super) fn begins(mut self: Box<Self>, exchange: Exchange) {
        let client = exchange.client.clone();
        self.exchange = Some(exchange);
        let Some(stream) = self.stream.take() else {
            client.tunnel.replace(Some(self));
            return;
        };
        spawn_local(async move {
            match stream.await {
                Ok(stream) => {
                    let io = TokioIo::new(stream);
                    self.run(&client, io, None, Bytes::new()).await;
                }
                Err(error) => tracing::trace!(
                    client = client.address_text, %error,
                    "a client gave its tunnel up before it was open"
                ),
            }
        });
    }

    /// `wire`: the client's own, where the tunnel has a whole connection.
    pub(super) async fn run<S>(
        self,
        client: &Client,
        mut io: S,
        wire: Option<Rc<Wire>>,
        early: Bytes,
    ) where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let (mut target, ahead) = self.connection.into_parts();
        let mut up = Direction::with(BytesMut::from(early));
        let mut down = Direction::with(ahead);
        let mut watch = TunnelWatch::over(wire);
        let mut frames = self.is_websocket.then(Frames::default);
        let answerer = self.target;
        // Not by the connection's waker: over HTTP/2 that is another task's.
        let place = client.worker.endings.place_at(&answerer);
        let (ordered, whole) = poll_fn(|cx| {
            place.listen(cx);
            if client.phase() >= Phase::Parting || answerer.is_cut() {
                return Poll::Ready((true, false));
            }
            let sent = up.poll(cx, &mut io, &mut target, None);
            let before = down.moved;
            let received = down.poll(cx, &mut target, &mut io, frames.as_mut());
            if down.moved > before {
                client.earns((down.moved - before) as usize);
            }
            match (sent, received) {
                (Poll::Ready(Err(_)), _) | (_, Poll::Ready(Err(_))) => {
                    return Poll::Ready((false, false));
                }
                (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => return Poll::Ready((false, true)),
                _ => {}
            }
            watch
                .poll_over(cx, client, &up, &down)
                .map(|()| (false, false))
        })
        .await;
        let mut at_limit = AtLimit::Cut;
        if ordered && let Some(frames) = &mut frames {
            let last_words = async {
                poll_fn(|cx| down.poll_to_boundary(cx, &mut target, &mut io, frames)).await?;
                if frames.closed {
                    Ok(())
                } else {
                    io.write_all(&SERVICE_RESTART).await
                }
            };
            if matches!(timeout(FAREWELL, last_words).await, Ok(Ok(()))) {
                at_limit = AtLimit::Ended;
            } else {
                tracing::trace!(
                    client = client.address_text,
                    "a WebSocket was closed in the middle of a frame"
                );
            }
        }
        if !matches!(timeout(FAREWELL, io.shutdown()).await, Ok(Ok(()))) {
            tracing::trace!(
                client = client.address_text,
                "the client of a tunnel was gone before its end"
            );
        }
        if let Some(mut exchange) = self.exchange {
            exchange.outcome.bytes_in += up.moved;
            exchange.outcome.bytes_out += down.moved;
            exchange.ending = match whole {
                true => Ending::Whole,
                false => Ending::TunnelBroken,
            };
            if ordered {
                exchange.ended_at_limit(at_limit);
            }
        }
    }
}

/// One way through the tunnel.
pub(super) struct Direction {
    pending: BytesMut,
    /// Bytes that the other side took.
    pub(super) moved: u64,
    /// Its end was passed on.
    pub(super) ended: bool,
    /// It waits for the other side to take something.
    pub(super) blocked: bool,
}

impl Direction {
    fn with(pending: BytesMut) -> Direction {
        Direction {
            pending,
            moved: 0,
            ended: false,
            blocked: false,
        }
    }

    /// Ready when this way has ended and its end was passed on.
    fn poll<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut R,
        to: &mut W,
        mut frames: Option<&mut Frames>,
    ) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        while !self.ended {
            // Until it is known to wait for a byte to pass on.
            self.blocked = true;
            ready!(self.poll_write(cx, to, frames.as_deref_mut()))?;
            self.pending.reserve(PIECE);
            match poll_read_buf(Pin::new(&mut *from), cx, &mut self.pending) {
                Poll::Ready(Ok(0)) => {
                    ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                    (self.ended, self.blocked) = (true, false);
                }
                Poll::Ready(read) => {
                    read?;
                }
                Poll::Pending => {
                    ready!(Pin::new(&mut *to).poll_flush(cx))?;
                    self.blocked = false;
                    if self.pending.is_empty() {
                        // A quiet tunnel holds no buffer.
                        self.pending = BytesMut::new();
                    }
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write<W: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut W,
        mut frames: Option<&mut Frames>,
    ) -> Poll<io::Result<()>> {
        while !self.pending.is_empty() {
            let written = ready!(Pin::new(&mut *to).poll_write(cx, &self.pending))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            if let Some(frames) = frames.as_deref_mut() {
                frames.passed(&self.pending[..written]);
            }
            self.moved += written as u64;
            self.pending.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    /// Passes on what is needed to end the frame that has begun, and no more.
    fn poll_to_boundary<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut R,
        to: &mut W,
        frames: &mut Frames,
    ) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        loop {
            ready!(self.poll_write(cx, to, Some(frames)))?;
            if frames.at_boundary() {
                return Pin::new(to).poll_flush(cx);
            }
            self.pending.reserve(PIECE);
            if ready!(poll_read_buf(Pin::new(&mut *from), cx, &mut self.pending))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }
}
