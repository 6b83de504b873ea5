//! Target: one address that answers for a route, and the claims on it.
//!
//! Invariant: a request either is counted before the drain looks or is refused by `claim`; `claims` has the protocol.
//! A target keeps its identity over snapshots for as long as its address lives: routing hands the same `Arc` on.
//! Whether an address deserves traffic is decided elsewhere; here is only who is using it.
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use tokio_util::sync::CancellationToken;

use super::claims::Claims;
use super::meter::Meter;
pub use crate::base::protocol::Protocol;

/// Where a target listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => write!(f, "{address}"),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// What is known of a target beside its address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traits {
    pub protocol: Protocol,
    /// Requests it takes at once, at most.
    pub cap: Option<u32>,
}

pub struct Target {
    key: Arc<str>,
    address: Address,
    traits: Traits,
    id: u64,
    claims: Claims,
    cut: CancellationToken,
    idle_limit_ms: AtomicU32,
    meter: Arc<Meter>,
}

impl Target {
    /// `key` names the target in figures and failure reports, e.g. `replica:31`.
    pub fn new(key: impl Into<Arc<str>>, address: Address) -> Arc<Target> {
        Self::with(key, address, Traits::default())
    }

    pub fn with(key: impl Into<Arc<str>>, address: Address, traits: Traits) -> Arc<Target> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Arc::new(Target {
            key: key.into(),
            address,
            traits,
            id: NEXT.fetch_add(1, Relaxed),
            claims: Claims::new(),
            cut: CancellationToken::new(),
            idle_limit_ms: AtomicU32::new(super::limits::FIRST_IDLE_LIMIT_MS),
            meter: Arc::new(Meter::new()),
        })
    }

    pub fn key(&self) -> &Arc<str> {
        &self.key
    }

    pub fn address(&self) -> &Address {
        &self.address
    }

    pub fn traits(&self) -> Traits {
        self.traits
    }

    pub fn meter(&self) -> &Arc<Meter> {
        &self.meter
    }

    /// Requests and tunnels whose bodies have not ended yet.
    pub fn in_flight(&self) -> u64 {
        self.claims.in_flight()
    }

    pub fn is_retiring(&self) -> bool {
        self.claims.is_retiring()
    }

    /// No claim succeeds after this; those already taken run on.
    pub fn retire(&self) {
        self.claims.retire();
    }

    /// Resolves when a retired target has no claim left. Bound it with a deadline, then call `cut`.
    pub async fn drained(&self) {
        self.claims.drained().await;
    }

    /// The drain's limit has passed: tunnels are closed with "service restart", what else runs is ended.
    pub fn cut(&self) {
        self.cut.cancel();
    }

    pub(super) fn cut_signal(&self) -> &CancellationToken {
        &self.cut
    }

    /// Distinguishes pools of targets whose keys or addresses were used before.
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    pub(super) fn idle_limit_ms(&self) -> u32 {
        self.idle_limit_ms.load(Relaxed)
    }

    pub(super) fn learn_idle_limit_ms(&self, limit: u32) {
        self.idle_limit_ms.store(limit, Relaxed);
    }

    /// Nothing if the target is retiring: choose again, from the newest snapshot.
    pub(super) fn claim(self: &Arc<Self>) -> Option<Claim> {
        self.claims.take().then(|| Claim {
            target: self.clone(),
        })
    }
}

/// The right to use a target, and the count of it. Dropped when the body has ended.
pub(super) struct Claim {
    target: Arc<Target>,
}

impl Claim {
    pub(super) fn target(&self) -> &Arc<Target> {
        &self.target
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.target.claims.give_back();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
    use std::time::Duration;

    use super::*;

    fn target() -> Arc<Target> {
        Target::new("t", Address::Tcp(([127, 0, 0, 1], 1).into()))
    }

    #[tokio::test]
    async fn f4_a_retired_target_gives_no_claim_and_is_drained_by_the_last() {
        let target = target();
        let (first, second) = (target.claim(), target.claim());
        assert_eq!(target.in_flight(), 2);
        target.retire();
        assert!(target.claim().is_none());
        drop(first);
        let drained = target.drained();
        tokio::pin!(drained);
        assert!(
            tokio::time::timeout(Duration::from_millis(20), &mut drained)
                .await
                .is_err()
        );
        drop(second);
        tokio::time::timeout(Duration::from_secs(20), drained)
            .await
            .unwrap();
    }

    /// Claimers run against retirement: after `drained` nobody may be using the target any more.
    #[test]
    fn f4_no_claim_is_in_use_after_the_drain_whatever_the_timing() {
        for round in 0..300 {
            let target = target();
            let (using, gone) = (AtomicUsize::new(0), AtomicBool::new(false));
            std::thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| {
                        while let Some(claim) = target.claim() {
                            using.fetch_add(1, SeqCst);
                            assert!(!gone.load(SeqCst), "a target in use was taken away");
                            using.fetch_sub(1, SeqCst);
                            drop(claim);
                        }
                    });
                }
                std::thread::sleep(Duration::from_micros(round % 50));
                target.retire();
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_time()
                    .build()
                    .unwrap();
                runtime
                    .block_on(async {
                        tokio::time::timeout(Duration::from_secs(5), target.drained()).await
                    })
                    .unwrap();
                gone.store(true, SeqCst);
                assert_eq!(using.load(SeqCst), 0);
            });
            assert_eq!(target.in_flight(), 0);
        }
    }
}
