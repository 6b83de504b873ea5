//! `POST /hooks/<app>`: what git hosts tell. Answered at once; the work is queued.

use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};

use super::audit::Note;
use super::error::Failure;
use super::hook_body::{self, Read};
use super::services::App;
use crate::apps::AppError;
use crate::base::clock::UnixMs;
use crate::deploy::{Incoming, answer_for_no_app};
use crate::wire::deploys::HookAnswer;
use crate::wire::problem::{Problem, ProblemKind};

/// `POST /hooks/{app}`
pub async fn take(
    State(app): State<App>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, Failure> {
    // An app that is not there answers as one whose secret is not known.
    let row = match app.apps.find(&name).await {
        Ok(row) => Some(row),
        Err(AppError::NotFound(_) | AppError::Invalid(_)) => None,
        Err(error) => return Err(error.into()),
    };
    let (head, body) = request.into_parts();
    // The room that the body takes is given back when it is dealt with.
    let (body, _room) = match hook_body::read(&app.hook_room, body).await {
        Read::Whole(body, room) => (Some(body), room),
        Read::TooLarge => (None, Vec::new()),
        Read::Busy => return Ok(busy()),
        Read::Late => {
            return Ok(answer(
                StatusCode::REQUEST_TIMEOUT,
                ProblemKind::Invalid,
                "the event did not come whole in time",
                "Send it again.",
            ));
        }
        Read::Broken => {
            let why = "the event broke off before its end";
            return Err(Failure::new(ProblemKind::Invalid, why));
        }
    };
    let header = |name: &str| {
        let value = head.headers.get(name)?;
        value.to_str().ok().map(str::to_owned)
    };
    let answer = match row {
        Some(row) => {
            let incoming = Incoming {
                app: row.id,
                header: &header,
                body: body.as_deref(),
            };
            app.deploys.take_hook(incoming, UnixMs::now()).await?
        }
        None => answer_for_no_app(&header, body.as_deref())
            .map_err(|e| Failure::new(ProblemKind::Internal, e.to_string()))?,
    };
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if status.is_success() {
        let said = HookAnswer {
            reason: answer.reason,
            deploy: answer.deploy,
        };
        let note = Note {
            status: None,
            detail: said.reason.clone(),
        };
        return Ok((status, Extension(note), Json(said)).into_response());
    }
    let kind = match answer.status {
        401 => ProblemKind::SignIn,
        413 => ProblemKind::TooLarge,
        _ => ProblemKind::Invalid,
    };
    let mut problem = Problem::new(kind, answer.reason);
    if answer.status == 401 {
        problem = problem.remedy(
            "`freehold app webhook NAME` shows the address and the secret that the git host needs.",
        );
    }
    let mut response = Failure::from(problem).into_response();
    *response.status_mut() = status;
    Ok(response)
}

/// A git host reads the status and may send the event again.
fn answer(status: StatusCode, kind: ProblemKind, detail: &str, remedy: &str) -> Response {
    let mut response = Failure::from(Problem::new(kind, detail).remedy(remedy)).into_response();
    *response.status_mut() = status;
    response
}

fn busy() -> Response {
    let mut response = answer(
        StatusCode::SERVICE_UNAVAILABLE,
        ProblemKind::Unavailable,
        "too many events are being received at once",
        "Send it again in a few seconds.",
    );
    let seconds = HeaderValue::from_static("5");
    response.headers_mut().insert(header::RETRY_AFTER, seconds);
    response
}
