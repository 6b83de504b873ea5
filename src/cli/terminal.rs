//! This terminal's keyboard and screen, lent to a command on the box.

use std::io::{IsTerminal, Read, Write};
use std::time::Duration;

use bytes::BytesMut;
use http::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use rustix::termios::{self, OptionalActions, Termios};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::Global;
use super::client::{Client, full};
use super::output::{self, Fail};
use crate::wire::terminal::{Frame, PROTOCOL};

/// The terminal as it was, put back when this value goes.
struct Raw(Termios);

impl Raw {
    fn begin() -> Option<Self> {
        let stdin = std::io::stdin();
        let before = termios::tcgetattr(&stdin).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        termios::tcsetattr(&stdin, OptionalActions::Now, &raw).ok()?;
        Some(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let put_back = termios::tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0);
        if let Err(error) = put_back {
            tracing::warn!(%error, "the terminal could not be put back; `reset` does it");
        }
    }
}

/// Starts what `path` names, lends it the terminal and ends this program with
/// its exit code. With `--json` its words come as lines of JSON, its exit code in the last.
///
/// # Errors
/// The daemon's problem, or that it cannot be reached.
pub async fn run(
    client: &Client,
    global: &Global,
    path: &str,
    input: bool,
    tty: bool,
) -> Result<(), Fail> {
    let tty = tty && !global.json && std::io::stdin().is_terminal();
    let mut target = path.to_owned();
    if tty && let Ok(size) = termios::tcgetwinsize(std::io::stdout()) {
        let more = format!("&rows={}&columns={}", size.ws_row, size.ws_col);
        target.push_str(&more);
    }
    let request = Request::builder()
        .method(Method::POST)
        .uri(target)
        .header(header::HOST, "freehold")
        .header(header::CONNECTION, "upgrade")
        .header(header::UPGRADE, PROTOCOL)
        .body(full(""))
        .map_err(|e| Fail::usage(format!("that cannot be asked of the daemon: {e}")))?;
    let answer = client.exchange(request).await?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(Fail::internal("the daemon did not open a terminal"));
    }
    let connection = hyper::upgrade::on(answer)
        .await
        .map_err(|e| Fail::Unreachable(format!("the daemon hung up: {e}")))?;
    let raw = if tty { Raw::begin() } else { None };
    let (from, to) = tokio::io::split(TokioIo::new(connection));
    let ended = tokio::select! {
        ended = show(from, global.json) => ended,
        never = type_in(to, input, tty) => never,
    };
    drop(raw);
    match ended? {
        0 => Ok(()),
        code => std::process::exit(i32::try_from(code).unwrap_or(1)),
    }
}

/// Shows what comes; the exit code at the end.
async fn show(mut from: impl AsyncRead + Unpin, json: bool) -> Result<i64, Fail> {
    let mut bytes = BytesMut::new();
    let gone = || Fail::Unreachable("the connection to the daemon broke off".into());
    loop {
        let used = match Frame::decode(&bytes) {
            Err(why) => return Err(Fail::internal(why)),
            Ok(None) => match from.read_buf(&mut bytes).await {
                Ok(0) | Err(_) => return Err(gone()),
                Ok(_) => continue,
            },
            Ok(Some((kind @ (Frame::Output | Frame::Error), content, used))) if json => {
                let stream = if kind == Frame::Output {
                    "out"
                } else {
                    "error"
                };
                let text = String::from_utf8_lossy(content);
                output::line(json!({ "stream": stream, "text": text }));
                used
            }
            Ok(Some((Frame::Output, content, used))) => {
                write(&mut std::io::stdout(), content);
                used
            }
            Ok(Some((Frame::Error, content, used))) => {
                write(&mut std::io::stderr(), content);
                used
            }
            Ok(Some((Frame::Exit, content, _))) => {
                let code = content.try_into().map(i64::from_be_bytes);
                if json && let Ok(code) = code {
                    output::line(json!({ "exit": code }));
                }
                return code.map_err(|_| gone());
            }
            Ok(Some((Frame::Failed, content, _))) => {
                return Err(Fail::Failed(String::from_utf8_lossy(content).into_owned()));
            }
            Ok(Some((_, _, used))) => used,
        };
        bytes::Buf::advance(&mut bytes, used);
    }
}

fn write(to: &mut impl Write, content: &[u8]) {
    // A closed pipe (`| head`) ends the program quietly.
    if to.write_all(content).and_then(|()| to.flush()).is_err() {
        std::process::exit(0);
    }
}

/// Sends what is typed; only returns when the connection is gone.
async fn type_in(mut to: impl AsyncWrite + Unpin, input: bool, tty: bool) -> Result<i64, Fail> {
    let gone = |e: std::io::Error| Fail::Unreachable(format!("the daemon hung up: {e}"));
    let mut resized = signal(SignalKind::window_change()).map_err(gone)?;
    let mut typed = keyboard(input);
    let mut open = input;
    if !input {
        send(&mut to, Frame::EndOfInput, &[]).await.map_err(gone)?;
    }
    loop {
        tokio::select! {
            more = typed.recv(), if open => match more {
                None => {
                    open = false;
                    send(&mut to, Frame::EndOfInput, &[]).await.map_err(gone)?;
                }
                Some(bytes) => send(&mut to, Frame::Input, &bytes).await.map_err(gone)?,
            },
            _ = resized.recv(), if tty => {
                if let Ok(size) = termios::tcgetwinsize(std::io::stdout()) {
                    let bytes = [size.ws_row.to_be_bytes(), size.ws_col.to_be_bytes()].concat();
                    send(&mut to, Frame::Resize, &bytes).await.map_err(gone)?;
                }
            }
            () = tokio::time::sleep(Duration::from_secs(3600)) => {}
        }
    }
}

/// What is typed, read on a thread of its own: a read of the keyboard cannot be
/// given up.
fn keyboard(input: bool) -> mpsc::Receiver<Vec<u8>> {
    let (tell, typed) = mpsc::channel(16);
    if input {
        std::thread::spawn(move || {
            let mut buffer = vec![0; 16 << 10];
            while let Ok(size) = std::io::stdin().read(&mut buffer)
                && size > 0
            {
                let bytes = buffer.get(..size).unwrap_or_default().to_vec();
                if tell.blocking_send(bytes).is_err() {
                    return;
                }
            }
        });
    }
    typed
}

async fn send(
    to: &mut (impl AsyncWrite + Unpin),
    kind: Frame,
    bytes: &[u8],
) -> std::io::Result<()> {
    to.write_all(&kind.encode(bytes)).await?;
    to.flush().await
}
