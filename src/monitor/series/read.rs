//! Slots as they are read, and what pages compute from several of them.

use super::super::latency::Latency;

/// The box over one slot.
#[derive(Clone, Debug, PartialEq)]
pub struct BoxSlot {
    /// Mean share of all cores.
    pub cpu: f64,
    /// Highest share.
    pub cpu_max: f64,
    /// Mean bytes in use.
    pub memory_used: u64,
    /// Highest.
    pub memory_max: u64,
    /// Bytes in all.
    pub memory_total: u64,
    /// Highest use of swap.
    pub swap_max: u64,
    /// Bytes of disk taken at its end.
    pub disk_used: u64,
    /// Bytes of disk in all.
    pub disk_total: u64,
    /// Mean load.
    pub load: f64,
    /// Bytes in.
    pub received: u64,
    /// Bytes out.
    pub sent: u64,
}

/// What a subject answered over one slot, or over several merged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrafficSlot {
    /// Requests that ended.
    pub requests: u64,
    /// Answers 4xx.
    pub client_errors: u64,
    /// Answers 5xx.
    pub server_errors: u64,
    /// The edge's own errors because the upstream failed.
    pub failures: u64,
    /// Bytes from clients.
    pub received: u64,
    /// Bytes to them.
    pub sent: u64,
    /// Latencies.
    pub latency: Latency,
}

impl TrafficSlot {
    /// Adds another slot.
    pub fn merge(&mut self, other: &Self) {
        self.requests += other.requests;
        self.client_errors += other.client_errors;
        self.server_errors += other.server_errors;
        self.failures += other.failures;
        self.received += other.received;
        self.sent += other.sent;
        self.latency.merge(&other.latency);
    }

    /// Share of 5xx; `None` without requests.
    #[allow(clippy::cast_precision_loss)]
    pub fn server_error_share(&self) -> Option<f64> {
        (self.requests > 0).then(|| self.server_errors as f64 / self.requests as f64)
    }
}

/// How a check went over one slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CheckSlot {
    /// Answered.
    pub up: u64,
    /// Not answered.
    pub down: u64,
    /// Sum over the answers.
    pub millis_sum: u64,
    /// The slowest answer.
    pub millis_max: u64,
}

impl CheckSlot {
    /// Share of asked times it answered; `None` when it was not asked.
    #[allow(clippy::cast_precision_loss)]
    pub fn share(slots: &[Self]) -> Option<f64> {
        let up: u64 = slots.iter().map(|s| s.up).sum();
        let all: u64 = up + slots.iter().map(|s| s.down).sum::<u64>();
        (all > 0).then(|| up as f64 / all as f64)
    }

    /// The same slots in `bars` pieces of equal length.
    pub fn fold(slots: &[Self], bars: usize) -> Vec<Self> {
        let mut folded = vec![Self::default(); bars];
        for (at, slot) in slots.iter().enumerate() {
            if let Some(bar) = folded.get_mut(at * bars / slots.len().max(1)) {
                bar.up += slot.up;
                bar.down += slot.down;
                bar.millis_sum += slot.millis_sum;
                bar.millis_max = bar.millis_max.max(slot.millis_max);
            }
        }
        folded
    }
}
