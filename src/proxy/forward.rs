//! Forward: a request to a target of its route, and the head of its answer back; tried again where that is safe.
//!
//! Safe is: nothing was sent (a connect failed, a kept connection was dead before the first byte), or the method only
//! reads (RFC 9110, 9.2.1) and nothing of the body is gone. Everything else is the target's one chance: PUT and DELETE
//! may be repeated by who knows what else happened meanwhile, and that is not us.
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{Method, Response, StatusCode, Version};
use tokio::time::timeout_at;

use super::balance;
use super::body::EdgeBody;
use super::client::Client;
use super::edge::ConnectFailure;
use super::error::EdgeError;
use super::exchange::Exchange;
use super::headers::{self, Facts};
use super::hold::Hold;
use super::host::Host;
use super::origin::Origin;
use super::routes::{Route, Upstream};
use super::site;
use super::target::Target;
use super::tunnel::Tunnel;
use super::upstream::{
    self, AnswerBody, AnswerHead, BodySource, Coding, Connection, PATIENCE, RequestBody,
    SendFailure, told_timeout,
};

/// With another target to turn to, an address that says nothing is given up this early.
const SILENCE: Duration = Duration::from_millis(250);

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
    let (mut fresh_only, mut repeated) = (false, false);
    loop {
        let claim = match &route.spec.upstream {
            Upstream::Targets(targets) => balance::choose(targets, &tried, worker.ids.random()),
            Upstream::Paused { .. } => None,
        };
        let Some(claim) = claim else {
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

/// A connection to the target: an idle one, unless that is not wanted, or a new one when it is this request's turn.
async fn obtain(
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

fn head_of(inquiry: &Inquiry<'_>, body: &BodySource, upgrade: Option<&HeaderValue>) -> BytesMut {
    let parts = inquiry.parts;
    // A method that usually has a body says that this time there is none.
    let expects_length = parts.method == Method::POST
        || parts.method == Method::PUT
        || parts.method == Method::PATCH;
    let facts = Facts {
        method: parts.method.as_str(),
        target: parts.uri.path_and_query().map_or("/", |path| path.as_str()),
        host: &inquiry.host.written,
        origin: inquiry.origin,
        request_id: inquiry.id,
        upgrade,
        length: match body.coding() {
            Coding::None => expects_length.then_some(0),
            Coding::Length => body.length(),
            Coding::Chunked => None,
        },
        chunked: body.coding() == Coding::Chunked,
        expects_continue: body.expects_continue(),
        takes_trailers: parts
            .headers
            .get_all(header::TE)
            .iter()
            .any(|value| headers::has_token(value, "trailers")),
    };
    let mut head = BytesMut::new();
    headers::write_head(&mut head, &facts, &parts.headers);
    head
}

/// The protocol a client wants to change to, where we let it: from HTTP/1.1, without a body, and never to a form of HTTP
/// or TLS, behind which an app would see requests that did not come through here.
fn wanted_upgrade<'a>(parts: &'a Parts, body: &BodySource) -> Option<&'a HeaderValue> {
    let mut protocols = parts.headers.get_all(header::UPGRADE).iter();
    let protocol = protocols.next()?;
    let asked = parts
        .headers
        .get_all(header::CONNECTION)
        .iter()
        .any(|value| headers::has_token(value, "upgrade"));
    let text = protocol.to_str().ok()?.to_ascii_lowercase();
    let well = asked
        && protocols.next().is_none()
        && parts.version == Version::HTTP_11
        && parts.method == Method::GET
        && body.coding() == Coding::None
        && !["h2", "http", "tls"]
            .iter()
            .any(|prefix| text.trim_start().starts_with(prefix))
        && !text.contains(',');
    well.then_some(protocol)
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
