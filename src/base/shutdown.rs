//! Tasks have an owner and a name; shutdown is ordered and bounded.
//!
//! A panic stays in its task, but some tasks are what the daemon is for: when
//! one of those panics, the rest would only look alive. Its panic asks everyone
//! to stop, and the daemon ends with an error, so that it is started again.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The wish to stop, seen by everyone who holds a clone.
#[derive(Clone, Debug, Default)]
pub struct Shutdown(CancellationToken);

impl Shutdown {
    /// A wish not yet made.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks every holder to stop.
    pub fn begin(&self) {
        self.0.cancel();
    }

    /// Whether stopping was asked for.
    pub fn is_begun(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Waits until stopping is asked for.
    pub async fn begun(&self) {
        self.0.cancelled().await;
    }

    /// A token for one piece of work that ends with this shutdown or before.
    pub fn child(&self) -> CancellationToken {
        self.0.child_token()
    }
}

/// A group of named tasks with one owner.
#[derive(Clone, Debug)]
pub struct Tasks {
    tracker: TaskTracker,
    shutdown: Shutdown,
    /// How many run under each name.
    running: Arc<Mutex<BTreeMap<&'static str, usize>>>,
    /// The first core task that panicked.
    lost: Arc<OnceLock<&'static str>>,
}

impl Tasks {
    /// An empty group that ends with `shutdown`.
    pub fn new(shutdown: Shutdown) -> Self {
        Self {
            tracker: TaskTracker::new(),
            shutdown,
            running: Arc::default(),
            lost: Arc::default(),
        }
    }

    /// The group's wish to stop; every task is expected to watch it.
    pub fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    /// Runs `task` on the current runtime. A panic in it is logged under `name`
    /// and stays its own.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.run(name, false, task);
    }

    /// Runs a task without which the daemon is of no use. A panic in it begins
    /// the shutdown, and [`Self::lost`] names it.
    pub fn spawn_core(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.run(name, true, task);
    }

    fn run(&self, name: &'static str, core: bool, task: impl Future<Output = ()> + Send + 'static) {
        let inner = tokio::spawn(self.tracker.track_future(task));
        *self.counts().entry(name).or_default() += 1;
        let tasks = self.clone();
        tokio::spawn(self.tracker.track_future(async move {
            if let Err(error) = inner.await
                && error.is_panic()
            {
                if core {
                    tracing::error!(
                        task = name,
                        "a task that Freehold cannot do without panicked; the daemon ends, to be started again"
                    );
                    tasks.lost.get_or_init(|| name);
                    tasks.shutdown.begin();
                } else {
                    tracing::error!(task = name, "a task panicked; the rest goes on");
                }
            }
            tasks.ended(name);
        }));
    }

    /// The core task whose panic began the shutdown, if one did.
    pub fn lost(&self) -> Option<&'static str> {
        self.lost.get().copied()
    }

    fn ended(&self, name: &'static str) {
        let mut counts = self.counts();
        if let Some(count) = counts.get_mut(name) {
            *count -= 1;
            if *count == 0 {
                counts.remove(name);
            }
        }
    }

    /// The names of the tasks that still run.
    pub fn running(&self) -> Vec<&'static str> {
        self.counts().keys().copied().collect()
    }

    fn counts(&self) -> MutexGuard<'_, BTreeMap<&'static str, usize>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until every task has ended, at most `limit`. Says whether all did.
    pub async fn finish(&self, limit: Duration) -> bool {
        self.shutdown.begin();
        self.tracker.close();
        tokio::time::timeout(limit, self.tracker.wait())
            .await
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn f8_a_panic_in_a_core_task_ends_the_daemon_and_another_ones_does_not() {
        let tasks = Tasks::new(Shutdown::new());
        tasks.spawn("errand", async { panic!("on purpose") });
        while !tasks.running().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(!tasks.shutdown().is_begun());
        assert_eq!(tasks.lost(), None);

        tasks.spawn_core("heart", async { panic!("on purpose") });
        let begun = tokio::time::timeout(Duration::from_secs(60), tasks.shutdown().begun());
        assert!(begun.await.is_ok());
        assert_eq!(tasks.lost(), Some("heart"));
        assert!(tasks.finish(Duration::from_secs(60)).await);
    }
}
