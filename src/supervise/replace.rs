//! Which replica that runs and gives no good answer is stopped and started.
//!
//! Only one beside siblings that are well: when all of a process are ill, what they need is (their database, say), and
//! starting them anew would make it worse. One of a process at a time, and only after longer than an answer may take, next to
//! a sibling that was well for as long. One that begins is waited for as long as its start may take, and keeps no other
//! from its turn after that. It counts as a failure: the waits of a crash loop apply. A process with one replica is left to
//! its owner, and databases are never restarted. Pure.

use std::collections::HashSet;
use std::time::Duration;

use crate::base::mono::Mono;

/// How a replica stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Its check succeeds.
    Well { since: Mono },
    /// It runs, was well, and its check fails.
    Ill { since: Mono },
    /// It runs; no check has succeeded yet, which it has until then to come to.
    Begins { until: Mono },
    /// It does not run.
    Absent,
}

/// A replica that should run.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) row: i64,
    pub(super) owner: String,
    pub(super) process: Option<String>,
    pub(super) release: Option<i64>,
    pub(super) standing: Standing,
    /// Not started before this.
    pub(super) not_before: Option<Mono>,
}

impl Member {
    fn is_sibling_of(&self, other: &Self) -> bool {
        (&self.owner, &self.process, self.release) == (&other.owner, &other.process, other.release)
    }
}

/// The rows to be restarted now, and when to think again. Those in `busy` are being worked on. One that was ill for
/// `patience` beside a sibling that is well had its time for what it was busy with, if it was.
pub(super) fn to_replace(
    members: &[Member],
    busy: &HashSet<i64>,
    patience: Duration,
    now: Mono,
) -> (Vec<i64>, Option<Mono>) {
    let mut rows: Vec<i64> = Vec::new();
    let mut wake: Option<Mono> = None;
    for one in members {
        let group = || members.iter().filter(|m| m.is_sibling_of(one));
        // One of the group decides for all of them.
        if group().next().map(|m| m.row) != Some(one.row) || group().any(|m| busy.contains(&m.row))
        {
            continue;
        }
        let begins = group().filter_map(|m| match m.standing {
            Standing::Begins { until } if until > now => Some(until),
            _ => None,
        });
        if let Some(until) = begins.max() {
            wake = Some(wake.map_or(until, |w| w.min(until)));
            continue;
        }
        let well = group().filter_map(|m| match m.standing {
            Standing::Well { since } => Some(since),
            _ => None,
        });
        let Some(well) = well.min() else { continue };
        let due = group().filter_map(|m| match m.standing {
            Standing::Ill { since } => {
                let due = since.max(well).plus(patience);
                Some((due.max(m.not_before.unwrap_or(due)), since, m.row))
            }
            _ => None,
        });
        match due.min() {
            Some((due, _, row)) if due <= now => rows.push(row),
            Some((due, ..)) => wake = Some(wake.map_or(due, |w| w.min(due))),
            None => {}
        }
    }
    (rows, wake)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Mono = Mono(1_000_000);
    const PATIENCE: Duration = Duration::from_secs(20);

    fn ago(seconds: u64) -> Mono {
        Mono(NOW.0 - seconds * 1_000)
    }

    fn well(seconds: u64) -> Standing {
        Standing::Well {
            since: ago(seconds),
        }
    }

    fn ill(seconds: u64) -> Standing {
        Standing::Ill {
            since: ago(seconds),
        }
    }

    fn process(standings: &[Standing]) -> Vec<Member> {
        let member = |(at, standing): (usize, &Standing)| Member {
            row: i64::try_from(at).unwrap(),
            owner: "app:1".into(),
            process: Some("web".into()),
            release: Some(3),
            standing: *standing,
            not_before: None,
        };
        standings.iter().enumerate().map(member).collect()
    }

    fn chosen(members: &[Member]) -> Vec<i64> {
        to_replace(members, &HashSet::new(), PATIENCE, NOW).0
    }

    #[test]
    fn n3_one_that_hangs_beside_others_that_are_well_is_replaced() {
        assert_eq!(chosen(&process(&[well(900), ill(20), well(900)])), [1]);
        let soon = process(&[well(900), ill(15), well(900)]);
        assert_eq!(
            to_replace(&soon, &HashSet::new(), PATIENCE, NOW),
            (vec![], Some(NOW.plus(Duration::from_secs(5))))
        );
    }

    #[test]
    fn n3_one_at_a_time_the_longest_ill_first() {
        let mut members = process(&[ill(30), ill(60), well(900), ill(60)]);
        assert_eq!(chosen(&members), [1]);
        let until = NOW.plus(Duration::from_secs(7));
        members[1].standing = Standing::Begins { until };
        let (rows, wake) = to_replace(&members, &HashSet::new(), PATIENCE, NOW);
        assert_eq!(rows, [0; 0], "the first one is not back yet");
        assert_eq!(wake, Some(until));
        let (rows, _) = to_replace(&members, &HashSet::new(), PATIENCE, until);
        assert_eq!(rows, [3], "and never comes back");
        members[1].standing = Standing::Absent;
        assert_eq!(chosen(&members), [3], "one that waits in its crash loop");
        assert!(
            to_replace(&members, &HashSet::from([1]), PATIENCE, NOW)
                .0
                .is_empty()
        );
    }

    #[test]
    fn n3_none_is_replaced_when_all_are_ill_nor_a_lone_one() {
        assert!(chosen(&process(&[ill(60), ill(900), ill(40)])).is_empty());
        assert!(chosen(&process(&[ill(900)])).is_empty());
        // Its siblings are of another process, release or app.
        for change in 0..3 {
            let mut members = process(&[ill(900), well(900)]);
            match change {
                0 => members[1].process = Some("worker".into()),
                1 => members[1].release = Some(4),
                _ => members[1].owner = "app:2".into(),
            }
            assert!(chosen(&members).is_empty());
        }
        // The database is back: who is well again first is no reason against those who are not yet.
        assert!(chosen(&process(&[ill(900), well(3), ill(900)])).is_empty());
        assert_eq!(chosen(&process(&[ill(900), well(21)])), [0]);
    }

    #[test]
    fn n3_what_was_replaced_in_vain_waits_as_a_crash_loop_does() {
        let mut members = process(&[ill(60), well(900)]);
        members[0].not_before = Some(NOW.plus(Duration::from_secs(120)));
        let (rows, wake) = to_replace(&members, &HashSet::new(), PATIENCE, NOW);
        assert_eq!((rows, wake), (vec![], members[0].not_before));
        // It does not keep another one from its turn.
        members.push(Member {
            row: 9,
            standing: ill(30),
            not_before: None,
            ..members[0].clone()
        });
        assert_eq!(chosen(&members), [9]);
    }
}
