//! The stylesheet, the script and the icon: compiled in, addressed by their content, so that a
//! browser keeps each for ever and never a stale one.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::base::secret::sha256_hex;

struct Asset {
    name: &'static str,
    media_type: &'static str,
    body: &'static str,
    /// The first digits of its SHA-256.
    version: String,
}

static ASSETS: LazyLock<[Asset; 3]> = LazyLock::new(|| {
    [
        asset(
            "app.css",
            "text/css; charset=utf-8",
            include_str!("../../../static/app.css"),
        ),
        asset(
            "app.js",
            "text/javascript; charset=utf-8",
            include_str!("../../../static/app.js"),
        ),
        asset(
            "icon.svg",
            "image/svg+xml",
            include_str!("../../../static/icon.svg"),
        ),
    ]
});

fn asset(name: &'static str, media_type: &'static str, body: &'static str) -> Asset {
    let mut version = sha256_hex(body.as_bytes());
    version.truncate(12);
    Asset {
        name,
        media_type,
        body,
        version,
    }
}

/// Where a page finds the file of that name.
pub fn href(name: &str) -> String {
    match ASSETS.iter().find(|asset| asset.name == name) {
        Some(asset) => format!("/static/{name}?v={}", asset.version),
        None => format!("/static/{name}"),
    }
}

/// `GET /static/{file}`
pub async fn file(Path(name): Path<String>) -> Response {
    match ASSETS.iter().find(|asset| asset.name == name) {
        Some(asset) => (
            [
                (header::CONTENT_TYPE, asset.media_type),
                (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
            ],
            asset.body,
        )
            .into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
