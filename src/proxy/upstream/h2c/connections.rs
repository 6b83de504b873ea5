//! Connections: those of one worker that speak HTTP/2, by target, and who has a stream on which.
//!
//! A connection is given new streams while it lives, its target is not retiring, and the target allows one more. It is
//! dropped when it has had none for a while, or has ended; then its frames' task says goodbye and ends.
use std::cell::Cell;
use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::{Builder, Connection, SendRequest};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::task::spawn_local;
use tokio::time::timeout;

use super::super::connection::Stream;
use super::frames::AnswerFrames;
use crate::proxy::h2_trailers::{Passed, Trailers};
use crate::proxy::sources::{Place, Source, Sources};
use crate::proxy::target::Target;
use crate::proxy::worker::Worker;

/// Connections of a worker to one target, at most.
pub(in crate::proxy) const MOST: u32 = 32;
/// Streams of a connection, at most, whatever the target allows.
const STREAMS: usize = 100;
/// Streams of one source to all targets, for each worker: half of what these have together to one target.
pub(in crate::proxy) const OF_SOURCE: u32 = MOST * STREAMS as u32 / 2;
/// Stands for what the target allows until its settings came.
const UNTOLD: usize = STREAMS + 1;
/// How long a new connection waits for the target's settings before its first stream.
const SETTINGS: Duration = Duration::from_millis(20);
/// A connection this long without a stream is closed.
const IDLE: Duration = Duration::from_secs(60);
/// How long the last frames may take.
const LAST_FRAMES: Duration = Duration::from_secs(1);
/// What an answer may be ahead of its reader; the window of the connection has room for that of all its streams.
const WINDOW: u32 = 64 * 1024;
/// What a body may be ahead of the target.
const SEND_BUFFER: usize = 128 * 1024;
const ANSWER_HEAD: u32 = 64 * 1024;

pub(in crate::proxy) struct Connections {
    of_target: HashMap<u64, OfTarget>,
    /// Told when there is something to sweep.
    filled: Rc<Notify>,
}

struct OfTarget {
    target: Weak<Target>,
    open: Vec<Rc<Shared>>,
}

/// A connection that requests share.
struct Shared {
    sender: SendRequest<Bytes>,
    streams: Cell<u32>,
    idle_since: Cell<Instant>,
    /// It has served a request before.
    used: Cell<bool>,
    life: Rc<Life>,
}

/// What the connection and the task of its frames tell each other.
struct Life {
    over: Cell<bool>,
    /// Not to be given another stream.
    closing: Cell<bool>,
    /// Bytes written to the socket.
    written: Cell<u64>,
    malformed: Cell<bool>,
    /// The target's settings came.
    spoken: Cell<bool>,
    leave: Notify,
    /// The target's settings came, or the connection ended.
    settled: Notify,
}

/// The right to have a stream, until dropped.
pub(in crate::proxy) struct Slot {
    shared: Rc<Shared>,
    pub(super) sender: SendRequest<Bytes>,
    worker: Rc<Worker>,
    target: u64,
    /// Where it is counted by its source.
    place: Option<Place>,
}

impl Connections {
    pub(in crate::proxy) fn new(filled: Rc<Notify>) -> Connections {
        Connections {
            of_target: HashMap::new(),
            filled,
        }
    }

    /// A stream on one of the connections, the oldest that has room.
    pub(in crate::proxy) fn take(
        &mut self,
        worker: &Rc<Worker>,
        target: &Arc<Target>,
    ) -> Option<Slot> {
        let of_target = self.of_target.get_mut(&target.id())?;
        of_target.open.retain(|shared| shared.lives());
        let shared = of_target.open.iter().find(|shared| shared.has_room())?;
        Some(Slot::on(shared, worker, target))
    }

    /// How many connections the target has.
    pub(in crate::proxy) fn count(&self, target: &Target) -> u32 {
        self.of_target
            .get(&target.id())
            .map_or(0, |of_target| of_target.open.len() as u32)
    }

    /// Closes what nobody will use again.
    pub(in crate::proxy) fn sweep(&mut self, now: Instant) {
        self.of_target.retain(|_, of_target| {
            let target = of_target.target.upgrade();
            let retiring = target.is_none_or(|target| target.is_retiring());
            of_target.open.retain(|shared| {
                // What still has streams is held by them, and ends with the last.
                let idle = shared.streams.get() == 0
                    && now.saturating_duration_since(shared.idle_since.get()) >= IDLE;
                !retiring && !idle && shared.lives()
            });
            !of_target.open.is_empty()
        });
    }

    pub(in crate::proxy) fn is_empty(&self) -> bool {
        self.of_target.is_empty()
    }

    pub(in crate::proxy) fn clear(&mut self) {
        self.of_target.clear();
    }

    fn add(&mut self, target: &Arc<Target>, shared: Rc<Shared>) {
        self.filled.notify_one();
        let of_target = self
            .of_target
            .entry(target.id())
            .or_insert_with(|| OfTarget {
                target: Arc::downgrade(target),
                open: Vec::new(),
            });
        of_target.open.push(shared);
    }
}

impl Shared {
    /// Whether it takes new streams at all: the target may have said goodbye (GOAWAY), or be gone.
    fn lives(&self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        !self.life.over.get()
            && !self.life.closing.get()
            // A clone has no stream that waits to be opened, so that this is never pending.
            && matches!(self.sender.clone().poll_ready(&mut cx), Poll::Ready(Ok(())))
    }

    fn has_room(&self) -> bool {
        (self.streams.get() as usize) < self.sender.current_max_send_streams().min(STREAMS)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.life.leave.notify_one();
    }
}

impl Slot {
    /// A stream on a new connection, which is known to the worker from now on.
    pub(in crate::proxy) async fn open(
        worker: &Rc<Worker>,
        target: &Arc<Target>,
        stream: Stream,
    ) -> Result<Slot, h2::Error> {
        let life = Rc::new(Life {
            over: Cell::new(false),
            closing: Cell::new(false),
            written: Cell::new(0),
            malformed: Cell::new(false),
            spoken: Cell::new(false),
            leave: Notify::new(),
            settled: Notify::new(),
        });
        let counted = Counted {
            stream,
            life: life.clone(),
            frames: AnswerFrames::default(),
            trailers: Trailers::default(),
            early: Bytes::new(),
        };
        let (sender, connection) = Builder::new()
            .enable_push(false)
            .max_concurrent_streams(0)
            .initial_max_send_streams(UNTOLD)
            .initial_window_size(WINDOW)
            .initial_connection_window_size(WINDOW * STREAMS as u32)
            .max_send_buffer_size(SEND_BUFFER)
            .max_header_list_size(ANSWER_HEAD)
            .handshake(counted)
            .await?;
        spawn_local(move_frames(
            connection,
            life.clone(),
            worker.clone(),
            (target.id(), target.key().clone()),
        ));
        let shared = Rc::new(Shared {
            sender,
            streams: Cell::new(0),
            idle_since: Cell::new(Instant::now()),
            used: Cell::new(false),
            life,
        });
        let slot = Slot::on(&shared, worker, target);
        // A target that takes its time with the settings gets the first request all the same.
        timeout(SETTINGS, shared.life.settled.notified())
            .await
            .unwrap_or_default();
        worker.h2c.borrow_mut().add(target, shared);
        Ok(slot)
    }

    fn on(shared: &Rc<Shared>, worker: &Rc<Worker>, target: &Arc<Target>) -> Slot {
        shared.streams.set(shared.streams.get() + 1);
        Slot {
            shared: shared.clone(),
            sender: shared.sender.clone(),
            worker: worker.clone(),
            target: target.id(),
            place: None,
        }
    }

    /// Counts it as one of this client's; `false`: its source has as many as it may, half of what one target can have.
    ///
    /// A proxy that has not said for whom it asks stands for many, who are counted by nobody.
    pub(in crate::proxy) fn is_within_sources_share(&mut self, client: IpAddr) -> bool {
        let shared = &self.worker.shared;
        if shared.stands_for_many(client) {
            return true;
        }
        let streams = shared.streams.get_or_init(|| Sources::new(Instant::now()));
        let most = OF_SOURCE * u32::try_from(shared.loads.len()).unwrap_or(1);
        self.place = streams.hold(Source::of(client), most).ok();
        self.place.is_some()
    }

    /// Whether the connection has room for another.
    pub(in crate::proxy) fn has_siblings(&self) -> bool {
        self.shared.has_room()
    }

    /// Whether the connection has served a request before: then it may have been closed behind our back.
    pub(super) fn is_reused(&self) -> bool {
        self.shared.used.get()
    }

    /// An answer came over the connection.
    pub(super) fn served(&self) {
        self.shared.used.set(true);
    }

    /// The connection takes no more streams; those it has run on.
    pub(super) fn forget(&self) {
        self.shared.life.closing.set(true);
    }

    /// Bytes written to the connection by all its streams.
    pub(super) fn written(&self) -> u64 {
        self.shared.life.written.get()
    }

    /// Whether the target has said a word in HTTP/2; one that ended before may not know it.
    pub(super) fn has_spoken(&self) -> bool {
        self.shared.life.spoken.get()
    }

    /// What came over the connection is not HTTP/2.
    pub(super) fn is_malformed(&self) -> bool {
        self.shared.life.malformed.get()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let left = self.shared.streams.get() - 1;
        self.shared.streams.set(left);
        if left == 0 {
            self.shared.idle_since.set(Instant::now());
        }
        self.worker.turns.freed(self.target);
        if let Some(place) = self.place
            && let Some(streams) = self.worker.shared.streams.get()
        {
            streams.leave(place);
        }
    }
}

/// Moves a connection's frames until it ends, or nobody holds it any more.
async fn move_frames(
    mut connection: Connection<Counted, Bytes>,
    life: Rc<Life>,
    worker: Rc<Worker>,
    (target, key): (u64, Arc<str>),
) {
    let mut allowed = connection.max_concurrent_send_streams();
    let result = {
        let mut leave = pin!(life.leave.notified());
        poll_fn(|cx| {
            if leave.as_mut().poll(cx).is_ready() {
                return Poll::Ready(None);
            }
            let polled = Pin::new(&mut connection).poll(cx);
            let now_allowed = connection.max_concurrent_send_streams();
            if now_allowed != allowed {
                allowed = now_allowed;
                life.spoken.set(true);
                life.settled.notify_one();
                worker.turns.freed(target);
            }
            polled.map(Some)
        })
        .await
    };
    let result = match result {
        Some(ended) => ended,
        // Without a holder it says goodbye when it is looked at, and what is left goes out.
        None => timeout(LAST_FRAMES, connection).await.unwrap_or(Ok(())),
    };
    if let Err(error) = result {
        life.malformed.set(error.is_library());
        tracing::debug!(target = %key, %error, "a connection to a target ended");
    }
    life.over.set(true);
    life.settled.notify_one();
    worker.turns.freed(target);
}

/// A stream that counts what is written to it, and on which trailers are such that h2 judges them.
struct Counted {
    stream: Stream,
    life: Rc<Life>,
    frames: AnswerFrames,
    trailers: Trailers,
    /// Looked at already, and to be read first.
    early: Bytes,
}

impl Counted {
    fn count(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(count)) = &written {
            let life = &self.life;
            life.written.set(life.written.get() + *count as u64);
        }
        written
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let begin = buffer.filled().len();
        while buffer.filled().len() == begin {
            if !this.early.is_empty() {
                let count = this.early.len().min(buffer.remaining());
                buffer.put_slice(&this.early.split_to(count));
                break;
            }
            ready!(Pin::new(&mut this.stream).poll_read(cx, buffer))?;
            let read = &buffer.filled()[begin..];
            if read.is_empty() {
                break;
            }
            let (passed, is_over) = this.trailers.pass(&mut this.frames, read);
            match passed {
                Passed::AsTheyAre(count) => buffer.set_filled(begin + count),
                Passed::Instead(bytes) => {
                    buffer.set_filled(begin);
                    this.early = bytes.freeze();
                }
            }
            if is_over {
                return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.count(written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(cx, slices);
        this.count(written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
