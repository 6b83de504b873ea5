//! What a request says, or a sentence on what is wrong with it: path, query and JSON,
//! read in one way for every operation of the API.

use axum::body::Body;
use axum::extract::path::ErrorKind;
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::header;
use axum::http::request::Parts;
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::Failure;
use super::services::App;
use crate::wire::problem::{Problem, ProblemKind};

/// The body as `T`. An empty body reads as `{}`.
pub struct Input<T>(pub T);

/// The path's parameters as `T`. A number that is none names nothing.
pub struct Path<T>(pub T);

/// The query as `T`. What `T` does not name is refused before, by the operation's description.
pub struct Query<T>(pub T);

impl<T: DeserializeOwned> FromRequest<App> for Input<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, app: &App) -> Result<Self, Failure> {
        let kind = request.headers().get(header::CONTENT_TYPE);
        let kind = kind.and_then(|v| v.to_str().ok()).unwrap_or_default();
        let json = is_json(kind);
        let bytes = Bytes::from_request(request, app)
            .await
            .map_err(|refused| unreadable(&refused))?;
        match (bytes.is_empty(), json) {
            (true, _) => read(b"{}"),
            (false, true) => read(&bytes),
            (false, false) => Err(Problem::new(
                ProblemKind::Unsupported,
                "the request could not be read: its body is not said to be JSON",
            )
            .remedy("Send JSON with Content-Type: application/json.")
            .into()),
        }
        .map(Self)
    }
}

/// The request with all of its body, which is short and has come.
///
/// # Errors
/// That it is too long, or broke off.
pub async fn held(request: Request) -> Result<Request, Failure> {
    let (head, body) = request.into_parts();
    let again = Request::from_parts(head.clone(), body);
    let bytes = Bytes::from_request(again, &())
        .await
        .map_err(|refused| unreadable(&refused))?;
    Ok(Request::from_parts(head, Body::from(bytes)))
}

fn unreadable(refused: &BytesRejection) -> Problem {
    match refused.status().as_u16() {
        413 => Problem::new(
            ProblemKind::TooLarge,
            "the request could not be read: it is longer than 2 MB",
        )
        .remedy("Send less at once."),
        _ => Problem::new(
            ProblemKind::Malformed,
            "the request could not be read: it broke off before its end",
        )
        .remedy("Send it again."),
    }
}

fn is_json(kind: &str) -> bool {
    let essence = kind.split(';').next().unwrap_or_default().trim();
    let essence = essence.to_ascii_lowercase();
    essence == "application/json"
        || (essence.starts_with("application/") && essence.ends_with("+json"))
}

/// Reads JSON; the sentence names the field.
fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    // A list would fill a form's fields in their order, which nobody means.
    let object = bytes.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'{');
    if !object {
        serde_json::from_slice::<serde::de::IgnoredAny>(bytes).map_err(|e| malformed(&e))?;
        return Err(
            Problem::new(ProblemKind::Invalid, "the body is JSON, but not an object")
                .remedy("GET /api/v1/openapi.json says what this address takes.")
                .into(),
        );
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = match serde_path_to_error::deserialize(&mut reader) {
        Ok(value) => value,
        Err(error) => return read_whole(bytes).ok_or_else(|| refused(error).into()),
    };
    reader.end().map_err(|error| malformed(&error))?;
    Ok(value)
}

/// Reads what has whole numbers in the form `3.0`, which JSON Schema calls integers.
fn read_whole<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let mut value = serde_json::from_slice(bytes).ok()?;
    let changed = made_whole(&mut value);
    changed
        .then(|| serde_json::from_value(value).ok())
        .flatten()
}

fn made_whole(value: &mut Value) -> bool {
    /// Up to here each whole number is one float.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::Number(number) => {
            let float = number.as_f64().filter(|_| number.is_f64());
            let Some(float) = float.filter(|f| f.fract() == 0.0 && f.abs() <= EXACT) else {
                return false;
            };
            // In range, and without a fraction.
            #[allow(clippy::cast_possible_truncation)]
            let whole = float as i64;
            *number = whole.into();
            true
        }
        Value::Array(all) => all.iter_mut().fold(false, |any, one| made_whole(one) | any),
        Value::Object(all) => all
            .values_mut()
            .fold(false, |any, one| made_whole(one) | any),
        _ => false,
    }
}

fn refused(error: serde_path_to_error::Error<serde_json::Error>) -> Problem {
    let path = error.path().to_string();
    let error = error.into_inner();
    match error.classify() {
        serde_json::error::Category::Data => {
            let why = plain(&error);
            let detail = match path.as_str() {
                "." | "" => why,
                path => format!("{path}: {why}"),
            };
            Problem::new(ProblemKind::Invalid, detail)
                .remedy("GET /api/v1/openapi.json says what this address takes.")
        }
        _ => malformed(&error),
    }
}

fn malformed(error: &serde_json::Error) -> Problem {
    Problem::new(
        ProblemKind::Malformed,
        format!("the request could not be read: its body is not JSON ({error})"),
    )
    .remedy("Send JSON with Content-Type: application/json.")
}

/// The error without where in the text it is: the field says that better.
fn plain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(at) => text[..at].to_owned(),
        None => text,
    }
}

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        match axum::extract::Path::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(value)) => Ok(Self(value)),
            Err(refused) => {
                let detail = match no_number(&refused) {
                    Some(text) => {
                        let shown: String = text.chars().take(40).collect();
                        format!("there is nothing at this address: \"{shown}\" is not a number")
                    }
                    None => "there is nothing at this address".to_owned(),
                };
                Err(Problem::new(ProblemKind::NotFound, detail)
                    .remedy("Use a name or number that a list shows.")
                    .into())
            }
        }
    }
}

/// What stands in a path where a number belongs.
fn no_number(refused: &PathRejection) -> Option<&str> {
    let PathRejection::FailedToDeserializePathParams(error) = refused else {
        return None;
    };
    match error.kind() {
        ErrorKind::ParseErrorAtKey { value, .. }
        | ErrorKind::ParseErrorAtIndex { value, .. }
        | ErrorKind::ParseError { value, .. } => Some(value),
        _ => None,
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        match axum::extract::Query::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Query(value)) => Ok(Self(value)),
            Err(refused) => {
                let text = refused.body_text();
                let why = text
                    .rsplit_once("query string: ")
                    .map_or(&*text, |(_, w)| w);
                Err(Problem::new(
                    ProblemKind::Invalid,
                    format!("the address's query is not understood: {why}"),
                )
                .remedy("GET /api/v1/openapi.json says what this address takes.")
                .into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::apps::AppForm;
    use crate::wire::tokens::NewToken;

    fn kind<T: DeserializeOwned>(text: &str) -> (ProblemKind, String) {
        match read::<T>(text.as_bytes()) {
            Ok(_) => panic!("{text} was read"),
            Err(failure) => (failure.0.kind, failure.0.detail),
        }
    }

    #[test]
    fn a1_a_whole_number_is_one_however_it_is_written() {
        #[derive(serde::Deserialize, Debug, PartialEq)]
        struct Form {
            release: i64,
            cpus: Option<f64>,
        }
        let read = |text: &str| read::<Form>(text.as_bytes());
        let form = read(r#"{"release": 3.0, "cpus": 1.0}"#);
        let three = Form {
            release: 3,
            cpus: Some(1.0),
        };
        assert_eq!(form.ok().unwrap(), three);
        for bad in ["3.5", "1e300", "\"3\""] {
            assert!(read(&format!(r#"{{"release": {bad}}}"#)).is_err(), "{bad}");
        }
    }

    #[test]
    fn a1_what_is_wrong_with_a_body_names_the_field() {
        let (what, detail) = kind::<AppForm>(r#"{"nmae":"shop"}"#);
        assert_eq!(what, ProblemKind::Invalid);
        assert!(detail.contains("nmae"), "{detail}");
        let (_, detail) = kind::<NewToken>(r#"{"name":"CI","days":"ten"}"#);
        assert!(detail.starts_with("days: invalid type"), "{detail}");
        let (_, detail) = kind::<NewToken>("{}");
        assert!(detail.contains("missing field `name`"), "{detail}");
    }

    #[test]
    fn a1_what_is_no_json_is_told_from_what_is_not_valid() {
        for text in ["name=shop", "{", r#"{"name":"shop"} {}"#, "\u{feff}{}"] {
            assert_eq!(kind::<AppForm>(text).0, ProblemKind::Malformed, "{text}");
        }
        assert_eq!(kind::<AppForm>("[]").0, ProblemKind::Invalid);
        assert!(read::<AppForm>(b"{}").is_ok());
    }

    #[test]
    fn a1_json_is_told_by_its_kind() {
        assert!(is_json("Application/JSON; charset=utf-8"));
        assert!(is_json("application/merge-patch+json"));
        assert!(!is_json("text/plain") && !is_json(""));
    }
}
