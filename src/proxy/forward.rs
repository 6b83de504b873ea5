//! Forward: a request to a target of its route, and the head of its answer back; tried again where that is safe.
//!
//! Safe is: nothing was sent (a connect failed, a kept connection was dead before the first byte), or the method only
//! reads (RFC 9110, 9.2.1) and nothing of the body is gone. Everything else is the target's one chance: PUT and DELETE
//! may be repeated by who knows what else happened meanwhile, and that is not us. What may have arrived is sent again only
//! within the route's retry budget; what was not sent costs no target anything, and is exempt: a request that comes while an
//! app restarts must find the replica that is there.
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{Response, StatusCode};

use super::attempt::obtain;
use super::balance::{self, Wish};
use super::body::EdgeBody;
use super::client::Client;
use super::error::EdgeError;
use super::exchange::Exchange;
use super::hold::Hold;
use super::host::Host;
use super::origin::Origin;
use super::outliers;
use super::request_head::{head_of, wanted_upgrade};
use super::routes::{Route, Upstream};
use super::site;
use super::sticky;
use super::target::Target;
use super::tunnel::Tunnel;
use super::upstream::{
    self, AnswerBody, AnswerHead, BodySource, Coding, Connection, RequestBody, SendFailure,
    told_timeout,
};
use super::vigil::{Vigil, may_resend};
use super::worker::Worker;

/// How often one request is sent again, at most.
const MOST: usize = 4;

/// A request as it is to be forwarded, apart from its body.
pub(super) struct Inquiry<'a> {
    pub(super) parts: &'a Parts,
    pub(super) host: &'a Host,
    pub(super) origin: &'a Origin<'a>,
    pub(super) id: &'a HeaderValue,
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
    let (mut fresh_only, mut resent) = (false, 0);
    let last = route
        .spec
        .sticky
        .then(|| sticky::mark(&inquiry.parts.headers))
        .flatten();
    let mut begun = exchange.started;
    loop {
        let wish = Wish {
            tried: &tried,
            last: last.map(|mark| (mark, &worker.shared.marks)),
        };
        let claim = match &route.spec.upstream {
            Upstream::Targets(targets) if !hold.is_barred(&route) => {
                balance::choose(targets, &wish, worker.ids.random(), || worker.ms(begun))
            }
            _ => None,
        };
        let Some(mut claim) = claim else {
            route = hold
                .wait(
                    &client,
                    inquiry.origin,
                    inquiry.host,
                    site::path(inquiry.parts),
                    &route,
                )
                .await?;
            tried.clear();
            begun = Instant::now();
            continue;
        };
        if route.is_capped() {
            claim.wakes(route.gate());
            hold.has_a_place(&route);
        }
        let target = claim.target().clone();
        exchange.claimed(claim);
        let of = route.targets().len();
        let Some(mut connection) = obtain(&client, &target, fresh_only, of > tried.len() + 1).await
        else {
            begun = Instant::now();
            if of > 1 {
                outliers::failed(&route, &target, worker.ms(begun));
            }
            exchange.give_back();
            tried.push(target.id());
            continue;
        };
        hold.over();

        let reads = inquiry.parts.method.is_safe();
        let may_go = reads && body.coding() == Coding::None;
        let vigil = (of > 1).then(|| Vigil::new(&route, &target, worker, may_go && resent < MOST));
        let mut request = RequestBody::new(head_of(&inquiry, &body, upgrade), body);
        let sent = upstream::send(
            &mut connection,
            &inquiry.parts.method,
            &mut request,
            &limits,
            vigil,
        )
        .await;
        if of > 1 {
            let now = Instant::now();
            judge(
                &route,
                &target,
                &sent,
                &connection,
                worker.ms(begun),
                worker.ms(now),
            );
            begun = now;
        }
        let failure = match sent {
            Ok(head) => {
                exchange.outcome.bytes_in = request.taken;
                let mut response = finish(&client, &target, head, connection, request, upgrade)?;
                if route.spec.sticky {
                    remember(&mut response, &route, &target, last, inquiry.origin, worker);
                }
                return Ok(response);
            }
            Err(failure) => failure,
        };
        // As often as there are others, so that the last one there is reached; once where there is none.
        let may_repeat =
            || reads && resent < of.saturating_sub(1).clamp(1, MOST) && may_resend(&route, worker);
        let mut was_stale = false;
        let again = match &failure {
            SendFailure::Left => true,
            SendFailure::Unanswered(error) => {
                tracing::debug!(target = %target.key(), %error, "a target closed the connection before it answered");
                // A kept one was most likely closed before the request came, and the next is a fresh one: no budget either.
                was_stale = connection.reused;
                connection.written() == 0 || reads && was_stale || may_repeat()
            }
            SendFailure::CutShort => may_repeat(),
            _ => false,
        };
        let source = if again { request.into_source() } else { None };
        let Some(source) = source else {
            return Err(judged(
                failure,
                &target,
                limits.upstream_answer,
                inquiry.body_limit,
            ));
        };
        body = source;
        if was_stale {
            // Its siblings in the pool are likely as dead.
            fresh_only = true;
        } else {
            resent += usize::from(connection.written() > 0);
            tried.push(target.id());
        }
        exchange.give_back();
    }
}

/// What the end of an attempt says about its target, beside others.
fn judge(
    route: &Route,
    target: &Target,
    sent: &Result<AnswerHead, SendFailure>,
    connection: &Connection,
    begun: u64,
    now: u64,
) {
    match sent {
        Ok(head) => {
            let took = now.saturating_sub(begun);
            outliers::answered(route, target, head.status.as_u16(), took, now);
        }
        Err(SendFailure::Unanswered(_)) if connection.reused => {}
        Err(
            SendFailure::Unanswered(_)
            | SendFailure::CutShort
            | SendFailure::Malformed(_)
            | SendFailure::Silent,
        ) => outliers::failed(route, target, now),
        // The client's doing, or already judged.
        Err(
            SendFailure::Left
            | SendFailure::ClientGone
            | SendFailure::ClientSilent
            | SendFailure::BodyTooLarge,
        ) => {}
    }
}

/// The client is to come back to this target, unless it was there already.
fn remember(
    response: &mut Response<EdgeBody>,
    route: &Route,
    target: &Target,
    last: Option<u64>,
    origin: &Origin<'_>,
    worker: &Worker,
) {
    let mark = target.mark(&worker.shared.marks);
    if last != Some(mark)
        && let Some(cookie) = sticky::cookie(mark, &route.spec.path_prefix, origin.https)
    {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
}

fn judged(
    failure: SendFailure,
    target: &Target,
    answer_limit: Duration,
    body_limit: u64,
) -> EdgeError {
    match failure {
        SendFailure::Unanswered(_) | SendFailure::CutShort | SendFailure::Left => {
            EdgeError::UpstreamClosed
        }
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
