//! Local: what hyper sets going beside a connection runs on the worker's own runtime.
use std::future::Future;

use tokio::task::spawn_local;

#[derive(Clone, Copy)]
pub(super) struct Local;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, future: F) {
        spawn_local(future);
    }
}
