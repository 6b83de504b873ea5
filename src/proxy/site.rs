//! Site: what a request is for, judged from the door, the name in TLS, the host and the path. Pure.
use std::sync::Arc;

use http::Method;
use http::header;
use http::request::Parts;

use super::client::Client;
use super::error::EdgeError;
use super::extended_connect;
use super::headers::{self, FIELDS};
use super::host::Host;
use super::limits::Limits;
use super::origin::Origin;
use super::routes::{Found, Route};
use super::snapshot::Snapshot;

const CHALLENGE: &str = "/.well-known/acme-challenge/";

pub(super) enum Site {
    /// The key authorization of an ACME token.
    Challenge(String),
    /// The same place over https.
    Redirect,
    Route(Arc<Route>),
}

/// How the request came in.
#[derive(Clone, Copy)]
pub(super) struct Entrance<'a> {
    pub(super) https: bool,
    /// The client came by https: to us, or where a trusted proxy says how, to that.
    pub(super) told_https: bool,
    /// The name in TLS.
    pub(super) name: Option<&'a str>,
}

impl<'a> Entrance<'a> {
    pub(super) fn of(client: &'a Client, origin: &Origin<'_>) -> Entrance<'a> {
        Entrance {
            https: client.https,
            told_https: origin.https,
            name: client.name.as_deref(),
        }
    }
}

pub(super) fn find(
    snapshot: &Snapshot,
    entrance: Entrance<'_>,
    host: &Host,
    path: &str,
) -> Result<Site, EdgeError> {
    if !entrance.https {
        return in_the_open(snapshot, entrance, host, path);
    }
    let found = behind_tls(snapshot, entrance, host, path)?;
    match found {
        // Who came by http to a proxy that speaks TLS to us is treated as at our own door for http.
        Site::Route(route) if !entrance.told_https && route.spec.redirect_http => {
            Ok(challenge(snapshot, path).unwrap_or(Site::Redirect))
        }
        found => Ok(found),
    }
}

fn challenge(snapshot: &Snapshot, path: &str) -> Option<Site> {
    let token = path.strip_prefix(CHALLENGE)?;
    let authorization = snapshot.challenges.get(token)?;
    Some(Site::Challenge(authorization.clone()))
}

/// The route again, in a newer snapshot.
pub(super) fn find_route(
    snapshot: &Snapshot,
    entrance: Entrance<'_>,
    host: &Host,
    path: &str,
) -> Result<Arc<Route>, EdgeError> {
    match find(snapshot, entrance, host, path)? {
        Site::Route(route) => Ok(route),
        Site::Challenge(_) | Site::Redirect => Err(EdgeError::NoRoute),
    }
}

fn behind_tls(
    snapshot: &Snapshot,
    entrance: Entrance<'_>,
    host: &Host,
    path: &str,
) -> Result<Site, EdgeError> {
    match entrance.name {
        Some(name) if name.strip_suffix('.').unwrap_or(name) != host.name => {
            Err(EdgeError::Misdirected)
        }
        Some(_) => route_of(snapshot, host, path),
        None if snapshot.routes.knows(&host.name) => Err(EdgeError::Misdirected),
        None if host.is_address() => snapshot
            .default_route
            .clone()
            .map(Site::Route)
            .ok_or(EdgeError::UnknownHost),
        None => Err(EdgeError::UnknownHost),
    }
}

fn in_the_open(
    snapshot: &Snapshot,
    entrance: Entrance<'_>,
    host: &Host,
    path: &str,
) -> Result<Site, EdgeError> {
    if let Some(challenge) = challenge(snapshot, path) {
        return Ok(challenge);
    }
    if host.is_address() && !snapshot.routes.knows(&host.name) {
        return match &snapshot.default_route {
            Some(route) if entrance.told_https => Ok(Site::Route(route.clone())),
            Some(_) => Ok(Site::Redirect),
            None => Err(EdgeError::UnknownHost),
        };
    }
    let Site::Route(route) = route_of(snapshot, host, path)? else {
        return Err(EdgeError::NoRoute);
    };
    // Behind a proxy that ends TLS, sending somebody to https who came by it would go on for ever.
    if !route.spec.redirect_http || entrance.told_https {
        Ok(Site::Route(route))
    } else if snapshot.certificate(&host.name).is_some() {
        Ok(Site::Redirect)
    } else {
        // Sending someone to https now would only show them their browser's warning.
        Err(EdgeError::CertificatePending)
    }
}

fn route_of(snapshot: &Snapshot, host: &Host, path: &str) -> Result<Site, EdgeError> {
    match snapshot.routes.resolve(&host.name, path) {
        Found::Route(route) => Ok(Site::Route(route.clone())),
        Found::NoPath => Err(EdgeError::NoRoute),
        Found::NoHost => Err(EdgeError::UnknownHost),
        Found::Doubtful => Err(EdgeError::PathDoubtful),
    }
}

/// The path that chooses the route: what asks of the whole server (`OPTIONS *`) asks of what answers at its root.
pub(super) fn path(parts: &Parts) -> &str {
    match parts.uri.path() {
        "*" => "/",
        path => path,
    }
}

/// Refuses what no app should see, before a route is looked for.
pub(super) fn check(parts: &Parts, limits: &Limits) -> Result<(), EdgeError> {
    if parts.method == Method::CONNECT {
        extended_connect::check(parts)?;
    } else if parts.method == Method::TRACE {
        return Err(EdgeError::MethodRefused);
    }
    if !matches!(parts.uri.scheme_str(), None | Some("http" | "https")) {
        return Err(EdgeError::BadRequest(
            "its address is neither http nor https",
        ));
    }
    let codings = parts.headers.get_all(header::TRANSFER_ENCODING);
    headers::check_codings(codings.iter().map(|value| value.as_bytes()))?;
    let target = parts.uri.path_and_query().map_or("", |path| path.as_str());
    if target.len() > limits.uri_bytes {
        return Err(EdgeError::UriTooLong(limits.uri_bytes));
    }
    if !(target.starts_with('/') || target == "*" && parts.method == Method::OPTIONS) {
        return Err(EdgeError::BadRequest(
            "its path does not begin with a slash",
        ));
    }
    if headers::bytes(&parts.headers) > limits.header_bytes {
        Err(EdgeError::HeadTooLarge(limits.header_bytes))
    } else if !parts.headers.keys().all(headers::is_http1_name) {
        Err(EdgeError::BadRequest("a field's name is malformed"))
    } else if parts.headers.len() > FIELDS && headers::count(&parts.headers) > FIELDS {
        Err(EdgeError::TooManyFields(FIELDS))
    } else {
        Ok(())
    }
}
