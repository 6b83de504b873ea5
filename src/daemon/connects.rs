//! What the proxy meets: the supervisor looks again at addresses that refuse, and asks those that keep silent.

use tokio::sync::mpsc;

use crate::base::shutdown::Tasks;
use crate::proxy::{Address, Trouble, What};
use crate::supervise::Supervisor;

/// Follows `troubles` until shutdown.
pub fn recheck(mut troubles: mpsc::Receiver<Trouble>, supervisor: Supervisor, tasks: &Tasks) {
    let shutdown = tasks.shutdown().clone();
    tasks.spawn_core("connect-failures", async move {
        loop {
            let trouble = tokio::select! {
                () = shutdown.begun() => return,
                trouble = troubles.recv() => trouble,
            };
            let Some(trouble) = trouble else { return };
            tracing::debug!(target_key = %trouble.target, address = %trouble.address, what = ?trouble.what, "a target is in trouble");
            let Address::Tcp(address) = trouble.address else {
                continue;
            };
            match trouble.what {
                What::Refused(_) => supervisor.recheck(address).await,
                What::Silent(protocol) => supervisor.doubt(address, protocol),
            }
        }
    });
}
