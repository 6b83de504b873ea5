//! `/confirm-password`: the password again, before something dangerous.

use askama::Template;
use axum::Form;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::frame::{Frame, Theme};
use super::parts::Field;
use super::second_factor::code_field;
use super::visit::{self, Visit};
use crate::base::secret::Secret;
use crate::users::Proof;
use crate::web::audit::Telling;
use crate::web::caller::Caller;
use crate::web::confirm::{self, way_back};
use crate::web::error::Failure;
use crate::web::services::App;
use crate::wire::problem::ProblemKind;

/// The page.
#[derive(Clone, Debug, Template)]
#[template(path = "confirm_password.html")]
pub struct View {
    /// What stands around it.
    pub frame: Frame,
    /// Who is signed in.
    pub user: String,
    /// Where to go on, a page of our own.
    pub to: String,
    /// Whether something was asked for that has to be asked for again.
    pub again: bool,
    /// The password.
    pub fields: Vec<Field>,
}

/// Where to go on.
#[derive(Deserialize)]
pub struct Way {
    #[serde(default)]
    to: String,
    #[serde(default)]
    again: String,
}

impl Way {
    fn again(&self) -> bool {
        !self.again.is_empty()
    }
}

/// The page, with what was wrong with the last try; `code` where one is asked for too.
pub fn view(visit: Visit, to: &str, again: bool, code: bool, fault: String) -> View {
    let user = match &visit.caller {
        Caller::User { name, .. } => name.clone(),
        _ => String::new(),
    };
    let mut frame = visit.frame();
    "Your password again".clone_into(&mut frame.title);
    let mut fields = vec![Field::password("password", "Password", "current-password").fault(fault)];
    if code {
        fields.push(code_field(String::new()));
    }
    View {
        frame,
        user,
        to: way_back(to).to_owned(),
        again,
        fields,
    }
}

/// `GET /confirm-password`
pub async fn show(
    State(app): State<App>,
    visit: Visit,
    Query(way): Query<Way>,
) -> Result<Response, Failure> {
    if !matches!(visit.caller, Caller::User { .. }) {
        return Ok(super::see(way_back(&way.to)));
    }
    let code = asks_for_code(&app, &visit.caller).await?;
    Ok(super::render(&view(
        visit,
        &way.to,
        way.again(),
        code,
        String::new(),
    )))
}

/// Whether this account has a second factor.
pub async fn asks_for_code(app: &App, caller: &Caller) -> Result<bool, Failure> {
    Ok(match caller {
        Caller::User { id, .. } => app.users.second_factor(*id).await?.active.is_some(),
        _ => false,
    })
}

/// The form's fields.
#[derive(Deserialize)]
pub struct Fields {
    password: Secret,
    #[serde(default)]
    code: String,
    #[serde(flatten)]
    way: Way,
}

/// `POST /confirm-password`
pub async fn submit(
    State(app): State<App>,
    visit: Visit,
    headers: HeaderMap,
    telling: Telling,
    Form(fields): Form<Fields>,
) -> Result<Response, Failure> {
    let way = fields.way;
    let proof = Proof {
        password: fields.password,
        code: fields.code,
    };
    match confirm::take(&app, &visit.caller, &headers, proof).await {
        Ok(session) => {
            telling.session(&session);
            let to = way_back(&way.to);
            let answer = match way.again() {
                true => visit::done(
                    to,
                    "Your password counts for ten minutes. Nothing was changed yet: do it again now.",
                ),
                false => super::see(to),
            };
            Ok(super::with_session(answer, &session))
        }
        Err(failure) => {
            let status = match failure.0.kind {
                ProblemKind::SignIn => StatusCode::UNAUTHORIZED,
                ProblemKind::SlowDown => StatusCode::TOO_MANY_REQUESTS,
                _ => return Err(failure),
            };
            let code = asks_for_code(&app, &visit.caller).await?;
            let page = view(visit, &way.to, way.again(), code, failure.0.detail);
            Ok((status, super::render(&page)).into_response())
        }
    }
}
