//! Whether the daemon answers; used by install.sh and by checks from outside.

use axum::Json;

use crate::wire::status::Health;

/// `GET /api/v1/health`
pub async fn show() -> Json<Health> {
    Json(Health {
        status: "ok".into(),
        version: env!("CARGO_PKG_VERSION").into(),
    })
}
