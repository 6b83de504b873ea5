//! What is wrong with the box, and how to mend it: pure decisions over facts that others gathered.
//!
//! One file an area. A check says what was seen whatever it decides, why it matters, and one sentence to act on. Facts
//! that could not be had are a finding or are left out; they are never an error. Gathering is left to the adapters and
//! to `daemon/ports/doctor.rs`; the command line runs the same checks over what it sees by itself when the daemon is away.

mod certificates;
mod clock;
mod descriptors;
mod engine;
mod facts;
mod firewall;
mod kept;
mod names;
mod permissions;
mod ports;
mod space;

pub use facts::{
    Clock, Database, Descriptors, Dump, Engine, EngineFacts, Facts, Keeper, Listening, Named,
    Owner, Pointing, Ports, State, Target,
};

use crate::base::clock::UnixMs;
use crate::wire::doctor::{Area, Condition, Examined, Report};
use crate::wire::overview::{Attention, Urgency};

/// Everything that follows from the facts, by area.
pub fn examine(facts: &Facts, now: UnixMs) -> Vec<Examined> {
    let mut all = Vec::new();
    all.extend(
        facts
            .engine
            .as_ref()
            .map(engine::examine)
            .into_iter()
            .flatten(),
    );
    all.extend(
        facts
            .ports
            .as_ref()
            .map(ports::examine)
            .into_iter()
            .flatten(),
    );
    all.extend(names::examine(&facts.names, &facts.addresses));
    all.extend(
        facts
            .clock
            .as_ref()
            .map(|c| clock::examine(c, now))
            .into_iter()
            .flatten(),
    );
    all.extend(facts.disk.as_ref().map(space::disk).into_iter().flatten());
    all.extend(
        facts
            .memory
            .as_ref()
            .map(space::memory)
            .into_iter()
            .flatten(),
    );
    all.extend(facts.descriptors.as_ref().map(descriptors::examine));
    all.extend(facts.firewall.as_ref().map(firewall::examine));
    all.extend(
        facts
            .certificates
            .as_deref()
            .map(|c| certificates::examine(c, now))
            .into_iter()
            .flatten(),
    );
    all.extend(
        facts
            .backups
            .as_ref()
            .map(|b| kept::backups(b, now))
            .into_iter()
            .flatten(),
    );
    all.extend(
        facts
            .database
            .as_ref()
            .map(kept::database)
            .into_iter()
            .flatten(),
    );
    all.extend(
        facts
            .permissions
            .as_ref()
            .map(permissions::examine)
            .into_iter()
            .flatten(),
    );
    all.extend(
        facts
            .attention
            .iter()
            .filter(|a| !told_here(a))
            .map(watched),
    );
    all.extend(facts.unread.iter().map(|why| {
        Seen {
            area: Area::Daemon,
            what: "Reading the box's state",
            why: "What cannot be read cannot be examined.",
        }
        .fail(
            why.clone(),
            "Look at the daemon's log: journalctl -u freehold -n 50.",
        )
    }));
    all.sort_by_key(|e| e.area);
    all
}

/// What the checks of this module say closer.
fn told_here(item: &Attention) -> bool {
    ["Docker does not answer", "Backups stay", "No backup of"]
        .iter()
        .any(|words| item.what.starts_with(words))
        || item.what.contains("certificate")
}

fn watched(item: &Attention) -> Examined {
    let check = Seen {
        area: Area::Monitoring,
        what: &item.what,
        why: "Monitoring looks at it all the time, and this lasts.",
    };
    match item.level {
        Urgency::Bad => check.fail(item.why.clone(), item.remedy.clone()),
        Urgency::Warning => check.warn(item.why.clone(), item.remedy.clone()),
    }
}

/// The checks as one report.
pub fn report(checks: Vec<Examined>, now: UnixMs, took_ms: u64) -> Report {
    Report {
        state: checks
            .iter()
            .map(|c| c.state)
            .max()
            .unwrap_or(Condition::Ok),
        checked_ms: now,
        took_ms,
        checks,
    }
}

/// A check before its outcome is known.
#[derive(Clone, Copy)]
pub struct Seen<'a> {
    /// Of which area.
    pub area: Area,
    /// What is examined.
    pub what: &'a str,
    /// Why it matters.
    pub why: &'a str,
}

impl Seen<'_> {
    fn with(self, state: Condition, seen: impl Into<String>, remedy: String) -> Examined {
        Examined {
            area: self.area,
            what: self.what.to_owned(),
            state,
            seen: seen.into(),
            why: self.why.to_owned(),
            remedy,
        }
    }

    /// All is well.
    pub fn ok(self, seen: impl Into<String>) -> Examined {
        self.with(Condition::Ok, seen, String::new())
    }

    /// Wants a look.
    pub fn warn(self, seen: impl Into<String>, remedy: impl Into<String>) -> Examined {
        self.with(Condition::Warn, seen, remedy.into())
    }

    /// Does not work.
    pub fn fail(self, seen: impl Into<String>, remedy: impl Into<String>) -> Examined {
        self.with(Condition::Fail, seen, remedy.into())
    }
}

#[cfg(test)]
mod tests;
