//! What the end of a check means: recorded or not, an incident opened or closed.

use std::time::Duration;

use crate::base::clock::UnixMs;

/// A domain that never answered is given this long for its DNS, certificate
/// and first deploy before silence counts.
pub const GRACE: Duration = Duration::from_secs(10 * 60);
/// Between a failure and its recheck.
pub const RECHECK_AFTER: Duration = Duration::from_secs(2);

/// What is known before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Whether it has ever answered.
    pub proven: bool,
    /// Whether an incident is open.
    pub down: bool,
    /// When it was made.
    pub created: UnixMs,
}

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Too early to say anything.
    TooYoung,
    /// As before.
    Same,
    /// It stopped to answer.
    Open,
    /// It answers, for the first time.
    Proven,
    /// It answers again.
    Close,
}

/// How often to ask again before a failure counts. While it is known to be
/// down, once is enough.
pub fn rechecks(standing: Standing, configured: u32) -> u32 {
    if standing.down { 0 } else { configured }
}

/// What the confirmed end of a check means.
pub fn decide(standing: Standing, answered: bool, now: UnixMs) -> Verdict {
    match (answered, standing.down, standing.proven) {
        (true, true, _) => Verdict::Close,
        (true, false, false) => Verdict::Proven,
        (true, false, true) | (false, true, _) => Verdict::Same,
        (false, false, false) if now.since(standing.created) < GRACE => Verdict::TooYoung,
        (false, false, _) => Verdict::Open,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f7_an_incident_is_opened_once_and_never_for_a_newborn() {
        let created = UnixMs(1_000_000);
        let young = created.plus(Duration::from_secs(60));
        let old = created.plus(GRACE);
        let standing = |proven, down| Standing {
            proven,
            down,
            created,
        };
        assert_eq!(
            decide(standing(false, false), false, young),
            Verdict::TooYoung
        );
        assert_eq!(decide(standing(false, false), false, old), Verdict::Open);
        assert_eq!(decide(standing(true, false), false, young), Verdict::Open);
        assert_eq!(decide(standing(true, true), false, old), Verdict::Same);
        assert_eq!(decide(standing(true, true), true, old), Verdict::Close);
        assert_eq!(decide(standing(false, true), true, old), Verdict::Close);
        assert_eq!(decide(standing(false, false), true, young), Verdict::Proven);
        assert_eq!(decide(standing(true, false), true, old), Verdict::Same);
        assert_eq!(rechecks(standing(true, false), 2), 2);
        assert_eq!(rechecks(standing(true, true), 2), 0);
    }
}
