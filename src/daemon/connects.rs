//! The proxy's failed connects: the supervisor looks again at those addresses.

use tokio::sync::mpsc;

use crate::base::shutdown::Tasks;
use crate::proxy::{Address, ConnectFailure};
use crate::supervise::Supervisor;

/// Follows `failures` until shutdown.
pub fn recheck(
    mut failures: mpsc::Receiver<ConnectFailure>,
    supervisor: Supervisor,
    tasks: &Tasks,
) {
    let shutdown = tasks.shutdown().clone();
    tasks.spawn_core("connect-failures", async move {
        loop {
            let failure = tokio::select! {
                () = shutdown.begun() => return,
                failure = failures.recv() => failure,
            };
            let Some(failure) = failure else { return };
            tracing::debug!(target_key = %failure.target, address = %failure.address, error = failure.error, "a connect failed");
            if let Address::Tcp(address) = failure.address {
                supervisor.recheck(address).await;
            }
        }
    });
}
