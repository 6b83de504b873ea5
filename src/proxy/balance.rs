//! Balance: which of a route's targets gets a request.
//!
//! The one that the client's cookie names, if it takes requests. Else of two drawn at random the one with fewer requests in
//! flight. Left out are those already tried for this request, those that retire, those without a place, and, while there
//! is another, those that are out because of what they did to requests, and for what changes something those that come back and
//! have answered nothing since.
use std::sync::Arc;

use super::target::{Claim, Target};

/// Pairs that are drawn before all are looked at in turn.
const DRAWS: u32 = 3;

/// What is known of a request when its target is chosen.
pub(super) struct Wish<'a> {
    pub(super) tried: &'a [u64],
    /// It changes nothing: one that may still hang can be tried with it.
    pub(super) reads: bool,
    /// The target the client was at before: its mark, and the key of the marks.
    pub(super) last: Option<(u64, &'a aws_lc_rs::hmac::Key)>,
}

/// A claim on a target that takes requests, or none if all are tried, retiring or full. `now` is of the clock of standings.
pub(super) fn choose(
    targets: &[Arc<Target>],
    wish: &Wish<'_>,
    mut random: u64,
    now: impl FnOnce() -> u64,
) -> Option<Claim> {
    if let ([only], []) = (targets, wish.tried) {
        return only.claim();
    }
    let now = now();
    let may = |target: &Target| {
        !wish.tried.contains(&target.id()) && !target.is_retiring() && !target.is_full()
    };
    if let Some((mark, key)) = wish.last
        && let Some(last) = targets.iter().find(|target| target.mark(key) == mark)
        && may(last)
        && last.standing().may_be_asked(now, wish.reads)
        && let Some(claim) = last.claim()
    {
        return Some(claim);
    }
    let count = targets.len();
    let request = random;
    let mut found: Option<&Arc<Target>> = None;
    for _ in 0..if count > 1 { DRAWS } else { 0 } {
        let first = (random as u32) as usize % count;
        let second = (first + 1 + (random >> 32) as usize % (count - 1)) % count;
        random = mixed(random);
        for index in [first, second] {
            let target = &targets[index];
            // Of one request and one target the same in each draw: one that comes back slowly is not asked until it agrees.
            let chance = || mixed(request ^ target.id()) as u16;
            let standing = target.standing();
            if !may(target)
                || !standing.may_be_asked(now, wish.reads)
                || !standing.takes(now, chance)
            {
                continue;
            }
            match found {
                Some(other) if Arc::ptr_eq(other, target) => {}
                Some(other) => {
                    let less = target.in_flight() < other.in_flight();
                    let chosen = if less { target } else { other };
                    return chosen.claim().or_else(|| any(targets, may, random, now));
                }
                None => found = Some(target),
            }
        }
    }
    found
        .and_then(|target| target.claim())
        .or_else(|| any(targets, may, random, now))
}

/// The first that may, from one drawn on; those that are out only if no other is there, as their answer is better than none.
fn any(
    targets: &[Arc<Target>],
    may: impl Fn(&Target) -> bool,
    random: u64,
    now: u64,
) -> Option<Claim> {
    let start = (random >> 32) as usize % targets.len().max(1);
    let all = || targets[start..].iter().chain(&targets[..start]);
    let of = |out: bool| {
        let mut those = all().filter(|target| target.standing().is_out(now) == out && may(target));
        those.find_map(|target| target.claim())
    };
    of(false).or_else(|| of(true))
}

/// The next of a row of numbers that look like chance (splitmix64's finish).
fn mixed(number: u64) -> u64 {
    let mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::request_id::RequestIds;
    use crate::proxy::standing::Cause;
    use crate::proxy::target::{Address, Traits};

    const NOW: u64 = 1_000;

    fn choose(targets: &[Arc<Target>], tried: &[u64], random: u64) -> Option<Claim> {
        let wish = Wish {
            tried,
            reads: true,
            last: None,
        };
        super::choose(targets, &wish, random, || NOW)
    }

    /// How many of so many requests, none of which ends, each target gets.
    fn shares(targets: &[Arc<Target>], requests: usize) -> Vec<u64> {
        let ids = RequestIds::new(1);
        let claims = (0..requests).filter_map(|_| choose(targets, &[], ids.random()));
        let _held: Vec<_> = claims.collect();
        targets.iter().map(|target| target.in_flight()).collect()
    }

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
    fn e5_one_that_comes_back_gets_the_share_that_is_stated_however_few_there_are() {
        let ids = RequestIds::new(1);
        for count in [2, 4] {
            let targets = targets(count);
            let (back, others) = (&targets[0], u64::from(count) - 1);
            assert!(back.standing().eject(NOW, Cause::Failures, || false));
            let until = (NOW..).find(|now| !back.standing().is_out(*now)).unwrap();
            for (since, part) in [(0, 0.0625), (2_000, 0.2), (5_000, 0.5), (10_000, 1.0)] {
                let wish = Wish {
                    tried: &[],
                    reads: true,
                    last: None,
                };
                let asked = 4_000;
                // Nothing is in flight, so of two that take it either is as good.
                let got = (0..asked).filter(|_| {
                    let claim = super::choose(&targets, &wish, ids.random(), || until + since);
                    claim.unwrap().target().id() == back.id()
                });
                let got = got.count() as f64 / f64::from(asked);
                let most = part / (part + others as f64) + 0.03;
                let least = part / (1.0 + others as f64) * 0.4;
                assert!(
                    (least..most).contains(&got),
                    "{count} targets, {since} ms: {got}, of {least} to {most}"
                );
            }
        }
    }

    /// What was sent to it may be lost, so only what may be sent again finds out whether it still hangs.
    #[test]
    fn n3_one_that_comes_back_gets_what_changes_something_once_it_has_answered() {
        let ids = RequestIds::new(1);
        let targets = targets(3);
        let (back, other) = (&targets[0], &targets[1]);
        assert!(back.standing().eject(NOW, Cause::Silence, || false));
        let until = (NOW..).find(|now| !back.standing().is_out(*now)).unwrap();
        let got = |now: u64, reads: bool, of: &Arc<Target>| {
            let wish = Wish {
                tried: &[],
                reads,
                last: Some((of.mark(&key()), &key())),
            };
            let claims =
                (0..400).filter_map(|_| super::choose(&targets, &wish, ids.random(), || now));
            claims
                .filter(|claim| claim.target().id() == back.id())
                .count()
        };
        let soon = until + 2_000;
        assert_ne!(got(soon, true, back), 0);
        assert_eq!(got(soon, false, back), 0, "where its client was before");
        assert_eq!(got(soon, false, other), 0);
        back.standing().answered(soon);
        assert_ne!(got(soon + 1, false, back), 0);
        // If nobody reads anything, it gets some in the end.
        back.standing()
            .eject(soon + 60_000, Cause::Silence, || false);
        let late = (soon + 60_000..)
            .find(|now| !back.standing().is_out(*now))
            .unwrap();
        assert_eq!(got(late + 9_000, false, back), 0);
        assert_ne!(got(late + 20_000, false, back), 0);
    }

    fn key() -> aws_lc_rs::hmac::Key {
        aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, b"k")
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
        for share in shares(&targets(5), 500) {
            assert!((90..=110).contains(&share), "{share}");
        }
    }

    #[test]
    fn e5_who_is_out_gets_nothing_while_another_is_there() {
        let targets = targets(4);
        for out in &targets[..2] {
            out.standing().eject(NOW, Cause::Errors, || false);
        }
        assert_eq!(shares(&targets, 100)[..2], [0, 0]);
        for out in &targets[2..] {
            out.standing().eject(NOW, Cause::Errors, || false);
        }
        assert_eq!(shares(&targets, 100).iter().sum::<u64>(), 100);
        let tried: Vec<_> = targets[..3].iter().map(|target| target.id()).collect();
        let last = choose(&targets, &tried, 7).unwrap();
        assert_eq!(last.target().id(), targets[3].id());
    }

    #[test]
    fn e5_who_is_full_gets_nothing_and_nobody_gets_more_than_its_cap() {
        let capped = |cap| {
            let traits = Traits {
                cap,
                ..Traits::default()
            };
            Target::with("t", Address::Tcp(([127, 0, 0, 1], 1).into()), traits)
        };
        let targets = [capped(Some(3)), capped(Some(5)), capped(None)];
        let shares_now = shares(&targets, 100);
        assert_eq!(shares_now, [3, 5, 92]);
        assert_eq!(shares(&targets[..2], 100), [3, 5]);
        assert_eq!(shares(&targets[..1], 100), [3], "alone as well");
    }

    #[test]
    fn e5_a_client_stays_where_it_was_while_that_takes_requests() {
        let targets = targets(3);
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, b"k");
        let ids = RequestIds::new(1);
        let chosen = |mark, tried: &[u64]| {
            let wish = Wish {
                tried,
                reads: true,
                last: Some((mark, &key)),
            };
            let claim = super::choose(&targets, &wish, ids.random(), || NOW).unwrap();
            claim.target().id()
        };
        let (last, mark) = (targets[1].id(), targets[1].mark(&key));
        assert!((0..50).all(|_| chosen(mark, &[]) == last));
        assert!(
            (0..50).any(|_| chosen(mark ^ 1, &[]) != last),
            "a mark of nobody"
        );
        assert!((0..50).all(|_| chosen(mark, &[last]) != last));
        targets[1].standing().eject(NOW, Cause::Errors, || false);
        assert!((0..50).all(|_| chosen(mark, &[]) != last));
    }
}
