//! Answer: one request, from its parsed head to an answer's head. The order of things, on one page.
//!
//! Whatever happens inside, a request gets an answer with its id on it; a panic is that request's alone.
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use hyper::body::{Body, Incoming};

use super::abandoned::Haste;
use super::body::EdgeBody;
use super::client::{Client, Phase};
use super::error::{EdgeError, Side};
use super::error_page;
use super::exchange::Exchange;
use super::extended_connect::Handshake;
use super::forward::{Forwarded, Inquiry, forward};
use super::grpc_status;
use super::headers;
use super::hold::Hold;
use super::host::Host;
use super::meter::ByPolicy;
use super::origin::Origin;
use super::policies::{self, Asked};
use super::refusal::Refusal;
use super::routes::{Route, Upstream};
use super::site::{self, Entrance, Site};
use super::sources::Source;
use super::stand_in;
use super::stream_end::StreamEnd;
use super::trace::Trace;
use super::upstream::BodySource;

/// What a request waits before it costs an app anything, on a connection that resets most of them, and one of which its
/// source has too many, or its app too many that are held, before it hears that: else who asks again at once costs more than
/// those who are served.
const HASTE: Duration = Duration::from_millis(100);

pub(super) fn answer(
    client: Rc<Client>,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response<EdgeBody>, Infallible>> {
    let (mut parts, incoming) = request.into_parts();
    async move {
        let mut exchange = Exchange::begin(client.clone());
        let worker = client.worker.clone();
        let id = worker.ids.next(worker.unix_ms(exchange.started));
        let is_grpc = client.http2.get() && grpc_status::is_grpc(&parts.headers);
        let connects = parts.method == Method::CONNECT;

        let handled = AssertUnwindSafe(handle(&mut exchange, &mut parts, incoming, &id))
            .catch_unwind()
            .await;
        let handled = match handled.unwrap_or(Err(EdgeError::Panicked)) {
            // To whom asks with CONNECT any success says that the tunnel is open.
            Ok(plain) if connects && exchange.tunnel.is_none() && plain.status().is_success() => {
                Err(EdgeError::UpstreamMalformed(
                    "it answers a WebSocket's handshake with something else, and with success",
                ))
            }
            handled => handled,
        };
        if matches!(
            handled,
            Err(EdgeError::TooManyStreams | EdgeError::HeldFull)
        ) {
            exchange.leave_place();
        }
        let is_one_too_many = matches!(
            handled,
            Err(EdgeError::TooManyStreams | EdgeError::HeldFull)
        );
        // Not on a connection that others share.
        if is_one_too_many && exchange.spoken_for.is_none() {
            Box::pin(tokio::time::sleep(HASTE)).await;
        }
        let mut response = match handled {
            Ok(response) => response,
            Err(error) => {
                note(&client, &error, &id, &mut exchange);
                let accept = parts.headers.get(header::ACCEPT);
                let policies = exchange.route().map(|route| &*route.spec.policies);
                match is_grpc {
                    true => grpc_status::render(&error),
                    false => error_page::render(&error, accept, &id, policies),
                }
            }
        };
        exchange.answered(match &exchange.tunnel {
            // What it is over HTTP/2, too, where its client reads 200.
            Some(_) => StatusCode::SWITCHING_PROTOCOLS.as_u16(),
            None => response.status().as_u16(),
        });
        exchange.take_down_late(&parts, &id);
        policies::after(&exchange, response.headers_mut());
        response
            .headers_mut()
            .insert(&headers::X_REQUEST_ID, never_indexed(id));
        if client.phase() != Phase::Serving
            && !client.http2.get()
            && response.status() != StatusCode::SWITCHING_PROTOCOLS
        {
            response
                .headers_mut()
                .insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if client.http2.get() {
            response.headers_mut().remove(header::CONNECTION);
        }
        match exchange.tunnel.take() {
            None => {
                let is_head_alone =
                    parts.method == Method::HEAD || matches!(response.status().as_u16(), 204 | 304);
                let end = StreamEnd::of(&response, &exchange, (&parts.method, parts.version));
                response.body_mut().ends(exchange, is_head_alone, end);
            }
            Some(tunnel) => tunnel.begins(exchange),
        }
        Ok(response)
    }
}

fn handle(
    exchange: &mut Exchange,
    parts: &mut Parts,
    incoming: Incoming,
    id: &HeaderValue,
) -> impl Future<Output = Result<Response<EdgeBody>, EdgeError>> {
    let client = exchange.client.clone();
    // Of a request without a body nothing is left on the connection, whoever answers.
    exchange.read_whole = incoming.is_end_stream();
    async move {
        if stand_in::stands_in(parts)
            && let Some(error) = client.refused_head.take()
        {
            return Err(error);
        }
        let host = Host::of(parts)?;
        let (body_bytes, header_bytes) = {
            let limits = client.limits();
            site::check(parts, &limits)?;
            (limits.body_bytes, limits.header_bytes)
        };
        let handshake = Handshake::translate(parts, &client.worker.ids)?;
        let origin = client.origin(&parts.headers);
        // Who is told of stands before proxies.
        exchange.spoken_for = (!origin.hops.is_empty()).then(|| Source::of(origin.address));
        let found = {
            let snapshot = client.worker.shared.snapshot.load();
            let entrance = Entrance::of(&client, &origin);
            site::find(&snapshot, entrance, &host, site::path(parts))?
        };
        let route = match found {
            Site::Challenge(authorization) => return Ok(plain_text(authorization)),
            Site::Redirect => {
                return Ok(redirect(&host, &parts.uri, client.worker.shared.https_port));
            }
            Site::Route(route) => route,
        };
        exchange.routed(&route);
        exchange.take_down(parts, id, &origin.client, &host.written);
        #[cfg(feature = "crash-points")]
        assert!(
            !parts.headers.contains_key("x-freehold-test-panic"),
            "a test asked for a panic"
        );
        let expects = parts
            .headers
            .get(header::EXPECT)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
        let mut body = BodySource::new(incoming, body_bytes, header_bytes, expects);
        match client.haste(exchange.started, exchange.spoken_for) {
            Haste::None => {}
            Haste::Waits => Box::pin(tokio::time::sleep(HASTE)).await,
            Haste::Refused => return Err(EdgeError::TooManyAbandoned),
        }
        let mut passage = Passage {
            parts,
            host: &host,
            origin: &origin,
            id,
            handshake: handshake.as_ref(),
        };
        let (mut hold, mut route) = (Hold::default(), route);
        loop {
            // Policies change the head; whoever looks at it after them sees it as it came.
            let as_it_came =
                (!route.spec.policies.is_none()).then(|| passage.parts.headers.clone());
            match passage.through(exchange, &mut hold, route, body).await? {
                Forwarded::Answered(response) => return Ok(response),
                Forwarded::Elsewhere(newer, untouched) => {
                    if let Some(headers) = as_it_came {
                        passage.parts.headers = headers;
                    }
                    exchange.rerouted(&newer);
                    // Another route may have other queues.
                    hold.over();
                    (route, body) = (newer, untouched);
                }
            }
        }
    }
}

/// A request on its way through a route.
struct Passage<'a> {
    parts: &'a mut Parts,
    host: &'a Host,
    origin: &'a Origin<'a>,
    id: &'a HeaderValue,
    /// It is a WebSocket over HTTP/2.
    handshake: Option<&'a Handshake>,
}

impl Passage<'_> {
    /// What the route asks of the request, then what answers there, then what the route does to the answer.
    fn through(
        &mut self,
        exchange: &mut Exchange,
        hold: &mut Hold,
        route: Arc<Route>,
        mut body: BodySource,
    ) -> impl Future<Output = Result<Forwarded, EdgeError>> {
        let compression = route.spec.policies.compression(self.parts);
        async move {
            if let Some(answer) =
                policies::before(exchange, &route, self.parts, self.host, self.origin)?
            {
                return Ok(Forwarded::Answered(answer));
            }
            let policies = &route.spec.policies;
            let target = policies.target(&route.spec.path_prefix, &self.parts.uri)?;
            let limit = policies
                .body_bytes()
                .or(route.spec.body_bytes)
                .unwrap_or_else(|| exchange.client.limits().body_bytes);
            if body.length().is_some_and(|length| length > limit) {
                return Err(EdgeError::BodyTooLarge(limit));
            }
            body.limit_to(limit);
            let random = exchange.client.worker.ids.random();
            let trace = Trace::of(&self.parts.headers, self.id, random);
            let is_public = matches!(route.spec.upstream, Upstream::Static(_));
            let stripped_from = target.is_some().then(|| route.spec.path_prefix.clone());
            let inquiry = Inquiry {
                parts: self.parts,
                host: self.host,
                origin: self.origin,
                id: self.id,
                trace: &trace,
                body_limit: limit,
                handshake: self.handshake,
                target: target.as_deref(),
                prefix: stripped_from.as_deref().unwrap_or_default(),
            };
            let forwarded = forward(exchange, hold, inquiry, route, body).await?;
            match compression {
                None => Ok(forwarded),
                // Boxed, so that requests without it have no room for it.
                Some(asked) => Box::pin(compressed(asked, exchange, forwarded, is_public)).await,
            }
        }
    }
}

/// A value that no other answer has would only push useful ones out of HPACK's table (RFC 7541, 6.2.3).
fn never_indexed(mut value: HeaderValue) -> HeaderValue {
    value.set_sensitive(true);
    value
}

async fn compressed(
    asked: Asked,
    exchange: &mut Exchange,
    forwarded: Forwarded,
    is_public: bool,
) -> Result<Forwarded, EdgeError> {
    match forwarded {
        Forwarded::Answered(response) => {
            let applied = asked.apply(exchange, response, is_public).await;
            applied.map(Forwarded::Answered)
        }
        elsewhere => Ok(elsewhere),
    }
}

fn plain_text(text: String) -> Response<EdgeBody> {
    let mut response = Response::new(EdgeBody::text(text));
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

/// To https, keeping method, path and query; on an unusual port only for those who came by one.
fn redirect(host: &Host, uri: &http::Uri, https_port: u16) -> Response<EdgeBody> {
    let path = match uri.path_and_query() {
        Some(path) if path != "*" => path.as_str(),
        _ => "/",
    };
    let port = if host.has_port() && https_port != 443 {
        format!(":{https_port}")
    } else {
        String::new()
    };
    let mut response = Response::new(EdgeBody::empty());
    *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
    if let Ok(location) = HeaderValue::try_from(format!("https://{}{port}{path}", host.name)) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

fn note(client: &Client, error: &EdgeError, id: &HeaderValue, exchange: &mut Exchange) {
    exchange.outcome.failed = error.side() == Side::Upstream;
    exchange.refused = Some(error.title());
    let id = id.to_str().unwrap_or_default();
    match error {
        EdgeError::Panicked => {
            client.panicked(Some(id), exchange.route().map(|route| &*route.spec.key));
        }
        EdgeError::BodyStalled => client.refused(Refusal::SlowBody),
        EdgeError::TooManyRequests(_) => {
            exchange.outcome.refused = Some(ByPolicy::Rate);
            client.refused(Refusal::RateLimited);
        }
        EdgeError::TooManyStreams => client.refused(Refusal::TooManyStreams),
        EdgeError::TooManyAbandoned => client.refused(Refusal::Abandoned),
        EdgeError::AddressRefused | EdgeError::Unauthorized(_) => {
            exchange.outcome.refused = Some(ByPolicy::Access);
            client.refused(Refusal::Denied);
        }
        EdgeError::UnknownHost | EdgeError::NoRoute | EdgeError::Misdirected => {
            client.refused(Refusal::NotServed)
        }
        error if error.side() == Side::Client => client.refused(Refusal::BadRequest),
        error => tracing::debug!(request = id, ?error, "a request got an error from the edge"),
    }
}
