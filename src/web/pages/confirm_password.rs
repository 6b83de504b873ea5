//! `/confirm-password`: the password again, before something dangerous.

use askama::Template;
use axum::Form;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::frame::{Frame, Theme};
use super::parts::Field;
use super::visit::{self, Visit};
use crate::base::secret::Secret;
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

/// The page, with what was wrong with the last try.
pub fn view(visit: Visit, to: &str, again: bool, fault: String) -> View {
    let user = match &visit.caller {
        Caller::User { name, .. } => name.clone(),
        _ => String::new(),
    };
    let mut frame = visit.frame();
    "Your password again".clone_into(&mut frame.title);
    View {
        frame,
        user,
        to: way_back(to).to_owned(),
        again,
        fields: vec![Field::password("password", "Password", "current-password").fault(fault)],
    }
}

/// `GET /confirm-password`
pub async fn show(visit: Visit, Query(way): Query<Way>) -> Response {
    if !matches!(visit.caller, Caller::User { .. }) {
        return super::see(way_back(&way.to));
    }
    super::render(&view(visit, &way.to, way.again(), String::new()))
}

/// The form's fields.
#[derive(Deserialize)]
pub struct Fields {
    password: Secret,
    #[serde(flatten)]
    way: Way,
}

/// `POST /confirm-password`
pub async fn submit(
    State(app): State<App>,
    visit: Visit,
    headers: HeaderMap,
    Form(fields): Form<Fields>,
) -> Result<Response, Failure> {
    let way = fields.way;
    match confirm::take(&app, &visit.caller, &headers, fields.password).await {
        Ok(session) => {
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
            let page = view(visit, &way.to, way.again(), failure.0.detail);
            Ok((status, super::render(&page)).into_response())
        }
    }
}
