//! `/apps/{app}/deploys/upload`: a folder, sent as a tar by a form.

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use futures_util::{Stream, StreamExt, stream};

use super::act::Act;
use super::actions::begin;
use crate::deploy::{DeployError, Site, Source};
use crate::web::error::Failure;
use crate::web::multipart::{Broken, Parts};
use crate::web::pages::visit;
use crate::web::services::App;

/// The form's field with the file.
pub const FIELD: &str = "folder";

/// The field, in front of it, with the folder of it that is a site; empty for what its freehold.toml says.
pub const SITE: &str = "static";
/// Bytes of that.
const LONGEST: usize = 1_000;

/// `POST /apps/{app}/deploys/upload`: what the file holds is kept as it comes.
pub async fn submit(
    State(app): State<App>,
    act: Act,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    let source = match kept(&app, &headers, body).await {
        Ok(source) => source,
        Err(error) => return visit::refused(&act.page("/deploys"), error),
    };
    begin(&app, &act, source).await
}

async fn kept(app: &App, headers: &HeaderMap, body: Body) -> Result<Source, DeployError> {
    let none = || {
        let why = "there is no file: choose the .tar of the folder, or send the folder with `freehold deploy`";
        DeployError::Invalid(why.to_owned())
    };
    let broke_off =
        |why: Broken| DeployError::Invalid(format!("the upload could not be read: {why}"));
    let mut form = Parts::of(headers, body.into_data_stream()).ok_or_else(none)?;
    let mut site = None;
    while let Some(name) = form.next().await.map_err(broke_off)? {
        if name == SITE {
            let mut text = Vec::new();
            while let Some(piece) = form.piece().await.map_err(broke_off)? {
                text.extend(piece);
                if text.len() > LONGEST {
                    break;
                }
            }
            let text = String::from_utf8_lossy(&text);
            site = match text.trim() {
                "" => None,
                folder => Some(Site::parse(folder, None).map_err(DeployError::Invalid)?),
            };
        }
        if name == FIELD {
            // Where none was chosen, a browser sends an empty one.
            let first = form.piece().await.map_err(broke_off)?.ok_or_else(none)?;
            if is_compressed(&first) {
                let why = "this file is compressed: send the tar itself, as `tar -cf FILE -C FOLDER .` makes it";
                return Err(DeployError::Invalid(why.to_owned()));
            }
            let pieces = stream::iter([Ok(first)]).chain(rest(form));
            let source = app.deploys.spool(Box::pin(pieces)).await?;
            return Ok(source.as_site(site));
        }
    }
    Err(none())
}

/// Whether a file begins as gzip, zstd, bzip2, xz or zip do: what people pick who were told to send a tar. Others find out
/// when the tree is looked through.
fn is_compressed(first: &[u8]) -> bool {
    let begins: [&[u8]; 5] = [
        b"\x1f\x8b",
        b"\x28\xb5\x2f\xfd",
        b"BZh",
        b"\xfd7zXZ",
        b"PK\x03\x04",
    ];
    begins.iter().any(|magic| first.starts_with(magic))
}

/// What is left of the field.
fn rest<S, E>(form: Parts<S>) -> impl Stream<Item = Result<Bytes, Broken>>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
    E: std::fmt::Display,
{
    stream::unfold(Some(form), |form| async {
        let mut form = form?;
        match form.piece().await {
            Ok(Some(piece)) => Some((Ok(piece), Some(form))),
            Ok(None) => None,
            Err(why) => Some((Err(why), None)),
        }
    })
}
