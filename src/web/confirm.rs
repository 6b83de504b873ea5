//! The password again, before the dangerous: what the guard answers, and the way back afterwards.
//!
//! Nothing is repeated by itself: whoever confirmed is led back to a page of our
//! own table, and does again what they meant to.

use axum::extract::Request;
use axum::http::{HeaderMap, Method, header};
use axum::response::{IntoResponse, Redirect, Response};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::access::Needs;
use super::auth;
use super::caller::Caller;
use super::error::{Failure, wants_page};
use super::services::App;
use crate::base::clock::UnixMs;
use crate::base::secret::Secret;
use crate::users::Proof;
use crate::wire::problem::{Problem, ProblemKind};

/// The page that asks.
pub const PAGE: &str = "/confirm-password";

/// The answer to a dangerous request of somebody whose confirmation is missing or too old.
pub fn first(request: &Request) -> Response {
    let path = request.uri().path();
    if !wants_page(request.headers()) || path.starts_with("/api/") {
        return Failure::from(
            Problem::new(
                ProblemKind::Confirm,
                "this needs your password again: it was not given in this session within the last 10 minutes",
            )
            .remedy(
                "Give it on the page /confirm-password, or to POST /api/v1/session/confirm, and ask again.",
            ),
        )
        .into_response();
    }
    let asked = request.uri().path_and_query().map_or(path, |p| p.as_str());
    let (to, again) = match *request.method() {
        Method::GET | Method::HEAD => (asked.to_owned(), ""),
        _ => (where_from(request.headers(), path), "&again=1"),
    };
    let to = utf8_percent_encode(&to, NON_ALPHANUMERIC);
    Redirect::to(&format!("{PAGE}?to={to}{again}")).into_response()
}

/// The page whose form was sent: the one the browser names, else the nearest above `path`.
fn where_from(headers: &HeaderMap, path: &str) -> String {
    let text = |name| headers.get(name).and_then(|v| v.to_str().ok());
    let named = text(header::REFERER)
        .and_then(|url| url::Url::parse(url).ok())
        .filter(|url| text(header::HOST).is_some_and(|host| authority(url) == host))
        .map(|url| match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        });
    if let Some(page) = named.filter(|page| is_page(page)) {
        return page;
    }
    let mut above = path;
    while let Some((shorter, _)) = above.rsplit_once('/') {
        if is_page(shorter) {
            return shorter.to_owned();
        }
        above = shorter;
    }
    "/".to_owned()
}

fn authority(url: &url::Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// `to` when it is a page of our own table, else the overview: no redirect leaves.
pub fn way_back(to: &str) -> &str {
    if is_page(to) { to } else { "/" }
}

/// Whether a person's browser can be sent to this path: a page of the table that shows something.
fn is_page(to: &str) -> bool {
    let path = to.split_once('?').map_or(to, |(path, _)| path);
    let plain = to.len() <= 2_000 && to.bytes().all(|b| b.is_ascii_graphic() && b != b'\\');
    let inner: Vec<&str> = path.split('/').collect();
    let dots = |part: &str| {
        matches!(
            part.replace("%2e", ".").replace("%2E", ".").as_str(),
            "." | ".."
        )
    };
    if !plain || !path.starts_with('/') || path.starts_with("//") || inner.iter().any(|p| dots(p)) {
        return false;
    }
    super::router::table().iter().any(|route| {
        route.method == Method::GET
            && !matches!(route.needs, Needs::Nobody | Needs::Proof | Needs::Local)
            && !route.path.starts_with("/api/")
            && route.path != PAGE
            && matches_route(route.path, &inner)
    })
}

fn matches_route(route: &str, path: &[&str]) -> bool {
    let parts: Vec<&str> = route.split('/').collect();
    parts.len() == path.len()
        && parts
            .iter()
            .zip(path)
            .all(|(part, given)| (part.starts_with('{') && !given.is_empty()) || part == given)
}

/// Takes the password again; the session's new cookie.
///
/// # Errors
/// That it is wrong, that there were too many, or that the caller has none.
pub async fn take(
    app: &App,
    caller: &Caller,
    headers: &HeaderMap,
    proof: Proof,
) -> Result<Secret, Failure> {
    let Caller::User { id, token, .. } = caller else {
        return Err(Problem::new(
            ProblemKind::Conflict,
            "there is no password to give here: only somebody who signed in has one",
        )
        .remedy("On the box's own socket nothing asks for it; go on.")
        .into());
    };
    let from = auth::origin(headers);
    Ok(app
        .users
        .confirm(*id, token, proof, &from, UnixMs::now())
        .await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a6_the_way_back_is_a_page_of_ours() {
        for good in [
            "/",
            "/account",
            "/apps/shop/settings",
            "/apps/shop/logs?since=1h",
            "/settings/people/ana@example.com/remove",
        ] {
            assert_eq!(way_back(good), good);
        }
        for bad in [
            "",
            "//evil.test",
            "https://evil.test/",
            "/\\evil.test",
            "/apps/../../x",
            "/apps/%2e%2E/settings",
            "/api/v1/apps",
            "/setup/token",
            "/static/app.js",
            "/sign-in",
            "/confirm-password?to=/confirm-password",
            "/sign-out",
            "/no-such-page",
            "/account\r\nset-cookie: a=b",
            "/apps//settings",
        ] {
            assert_eq!(way_back(bad), "/", "{bad:?}");
        }
    }

    #[test]
    fn a6_a_form_leads_back_to_its_page_and_not_to_anothers() {
        let headers = |referer: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("host", "p.test:8443".parse().unwrap());
            headers.insert("referer", referer.parse().unwrap());
            headers
        };
        let own = headers("https://p.test:8443/apps/shop/settings?a=b");
        let remove = "/apps/shop/remove";
        assert_eq!(where_from(&own, remove), "/apps/shop/settings?a=b");
        let foreign = headers("https://evil.test/apps/shop/settings");
        assert_eq!(where_from(&foreign, "/account/tokens"), "/account");
        let none = HeaderMap::new();
        assert_eq!(where_from(&none, "/apps/shop/webhook-secret"), "/apps/shop");
    }
}
