//! Outliers: which of a route's targets are left out for a while because of what they do to requests.
//!
//! A target is judged beside its siblings: never is more than half of a route's targets left out, so never the last; an
//! app that answers 500 to everybody, or is slow with everybody, loses none. Of a route with one target nothing is noted.
use std::sync::Arc;

use super::routes::Route;
use super::standing::Cause;
use super::target::Target;
use crate::base::sabotage::Sabotage;

/// An answer that took this long, in ms, was slow.
pub(super) const SLOW_MS: u64 = 5_000;
/// If more than one of so many requests of a route is slow, silence tells nothing.
const SLOW_ONE_OF: u64 = 100;

/// A head with this status came, so many milliseconds after the request was sent.
pub(super) fn answered(route: &Route, target: &Target, status: u16, took: u64, now: u64) {
    let standing = target.standing();
    if took >= SLOW_MS {
        standing.was_slow();
    }
    if status < 500 {
        standing.answered(now);
    } else if let Some(since) = standing.erred(now)
        && others_answered(route, target, since)
    {
        eject(route, target, now, Cause::Errors);
    }
}

/// A connect failed, or the connection ended or said nonsense instead of an answer.
pub(super) fn failed(route: &Route, target: &Target, now: u64) {
    if target.standing().failed(now) {
        eject(route, target, now, Cause::Failures);
    }
}

/// A request waits for its answer since `since`, which is long. Speaks against the target if it has answered nobody
/// meanwhile, others have, and the route's requests are quick as a rule. Those who wait may then go elsewhere.
pub(super) fn silent(route: &Route, target: &Target, since: u64, now: u64) {
    let seldom_slow = || {
        let slow: u64 = route.targets().iter().map(|t| t.standing().slow()).sum();
        slow * SLOW_ONE_OF <= route.meter().started()
    };
    if !target.standing().answered_since(since)
        && others_answered(route, target, since)
        && seldom_slow()
        && target.standing().failed(now)
        && eject(route, target, now, Cause::Silence)
    {
        target.leave();
    }
}

fn others_answered(route: &Route, target: &Target, since: u64) -> bool {
    let mut others = route
        .targets()
        .iter()
        .filter(|other| other.id() != target.id());
    others.any(|other| other.standing().answered_since(since))
}

fn eject(route: &Route, target: &Target, now: u64, why: Cause) -> bool {
    let too_many = || more_than_half_out(route.targets(), now);
    let ejected = !Sabotage::NoEjection.is_on() && target.standing().eject(now, why, too_many);
    if ejected {
        tracing::warn!(target = %target.key(), route = %route.spec.key, "left out for a while: {}", why.words());
    }
    ejected
}

fn more_than_half_out(targets: &[Arc<Target>], now: u64) -> bool {
    let present = targets.iter().filter(|target| !target.is_retiring());
    let (all, out) = present.fold((0, 0), |(all, out), target| {
        (all + 1, out + usize::from(target.standing().is_out(now)))
    });
    out * 2 > all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::routes::{RouteSpec, Upstream};
    use crate::proxy::snapshot::Snapshot;
    use crate::proxy::target::Address;

    fn route(count: u16) -> Arc<Route> {
        let address = |port| Address::Tcp(([127, 0, 0, 1], port).into());
        let targets = (0..count).map(|n| Target::new(format!("t{n}"), address(n)));
        let upstream = Upstream::Targets(targets.collect());
        let spec = RouteSpec {
            upstream,
            ..RouteSpec::default()
        };
        Route::new(spec, &Snapshot::default())
    }

    fn out(route: &Route, now: u64) -> Vec<usize> {
        let targets = route.targets().iter().enumerate();
        targets
            .filter(|(_, target)| target.standing().is_out(now))
            .map(|(at, _)| at)
            .collect()
    }

    #[test]
    fn e5_never_more_than_half_is_left_out_and_so_never_the_last() {
        for (count, most) in [(1, 0), (2, 1), (3, 1), (4, 2), (5, 2), (6, 3)] {
            let route = route(count);
            for target in route.targets() {
                for _ in 0..10 {
                    failed(&route, target, 1_000);
                }
            }
            assert_eq!(out(&route, 1_500).len(), most, "of {count}");
        }
    }

    #[test]
    fn n3_errors_speak_against_a_target_only_while_others_answer() {
        let route = route(3);
        let [one, two, _] = route.targets() else {
            panic!()
        };
        for _ in 0..50 {
            for target in route.targets() {
                answered(&route, target, 500, 1, 2_000);
            }
        }
        assert!(out(&route, 2_001).is_empty(), "the app means it");
        answered(&route, one, 200, 1, 2_100);
        answered(&route, one, 404, 1, 2_200);
        answered(&route, two, 503, 1, 2_300);
        assert_eq!(out(&route, 2_301), [1]);
        answered(&route, one, 500, 1, 2_400);
        assert_eq!(out(&route, 2_401), [1]);
    }

    #[test]
    fn n3_silence_speaks_against_a_target_only_where_answers_are_quick() {
        for (slow, others, itself, expected) in [
            (0, true, false, true),
            (0, false, false, false),
            (0, true, true, false),
            (1, true, false, false),
        ] {
            let route = route(2);
            let [hung, well] = route.targets() else {
                panic!()
            };
            for _ in 0..slow {
                answered(&route, well, 200, SLOW_MS, 100);
            }
            if others {
                answered(&route, well, 200, 1, 5_000);
            }
            if itself {
                answered(&route, hung, 200, 1, 5_000);
            }
            let before = hung.leaves();
            for _ in 0..3 {
                silent(&route, hung, 1_000, 11_000);
            }
            let case = format!("slow {slow}, others {others}, itself {itself}");
            assert_eq!(
                out(&route, 11_001),
                if expected { vec![0] } else { vec![] },
                "{case}"
            );
            assert_eq!(hung.leaves() != before, expected, "{case}");
        }
    }
}
