//! The proxy's promise, modelled: whatever the order of the threads, every request finds a target, no target is taken away
//! while a request uses it, no target has more requests than its cap, and the drain of a retired target ends.
//!
//! The protocol is the shipped file itself. Each saboteur is that file with one protection taken out (build.rs), and the
//! same model must fail with it.
#![cfg(test)]

#[path = "../../../src/proxy/claims.rs"]
mod claims;
mod stand_in;

use std::future::Future;

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering::SeqCst};

trait Protocol: Send + Sync + 'static {
    fn new() -> Self;
    fn take(&self) -> bool;
    fn take_below(&self, cap: u64) -> bool;
    fn give_back(&self);
    fn retire(&self);
    fn is_retiring(&self) -> bool;
    fn in_flight(&self) -> u64;
    fn drained(&self) -> impl Future<Output = ()>;
}

macro_rules! protocol {
    ($module:ident) => {
        impl Protocol for $module::Claims {
            fn new() -> Self {
                $module::Claims::new()
            }
            fn take(&self) -> bool {
                $module::Claims::take(self)
            }
            fn take_below(&self, cap: u64) -> bool {
                $module::Claims::take_below(self, cap)
            }
            fn give_back(&self) {
                $module::Claims::give_back(self);
            }
            fn retire(&self) {
                $module::Claims::retire(self);
            }
            fn is_retiring(&self) -> bool {
                $module::Claims::is_retiring(self)
            }
            fn in_flight(&self) -> u64 {
                $module::Claims::in_flight(self)
            }
            fn drained(&self) -> impl Future<Output = ()> {
                $module::Claims::drained(self)
            }
        }
    };
}

macro_rules! saboteur {
    ($module:ident) => {
        mod $module {
            include!(concat!(env!("OUT_DIR"), "/", stringify!($module), ".rs"));

            #[test]
            #[ignore = "run by the saboteurs' test, in a process of its own"]
            fn model() {
                super::a_switch_under_load::<Claims>(1);
            }

            #[test]
            #[ignore = "run by the saboteurs' test, in a process of its own"]
            fn capped() {
                super::a_switch_with_a_cap::<Claims>();
            }
        }
        protocol!($module);
    };
}

protocol!(claims);
saboteur!(without_the_look_after_counting);
saboteur!(asking_before_counting);
saboteur!(keeping_a_refused_count);
saboteur!(looking_before_listening);
saboteur!(telling_nobody_of_the_last_release);
saboteur!(counting_after_the_look_at_the_cap);
saboteur!(a_cap_that_hides_the_retirement);

/// A target, and the container behind it: loom fails the model if that is taken away beside a request.
struct Target<C> {
    claims: C,
    runs: UnsafeCell<bool>,
}

/// Two targets, of which the newest snapshot names one.
struct World<C> {
    targets: [Target<C>; 2],
    newest: AtomicUsize,
}

impl<C: Protocol> World<C> {
    fn new() -> Self {
        let target = || Target {
            claims: C::new(),
            runs: UnsafeCell::new(true),
        };
        Self {
            targets: [target(), target()],
            newest: AtomicUsize::new(0),
        }
    }

    /// As the proxy does: load, choose, claim; once refused, choose again from what is newest by then.
    fn request(&self) {
        let first = &self.targets[self.newest.load(SeqCst)];
        let target = if first.claims.take() {
            first
        } else {
            let second = &self.targets[self.newest.load(SeqCst)];
            assert!(second.claims.take(), "a request found no target");
            second
        };
        target
            .runs
            .with(|runs| assert!(unsafe { *runs }, "its target was gone"));
        target.claims.give_back();
    }

    /// As a deploy does: publish, retire, wait for the drain, stop.
    fn switch(&self) {
        self.newest.store(1, SeqCst);
        let old = &self.targets[0];
        old.claims.retire();
        loom::future::block_on(old.claims.drained());
        old.runs.with_mut(|runs| unsafe { *runs = false });
        assert!(old.claims.is_retiring());
    }
}

fn a_switch_under_load<C: Protocol>(visitors: usize) {
    let mut model = loom::model::Builder::new();
    // With two visitors every order that interrupts the threads at most three times; with one, every order.
    model.preemption_bound = (visitors > 1).then_some(3);
    model.check(move || {
        let world = Arc::new(World::<C>::new());
        let visits: Vec<_> = (0..visitors)
            .map(|_| {
                let world = world.clone();
                loom::thread::spawn(move || world.request())
            })
            .collect();
        world.switch();
        for visit in visits {
            visit.join().unwrap();
        }
        for target in &world.targets {
            assert_eq!(target.claims.in_flight(), 0);
        }
    });
}

/// Targets that take one request at a time. Who finds no place listens, looks again and waits, as those that are held do; a
/// place that is given back wakes them, and so does a publication. That a target is alone with a request is loom's to see.
fn a_switch_with_a_cap<C: Protocol>() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let world = Arc::new(World::<C>::new());
        let bell = Arc::new(stand_in::Notify::new());
        let visits: Vec<_> = (0..2)
            .map(|_| {
                let (world, bell) = (world.clone(), bell.clone());
                loom::thread::spawn(move || {
                    loop {
                        let rung = bell.notified();
                        let target = &world.targets[world.newest.load(SeqCst)];
                        if target.claims.take_below(1) {
                            target
                                .runs
                                .with_mut(|runs| assert!(unsafe { *runs }, "its target was gone"));
                            target.claims.give_back();
                            bell.notify_waiters();
                            return;
                        }
                        loom::future::block_on(rung);
                    }
                })
            })
            .collect();
        world.newest.store(1, SeqCst);
        bell.notify_waiters();
        let old = &world.targets[0];
        old.claims.retire();
        loom::future::block_on(old.claims.drained());
        old.runs.with_mut(|runs| unsafe { *runs = false });
        for visit in visits {
            visit.join().unwrap();
        }
        for target in &world.targets {
            assert_eq!(target.claims.in_flight(), 0);
        }
    });
}

#[test]
fn e5_a_switch_of_targets_with_a_cap() {
    a_switch_with_a_cap::<claims::Claims>();
}

#[test]
fn f4_one_visitor_and_a_switch_in_every_order() {
    a_switch_under_load::<claims::Claims>(1);
}

#[test]
fn f4_two_visitors_and_a_switch() {
    a_switch_under_load::<claims::Claims>(2);
}

/// A process each, because a model that ends in a deadlock aborts.
#[test]
fn f4_the_model_fails_with_every_saboteur() {
    for (saboteur, why) in [
        ("without_the_look_after_counting", "Causality violation"),
        ("asking_before_counting", "Causality violation"),
        ("keeping_a_refused_count", "right: 0"),
        ("looking_before_listening", "deadlock"),
        ("telling_nobody_of_the_last_release", "deadlock"),
    ] {
        fails(&format!("{saboteur}::model"), why);
    }
}

#[test]
fn e5_the_model_with_a_cap_fails_with_every_saboteur() {
    for (saboteur, why) in [
        ("counting_after_the_look_at_the_cap", "Causality violation"),
        ("a_cap_that_hides_the_retirement", "Causality violation"),
        ("telling_nobody_of_the_last_release", "deadlock"),
    ] {
        fails(&format!("{saboteur}::capped"), why);
    }
}

fn fails(saboteur: &str, why: &str) {
    let done = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", saboteur])
        .arg("--nocapture")
        .env("RUST_BACKTRACE", "0")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(!done.status.success(), "the model holds with {saboteur}");
    assert!(said.contains(why), "{saboteur} fails otherwise: {said}");
}
