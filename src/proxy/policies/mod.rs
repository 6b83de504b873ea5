//! Policies: what a route asks of its requests and does to its answers, compiled from the settings.
//!
//! The order is fixed: addresses, then how often, then redirects, then who, then the body's size; what is on its way has
//! its path and headers changed, and every answer to it, the edge's own as well, has its headers changed at last. ACME's
//! challenges and the step from http to https come before all of it. A route without policies costs one look.
mod addresses;
mod auth;
mod compress;
mod doubt;
mod fields;
#[cfg(freehold_fuzz)]
pub(super) mod fuzz;
mod pages;
mod rate;
mod redirect;
mod strip;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use http::Response;
use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;

use super::body::EdgeBody;
use super::content_coding;
use super::error::EdgeError;
use super::exchange::Exchange;
use super::host::Host;
use super::origin::Origin;
use super::routes::{Route, Upstream};
use crate::base::policies as base;
use addresses::Addresses;
use auth::Auth;
pub(super) use compress::Asked;
use compress::Compression;
use fields::Fields;
use pages::Pages;
use rate::{Quota, Verdict};
use redirect::Redirect;

pub(super) use doubt::leads_elsewhere;
pub(super) use rate::RateTable;

/// The policies of one route; none, by default.
#[derive(Debug, Default)]
pub struct Policies(Option<Box<Compiled>>);

#[derive(Debug)]
struct Compiled {
    addresses: Addresses,
    quota: Option<Quota>,
    redirects: Vec<Redirect>,
    auth: Option<Auth>,
    body_bytes: Option<u64>,
    strips: bool,
    request: Fields,
    answer: Fields,
    hsts: Option<HeaderValue>,
    pages: Pages,
    compression: Option<Arc<Compression>>,
}

/// What a request has met, for the headers of its answer.
#[derive(Debug, Default)]
pub(super) struct Met {
    verdict: Option<Verdict>,
    /// The route whose quota it was counted for.
    counted_for: Option<Arc<str>>,
    https: bool,
}

impl Policies {
    /// Of checked policies; `key` is what verifiers were made under. A password that is still one is taken in.
    pub fn compile(from: &base::Policies, key: &base::VerifierKey) -> Policies {
        // Which requests are logged, and which files a folder shows, is no business of this.
        let beside_alone = base::Policies {
            access_log: from.access_log,
            files: from.files.clone(),
            single_page: from.single_page,
            ..base::Policies::default()
        };
        if *from == beside_alone {
            return Policies::default();
        }
        Policies(Some(Box::new(Compiled {
            addresses: Addresses::new(&from.allow, &from.deny),
            quota: from.rate_limit.as_ref().map(Quota::new),
            redirects: from.redirects.iter().map(Redirect::new).collect(),
            auth: from.basic_auth.as_ref().map(|auth| Auth::new(auth, key)),
            body_bytes: from.body_limit.map(|limit| limit.0),
            strips: from.strip_prefix == Some(true),
            request: Fields::new(&from.request_headers),
            answer: Fields::new(&from.answer_headers),
            hsts: from.hsts.and_then(|hsts| hsts.details()).map(fields::hsts),
            pages: Pages::new(&from.error_pages),
            compression: from
                .compress
                .as_ref()
                .and_then(|compress| compress.details())
                .map(|details| Arc::new(Compression::new(details))),
        })))
    }

    /// Whether not everybody is served.
    pub(super) fn guards(&self) -> bool {
        self.0.as_ref().is_some_and(|compiled| {
            compiled.auth.is_some() || compiled.quota.is_some() || compiled.addresses.guard()
        })
    }

    /// What the answers to this request are compressed by; looked at before the request is changed.
    pub(super) fn compression(&self, parts: &mut Parts) -> Option<Asked> {
        let rules = self.0.as_ref()?.compression.as_ref()?;
        Some(Asked::of(rules, parts))
    }

    /// Whether a table of rates is needed.
    pub(super) fn limits_rate(&self) -> bool {
        self.0
            .as_ref()
            .is_some_and(|compiled| compiled.quota.is_some())
    }

    /// Nothing is asked or changed.
    pub(super) fn is_none(&self) -> bool {
        self.0.is_none()
    }

    pub(super) fn body_bytes(&self) -> Option<u64> {
        self.0.as_ref()?.body_bytes
    }

    /// The address that the target is asked for, where the route's path is taken off.
    ///
    /// # Errors
    /// Where what is left would be read as another host's.
    pub(super) fn target(
        &self,
        prefix: &str,
        uri: &http::Uri,
    ) -> Result<Option<String>, EdgeError> {
        match &self.0 {
            Some(compiled) if compiled.strips => strip::stripped(prefix, uri),
            _ => Ok(None),
        }
    }

    /// The page that the edge's own answer of this status has here.
    pub(super) fn page(&self, status: http::StatusCode, id: &str) -> Option<String> {
        self.0.as_ref()?.pages.render(status, id)
    }
}

/// Before a request is sent on: an answer where that ends it here, nothing where it may go on, its headers changed.
///
/// # Errors
/// Where the client is not served, not now, or not without saying who it is.
pub(super) fn before(
    exchange: &mut Exchange,
    route: &Route,
    parts: &mut Parts,
    host: &Host,
    origin: &Origin<'_>,
) -> Result<Option<Response<EdgeBody>>, EdgeError> {
    let Some(compiled) = &route.spec.policies.0 else {
        return Ok(None);
    };
    exchange.met.https = origin.https;
    if !compiled.addresses.admit(origin.address) {
        return Err(EdgeError::AddressRefused);
    }
    // Held meanwhile, it is judged anew, but it is one request.
    let is_counted = exchange.met.counted_for.as_ref() == Some(&route.spec.key);
    if let (Some(quota), Some(table), false) = (&compiled.quota, route.rates(), is_counted) {
        let verdict = table.take(
            quota,
            quota.who(&parts.headers, origin.address),
            exchange.started,
        );
        exchange.met.verdict = Some(verdict);
        exchange.met.counted_for = Some(route.spec.key.clone());
        if !verdict.allowed {
            return Err(EdgeError::TooManyRequests(verdict.retry_after()));
        }
    }
    let sent = compiled
        .redirects
        .iter()
        .find_map(|redirect| redirect.applied(host, origin.https, &parts.uri));
    if let Some((status, location)) = sent {
        let mut response = Response::new(EdgeBody::empty());
        *response.status_mut() = status;
        response.headers_mut().insert(header::LOCATION, location);
        return Ok(Some(response));
    }
    if let Some(auth) = &compiled.auth {
        auth.check(&parts.headers)?;
        // For the edge, not for the app, which may have credentials of its own.
        parts.headers.remove(header::AUTHORIZATION);
    }
    compiled.request.change_request(&mut parts.headers);
    Ok(None)
}

/// Changes the headers of an answer, whoever made it.
pub(super) fn after(exchange: &Exchange, headers: &mut HeaderMap) {
    let Some(route) = exchange.route() else {
        return;
    };
    let Some(compiled) = &route.spec.policies.0 else {
        return;
    };
    // Where we choose the coding, the headers that somebody set must not hide it from caches.
    let codes =
        compiled.compression.is_some() || matches!(route.spec.upstream, Upstream::Static(_));
    let varied = codes && content_coding::is_varied(headers);
    compiled.answer.change(headers);
    if varied {
        content_coding::varies(headers);
    }
    if let Some(hsts) = &compiled.hsts
        && exchange.met.https
        && route.spec.public_certificate
    {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, hsts.clone());
    }
    if let (Some(quota), Some(verdict)) = (&compiled.quota, exchange.met.verdict) {
        quota.tell(verdict, headers);
    }
}
