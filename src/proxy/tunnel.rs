//! Tunnel: what a connection becomes after a 101: bytes both ways until one side ends.
//!
//! The claim is kept for all that time. A WebSocket that has to end (drain, restart) is closed between two frames with
//! code 1012, "service restart", so that its client comes back instead of waiting; other protocols are just closed.
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use tokio_util::io::poll_read_buf;
use tokio_util::sync::CancellationToken;

use super::access_log::Ending;
use super::client::{Client, Phase};
use super::client_io::ClientIo;
use super::exchange::Exchange;
use super::upstream::Connection;
use super::ws_frames::Frames;

const PIECE: usize = 16 * 1024;
/// How long the frame that is on its way, and our last one, may take when a tunnel ends.
const FAREWELL: Duration = Duration::from_secs(1);
/// An unmasked close frame with code 1012.
const SERVICE_RESTART: [u8; 4] = [0x88, 2, 0x03, 0xf4];

pub(super) struct Tunnel {
    connection: Connection,
    cut: CancellationToken,
    is_websocket: bool,
    exchange: Option<Exchange>,
}

impl Tunnel {
    pub(super) fn new(
        connection: Connection,
        cut: CancellationToken,
        is_websocket: bool,
    ) -> Tunnel {
        Tunnel {
            connection,
            cut,
            is_websocket,
            exchange: None,
        }
    }

    pub(super) fn carries(&mut self, exchange: Exchange) {
        self.exchange = Some(exchange);
    }

    pub(super) async fn run(self, client: &Client, mut io: ClientIo, early: Bytes) {
        let (mut target, ahead) = self.connection.into_parts();
        let mut up = Direction {
            pending: BytesMut::from(early),
            moved: 0,
            ended: false,
        };
        let mut down = Direction {
            pending: ahead,
            moved: 0,
            ended: false,
        };
        let mut frames = self.is_websocket.then(Frames::default);
        let mut cut = pin!(self.cut.cancelled());
        let (ordered, whole) = poll_fn(|cx| {
            client.listen(cx);
            if client.phase() >= Phase::Ending || cut.as_mut().poll(cx).is_ready() {
                return Poll::Ready((true, false));
            }
            let sent = up.poll(cx, &mut io, &mut target, None);
            let received = down.poll(cx, &mut target, &mut io, frames.as_mut());
            match (sent, received) {
                (Poll::Ready(Err(_)), _) | (_, Poll::Ready(Err(_))) => Poll::Ready((false, false)),
                (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready((false, true)),
                _ => Poll::Pending,
            }
        })
        .await;
        if ordered && let Some(frames) = &mut frames {
            let last_words = async {
                poll_fn(|cx| down.poll_to_boundary(cx, &mut target, &mut io, frames)).await?;
                if frames.closed {
                    Ok(())
                } else {
                    io.write_all(&SERVICE_RESTART).await
                }
            };
            if !matches!(timeout(FAREWELL, last_words).await, Ok(Ok(()))) {
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
            exchange.ending = match (ordered, whole) {
                (true, _) => Ending::Restart,
                (false, true) => Ending::Whole,
                (false, false) => Ending::TunnelBroken,
            };
        }
    }
}

/// One way through the tunnel.
struct Direction {
    pending: BytesMut,
    moved: u64,
    ended: bool,
}

impl Direction {
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
            ready!(self.poll_write(cx, to, frames.as_deref_mut()))?;
            self.pending.reserve(PIECE);
            match poll_read_buf(Pin::new(&mut *from), cx, &mut self.pending) {
                Poll::Ready(Ok(0)) => {
                    ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                    self.ended = true;
                }
                Poll::Ready(read) => {
                    read?;
                }
                Poll::Pending => {
                    ready!(Pin::new(&mut *to).poll_flush(cx))?;
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
