//! Balance: which of a route's targets gets a request.
//!
//! Of two drawn at random the one with fewer requests in flight. Those already tried for this request are left out.
use std::sync::Arc;

use super::target::{Claim, Target};

/// A claim on a target that takes requests, or none if all are tried or retiring.
pub(super) fn choose(targets: &[Arc<Target>], tried: &[u64], random: u64) -> Option<Claim> {
    if let ([only], []) = (targets, tried) {
        return only.claim();
    }
    let usable: Vec<&Arc<Target>> = targets
        .iter()
        .filter(|target| !tried.contains(&target.id()) && !target.is_retiring())
        .collect();
    let count = usable.len();
    if count == 0 {
        return None;
    }
    let first = (random as u32) as usize % count;
    let second = if count > 1 {
        (first + 1 + (random >> 32) as usize % (count - 1)) % count
    } else {
        first
    };
    let (first, second) = if usable[second].in_flight() < usable[first].in_flight() {
        (second, first)
    } else {
        (first, second)
    };
    usable[first]
        .claim()
        .or_else(|| usable[second].claim())
        .or_else(|| usable.iter().find_map(|target| target.claim()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::target::Address;

    fn targets(count: u16) -> Vec<Arc<Target>> {
        (0..count)
            .map(|port| {
                Target::new(
                    format!("t{port}"),
                    Address::Tcp(([127, 0, 0, 1], port).into()),
                )
            })
            .collect()
    }

    #[test]
    fn f4_the_less_loaded_of_two_gets_the_request() {
        let targets = targets(2);
        let held: Vec<_> = (0..3).filter_map(|_| targets[0].claim()).collect();
        for random in [0, 1, u64::MAX, 1 << 32] {
            assert_eq!(
                choose(&targets, &[], random).unwrap().target().id(),
                targets[1].id()
            );
        }
        drop(held);
    }

    #[test]
    fn f4_retiring_and_tried_targets_are_left_out() {
        let targets = targets(3);
        targets[0].retire();
        for random in 0..100u64 {
            let claim = choose(
                &targets,
                &[targets[1].id()],
                random.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            )
            .unwrap();
            assert_eq!(claim.target().id(), targets[2].id());
        }
        targets[1].retire();
        targets[2].retire();
        assert!(choose(&targets, &[], 5).is_none());
    }

    #[test]
    fn f4_load_spreads_over_all() {
        let targets = targets(5);
        let ids = crate::proxy::request_id::RequestIds::new(1);
        let claims: Vec<_> = (0..500)
            .filter_map(|_| choose(&targets, &[], ids.random()))
            .collect();
        assert_eq!(claims.len(), 500);
        assert!(
            targets
                .iter()
                .all(|target| (90..=110).contains(&target.in_flight()))
        );
    }
}
