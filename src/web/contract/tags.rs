//! Strong tags of what one GET shows: `If-None-Match` answers 304, `If-Match` changes a
//! thing only when it is still as its reader saw it.
//!
//! A tag is three hashes: of what is set, of which release serves, and of every byte. The whole of it says
//! whether an answer is the same; for `If-Match` the first is enough, so that a reading (memory in use, when a
//! token was last used) that moves by itself refuses nobody's change. What starts or ends a release is held
//! against the second too, a deploy under way included: going back from a release that somebody else has gone back from already leads on to it.
//! Between the comparison and the change no other change of the same thing comes:
//! `turns` sees to that.

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use tower::ServiceExt as _;

use super::Compared;
use crate::base::secret::sha256_hex;
use crate::web::caller::Caller;
use crate::web::error::Failure;
use crate::wire::problem::{Problem, ProblemKind};

/// Fields that are measured or happen by themselves, wherever they stand.
const READINGS: &[&str] = &[
    "app_file",
    "asked_ms",
    "certificate",
    "checked_ms",
    "day",
    "day_share",
    "inside",
    "last_deploy",
    "millis",
    "month_share",
    "next_backup_ms",
    "not_after_ms",
    "pending",
    "release",
    "replicas",
    "seen_ms",
    "silent",
    "state",
    "usage",
    "used_ms",
    "words",
];
/// Whose keys are names that somebody chose, and none of them a reading.
const NAMED_FREELY: &[&str] = &["policies", "scale"];
/// The largest answer that is tagged; one that is larger goes without.
const LARGEST: usize = 8 << 20;

/// Tags what a GET shows as JSON, and answers 304 to a reader who has it.
pub async fn tag(request: Request, next: Next) -> Response {
    let known = text(request.headers(), header::IF_NONE_MATCH);
    let response = next.run(request).await;
    if response.status() != StatusCode::OK {
        return response;
    }
    let (mut head, body) = response.into_parts();
    let Ok(bytes) = to_bytes(body, LARGEST).await else {
        return Failure::new(
            ProblemKind::Internal,
            "the answer could not be put together",
        )
        .into_response();
    };
    let tag = tag_of(&bytes);
    if let Ok(value) = HeaderValue::from_str(&tag) {
        head.headers.insert(header::ETAG, value);
    }
    if known.is_some_and(|known| names(&known, &tag)) {
        head.status = StatusCode::NOT_MODIFIED;
        head.headers.remove(header::CONTENT_TYPE);
        head.headers.remove(header::CONTENT_LENGTH);
        return Response::from_parts(head, Body::empty());
    }
    Response::from_parts(head, Body::from(bytes))
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<String> {
    let all = headers.get_all(name).iter();
    let all: Vec<&str> = all.filter_map(|v| v.to_str().ok()).collect();
    (!all.is_empty()).then(|| all.join(","))
}

fn tag_of(bytes: &[u8]) -> String {
    let whole = sha256_hex(bytes);
    let (set, serving) = match serde_json::from_slice::<Value>(bytes) {
        Ok(mut value) => {
            let serving = serving(&value);
            strip(&mut value);
            (sha256_hex(value.to_string().as_bytes()), serving)
        }
        Err(_) => (whole.clone(), whole.clone()),
    };
    let short = |hash: &str| hash.get(..24).unwrap_or_default().to_owned();
    format!("\"{}.{}.{}\"", short(&set), short(&serving), short(&whole))
}

/// Which release of an app is live, whether another is on its way, and whether it is stopped; how its replicas
/// fare meanwhile is a reading.
fn serving(app: &Value) -> String {
    const OVER: &[&str] = &[
        "cancelled",
        "failed",
        "live",
        "returned",
        "superseded",
        "watching",
    ];
    let stopped = app["state"] == "stopped";
    let newest = app["last_deploy"].as_str();
    let on_its_way = newest.is_some_and(|state| !OVER.contains(&state));
    sha256_hex(format!("{} {on_its_way} {stopped}", app["release"]).as_bytes())
}

fn strip(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| !READINGS.contains(&name.as_str()));
            let set = fields.iter_mut();
            let set = set.filter(|(name, _)| !NAMED_FREELY.contains(&name.as_str()));
            set.for_each(|(_, value)| strip(value));
        }
        Value::Array(all) => all.iter_mut().for_each(strip),
        _ => {}
    }
}

/// Whether a header's list names the tag; a weak one is as good for reading.
fn names(list: &str, tag: &str) -> bool {
    let mut all = list.split(',').map(str::trim);
    all.any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag)
}

/// Whether a header's list names what is set now, in the tag's first `parts`; a weak tag names nothing.
fn still(list: &str, tag: &str, parts: usize) -> bool {
    let held = |tag: &str| {
        let all: Vec<&str> = tag.split('.').take(parts).collect();
        (all.len() == parts && tag.split('.').count() == 3).then(|| all.join("."))
    };
    let mut all = list.split(',').map(str::trim);
    all.any(|one| {
        one == "*" || (one.starts_with('"') && held(one).is_some() && held(one) == held(tag))
    })
}

/// What addresses show.
#[derive(Clone, Default)]
pub struct Shown {
    /// Every row, once the table is whole: asked as the same caller.
    rows: Arc<OnceLock<Router>>,
}

impl Shown {
    /// These are the rows.
    pub fn by(&self, rows: Router) {
        self.rows.get_or_init(|| rows);
    }
}

/// Lets a change with `If-Match` through when what its address, or the one above it, shows is still so.
pub async fn unless_changed(
    (shown, compared): (Shown, Compared),
    request: Request,
    next: Next,
) -> Response {
    let Some(wanted) = text(request.headers(), header::IF_MATCH) else {
        return next.run(request).await;
    };
    let Some(rows) = shown.rows.get().cloned() else {
        return Failure::new(ProblemKind::Internal, "nothing is served yet").into_response();
    };
    let mut look = Request::new(Body::empty());
    let path = request.uri().path();
    let path = match compared {
        Compared::Above | Compared::AboveAndServing => {
            path.rsplit_once('/').map_or("/", |(above, _)| above)
        }
        Compared::Own | Compared::Nothing => path,
    };
    let path: http::Uri = match path.parse() {
        Ok(path) => path,
        Err(_) => return next.run(request).await,
    };
    *look.uri_mut() = path;
    if let Some(caller) = request.extensions().get::<Caller>() {
        look.extensions_mut().insert(caller.clone());
    }
    let answer = match rows.oneshot(look).await {
        Ok(answer) => answer,
        Err(never) => match never {},
    };
    let now = text(answer.headers(), header::ETAG);
    let parts = match compared {
        Compared::AboveAndServing => 2,
        Compared::Own | Compared::Above | Compared::Nothing => 1,
    };
    if now.is_some_and(|now| still(&wanted, &now, parts)) {
        return next.run(request).await;
    }
    Failure::from(
        Problem::new(
            ProblemKind::Changed,
            "it is no longer as If-Match says, so nothing was changed",
        )
        .remedy("Read it again, and send the change with its new ETag."),
    )
    .into_response()
}

/// Refuses a change with `If-Match` where nothing is tagged: who asks for care must not be done without it.
pub async fn refuse_condition(request: Request, next: Next) -> Response {
    if !request.headers().contains_key(header::IF_MATCH) {
        return next.run(request).await;
    }
    Failure::from(
        Problem::new(
            ProblemKind::Invalid,
            "this address has no ETag, so If-Match cannot be held against it",
        )
        .remedy("Send the change without If-Match."),
    )
    .into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a1_a_tag_tells_every_change_and_what_is_set_from_what_is_measured() {
        let one = tag_of(br#"{"name":"shop","usage":{"memory":1}}"#);
        let measured = tag_of(br#"{"name":"shop","usage":{"memory":2}}"#);
        let changed = tag_of(br#"{"name":"blog","usage":{"memory":1}}"#);
        assert_ne!(one, measured);
        assert!(names(&one, &one) && !names(&one, &measured));
        assert!(names(&format!("\"x\", W/{one}"), &one) && names("*", &one));
        assert!(still(&one, &measured, 1) && !still(&one, &changed, 1));
        assert!(
            !still(&format!("W/{one}"), &one, 1),
            "weak tags change nothing"
        );
        assert!(!still("\"x\"", &one, 1) && still("*", &one, 1));
        let scaled =
            |n: u32| tag_of(format!(r#"{{"scale":{{"state":{{"min":{n}}}}}}}"#).as_bytes());
        assert!(!still(&scaled(1), &scaled(2), 1), "a process of any name");
        let header = |value: &str| {
            tag_of(
                format!(r#"{{"policies":{{"set":{{"state":"{value}"}}}},"words":[]}}"#).as_bytes(),
            )
        };
        assert!(
            !still(&header("a"), &header("b"), 1),
            "a header of any name"
        );
    }

    #[test]
    fn a1_what_starts_or_ends_a_release_is_held_against_the_one_that_serves() {
        let app = |release: u32, state: &str| {
            tag_of(format!(r#"{{"name":"shop","release":{release},"state":"{state}"}}"#).as_bytes())
        };
        let seen = app(5, "running");
        for (now, edited, rolled_back) in [
            (app(5, "running"), true, true),
            (app(5, "failing"), true, true),
            (app(4, "running"), true, false),
            (app(5, "stopped"), true, false),
            (
                tag_of(br#"{"name":"shop","release":5,"state":"running","last_deploy":"queued"}"#),
                true,
                false,
            ),
        ] {
            assert_eq!(still(&seen, &now, 1), edited, "{now}");
            assert_eq!(still(&seen, &now, 2), rolled_back, "{now}");
        }
    }
}
