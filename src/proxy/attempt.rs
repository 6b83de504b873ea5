//! Attempt: what can become of a request at one target, whatever protocol it is tried over, and new connections.
use std::sync::Arc;
use std::time::Duration;

use http::Response;

use super::body::EdgeBody;
use super::client::Client;
use super::edge::{Trouble, What};
use super::h2_line;
use super::target::Target;
use super::upstream::{self, BodySource, Connection, SendFailure};
use super::worker::Worker;

/// What the end of a kept connection takes to be seen by who sends on it: later it is the request that was ended.
pub(super) const STALE_WITHIN: Duration = Duration::from_millis(250);
/// With another target to turn to, an address that says nothing is given up this early.
const SILENCE: Duration = Duration::from_millis(250);

pub(super) enum Tried {
    Answered(Response<EdgeBody>),
    /// No connection was to be had.
    Unreachable(BodySource),
    /// It has no room for one more.
    Full(BodySource),
    Failed(Failed),
}

/// An attempt that ended before an answer.
pub(super) struct Failed {
    pub(super) why: SendFailure,
    /// The target has done nothing for it.
    pub(super) unsent: bool,
    /// Its connection had served before and ended within a moment: most likely it was closed before the request came.
    pub(super) stale: bool,
    /// The request's body, if nothing of it is gone.
    pub(super) body: Option<BodySource>,
}

pub(super) fn connect_limit(client: &Client, others: bool) -> Duration {
    let limit = client.limits().upstream_connect;
    if others { limit.min(SILENCE) } else { limit }
}

/// Tells the control plane, which knows where targets live.
pub(super) fn report(worker: &Worker, target: &Target, what: What) {
    let trouble = Trouble {
        target: target.key().clone(),
        address: target.address().clone(),
        what,
    };
    // A full channel means that the control plane has been told already.
    if worker.shared.failures.try_send(trouble).is_err() {
        tracing::trace!(target = %target.key(), "trouble was not reported, the channel is full");
    }
}

/// A new connection to the target; a failure is reported to the control plane, which knows where targets live.
pub(super) async fn open(
    client: &Client,
    target: &Arc<Target>,
    others: bool,
) -> Option<Connection> {
    client.spends(h2_line::OPENED);
    let opened = upstream::connect(target.address(), connect_limit(client, others)).await;
    opened
        .inspect_err(|error| {
            report(&client.worker, target, What::Refused(error.to_string()));
        })
        .ok()
}
