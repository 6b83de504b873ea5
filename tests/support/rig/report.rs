//! What a run amounts to, in figures and in words: what failed, the first of it with what the edge says of it, how long
//! anybody waited, how streams ended.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use super::edge_log;
use super::ledger::{Ledger, Outcome, Record, StreamEnd, StreamKind};
use super::scale::Scale;
use crate::support::commit;

/// The sum of a ledger.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    pub name: String,
    pub seconds: f64,
    pub sent: usize,
    pub good: usize,
    /// Failures of requests that may be sent again by whoever stands between, and of the others.
    pub failed_safe: usize,
    pub failed_unsafe: usize,
    /// Of all failures: whole or cut answers with another body than the app's.
    pub wrong: usize,
    /// `kind outcome` and how often.
    pub failures: BTreeMap<String, usize>,
    /// From due to the answer's head.
    pub waited_ms: Spread,
    /// The longest by kind.
    pub longest_ms: BTreeMap<String, u64>,
    /// The longest of those that may be sent again by whoever stands between.
    pub longest_safe_ms: u64,
    /// Of whom waited longest.
    pub longest: String,
    /// How late the generator itself was at most, in ms: of a wait, so much may be its own.
    pub late_ms: u64,
    pub instances: BTreeMap<String, usize>,
    pub streams: BTreeMap<String, usize>,
    pub streams_broken: Vec<String>,
    pub closed_while_idle: u64,
    /// Requests that went over a new connection of HTTP/2 because theirs had been told to end.
    pub moved: u64,
    /// GOAWAY frames, by their code.
    pub goaways: BTreeMap<String, u64>,
    /// Until the app was back, from when it was taken away, in ms; of the test that looked at it.
    pub recovered_ms: Option<u64>,
    /// Until a replica got nothing more, from when it began to misbehave, in ms.
    pub left_out_ms: Option<u64>,
    pub marks: Vec<String>,
    pub first_failure: Option<String>,
}

/// Milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Spread {
    pub median: u64,
    pub p99: u64,
    pub longest: u64,
}

impl Report {
    /// Adds up a run; `log` is the folder of the edge's access log.
    pub fn of(name: &str, ledger: &Ledger, log: Option<&Path>) -> Self {
        let mut report = Self {
            name: name.to_owned(),
            sent: ledger.records.len(),
            closed_while_idle: ledger.closed_while_idle,
            moved: ledger.moved,
            goaways: ledger.goaways.clone(),
            ..Self::default()
        };
        let mut waits = Vec::new();
        for record in &ledger.records {
            waits.push(millis(record.waited()));
            let longest = report.longest_ms.entry(format!("{:?}", record.kind));
            let longest = longest.or_default();
            *longest = (*longest).max(millis(record.waited()));
            if record.kind.is_safe() {
                report.longest_safe_ms = report.longest_safe_ms.max(millis(record.waited()));
            }
            report.seconds = report.seconds.max(record.end.as_secs_f64());
            let instance = record.instance.clone().unwrap_or_default();
            *report.instances.entry(instance).or_default() += 1;
            if record.is_good() {
                report.good += 1;
                continue;
            }
            match record.kind.is_safe() {
                true => report.failed_safe += 1,
                false => report.failed_unsafe += 1,
            }
            report.wrong += usize::from(record.outcome.is_wrong());
            let what = format!("{:?} {}", record.kind, record.outcome.word());
            *report.failures.entry(what).or_default() += 1;
        }
        report.waited_ms = spread(waits);
        let longest = ledger.records.iter().max_by_key(|r| r.waited());
        report.longest = longest.map(|r| line(r, ledger)).unwrap_or_default();
        let late = ledger.records.iter().map(Record::late);
        report.late_ms = late.map(millis).max().unwrap_or(0);
        for stream in &ledger.streams {
            let end = match &stream.end {
                StreamEnd::Ours => "ours".to_owned(),
                StreamEnd::Clean(how) => how.clone(),
                StreamEnd::Broken(why) => {
                    let told = format!(
                        "{:?} {} of {} from {:.1} s to {:.1} s: {why}",
                        stream.kind,
                        stream.kind.path(stream.number),
                        stream.instance.as_deref().unwrap_or("nobody"),
                        stream.opened.as_secs_f64(),
                        stream.ended.as_secs_f64()
                    );
                    report.streams_broken.push(told);
                    "broken".to_owned()
                }
            };
            let what = format!("{:?} {end}", stream.kind);
            *report.streams.entry(what).or_default() += 1;
        }
        let marks = ledger.marks.iter();
        report.marks = marks
            .map(|(at, what)| format!("{:.1} s: {what}", at.as_secs_f64()))
            .collect();
        report.first_failure = first(ledger).map(|record| {
            let told = log.map(|folder| edge_log::told(&edge_log::lines_of(folder, record)));
            let told = told.unwrap_or_else(|| "no edge was asked".to_owned());
            format!("{}\n        {told}", line(record, ledger))
        });
        report
    }

    /// What is wrong with it: too few requests, one that was not answered well or left long after it was due, a connection
    /// of HTTP/2 that was ended with a reproach.
    pub fn flaw(&self, least: usize) -> Option<String> {
        let failed = self.sent - self.good;
        let most = Scale::of_env().late_most_ms;
        let reproach = self.goaways.keys().find(|code| *code != "NO_ERROR");
        if self.sent < least {
            Some(format!("only {} requests were sent", self.sent))
        } else if failed > 0 {
            Some(format!("{failed} of {} failed", self.sent))
        } else if self.late_ms > most {
            Some(format!("the generator was late by {} ms", self.late_ms))
        } else {
            reproach.map(|code| format!("a GOAWAY with {code}"))
        }
    }

    /// Panics unless it has no flaw.
    pub fn assert_flawless(&self, least: usize) {
        let flaw = self.flaw(least);
        assert!(flaw.is_none(), "{}\n{self}", flaw.unwrap_or_default());
    }

    /// Whether every stream of this kind was ended as its protocol has it, and whether any was told to: still open at the
    /// drain's limit.
    pub fn streams_of(&self, kind: StreamKind) -> (bool, bool) {
        let some = |how: &str| self.streams.contains_key(&format!("{kind:?} {how}"));
        (!some("broken"), some(kind.told()))
    }

    /// Panics unless every stream of these kinds was ended as its protocol has it.
    pub fn assert_streams_whole(&self, kinds: &[StreamKind]) {
        let whole = |kind: &StreamKind| self.streams_of(*kind).0;
        assert!(kinds.iter().all(whole), "streams broke off\n{self}");
    }

    /// Panics unless some of each of these kinds were told to end: or nothing was shown.
    pub fn assert_streams_told(&self, kinds: &[StreamKind]) {
        let told = |kind: &StreamKind| self.streams_of(*kind).1;
        assert!(kinds.iter().all(told), "not each kind was told to\n{self}");
    }

    /// Writes it for whoever makes tables of it: `target/rig/NAME.json`.
    pub fn save(&self, scale: &impl Serialize) {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/rig");
        std::fs::create_dir_all(&folder).unwrap();
        let whole =
            serde_json::json!({ "commit": commit::tested(), "scale": scale, "report": self });
        let text = serde_json::to_string_pretty(&whole).unwrap();
        std::fs::write(folder.join(format!("{}.json", self.name)), text).unwrap();
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            f,
            "{}: {} sent in {:.0} s, {} good; waited {} / {} / {} ms (median, p99, longest), generator late by {} ms",
            self.name,
            self.sent,
            self.seconds,
            self.good,
            self.waited_ms.median,
            self.waited_ms.p99,
            self.waited_ms.longest,
            self.late_ms
        )?;
        writeln!(f, "    longest: {}", self.longest)?;
        writeln!(f, "    longest in ms by kind: {:?}", self.longest_ms)?;
        writeln!(f, "    answered by {:?}", self.instances)?;
        writeln!(
            f,
            "    streams: {:?}; GOAWAY: {:?}; closed while idle: {}, moved: {}",
            self.streams, self.goaways, self.closed_while_idle, self.moved
        )?;
        if let Some(ms) = self.recovered_ms {
            writeln!(f, "    back after {ms} ms")?;
        }
        if let Some(ms) = self.left_out_ms {
            writeln!(f, "    left out after {ms} ms")?;
        }
        for broken in self.streams_broken.iter().take(5) {
            writeln!(f, "    broken: {broken}")?;
        }
        if let Some(first) = &self.first_failure {
            writeln!(f, "    failures: {:?}", self.failures)?;
            writeln!(f, "    first: {first}")?;
            writeln!(f, "    done meanwhile: {:#?}", self.marks)?;
        }
        Ok(())
    }
}

/// The failure whose request was due first.
fn first(ledger: &Ledger) -> Option<&Record> {
    let failed = ledger.records.iter().filter(|r| !r.is_good());
    failed.min_by_key(|r| (r.due, r.number))
}

/// A record in a line, with what was done last before it ended.
fn line(record: &Record, ledger: &Ledger) -> String {
    let at = |time: Option<Duration>| match time {
        Some(time) => format!("{:.3}", time.as_secs_f64()),
        None => "-".to_owned(),
    };
    let after = ledger.marks.iter().rfind(|(at, _)| *at <= record.end);
    let how = match &record.outcome {
        Outcome::Good => "good".to_owned(),
        other => format!("{other:?}"),
    };
    format!(
        "{:?} {}: {how}; due {} s, sent {}, head {}, over {}; status {:?}, {} bytes, from {}, id {}; last done: {}",
        record.kind,
        record.kind.path(record.number),
        at(Some(record.due)),
        at(record.sent),
        at(record.head),
        at(Some(record.end)),
        record.status,
        record.bytes,
        record.instance.as_deref().unwrap_or("nobody"),
        record.id.as_deref().unwrap_or("-"),
        after.map_or("nothing", |(_, what)| what.as_str()),
    )
}

fn spread(mut all: Vec<u64>) -> Spread {
    all.sort_unstable();
    let at = |share: usize| all.get((all.len() * share / 100).min(all.len().saturating_sub(1)));
    let of = |share| at(share).copied().unwrap_or(0);
    Spread {
        median: of(50),
        p99: of(99),
        longest: of(100),
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
