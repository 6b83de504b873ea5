//! What this daemon knows of one row: its spec, what the engine last showed,
//! its health and its past. Pure: time and sightings are arguments. Waits go by
//! the clock that nobody sets; what the engine says of times is only shown.
//!
//! Who brings a container back: until it has been healthy for ten seconds, we
//! do (a container that cannot even start must not spin at the engine's tenth
//! of a second). From then on the engine does (`unless-stopped`), because apps
//! keep running while Freehold is stopped and come back after a reboot without
//! it. When it fails twice we take it back and wait 1 s, 2 s, … 5 min between
//! tries, until it has been healthy for a minute.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::base::clock::UnixMs;
use crate::base::mono::Mono;
use crate::base::protocol::Protocol;
use crate::base::retry::Backoff;
use crate::docker::{Inspected, Phase, Restart};

use super::health::Miss;
use super::live::{Exit, Live, State};
use super::names::{ROW, SPEC};
use super::plan::{Desired, Found, Wanted};
use super::replace::{Because, Member, Standing};
use super::spec::{Kind, Spec};
use super::store::Row;

/// Healthy for this long: the engine may bring it back by itself.
const TRUSTED_AFTER: Duration = Duration::from_secs(10);
/// Healthy for this long: its earlier failures are forgotten.
const FORGIVEN_AFTER: Duration = Duration::from_secs(60);
/// From this failure on it is a crash loop.
const LOOP: u32 = 3;

/// What the engine last showed of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) id: String,
    pub(super) row: Option<i64>,
    pub(super) spec_hash: String,
    pub(super) phase: Phase,
    pub(super) pid: Option<u32>,
    pub(super) started: Option<UnixMs>,
    pub(super) finished: Option<UnixMs>,
    pub(super) exit_code: i64,
    pub(super) oom: bool,
    pub(super) keeper: Restart,
    pub(super) keeps_log: bool,
    pub(super) addresses: std::collections::HashMap<String, IpAddr>,
}

impl From<Inspected> for Seen {
    fn from(i: Inspected) -> Self {
        Self {
            row: i.labels.get(ROW).and_then(|r| r.parse().ok()),
            spec_hash: i.labels.get(SPEC).cloned().unwrap_or_default(),
            id: i.id,
            phase: i.phase,
            pid: i.pid,
            started: i.started_ms.map(UnixMs),
            finished: i.finished_ms.map(UnixMs),
            exit_code: i.exit_code,
            oom: i.oom_killed,
            keeper: i.restart,
            keeps_log: i.keeps_log,
            addresses: i.addresses,
        }
    }
}

impl Seen {
    pub(super) fn exit(&self) -> Exit {
        Exit {
            code: self.exit_code,
            oom: self.oom,
            at: self.finished.unwrap_or(UnixMs(0)),
        }
    }

    fn runs(&self) -> bool {
        matches!(self.phase, Phase::Running | Phase::Paused)
    }

    /// One life of the container's process.
    fn life(&self) -> (&str, Option<UnixMs>) {
        (&self.id, self.started)
    }
}

/// What the health checks say of the present life.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Health {
    Unproven,
    Healthy { since: Mono },
    Unhealthy { why: String, since: Mono },
}

/// What others want to know of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Happening {
    /// Its process began: check it.
    Began,
    /// Its process is over: stop checking.
    Over,
    /// It ended though it should run.
    Died {
        exit: Exit,
        failures: u32,
        /// After how long it is started again.
        again: Option<Duration>,
    },
    /// It runs and gives no good answer: it is stopped and started.
    Replaced {
        why: String,
        because: Because,
        failures: u32,
    },
    /// It is healthy after failures.
    Recovered { failures: u32 },
    /// It runs, but its checks fail.
    TurnedUnhealthy(String),
    /// Its checks succeed again.
    TurnedHealthy,
}

/// One row and its present.
pub(super) struct Unit {
    pub(super) row: Row,
    pub(super) spec: Spec,
    pub(super) seen: Option<Seen>,
    /// Since when its present life is known of.
    began: Option<Mono>,
    /// Since when its present life is known to be over.
    ended: Option<Mono>,
    /// Why it could not be made or started.
    pub(super) refused: Option<String>,
    pub(super) last_answer: Option<String>,
    health: Health,
    /// Checks answered in a row while not healthy.
    hits: u32,
    misses: u32,
    /// Since when it gives no answer at all, without a break.
    silent: Option<Mono>,
    failures: u32,
    not_before: Option<Mono>,
    restarts: u32,
    last_exit: Option<Exit>,
    /// The life that we are ending ourselves, to begin another one.
    ending: Option<(String, Option<UnixMs>)>,
    /// When the engine last told that something in it was killed for want of memory.
    ran_out: Option<UnixMs>,
    /// Somebody waits in vain for this life's answer, over this protocol: its check may not tell that it hangs.
    doubt: Option<Protocol>,
    pub(super) backoff: Backoff,
    turns: Turns,
}

/// After how many checks in a row a container counts as healthy, and as not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Turns {
    pub(super) healthy_after: u32,
    pub(super) unhealthy_after: u32,
}

impl Unit {
    pub(super) fn new(row: Row, spec: Spec, backoff: Backoff, turns: Turns) -> Self {
        Self {
            row,
            spec,
            seen: None,
            began: None,
            ended: None,
            refused: None,
            last_answer: None,
            health: Health::Unproven,
            hits: 0,
            misses: 0,
            silent: None,
            failures: 0,
            not_before: None,
            restarts: 0,
            last_exit: None,
            ending: None,
            ran_out: None,
            doubt: None,
            backoff,
            turns,
        }
    }

    /// Takes edited settings; a wait that has begun stays as long as it was.
    pub(super) fn judge_by(&mut self, backoff: Backoff, turns: Turns) {
        self.backoff = backoff;
        self.turns = turns;
    }

    /// Takes the row as it is now written down.
    pub(super) fn update(&mut self, row: Row, spec: Spec) {
        if row.spec_hash != self.row.spec_hash {
            self.failures = 0;
            self.not_before = None;
            self.refused = None;
        }
        self.row = row;
        self.spec = spec;
    }

    /// Takes a new sighting. `ours` says that we ourselves are at work on it,
    /// so that an end is no failure.
    pub(super) fn see(&mut self, seen: Option<Seen>, ours: bool, now: Mono) -> Vec<Happening> {
        let before = std::mem::replace(&mut self.seen, seen);
        let ran = before.as_ref().is_some_and(Seen::runs);
        let runs = self.seen.as_ref().is_some_and(Seen::runs);
        let same_life = match (&before, &self.seen) {
            (Some(a), Some(b)) => a.life() == b.life(),
            (None, None) => true,
            _ => false,
        };
        let exited = |seen: &Option<Seen>| seen.as_ref().is_some_and(|s| s.phase == Phase::Exited);
        self.ended = match exited(&self.seen) {
            true if exited(&before) && same_life => self.ended.or(Some(now)),
            true => Some(now),
            false => None,
        };
        let mut happenings = Vec::new();
        if ran && (!runs || !same_life) {
            self.health = Health::Unproven;
            self.doubt = None;
            let planned = before
                .as_ref()
                .zip(self.ending.take())
                .is_some_and(|(b, (id, started))| b.life() == (id.as_str(), started));
            self.hits = 0;
            self.misses = 0;
            self.silent = None;
            happenings.push(Happening::Over);
            let same_container = match (&before, &self.seen) {
                (Some(a), Some(b)) => a.id == b.id,
                _ => false,
            };
            if same_container && !ours && !planned {
                happenings.extend(self.died(now));
            }
        }
        if runs && !(ran && same_life) {
            self.refused = None;
            self.began = Some(now);
            if before.is_some() && before.as_ref().is_some_and(|b| b.started.is_some()) {
                self.restarts = self.restarts.saturating_add(1);
            }
            happenings.push(Happening::Began);
        }
        if before.is_none()
            && let Some(seen) = self.seen.as_ref().filter(|s| s.phase == Phase::Exited)
        {
            self.last_exit = Some(seen.exit());
        }
        happenings
    }

    /// The engine told so.
    pub(super) fn ran_out_of_memory(&mut self, at: UnixMs) {
        self.ran_out = Some(at);
        if let Some(exit) = &mut self.last_exit {
            exit.oom |= exit.is_for_want_of_memory(at);
        }
    }

    fn died(&mut self, now: Mono) -> Option<Happening> {
        let mut exit = self.seen.as_ref()?.exit();
        exit.oom |= self
            .ran_out
            .is_some_and(|told| exit.is_for_want_of_memory(told));
        self.last_exit = Some(exit.clone());
        if self.row.desired != Desired::Running || self.spec.kind == Kind::Job {
            return None;
        }
        self.failures = self.failures.saturating_add(1);
        let again = self.spec.restart.then(|| self.backoff.delay(self.failures));
        self.not_before = again.map(|wait| now.plus(wait));
        Some(Happening::Died {
            exit,
            failures: self.failures,
            again,
        })
    }

    /// Making or starting failed.
    pub(super) fn refused(&mut self, why: String, now: Mono) {
        self.failures = self.failures.saturating_add(1);
        self.not_before = Some(now.plus(self.backoff.delay(self.failures)));
        self.refused = Some(why);
    }

    /// Takes the result of a check of the life `(id, started)`.
    pub(super) fn checked(
        &mut self,
        id: &str,
        started: Option<UnixMs>,
        result: Result<String, Miss>,
        now: Mono,
    ) -> Vec<Happening> {
        if self.seen.as_ref().map(Seen::life) != Some((id, started)) {
            return Vec::new();
        }
        match result {
            Ok(answer) => {
                self.last_answer = Some(answer);
                self.misses = 0;
                self.silent = None;
                self.hits = self.hits.saturating_add(1);
                let proven = matches!(self.health, Health::Healthy { .. });
                match proven || self.hits >= self.turns.healthy_after {
                    true => self.well(now),
                    false => Vec::new(),
                }
            }
            Err(Miss { why, silent }) => {
                self.last_answer = Some(why.clone());
                self.hits = 0;
                self.silent = silent.then(|| self.silent.unwrap_or(now));
                self.misses = self.misses.saturating_add(1);
                let fallen = matches!(self.health, Health::Healthy { .. })
                    && self.misses >= self.turns.unhealthy_after;
                if fallen {
                    self.health = Health::Unhealthy {
                        why: why.clone(),
                        since: now,
                    };
                    return vec![Happening::TurnedUnhealthy(why)];
                }
                if let Health::Unhealthy { why: last, .. } = &mut self.health {
                    *last = why;
                }
                Vec::new()
            }
        }
    }

    /// The life `(id, started)` has said something, be it late and bad: it is slow, and not silent.
    pub(super) fn heard(&mut self, id: &str, started: Option<UnixMs>) {
        if self.seen.as_ref().map(Seen::life) == Some((id, started)) {
            self.silent = None;
        }
    }

    fn well(&mut self, now: Mono) -> Vec<Happening> {
        match &self.health {
            Health::Healthy { since } => {
                if self.failures > 0 && now.since(*since) >= FORGIVEN_AFTER {
                    let failures = std::mem::take(&mut self.failures);
                    self.not_before = None;
                    if failures >= LOOP {
                        return vec![Happening::Recovered { failures }];
                    }
                }
                Vec::new()
            }
            Health::Unproven => {
                self.health = Health::Healthy { since: now };
                Vec::new()
            }
            Health::Unhealthy { .. } => {
                self.health = Health::Healthy { since: now };
                vec![Happening::TurnedHealthy]
            }
        }
    }

    /// Somebody waits long for an answer over `protocol`. Whether that is news: it is to be asked at once then.
    pub(super) fn doubted(&mut self, protocol: Protocol) -> bool {
        let asked =
            self.spec.kind == Kind::Replica && matches!(self.health, Health::Healthy { .. });
        asked && self.doubt.replace(protocol).is_none()
    }

    /// A good answer came: whether that ends a doubt, so that its own check is enough again.
    pub(super) fn settled(&mut self) -> bool {
        matches!(self.health, Health::Healthy { .. })
            && self.misses == 0
            && self.doubt.take().is_some()
    }

    pub(super) fn doubt(&self) -> Option<Protocol> {
        self.doubt
    }

    /// Whether it has given good answers in this life.
    pub(super) fn is_proven(&self) -> bool {
        self.health != Health::Unproven
    }

    /// It is to be stopped and started, because it gives no good answer.
    pub(super) fn replaced(&mut self, because: Because, now: Mono) -> Option<Happening> {
        let Health::Unhealthy { why, .. } = &self.health else {
            return None;
        };
        let why = why.clone();
        self.ending = self.seen.as_ref().map(|s| (s.id.clone(), s.started));
        self.failures = self.failures.saturating_add(1);
        self.not_before = Some(now.plus(self.backoff.delay(self.failures)));
        Some(Happening::Replaced {
            why,
            because,
            failures: self.failures,
        })
    }

    /// How it stands beside the other replicas of its process.
    pub(super) fn member(&self) -> Option<Member> {
        if self.spec.kind != Kind::Replica || self.row.desired != Desired::Running {
            return None;
        }
        let runs = self.seen.as_ref().filter(|s| s.phase == Phase::Running);
        let standing = match (&self.health, runs) {
            (Health::Healthy { since }, Some(_)) => Standing::Well { since: *since },
            (Health::Unhealthy { since, .. }, Some(_)) => Standing::Ill {
                since: *since,
                silent: self.silent,
            },
            (Health::Unproven, Some(_)) => Standing::Begins {
                until: self
                    .began
                    .unwrap_or_default()
                    .plus(self.spec.start_deadline),
            },
            (_, None) => Standing::Absent,
        };
        Some(Member {
            row: self.row.id,
            owner: self.spec.owner.clone(),
            process: self.spec.process.clone(),
            release: self.spec.release,
            standing,
            not_before: self.not_before,
        })
    }

    fn keeper(&self, now: Mono) -> Restart {
        let present = self.seen.as_ref().map_or(Restart::No, |s| s.keeper);
        if !self.spec.restart || self.failures >= 2 {
            return Restart::No;
        }
        match &self.health {
            Health::Healthy { since } if now.since(*since) >= TRUSTED_AFTER => {
                Restart::UnlessStopped
            }
            _ => present,
        }
    }

    /// Its container, as far as the engine showed one.
    pub(super) fn found(&self) -> Option<Found> {
        let seen = self.seen.as_ref()?;
        Some(Found {
            id: seen.id.clone(),
            row: seen.row,
            spec_hash: seen.spec_hash.clone(),
            phase: seen.phase,
            ended: self.ended,
            keeper: seen.keeper,
        })
    }

    pub(super) fn wanted(&self, now: Mono) -> Wanted {
        let grace = match self.row.desired {
            Desired::Running => self.spec.stop_grace,
            _ => self.row.grace,
        };
        Wanted {
            row: self.row.id,
            kind: self.spec.kind,
            desired: self.row.desired,
            spec_hash: self.row.spec_hash.clone(),
            restart: self.spec.restart,
            grace,
            not_before: self.not_before,
            keeper: self.keeper(now),
            started: self.row.started.is_some(),
        }
    }

    /// Whether this failure begins a crash loop.
    pub(super) fn is_loop(failures: u32) -> bool {
        failures == LOOP
    }

    /// Its address in the network that the engine calls `network`.
    pub(super) fn address(&self, network: Option<&str>) -> Option<SocketAddr> {
        let seen = self.seen.as_ref().filter(|s| s.runs())?;
        let ip = seen.addresses.get(network?)?;
        Some(SocketAddr::new(*ip, self.spec.port?))
    }

    pub(super) fn live(&self, network: Option<&str>) -> Live {
        let state = match (&self.seen, self.row.desired) {
            (_, Desired::Gone) => State::Retiring,
            (None, _) => match &self.refused {
                Some(why) => State::Refused(why.clone()),
                None => State::Waiting(String::new()),
            },
            (Some(seen), _) if seen.runs() => match &self.health {
                Health::Unproven => State::Starting,
                Health::Healthy { .. } => State::Healthy,
                Health::Unhealthy { why, .. } => State::Unhealthy(why.clone()),
            },
            (Some(seen), _) if seen.phase == Phase::Created => match &self.refused {
                Some(why) => State::Refused(why.clone()),
                None => State::Waiting(String::new()),
            },
            (Some(seen), _) => State::Exited(seen.exit()),
        };
        Live {
            row: self.row.id,
            name: self.spec.name.clone(),
            kind: self.spec.kind,
            owner: self.spec.owner.clone(),
            process: self.spec.process.clone(),
            release: self.spec.release,
            address: self.address(network),
            state,
            started: self
                .seen
                .as_ref()
                .filter(|s| s.runs())
                .and_then(|s| s.started),
            container_id: self.seen.as_ref().map(|s| s.id.clone()),
            restarts: self.restarts,
            last_exit: self.last_exit.clone(),
        }
    }
}
