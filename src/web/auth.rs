//! Who is this, and may they: decided before a handler runs.

use axum::extract::{Extension, RawPathParams, Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};

use super::access::{self, Needs, Verdict};
use super::caller::Caller;
use super::confirm;
use super::error::{Failure, wants_page};
use super::services::App;
use super::standing::{Credential, Standing};
use crate::apps::AppError;
use crate::base::clock::UnixMs;
use crate::base::secret::Secret;
use crate::wire::problem::{Problem, ProblemKind};

/// The session cookie; the prefix makes browsers insist on Secure, Path=/ and no Domain.
pub const COOKIE: &str = "__Host-freehold";

/// The cookie by which an account knows a browser; it lets nobody in.
pub const DEVICE: &str = "__Host-freehold-device";

/// The cookie between the password and the code; it gives no access.
pub const HALF: &str = "__Host-freehold-half";

/// The value of our cookie in a request, if there is one.
pub fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value.to_owned())
}

/// The token of a program: `Authorization: Bearer …` (RFC 6750).
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then_some(token.trim())
}

/// Replaces the connection's caller by the session's user, or by the program whose token it is.
/// On `freehold.sock` the kernel has already said who it is; cookies and tokens mean nothing.
pub async fn identify(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let local = matches!(
        request.extensions().get::<Caller>(),
        Some(Caller::Local { .. })
    );
    if !local {
        let caller = match bearer(request.headers()) {
            Some(token) => of_token(&app, token).await,
            None => of_session(&app, request.headers()).await,
        };
        match caller {
            Ok(caller) => {
                if let Some(credential) = credential(request.headers()) {
                    request.extensions_mut().insert(credential);
                }
                request.extensions_mut().insert(caller)
            }
            Err(failure) => {
                let mark = bearer(request.headers()).and_then(crate::users::mark);
                if let Some(intent) = super::audit::meant(&request, mark) {
                    super::audit::bad_token(&app, intent).await;
                }
                return failure.into_response();
            }
        };
    }
    next.run(request).await
}

/// What a caller comes in with; it is worth what [`identify`] finds behind it.
fn credential(headers: &HeaderMap) -> Option<Credential> {
    match bearer(headers) {
        Some(token) => Some(Credential::Token(Secret::new(token))),
        None => cookie(headers, COOKIE).map(|token| Credential::Session(Secret::new(token))),
    }
}

async fn of_token(app: &App, token: &str) -> Result<Caller, Failure> {
    match app.users.program(token, UnixMs::now()).await? {
        Some(program) => Ok(Caller::Program {
            id: program.id,
            name: program.name,
            user: program.user,
            grant: program.grant,
        }),
        None => Err(Problem::new(ProblemKind::SignIn, "this token is not valid, or has ended")
            .remedy("Make a new one on your account's page, or on the box with `freehold token add`.")
            .into()),
    }
}

async fn of_session(app: &App, headers: &HeaderMap) -> Result<Caller, Failure> {
    let Some(token) = cookie(headers, COOKIE) else {
        return Ok(Caller::Nobody);
    };
    let session = app.users.session(&token, UnixMs::now()).await?;
    Ok(match session {
        Some(session) => Caller::User {
            id: session.user,
            name: session.name,
            grant: session.grant,
            token,
            confirmed: session.confirmed,
        },
        None => Caller::Nobody,
    })
}

/// Lets a caller through who has what the route needs, and gave their password just now where it
/// is `sudo`. What they open and keep open ends when they may no longer have it.
pub async fn guard(
    services: App,
    (needs, sudo): (Needs, bool),
    Extension(caller): Extension<Caller>,
    params: RawPathParams,
    mut request: Request,
    next: Next,
) -> Response {
    let app = params.iter().find(|(key, _)| *key == "app");
    let app = app.map(|(_, value)| value);
    match access::decide(needs, &caller, app) {
        Verdict::Yes if sudo && access::must_confirm(&caller, UnixMs::now()) => {
            confirm::first(&request)
        }
        Verdict::Yes => {
            let credential = request.extensions().get::<Credential>().cloned();
            let standing =
                credential.and_then(|c| Standing::new(services, (needs, app), &caller, c));
            let Some(standing) = standing else {
                return next.run(request).await;
            };
            request.extensions_mut().insert(standing.clone());
            standing.over(next.run(request).await)
        }
        Verdict::SignIn => sign_in(&request),
        Verdict::Hidden => {
            Failure::from(AppError::NotFound(app.unwrap_or_default().to_owned())).into_response()
        }
        Verdict::No => Failure::from(
            Problem::new(ProblemKind::Forbidden, "you may not do this")
                .remedy(access::remedy(needs, &caller)),
        )
        .into_response(),
    }
}

/// The answer to a stranger: a page asks to sign in, the API says so.
pub fn sign_in(request: &Request) -> Response {
    if wants_page(request.headers()) && !request.uri().path().starts_with("/api/") {
        return Redirect::to("/sign-in").into_response();
    }
    Failure::from(
        Problem::new(ProblemKind::SignIn, "nobody is signed in")
            .remedy("Sign in at /sign-in, or use the freehold command on the box."),
    )
    .into_response()
}

/// Where a request comes from, by the field in which the edge names the client alone, whatever stands between.
pub fn origin(headers: &HeaderMap) -> crate::users::Origin {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    crate::users::Origin {
        address: text("x-real-ip").and_then(|v| v.parse().ok()),
        agent: text("user-agent").unwrap_or_default().to_owned(),
        device: cookie(headers, DEVICE).map(Secret::new),
        host: text("x-forwarded-host")
            .or_else(|| text("host"))
            .unwrap_or_default()
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(fields: &[(&'static str, &str)]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        origin(&headers).address.map(|address| address.to_string())
    }

    #[test]
    fn e2_the_client_is_whom_the_edge_names_alone() {
        let between = ("x-forwarded-for", "192.0.2.1, 198.51.100.7");
        for (fields, client) in [
            (
                &[("x-real-ip", "192.0.2.1"), between][..],
                Some("192.0.2.1"),
            ),
            (&[("x-real-ip", "2001:db8::1")], Some("2001:db8::1")),
            // Not from the edge: nobody's word.
            (&[between], None),
            (&[("x-real-ip", "192.0.2.1, 192.0.2.2")], None),
            (&[], None),
        ] {
            assert_eq!(address(fields).as_deref(), client, "{fields:?}");
        }
    }
}
