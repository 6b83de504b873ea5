//! A page's visit: who, which colours, and the sentence that answers the action before it.
//!
//! Theme and flash are cookies, so that both work without a script. A flash is text in a cookie
//! only this host can set; it is escaped like everything else and gone once shown.

use std::convert::Infallible;

use axum::Form;
use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::Deserialize;

use super::frame::{Flash, Frame, Theme};
use super::parts::Tone;
use crate::web::audit::{self, Note};
use crate::web::auth::cookie;
use crate::web::caller::Caller;
use crate::web::error::Failure;
use crate::web::forgery::FormToken;

const THEME: &str = "__Host-freehold-theme";
const FLASH: &str = "__Host-freehold-flash";
/// Longer sentences are cut: a cookie holds 4 KB.
const FLASH_LIMIT: usize = 800;

/// What a page's handler knows of its visitor.
#[derive(Clone, Debug)]
pub struct Visit {
    /// Who.
    pub caller: Caller,
    theme: Theme,
    flash: Option<Flash>,
    path: String,
    host: String,
    form_token: FormToken,
}

impl<S: Sync> FromRequestParts<S> for Visit {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(Self::read(
            &parts.headers,
            parts.uri.path(),
            &parts.extensions,
        ))
    }
}

impl Visit {
    /// From a request's head, and what was found out of who sent it.
    pub fn read(headers: &HeaderMap, path: &str, known: &Extensions) -> Self {
        let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
        Self {
            caller: known.get().cloned().unwrap_or(Caller::Nobody),
            form_token: known.get().cloned().unwrap_or_default(),
            theme: cookie(headers, THEME).map_or(Theme::Auto, |value| Theme::parse(&value)),
            flash: cookie(headers, FLASH).and_then(|value| read_flash(&value)),
            path: path.to_owned(),
            host: text("x-forwarded-host")
                .or_else(|| text("host"))
                .unwrap_or_default()
                .to_owned(),
        }
    }

    /// The name the box was asked by.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The frame of the page it is shown.
    pub fn frame(self) -> Frame {
        let mut frame = Frame::new(&self.path);
        frame.theme = self.theme;
        frame.flash = self.flash;
        frame.box_name = self.host;
        frame.form_token = self.form_token.0;
        match self.caller.grant() {
            Some(grant) => frame.read_by(self.caller.who(), &grant),
            None => frame,
        }
    }
}

fn read_flash(value: &str) -> Option<Flash> {
    let (tone, text) = value.split_once('.')?;
    Some(Flash {
        tone: match tone {
            "ok" => Tone::Ok,
            "warn" => Tone::Warn,
            _ => Tone::Bad,
        },
        text: percent_decode_str(text).decode_utf8().ok()?.into_owned(),
    })
}

/// POST, then GET: the browser is sent to `to`, where `text` answers what it did.
pub fn done(to: &str, text: &str) -> Response {
    see_flash(to, Tone::Ok, text)
}

/// The same when it did not go well.
pub fn failed(to: &str, text: &str) -> Response {
    see_flash(to, Tone::Bad, text)
}

fn see_flash(to: &str, tone: Tone, text: &str) -> Response {
    let short: String = text.chars().take(FLASH_LIMIT).collect();
    let value = format!(
        "{FLASH}={}.{}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=60",
        tone.class(),
        utf8_percent_encode(&short, NON_ALPHANUMERIC)
    );
    ([(header::SET_COOKIE, value)], super::see(to)).into_response()
}

/// [`done`] with `text`, or back to `to` with what was wrong. What is not the visitor's to mend
/// is a page of its own.
///
/// # Errors
/// Faults of ours and of what is outside.
pub fn back<T, E: Into<Failure>>(
    to: &str,
    result: Result<T, E>,
    text: &str,
) -> Result<Response, Failure> {
    match result {
        Ok(_) => Ok(done(to, text)),
        Err(error) => refused(to, error),
    }
}

/// Back to `to` with what was wrong, as [`back`] does.
///
/// # Errors
/// Faults of ours and of what is outside.
pub fn refused(to: &str, error: impl Into<Failure>) -> Result<Response, Failure> {
    let failure: Failure = error.into();
    match failure.words_for_a_form() {
        Some(words) => {
            let mut response = failed(to, &words);
            response.extensions_mut().insert(Note {
                status: Some(failure.0.status),
                detail: audit::told(&failure.0),
            });
            Ok(response)
        }
        None => Err(failure),
    }
}

/// Takes a flash away once a page has shown it.
pub async fn forget_flash(request: Request, next: Next) -> Response {
    let shown = request.method() == Method::GET
        && !request.headers().contains_key("x-refresh")
        && cookie(request.headers(), FLASH).is_some();
    let mut response = next.run(request).await;
    let is_page = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|v| v.as_bytes().starts_with(b"text/html"));
    if shown && is_page {
        response.headers_mut().append(
            header::SET_COOKIE,
            HeaderValue::from_static(
                "__Host-freehold-flash=; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0",
            ),
        );
    }
    response
}

/// The theme form.
#[derive(Deserialize)]
pub struct Choice {
    theme: String,
    back: String,
}

/// `POST /theme`
pub async fn theme(Form(choice): Form<Choice>) -> Response {
    let value = format!(
        "{THEME}={}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=31536000",
        Theme::parse(&choice.theme).as_str()
    );
    (
        [(header::SET_COOKIE, value)],
        super::see(own_path(&choice.back)),
    )
        .into_response()
}

/// A path on this host and nothing else: no redirect leaves.
fn own_path(text: &str) -> &str {
    let inside = text.starts_with('/')
        && !text.starts_with("//")
        && !text.contains(['\\', '\r', '\n', '\t']);
    if inside { text } else { "/" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f10_a_redirect_stays_on_this_host() {
        assert_eq!(own_path("/apps/shop"), "/apps/shop");
        for outside in [
            "https://evil.example/",
            "//evil.example",
            "/\\evil.example",
            "",
            "/a\nb",
        ] {
            assert_eq!(own_path(outside), "/", "{outside}");
        }
    }

    #[test]
    fn f10_a_flash_survives_its_cookie() {
        let text = "release v12; “live” = 100 %\n<b>";
        let answer = done("/", text);
        let value = answer.headers()[header::SET_COOKIE]
            .to_str()
            .unwrap()
            .to_owned();
        let (_, value) = value.split(';').next().unwrap().split_once('=').unwrap();
        let flash = read_flash(value).unwrap();
        assert_eq!((flash.tone, flash.text.as_str()), (Tone::Ok, text));
    }
}
