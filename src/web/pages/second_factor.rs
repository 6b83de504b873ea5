//! `/account/second-factor`: an authenticator put in, taken out, and recovery codes.

use askama::Template;
use axum::Form;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::frame::{Frame, Section, Theme};
use super::parts::{Field, When};
use super::qr::Qr;
use super::visit::{self, Visit};
use crate::base::clock::UnixMs;
use crate::base::secret::Secret;
use crate::users::UserError;
use crate::web::auth;
use crate::web::caller::Caller;
use crate::web::error::Failure;
use crate::web::services::App;

const PAGE: &str = "/account/second-factor";

/// The page.
#[derive(Clone, Debug, Template)]
#[template(path = "second_factor.html")]
pub struct View {
    /// What stands around it.
    pub frame: Frame,
    /// Since when codes are asked for.
    pub active: Option<When>,
    /// Recovery codes not used yet.
    pub codes_left: u32,
    /// The key to put into an authenticator.
    pub offer: Option<Offered>,
    /// The first code.
    pub code: Field,
    /// Recovery codes just made; shown this once.
    pub codes: Vec<Secret>,
}

/// A key to put in.
#[derive(Clone, Debug)]
pub struct Offered {
    /// To be read by a camera.
    pub qr: Option<Qr>,
    /// To be typed, in groups of four.
    pub key: Vec<String>,
    /// To be opened on the same device.
    pub url: Secret,
}

/// The field for a code.
pub fn code_field(fault: impl Into<String>) -> Field {
    let mut field = Field::code("code", "Code")
        .needed()
        .hint("Six digits from your authenticator, or a recovery code.")
        .fault(fault);
    field.autocomplete = "one-time-code";
    field
}

fn nobody() -> Response {
    visit::failed(
        "/account",
        "Only somebody who signed in has a second factor; nobody is signed in with this page. On the box, freehold user reset NAME makes a link that turns theirs off.",
    )
}

async fn page(
    app: &App,
    visit: Visit,
    user: i64,
    fault: String,
    codes: Vec<Secret>,
) -> Result<Response, Failure> {
    let now = UnixMs::now();
    let standing = app.users.second_factor(user).await?;
    let issuer = format!("Freehold {}", visit.host());
    let offer = app.users.offered_second_factor(user, &issuer, now).await?;
    let groups = |key: &str| {
        let letters: Vec<char> = key.chars().collect();
        letters.chunks(4).map(|c| c.iter().collect()).collect()
    };
    Ok(super::render(&View {
        frame: visit
            .frame()
            .titled("Second factor", Section::Account)
            .under("/account", "Account"),
        active: standing.active.map(|at| When::ago(at, now)),
        codes_left: standing.codes_left,
        offer: offer.map(|offer| Offered {
            qr: Qr::new(
                offer.url.expose(),
                "QR code of the key, for an authenticator",
            ),
            key: groups(offer.key.expose()),
            url: offer.url,
        }),
        code: code_field(fault),
        codes,
    }))
}

/// `GET /account/second-factor`
pub async fn show(State(app): State<App>, visit: Visit) -> Result<Response, Failure> {
    let Caller::User { id, .. } = visit.caller else {
        return Ok(nobody());
    };
    page(&app, visit, id, String::new(), Vec::new()).await
}

/// `POST /account/second-factor`: makes a key to put in.
pub async fn begin(State(app): State<App>, visit: Visit) -> Result<Response, Failure> {
    let Caller::User { id, .. } = visit.caller else {
        return Ok(nobody());
    };
    match app.users.offer_second_factor(id, UnixMs::now()).await {
        Ok(()) => Ok(super::see(PAGE)),
        Err(error) => visit::refused(PAGE, error),
    }
}

/// A code.
#[derive(Deserialize)]
pub struct Given {
    code: String,
}

/// `POST /account/second-factor/confirm`: the page with the recovery codes on it, this once.
pub async fn confirm(
    State(app): State<App>,
    visit: Visit,
    headers: HeaderMap,
    Form(given): Form<Given>,
) -> Result<Response, Failure> {
    let Caller::User { id, token, .. } = visit.caller.clone() else {
        return Ok(nobody());
    };
    let from = auth::origin(&headers);
    let done = app
        .users
        .activate_second_factor((id, &token), &given.code, &from, UnixMs::now())
        .await;
    match done {
        Ok(codes) => page(&app, visit, id, String::new(), codes).await,
        Err(error @ (UserError::WrongCode | UserError::SlowDown(_))) => {
            let page = page(&app, visit, id, error.to_string(), Vec::new()).await?;
            Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response())
        }
        Err(error) => visit::refused(PAGE, error),
    }
}

/// `POST /account/second-factor/codes`: the page with new recovery codes on it, this once.
pub async fn codes(State(app): State<App>, visit: Visit) -> Result<Response, Failure> {
    let Caller::User { id, .. } = visit.caller else {
        return Ok(nobody());
    };
    match app.users.new_recovery_codes(id, UnixMs::now()).await {
        Ok(codes) => page(&app, visit, id, String::new(), codes).await,
        Err(error) => visit::refused(PAGE, error),
    }
}

/// `POST /account/second-factor/off`
pub async fn off(State(app): State<App>, visit: Visit) -> Result<Response, Failure> {
    let Caller::User { name, .. } = &visit.caller else {
        return Ok(nobody());
    };
    let off = app
        .users
        .remove_second_factor(name, visit.caller.by(), UnixMs::now())
        .await;
    visit::back(
        PAGE,
        off,
        "Your second factor is off: the password alone signs in.",
    )
}
