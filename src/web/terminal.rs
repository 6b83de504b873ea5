//! Commands with the caller's keyboard over an upgraded connection; the frames
//! are `wire::terminal`'s.

use std::future::Future;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::BytesMut;
use futures_util::StreamExt;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};

use super::error::Failure;
use crate::docker::{Chunk, ChunkStream, Input};
use crate::supervise::{Interactive, SuperviseError, TerminalSize};
use crate::wire::problem::ProblemKind;
use crate::wire::terminal::{Frame, LONGEST, PROTOCOL, TerminalForm};

/// The words of the command and the caller's terminal.
///
/// # Errors
/// When the words are no JSON list.
pub fn words(form: &TerminalForm) -> Result<(Vec<String>, Option<TerminalSize>), Failure> {
    let invalid = |why: &str| Failure::new(ProblemKind::Invalid, why);
    let words: Vec<String> = serde_json::from_str(&form.command)
        .map_err(|_| invalid("the command is not a JSON list of words"))?;
    if words.first().is_none_or(String::is_empty) {
        return Err(invalid("there is no command: write it after --"));
    }
    let size = form.rows.zip(form.columns);
    Ok((
        words,
        size.map(|(rows, columns)| TerminalSize { rows, columns }),
    ))
}

/// Starts the command and hands it to the caller.
///
/// # Errors
/// When the caller did not ask for an upgrade, or the command does not start.
pub async fn serve(
    mut request: Request,
    start: impl Future<Output = Result<Interactive, SuperviseError>>,
) -> Result<Response, Failure> {
    let asked = request.headers().get(header::UPGRADE);
    if asked.and_then(|v| v.to_str().ok()) != Some(PROTOCOL) {
        return Err(Failure::new(
            ProblemKind::Invalid,
            format!("this address speaks {PROTOCOL}: ask for it with an Upgrade header"),
        ));
    }
    let upgrade = hyper::upgrade::on(&mut request);
    let command = start.await.map_err(|e| match e {
        SuperviseError::NotFound(_) | SuperviseError::BadSpec { .. } => {
            Failure::new(ProblemKind::Conflict, e.to_string())
        }
        other => Failure::new(ProblemKind::Outside, other.to_string()),
    })?;
    // Ends with the command or the connection, whichever is first.
    tokio::spawn(async move {
        match upgrade.await {
            Ok(connection) => pump(TokioIo::new(connection), command).await,
            Err(error) => tracing::debug!(%error, "a terminal's connection was not upgraded"),
        }
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static(PROTOCOL));
    Ok(response)
}

async fn pump<S>(connection: S, command: Interactive)
where
    S: tokio::io::AsyncRead + AsyncWrite + Send + 'static,
{
    let (mut from, mut to) = tokio::io::split(connection);
    let Interactive {
        input,
        mut output,
        resize,
        exit,
    } = command;
    let talking = async {
        let last = talk(&mut to, &mut output, exit).await;
        to.shutdown().await.and(last)
    };
    tokio::select! {
        ended = talking => if let Err(error) = ended {
            tracing::debug!(%error, "a terminal's caller went away");
        },
        // Its caller is gone: dropping the command's streams ends it.
        () = listen(&mut from, input, resize) => {}
    }
}

async fn talk(
    to: &mut (impl AsyncWrite + Unpin),
    output: &mut ChunkStream,
    exit: oneshot::Receiver<Result<i64, SuperviseError>>,
) -> std::io::Result<()> {
    while let Some(chunk) = output.next().await {
        let (kind, bytes) = match chunk {
            Ok(Chunk::Out(bytes)) => (Frame::Output, bytes),
            Ok(Chunk::Err(bytes)) => (Frame::Error, bytes),
            Err(error) => return send(to, Frame::Failed, error.to_string().as_bytes()).await,
        };
        for part in bytes.chunks(LONGEST) {
            send(to, kind, part).await?;
        }
    }
    let last = match exit.await {
        Ok(Ok(code)) => return send(to, Frame::Exit, &code.to_be_bytes()).await,
        Ok(Err(error)) => error.to_string(),
        Err(_) => "the command's end was not seen".to_owned(),
    };
    send(to, Frame::Failed, last.as_bytes()).await
}

async fn send(
    to: &mut (impl AsyncWrite + Unpin),
    kind: Frame,
    bytes: &[u8],
) -> std::io::Result<()> {
    to.write_all(&kind.encode(bytes)).await?;
    to.flush().await
}

/// Hands what the caller types to the command, until the caller goes away. That
/// there is no more input is no going away: the command may still talk.
async fn listen(
    from: &mut (impl tokio::io::AsyncRead + Unpin),
    mut input: Input,
    resize: mpsc::Sender<TerminalSize>,
) {
    let mut bytes = BytesMut::new();
    loop {
        let used = match Frame::decode(&bytes) {
            Err(why) => {
                tracing::debug!(why, "a terminal's caller sent something else than frames");
                return;
            }
            Ok(None) => match from.read_buf(&mut bytes).await {
                Ok(0) | Err(_) => return,
                Ok(_) => continue,
            },
            Ok(Some((Frame::Input, content, used))) => {
                let written = input.write_all(content).await;
                if written.is_err() || input.flush().await.is_err() {
                    tracing::trace!("the command reads no more input");
                }
                used
            }
            Ok(Some((Frame::Resize, [a, b, c, d], used))) => {
                let size = TerminalSize {
                    rows: u16::from_be_bytes([*a, *b]),
                    columns: u16::from_be_bytes([*c, *d]),
                };
                if resize.send(size).await.is_err() {
                    tracing::trace!("the command has no terminal to resize");
                }
                used
            }
            Ok(Some((Frame::EndOfInput, _, used))) => {
                if let Err(error) = input.shutdown().await {
                    tracing::debug!(%error, "a command's input was closed by itself");
                }
                used
            }
            Ok(Some((_, _, used))) => used,
        };
        bytes::Buf::advance(&mut bytes, used);
    }
}
