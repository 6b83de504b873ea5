//! Attempt: the connection over which a request is tried, kept or new; over HTTP/2 the stream, and the try itself.
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Response;
use tokio::time::timeout_at;

use super::body::EdgeBody;
use super::client::Client;
use super::edge::ConnectFailure;
use super::exchange::Exchange;
use super::forward::Inquiry;
use super::grpc_status;
use super::request_head::request_of;
use super::target::Target;
use super::upstream::h2c::{self, Slot};
use super::upstream::{self, BodySource, Connection, PATIENCE, SendFailure};

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

/// What became of a request that was tried over HTTP/2.
pub(super) enum Tried {
    Answered(Response<EdgeBody>),
    /// No stream was to be had: the target is not reached, or all of its connections are full.
    Unreachable(BodySource),
    /// The stream ended before an answer.
    Unanswered {
        /// The target has done nothing for it.
        unsent: bool,
        reused: bool,
        body: Option<BodySource>,
    },
    Failed(SendFailure),
}

/// The request on a stream of a connection that others share.
pub(super) async fn over_http2(
    exchange: &mut Exchange,
    inquiry: &Inquiry<'_>,
    target: &Arc<Target>,
    body: BodySource,
    others: bool,
) -> Tried {
    let client = exchange.client.clone();
    let slot = match obtain_stream(&client, target, others).await {
        Ok(Some(slot)) => slot,
        Ok(None) => return Tried::Unreachable(body),
        Err(failure) => return Tried::Failed(failure),
    };
    let Some(request) = request_of(inquiry, &body) else {
        return Tried::Failed(SendFailure::ClientGone);
    };
    let patient = grpc_status::is_grpc(&inquiry.parts.headers);
    match h2c::ask(slot, request, body, &client.limits(), patient).await {
        Ok(answer) => {
            exchange.uploads(answer.upload);
            let mut response = Response::new(EdgeBody::foreign(answer.body));
            *response.status_mut() = answer.status;
            *response.headers_mut() = answer.headers;
            Tried::Answered(response)
        }
        Err(failure) => match failure.why {
            SendFailure::Unanswered(error) => {
                tracing::debug!(target = %target.key(), %error, "a target ended a stream before it answered");
                Tried::Unanswered {
                    unsent: failure.unsent,
                    reused: failure.reused,
                    body: failure.body,
                }
            }
            why => Tried::Failed(why),
        },
    }
}

/// A stream to the target: on a connection that has room, or on a new one when it is this request's turn.
async fn obtain_stream(
    client: &Client,
    target: &Arc<Target>,
    others: bool,
) -> Result<Option<Slot>, SendFailure> {
    let worker = &client.worker;
    let since = Instant::now();
    let until = since + connect_limit(client, others);
    loop {
        if let Some(slot) = worker.h2c.borrow_mut().take(worker, target) {
            if slot.has_siblings() {
                worker.turns.freed(target.id());
            }
            return Ok(Some(slot));
        }
        // A new connection will have room for many: the others wait for it, and begin one more when it takes its time.
        let waited = (since.elapsed().as_millis() / PATIENCE.as_millis()) as u32;
        let room = h2c::MOST.saturating_sub(worker.h2c.borrow().count(target));
        let at_once = room.min(1 + waited);
        if let Some(_turn) = worker.turns.take_of(target.id(), at_once) {
            let Some(connection) = open(client, target, others).await else {
                return Ok(None);
            };
            let (stream, _) = connection.into_parts();
            return Slot::open(worker, target, stream)
                .await
                .map(Some)
                .map_err(|error| SendFailure::Unanswered(io::Error::other(error)));
        }
        if Instant::now() >= until {
            return Ok(None);
        }
        let look_again = since + PATIENCE * (waited + 1);
        let look_again = look_again.min(until).into();
        timeout_at(look_again, worker.turns.wait(target.id()))
            .await
            .unwrap_or_default();
    }
}

fn connect_limit(client: &Client, others: bool) -> Duration {
    let limit = client.limits().upstream_connect;
    if others { limit.min(SILENCE) } else { limit }
}

/// A new connection to the target; a failure is reported to the control plane, which knows where targets live.
async fn open(client: &Client, target: &Arc<Target>, others: bool) -> Option<Connection> {
    let opened = upstream::connect(target.address(), connect_limit(client, others)).await;
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
