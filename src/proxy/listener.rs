//! Listener: takes connections from the held sockets and gives each to the worker with the fewest.
//!
//! One thread accepts for all sockets and alone keeps the counts by address; workers only take their permit back.
//! The sockets were opened elsewhere and may outlive this process: none is ever closed with connections waiting in it
//! that a successor could not take.
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::net::{SocketAddrAny, SocketFlags};
use tokio::sync::mpsc::UnboundedSender;

use super::refusal::Refusal;
use super::shared::Shared;
use super::worker::Order;

/// Addresses remembered before those without connections are forgotten.
const REMEMBERED: usize = 4_096;
/// Connections taken from one socket before the others are looked at.
const BATCH: usize = 64;
/// After a failed accept (no descriptors left), so as not to spin.
const BREATH: Duration = Duration::from_millis(50);
/// Why connections cannot be accepted is said again after so long.
const SAID_AGAIN: Duration = Duration::from_secs(60);

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
    pub(super) permit: Permit,
}

pub(super) struct Permit {
    of_address: Arc<AtomicU32>,
    shared: Arc<Shared>,
    worker: usize,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.of_address.fetch_sub(1, Relaxed);
        self.shared.connections.fetch_sub(1, Relaxed);
        self.shared.loads[self.worker].fetch_sub(1, Relaxed);
    }
}

/// Sets what every connection inherits from its listening socket.
pub(super) fn prepare(listener: &TcpListener) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    rustix::net::sockopt::set_tcp_nodelay(listener, true)?;
    rustix::net::sockopt::set_socket_keepalive(listener, true)?;
    rustix::net::sockopt::set_tcp_keepidle(listener, Duration::from_secs(60))?;
    rustix::net::sockopt::set_tcp_keepintvl(listener, Duration::from_secs(15))?;
    rustix::net::sockopt::set_tcp_keepcnt(listener, 4)?;
    Ok(())
}

/// Accepts until the other end of `stop` is closed. Blocks; runs on a thread of its own.
pub(super) fn accept_all(
    listeners: &[(TcpListener, Door)],
    shared: Arc<Shared>,
    workers: Vec<UnboundedSender<Order>>,
    stop: &UnixStream,
) -> io::Result<()> {
    let mut front = Front {
        shared,
        workers,
        by_address: HashMap::new(),
    };
    let mut said = Said::default();
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
                        if said.is_due(Instant::now()) {
                            tracing::warn!(
                                %error,
                                "connections cannot be accepted; they wait, and are tried again every 50 ms. Said once a minute"
                            );
                        }
                        std::thread::sleep(BREATH);
                        break;
                    }
                }
            }
        }
    }
}

/// When a trouble was last said: a box without file descriptors needs its disk for other things.
#[derive(Default)]
struct Said(Option<Instant>);

impl Said {
    fn is_due(&mut self, now: Instant) -> bool {
        let due = self
            .0
            .is_none_or(|last| now.saturating_duration_since(last) >= SAID_AGAIN);
        if due {
            self.0 = Some(now);
        }
        due
    }
}

struct Front {
    shared: Arc<Shared>,
    workers: Vec<UnboundedSender<Order>>,
    by_address: HashMap<IpAddr, Arc<AtomicU32>>,
}

impl Front {
    /// Hands the connection to a worker, or closes it if there are too many.
    fn welcome(&mut self, stream: OwnedFd, address: IpAddr, door: Door) {
        if self.by_address.len() >= REMEMBERED {
            self.by_address.retain(|_, open| open.load(Relaxed) > 0);
        }
        let limits = **self.shared.limits.load();
        let of_address = self.by_address.entry(address).or_default();
        let full = self.shared.connections.load(Relaxed) >= limits.connections as usize;
        // A proxy brings many clients: only all of them together are bounded.
        let of_many = self
            .shared
            .trust
            .load()
            .is_some_and(|proxies| proxies.speaks_first(address) || proxies.trusts(address));
        let crowded = !of_many && of_address.load(Relaxed) >= limits.connections_per_address;
        if full || crowded {
            self.shared.refused.count(Refusal::TooManyConnections);
            return;
        }
        let worker = (0..self.workers.len())
            .min_by_key(|worker| self.shared.loads[*worker].load(Relaxed))
            .unwrap_or(0);
        of_address.fetch_add(1, Relaxed);
        self.shared.connections.fetch_add(1, Relaxed);
        self.shared.loads[worker].fetch_add(1, Relaxed);
        let permit = Permit {
            of_address: of_address.clone(),
            shared: self.shared.clone(),
            worker,
        };
        let arrival = Arrival {
            stream: TcpStream::from(stream),
            address,
            door,
            permit,
        };
        if self.workers[worker].send(Order::Serve(arrival)).is_err() {
            tracing::error!(
                worker,
                "a worker of the edge is gone; its connection is dropped"
            );
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n7_a_trouble_that_lasts_is_said_once_a_minute() {
        let (mut said, began) = (Said::default(), Instant::now());
        let due: Vec<u64> = (0..130)
            .filter(|second| said.is_due(began + Duration::from_secs(*second)))
            .collect();
        assert_eq!(due, [0, 60, 120]);
    }
}
