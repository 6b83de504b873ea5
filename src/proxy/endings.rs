//! Endings: who on a worker is to be woken when something may have to end: answers that wait for their app, tunnels, the held.
//!
//! They are woken and look for themselves: the phase of the edge and `Target::is_cut` say whether it is their turn. All of a
//! worker is one thread, so its lists need no lock; the one signal that comes from elsewhere, that a target was cut, is
//! waited for once a worker and target, by a task, and not by each answer.
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};

use tokio::task::spawn_local;

use super::target::Target;

/// Those of one worker.
#[derive(Default)]
pub(super) struct Endings {
    /// Whatever they wait for.
    any: Rc<Bell>,
    /// By the target that they wait for.
    of_targets: Rc<RefCell<HashMap<u64, Rc<Bell>>>>,
}

impl Endings {
    /// A place among those that the edge's way down wakes.
    pub(super) fn place(&self) -> Place {
        self.any.place()
    }

    /// A place among those that this wakes, and what becomes of the target.
    pub(super) fn place_at(&self, target: &Arc<Target>) -> Place {
        let mut of_targets = self.of_targets.borrow_mut();
        let bell = of_targets.entry(target.id()).or_insert_with(|| {
            let bell = Rc::<Bell>::default();
            // Its end comes with that of the target, if not before.
            let (cut, id) = (target.cut_signal().clone(), target.id());
            let (all, its) = (self.of_targets.clone(), bell.clone());
            spawn_local(async move {
                cut.cancelled().await;
                all.borrow_mut().remove(&id);
                its.ring();
            });
            bell
        });
        bell.place()
    }

    /// The edge has gone a step down.
    pub(super) fn wake_all(&self) {
        let bells: Vec<_> = self.of_targets.borrow().values().cloned().collect();
        bells.iter().chain([&self.any]).for_each(|bell| bell.ring());
    }
}

/// A list of those who wait.
#[derive(Default)]
struct Bell {
    waiting: RefCell<HashMap<u64, Waker>>,
    next: Cell<u64>,
}

impl Bell {
    fn place(self: &Rc<Self>) -> Place {
        let id = self.next.get();
        self.next.set(id + 1);
        Place {
            bell: self.clone(),
            id,
        }
    }

    fn ring(&self) {
        // Taken first: who is woken may leave.
        let woken: Vec<Waker> = self.waiting.borrow_mut().drain().map(|(_, w)| w).collect();
        woken.into_iter().for_each(Waker::wake);
    }
}

/// Of one who waits, left when it is dropped.
pub(super) struct Place {
    bell: Rc<Bell>,
    id: u64,
}

impl Place {
    /// Whoever runs now is woken by the next that happens. Between his look and this nothing can: it is the same thread.
    pub(super) fn listen(&self, cx: &Context<'_>) {
        let mut waiting = self.bell.waiting.borrow_mut();
        waiting
            .entry(self.id)
            .and_modify(|waker| waker.clone_from(cx.waker()))
            .or_insert_with(|| cx.waker().clone());
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.bell.waiting.borrow_mut().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::task::Wake;

    use tokio::task::{LocalSet, yield_now};

    use super::*;
    use crate::proxy::Address;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    impl Count {
        fn listens(self: &Arc<Self>, place: &Place) {
            let waker = Waker::from(self.clone());
            place.listen(&Context::from_waker(&waker));
        }

        fn woken(&self) -> usize {
            self.0.load(SeqCst)
        }
    }

    fn target() -> Arc<Target> {
        Target::new("t", Address::Tcp(([127, 0, 0, 1], 1).into()))
    }

    async fn settled() {
        for _ in 0..10 {
            yield_now().await;
        }
    }

    #[tokio::test]
    async fn n2_a_cut_wakes_who_waits_at_that_target_and_nobody_else() {
        let all = async {
            let endings = Endings::default();
            let (cut, other) = (target(), target());
            let counts: [Arc<Count>; 4] = Default::default();
            let [here, left, elsewhere, anywhere] = &counts;
            let places = [
                (here, endings.place_at(&cut)),
                (left, endings.place_at(&cut)),
                (elsewhere, endings.place_at(&other)),
                (anywhere, endings.place()),
            ];
            for (count, place) in &places {
                // Once, however often it says so.
                count.listens(place);
                count.listens(place);
            }
            settled().await;
            let mut places = places.into_iter();
            let (_here, _left) = (places.next(), drop(places.next()));
            let _others: Vec<_> = places.collect();
            // From another thread, as the control plane does it.
            let thread = std::thread::spawn({
                let cut = cut.clone();
                move || cut.cut()
            });
            thread.join().unwrap();
            settled().await;
            assert_eq!(counts.each_ref().map(|count| count.woken()), [1, 0, 0, 0]);
            // Who comes later is woken, too, to see that it was late.
            let late = endings.place_at(&cut);
            here.listens(&late);
            settled().await;
            assert_eq!(here.woken(), 2);
            endings.wake_all();
            assert_eq!(counts.each_ref().map(|count| count.woken()), [2, 0, 1, 1]);
        };
        LocalSet::new().run_until(all).await;
    }

    #[tokio::test]
    async fn n2_nothing_is_kept_of_a_target_that_is_gone() {
        let all = async {
            let (endings, target) = (Endings::default(), target());
            let place = endings.place_at(&target);
            drop(place);
            settled().await;
            assert_eq!(endings.of_targets.borrow().len(), 1);
            drop(target);
            settled().await;
            assert_eq!(endings.of_targets.borrow().len(), 0);
        };
        LocalSet::new().run_until(all).await;
    }
}
