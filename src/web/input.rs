//! A request's JSON, or a sentence on what is wrong with it.

use axum::Json;
use axum::extract::{FromRequest, Request};
use serde::de::DeserializeOwned;

use super::error::Failure;
use super::services::App;
use crate::wire::problem::{Problem, ProblemKind};

/// The body as `T`. An empty body reads as `{}`.
pub struct Input<T>(pub T);

impl<T: DeserializeOwned> FromRequest<App> for Input<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, app: &App) -> Result<Self, Failure> {
        let none = request
            .headers()
            .get(http::header::CONTENT_LENGTH)
            .is_some_and(|v| v == "0");
        if none && let Ok(value) = serde_json::from_str("{}") {
            return Ok(Self(value));
        }
        match Json::<T>::from_request(request, app).await {
            Ok(Json(value)) => Ok(Self(value)),
            Err(rejection) => {
                let kind = match rejection.status().as_u16() {
                    413 => ProblemKind::TooLarge,
                    _ => ProblemKind::Invalid,
                };
                Err(Problem::new(kind, rejection.body_text())
                    .remedy("Send JSON with Content-Type: application/json.")
                    .into())
            }
        }
    }
}

/// A number in a path; what is none names nothing.
pub fn number(text: &str, what: &str) -> Result<i64, Failure> {
    text.parse().map_err(|_| {
        let shown: String = text.chars().take(40).collect();
        Failure::new(
            ProblemKind::NotFound,
            format!("\"{shown}\" is not the number of a {what}"),
        )
    })
}
