//! What a client was told, and so may count on: of each thing the values that it may have now.
//!
//! A change that was acknowledged leaves one value. One that was asked for and not acknowledged, because the daemon died
//! before its answer was read, leaves two: it may have been written or not.

use std::collections::{BTreeMap, BTreeSet};

/// The value of what is not there.
pub const NONE: &str = "nothing";

#[derive(Debug, Default)]
pub struct Ledger {
    may_be: BTreeMap<String, BTreeSet<String>>,
    pub acknowledged: usize,
    pub unanswered: usize,
}

impl Ledger {
    /// The client was told that `what` is `value` now.
    pub fn acknowledged(&mut self, what: &str, value: &str) {
        self.acknowledged += 1;
        self.known(what, value);
    }

    /// The same where it is no change of its own: it follows from another one, or was seen.
    pub fn known(&mut self, what: &str, value: &str) {
        let one = BTreeSet::from([value.to_owned()]);
        self.may_be.insert(what.to_owned(), one);
    }

    /// The client asked for it, and heard nothing, or no.
    pub fn unanswered(&mut self, what: &str, value: &str) {
        self.unanswered += 1;
        let nothing = || BTreeSet::from([NONE.to_owned()]);
        let may_be = self.may_be.entry(what.to_owned()).or_insert_with(nothing);
        may_be.insert(value.to_owned());
    }

    /// What it is, where that is sure.
    pub fn value(&self, what: &str) -> Option<&str> {
        let may_be = self.may_be.get(what)?;
        may_be.first().map(String::as_str)
    }

    /// Nobody counts any more on what begins so.
    pub fn forget(&mut self, begins: &str) {
        self.may_be.retain(|what, _| !what.starts_with(begins));
    }

    /// A change that leaves nothing to be counted on.
    pub fn count(&mut self, acknowledged: bool) {
        match acknowledged {
            true => self.acknowledged += 1,
            false => self.unanswered += 1,
        }
    }

    /// What is there now, by name. A daemon that has started again knows what is so; nothing may change any more by
    /// itself.
    ///
    /// # Errors
    /// A sentence a thing that is not as the client may count on.
    pub fn hold(&mut self, now: &BTreeMap<String, String>) -> Result<(), String> {
        let mut lost = String::new();
        for (what, may_be) in &mut self.may_be {
            let is = now.get(what).map_or(NONE, String::as_str);
            if may_be.contains(is) {
                *may_be = BTreeSet::from([is.to_owned()]);
            } else {
                let told: Vec<&str> = may_be.iter().map(String::as_str).collect();
                lost.push_str(&format!(
                    "\n  {what} is {is}, and was to be {}",
                    told.join(" or ")
                ));
            }
        }
        if lost.is_empty() { Ok(()) } else { Err(lost) }
    }
}

#[test]
fn n5_what_was_acknowledged_must_be_and_what_was_not_may() {
    let now = |value: &str| BTreeMap::from([("env KEY".to_owned(), value.to_owned())]);
    let mut ledger = Ledger::default();
    ledger.acknowledged("env KEY", "1");
    ledger.hold(&now("1")).unwrap();
    let lost = ledger.hold(&BTreeMap::new()).unwrap_err();
    assert!(
        lost.contains("env KEY is nothing, and was to be 1"),
        "{lost}"
    );
    ledger.unanswered("env KEY", "2");
    ledger.hold(&now("2")).unwrap();
    ledger.hold(&now("1")).unwrap_err();
    // What was there and is taken away.
    ledger.acknowledged("env KEY", NONE);
    ledger.hold(&BTreeMap::new()).unwrap();
    ledger.hold(&now("2")).unwrap_err();
}
