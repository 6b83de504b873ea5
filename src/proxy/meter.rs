//! Meter: what a route or a target has done, counted by the workers and read by the control plane.
//!
//! Each worker writes to a slab of its own, made at its first request, so counting never waits for another core.
//! Counters only grow; whoever wants rates subtracts two readings.
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::histogram::{Counting, Histogram};

/// Slabs of a meter; further workers share them.
const SLABS: usize = 16;

#[derive(Default)]
pub struct Meter {
    slabs: [OnceLock<Box<Slab>>; SLABS],
}

struct Slab {
    started: AtomicU64,
    ended: AtomicU64,
    /// Begun and ended in another process.
    elsewhere: AtomicU64,
    classes: [AtomicU64; 5],
    failures: AtomicU64,
    rate_limited: AtomicU64,
    denied: AtomicU64,
    tunnels: AtomicU64,
    ended_at_limit: AtomicU64,
    cut_at_limit: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    latency: Counting,
}

/// One reading of a meter, summed over the workers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Requests whose body or tunnel has ended.
    pub requests: u64,
    pub in_flight: u64,
    /// Answers 1xx (tunnels), 2xx, 3xx, 4xx, 5xx.
    pub classes: [u64; 5],
    /// Answers that are the edge's own error because the upstream failed.
    pub failures: u64,
    /// Answers 429 of the route's rate limit.
    pub rate_limited: u64,
    /// Answers 401 and 403 of the route's policies: without credentials, or from an address that is not served.
    pub denied: u64,
    /// Requests that became tunnels (WebSocket); their time is not in the histogram.
    pub tunnels: u64,
    /// Streams that were ended in their own way because a drain had reached its limit.
    pub ended_at_limit: u64,
    /// Answers and tunnels that were broken off because of that.
    pub cut_at_limit: u64,
    /// Body bytes from clients, and to them.
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// From the request's head to the answer's head, in microseconds.
    pub latency: Histogram,
}

impl Reading {
    /// What was counted since an earlier reading of the same meter; nothing is in flight in it.
    #[must_use]
    pub fn since(&self, earlier: &Reading) -> Reading {
        let mut classes = self.classes;
        for (now, before) in classes.iter_mut().zip(earlier.classes) {
            *now = now.saturating_sub(before);
        }
        let of = |count: fn(&Reading) -> u64| count(self).saturating_sub(count(earlier));
        Reading {
            requests: of(|r| r.requests),
            in_flight: 0,
            classes,
            failures: of(|r| r.failures),
            rate_limited: of(|r| r.rate_limited),
            denied: of(|r| r.denied),
            tunnels: of(|r| r.tunnels),
            ended_at_limit: of(|r| r.ended_at_limit),
            cut_at_limit: of(|r| r.cut_at_limit),
            bytes_in: of(|r| r.bytes_in),
            bytes_out: of(|r| r.bytes_out),
            latency: self.latency.since(&earlier.latency),
        }
    }
}

impl Meter {
    pub fn new() -> Meter {
        Meter::default()
    }

    pub fn read(&self) -> Reading {
        let mut reading = Reading::default();
        for slab in self.slabs.iter().filter_map(OnceLock::get) {
            let ended = slab.ended.load(Relaxed);
            reading.requests += ended + slab.elsewhere.load(Relaxed);
            reading.in_flight += slab.started.load(Relaxed).saturating_sub(ended);
            for (sum, class) in reading.classes.iter_mut().zip(&slab.classes) {
                *sum += class.load(Relaxed);
            }
            reading.failures += slab.failures.load(Relaxed);
            reading.rate_limited += slab.rate_limited.load(Relaxed);
            reading.denied += slab.denied.load(Relaxed);
            reading.tunnels += slab.tunnels.load(Relaxed);
            reading.ended_at_limit += slab.ended_at_limit.load(Relaxed);
            reading.cut_at_limit += slab.cut_at_limit.load(Relaxed);
            reading.bytes_in += slab.bytes_in.load(Relaxed);
            reading.bytes_out += slab.bytes_out.load(Relaxed);
            slab.latency.add_to(&mut reading.latency);
        }
        reading
    }

    /// Counts what another meter has counted for this one.
    pub fn add(&self, counted: &Reading) {
        let slab = self.slab(0);
        // Not as begun here: what was begun earns this process second chances.
        slab.elsewhere.fetch_add(counted.requests, Relaxed);
        for (class, count) in slab.classes.iter().zip(counted.classes) {
            class.fetch_add(count, Relaxed);
        }
        for (sum, count) in [
            (&slab.failures, counted.failures),
            (&slab.rate_limited, counted.rate_limited),
            (&slab.denied, counted.denied),
            (&slab.tunnels, counted.tunnels),
            (&slab.ended_at_limit, counted.ended_at_limit),
            (&slab.cut_at_limit, counted.cut_at_limit),
            (&slab.bytes_in, counted.bytes_in),
            (&slab.bytes_out, counted.bytes_out),
        ] {
            sum.fetch_add(count, Relaxed);
        }
        slab.latency.add(&counted.latency);
    }

    /// Requests begun so far.
    pub(super) fn started(&self) -> u64 {
        let slabs = self.slabs.iter().filter_map(OnceLock::get);
        slabs.map(|slab| slab.started.load(Relaxed)).sum()
    }

    pub(super) fn start(&self, worker: usize) {
        self.slab(worker).started.fetch_add(1, Relaxed);
    }

    pub(super) fn end(&self, worker: usize, outcome: &Outcome) {
        let slab = self.slab(worker);
        if let Some(status) = outcome.status {
            slab.classes[usize::from(status / 100).clamp(1, 5) - 1].fetch_add(1, Relaxed);
            if status == 101 {
                slab.tunnels.fetch_add(1, Relaxed);
            } else {
                slab.latency.count(outcome.head_micros);
            }
        }
        if outcome.failed {
            slab.failures.fetch_add(1, Relaxed);
        }
        if let Some(by) = outcome.refused {
            let count = match by {
                ByPolicy::Rate => &slab.rate_limited,
                ByPolicy::Access => &slab.denied,
            };
            count.fetch_add(1, Relaxed);
        }
        if let Some(how) = outcome.at_limit {
            let count = match how {
                AtLimit::Ended => &slab.ended_at_limit,
                AtLimit::Cut => &slab.cut_at_limit,
            };
            count.fetch_add(1, Relaxed);
        }
        slab.bytes_in.fetch_add(outcome.bytes_in, Relaxed);
        slab.bytes_out.fetch_add(outcome.bytes_out, Relaxed);
        slab.ended.fetch_add(1, Relaxed);
    }

    fn slab(&self, worker: usize) -> &Slab {
        self.slabs[worker % SLABS].get_or_init(|| {
            Box::new(Slab {
                started: AtomicU64::new(0),
                ended: AtomicU64::new(0),
                elsewhere: AtomicU64::new(0),
                classes: [const { AtomicU64::new(0) }; 5],
                failures: AtomicU64::new(0),
                rate_limited: AtomicU64::new(0),
                denied: AtomicU64::new(0),
                tunnels: AtomicU64::new(0),
                ended_at_limit: AtomicU64::new(0),
                cut_at_limit: AtomicU64::new(0),
                bytes_in: AtomicU64::new(0),
                bytes_out: AtomicU64::new(0),
                latency: Counting::new(),
            })
        })
    }
}

/// What a route's policies refuse.
#[derive(Clone, Copy)]
pub(super) enum ByPolicy {
    /// One more than the rate takes.
    Rate,
    /// Who is not let in.
    Access,
}

/// What became of an answer when a drain had reached its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AtLimit {
    /// In its own way, so that its client comes back.
    Ended,
    Cut,
}

/// How one request ended; without a status the client left before an answer.
#[derive(Default)]
pub(super) struct Outcome {
    pub(super) status: Option<u16>,
    pub(super) head_micros: u64,
    pub(super) failed: bool,
    /// By the route's policies.
    pub(super) refused: Option<ByPolicy>,
    /// It was over because of a drain.
    pub(super) at_limit: Option<AtLimit>,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n4_what_another_meter_counted_is_added_once_and_what_came_since_is_told_apart() {
        let outcome = |status, head_micros| Outcome {
            status: Some(status),
            head_micros,
            bytes_out: 10,
            ..Outcome::default()
        };
        let (here, there) = (Meter::new(), Meter::new());
        for meter in [&here, &there] {
            meter.start(1);
            meter.end(1, &outcome(200, 1_500));
        }
        let first = there.read();
        there.start(2);
        there.end(2, &outcome(503, 90));
        there.start(2);
        let news = there.read().since(&first);
        here.add(&news);
        let sum = here.read();
        assert_eq!((sum.requests, sum.in_flight), (2, 0));
        assert_eq!((sum.classes, sum.bytes_out), ([0, 1, 0, 0, 1], 20));
        // Each lies in the bucket that it was counted in.
        assert_eq!(sum.latency, there.read().latency);
        assert_eq!(there.read().since(&there.read()).requests, 0);
    }
}
