//! Requests that another site makes a browser send.
//!
//! Two proofs, each enough by itself. An unsafe method is taken only when the
//! browser says it comes from this very origin: `Sec-Fetch-Site: same-origin`
//! (or `none`, typed by the person), and an `Origin` that matches the host. And
//! what a cookie lets in carries a token that only our own pages show: an HMAC
//! of the session, so that it needs no storage and ends with it; before there is
//! a session, of a cookie that every door page sets. Nothing compresses pages
//! and no text of a stranger stands beside it, so it is not masked anew each time.
//!
//! A script that calls the API with the session's cookie sends the token as
//! `X-Form-Token`. Without it the call is taken when it is JSON (or has no body)
//! and the browser says `same-origin`: no form can send that, another site's
//! script would have to be allowed to by us, and nobody is. Programs with a token
//! and the box's own socket send no cookie, so nobody can borrow it. Hooks prove
//! themselves by signature and are left alone.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, BodyDataStream, Bytes};
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt, stream};
use url::form_urlencoded;

use super::auth::cookie;
use super::caller::Caller;
use super::error::Failure;
use super::multipart;
use super::services::App;
use crate::base::secret::{Secret, constant_time_eq, hmac_sha256, random_token, sha256_hex};
use crate::wire::problem::{Problem, ProblemKind};

/// The hidden field every form carries (templates/parts/token.html).
pub const FIELD: &str = "form-token";
/// The same for scripts.
const HEADER: &str = "x-form-token";
/// Tells one browser from another while nobody is signed in with it.
const VISITOR: &str = "__Host-freehold-visitor";
/// The longest token.
const LONGEST_TOKEN: usize = 256;
/// The largest form, but for one with a file: of that the head is read, and the rest left to whoever it is for.
const LARGEST_FORM: usize = 2 << 20;
/// The largest of somebody who is not known: a name, a password, a code. It is held in memory before
/// anything is proven.
pub const LARGEST_OF_STRANGERS: usize = 16 << 10;

/// Makes the tokens; a key of this box for nothing else.
#[derive(Debug)]
pub struct FormKey(Secret);

impl FormKey {
    /// With this key.
    pub fn new(key: Secret) -> Self {
        Self(key)
    }

    fn token(&self, kind: &str, of: &str) -> FormToken {
        let text = format!("{kind}:{}", sha256_hex(of.as_bytes()));
        FormToken(hex::encode(hmac_sha256(
            self.0.expose().as_bytes(),
            text.as_bytes(),
        )))
    }
}

/// What the forms of the page that answers a request carry; nothing where no cookie lets in.
#[derive(Clone, Debug, Default)]
pub struct FormToken(pub String);

impl FormToken {
    fn is(&self, given: &str) -> bool {
        !self.0.is_empty() && constant_time_eq(self.0.as_bytes(), given.as_bytes())
    }
}

/// Finds the token of the session, or of the browser that has none yet; such a one gets a cookie with its page.
pub async fn give_token(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let (token, new) = match request.extensions().get::<Caller>() {
        Some(Caller::User { token, .. }) => (app.forms.token("session", token), None),
        None | Some(Caller::Nobody) => match cookie(request.headers(), VISITOR) {
            Some(visitor) => (app.forms.token("visitor", &visitor), None),
            None => match random_token() {
                Ok(visitor) => (app.forms.token("visitor", visitor.expose()), Some(visitor)),
                Err(error) => {
                    return Failure::from(crate::db::DbError::from(error)).into_response();
                }
            },
        },
        Some(Caller::Program { .. } | Caller::Local { .. }) => (FormToken::default(), None),
    };
    request.extensions_mut().insert(token);
    let mut response = next.run(request).await;
    if let Some(visitor) = new
        && response
            .headers()
            .get(header::CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"))
    {
        let cookie = format!(
            "{VISITOR}={}; Path=/; Secure; HttpOnly; SameSite=Lax",
            visitor.expose()
        );
        if let Ok(value) = HeaderValue::from_str(&cookie) {
            response.headers_mut().append(header::SET_COOKIE, value);
        }
    }
    response
}

/// Refuses an unsafe request that a cookie lets in, or that nobody sends, without the token.
/// Stands behind the guard: who may not anyway is told so first.
pub async fn proven(request: Request, next: Next) -> Response {
    let caller = request.extensions().get::<Caller>();
    let stranger = matches!(caller, None | Some(Caller::Nobody));
    let by_cookie = stranger || matches!(caller, Some(Caller::User { .. }));
    let hook = request.uri().path().starts_with("/hooks/");
    if !by_cookie || is_safe(request.method()) || hook {
        return next.run(request).await;
    }
    let most = match stranger {
        true => LARGEST_OF_STRANGERS,
        false => LARGEST_FORM,
    };
    // However the token comes: a stranger has one for opening the sign-in page.
    let request = match stranger {
        true => match held(request, most).await {
            Ok((head, body)) => Request::from_parts(head, Body::from(body)),
            Err(failure) => return failure.into_response(),
        },
        false => request,
    };
    let path = request.uri().path();
    let token = request.extensions().get::<FormToken>().cloned();
    let token = token.unwrap_or_default();
    let in_header = request.headers().get(HEADER).and_then(|v| v.to_str().ok());
    if let Some(given) = in_header {
        return match token.is(given) {
            true => next.run(request).await,
            false => no_token().into_response(),
        };
    }
    if path.starts_with("/api/") {
        let no_cookie = !request.headers().contains_key(header::COOKIE);
        return match no_cookie || is_own_script(request.headers()) {
            true => next.run(request).await,
            false => no_token().into_response(),
        };
    }
    if !stranger && kind(request.headers()) == "multipart/form-data" {
        let (request, given) = ahead(request).await;
        return match given.is_some_and(|given| token.is(&given)) {
            true => next.run(request).await,
            false => no_token().into_response(),
        };
    }
    let (head, body) = match held(request, most).await {
        Ok(whole) => whole,
        Err(failure) => return failure.into_response(),
    };
    match in_form(&head.headers, &body).is_some_and(|given| token.is(&given)) {
        true => next.run(Request::from_parts(head, Body::from(body))).await,
        false => no_token().into_response(),
    }
}

/// The request with its body read.
async fn held(request: Request, most: usize) -> Result<(Parts, Bytes), Failure> {
    let (head, body) = request.into_parts();
    match axum::body::to_bytes(body, most).await {
        Ok(body) => Ok((head, body)),
        Err(_) => Err(too_large(most)),
    }
}

/// The token among a form's fields.
pub(super) fn in_form(headers: &HeaderMap, body: &Bytes) -> Option<String> {
    let form = kind(headers) == "application/x-www-form-urlencoded";
    form_urlencoded::parse(body)
        .find(|(name, _)| form && name == FIELD)
        .map(|(_, value)| value.into_owned())
}

/// The token in the first field of a form with a file, and the request as it was: the file is still to come, and may be
/// larger than memory.
async fn ahead(request: Request) -> (Request, Option<String>) {
    let (head, body) = request.into_parts();
    let seen = Seen {
        body: body.into_data_stream(),
        seen: Vec::new(),
    };
    let Some(mut form) = multipart::Parts::of(&head.headers, seen) else {
        return (Request::from_parts(head, Body::empty()), None);
    };
    let given = match form.next().await {
        Ok(Some(name)) if name == FIELD => form.text(LONGEST_TOKEN).await.ok(),
        _ => None,
    };
    let Seen { body, seen } = form.into_inner();
    let whole = stream::iter(seen.into_iter().map(Ok)).chain(body);
    (Request::from_parts(head, Body::from_stream(whole)), given)
}

/// A body that keeps what was read of it.
struct Seen {
    body: BodyDataStream,
    seen: Vec<Bytes>,
}

impl Stream for Seen {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = self.body.poll_next_unpin(cx);
        if let Poll::Ready(Some(Ok(bytes))) = &next {
            self.seen.push(bytes.clone());
        }
        next
    }
}

/// Whether only a script of our own pages can have sent this: see above.
fn is_own_script(headers: &HeaderMap) -> bool {
    let text = |name| {
        headers
            .get(name)
            .and_then(|v: &HeaderValue| v.to_str().ok())
    };
    let same = text(header::HeaderName::from_static("sec-fetch-site")) == Some("same-origin");
    let empty = !headers.contains_key(header::TRANSFER_ENCODING)
        && text(header::CONTENT_LENGTH).is_none_or(|length| length == "0");
    same && (empty || kind(headers) == "application/json")
}

/// The content type without its parameters.
fn kind(headers: &HeaderMap) -> String {
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|v| v.to_str().ok()).unwrap_or_default();
    let (kind, _) = kind.split_once(';').unwrap_or((kind, ""));
    kind.trim().to_ascii_lowercase()
}

fn no_token() -> Failure {
    Problem::new(
        ProblemKind::Forbidden,
        "this did not come from a page of your session, or the session has changed since that page was opened",
    )
    .remedy("Open the page again and do it once more; a script sends what its page's forms carry as X-Form-Token.")
    .into()
}

/// That a body is larger than `most` bytes, or did not come whole.
pub fn too_large(most: usize) -> Failure {
    let most = match most >> 20 {
        0 => format!("{} KB", most >> 10),
        mb => format!("{mb} MB"),
    };
    Problem::new(
        ProblemKind::TooLarge,
        format!("what was sent broke off or is larger than {most}"),
    )
    .remedy("Send less at once.")
    .into()
}

fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// Refuses an unsafe request that another origin caused.
pub async fn refuse_foreign(request: Request, next: Next) -> Response {
    let local = matches!(
        request.extensions().get::<Caller>(),
        Some(Caller::Local { .. })
    );
    let safe = is_safe(request.method());
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

/// Whether the browser says that our own pages asked for this. What is no text is no less there.
pub fn is_own(headers: &HeaderMap) -> bool {
    let said = |name: header::HeaderName| headers.get(name).map(HeaderValue::as_bytes);
    let site = said(header::HeaderName::from_static("sec-fetch-site"));
    if !matches!(site, None | Some(b"same-origin" | b"none")) {
        return false;
    }
    match said(header::ORIGIN) {
        None => site.is_some() || said(header::COOKIE).is_none(),
        Some(origin) => said(header::HOST).is_some_and(|host| {
            origin
                .strip_prefix(b"https://")
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
        // What cannot be read is not left out for that.
        for name in [header::ORIGIN, header::COOKIE] {
            let mut unreadable = headers(&[("host", "p.test")]);
            unreadable.insert(
                name,
                HeaderValue::from_bytes(b"https://p.test\xff").unwrap(),
            );
            assert!(!is_own(&unreadable), "{unreadable:?}");
        }
    }

    #[test]
    fn a6_a_token_is_of_its_box_its_session_and_its_kind() {
        let key = FormKey::new(Secret::new("one"));
        let token = key.token("session", "ana");
        assert!(token.is(&key.token("session", "ana").0));
        for other in [
            key.token("session", "eve"),
            key.token("visitor", "ana"),
            FormKey::new(Secret::new("two")).token("session", "ana"),
            FormToken::default(),
        ] {
            assert!(!token.is(&other.0));
        }
        assert!(!FormToken::default().is(""), "no token is no proof");
    }

    #[test]
    fn a6_a_script_of_another_site_or_a_form_is_told_from_ours() {
        let json = ("content-type", "application/json; charset=utf-8");
        let same = ("sec-fetch-site", "same-origin");
        let sized = ("content-length", "2");
        assert!(is_own_script(&headers(&[same, json, sized])));
        assert!(is_own_script(&headers(&[same])));
        for foreign in [
            headers(&[json, sized]),
            headers(&[json, sized, ("sec-fetch-site", "none")]),
            headers(&[json, sized, ("sec-fetch-site", "same-site")]),
            headers(&[same, sized]),
            headers(&[same, sized, ("content-type", "text/plain")]),
            headers(&[same, ("transfer-encoding", "chunked")]),
        ] {
            assert!(!is_own_script(&foreign), "{foreign:?}");
        }
    }

    #[test]
    fn a6_the_token_is_a_field_of_a_form_and_of_nothing_else() {
        let form = headers(&[("content-type", "application/x-www-form-urlencoded")]);
        let body = Bytes::from_static(b"name=shop&form-token=abc");
        assert_eq!(in_form(&form, &body).as_deref(), Some("abc"));
        let text = headers(&[("content-type", "text/plain")]);
        assert_eq!(in_form(&text, &body), None);
        assert_eq!(
            in_form(&form, &Bytes::from_static(b"name=form-token")),
            None
        );
    }
}
