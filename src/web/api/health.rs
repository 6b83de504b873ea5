//! Whether the daemon answers; used by install.sh and by checks from outside.

use axum::Json;
use serde_json::{Value, json};

/// `GET /api/v1/health`
pub async fn show() -> Json<Value> {
    Json(json!({ "status": "ok", "version": env!("CARGO_PKG_VERSION") }))
}
