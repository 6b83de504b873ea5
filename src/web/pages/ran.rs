//! A command whose end a page waits for: how it ended and what it wrote.
//!
//! The page is answered when the command is over, so it is bounded in time and in what it may write; what takes longer,
//! or wants to be talked to, is for a terminal.

use std::time::Duration;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use tokio::io::AsyncWriteExt;

use crate::docker::{Chunk, Input};
use crate::supervise::{Interactive, SuperviseError};
use crate::web::audit::{self, Note};
use crate::web::error::Failure;
use crate::wire::problem::ProblemKind;

/// How long a command may take. The edge waits 60 s for a page, and of these a container takes some to start.
pub const LIMIT: Duration = Duration::from_secs(30);
/// How many bytes of what it writes are shown; one that writes more is ended.
pub const MOST: usize = 64 << 10;

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// "It ended with exit code 0."
    pub ended: String,
    /// Both its streams, as they came.
    pub wrote: String,
}

/// Types `typed` and the end of input, and hears the command to its end. Dropping its streams ends what goes on too long
/// or writes too much; `unbounded` is the verb of the command line that has no limit.
pub async fn heard(command: Interactive, typed: &[u8], unbounded: &str, limit: Duration) -> Ran {
    let Interactive {
        input,
        mut output,
        resize: _resize,
        exit,
    } = command;
    let mut bytes: Vec<u8> = Vec::new();
    let hearing = async {
        while let Some(chunk) = output.next().await {
            match chunk {
                Ok(Chunk::Out(more) | Chunk::Err(more)) => bytes.extend_from_slice(&more),
                Err(error) => return error.to_string(),
            }
            if bytes.len() > MOST {
                bytes.truncate(MOST);
                return "It wrote more than 64 KB and is no longer listened to; the rest is left out.".to_owned();
            }
        }
        match exit.await {
            Ok(Ok(code)) => format!("It ended with exit code {code}."),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "Its end was not seen.".to_owned(),
        }
    };
    // A command may write before it has read all, and end before.
    let over = async {
        let mut hearing = std::pin::pin!(hearing);
        tokio::select! {
            ended = &mut hearing => ended,
            _open = fed(input, typed) => hearing.await,
        }
    };
    let ended = tokio::time::timeout(limit, over).await;
    let ended = ended.unwrap_or_else(|_| {
        format!(
            "It took more than 30 seconds and is no longer waited for; `{unbounded}` has no limit."
        )
    });
    Ran {
        ended,
        wrote: String::from_utf8_lossy(&bytes).into_owned(),
    }
}

/// The input, fed and closed: what reads it finds the end of it.
async fn fed(mut input: Input, typed: &[u8]) -> Input {
    if let Err(error) = input.write_all(typed).await {
        tracing::debug!(%error, "a command did not read all its input");
    }
    if let Err(error) = input.shutdown().await {
        tracing::debug!(%error, "a command's input was closed by itself");
    }
    input
}

/// Why a command did not start.
pub fn unstarted(error: SuperviseError) -> Failure {
    match error {
        SuperviseError::NotFound(_) | SuperviseError::BadSpec { .. } => {
            Failure::new(ProblemKind::Conflict, error.to_string())
        }
        other => Failure::new(ProblemKind::Outside, other.to_string()),
    }
}

/// `page`, which shows in a form what is wrong, with the status of `failure`.
pub fn refused(page: Response, failure: &Failure) -> Response {
    let status = StatusCode::from_u16(failure.0.status).unwrap_or(StatusCode::CONFLICT);
    let mut response = (status, page).into_response();
    response.extensions_mut().insert(Note {
        status: None,
        detail: audit::told(&failure.0),
    });
    response
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::stream;
    use tokio::io::{AsyncReadExt, DuplexStream};
    use tokio::sync::{mpsc, oneshot};

    use super::*;
    use crate::docker::ChunkStream;

    const SHORT: Duration = Duration::from_millis(500);
    /// More than any machine takes.
    const LONG: Duration = Duration::from_secs(60);

    fn command(output: ChunkStream, code: Option<i64>) -> (Interactive, DuplexStream) {
        let (input, typed) = tokio::io::duplex(16);
        let (resize, _sizes) = mpsc::channel(1);
        let (tell, exit) = oneshot::channel();
        if let Some(code) = code {
            tell.send(Ok(code)).ok();
        }
        let input = Box::pin(input);
        let command = Interactive {
            input,
            output,
            resize,
            exit,
        };
        (command, typed)
    }

    async fn said(output: ChunkStream, code: Option<i64>, limit: Duration) -> (String, String) {
        let (command, _typed) = command(output, code);
        let ran = heard(command, b"", "freehold run", limit).await;
        (ran.ended, ran.wrote)
    }

    #[tokio::test]
    async fn a1_a_command_is_told_with_what_it_wrote_and_how_it_ended() {
        let both = [
            Ok(Chunk::Out(Bytes::from_static(b"one "))),
            Ok(Chunk::Err(Bytes::from_static(b"two"))),
        ];
        let (ended, wrote) = said(Box::pin(stream::iter(both)), Some(3), LONG).await;
        assert_eq!(ended, "It ended with exit code 3.");
        assert_eq!(wrote, "one two");
    }

    #[tokio::test]
    async fn a1_a_command_that_goes_on_or_writes_on_is_ended() {
        let much = stream::repeat_with(|| Ok(Chunk::Out(Bytes::from(vec![b'x'; 4096]))));
        let (ended, wrote) = said(Box::pin(much), None, LONG).await;
        assert!(ended.contains("more than 64 KB"), "{ended}");
        assert_eq!(wrote.len(), MOST);
        let (ended, wrote) = said(Box::pin(stream::pending()), None, SHORT).await;
        assert!(ended.contains("more than 30 seconds"), "{ended}");
        assert!(ended.contains("`freehold run` has no limit"), "{ended}");
        assert!(wrote.is_empty());
    }

    /// More is typed than the pipe holds: it is read to its end, and a command that does not read it is waited for all
    /// the same.
    #[tokio::test]
    async fn a1_what_is_typed_is_read_to_its_end_or_not_at_all() {
        let text = "SELECT 1;\n".repeat(20);
        let (tell, read) = oneshot::channel::<String>();
        let after = stream::once(async move {
            let read = read.await.unwrap_or_default();
            Ok(Chunk::Out(Bytes::from(read)))
        });
        let (reads, mut typed) = command(Box::pin(after), Some(0));
        tokio::spawn(async move {
            let mut all = String::new();
            typed.read_to_string(&mut all).await.unwrap();
            tell.send(all).ok();
        });
        let ran = heard(reads, text.as_bytes(), "freehold db psql", LONG).await;
        assert_eq!(
            (ran.ended.as_str(), ran.wrote),
            ("It ended with exit code 0.", text.clone())
        );
        let (deaf, _typed) = command(Box::pin(stream::empty()), Some(1));
        let ran = heard(deaf, text.as_bytes(), "freehold db psql", LONG).await;
        assert_eq!(ran.ended, "It ended with exit code 1.");
    }
}
