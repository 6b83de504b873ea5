//! Commands with the caller's keyboard and screen, and short ones without.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use tokio::io::AsyncWriteExt;
use tokio::sync::{mpsc, oneshot};

use crate::docker::{Attached, Chunk, ChunkStream, EngineError, NewExec};

use super::act::Terminal;
use super::error::SuperviseError;
use super::hang_up;
use super::live::State;
use super::piped::{self, Held};
use super::run::{ExecOutput, Interactive, TerminalSize};
use super::shared::Shared;
use super::spec::{Log, Spec};

/// From the last word of a container to its end: a busy box takes a while to take one down.
const ENDING: Duration = Duration::from_secs(60);
/// How long one that does not run just now is waited for.
const BACK_UP: Duration = Duration::from_secs(10);
/// What of each stream of a short command is kept.
const KEPT: usize = 1 << 20;

/// The running container of a row.
pub(super) fn running(shared: &Shared, row: i64) -> Result<String, SuperviseError> {
    let live = shared
        .live_of(row)
        .ok_or_else(|| SuperviseError::NotFound(format!("number {row}")))?;
    match (live.started, live.container_id, live.state) {
        (Some(_), Some(id), _) => Ok(id),
        (_, _, State::Refused(why)) => Err(SuperviseError::NotFound(format!(
            "{} that runs just now: {why}",
            live.name
        ))),
        _ => Err(SuperviseError::NotFound(format!(
            "{} that runs just now",
            live.name
        ))),
    }
}

/// The same of one that is on its way: a daemon that has just started does not know yet what runs, and whoever asks for a
/// shell then is not to hear that there is nothing.
async fn running_soon(shared: &Shared, row: i64) -> Result<String, SuperviseError> {
    let mut live = shared.live.subscribe();
    let known = async {
        loop {
            live.borrow_and_update();
            // One that is gone, is going or cannot be started does not come.
            let may_come = shared.live_of(row).is_some_and(|live| {
                !matches!(live.state, State::Refused(_) | State::Retiring)
            });
            match running(shared, row) {
                Err(_) if may_come => {}
                known => return known,
            }
            if live.changed().await.is_err() {
                return Err(SuperviseError::Stopping);
            }
        }
    };
    let soon = tokio::time::timeout(BACK_UP, known).await;
    soon.unwrap_or_else(|_| running(shared, row))
}

pub(super) async fn exec(
    shared: &Arc<Shared>,
    row: i64,
    argv: Vec<String>,
    env: BTreeMap<String, String>,
    stdin: Option<Vec<u8>>,
    limit: Duration,
) -> Result<ExecOutput, SuperviseError> {
    let container = running(shared, row)?;
    let program = argv.first().cloned().unwrap_or_default();
    let work = async {
        let new = NewExec {
            argv,
            env,
            stdin: stdin.is_some(),
            ..NewExec::default()
        };
        let (id, attached) = shared.engine.exec(&container, &new).await?;
        let Attached { mut input, output } = attached;
        let feeding = async {
            if let Some(bytes) = stdin {
                // A command may end before it has read everything.
                if let Err(error) = input.write_all(&bytes).await {
                    tracing::debug!(%error, "a command did not read all its input");
                }
                if let Err(error) = input.shutdown().await {
                    tracing::debug!(%error, "a command's input was closed by itself");
                }
            }
        };
        let (said, ()) = tokio::join!(collect(output), feeding);
        let (out, err) = said?;
        let code = shared.engine.exec_exit_code(&id).await?;
        Ok(ExecOutput { code, out, err })
    };
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
        Err(SuperviseError::Deadline {
            what: format!("{program} in container {row}"),
            limit,
        })
    })
}

async fn collect(mut output: ChunkStream) -> Result<(Vec<u8>, Vec<u8>), EngineError> {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    while let Some(chunk) = output.next().await {
        let chunk = chunk?;
        let kept = match &chunk {
            Chunk::Out(_) => &mut out,
            Chunk::Err(_) => &mut err,
        };
        let room = KEPT.saturating_sub(kept.len()).min(chunk.bytes().len());
        kept.extend_from_slice(&chunk.bytes()[..room]);
    }
    Ok((out, err))
}

/// Tells when its stream has ended, and by being dropped that its reader left.
struct Watched {
    inner: ChunkStream,
    ended: Option<oneshot::Sender<()>>,
}

impl Stream for Watched {
    type Item = Result<Chunk, EngineError>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        let next = self.inner.poll_next_unpin(cx);
        if matches!(next, std::task::Poll::Ready(None))
            && let Some(ended) = self.ended.take()
            && ended.send(()).is_err()
        {
            tracing::trace!("nobody waits for the end of this stream");
        }
        next
    }
}

fn watched(inner: ChunkStream) -> (ChunkStream, oneshot::Receiver<()>) {
    let (sender, ended) = oneshot::channel();
    let stream = Watched {
        inner,
        ended: Some(sender),
    };
    (Box::pin(stream), ended)
}

pub(super) async fn exec_interactive(
    shared: &Arc<Shared>,
    row: i64,
    argv: Vec<String>,
    env: BTreeMap<String, String>,
    terminal: Option<TerminalSize>,
) -> Result<Interactive, SuperviseError> {
    let container = running_soon(shared, row).await?;
    let new = NewExec {
        argv,
        env,
        stdin: true,
        tty: terminal.is_some(),
        ..NewExec::default()
    };
    let (id, attached) = shared.engine.exec(&container, &new).await?;
    let (output, mut ended) = watched(attached.output);
    let (resize, mut sizes) = mpsc::channel::<TerminalSize>(8);
    let (told, exit) = oneshot::channel();
    if let Some(size) = terminal
        && let Err(error) = shared
            .engine
            .exec_resize(&id, size.rows, size.columns)
            .await
    {
        tracing::debug!(%error, "a terminal's size could not be set");
    }
    let shared_task = Arc::clone(shared);
    shared.tasks.spawn("interactive command", async move {
        let by_itself = loop {
            tokio::select! {
                biased;
                end = &mut ended => break end.is_ok(),
                size = sizes.recv() => match size {
                    Some(size) => {
                        let set = shared_task.engine.exec_resize(&id, size.rows, size.columns).await;
                        if let Err(error) = set {
                            tracing::debug!(%error, "a terminal's size could not be set");
                        }
                    }
                    None => break (&mut ended).await.is_ok(),
                },
            }
        };
        if !by_itself {
            hang_up::command(&shared_task.engine, &container, &id).await;
        }
        let code = shared_task.engine.exec_exit_code(&id).await;
        if told.send(code.map_err(SuperviseError::from)).is_err() {
            tracing::debug!("nobody waits for the end of a command any more");
        }
    });
    Ok(Interactive {
        input: attached.input,
        output,
        resize,
        exit,
    })
}

pub(super) async fn run_interactive(
    shared: &Arc<Shared>,
    mut spec: Spec,
    terminal: Option<TerminalSize>,
) -> Result<Interactive, SuperviseError> {
    spec.log = Log::None;
    spec.restart = false;
    let kind = match terminal {
        Some(_) => Terminal::Yes,
        None => Terminal::Input,
    };
    let Held { row, id, attached } = piped::hold(shared, &spec, kind).await?;
    let (output, mut ended) = watched(attached.output);
    let (resize, mut sizes) = mpsc::channel::<TerminalSize>(8);
    let (told, exit) = oneshot::channel();
    let first = terminal;
    let shared_task = Arc::clone(shared);
    shared.tasks.spawn("interactive container", async move {
        let set = |size: TerminalSize| {
            let (shared, id) = (Arc::clone(&shared_task), id.clone());
            async move {
                let set = shared
                    .engine
                    .container_resize(&id, size.rows, size.columns)
                    .await;
                if let Err(error) = set {
                    tracing::debug!(%error, "a terminal's size could not be set");
                }
            }
        };
        if let Some(size) = first {
            set(size).await;
        }
        let by_itself = loop {
            tokio::select! {
                biased;
                end = &mut ended => break end.is_ok(),
                size = sizes.recv() => match size {
                    Some(size) => set(size).await,
                    None => break (&mut ended).await.is_ok(),
                },
            }
        };
        // The stream of a container that goes on without us ends by our caller's
        // leaving: then it is killed by its release, and the code is that of SIGKILL.
        let patience = match by_itself {
            true => ENDING,
            false => Duration::from_secs(2),
        };
        let code = shared_task.engine.wait_container(&id, patience).await;
        piped::release(&shared_task, row.id, Some(&id)).await;
        if told.send(code.map_err(SuperviseError::from)).is_err() {
            tracing::debug!("nobody waits for the end of a container any more");
        }
    });
    Ok(Interactive {
        input: attached.input,
        output,
        resize,
        exit,
    })
}
