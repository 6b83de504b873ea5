//! An attempt over HTTP/2: on a stream of a connection that others share.
use std::io;
use std::sync::Arc;
use std::time::Instant;

use http::Response;
use tokio::time::timeout_at;

use super::attempt::{Failed, Tried, connect_limit, open};
use super::body::EdgeBody;
use super::client::Client;
use super::exchange::Exchange;
use super::forward::Inquiry;
use super::grpc_status;
use super::hold::Hold;
use super::request_head::request_of;
use super::target::Target;
use super::upstream::h2c::{self, Slot};
use super::upstream::{BodySource, PATIENCE, SendFailure};
use super::vigil::Vigil;

/// The request on a stream of a connection that others share.
pub(super) async fn over_http2(
    exchange: &mut Exchange,
    hold: &mut Hold,
    inquiry: &Inquiry<'_>,
    target: &Arc<Target>,
    body: BodySource,
    others: bool,
    vigil: Option<Vigil<'_>>,
) -> Tried {
    let client = exchange.client.clone();
    let mut slot = match obtain_stream(&client, target, others).await {
        Ok(Obtained::Slot(slot)) => slot,
        Ok(Obtained::NoConnection) => return Tried::Unreachable(body),
        Ok(Obtained::NoRoom) => return Tried::Full(body),
        Err(why) => {
            return Tried::Failed(Failed {
                why,
                unsent: true,
                stale: false,
                body: Some(body),
            });
        }
    };
    hold.over();
    let refused = |why| {
        Tried::Failed(Failed {
            why,
            unsent: true,
            stale: false,
            body: None,
        })
    };
    if !slot.is_within_sources_share(inquiry.origin.address) {
        return refused(SendFailure::TooManyOfSource);
    }
    let Some(request) = request_of(inquiry, &body) else {
        return refused(SendFailure::Untellable);
    };
    // A call of gRPC is a conversation, in which nothing may be said for long; anybody else may not claim to be one.
    let patient = client.http2.get() && grpc_status::is_grpc(&inquiry.parts.headers);
    let body = body.may_trickle(patient);
    match h2c::ask(slot, request, body, &client.limits(), patient, vigil).await {
        Ok(answer) => {
            exchange.uploads(answer.upload);
            let mut response = Response::new(EdgeBody::foreign(answer.body));
            *response.status_mut() = answer.status;
            *response.headers_mut() = answer.headers;
            Tried::Answered(response)
        }
        Err(failure) => Tried::Failed(Failed {
            why: failure.why,
            unsent: failure.unsent,
            stale: failure.stale,
            body: failure.body,
        }),
    }
}

enum Obtained {
    Slot(Slot),
    NoConnection,
    /// All of its connections carry as many streams as they may.
    NoRoom,
}

/// A stream to the target: on a connection that has room, or on a new one when it is this request's turn.
async fn obtain_stream(
    client: &Client,
    target: &Arc<Target>,
    others: bool,
) -> Result<Obtained, SendFailure> {
    let worker = &client.worker;
    let since = Instant::now();
    let until = since + connect_limit(client, others);
    loop {
        if let Some(slot) = worker.h2c.borrow_mut().take(worker, target) {
            if slot.has_siblings() {
                worker.turns.freed(target.id());
            }
            return Ok(Obtained::Slot(slot));
        }
        // A new connection will have room for many: the others wait for it, and begin one more when it takes its time.
        let waited = (since.elapsed().as_millis() / PATIENCE.as_millis()) as u32;
        let room = h2c::MOST.saturating_sub(worker.h2c.borrow().count(target));
        let at_once = room.min(1 + waited);
        if let Some(_turn) = worker.turns.take_of(target.id(), at_once) {
            let Some(connection) = open(client, target, others).await else {
                return Ok(Obtained::NoConnection);
            };
            let (stream, _) = connection.into_parts();
            return Slot::open(worker, target, stream)
                .await
                .map(Obtained::Slot)
                .map_err(|error| SendFailure::Unanswered(io::Error::other(error)));
        }
        if Instant::now() >= until {
            return Ok(Obtained::NoRoom);
        }
        let look_again = since + PATIENCE * (waited + 1);
        let look_again = look_again.min(until).into();
        timeout_at(look_again, worker.turns.wait(target.id()))
            .await
            .unwrap_or_default();
    }
}
