//! What `claims` uses of tokio, made of loom's parts.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

pub use loom::sync::atomic::AtomicU64;

use loom::sync::Mutex;

/// tokio's `Notify` as far as `claims` uses it: whoever called `notified` before `notify_waiters` is woken by it, polled or
/// not; whoever calls it afterwards waits for the next.
pub struct Notify(Mutex<State>);

struct State {
    rung: u64,
    waiting: Vec<Waker>,
}

impl Notify {
    pub fn new() -> Self {
        Self(Mutex::new(State {
            rung: 0,
            waiting: Vec::new(),
        }))
    }

    pub fn notified(&self) -> Notified<'_> {
        let rung = self.0.lock().unwrap().rung;
        Notified { of: self, rung }
    }

    pub fn notify_waiters(&self) {
        let waiting = {
            let mut state = self.0.lock().unwrap();
            state.rung += 1;
            std::mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }
}

pub struct Notified<'a> {
    of: &'a Notify,
    rung: u64,
}

impl Future for Notified<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.of.0.lock().unwrap();
        if state.rung != self.rung {
            return Poll::Ready(());
        }
        state.waiting.push(cx.waker().clone());
        Poll::Pending
    }
}
