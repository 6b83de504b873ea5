//! Forward: a request to what answers its route, and the head of its answer back; tried again where that is safe.
//!
//! Safe is: nothing was sent (a connect failed, a kept connection was dead before the first byte), or the method only
//! reads (RFC 9110, 9.2.1) and nothing of the body is gone. Everything else is the target's one chance: PUT and DELETE
//! may be repeated by who knows what else happened meanwhile, and that is not us. What may have arrived is sent again only
//! within the route's retry budget, a fifth of its requests; what was not sent costs no target anything, and is exempt: a
//! request that comes while an app restarts must find the replica that is there.
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{Response, StatusCode};

use super::attempt::{self, Failed, Tried};
use super::attempt_http1::{Manner, over_http1};
use super::attempt_http2::over_http2;
use super::balance::{self, Wish};
use super::body::EdgeBody;
use super::edge::What;
use super::error::EdgeError;
use super::exchange::Exchange;
use super::extended_connect::{Handshake, WEBSOCKET};
use super::hold::Hold;
use super::host::Host;
use super::origin::Origin;
use super::outliers;
use super::refusal::Refusal;
use super::request_head::wanted_upgrade;
use super::routes::{Route, Upstream};
use super::site;
use super::static_site;
use super::sticky;
use super::target::{Protocol, Target};
use super::trace::Trace;
use super::upstream::{BodySource, Coding, SendFailure};
use super::vigil::{Vigil, may_resend};
use super::worker::Worker;
use crate::base::sabotage::Sabotage;

/// How often one request is sent again, at most.
const MOST: usize = 4;

/// A request as it is to be forwarded, apart from its body.
pub(super) struct Inquiry<'a> {
    pub(super) parts: &'a Parts,
    pub(super) host: &'a Host,
    pub(super) origin: &'a Origin<'a>,
    pub(super) id: &'a HeaderValue,
    pub(super) trace: &'a Trace<'a>,
    pub(super) body_limit: u64,
    /// It is a WebSocket over HTTP/2.
    pub(super) handshake: Option<&'a Handshake>,
    /// Instead of the request's own address, where a policy took the route's path off.
    pub(super) target: Option<&'a str>,
    /// What was taken off; empty for nothing.
    pub(super) prefix: &'a str,
}

/// What became of a request that was to be forwarded.
pub(super) enum Forwarded {
    Answered(Response<EdgeBody>),
    /// It waited, and what answers now asks something else of it: it is to be looked at anew.
    Elsewhere(Arc<Route>, BodySource),
}

pub(super) fn forward(
    exchange: &mut Exchange,
    hold: &mut Hold,
    inquiry: Inquiry<'_>,
    mut route: Arc<Route>,
    mut body: BodySource,
) -> impl Future<Output = Result<Forwarded, EdgeError>> {
    let client = exchange.client.clone();
    async move {
        let worker = &client.worker;
        let upgrade = match inquiry.handshake {
            Some(_) => Some(&WEBSOCKET),
            None => wanted_upgrade(inquiry.parts, &body),
        };
        let mut tried = Vec::new();
        let (mut fresh_only, mut resent) = (false, 0);
        let last = route
            .spec
            .sticky
            .then(|| sticky::mark(&inquiry.parts.headers))
            .flatten();
        let mut begun = exchange.started;
        let marks = last.map(|_| worker.shared.marks.load());
        loop {
            let wish = Wish {
                tried: &tried,
                reads: inquiry.parts.method.is_safe(),
                last: last.zip(marks.as_ref()).map(|(mark, key)| (mark, &***key)),
            };
            let claim = match &route.spec.upstream {
                Upstream::Targets(targets) if !hold.is_barred(&route) => {
                    balance::choose(targets, &wish, worker.ids.random(), || worker.ms(begun))
                }
                Upstream::Static(site) => {
                    hold.over();
                    if inquiry.handshake.is_some() {
                        return Err(EdgeError::UpgradeOfFiles);
                    }
                    let (prefix, policies) = (&route.spec.path_prefix, &route.spec.policies);
                    let answer =
                        static_site::answer(site, prefix, inquiry.parts, inquiry.id, policies)
                            .await?;
                    if answer.status() == StatusCode::NOT_FOUND {
                        client.refused(Refusal::NotServed);
                    }
                    return Ok(Forwarded::Answered(answer));
                }
                Upstream::Targets(_) | Upstream::Paused { .. } => None,
            };
            let Some(mut claim) = claim else {
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
                let newer = next?;
                if newer.asks_otherwise(&route) {
                    return Ok(Forwarded::Elsewhere(newer, body));
                }
                route = newer;
                tried.clear();
                begun = Instant::now();
                continue;
            };
            if route.is_capped() {
                claim.wakes(route.gate());
                hold.has_a_place(&route);
            }
            let target = claim.target().clone();
            if target.traits().protocol == Protocol::H2c && upgrade.is_some() {
                return Err(EdgeError::UpgradeUnserved);
            }
            exchange.claimed(claim);
            let of = route.targets().len();
            let others = of > tried.len() + 1;
            let reads = inquiry.parts.method.is_safe();
            let may_go = reads && body.coding() == Coding::None && resent < MOST;
            let vigil = (of > 1).then(|| Vigil::new(&route, &target, worker, may_go));
            let attempt = match target.traits().protocol {
                Protocol::H2c => {
                    // Boxed: it is larger than all else, and most apps speak HTTP/1.1.
                    let attempt =
                        over_http2(exchange, hold, &inquiry, &target, body, others, vigil);
                    Box::pin(attempt).await
                }
                Protocol::Http1 => {
                    exchange.goes_to_an_app(inquiry.origin.address)?;
                    let manner = Manner {
                        fresh_only,
                        others,
                        upgrade,
                        vigil,
                    };
                    over_http1(exchange, hold, &inquiry, &target, body, manner).await
                }
            };
            if of > 1 {
                let now = Instant::now();
                judge(&route, &target, &attempt, worker.ms(begun), worker.ms(now));
                begun = now;
            }
            let failed = match attempt {
                Tried::Answered(mut response) => {
                    if route.spec.sticky {
                        remember(&mut response, &route, &target, last, inquiry.origin, worker);
                    }
                    return Ok(Forwarded::Answered(response));
                }
                Tried::Unreachable(untouched) | Tried::Full(untouched) => {
                    body = untouched;
                    exchange.give_back_unused();
                    tried.push(target.id());
                    continue;
                }
                Tried::Failed(failed) => failed,
            };
            let Failed {
                why,
                unsent,
                stale,
                body: untouched,
            } = failed;
            if of == 1 && matches!(why, SendFailure::Silent) {
                // Whether it hangs is found out by asking it, as any of several is after ten seconds (`vigil`).
                let silent = What::Silent(target.traits().protocol);
                attempt::report(worker, &target, silent);
            }
            // As often as there are others, so that the last one there is reached; once where there is none.
            let may_repeat = || {
                reads && resent < of.saturating_sub(1).clamp(1, MOST) && may_resend(&route, worker)
            };
            let mut was_stale = false;
            let again = match &why {
                _ if Sabotage::NoRetries.is_on() => false,
                SendFailure::Left => true,
                SendFailure::Unanswered(error) => {
                    tracing::debug!(target = %target.key(), %error, "a target ended the request before it answered");
                    // What was closed before the request came cost the target nothing: no budget either. Once, over HTTP/1.1
                    // on a fresh connection.
                    was_stale = stale && !fresh_only;
                    unsent || reads && was_stale || may_repeat()
                }
                SendFailure::CutShort => may_repeat(),
                _ => false,
            };
            body = match untouched {
                Some(untouched) if again => untouched,
                _ => {
                    let limit = client.limits().upstream_answer;
                    return Err(judged(why, &target, limit, inquiry.body_limit));
                }
            };
            if was_stale {
                // Its siblings in the pool are likely as dead.
                fresh_only = true;
            } else {
                resent += usize::from(!unsent);
                tried.push(target.id());
            }
            match unsent {
                true => exchange.give_back_unused(),
                false => exchange.give_back(),
            }
        }
    }
}

/// What the end of an attempt says about its target, beside others.
fn judge(route: &Route, target: &Target, attempt: &Tried, begun: u64, now: u64) {
    let why = match attempt {
        Tried::Answered(response) => {
            let took = now.saturating_sub(begun);
            return outliers::answered(route, target, response.status().as_u16(), took, now);
        }
        Tried::Unreachable(_) => return outliers::failed(route, target, now),
        Tried::Full(_) => return,
        Tried::Failed(failed)
            if failed.stale && matches!(failed.why, SendFailure::Unanswered(_)) =>
        {
            return;
        }
        Tried::Failed(failed) => &failed.why,
    };
    match why {
        SendFailure::Unanswered(_)
        | SendFailure::CutShort
        | SendFailure::Malformed(_)
        | SendFailure::Silent => outliers::failed(route, target, now),
        // The client's doing, or already judged.
        SendFailure::Left
        | SendFailure::ClientGone
        | SendFailure::ClientSilent
        | SendFailure::BodyTooLarge
        | SendFailure::Untellable
        | SendFailure::TooManyOfSource => {}
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
    let mark = target.mark(&worker.shared.marks.load());
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
            target.answers_badly(what);
            EdgeError::UpstreamMalformed(what)
        }
        SendFailure::Silent => EdgeError::UpstreamSilent(answer_limit),
        SendFailure::ClientGone => EdgeError::BodyBroken,
        SendFailure::ClientSilent => EdgeError::BodyStalled,
        SendFailure::BodyTooLarge => EdgeError::BodyTooLarge(body_limit),
        SendFailure::Untellable => EdgeError::BadRequest(
            "its address cannot be said in HTTP/2, which the app here is spoken to over",
        ),
        SendFailure::TooManyOfSource => EdgeError::TooManyStreams,
    }
}
