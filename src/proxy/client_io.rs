//! The stream of a client, plain or TLS, watched: when bytes arrive, and when it does not take ours.
//!
//! For HTTP/2 it gathers: what the frames of one wake-up write goes out together, as few records in few writes. The
//! connection's task then must call `poll_send` before it sleeps; nothing else sends what was gathered.
//!
//! A client that leaves is noticed by whoever reads from it. While nobody does (its body waits for an app, or the next
//! request for an answer), `poll_gone` reads ahead a little to find the end; behind more than that it looks for it, and
//! reads further, within what a worker may keep so.
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::yield_now;
use tokio_rustls::server::TlsStream;

use super::client::Client;
use super::inlet::Inlet;
use super::limits::Limits;
use super::listener::reset;
use super::look::{Look, Seen};

/// What is gathered at most: one TLS record.
const GATHERED: usize = 16 * 1024;
/// What of HTTP/2 is handed over before everything else has its turn: some hundred microseconds of encryption. Where a client
/// takes all there is, its streams have 4 MB ready.
const OF_A_WAKE_UP: usize = 128 * 1024;
/// What is read ahead at most …
const AHEAD: usize = 16 * 1024;
/// … and of a client that nobody has read from for a moment, in such steps, …
const STEP: usize = 256 * 1024;
/// … up to this: what its system may hold of an upload that it broke off, on most ways …
const FAR: usize = 1024 * 1024;
/// … and to this of all clients of a worker.
const FAR_OF_ALL: usize = 16 * 1024 * 1024;

pub(super) enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// The stream itself, shared by the protocol that writes and the task that sends.
pub(super) struct Wire {
    transport: RefCell<Transport>,
    client: Rc<Client>,
    gathers: bool,
    out: RefCell<BytesMut>,
    /// What was handed over since the connection's task was woken.
    went: Cell<usize>,
    /// Something was given to the transport that it was not yet told to send.
    unsent: Cell<bool>,
    /// Read before somebody asked for it, and to be read first.
    ahead: RefCell<BytesMut>,
    /// How much more of it there may be than usual.
    far: Cell<usize>,
    /// Of that, since its last step.
    was_read: Cell<bool>,
    /// Somebody waits for bytes, and would see the end.
    awaited: Cell<bool>,
}

pub(super) struct ClientIo {
    wire: Rc<Wire>,
    /// Boxed: the stream is moved about, and waits in several places of a connection's task.
    inlet: Box<Inlet>,
}

impl ClientIo {
    /// A stream that gathers is HTTP/2: its frames are looked at, of the other its heads.
    pub(super) fn new(transport: Transport, client: Rc<Client>, gathers: bool) -> ClientIo {
        let inlet = Box::new(Inlet::new(gathers, client.limits()));
        let wire = Wire {
            transport: RefCell::new(transport),
            client,
            gathers,
            out: RefCell::default(),
            went: Cell::new(0),
            unsent: Cell::new(false),
            ahead: RefCell::default(),
            far: Cell::new(0),
            was_read: Cell::new(false),
            awaited: Cell::new(false),
        };
        ClientIo {
            wire: Rc::new(wire),
            inlet,
        }
    }

    pub(super) fn wire(&self) -> Rc<Wire> {
        self.wire.clone()
    }

    pub(super) fn put_back(&mut self, bytes: Bytes) {
        self.inlet.put_back(bytes);
    }

    /// Heads are looked at by these limits from now on, whatever is edited meanwhile: their reader has the same.
    pub(super) fn guard_by(&mut self, limits: Limits) {
        self.inlet.guard_by(limits);
    }

    /// Whether a head has come in part.
    pub(super) fn holds_a_part(&self) -> bool {
        self.inlet.holds_a_part()
    }

    /// What is read from now on is no HTTP, or is thrown away.
    pub(super) fn look_away(&mut self) {
        self.inlet.look_away();
    }
}

impl Wire {
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn poll_read(
        &self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut ahead = self.ahead.borrow_mut();
        if ahead.is_empty() {
            return self.poll_transport(cx, buffer);
        }
        let count = ahead.len().min(buffer.remaining());
        buffer.put_slice(&ahead.split_to(count));
        if ahead.is_empty() {
            *ahead = BytesMut::new();
        }
        self.comes_back_to(ahead.len());
        Poll::Ready(Ok(()))
    }

    fn poll_transport(
        &self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self.transport.borrow_mut() {
            Transport::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Transport::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, buffer),
        }
    }

    /// It ends with a reset, without a word of goodbye in TLS, when it is dropped.
    pub(super) fn reset(&self) {
        match &*self.transport.borrow() {
            Transport::Plain(stream) => reset(stream),
            Transport::Tls(stream) => reset(stream.get_ref().0),
        }
    }

    /// Who waits for bytes says so from now on, by reading.
    pub(super) fn nobody_waits(&self) {
        self.awaited.set(false);
    }

    /// What its socket tells of the client without being read.
    pub(super) fn seen(&self) -> Seen {
        match &*self.transport.borrow() {
            Transport::Plain(stream) => Seen::of(stream),
            Transport::Tls(stream) => Seen::of(stream.get_ref().0),
        }
    }

    /// Ready when the client has gone and nobody who reads will find that out. Here it has gone when it has ended its
    /// sending, whether all of its request had come or not, as it has for hyper.
    pub(super) fn poll_gone(&self, cx: &mut Context<'_>, look: &mut Look) -> Poll<()> {
        if self.awaited.get() {
            look.rests();
            return Poll::Pending;
        }
        let mut ahead = self.ahead.borrow_mut();
        loop {
            while ahead.len() < AHEAD + self.far.get() {
                look.rests();
                let mut bytes = [const { MaybeUninit::uninit() }; 2_048];
                let mut buffer = ReadBuf::uninit(&mut bytes);
                match ready!(self.poll_transport(cx, &mut buffer)) {
                    Ok(()) if !buffer.filled().is_empty() => {
                        ahead.extend_from_slice(buffer.filled());
                    }
                    Ok(()) | Err(_) => return Poll::Ready(()),
                }
            }
            if self.far.get() == 0 || self.was_read.get() || !self.goes_further() {
                ready!(look.poll_due(cx));
                if self.seen() != Seen::Open {
                    return Poll::Ready(());
                }
                self.was_read.set(false);
                self.goes_further();
            }
        }
    }

    /// An end that our system has no room for is met only by who makes room.
    fn goes_further(&self) -> bool {
        let of_all = &self.client.worker.read_far;
        let may = self.far.get() < FAR && of_all.get() < FAR_OF_ALL;
        if may {
            self.far.set(self.far.get() + STEP);
            of_all.set(of_all.get() + STEP);
        }
        may
    }

    /// Somebody reads, and so much is left: what is free of its share is others' again, until nobody has read for a moment.
    fn comes_back_to(&self, left: usize) {
        let (of_all, far) = (&self.client.worker.read_far, self.far.get());
        if far > 0 {
            let kept = left.saturating_sub(AHEAD).next_multiple_of(STEP).min(far);
            of_all.set(of_all.get() - (far - kept));
            self.far.set(kept);
            self.was_read.set(true);
        }
    }

    /// The connection's task was woken: everything else had its turn.
    pub(super) fn wakes_up(&self) {
        self.went.set(0);
    }

    /// Sends what was gathered. Pending means that the client does not take it yet.
    pub(super) fn poll_send(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.unsent.get() {
            ready!(self.poll_empty(cx))?;
            ready!(self.poll_flush(cx))?;
            self.unsent.set(false);
        }
        Poll::Ready(Ok(()))
    }

    /// Hands what was gathered to the transport.
    fn poll_empty(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut out = self.out.borrow_mut();
        while !out.is_empty() {
            let written = ready!(self.poll_write(cx, &[io::IoSlice::new(&out)]))?;
            out.advance(written);
        }
        if out.capacity() > 0 {
            *out = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_gather(
        &self,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.went.get() >= OF_A_WAKE_UP {
            // Woken when the sockets have been looked at.
            let _later = pin!(yield_now()).poll(cx);
            return Poll::Pending;
        }
        self.unsent.set(true);
        let length = slices.iter().map(|slice| slice.len()).sum::<usize>();
        if self.out.borrow().len() + length > GATHERED {
            ready!(self.poll_empty(cx))?;
            if length > GATHERED / 2 {
                return self.poll_write(cx, slices);
            }
        }
        let mut out = self.out.borrow_mut();
        let room = if out.is_empty() {
            length.max(GATHERED / 4)
        } else {
            length
        };
        out.reserve(room);
        slices.iter().for_each(|slice| out.extend_from_slice(slice));
        Poll::Ready(Ok(length))
    }

    fn poll_write(
        &self,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = match &mut *self.transport.borrow_mut() {
            Transport::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Transport::Tls(stream) => Pin::new(stream.as_mut()).poll_write_vectored(cx, slices),
        };
        match &written {
            Poll::Ready(Ok(count)) => {
                self.went.set(self.went.get() + count);
                self.client.bytes_went(*count);
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.client.write_is_blocked(),
        }
        match written {
            Poll::Ready(Ok(0)) if slices.iter().any(|slice| !slice.is_empty()) => {
                Poll::Ready(Err(io::ErrorKind::WriteZero.into()))
            }
            written => written,
        }
    }

    fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = match &mut *self.transport.borrow_mut() {
            Transport::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Transport::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        };
        match flushed.is_pending() {
            true => self.client.write_is_blocked(),
            false => self.client.all_went(),
        }
        flushed
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.comes_back_to(0);
    }
}

impl AsyncRead for ClientIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let read = this.inlet.poll_read(&this.wire, cx, buffer);
        this.wire
            .awaited
            .set(read.is_pending() && !this.inlet.is_full());
        read
    }
}

impl AsyncWrite for ClientIo {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.wire.gathers {
            self.wire.poll_gather(cx, slices)
        } else {
            self.wire.poll_write(cx, slices)
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The end of the wake-up is where a gathering stream sends.
        if self.wire.gathers {
            Poll::Ready(Ok(()))
        } else {
            self.wire.poll_flush(cx)
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.wire.poll_send(cx))?;
        match &mut *self.wire.transport.borrow_mut() {
            Transport::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Transport::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
    }
}
