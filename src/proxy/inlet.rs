//! Inlet: what comes from a client, on its way to the protocol that reads it; over HTTP/1 past the guard of heads, over
//! HTTP/2 past the count of frames.
//!
//! A head that is whole goes on where it was read to, without a copy. One that is not is held here until it is.
use std::io;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use tokio::io::ReadBuf;

use super::client::Client;
use super::client_io::Wire;
use super::h2_frames::{Earning, H2Frames};
use super::h2_trailers::{Passed, Trailers};
use super::head_guard::{HeadGuard, Then};
use super::limits::Limits;
use super::refusal::Refusal;
use super::stand_in;

/// What is held at most while an answer decides whether it is HTTP.
const UNDECIDED: usize = 16 * 1024;

pub(super) struct Inlet {
    /// Looked at already, and to be read first.
    early: Bytes,
    /// Not yet let through.
    held: BytesMut,
    guarding: Guarding,
    limits: Limits,
}

enum Guarding {
    /// It is no HTTP, or does not matter any more.
    Off,
    On(HeadGuard),
    Frames(H2Frames, Trailers),
    /// The last thing to be read is a stand-in for what was refused.
    Refused,
    /// A body cannot be understood any more.
    Broken,
}

impl Inlet {
    pub(super) fn new(http2: bool, limits: Limits) -> Inlet {
        Inlet {
            limits,
            early: Bytes::new(),
            held: BytesMut::new(),
            guarding: match http2 {
                true => Guarding::Frames(H2Frames::new(Instant::now()), Trailers::default()),
                false => Guarding::On(HeadGuard::new()),
            },
        }
    }

    pub(super) fn guard_by(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Gives back what was read from here and not used.
    pub(super) fn put_back(&mut self, bytes: Bytes) {
        self.early = match self.early.is_empty() {
            true => bytes,
            false => Bytes::from([bytes, self.early.clone()].concat()),
        };
    }

    /// Whether a part of a head is held.
    pub(super) fn holds_a_part(&self) -> bool {
        !self.held.is_empty()
    }

    /// Whether it reads no more until an answer decides what was read.
    pub(super) fn is_full(&self) -> bool {
        matches!(&self.guarding, Guarding::On(guard) if guard.is_undecided())
            && self.held.len() >= UNDECIDED
    }

    /// From now on bytes are bytes.
    pub(super) fn look_away(&mut self) {
        self.guarding = Guarding::Off;
        if !self.held.is_empty() {
            let held = self.held.split().freeze();
            self.early = Bytes::from([self.early.clone(), held].concat());
        }
    }

    /// Reads what may go on. Nothing read with this being ready is the end of the connection.
    pub(super) fn poll_read(
        &mut self,
        wire: &Wire,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let begin = buffer.filled().len();
        while buffer.filled().len() == begin {
            if !self.early.is_empty() {
                let count = self.early.len().min(buffer.remaining());
                buffer.put_slice(&self.early.split_to(count));
                wire.client().bytes_arrived();
                break;
            }
            let guard = match &mut self.guarding {
                Guarding::On(guard) => guard,
                Guarding::Off => {
                    ready!(wire.poll_read(cx, buffer))?;
                    if buffer.filled().len() > begin {
                        wire.client().bytes_arrived();
                    }
                    break;
                }
                Guarding::Frames(frames, trailers) => {
                    if !(wire.client().is_condemned() && frames.is_between_frames()) {
                        ready!(wire.poll_read(cx, buffer))?;
                        if buffer.filled().len() == begin {
                            break;
                        }
                        wire.client().bytes_arrived();
                    }
                    let read = &buffer.filled()[begin..];
                    let (passed, stand_in) = count_frames(frames, trailers, wire.client(), read);
                    let mut instead = BytesMut::new();
                    match passed {
                        Passed::AsTheyAre(count) => buffer.set_filled(begin + count),
                        Passed::Instead(bytes) => {
                            buffer.set_filled(begin);
                            instead = bytes;
                        }
                    }
                    match stand_in {
                        Some(stand_in) => {
                            instead.extend_from_slice(&stand_in);
                            self.end(Guarding::Refused);
                        }
                        None => wire.client().head_goes_on(frames.is_in_a_head()),
                    }
                    self.early = instead.freeze();
                    continue;
                }
                // The stand-in is being answered. An end here would look as if nobody waited for that.
                Guarding::Refused => return Poll::Pending,
                Guarding::Broken => return Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
            };
            let decided = guard.is_undecided() && wire.client().answered() >= guard.passed();
            if decided {
                guard.goes_on();
            } else {
                if guard.is_undecided() && self.held.len() >= UNDECIDED {
                    return Poll::Pending;
                }
                ready!(wire.poll_read(cx, buffer))?;
                if buffer.filled().len() == begin {
                    break;
                }
                wire.client().bytes_arrived();
            }
            self.judge(wire, buffer, begin);
        }
        Poll::Ready(Ok(()))
    }

    /// Leaves of what was read to the buffer what may go on, and holds the rest.
    fn judge(&mut self, wire: &Wire, buffer: &mut ReadBuf<'_>, begin: usize) {
        let Guarding::On(guard) = &mut self.guarding else {
            return;
        };
        let then = if self.held.is_empty() {
            let read = &buffer.filled()[begin..];
            let look = guard.look(read, &self.limits);
            if look.pass < read.len() {
                self.held.extend_from_slice(&read[look.pass..]);
                buffer.set_filled(begin + look.pass);
            }
            look.then
        } else {
            self.held.extend_from_slice(&buffer.filled()[begin..]);
            buffer.set_filled(begin);
            let look = guard.look(&self.held, &self.limits);
            self.early = self.held.split_to(look.pass).freeze();
            look.then
        };
        match then {
            Then::Nothing => self.held = BytesMut::new(),
            // The answer to the head that asks for another protocol wakes the connection.
            Then::Keep if guard.is_undecided() => wire.client().awaits_answer(),
            Then::Keep => {}
            Then::Refuse(error) => {
                wire.client().refused_head.set(Some(error));
                let stand_in = stand_in::for_head(&self.held);
                self.early = Bytes::from([&self.early[..], &stand_in].concat());
                self.end(Guarding::Refused);
            }
            Then::Break => self.end(Guarding::Broken),
        }
    }

    fn end(&mut self, guarding: Guarding) {
        self.guarding = guarding;
        self.held = BytesMut::new();
    }
}

/// What of these bytes may pass, and what comes behind it, if the connection is to end.
fn count_frames(
    frames: &mut H2Frames,
    trailers: &mut Trailers,
    client: &Client,
    bytes: &[u8],
) -> (Passed, Option<Bytes>) {
    if client.is_condemned() {
        frames.stop();
    }
    let earning = || (Instant::now(), client.take_earned());
    let (passed, is_over) = trailers.pass(&mut Earning(frames, earning), bytes);
    if !is_over {
        return (passed, None);
    }
    client.trailers_lost.set(frames.trailers_are_too_long());
    client.condemn(Refusal::Flood);
    (passed, Some(frames.stand_in()))
}
