//! Attempt: the connection over which a request is tried, kept or new.
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::timeout_at;

use super::client::Client;
use super::edge::ConnectFailure;
use super::target::Target;
use super::upstream::{self, Connection, PATIENCE};

/// With another target to turn to, an address that says nothing is given up this early.
const SILENCE: Duration = Duration::from_millis(250);

/// A connection to the target: an idle one, unless that is not wanted, or a new one when it is this request's turn.
pub(super) async fn obtain(
    client: &Client,
    target: &Arc<Target>,
    fresh_only: bool,
    others: bool,
) -> Option<Connection> {
    let (pool, turns) = (&client.worker.pool, &client.worker.turns);
    let mut since = None;
    loop {
        if !fresh_only && let Some(idle) = pool.borrow_mut().take(target, Instant::now()) {
            return Some(idle);
        }
        let is_patient = since.is_none_or(|since: Instant| since.elapsed() < PATIENCE);
        if let Some(_turn) = turns.take(target.id(), fresh_only || !is_patient) {
            return open(client, target, others).await;
        }
        let until = *since.get_or_insert_with(Instant::now) + PATIENCE;
        // Whether it was woken or its patience is over, it looks again.
        timeout_at(until.into(), turns.wait(target.id()))
            .await
            .unwrap_or_default();
    }
}

/// A new connection to the target; a failure is reported to the control plane, which knows where targets live.
async fn open(client: &Client, target: &Arc<Target>, others: bool) -> Option<Connection> {
    let limit = client.limits().upstream_connect;
    let opened = upstream::connect(
        target.address(),
        if others { limit.min(SILENCE) } else { limit },
    )
    .await;
    opened
        .inspect_err(|error| {
            let failure = ConnectFailure { target: target.key().clone(), address: target.address().clone(), error: error.to_string() };
            // A full channel means that the control plane has been told already.
            if client.worker.shared.failures.try_send(failure).is_err() {
                tracing::trace!(target = %target.key(), "a failed connect was not reported, the channel is full");
            }
        })
        .ok()
}
