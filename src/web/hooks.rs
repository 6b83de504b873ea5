//! `POST /hooks/<app>`: what git hosts tell. Answered at once; the work is queued.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;

use super::error::Failure;
use super::services::App;
use crate::base::clock::UnixMs;
use crate::deploy::Incoming;
use crate::deploy::hooks::LARGEST_BODY;
use crate::wire::deploys::HookAnswer;
use crate::wire::problem::{Problem, ProblemKind};

/// Read and dropped of a body that is too large, so that its sender hears the answer.
const LARGEST_DROPPED: usize = 64 << 20;

/// `POST /hooks/{app}`
pub async fn take(
    State(app): State<App>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, Failure> {
    let row = app.apps.find(&name).await?;
    let (head, body) = request.into_parts();
    let body = read(body).await?;
    let header = |name: &str| {
        let value = head.headers.get(name)?;
        value.to_str().ok().map(str::to_owned)
    };
    let incoming = Incoming {
        app: row.id,
        header: &header,
        body: body.as_deref(),
    };
    let answer = app.deploys.take_hook(incoming, UnixMs::now()).await?;
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if status.is_success() {
        let said = HookAnswer {
            reason: answer.reason,
            deploy: answer.deploy,
        };
        return Ok((status, Json(said)).into_response());
    }
    let kind = match answer.status {
        401 => ProblemKind::SignIn,
        413 => ProblemKind::TooLarge,
        _ => ProblemKind::Invalid,
    };
    let mut response = Failure::from(Problem::new(kind, answer.reason)).into_response();
    *response.status_mut() = status;
    Ok(response)
}

/// The whole body; `None` when it is too large.
async fn read(mut body: Body) -> Result<Option<Vec<u8>>, Failure> {
    let mut kept = Vec::new();
    let mut size = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| {
            Failure::new(ProblemKind::Invalid, "the event broke off before its end")
        })?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        size += data.len();
        if size > LARGEST_DROPPED {
            break;
        }
        match size > LARGEST_BODY {
            true => kept.clear(),
            false => kept.extend_from_slice(&data),
        }
    }
    Ok((size <= LARGEST_BODY).then_some(kept))
}
