//! What API handlers answer beyond JSON with 200: each status a type, so that the
//! description of an operation and what it does are one thing.

use std::marker::PhantomData;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::pages;
use crate::base::secret::Secret;
use crate::wire::jobs::{Job, WithJob};
use crate::wire::listing::Listing;

/// 201: it is there now.
pub struct Created<T>(pub T);

impl<T: Serialize> IntoResponse for Created<T> {
    fn into_response(self) -> Response {
        (StatusCode::CREATED, Json(self.0)).into_response()
    }
}

/// 202: the work was written down and follows.
pub struct Accepted<T>(WithJob<T>);

impl<T> Accepted<T> {
    /// Answers with `what`; `job` is the work that brings it.
    pub fn new(what: T, job: Option<Job>) -> Self {
        Self(WithJob { what, job })
    }
}

impl<T: Serialize> IntoResponse for Accepted<T> {
    fn into_response(self) -> Response {
        let place = self.0.job.as_ref();
        let place = place.map(|job| format!("/api/v1/jobs/{}", job.id));
        let mut response = (StatusCode::ACCEPTED, Json(self.0)).into_response();
        if let Some(place) = place.and_then(|p| HeaderValue::from_str(&p).ok()) {
            response.headers_mut().insert(header::LOCATION, place);
        }
        response
    }
}

/// 202 with the job when what was asked for begins long work; 200 when all of it is done.
pub struct AcceptedIf<T>(WithJob<T>);

impl<T> AcceptedIf<T> {
    /// Answers with `what`; `job` is the work that brings it, if there is any.
    pub fn new(what: T, job: Option<Job>) -> Self {
        Self(WithJob { what, job })
    }
}

impl<T: Serialize> IntoResponse for AcceptedIf<T> {
    fn into_response(self) -> Response {
        match self.0.job {
            Some(_) => Accepted(self.0).into_response(),
            None => Json(self.0).into_response(),
        }
    }
}

/// 200, and the session goes on under another cookie.
pub struct Renewed<T> {
    /// What is answered.
    pub body: T,
    /// The cookie's value.
    pub session: Secret,
}

impl<T: Serialize> IntoResponse for Renewed<T> {
    fn into_response(self) -> Response {
        pages::with_session(Json(self.body).into_response(), &self.session)
    }
}

/// 204: done, and nothing to say.
pub struct NoContent;

impl IntoResponse for NoContent {
    fn into_response(self) -> Response {
        StatusCode::NO_CONTENT.into_response()
    }
}

/// A part of a list, with 200.
pub struct Listed<T>(pub Listing<T>);

impl<T: Serialize> IntoResponse for Listed<T> {
    fn into_response(self) -> Response {
        Json(self.0).into_response()
    }
}

/// A list that is told whole, with 200: it is one thing, and tagged as one.
pub struct ListedWhole<T>(pub Listing<T>);

impl<T: Serialize> IntoResponse for ListedWhole<T> {
    fn into_response(self) -> Response {
        Json(self.0).into_response()
    }
}

/// An answer that is no JSON, of a described kind.
pub struct As<K>(Response, PhantomData<K>);

impl<K> As<K> {
    /// `response` is what `K` describes.
    pub fn new(response: impl IntoResponse) -> Self {
        Self(response.into_response(), PhantomData)
    }
}

impl<K> IntoResponse for As<K> {
    fn into_response(self) -> Response {
        self.0
    }
}

/// Newline-delimited JSON, each line a `T`.
pub struct Lines<T>(PhantomData<T>);
/// A deploy's log: newline-delimited JSON, plain text or server-sent events.
pub struct DeployLog;
/// An upgraded connection: `wire::terminal`'s frames.
pub struct Terminal;
/// A dump as `pg_dump` wrote it.
pub struct Dump;
/// A certificate.
pub struct Pem;
/// The description of this API.
pub struct Description;
