//! Target: one address that answers for a route, and the claims on it.
//!
//! Invariant: a request either is counted before the drain looks or is refused by `claim`; `claims` has the protocol.
//! A target keeps its identity over snapshots for as long as its address lives: routing hands the same `Arc` on.
//! Whether an address deserves traffic is decided elsewhere; here is only who is using it.
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{
    AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst,
};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::claims::Claims;
use super::gate::Gate;
use super::meter::Meter;
use super::standing::Standing;
use crate::base::mono::Mono;
pub use crate::base::protocol::Protocol;
use crate::base::said::Said;

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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Traits {
    pub protocol: Protocol,
    /// Requests it takes at once, at most. Over HTTP/1.1 fewer than twice as many connections are open (`upstream::pool`).
    pub cap: Option<u32>,
}

/// So often it may close idle connections earlier than it says, by a restart, before its word counts for nothing.
const BROKEN_WORDS: u32 = 3;
/// Connections closed right behind an answer, none kept between: it means it.
const AT_ONCE: u8 = 2;
/// What is found within this is the same closing.
const ONE_BREAK: Duration = Duration::from_secs(1);
/// After this long it is another one's.
const FORGOTTEN: Duration = Duration::from_secs(3600);

pub struct Target {
    key: Arc<str>,
    address: Address,
    traits: Traits,
    id: u64,
    claims: Claims,
    cut: CancellationToken,
    /// The same, for whoever only looks: all but one task of each worker (`endings`).
    is_cut: AtomicBool,
    idle_limit_ms: AtomicU32,
    /// What it said of that, 0 where it said nothing, and how often it did not keep to it.
    /// How often in a row, up to a few, it closed a connection right behind an answer.
    closed_at_once: AtomicU8,
    idle_told_ms: AtomicU32,
    idle_broken: AtomicU32,
    idle_broken_at: AtomicU64,
    meter: Arc<Meter>,
    standing: Standing,
    left: AtomicU64,
    leave: Arc<Notify>,
    mark: OnceLock<u64>,
    /// That its answers are malformed.
    said_malformed: Said,
}

impl Target {
    /// Its answer was refused because of this. Told once a minute, however many ask.
    pub(super) fn answers_badly(&self, what: &str) {
        if self.said_malformed.is_due(Instant::now()) {
            tracing::warn!(target = %self.key, "answers of the target are refused: {what}. Said once a minute");
        }
    }

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
            is_cut: AtomicBool::new(false),
            idle_limit_ms: AtomicU32::new(super::limits::FIRST_IDLE_LIMIT_MS),
            closed_at_once: AtomicU8::new(0),
            idle_told_ms: AtomicU32::new(0),
            idle_broken: AtomicU32::new(0),
            idle_broken_at: AtomicU64::new(0),
            meter: Arc::new(Meter::new()),
            standing: Standing::default(),
            left: AtomicU64::new(0),
            leave: Arc::default(),
            mark: OnceLock::new(),
            said_malformed: Said::new(Instant::now()),
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

    /// The drain's limit has passed: WebSockets are closed with "service restart", server-sent events and gRPC calls in
    /// their own way, other answers without a length are broken off. Requests that wait for an answer, and answers with
    /// a length, go on until the target is stopped.
    pub fn cut(&self) {
        self.is_cut.store(true, SeqCst);
        self.cut.cancel();
    }

    pub(super) fn is_cut(&self) -> bool {
        self.is_cut.load(Relaxed)
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

    /// It closed a connection right behind an answer, and had not said so.
    pub(super) fn closed_at_once(&self) {
        if !self.closes_at_once() {
            self.closed_at_once.fetch_add(1, Relaxed);
        }
    }

    /// It answered on a connection that it had kept.
    pub(super) fn kept_open(&self) {
        if self.closed_at_once.load(Relaxed) != 0 {
            self.closed_at_once.store(0, Relaxed);
        }
    }

    /// Whether it may close what it has just answered on, as far as is known: what cannot be sent again is not sent there.
    pub(super) fn closes_at_once(&self) -> bool {
        self.closed_at_once.load(Relaxed) >= AT_ONCE
    }

    /// It said how long it keeps an idle connection: believed, until it has closed some earlier a few times.
    pub(super) fn idle_limit_is_told(&self, limit: u32) {
        let is_doubted = self.idle_broken.load(Relaxed) >= BROKEN_WORDS;
        let now = self.idle_limit_ms();
        if limit < now || (limit > now && !is_doubted) {
            self.idle_limit_ms.store(limit, Relaxed);
        }
        if limit != self.idle_told_ms.load(Relaxed) {
            self.idle_told_ms.store(limit, Relaxed);
        }
    }

    /// It has closed one before the limit, which is this from now on.
    pub(super) fn idle_limit_is_found(&self, limit: u32, now: Mono) {
        let before = self.idle_limit_ms();
        if limit < before {
            if before == self.idle_told_ms.load(Relaxed) {
                self.word_is_broken(now);
            }
            self.idle_limit_ms.store(limit, Relaxed);
        }
    }

    /// One that restarts does so for all workers, which find it out one after the other, and not every hour.
    fn word_is_broken(&self, now: Mono) {
        let last = Mono(self.idle_broken_at.load(Relaxed));
        let times = self.idle_broken.load(Relaxed);
        if times > 0 && now.since(last) < ONE_BREAK {
            return;
        }
        let is_long_ago = now.since(last) > FORGOTTEN;
        self.idle_broken_at.store(now.0, Relaxed);
        self.idle_broken
            .store(if is_long_ago { 1 } else { times + 1 }, Relaxed);
    }

    pub(super) fn standing(&self) -> &Standing {
        &self.standing
    }

    /// It is given up: requests that only read and wait for its answer go elsewhere now.
    pub fn leave(&self) {
        self.left.fetch_add(1, SeqCst);
        self.leave.notify_waiters();
    }

    /// How often it was given up, and the signal for the next time. Whoever waits takes the signal and then looks whether
    /// the count has grown since he began.
    pub(super) fn leaves(&self) -> u64 {
        self.left.load(SeqCst)
    }

    pub(super) fn leave_signal(&self) -> &Arc<Notify> {
        &self.leave
    }

    /// What cookies call it: known to nobody without the key, which is the same for each call.
    pub(super) fn mark(&self, key: &aws_lc_rs::hmac::Key) -> u64 {
        *self.mark.get_or_init(|| {
            let tag = aws_lc_rs::hmac::sign(key, self.key.as_bytes());
            let first = tag.as_ref().first_chunk().copied();
            u64::from_be_bytes(first.unwrap_or_default())
        })
    }

    /// It takes requests, but has no place for another one just now.
    pub(super) fn is_full(&self) -> bool {
        let cap = self.traits.cap;
        cap.is_some_and(|cap| self.in_flight() >= cap.into()) && !self.is_retiring()
    }

    /// Nothing if the target is retiring, or full: choose again, from the newest snapshot.
    pub(super) fn claim(self: &Arc<Self>) -> Option<Claim> {
        let taken = match self.traits.cap {
            None => self.claims.take(),
            Some(cap) => self.claims.take_below(cap.into()),
        };
        taken.then(|| Claim {
            target: self.clone(),
            wakes: None,
        })
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        // For those who wait for it: there is nothing more to come.
        self.cut.cancel();
    }
}

/// The right to use a target, and the count of it. Dropped when the body has ended.
pub(super) struct Claim {
    target: Arc<Target>,
    wakes: Option<Arc<Gate>>,
}

impl Claim {
    /// Where others wait for its place, who are told when it is free.
    pub(super) fn wakes(&mut self, gate: &Arc<Gate>) {
        self.wakes = Some(gate.clone());
    }

    /// It is given back by who could not use it: nobody is told of a place that is none.
    pub(super) fn wakes_nobody(&mut self) {
        self.wakes = None;
    }

    pub(super) fn target(&self) -> &Arc<Target> {
        &self.target
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.target.claims.give_back();
        if let Some(gate) = &self.wakes {
            gate.place_is_free();
        }
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
                        tokio::time::timeout(Duration::from_secs(60), target.drained()).await
                    })
                    .unwrap();
                gone.store(true, SeqCst);
                assert_eq!(using.load(SeqCst), 0);
            });
            assert_eq!(target.in_flight(), 0);
        }
    }

    #[test]
    fn e5_whoever_closes_earlier_than_it_says_is_believed_a_few_times() {
        let target = Target::new("one", Address::Tcp(([127, 0, 0, 1], 1).into()));
        let at = |seconds| Mono::now().plus(Duration::from_secs(seconds));
        for (seconds, limit) in [(0, 59_500), (5, 59_500), (10, 59_500), (15, 2_250)] {
            target.idle_limit_is_told(59_500);
            assert_eq!(target.idle_limit_ms(), limit);
            // What the workers find one after the other is one closing.
            for _ in 0..4 {
                target.idle_limit_is_found(2_250, at(seconds));
                assert_eq!(target.idle_limit_ms(), 2_250);
                if limit > 2_250 {
                    target.idle_limit_is_told(59_500);
                }
            }
            target.idle_limit_is_found(2_250, at(seconds));
        }
        // What is shorter is always heeded.
        target.idle_limit_is_told(1_500);
        assert_eq!(target.idle_limit_ms(), 1_500);
        // What was found alone, before anything was said, is no broken word.
        let target = Target::new("two", Address::Tcp(([127, 0, 0, 1], 1).into()));
        (0..9).for_each(|n| target.idle_limit_is_found(1_000 - n, at(10 * u64::from(n))));
        target.idle_limit_is_told(4_500);
        assert_eq!(target.idle_limit_ms(), 4_500);
        // Nor are restarts now and then.
        for hours in 1..9 {
            target.idle_limit_is_told(59_500);
            assert_eq!(target.idle_limit_ms(), 59_500);
            target.idle_limit_is_found(2_250, at(hours * 4_000));
        }
    }
}
