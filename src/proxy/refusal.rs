//! Refusal: why the edge turned somebody away, by name, and how often it did.
//!
//! Counted and not logged one by one: a line each would be a gift to whoever wants the disk full. The daemon tells the
//! differences once a minute.
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Why a connection or a request got no app.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// Over the number of connections of all together.
    TooManyConnections,
    /// Of proxies together: a part is held back for those who come by themselves.
    TooManyOfProxies,
    /// Of one source, an IPv4 address or an IPv6 /64, open at once.
    TooManyOfAddress,
    /// New ones of one source in too short a time.
    TooFastOfAddress,
    /// Closed because the process had no file descriptor left for them.
    NoDescriptors,
    /// A proxy that speaks the PROXY protocol sent no header of it in time.
    ProxyHeader,
    /// The name in TLS is nobody's here.
    UnknownName,
    HandshakeFailed,
    HandshakeSlow,
    /// A request's head did not come in time.
    SlowHead,
    /// A request's body stopped, or came too slowly.
    SlowBody,
    /// An answer was not taken, or too slowly.
    SlowReader,
    /// Frames of HTTP/2 that cost more than the requests they belong to.
    Flood,
    /// A connection whose requests are reset before they are answered.
    Abandoned,
    /// What was sent is not HTTP, or not what is served.
    BadRequest,
    /// A request for a name or a path that nothing is served under (404, 421).
    NotServed,
    /// Asked more often than their route's policy takes.
    RateLimited,
    /// From an address, or without the credentials, that their route's policy asks for.
    Denied,
    /// A mistake of ours, caught.
    Panic,
    /// Of one source, to apps that speak HTTP/2, open at once.
    TooManyStreams,
}

impl Refusal {
    pub const ALL: [Refusal; 20] = [
        Refusal::TooManyConnections,
        Refusal::TooManyOfProxies,
        Refusal::TooManyOfAddress,
        Refusal::TooFastOfAddress,
        Refusal::NoDescriptors,
        Refusal::ProxyHeader,
        Refusal::UnknownName,
        Refusal::HandshakeFailed,
        Refusal::HandshakeSlow,
        Refusal::SlowHead,
        Refusal::SlowBody,
        Refusal::SlowReader,
        Refusal::Flood,
        Refusal::Abandoned,
        Refusal::BadRequest,
        Refusal::NotServed,
        Refusal::RateLimited,
        Refusal::Denied,
        Refusal::Panic,
        Refusal::TooManyStreams,
    ];

    /// Whether many of it are an attack. Apart from those are what a broken link, an old password, a busy script or a name
    /// that has just moved brings by the thousand, and our own mistakes.
    pub fn is_hostile(self) -> bool {
        !matches!(
            self,
            Refusal::NotServed | Refusal::RateLimited | Refusal::Denied | Refusal::Panic
        )
    }

    /// What it is called wherever it is counted; stays as it is.
    pub fn name(self) -> &'static str {
        match self {
            Refusal::TooManyConnections => "too_many_connections",
            Refusal::TooManyOfProxies => "too_many_of_proxies",
            Refusal::TooManyOfAddress => "too_many_of_address",
            Refusal::TooFastOfAddress => "too_fast_of_address",
            Refusal::NoDescriptors => "no_descriptors",
            Refusal::ProxyHeader => "proxy_header",
            Refusal::UnknownName => "unknown_name",
            Refusal::HandshakeFailed => "handshake_failed",
            Refusal::HandshakeSlow => "handshake_slow",
            Refusal::SlowHead => "slow_head",
            Refusal::SlowBody => "slow_body",
            Refusal::SlowReader => "slow_reader",
            Refusal::Flood => "flood",
            Refusal::Abandoned => "abandoned",
            Refusal::BadRequest => "bad_request",
            Refusal::NotServed => "not_served",
            Refusal::RateLimited => "rate_limited",
            Refusal::Denied => "denied",
            Refusal::Panic => "panic",
            Refusal::TooManyStreams => "too_many_streams",
        }
    }

    /// What it is, for a person: one of it, and several.
    pub fn words(self) -> (&'static str, &'static str) {
        match self {
            Refusal::TooManyConnections => ("connection too many", "connections too many"),
            Refusal::TooManyOfProxies => (
                "connection too many of proxies",
                "connections too many of proxies",
            ),
            Refusal::TooManyOfAddress => (
                "connection too many of one address",
                "connections too many of one address",
            ),
            Refusal::TooFastOfAddress => (
                "connection too fast of one address",
                "connections too fast of one address",
            ),
            Refusal::NoDescriptors => (
                "connection without a file descriptor left",
                "connections without a file descriptor left",
            ),
            Refusal::ProxyHeader => (
                "connection without a PROXY header",
                "connections without a PROXY header",
            ),
            Refusal::UnknownName => ("unknown name", "unknown names"),
            Refusal::HandshakeFailed => ("failed TLS handshake", "failed TLS handshakes"),
            Refusal::HandshakeSlow => ("slow TLS handshake", "slow TLS handshakes"),
            Refusal::SlowHead => ("slow request head", "slow request heads"),
            Refusal::SlowBody => ("slow upload", "slow uploads"),
            Refusal::SlowReader => ("slow reader", "slow readers"),
            Refusal::Flood => ("flood of frames", "floods of frames"),
            Refusal::Abandoned => ("connection of rapid resets", "connections of rapid resets"),
            Refusal::BadRequest => ("bad request", "bad requests"),
            Refusal::NotServed => (
                "request for what is not here",
                "requests for what is not here",
            ),
            Refusal::RateLimited => ("request over its rate", "requests over their rate"),
            Refusal::Denied => ("request denied by a policy", "requests denied by a policy"),
            Refusal::Panic => ("mistake of the edge itself", "mistakes of the edge itself"),
            Refusal::TooManyStreams => (
                "request too many of its address at once",
                "requests too many of their address at once",
            ),
        }
    }
}

/// How often each came about since the edge started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refusals([u64; Refusal::ALL.len()]);

impl Refusals {
    pub fn of(&self, refusal: Refusal) -> u64 {
        self.0[refusal as usize]
    }

    /// Each that came about, and how often.
    pub fn iter(&self) -> impl Iterator<Item = (Refusal, u64)> {
        let counts = Refusal::ALL.map(|refusal| (refusal, self.of(refusal)));
        counts.into_iter().filter(|(_, count)| *count > 0)
    }

    pub fn sum(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Those of which many are an attack.
    pub fn hostile(&self) -> u64 {
        let hostile = self.iter().filter(|(refusal, _)| refusal.is_hostile());
        hostile.map(|(_, count)| count).sum()
    }

    /// What came about after `earlier` was read.
    pub fn since(&self, earlier: &Refusals) -> Refusals {
        let mut left = *self;
        for (count, before) in left.0.iter_mut().zip(earlier.0) {
            *count = count.saturating_sub(before);
        }
        left
    }
}

impl FromIterator<(Refusal, u64)> for Refusals {
    fn from_iter<I: IntoIterator<Item = (Refusal, u64)>>(counts: I) -> Refusals {
        let mut refusals = Refusals::default();
        for (refusal, count) in counts {
            refusals.0[refusal as usize] += count;
        }
        refusals
    }
}

/// The counters, written by all.
#[derive(Default)]
pub(super) struct Refused([AtomicU64; Refusal::ALL.len()]);

impl Refused {
    pub(super) fn count(&self, refusal: Refusal) {
        self.0[refusal as usize].fetch_add(1, Relaxed);
    }

    pub(super) fn read(&self) -> Refusals {
        Refusals(std::array::from_fn(|index| self.0[index].load(Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e4_every_refusal_has_a_place_and_a_name_of_its_own() {
        let refused = Refused::default();
        for (index, refusal) in Refusal::ALL.into_iter().enumerate() {
            assert_eq!(refusal as usize, index);
            (0..=index).for_each(|_| refused.count(refusal));
        }
        let first = refused.read();
        let counted: Vec<(&str, u64)> = first.iter().map(|(why, n)| (why.name(), n)).collect();
        let mut names: Vec<&str> = counted.iter().map(|(name, _)| *name).collect();
        names.dedup();
        assert_eq!(names.len(), Refusal::ALL.len());
        assert_eq!(counted[12], ("flood", 13));
        refused.count(Refusal::Flood);
        let since = refused.read().since(&first);
        assert_eq!((since.sum(), since.of(Refusal::Flood)), (1, 1));
    }
}
