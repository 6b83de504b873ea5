//! Pool: idle connections of one worker, by target, the freshest first.
//!
//! A connection is used again only while younger than its target's idle limit. The limit starts short, follows what the
//! upstream says in `Keep-Alive: timeout`, and shrinks when a connection is found closed earlier than that; after a few times
//! what it says counts no more. An app that closes right behind its answers, without a word, meets the next request on its
//! way: what cannot be sent again then takes no connection that was not kept for a moment.
//!
//! Of a target with a cap each worker keeps the cap shared among workers, rounded down: beside the requests of one worker less
//! than another cap lies idle at the rest, and a cap below the count of workers is one of connections as well.
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::connection::Connection;
use crate::base::mono::Mono;
use crate::base::sabotage::Sabotage;
use crate::proxy::target::Target;

const KEPT: usize = 512;
/// Stay clear of the upstream's own limit by this much: what we send may be on its way while it closes.
const MARGIN_MS: u32 = 500;
const SHORTEST_MS: u32 = 400;
/// A connection closed younger than this tells of a restart, not of a limit.
const TOO_YOUNG_MS: u64 = 500;
const LONGEST_MS: u32 = 60_000;
/// Whoever closes right behind an answer has done so by then, and it has come here.
const MOMENT: Duration = Duration::from_millis(100);

pub(crate) struct Pool {
    idle: HashMap<u64, OfTarget>,
    filled: Rc<Notify>,
    workers: usize,
}

struct OfTarget {
    target: Weak<Target>,
    connections: Vec<Connection>,
}

impl Pool {
    /// One of so many workers'.
    pub(crate) fn new(workers: usize) -> Pool {
        Pool {
            idle: HashMap::new(),
            filled: Rc::default(),
            workers: workers.max(1),
        }
    }

    /// One that is kept. `reads`: what it is for may be sent again; other things go to an app that closes at once only on one
    /// that it has kept for a moment.
    pub(crate) fn take(
        &mut self,
        target: &Arc<Target>,
        reads: bool,
        now: Instant,
    ) -> Option<Connection> {
        let of_target = self.idle.get_mut(&target.id())?;
        if !reads && target.closes_at_once() && !Sabotage::OldConnections.is_on() {
            let oldest = of_target.connections.first()?;
            if now.saturating_duration_since(oldest.idle_since) < MOMENT {
                return None;
            }
            let oldest = of_target.connections.remove(0);
            of_target.connections.push(oldest);
        }
        while let Some(mut connection) = of_target.connections.pop() {
            let idle = now
                .saturating_duration_since(connection.idle_since)
                .as_millis() as u64;
            if is_too_old(target, idle) {
                // The one on top is the freshest: the rest are older still.
                of_target.connections.clear();
                return None;
            }
            if !is_closed(&mut connection) {
                connection.reused = true;
                return Some(connection);
            }
            closed_after(target, idle);
        }
        None
    }

    pub(crate) fn give_back(
        &mut self,
        target: &Arc<Target>,
        mut connection: Connection,
        now: Instant,
    ) {
        if target.is_retiring() || !connection.read.is_empty() {
            return;
        }
        let kept = match target.traits().cap {
            None => KEPT,
            Some(cap) => KEPT.min(cap as usize / self.workers),
        };
        if kept == 0 {
            return;
        }
        connection.idle_since = now;
        if self.idle.is_empty() {
            self.filled.notify_one();
        }
        let of_target = self.idle.entry(target.id()).or_insert_with(|| OfTarget {
            target: Arc::downgrade(target),
            connections: Vec::new(),
        });
        if of_target.connections.len() < kept {
            of_target.connections.push(connection);
        }
    }

    /// Told when there is something to sweep again.
    pub(crate) fn filled(&self) -> Rc<Notify> {
        self.filled.clone()
    }

    /// Closes what is too old or whose target is gone. The more often it looks, the better it knows when an upstream
    /// closes.
    pub(crate) fn sweep(&mut self, now: Instant) {
        self.idle.retain(|_, of_target| {
            let Some(target) = of_target
                .target
                .upgrade()
                .filter(|target| !target.is_retiring())
            else {
                return false;
            };
            of_target.connections.retain_mut(|connection| {
                let idle = now
                    .saturating_duration_since(connection.idle_since)
                    .as_millis() as u64;
                if is_too_old(&target, idle) {
                    return false;
                }
                let stale = is_closed(connection);
                if stale {
                    closed_after(&target, idle);
                }
                !stale
            });
            !of_target.connections.is_empty()
        });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.idle.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.idle.clear();
    }
}

/// Whether the target may be about to close a connection that was idle for so long.
fn is_too_old(target: &Target, idle_ms: u64) -> bool {
    idle_ms >= u64::from(target.idle_limit_ms()) && !Sabotage::OldConnections.is_on()
}

fn is_closed(connection: &mut Connection) -> bool {
    let nobody_looks = Sabotage::OldConnections.is_on() || Sabotage::NoRetries.is_on();
    !nobody_looks && connection.is_stale()
}

/// The upstream said how long it keeps an idle connection.
pub(crate) fn told_timeout(target: &Target, seconds: u32) {
    let limit = seconds
        .saturating_mul(1_000)
        .saturating_sub(MARGIN_MS)
        .clamp(SHORTEST_MS, LONGEST_MS);
    target.idle_limit_is_told(limit);
}

/// The upstream closed an idle connection at this age: stay below it from now on.
fn closed_after(target: &Target, idle_ms: u64) {
    if idle_ms < TOO_YOUNG_MS {
        return target.closed_at_once();
    }
    let limit = u32::try_from(idle_ms * 3 / 4)
        .unwrap_or(LONGEST_MS)
        .clamp(SHORTEST_MS, LONGEST_MS);
    target.idle_limit_is_found(limit, Mono::now());
}
