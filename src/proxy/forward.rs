//! Forward: a request to a target of its route, and the head of its answer back; tried again where that is safe.
//!
//! Safe is: nothing was sent (a connect failed, a kept connection was dead before the first byte), or the method only
//! reads (RFC 9110, 9.2.1) and nothing of the body is gone. Everything else is the target's one chance: PUT and DELETE
//! may be repeated by who knows what else happened meanwhile, and that is not us.
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{Response, StatusCode};

use super::attempt::obtain;
use super::balance;
use super::body::EdgeBody;
use super::client::Client;
use super::error::EdgeError;
use super::exchange::Exchange;
use super::hold::Hold;
use super::host::Host;
use super::origin::Origin;
use super::request_head::{head_of, wanted_upgrade};
use super::routes::{Route, Upstream};
use super::site;
use super::target::Target;
use super::trace::Trace;
use super::tunnel::Tunnel;
use super::upstream::{
    self, AnswerBody, AnswerHead, BodySource, Connection, RequestBody, SendFailure, told_timeout,
};

/// A request as it is to be forwarded, apart from its body.
pub(super) struct Inquiry<'a> {
    pub(super) parts: &'a Parts,
    pub(super) host: &'a Host,
    pub(super) origin: &'a Origin<'a>,
    pub(super) id: &'a HeaderValue,
    pub(super) trace: &'a Trace<'a>,
    pub(super) body_limit: u64,
}

pub(super) async fn forward(
    exchange: &mut Exchange,
    inquiry: Inquiry<'_>,
    mut route: Arc<Route>,
    mut body: BodySource,
) -> Result<Response<EdgeBody>, EdgeError> {
    let client = exchange.client.clone();
    let worker = &client.worker;
    let limits = client.limits();
    let upgrade = wanted_upgrade(inquiry.parts, &body);
    let (mut hold, mut tried) = (Hold::default(), Vec::new());
    let (mut fresh_only, mut repeated) = (false, false);
    loop {
        let claim = match &route.spec.upstream {
            Upstream::Targets(targets) => balance::choose(targets, &tried, worker.ids.random()),
            Upstream::Paused { .. } => None,
        };
        let Some(claim) = claim else {
            let since = Instant::now();
            let next = hold
                .wait(
                    &client,
                    inquiry.origin,
                    inquiry.host,
                    site::path(inquiry.parts),
                    &route,
                )
                .await;
            exchange.held += since.elapsed();
            route = next?;
            tried.clear();
            continue;
        };
        let target = claim.target().clone();
        exchange.claimed(claim);
        let others = route.targets().len() > tried.len() + 1;
        let Some(mut connection) = obtain(&client, &target, fresh_only, others).await else {
            exchange.give_back();
            tried.push(target.id());
            continue;
        };
        hold.over();

        let mut request = RequestBody::new(head_of(&inquiry, &body, upgrade), body);
        match upstream::send(
            &mut connection,
            &inquiry.parts.method,
            &mut request,
            &limits,
        )
        .await
        {
            Ok(head) => {
                exchange.outcome.bytes_in = request.taken;
                return finish(&client, &target, head, connection, request, upgrade);
            }
            Err(SendFailure::Unanswered(error)) => {
                tracing::debug!(target = %target.key(), %error, "a target closed the connection before it answered");
                let unsent = connection.written() == 0;
                let repeatable = unsent || (!repeated && inquiry.parts.method.is_safe());
                let again = repeatable.then(|| request.into_source()).flatten();
                body = again.ok_or(EdgeError::UpstreamClosed)?;
                repeated |= !unsent && !connection.reused;
                if connection.reused {
                    // Its siblings in the pool are likely as dead.
                    fresh_only = true;
                } else {
                    tried.push(target.id());
                }
                exchange.give_back();
            }
            Err(failure) => {
                return Err(judged(
                    failure,
                    &target,
                    limits.upstream_answer,
                    inquiry.body_limit,
                ));
            }
        }
    }
}

fn judged(
    failure: SendFailure,
    target: &Target,
    answer_limit: Duration,
    body_limit: u64,
) -> EdgeError {
    match failure {
        SendFailure::Unanswered(_) | SendFailure::CutShort => EdgeError::UpstreamClosed,
        SendFailure::Malformed(what) => {
            tracing::warn!(target = %target.key(), "the target's answer is refused: {what}");
            EdgeError::UpstreamMalformed(what)
        }
        SendFailure::Silent => EdgeError::UpstreamSilent(answer_limit),
        SendFailure::ClientGone => EdgeError::BodyBroken,
        SendFailure::ClientSilent => EdgeError::BodyStalled,
        SendFailure::BodyTooLarge => EdgeError::BodyTooLarge(body_limit),
    }
}

fn finish(
    client: &Client,
    target: &Arc<Target>,
    head: AnswerHead,
    connection: Connection,
    request: RequestBody,
    upgrade: Option<&HeaderValue>,
) -> Result<Response<EdgeBody>, EdgeError> {
    let mut response = Response::new(EdgeBody::empty());
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    if let Some(seconds) = head.idle_timeout {
        told_timeout(target, seconds);
    }
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        let (Some(_), Some(protocol)) = (upgrade, head.upgrade) else {
            return Err(EdgeError::UpstreamMalformed(
                "it changes the protocol unasked",
            ));
        };
        let is_websocket = protocol.as_bytes().eq_ignore_ascii_case(b"websocket");
        response
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        response.headers_mut().insert(header::UPGRADE, protocol);
        *client.tunnel.borrow_mut() = Some(Tunnel::new(
            connection,
            target.cut_signal().clone(),
            is_websocket,
        ));
        return Ok(response);
    }
    *response.body_mut() = EdgeBody::answer(AnswerBody::new(
        connection,
        request,
        head.framing,
        head.keep_alive,
    ));
    Ok(response)
}
