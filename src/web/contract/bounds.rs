//! What an operation does not name is refused: a misspelt parameter must not be
//! taken for one that is absent.

use std::sync::Arc;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::web::error::Failure;
use crate::wire::problem::{Problem, ProblemKind};

/// Refuses a query with a parameter that is not one of `names`.
pub async fn refuse_unknown(names: Arc<[String]>, request: Request, next: Next) -> Response {
    match unknown(request.uri().query().unwrap_or_default(), &names) {
        None => next.run(request).await,
        Some(problem) => Failure::from(problem).into_response(),
    }
}

fn unknown(query: &str, names: &[String]) -> Option<Problem> {
    let found = url::form_urlencoded::parse(query.as_bytes());
    let other = found
        .map(|(name, _)| name)
        .find(|name| !names.iter().any(|n| n == name))?;
    let shown: String = other.chars().take(40).collect();
    let detail = format!("this address has no parameter \"{shown}\"");
    let remedy = match names {
        [] => "It takes none.".to_owned(),
        names => format!("It takes {}.", names.join(", ")),
    };
    Some(Problem::new(ProblemKind::Invalid, detail).remedy(remedy))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a1_a_misspelt_parameter_is_not_taken_for_an_absent_one() {
        let names = ["limit".to_owned(), "after".to_owned()];
        assert!(unknown("", &names).is_none());
        assert!(unknown("limit=3&after=x", &names).is_none());
        let problem = unknown("limits=3", &names).unwrap();
        assert!(problem.detail.contains("\"limits\""), "{problem:?}");
        assert_eq!(problem.remedy, "It takes limit, after.");
        assert!(unknown("x", &[]).is_some());
    }
}
