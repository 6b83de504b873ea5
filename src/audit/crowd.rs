//! What is refused again and again: some of it written down one by one, the rest counted. Pure.
//!
//! A stranger must not be able to fill the disk with refusals, nor somebody who
//! is known. In every hour each [`Class`] has some entries of its own; what
//! comes after them is one entry at the end of the hour that says how many.

use std::collections::{BTreeMap, BTreeSet};

use super::{Intent, Kind, Outcome, Subject, Who};
use crate::base::clock::UnixMs;

/// Whose refusals are counted together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Everybody who is not known, by what they tried.
    Strangers(String),
    /// One user, token or uid.
    Known(String),
}

impl Class {
    /// Entries it has in an hour.
    fn budget(&self) -> u64 {
        match self {
            Self::Strangers(_) => 20,
            Self::Known(_) => 60,
        }
    }
}

/// Addresses named in a count.
const ADDRESSES: usize = 10;
const HOUR: i64 = 3_600_000;

/// The counts of this hour.
#[derive(Debug, Default)]
pub struct Crowd {
    hour: i64,
    counts: BTreeMap<Class, Count>,
    over: Vec<Counted>,
}

#[derive(Debug, Default)]
struct Count {
    written: u64,
    left_out: u64,
    addresses: BTreeSet<String>,
}

/// What was only counted, of an hour that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    class: Class,
    left_out: u64,
    addresses: Vec<String>,
}

impl Crowd {
    fn look(&mut self, now: UnixMs) {
        let hour = now.0.div_euclid(HOUR);
        if hour == self.hour {
            return;
        }
        self.hour = hour;
        let counts = std::mem::take(&mut self.counts);
        let left = counts.into_iter().filter(|(_, c)| c.left_out > 0);
        self.over.extend(left.map(|(class, count)| Counted {
            class,
            left_out: count.left_out,
            addresses: count.addresses.into_iter().collect(),
        }));
    }

    /// Whether this one still has entries of its own.
    pub fn admits(&mut self, class: &Class, now: UnixMs) -> bool {
        self.look(now);
        let written = self.counts.get(class).map_or(0, |c| c.written);
        written < class.budget()
    }

    /// One more refusal; whether it has an entry of its own, as one that `stands` there already has.
    pub fn refused(&mut self, class: &Class, address: &str, stands: bool, now: UnixMs) -> bool {
        self.look(now);
        let count = self.counts.entry(class.clone()).or_default();
        if count.written < class.budget() {
            count.written += 1;
            return true;
        }
        if stands {
            return true;
        }
        count.left_out += 1;
        if count.addresses.len() < ADDRESSES && !address.is_empty() {
            count.addresses.insert(address.to_owned());
        }
        false
    }

    /// What was only counted in hours that are over; told once.
    pub fn turn(&mut self, now: UnixMs) -> Vec<Counted> {
        self.look(now);
        std::mem::take(&mut self.over)
    }
}

impl Counted {
    /// The entry that tells of it.
    pub fn entry(self) -> (Intent, Outcome) {
        let (name, action) = match self.class {
            Class::Strangers(action) => ("nobody".to_owned(), action),
            Class::Known(name) => (name, "many".to_owned()),
        };
        let from = match self.addresses.as_slice() {
            [] => String::new(),
            some => format!(", from {} and maybe more", some.join(", ")),
        };
        let intent = Intent {
            who: Who {
                kind: Kind::Nobody,
                id: None,
                name,
                via: String::new(),
                address: String::new(),
                request: String::new(),
            },
            action,
            subject: Subject::default(),
        };
        let outcome = Outcome {
            status: 429,
            detail: format!(
                "{} more like those before were refused within the hour{from}; they are counted, not listed.",
                self.left_out
            ),
            ..Outcome::default()
        };
        (intent, outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a5_strangers_get_a_few_entries_an_hour_and_a_count() {
        let mut crowd = Crowd::default();
        let sign_in = Class::Strangers("session.sign-in".into());
        let ana = Class::Known("ana".into());
        let now = UnixMs(10 * HOUR + 5);
        let written = (0..1_000)
            .filter(|n| crowd.refused(&sign_in, &format!("192.0.2.{}", n % 200), false, now))
            .count();
        assert_eq!(written, 20);
        assert!(!crowd.admits(&sign_in, now));
        // One's flood hides nobody else's tries.
        assert!(crowd.admits(&ana, now) && crowd.refused(&ana, "", false, now));
        assert_eq!(crowd.turn(now), []);
        let later = UnixMs(11 * HOUR);
        let over = crowd.turn(later);
        assert_eq!(over.len(), 1);
        let (intent, outcome) = over[0].clone().entry();
        assert_eq!(intent.action, "session.sign-in");
        assert!(outcome.detail.starts_with("980 more"), "{outcome:?}");
        assert!(outcome.detail.len() < 400, "{outcome:?}");
        assert_eq!(crowd.turn(later), [], "told once");
        assert!(crowd.admits(&sign_in, later));
    }
}
