//! A deploy's log: its end for the page, and all of it as plain text that grows while the deploy
//! does. A browser without the script shows that text as it comes.

use std::convert::Infallible;
use std::path::Path as File;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use crate::base::clock::UnixMs;
use crate::web::error::Failure;
use crate::web::pages::words;
use crate::web::services::App;

/// Bytes of a log that its page shows.
const SHOWN: u64 = 128 << 10;

/// The end of a log.
#[derive(Debug, Default)]
pub struct Tail {
    /// Whole lines.
    pub text: String,
    /// Where in the file the next line begins.
    pub next: u64,
    /// Whether there is more before.
    pub cut: bool,
}

/// Reads the end of the log at `path`; one that is not there yet is empty.
pub async fn tail(path: &File) -> Tail {
    read_tail(path).await.unwrap_or_default()
}

async fn read_tail(path: &File) -> std::io::Result<Tail> {
    let mut file = tokio::fs::File::open(path).await?;
    let length = file.metadata().await?.len();
    let begin = length.saturating_sub(SHOWN);
    file.seek(std::io::SeekFrom::Start(begin)).await?;
    let mut bytes = Vec::new();
    file.take(SHOWN).read_to_end(&mut bytes).await?;
    let text = String::from_utf8_lossy(&bytes);
    let whole = text.rfind('\n').map_or(0, |at| at + 1);
    let first = match begin {
        0 => 0,
        _ => text.find('\n').map_or(whole, |at| at + 1),
    };
    Ok(Tail {
        text: text[first.min(whole)..whole]
            .lines()
            .filter_map(|line| line.split_once('\t'))
            .map(|(at, line)| told(UnixMs(at.parse().unwrap_or(0)), line))
            .collect(),
        next: begin + u64::try_from(bytes.len()).unwrap_or(0)
            - u64::try_from(text.len() - whole).unwrap_or(0),
        cut: begin > 0,
    })
}

fn told(at: UnixMs, line: &str) -> String {
    format!("{}  {line}\n", words::clock(at))
}

/// Where to go on.
#[derive(Deserialize)]
pub struct Place {
    /// Byte of the log's file.
    #[serde(default)]
    from: u64,
    /// Lines after it that the reader already has.
    #[serde(default)]
    skip: usize,
}

/// `GET /apps/{app}/deploys/{id}/log`
pub async fn stream(
    State(app): State<App>,
    Path((name, id)): Path<(String, i64)>,
    Query(place): Query<Place>,
) -> Result<Response, Failure> {
    let row = app.apps.find(&name).await?;
    let deploy = app.deploys.get(row.id, id).await?;
    let lines = app
        .deploys
        .logs()
        .follow(deploy.id, place.from)
        .skip(place.skip)
        .map(|line| Ok::<_, Infallible>(told(line.at, &line.text)));
    Ok((
        [
            (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
            // Shown as it comes, not gathered first.
            (header::HeaderName::from_static("x-accel-buffering"), "no"),
        ],
        Body::from_stream(lines),
    )
        .into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn f4_a_log_s_end_is_whole_lines_and_says_where_to_go_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("1.log");
        std::fs::write(&path, "1000\tone\n2000\ttwo\n3000\thal").unwrap();
        let tail = tail(&path).await;
        assert!(tail.text.ends_with("two\n"), "{}", tail.text);
        assert_eq!(tail.text.lines().count(), 2);
        assert_eq!((tail.next, tail.cut), (18, false));
        let long: String = (0..20_000).map(|n| format!("{n}\tline {n}\n")).collect();
        std::fs::write(&path, &long).unwrap();
        let end = super::tail(&path).await;
        assert!(end.cut);
        assert_eq!(end.next, long.len() as u64);
        assert!(end.text.ends_with("line 19999\n"));
        assert_eq!(super::tail(&folder.path().join("none")).await.next, 0);
    }
}
