//! Requests that another site makes a browser send.
//!
//! An unsafe method is taken only when the browser says it comes from this very
//! origin: `Sec-Fetch-Site: same-origin` (or `none`, typed by the person), and
//! an `Origin` that matches the host. Programs send neither; they carry no
//! cookie either. Hooks prove themselves by signature and are left alone.

use axum::extract::Request;
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::caller::Caller;
use super::error::Failure;
use crate::wire::problem::{Problem, ProblemKind};

/// Refuses an unsafe request that another origin caused.
pub async fn refuse_foreign(request: Request, next: Next) -> Response {
    let local = matches!(
        request.extensions().get::<Caller>(),
        Some(Caller::Local { .. })
    );
    let safe = matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS
    );
    let hook = request.uri().path().starts_with("/hooks/");
    if local || safe || hook || is_own(request.headers()) {
        return next.run(request).await;
    }
    Failure::from(
        Problem::new(
            ProblemKind::Forbidden,
            "this change was asked for by another site",
        )
        .remedy("Open the dashboard at its own address and try again."),
    )
    .into_response()
}

fn is_own(headers: &HeaderMap) -> bool {
    let text = |name: header::HeaderName| headers.get(name).and_then(|v| v.to_str().ok());
    let site = headers.get("sec-fetch-site").and_then(|v| v.to_str().ok());
    if !matches!(site, None | Some("same-origin" | "none")) {
        return false;
    }
    match text(header::ORIGIN) {
        None => site.is_some() || text(header::COOKIE).is_none(),
        Some(origin) => text(header::HOST).is_some_and(|host| {
            origin
                .strip_prefix("https://")
                .is_some_and(|o| o.eq_ignore_ascii_case(host))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(k, v)| (header::HeaderName::from_static(k), v.parse().unwrap()))
            .collect()
    }

    #[test]
    fn f2_only_our_own_origin_may_change_things() {
        let own = [
            headers(&[
                ("host", "p.test"),
                ("origin", "https://p.test"),
                ("sec-fetch-site", "same-origin"),
            ]),
            headers(&[("host", "p.test")]),
            headers(&[
                ("host", "p.test:8443"),
                ("origin", "https://p.test:8443"),
                ("cookie", "a=b"),
            ]),
        ];
        assert!(own.iter().all(is_own));
        let foreign = [
            headers(&[("host", "p.test"), ("origin", "https://evil.test")]),
            headers(&[("host", "p.test"), ("origin", "http://p.test")]),
            headers(&[("host", "p.test"), ("origin", "null")]),
            headers(&[
                ("host", "p.test"),
                ("sec-fetch-site", "same-site"),
                ("origin", "https://p.test"),
            ]),
            headers(&[("host", "p.test"), ("sec-fetch-site", "cross-site")]),
            headers(&[("host", "p.test"), ("cookie", "a=b")]),
        ];
        assert!(!foreign.iter().any(is_own));
    }
}
