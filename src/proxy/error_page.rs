//! Error page: an edge error as the client likes to read it: HTML for people, JSON for programs, else plain text.
use http::Response;
use http::header::{self, HeaderMap, HeaderValue};

use super::body::EdgeBody;
use super::error::EdgeError;
use super::policies::Policies;

pub(super) fn render(
    error: &EdgeError,
    accept: Option<&HeaderValue>,
    request_id: &HeaderValue,
    policies: Option<&Policies>,
) -> Response<EdgeBody> {
    let id = request_id.to_str().unwrap_or_default();
    let form = form(accept);
    // A route's own page is for people; a program gets what it can read.
    let own = match form {
        Form::Html => policies.and_then(|policies| policies.page(error.status(), id)),
        Form::Json | Form::Plain => None,
    };
    let is_own = own.is_some();
    let (kind, text) = match form {
        Form::Html => (
            "text/html; charset=utf-8",
            own.unwrap_or_else(|| html(error, id)),
        ),
        Form::Json => ("application/problem+json", json(error, id)),
        Form::Plain => (
            "text/plain; charset=utf-8",
            format!(
                "{}\n{}\nrequest id: {id}\n",
                error.title(),
                error.sentence()
            ),
        ),
    };
    let mut response = Response::new(EdgeBody::text(text));
    *response.status_mut() = error.status();
    let headers: &mut HeaderMap = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    if form == Form::Html && !is_own {
        let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";
        headers.insert(
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static(policy),
        );
    }
    if let Some(seconds) = error.retry_after() {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if let EdgeError::Unauthorized(challenge) = error {
        headers.insert(header::WWW_AUTHENTICATE, challenge.clone());
    }
    let allowed = match error {
        EdgeError::MethodRefused => Some("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
        EdgeError::ReadOnly => Some("GET, HEAD"),
        _ => None,
    };
    if let Some(allowed) = allowed {
        headers.insert(header::ALLOW, HeaderValue::from_static(allowed));
    }
    if error.closes() {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

#[derive(PartialEq, Eq, Debug)]
enum Form {
    Html,
    Json,
    Plain,
}

/// The first form the client names; its weights are not worth the trouble here.
fn form(accept: Option<&HeaderValue>) -> Form {
    let accept = accept
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    for part in accept.split(',') {
        let kind = part.split(';').next().unwrap_or_default().trim();
        if kind.eq_ignore_ascii_case("text/html") {
            return Form::Html;
        }
        if kind.eq_ignore_ascii_case("application/json") || kind.ends_with("+json") {
            return Form::Json;
        }
    }
    Form::Plain
}

fn json(error: &EdgeError, id: &str) -> String {
    serde_json::json!({
        "type": "about:blank",
        "status": error.status().as_u16(),
        "title": error.title(),
        "detail": error.sentence(),
        "request_id": id,
    })
    .to_string()
}

fn html(error: &EdgeError, id: &str) -> String {
    let (title, sentence, status) = (error.title(), error.sentence(), error.status().as_u16());
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
         <style>:root{{color-scheme:light dark}}body{{margin:0;min-height:100vh;display:grid;place-items:center;\
         font:16px/1.5 system-ui,sans-serif;background:Canvas;color:CanvasText}}main{{max-width:34rem;padding:2rem}}\
         h1{{font-size:1.5rem;font-weight:600;margin:0 0 .5rem}}p{{margin:.25rem 0}}small{{opacity:.7}}</style>\n\
         <main><h1>{title}</h1><p>{sentence}</p><p><small>{status} &middot; request {id}</small></p></main>\n</html>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f5_the_form_follows_accept() {
        let form_of = |accept: &'static str| form(Some(&HeaderValue::from_static(accept)));
        assert_eq!(
            form_of("text/html,application/xhtml+xml,*/*;q=0.8"),
            Form::Html
        );
        assert_eq!(form_of("application/json"), Form::Json);
        assert_eq!(form_of("*/*"), Form::Plain);
        assert_eq!(form(None), Form::Plain);
    }
}
