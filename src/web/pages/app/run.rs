//! `/apps/{app}/run`: one command in a container of its own, without a keyboard; what it wrote and how it ended.
//!
//! The page is answered when the command is over, so it is bounded in time and in what it may write; what takes
//! longer, or wants to be talked to, is for `freehold run`.

use std::time::Duration;

use askama::Template;
use axum::Form;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use serde::Deserialize;
use tokio::io::AsyncWriteExt;

use super::act::Act;
use super::head::{AppHead, Tab};
use crate::docker::Chunk;
use crate::supervise::{Interactive, SuperviseError};
use crate::web::api::app_logs::one_off;
use crate::web::audit::Telling;
use crate::web::error::Failure;
use crate::web::pages::frame::{Frame, Theme};
use crate::web::pages::parts::Field;
use crate::web::pages::visit::Visit;
use crate::web::services::App;
use crate::wire::problem::ProblemKind;

/// How long a command may take.
const LIMIT: Duration = Duration::from_secs(60);
/// How many bytes of what it writes are shown; one that writes more is ended.
const MOST: usize = 64 << 10;

/// The page.
#[derive(Clone, Debug, Template)]
#[template(path = "app_run.html")]
pub struct View {
    /// What stands around it.
    pub frame: Frame,
    /// Name, state, tabs.
    pub head: AppHead,
    /// One word a line.
    pub command: Field,
    /// How the last one ended, and what it wrote.
    pub ran: Option<(String, String)>,
}

async fn page(
    app: &App,
    visit: Visit,
    name: &str,
    (command, fault): (&str, &str),
    ran: Option<(String, String)>,
) -> Result<Response, Failure> {
    let (_, head) = AppHead::load(app, name, Tab::Settings).await?;
    Ok(crate::web::pages::render(&View {
        frame: head.frame(visit),
        head,
        command: Field::code("command", "Command")
            .area()
            .needed()
            .value(command)
            .hint("One word a line: no shell takes it apart.")
            .fault(fault),
        ran,
    }))
}

/// `GET /apps/{app}/run`
pub async fn show(
    State(app): State<App>,
    visit: Visit,
    Path(name): Path<String>,
) -> Result<Response, Failure> {
    page(&app, visit, &name, ("", ""), None).await
}

/// A command.
#[derive(Deserialize)]
pub struct Wanted {
    #[serde(default)]
    command: String,
}

/// `POST /apps/{app}/run`: answers when the command is over, or was ended.
pub async fn submit(
    State(app): State<App>,
    visit: Visit,
    act: Act,
    telling: Telling,
    Form(wanted): Form<Wanted>,
) -> Result<Response, Failure> {
    let name = act.row.name.as_str();
    let lines = wanted.command.lines().map(str::trim);
    let words: Vec<String> = lines
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect();
    let Some(first) = words.first() else {
        let fault = "There is no command: write its name, and each further word on a line.";
        let page = page(&app, visit, name, (&wanted.command, fault), None).await?;
        return Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response());
    };
    // The other words may hold secrets.
    telling.tell(
        "command",
        match words.len() {
            1 => first.clone(),
            n => format!("{first} and {} more", n - 1),
        },
    );
    let spec = one_off(&app, &act.row, &visit.caller, words).await?;
    let command = app.supervisor.run_interactive(spec, None).await;
    let ran = heard(command.map_err(unstarted)?, LIMIT).await;
    page(&app, visit, name, (&wanted.command, ""), Some(ran)).await
}

fn unstarted(error: SuperviseError) -> Failure {
    match error {
        SuperviseError::NotFound(_) | SuperviseError::BadSpec { .. } => {
            Failure::new(ProblemKind::Conflict, error.to_string())
        }
        other => Failure::new(ProblemKind::Outside, other.to_string()),
    }
}

/// How it ended, and what it wrote. Dropping its streams ends what goes on too long or writes too much.
async fn heard(command: Interactive, limit: Duration) -> (String, String) {
    let Interactive {
        mut input,
        mut output,
        resize: _resize,
        exit,
    } = command;
    let mut bytes: Vec<u8> = Vec::new();
    let over = async {
        // Nobody types: what reads its input finds the end of it.
        if let Err(error) = input.shutdown().await {
            tracing::debug!(%error, "a command's input was closed by itself");
        }
        while let Some(chunk) = output.next().await {
            match chunk {
                Ok(Chunk::Out(more) | Chunk::Err(more)) => bytes.extend_from_slice(&more),
                Err(error) => return error.to_string(),
            }
            if bytes.len() > MOST {
                bytes.truncate(MOST);
                return "It wrote more than 64 KB and was ended; the rest is left out.".to_owned();
            }
        }
        match exit.await {
            Ok(Ok(code)) => format!("It ended with exit code {code}."),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "Its end was not seen.".to_owned(),
        }
    };
    let ended = tokio::time::timeout(limit, over).await;
    let ended = ended.unwrap_or_else(|_| {
        "It took more than 60 seconds and was ended; freehold run has no limit.".to_owned()
    });
    (ended, String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::stream;
    use tokio::sync::{mpsc, oneshot};

    use super::*;
    use crate::docker::ChunkStream;

    async fn said(output: ChunkStream, code: Option<i64>) -> (String, String) {
        let (input, _typed) = tokio::io::duplex(64);
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
        heard(command, Duration::from_millis(500)).await
    }

    #[tokio::test]
    async fn a1_a_command_is_told_with_what_it_wrote_and_how_it_ended() {
        let both = [
            Ok(Chunk::Out(Bytes::from_static(b"one "))),
            Ok(Chunk::Err(Bytes::from_static(b"two"))),
        ];
        let (ended, wrote) = said(Box::pin(stream::iter(both)), Some(3)).await;
        assert_eq!(ended, "It ended with exit code 3.");
        assert_eq!(wrote, "one two");
    }

    #[tokio::test]
    async fn a1_a_command_that_goes_on_or_writes_on_is_ended() {
        let much = stream::repeat_with(|| Ok(Chunk::Out(Bytes::from(vec![b'x'; 4096]))));
        let (ended, wrote) = said(Box::pin(much), None).await;
        assert!(ended.contains("more than 64 KB"), "{ended}");
        assert_eq!(wrote.len(), MOST);
        let (ended, wrote) = said(Box::pin(stream::pending()), None).await;
        assert!(ended.contains("more than 60 seconds"), "{ended}");
        assert!(wrote.is_empty());
    }
}
