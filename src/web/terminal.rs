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
use super::standing::{ENDED, Standing};
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
    let standing = request.extensions().get::<Standing>().cloned();
    let upgrade = hyper::upgrade::on(&mut request);
    let command = start.await.map_err(|e| match e {
        SuperviseError::NotFound(_) | SuperviseError::BadSpec { .. } => {
            Failure::new(ProblemKind::Conflict, e.to_string())
        }
        other => Failure::new(ProblemKind::Outside, other.to_string()),
    })?;
    // Ends with the command, the connection, or the caller's right to it, whichever is first.
    tokio::spawn(async move {
        match upgrade.await {
            Ok(connection) => {
                let ended = async {
                    match standing {
                        Some(standing) => standing.ended().await,
                        // The box's own socket.
                        None => std::future::pending().await,
                    }
                };
                pump(TokioIo::new(connection), command, ended).await;
            }

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

/// How long a caller who is shut out has to hear why.
const LAST_WORDS: std::time::Duration = std::time::Duration::from_secs(2);

async fn pump<S>(connection: S, command: Interactive, ended: impl Future<Output = ()>)
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
    let shut_out = tokio::select! {
        talked = talking => {
            if let Err(error) = talked {
                tracing::debug!(%error, "a terminal's caller went away");
            }
            false
        }
        // Its caller is gone: dropping the command's streams ends it.
        () = listen(&mut from, input, resize) => false,
        () = ended => true,
    };
    drop(output);
    if shut_out {
        // In pieces of a frame that was being sent this is noise; the connection ends in any case.
        let told = async {
            send(&mut to, Frame::Failed, ENDED.as_bytes()).await?;
            to.shutdown().await
        };
        if !matches!(tokio::time::timeout(LAST_WORDS, told).await, Ok(Ok(()))) {
            tracing::debug!("a caller who was shut out did not hear why");
        }
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::stream;

    use super::*;

    /// A shell that nobody types in and that says nothing goes on for as long as its caller may have it; shut out, they
    /// are told why, and the command's streams are dropped, which ends it.
    #[tokio::test]
    async fn a2_a_shell_ends_when_its_caller_may_no_longer_have_it() {
        let (mut ours, theirs) = tokio::io::duplex(4096);
        let (input, mut typed) = tokio::io::duplex(64);
        let (resize, _sizes) = mpsc::channel(1);
        let (_exit, exit) = oneshot::channel();
        let command = Interactive {
            input: Box::pin(input),
            output: Box::pin(stream::pending()),
            resize,
            exit,
        };
        let (shut_out, told) = oneshot::channel::<()>();
        let pumped = tokio::spawn(pump(theirs, command, async move {
            told.await.unwrap();
        }));
        ours.write_all(&Frame::Input.encode(b"ls\n")).await.unwrap();
        let mut line = [0; 3];
        typed.read_exact(&mut line).await.unwrap();
        assert_eq!(&line, b"ls\n");
        assert!(!pumped.is_finished());
        shut_out.send(()).unwrap();
        let mut last = Vec::new();
        let read = ours.read_to_end(&mut last);
        tokio::time::timeout(Duration::from_secs(60), read)
            .await
            .unwrap()
            .unwrap();
        let (kind, content, _) = Frame::decode(&last).unwrap().unwrap();
        assert_eq!((kind, content), (Frame::Failed, ENDED.as_bytes()));
        pumped.await.unwrap();
        assert_eq!(
            typed.read(&mut line).await.unwrap(),
            0,
            "the command has no input left"
        );
    }
}
