//! The lines at which the tests kill the daemon: around each write of a job's own state, whatever its work is.

use super::Outcome;
use crate::base::crash_point;

/// How the points of an outcome are called.
fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Done => "done",
        Outcome::Again { .. } => "again",
        Outcome::Failed(_) => "failed",
        Outcome::Cancelled => "cancelled",
    }
}

/// Its work has ended so, and nobody knows yet.
pub(super) fn before(outcome: &Outcome) {
    crash_point::hit(&format!("jobs.{}.before", word(outcome)));
}

/// It is written down, and nothing follows from it yet.
pub(super) fn after(outcome: &Outcome) {
    crash_point::hit(&format!("jobs.{}.after", word(outcome)));
}

/// All of them.
pub fn crash_points() -> Vec<String> {
    let states = ["running", "done", "again", "failed", "cancelled"];
    let points = states.map(|s| [format!("jobs.{s}.before"), format!("jobs.{s}.after")]);
    points.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::UnixMs;

    #[test]
    fn n5_every_outcome_has_two_crash_points() {
        let again = Outcome::Again {
            at: UnixMs(1),
            why: String::new(),
        };
        let points = crash_points();
        for outcome in [
            Outcome::Done,
            again,
            Outcome::Failed(String::new()),
            Outcome::Cancelled,
        ] {
            let name = |side: &str| format!("jobs.{}.{side}", word(&outcome));
            assert!(points.contains(&name("before")) && points.contains(&name("after")));
        }
    }
}
