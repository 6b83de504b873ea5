//! Which replica that runs and gives no good answer is stopped and started.
//!
//! Beside siblings that are well, any, after longer than an answer may take next to one that was well for as long. Where none
//! is well, what they need may be ill (their database, say): one that says so is left to its owner, for starting it anew would
//! make it worse. But one that says nothing at all, for twice as long, hangs: whoever waited for it was told so long ago. One
//! of a process at a time, and one that begins is waited for as long as its start may take, and keeps no other from its turn
//! after that. It counts as a failure: the waits of a crash loop apply. Databases are never restarted. Pure.

use std::collections::HashSet;
use std::time::Duration;

use crate::base::mono::Mono;

/// How a replica stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Its check succeeds.
    Well { since: Mono },
    /// It runs, was well, and its check fails; it gives no answer at all since `silent`.
    Ill { since: Mono, silent: Option<Mono> },
    /// It runs; no check has succeeded yet, which it has until then to come to.
    Begins { until: Mono },
    /// It does not run.
    Absent,
}

/// Why one is stopped and started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Because {
    OthersAreWell,
    /// None of its process is, and it gives no answer at all.
    Silent,
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
/// `patience`, which is longer than an answer may take, had its time for what it was busy with, if it was.
pub(super) fn to_replace(
    members: &[Member],
    busy: &HashSet<i64>,
    patience: Duration,
    now: Mono,
) -> (Vec<(i64, Because)>, Option<Mono>) {
    let mut rows = Vec::new();
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
        let well = well.min();
        let due = group().filter_map(|m| {
            let Standing::Ill { since, silent } = m.standing else {
                return None;
            };
            let (since, due) = match well {
                Some(well) => (since, since.max(well).plus(patience)),
                None => (silent?, silent?.plus(patience.saturating_mul(2))),
            };
            Some((due.max(m.not_before.unwrap_or(due)), since, m.row))
        });
        let because = match well {
            Some(_) => Because::OthersAreWell,
            None => Because::Silent,
        };
        match due.min() {
            Some((due, _, row)) if due <= now => rows.push((row, because)),
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
            silent: None,
        }
    }

    /// It fell silent a moment before that made it ill.
    fn silent(seconds: u64) -> Standing {
        Standing::Ill {
            since: ago(seconds - 5),
            silent: Some(ago(seconds)),
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
        let (rows, _) = to_replace(members, &HashSet::new(), PATIENCE, NOW);
        rows.into_iter().map(|(row, _)| row).collect()
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
        assert!(rows.is_empty(), "the first one is not back yet");
        assert_eq!(wake, Some(until));
        let (rows, _) = to_replace(&members, &HashSet::new(), PATIENCE, until);
        assert_eq!(rows, [(3, Because::OthersAreWell)], "and never comes back");
        members[1].standing = Standing::Absent;
        assert_eq!(chosen(&members), [3], "one that waits in its crash loop");
        assert!(
            to_replace(&members, &HashSet::from([1]), PATIENCE, NOW)
                .0
                .is_empty()
        );
    }

    #[test]
    fn n3_none_is_replaced_when_all_are_ill_nor_a_lone_one_while_they_say_something() {
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
    fn n3_one_that_says_nothing_is_replaced_though_no_sibling_is_well() {
        let by_silence = |members: &[Member]| to_replace(members, &HashSet::new(), PATIENCE, NOW);
        let replaced = (vec![(0, Because::Silent)], None);
        assert_eq!(by_silence(&process(&[silent(40)])), replaced);
        // The saboteurs: not before the time, and never because of bad answers.
        let soon = by_silence(&process(&[silent(39)]));
        assert_eq!(soon, (vec![], Some(NOW.plus(Duration::from_secs(1)))));
        assert_eq!(by_silence(&process(&[ill(900)])), (vec![], None));
        let spoke = Standing::Ill {
            since: ago(900),
            silent: Some(ago(30)),
        };
        let later = Some(NOW.plus(Duration::from_secs(10)));
        assert_eq!(by_silence(&process(&[spoke])), (vec![], later));
        // Beside one that is well the time is the shorter one, from when it was well.
        let beside = by_silence(&process(&[well(5), silent(30)]));
        assert_eq!(beside, (vec![], Some(NOW.plus(Duration::from_secs(15)))));
        assert!(chosen(&process(&[silent(900), well(3)])).is_empty());
        assert_eq!(chosen(&process(&[silent(900), well(20)])), [0]);
        // One that answers badly is not its reason, and not its turn.
        assert_eq!(chosen(&process(&[ill(900), silent(40)])), [1]);
    }

    #[test]
    fn n3_of_several_that_say_nothing_one_at_a_time_is_replaced_the_longest_silent_first() {
        let mut members = process(&[silent(50), silent(60), silent(900)]);
        assert_eq!(chosen(&members), [2]);
        let busy = HashSet::from([2]);
        assert_eq!(to_replace(&members, &busy, PATIENCE, NOW), (vec![], None));
        let until = NOW.plus(Duration::from_secs(7));
        members[2].standing = Standing::Begins { until };
        let waits = to_replace(&members, &HashSet::new(), PATIENCE, NOW);
        assert_eq!(waits, (vec![], Some(until)));
        let (rows, _) = to_replace(&members, &HashSet::new(), PATIENCE, until);
        assert_eq!(rows, [(1, Because::Silent)], "it never came back");
        // It did, and the others have as long as beside any that is well.
        members[2].standing = well(1);
        assert!(chosen(&members).is_empty());
        // One that was replaced in vain waits, and keeps no other from its turn.
        members[2].standing = silent(900);
        members[2].not_before = Some(NOW.plus(Duration::from_secs(120)));
        assert_eq!(chosen(&members), [1]);
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
