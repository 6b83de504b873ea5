//! What `status` says wants somebody: what monitoring tells, and what `doctor` sees on this box without asking anybody.

use crate::wire::doctor::{Condition, Examined};
use crate::wire::overview::{Attention, Urgency};
use crate::wire::status::{Finding, Severity};

/// A part of the state that cannot be read.
pub fn unreadable(why: &dyn std::fmt::Display) -> Finding {
    Finding {
        severity: Severity::Error,
        what: format!("Part of the box's state could not be read: {why}"),
        remedy: "Look at the daemon's log: journalctl -u freehold.".into(),
    }
}

/// A check that is not well.
pub fn of_doctor(check: Examined) -> Option<Finding> {
    let severity = match check.state {
        Condition::Ok => return None,
        Condition::Warn => Severity::Warning,
        Condition::Fail => Severity::Error,
    };
    Some(Finding {
        severity,
        what: format!("{}: {}. {}", check.what, check.seen, check.why),
        remedy: check.remedy,
    })
}

impl From<Attention> for Finding {
    fn from(item: Attention) -> Self {
        Self {
            severity: match item.level {
                Urgency::Bad => Severity::Error,
                Urgency::Warning => Severity::Warning,
            },
            what: format!("{}. {}", item.what, item.why).trim_end().to_owned(),
            remedy: item.remedy,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::doctor::Area;

    #[test]
    fn f1_a_finding_says_what_to_do() {
        let item = Attention {
            level: Urgency::Bad,
            what: "Docker does not answer".into(),
            why: "No such file.".into(),
            remedy: "Start it.".into(),
            link: "/box".into(),
        };
        let found = Finding::from(item);
        assert_eq!(found.what, "Docker does not answer. No such file.");
        assert_eq!(found.severity, Severity::Error);
    }

    #[test]
    fn a7_a_check_that_is_well_is_no_finding() {
        let check = |state| Examined {
            area: Area::Clock,
            what: "The time".into(),
            state,
            seen: "90 s behind acme.example".into(),
            why: "Sign-in fails by it.".into(),
            remedy: "Set it.".into(),
        };
        assert_eq!(of_doctor(check(Condition::Ok)), None);
        let found = of_doctor(check(Condition::Fail)).unwrap();
        assert_eq!(found.severity, Severity::Error);
        assert_eq!(
            found.what,
            "The time: 90 s behind acme.example. Sign-in fails by it."
        );
    }
}
