//! An attempt over HTTP/1.1: on a connection of the request's own, kept from another or new.
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{self, HeaderValue};
use http::{Response, StatusCode};
use tokio::time::timeout_at;

use super::attempt::{Failed, STALE_WITHIN, Tried, open};
use super::body::EdgeBody;
use super::client::Client;
use super::exchange::Exchange;
use super::extended_connect::Handshake;
use super::forward::Inquiry;
use super::hold::Hold;
use super::request_head::head_of;
use super::target::Target;
use super::tunnel::Tunnel;
use super::upstream::{
    self, AnswerBody, AnswerHead, BodySource, Connection, PATIENCE, RequestBody, SendFailure, Turn,
    told_timeout,
};
use super::vigil::Vigil;

/// Who has waited as long as it takes, with many others, looks again so often.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// How a request is to be tried.
pub(super) struct Manner<'a> {
    /// Kept connections are likely dead.
    pub(super) fresh_only: bool,
    /// There are other targets to turn to.
    pub(super) others: bool,
    pub(super) upgrade: Option<&'a HeaderValue>,
    pub(super) vigil: Option<Vigil<'a>>,
}

pub(super) fn over_http1(
    exchange: &mut Exchange,
    hold: &mut Hold,
    inquiry: &Inquiry<'_>,
    target: &Arc<Target>,
    body: BodySource,
    manner: Manner<'_>,
) -> impl Future<Output = Tried> {
    let client = exchange.client.clone();
    async move {
        let reads = inquiry.parts.method.is_safe();
        let obtained = obtain(&client, target, &manner, reads).await;
        let Some((mut connection, since, turn)) = obtained else {
            return Tried::Unreachable(body);
        };
        hold.over();
        let upgrade = manner.upgrade;
        let mut request = RequestBody::new(head_of(inquiry, &body, upgrade), body);
        let method = &inquiry.parts.method;
        let waits = client.limits().waits();
        let sent = upstream::send(&mut connection, method, &mut request, waits, manner.vigil).await;
        // Those that wait for their turn go on: the app has taken this one, and said something.
        drop(turn);
        if sent.is_ok() && connection.reused {
            target.kept_open();
        }
        let why = match sent {
            Ok(head)
                if head.status == StatusCode::SWITCHING_PROTOCOLS
                    && (upgrade.is_none() || head.upgrade.is_none()) =>
            {
                SendFailure::Malformed("it changes the protocol unasked")
            }
            Ok(head) => {
                exchange.outcome.bytes_in = request.taken;
                let asked = upgrade.map(|_| inquiry.handshake);
                match finish(exchange, target, head, connection, request, asked) {
                    Ok(response) => return Tried::Answered(response),
                    Err(what) => {
                        return Tried::Failed(Failed {
                            why: SendFailure::Malformed(what),
                            unsent: false,
                            stale: false,
                            body: None,
                        });
                    }
                }
            }
            Err(why) => why,
        };
        let stale = connection.reused && since.elapsed() < STALE_WITHIN;
        if stale && matches!(why, SendFailure::Unanswered(_)) {
            target.closed_at_once();
        }
        Tried::Failed(Failed {
            why,
            unsent: connection.written() == 0,
            stale,
            body: request.into_source(),
        })
    }
}

/// A connection to the target, and since when: an idle one, unless that is not wanted, or a new one when it is this
/// request's turn.
async fn obtain<'a>(
    client: &'a Client,
    target: &Arc<Target>,
    manner: &Manner<'_>,
    reads: bool,
) -> Option<(Connection, Instant, Option<Turn<'a>>)> {
    let (pool, turns) = (&client.worker.pool, &client.worker.turns);
    let mut waits_since = None;
    loop {
        let now = Instant::now();
        if !manner.fresh_only
            && let Some(idle) = pool.borrow_mut().take(target, reads, now)
        {
            return Some((idle, now, None));
        }
        let was_patient = waits_since.is_some_and(|since| now >= since + PATIENCE);
        if let Some(turn) = turns.take(target.id(), manner.fresh_only || was_patient, now) {
            let opened = open(client, target, manner.others).await;
            return opened.map(|connection| (connection, now, Some(turn)));
        }
        let since = *waits_since.get_or_insert(now);
        let until = (since + PATIENCE).max(now + LOOK_AGAIN);
        // Whether it was woken or its patience is over, it looks again.
        timeout_at(until.into(), turns.wait(target.id()))
            .await
            .unwrap_or_default();
    }
}

/// The answer as the client gets it, or what is wrong with it. `asked`: whether another protocol was, and how.
fn finish(
    exchange: &mut Exchange,
    target: &Arc<Target>,
    head: AnswerHead,
    connection: Connection,
    request: RequestBody,
    asked: Option<Option<&Handshake>>,
) -> Result<Response<EdgeBody>, &'static str> {
    let mut response = Response::new(EdgeBody::empty());
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    if let Some(seconds) = head.idle_timeout {
        told_timeout(target, seconds);
    }
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        let (Some(handshake), Some(protocol)) = (asked, head.upgrade) else {
            return Err("it changes the protocol unasked");
        };
        let is_websocket = protocol.as_bytes().eq_ignore_ascii_case(b"websocket");
        let stream = match handshake {
            Some(handshake) => Some(handshake.accept(&protocol, &mut response)?),
            None => {
                let fields = response.headers_mut();
                fields.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
                fields.insert(header::UPGRADE, protocol);
                None
            }
        };
        let tunnel = Tunnel::new(connection, target.clone(), is_websocket, stream);
        exchange.tunnel = Some(Box::new(tunnel));
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
