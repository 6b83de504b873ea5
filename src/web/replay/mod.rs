//! A POST that can be sent again: with `Idempotency-Key`, what was answered first is
//! answered again, and nothing is made twice.
//!
//! The key is taken in a transaction before the work and its answer kept after it, so a
//! daemon that dies between the two leaves a key that is taken: who sends it again is told
//! to look whether the work was done. A request that made nothing gives its key free.
//! An answer that tells a secret is told once: of it is kept that it was given, and what was made. Answers lie sealed; keys
//! are told apart by caller and address, kept for a day, and so many of one caller at most.

mod store;

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::response::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::caller::Caller;
use super::contract::Again;
use super::error::Failure;
use super::services::App;
use crate::base::clock::UnixMs;
use crate::base::secret::hmac_sha256;
use crate::db::DbError;
use crate::wire::problem::{Problem, ProblemKind};

/// The header.
pub const HEADER: &str = "idempotency-key";
/// Says of an answer that it was given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// How long a key is kept.
const KEPT: Duration = Duration::from_secs(24 * 3_600);
/// The longest key.
const LONGEST_KEY: usize = 200;
/// The largest body a key is taken for; JSON is never larger.
const LARGEST: usize = 2 << 20;

/// Who asked for what.
#[derive(Clone, Debug)]
struct Asked {
    caller: String,
    key: String,
    route: String,
    fingerprint: String,
}

impl Asked {
    /// What its sealed answer is bound to.
    fn context(&self) -> String {
        format!("replays:{}:{}:{}", self.caller, self.route, self.key)
    }
}

/// What was answered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    #[serde(skip)]
    status: u16,
    kind: Option<String>,
    location: Option<String>,
    body: String,
    /// What was made, where the body told a secret and is not kept.
    #[serde(default)]
    made: Option<String>,
}

impl Kept {
    /// What is kept of an answer.
    fn of(head: &Parts, body: &[u8], again: Again) -> Self {
        let text = |name| {
            let value = head.headers.get(name)?;
            value.to_str().ok().map(str::to_owned)
        };
        let status = head.status.as_u16();
        match again {
            Again::SaysDone => Self {
                status,
                made: Some(made(body)),
                ..Self::default()
            },
            _ => Self {
                status,
                kind: text(header::CONTENT_TYPE),
                location: text(header::LOCATION),
                body: String::from_utf8_lossy(body).into_owned(),
                made: None,
            },
        }
    }
}

/// By what the list tells what was made, of an answer: the fields that are no secrets.
fn made(body: &[u8]) -> String {
    let answer: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let told = ["name", "mark"].iter().find_map(|f| answer[*f].as_str());
    told.map(|told| format!(" ({told})")).unwrap_or_default()
}

/// What a key stands for.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// For nothing yet; it is taken now.
    Free,
    /// For this request, whose answer is here.
    Done(Kept),
    /// For this request, which is being done, or was cut off.
    InWork,
    /// For another request.
    Other,
}

/// Who a key belongs to; nobody has none.
fn caller_of(caller: &Caller) -> Option<String> {
    match caller {
        Caller::Nobody => None,
        Caller::User { id, .. } => Some(format!("user {id}")),
        // By its row: a name may be another's tomorrow, and a row's id is given once.
        Caller::Program { id, .. } => Some(format!("token {id}")),
        Caller::Local { uid } => Some(format!("local {uid}")),
    }
}

fn problem(kind: ProblemKind, detail: &str, remedy: &str) -> Response {
    Failure::from(Problem::new(kind, detail).remedy(remedy)).into_response()
}

/// The key, if one was sent.
pub(super) fn key_of(request: &Request) -> Result<Option<String>, Failure> {
    let Some(value) = request.headers().get(HEADER) else {
        return Ok(None);
    };
    let key = value.to_str().unwrap_or_default();
    let good = (1..=LONGEST_KEY).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic());
    match good {
        true => Ok(Some(key.to_owned())),
        false => Err(Problem::new(
            ProblemKind::Invalid,
            "Idempotency-Key is not one: it has 1 to 200 visible characters",
        )
        .remedy("Send a random one, such as a UUID, and the same when you send the request again.")
        .into()),
    }
}

/// Answers a POST that was answered before as it was answered then.
pub async fn once(
    State((app, tells)): State<(App, Again)>,
    request: Request,
    next: Next,
) -> Response {
    let key = match key_of(&request) {
        Ok(Some(key)) => key,
        Ok(None) => return next.run(request).await,
        Err(refused) => return refused.into_response(),
    };
    let caller = request.extensions().get::<Caller>();
    let Some(caller) = caller.and_then(caller_of) else {
        return next.run(request).await;
    };
    let route = format!("{} {}", request.method(), request.uri().path());
    let query = request.uri().query().unwrap_or_default().to_owned();
    let (head, body) = request.into_parts();
    let (told, body) = if tells == Again::AnswersOfAStream {
        (of_a_stream(&head.headers), body)
    } else {
        let Ok(bytes) = to_bytes(body, LARGEST).await else {
            let detail = "the request could not be read: it is longer than 2 MB";
            return problem(ProblemKind::TooLarge, detail, "Send less at once.");
        };
        (bytes.clone(), Body::from(bytes))
    };
    // Under a key of the box's: a body may hold a password, of which no quick hash may lie beside the slow one.
    let own = app.key.derive("replay");
    let told = [query.as_bytes(), b"\n", &told].concat();
    let asked = Asked {
        caller,
        key,
        route,
        fingerprint: hex::encode(hmac_sha256(own.expose().as_bytes(), &told)),
    };
    match take(&app, asked.clone()).await {
        Err(error) => Failure::from(error).into_response(),
        Ok(Found::Done(kept)) if tells == Again::SaysDone => told_once(&kept),
        Ok(Found::Done(kept)) => again(kept),
        Ok(Found::Other) => problem(
            ProblemKind::Invalid,
            "this Idempotency-Key was used for another request",
            "Use a new key for a new request.",
        ),
        Ok(Found::InWork) => problem(
            ProblemKind::Conflict,
            "the first request with this Idempotency-Key is being done, or was cut off",
            "Look whether it was done before you send it with a new key.",
        ),
        Ok(Found::Free) => {
            let response = next.run(Request::from_parts(head, body)).await;
            settle(&app, asked, tells, response).await
        }
    }
}

/// What is known of a body before it is read, to tell it from another.
fn of_a_stream(headers: &HeaderMap) -> Bytes {
    let told = |name: &str| headers.get(name).map_or(&b""[..], HeaderValue::as_bytes);
    Bytes::from([told("content-length"), b"\n", told("content-digest")].concat())
}

/// Refuses a key where it could be taken for one that is kept; `why` says what to do instead.
pub async fn refuse_key(why: &'static str, request: Request, next: Next) -> Response {
    if !request.headers().contains_key(HEADER) {
        return next.run(request).await;
    }
    let (detail, remedy) = why.split_once(". ").unwrap_or((why, ""));
    problem(ProblemKind::Invalid, detail, remedy)
}

async fn take(app: &App, asked: Asked) -> Result<Found, DbError> {
    let key = Arc::clone(&app.key);
    let now = UnixMs::now();
    let oldest = UnixMs(now.0 - i64::try_from(KEPT.as_millis()).unwrap_or(0));
    app.db
        .write(move |tx| store::take(tx, &key, &asked, now, oldest))
        .await
}

/// Keeps what was answered; a request that made nothing gives its key free.
async fn settle(app: &App, asked: Asked, tells: Again, response: Response) -> Response {
    // A new cookie is told once: such an answer is not kept either.
    let once = response.headers().contains_key(header::SET_COOKIE);
    if once || !response.status().is_success() {
        let freed: Result<(), DbError> = app.db.write(move |tx| store::release(tx, &asked)).await;
        if let Err(error) = freed {
            tracing::warn!(%error, "an Idempotency-Key could not be given free");
        }
        return response;
    }
    let (head, body) = response.into_parts();
    let Ok(bytes) = to_bytes(body, LARGEST).await else {
        let detail = "the answer could not be put together";
        return Failure::new(ProblemKind::Internal, detail).into_response();
    };
    let kept = Kept::of(&head, &bytes, tells);
    let key = Arc::clone(&app.key);
    let written: Result<(), DbError> = app
        .db
        .write(move |tx| store::keep(tx, &key, &asked, &kept))
        .await;
    if let Err(error) = written {
        // The work is done: its answer counts, only another try is told that it is taken.
        tracing::warn!(%error, "what was answered to an Idempotency-Key could not be kept");
    }
    Response::from_parts(head, Body::from(bytes))
}

/// It was done, and what it told is told once.
fn told_once(kept: &Kept) -> Response {
    let made = kept.made.as_deref().unwrap_or_default();
    problem(
        ProblemKind::Conflict,
        &format!(
            "the first request with this Idempotency-Key was done{made}, and the secret in its answer is told once"
        ),
        "If that answer was lost, take away what was made (`freehold token rm` ends a token) and send the request with a new key; \
a new link, secret, key or recovery code takes the place of the one before.",
    )
}

fn again(kept: Kept) -> Response {
    let mut response = Response::new(Body::from(kept.body));
    *response.status_mut() = StatusCode::from_u16(kept.status).unwrap_or(StatusCode::OK);
    let headers = response.headers_mut();
    headers.insert(REPLAYED, HeaderValue::from_static("true"));
    let pairs = [
        (header::CONTENT_TYPE, kept.kind),
        (header::LOCATION, kept.location),
    ];
    for (name, text) in pairs {
        if let Some(value) = text.and_then(|t| HeaderValue::from_str(&t).ok()) {
            headers.insert(name, value);
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::secret::MasterKey;
    use crate::db::{Db, Kind};

    fn asked(caller: &str, key: &str, body: &str) -> Asked {
        Asked {
            caller: caller.into(),
            key: key.into(),
            route: "POST /api/v1/tokens".into(),
            fingerprint: body.into(),
        }
    }

    #[tokio::test]
    async fn a1_a_key_is_taken_kept_and_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        let db = Db::open(&path, Kind::State).unwrap();
        let key = Arc::new(MasterKey::from_bytes(&[7; 32]).unwrap());
        let take = |asked: Asked, now: i64| {
            let (db, key) = (db.clone(), Arc::clone(&key));
            async move {
                db.write(move |tx| store::take(tx, &key, &asked, UnixMs(now), UnixMs(now - 100)))
                    .await
                    .unwrap()
            }
        };
        assert_eq!(take(asked("ana", "k", "{}"), 1_000).await, Found::Free);
        assert_eq!(take(asked("ana", "k", "{}"), 1_001).await, Found::InWork);
        assert_eq!(take(asked("ben", "k", "{}"), 1_001).await, Found::Free);
        let kept = Kept {
            status: 201,
            body: r#"{"note":"hunter2"}"#.into(),
            ..Kept::default()
        };
        let (answer, seal) = (kept.clone(), Arc::clone(&key));
        db.write(move |tx| store::keep(tx, &seal, &asked("ana", "k", "{}"), &answer))
            .await
            .unwrap();
        assert_eq!(
            take(asked("ana", "k", "{}"), 1_002).await,
            Found::Done(kept)
        );
        assert_eq!(take(asked("ana", "k", "[]"), 1_002).await, Found::Other);
        let bytes = std::fs::read(&path).unwrap();
        let wal = std::fs::read(folder.path().join("state.db-wal")).unwrap_or_default();
        for file in [bytes, wal] {
            let found = file.windows(7).any(|w| w == b"hunter2");
            assert!(!found, "an answer lies open in the database");
        }
        assert_eq!(take(asked("ana", "k", "[]"), 1_101).await, Found::Free);
    }

    #[test]
    fn a3_of_an_answer_that_tells_a_secret_only_what_was_made_is_kept() {
        let response = Response::builder().status(201).body(()).unwrap();
        let (head, ()) = response.into_parts();
        let of = |again| {
            Kept::of(
                &head,
                br#"{"mark":"freehold_pat_ab","token":"hunter2"}"#,
                again,
            )
        };
        let kept = serde_json::to_string(&of(Again::SaysDone)).unwrap();
        assert!(!kept.contains("hunter2"), "{kept}");
        assert!(kept.contains("freehold_pat_ab"), "{kept}");
        assert!(of(Again::Answers).body.contains("hunter2"));
        assert_eq!(made(br#"{"name":"ana","link":"x"}"#), " (ana)");
        assert_eq!(made(b"no json"), "");
    }

    #[tokio::test]
    async fn a1_a_request_that_made_nothing_gives_its_key_free_and_keys_are_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(&folder.path().join("state.db"), Kind::State).unwrap();
        let key = MasterKey::from_bytes(&[7; 32]).unwrap();
        let left: i64 = db
            .write(move |tx| {
                let one = asked("ana", "k", "{}");
                store::take(tx, &key, &one, UnixMs(1), UnixMs(0))?;
                store::release(tx, &one)?;
                assert_eq!(
                    store::take(tx, &key, &one, UnixMs(2), UnixMs(0))?,
                    Found::Free
                );
                for n in 0..600 {
                    let many = asked("ana", &n.to_string(), "{}");
                    store::take(tx, &key, &many, UnixMs(3), UnixMs(0))?;
                }
                Ok::<_, DbError>(tx.query_row("SELECT count(*) FROM replays", [], |r| r.get(0))?)
            })
            .await
            .unwrap();
        assert_eq!(left, 500);
    }
}
