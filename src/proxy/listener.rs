//! Listener: takes connections from the held sockets and gives each to the worker with the fewest.
//!
//! One thread accepts for all sockets; workers only take their permit back. Whoever has too much already is closed at once,
//! with a reset, before a worker hears of it.
//! The sockets were opened elsewhere and may outlive this process: none is ever closed with connections waiting in it
//! that a successor could not take.
use std::io;
use std::net::{IpAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{SocketAddrAny, SocketFlags};
use tokio::sync::mpsc::UnboundedSender;

use super::limits::Limits;
use super::refusal::Refusal;
use super::shared::Shared;
use super::sources::{Excess, Place, Source};
use super::worker::Order;
use crate::base::said::Said;

/// Connections taken from one socket before the others are looked at.
const BATCH: usize = 64;
/// After an accept that failed for want of kernel memory, so as not to spin: nothing of ours would bring that back.
const BREATH: Duration = Duration::from_millis(50);
/// What the system takes of an answer before its client has room for it. What is on its way to the client does not count, so
/// that a long way costs no speed; without it, one who reads slowly makes the system hold 4 MB.
pub(super) const UNSENT: u32 = 256 * 1024;
/// Of this many connections one is held back from proxies.
const HELD_BACK: usize = 4;

/// Which door a connection came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    Http,
    Https,
}

/// A taken connection and its place in the counts.
pub(super) struct Arrival {
    pub(super) stream: TcpStream,
    pub(super) address: IpAddr,
    pub(super) door: Door,
    /// It must begin with a header of the PROXY protocol.
    pub(super) speaks_first: bool,
    pub(super) permit: Permit,
}

pub(super) struct Permit {
    shared: Arc<Shared>,
    worker: usize,
    /// Where it is counted by its source; `None` for a proxy, which stands for many.
    place: Option<Place>,
    of_proxy: bool,
}

impl Permit {
    /// Counts the connection as one of this source too.
    ///
    /// # Errors
    /// The counter of why that has too much.
    pub(super) fn count_as(&mut self, source: Source) -> Result<(), Refusal> {
        let limits = **self.shared.limits.load();
        let place = enter(&self.shared, source, &limits)?;
        if let Some(before) = self.place.replace(place) {
            self.shared.sources.leave(before);
        }
        Ok(())
    }

    /// It is counted by its source, and not one of many that stand behind a proxy's address.
    pub(super) fn is_counted(&self) -> bool {
        self.place.is_some()
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            self.shared.sources.leave(place);
        }
        if self.of_proxy {
            self.shared.of_proxies.fetch_sub(1, Relaxed);
        }
        self.shared.connections.fetch_sub(1, Relaxed);
        self.shared.loads[self.worker].fetch_sub(1, Relaxed);
    }
}

fn enter(shared: &Shared, source: Source, limits: &Limits) -> Result<Place, Refusal> {
    let (open, rate) = (
        limits.connections_per_address,
        limits.new_connections_per_address,
    );
    let entered = shared.sources.enter(source, open, rate, Instant::now());
    entered.map_err(|excess| match excess {
        Excess::Open => Refusal::TooManyOfAddress,
        Excess::Rate => Refusal::TooFastOfAddress,
    })
}

/// Closes with a reset: no word, and nothing of the connection stays behind in the kernel.
pub(super) fn reset(stream: impl AsFd) {
    // Without it the connection closes in the usual way, which is well too.
    let _lingers = rustix::net::sockopt::set_socket_linger(stream.as_fd(), Some(Duration::ZERO));
}

/// Sets what every connection inherits from its listening socket.
pub(super) fn prepare(listener: &TcpListener) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    rustix::net::sockopt::set_tcp_nodelay(listener, true)?;
    rustix::net::sockopt::set_socket_keepalive(listener, true)?;
    rustix::net::sockopt::set_tcp_keepidle(listener, Duration::from_secs(60))?;
    rustix::net::sockopt::set_tcp_keepintvl(listener, Duration::from_secs(15))?;
    rustix::net::sockopt::set_tcp_keepcnt(listener, 4)?;
    socket2::SockRef::from(listener).set_tcp_notsent_lowat(UNSENT)?;
    Ok(())
}

/// Accepts until the other end of `stop` is closed. Blocks; runs on a thread of its own.
pub(super) fn accept_all(
    listeners: &[(TcpListener, Door)],
    shared: Arc<Shared>,
    workers: Vec<UnboundedSender<Order>>,
    stop: &UnixStream,
) -> io::Result<()> {
    let front = Front { shared, workers };
    let said = Said::new(Instant::now());
    let mut reserve = Reserve::of(stop);
    loop {
        let mut waiting: Vec<PollFd<'_>> = listeners
            .iter()
            .map(|(listener, _)| PollFd::new(listener, PollFlags::IN))
            .collect();
        waiting.push(PollFd::new(stop, PollFlags::IN));
        match rustix::event::poll(&mut waiting, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if waiting
            .last()
            .is_some_and(|stop| !stop.revents().is_empty())
        {
            return Ok(());
        }
        for ((listener, door), waiting) in listeners.iter().zip(&waiting) {
            if waiting.revents().is_empty() {
                continue;
            }
            for _ in 0..BATCH {
                match accept(listener) {
                    Ok((stream, address)) => front.welcome(stream, address, *door),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) if is_the_peers(&error) => {}
                    Err(error) => {
                        let shed = is_for_want_of_descriptors(&error) && reserve.shed(listener);
                        if said.is_due(Instant::now()) {
                            tracing::warn!(
                                %error,
                                shed,
                                "connections cannot be accepted: those that come are closed, or wait where even that fails. Raise LimitNOFILE of freehold.service, or lower limits.connections. Said once a minute"
                            );
                        }
                        if shed {
                            front.shared.refused.count(Refusal::NoDescriptors);
                        } else {
                            std::thread::sleep(BREATH);
                            break;
                        }
                    }
                }
            }
        }
    }
}

/// A descriptor held so that there is one to take a connection with, and close it, when the process has no other: who comes
/// then hears it at once, and the sockets go on for those who are served.
struct Reserve<'a> {
    any: &'a UnixStream,
    held: Option<OwnedFd>,
}

impl<'a> Reserve<'a> {
    fn of(any: &'a UnixStream) -> Reserve<'a> {
        let mut reserve = Reserve { any, held: None };
        reserve.refill();
        reserve
    }

    fn refill(&mut self) {
        self.held = rustix::io::fcntl_dupfd_cloexec(self.any, 0).ok();
    }

    /// Closes one waiting connection. False if the descriptor was taken by others before.
    fn shed(&mut self, listener: &TcpListener) -> bool {
        if self.held.is_none() {
            self.refill();
        }
        if self.held.take().is_none() {
            return false;
        }
        let taken = accept(listener);
        let closed = match taken {
            Ok((stream, _)) => {
                reset(&stream);
                true
            }
            Err(_) => false,
        };
        self.refill();
        closed
    }
}

struct Front {
    shared: Arc<Shared>,
    workers: Vec<UnboundedSender<Order>>,
}

impl Front {
    /// Hands the connection to a worker, or closes it if there are too many.
    fn welcome(&self, stream: OwnedFd, address: IpAddr, door: Door) {
        let limits = **self.shared.limits.load();
        let (speaks_first, of_proxy) = match self.shared.trust.load() {
            Some(proxies) => {
                let speaks_first = proxies.speaks_first(address);
                (speaks_first, speaks_first || proxies.trusts(address))
            }
            None => (false, false),
        };
        let place = match self.room(address, of_proxy, &limits) {
            Ok(place) => place,
            Err(why) => {
                self.shared.refused.count(why);
                return reset(&stream);
            }
        };
        let worker = (0..self.workers.len())
            .min_by_key(|worker| self.shared.loads[*worker].load(Relaxed))
            .unwrap_or(0);
        self.shared.connections.fetch_add(1, Relaxed);
        self.shared.loads[worker].fetch_add(1, Relaxed);
        if of_proxy {
            self.shared.of_proxies.fetch_add(1, Relaxed);
        }
        let arrival = Arrival {
            stream: TcpStream::from(stream),
            address,
            door,
            speaks_first,
            permit: Permit {
                shared: self.shared.clone(),
                worker,
                place,
                of_proxy,
            },
        };
        if self.workers[worker].send(Order::Serve(arrival)).is_err() {
            tracing::error!(
                worker,
                "a worker of the edge is gone; its connection is dropped"
            );
        }
    }

    /// The connection's place by its source, or the counter of why there is none.
    ///
    /// A proxy brings many clients: those that it names are counted once it has named them, and all of proxies together
    /// have a part of the room.
    fn room(
        &self,
        address: IpAddr,
        of_proxy: bool,
        limits: &Limits,
    ) -> Result<Option<Place>, Refusal> {
        let shared = &self.shared;
        let most = limits.connections as usize;
        if shared.connections.load(Relaxed) >= most {
            return Err(Refusal::TooManyConnections);
        }
        if !of_proxy {
            return enter(shared, Source::of(address), limits).map(Some);
        }
        if shared.of_proxies.load(Relaxed) >= most - most / HELD_BACK {
            return Err(Refusal::TooManyOfProxies);
        }
        Ok(None)
    }
}

fn accept(listener: &TcpListener) -> io::Result<(OwnedFd, IpAddr)> {
    let (stream, address) =
        rustix::net::acceptfrom_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?;
    let address =
        address.and_then(|address: SocketAddrAny| std::net::SocketAddr::try_from(address).ok());
    let address = address.ok_or_else(|| io::Error::from(io::ErrorKind::ConnectionAborted))?;
    Ok((stream, address.ip().to_canonical()))
}

/// Errors of one connection that was gone before it was taken; the socket itself is well.
fn is_the_peers(error: &io::Error) -> bool {
    use io::ErrorKind::*;
    matches!(
        error.kind(),
        ConnectionAborted
            | ConnectionReset
            | Interrupted
            | HostUnreachable
            | NetworkUnreachable
            | NetworkDown
    )
}

fn is_for_want_of_descriptors(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    errno == Some(Errno::MFILE) || errno == Some(Errno::NFILE)
}
