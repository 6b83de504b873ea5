//! A stored dump on its way to whoever may have it, the same from the API and from a page: it is read from its
//! store piece by piece, and a store that breaks off breaks the answer off too.

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use futures_util::stream;

use super::error::Failure;
use super::services::App;

/// The dump as `pg_dump` wrote it.
///
/// # Errors
/// That it is not stored, or that its store refuses.
pub async fn dump(app: &App, id: i64) -> Result<Response, Failure> {
    let (backup, reading) = app.backups.download(id).await?;
    let pieces = stream::unfold(Some(reading), |reading| async {
        let mut reading = reading?;
        match reading.next().await {
            Ok(Some(piece)) => Some((Ok(piece), Some(reading))),
            Ok(None) => None,
            Err(error) => Some((Err(std::io::Error::other(error.to_string())), None)),
        }
    });
    let mut response = Response::new(Body::from_stream(pieces));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    let name = format!("attachment; filename=\"backup-{id}.dump\"");
    if let Ok(value) = HeaderValue::from_str(&name) {
        headers.insert(header::CONTENT_DISPOSITION, value);
    }
    if let Some(size) = backup.size_bytes {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(size));
    }
    if let Some(value) = backup.sha256.and_then(|s| HeaderValue::from_str(&s).ok()) {
        headers.insert("x-sha256", value);
    }
    Ok(response)
}
