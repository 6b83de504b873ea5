//! The description of this API. Anybody may read it: it is the same on every box of
//! this version and says nothing of this one, and tools fetch it before they sign in.

use std::sync::OnceLock;

use axum::http::header;

use crate::web::answer::{As, Description};
use crate::web::contract::document;
use crate::web::router::table;

/// `GET /api/v1/openapi.json`
pub async fn show() -> As<Description> {
    static TEXT: OnceLock<String> = OnceLock::new();
    let text = TEXT.get_or_init(|| document(&table()).to_string());
    As::new(([(header::CONTENT_TYPE, "application/json")], text.as_str()))
}
