//! Jobs whose output is a stream of bytes that must be whole: dumps, restores.
//!
//! The engine throws away what is still in its pipes two seconds after the
//! process has ended. A reader that is slow (an upload) holds the pipes full,
//! so the end of a dump would be lost. Therefore: while the process runs the
//! reader is as slow as its consumer; from the moment the process has ended it
//! reads everything into memory at once. What can be left then is bounded by
//! the pipes: about a megabyte.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::base::clock::UnixMs;
use crate::docker::{Attached, Chunk, ChunkStream, EngineError};

use super::act::{self, Terminal};
use super::error::SuperviseError;
use super::job::ERRORS;
use super::piped_input;
use super::plan::Desired;
use super::run::{JobEnd, Piped};
use super::shared::Shared;
use super::spec::{Log, Spec};
use super::store::{self, Row};

/// Pieces between reader and consumer.
const PIECES: usize = 8;
/// Reads that are put together to one piece, of at most 32 KB each.
const TOGETHER: usize = 8;
/// What may be left in pipes and sockets when a process ends, with room.
const LEFT: usize = 8 << 20;
/// How often a container that could not be let go of is tried again.
const AGAIN: Duration = Duration::from_secs(5);
/// How often a stalled reader looks whether the process still runs.
const LOOK: Duration = Duration::from_millis(100);

/// A row and container in the hand of this call.
pub(super) struct Held {
    pub(super) row: Row,
    pub(super) id: String,
    pub(super) attached: Attached,
}

/// Writes the row, makes the container, attaches, starts.
pub(super) async fn hold(
    shared: &Arc<Shared>,
    spec: &Spec,
    terminal: Terminal,
) -> Result<Held, SuperviseError> {
    let (key, wanted) = (Arc::clone(&shared.key), spec.clone());
    let row = shared
        .write(move |tx| store::want(tx, &key, &wanted, Desired::Held, UnixMs::now()))
        .await?;
    shared.kick().await?;
    let id = match act::create(shared, &row, spec, terminal).await {
        Ok(id) => id,
        Err(error) => {
            release(shared, row.id, None).await;
            return Err(error);
        }
    };
    let begun = async {
        let attached = shared
            .engine
            .attach(&id, terminal != Terminal::No, terminal == Terminal::Yes)
            .await?;
        shared.engine.start_container(&id).await?;
        Ok::<Attached, EngineError>(attached)
    };
    match begun.await {
        Ok(attached) => Ok(Held { row, id, attached }),
        Err(error) => {
            release(shared, row.id, Some(&id)).await;
            Err(error.into())
        }
    }
}

/// Kills and removes the held container, then lets its row go. The executor may
/// never have seen it, so it is not left to the executor; should the engine be
/// away, the next survey finds it without a row and removes it. Whether the row
/// goes now: where that cannot be written, such as on a full disk, it goes later.
pub(super) async fn release(shared: &Arc<Shared>, row: i64, id: Option<&str>) -> bool {
    if let Some(id) = id
        && let Err(error) = act::remove(shared, id, Duration::ZERO).await
    {
        tracing::warn!(%error, "a held container could not be removed yet");
    }
    let written = shared
        .write(move |tx| store::retire(tx, row, Duration::ZERO))
        .await;
    if let Err(error) = &written {
        tracing::warn!(%error, "a finished container could not be let go of; it is tried again");
        release_later(shared, row);
    }
    if let Err(error) = shared.kick().await {
        tracing::debug!(%error, "the executor was not told of a finished container");
    }
    written.is_ok()
}

/// Lets a row go when that can be written: whoever waits for all containers of its owner to be gone would wait in vain.
fn release_later(shared: &Arc<Shared>, row: i64) {
    let stop = shared.tasks.shutdown().child();
    let of_task = Arc::clone(shared);
    shared.tasks.spawn("release of a container", async move {
        loop {
            tokio::select! {
                // The next start does it.
                () = stop.cancelled() => return,
                () = tokio::time::sleep(AGAIN) => {}
            }
            let written = of_task.write(move |tx| store::retire(tx, row, Duration::ZERO));
            if written.await.is_ok() {
                break;
            }
        }
        if let Err(error) = of_task.kick().await {
            tracing::debug!(%error, "the executor was not told of a finished container");
        }
    });
}

pub(super) async fn run_piped(
    shared: &Arc<Shared>,
    mut spec: Spec,
    stdin: bool,
    deadline: Duration,
    cancel: CancellationToken,
) -> Result<Piped, SuperviseError> {
    spec.log = Log::None;
    spec.restart = false;
    let terminal = match stdin {
        true => Terminal::Input,
        false => Terminal::No,
    };
    let name = spec.name.clone();
    let Held { row, id, attached } = hold(shared, &spec, terminal).await?;
    let (out, output) = mpsc::channel(PIECES);
    let (told, end) = oneshot::channel();
    let pump = Pump {
        shared: Arc::clone(shared),
        id: id.clone(),
        out,
        errors: VecDeque::new(),
    };
    let over = CancellationToken::new();
    let input = stdin.then(|| piped_input::until(&over, attached.input));
    let stream = attached.output;
    let work_shared = Arc::clone(shared);
    // However the task ends, what would still be written ends with it.
    let over = over.drop_guard();
    shared.tasks.spawn("piped job", async move {
        let work = pump.run(stream);
        let result = tokio::select! {
            result = work => result,
            () = cancel.cancelled() => Err(SuperviseError::Cancelled(name.clone())),
            () = tokio::time::sleep(deadline) => Err(SuperviseError::Deadline { what: name.clone(), limit: deadline }),
        };
        drop(over);
        // A row that stays is not waited for: why the job failed is to be heard, and not that nobody knows.
        if release(&work_shared, row.id, Some(&id)).await
            && let Err(error) =
                super::job::wait_gone(&work_shared, row.id, Duration::from_secs(90)).await
        {
            tracing::warn!(%error, job = name, "a finished job's container is still there");
        }
        if told.send(result).is_err() {
            tracing::debug!(job = name, "nobody waits for the end of a job any more");
        }
    });
    Ok(Piped { input, output, end })
}

struct Pump {
    shared: Arc<Shared>,
    id: String,
    out: mpsc::Sender<Result<Bytes, EngineError>>,
    errors: VecDeque<String>,
}

impl Pump {
    async fn run(mut self, mut stream: ChunkStream) -> Result<JobEnd, SuperviseError> {
        // This connection breaks when the engine does: an exit code that was
        // told on it proves that the engine lived through the whole stream.
        let engine = self.shared.engine.clone();
        let id = self.id.clone();
        let waiting = tokio::spawn(async move {
            engine
                .wait_container(&id, Duration::from_secs(7 * 24 * 3600))
                .await
        });
        let stop = waiting.abort_handle();
        let pid = act::look(&self.shared, &self.id)
            .await?
            .and_then(|seen| seen.pid);
        let passed = self.pass(&mut stream, pid).await;
        if let Err(error) = passed {
            stop.abort();
            return Err(error);
        }
        let code = waiting
            .await
            .map_err(|e| SuperviseError::State(e.to_string()))??;
        let seen = act::look(&self.shared, &self.id).await?;
        let mut exit = seen.map_or(act::LOST, |seen| seen.exit());
        exit.code = code;
        Ok(JobEnd {
            exit,
            errors: self.errors.into(),
        })
    }

    async fn pass(
        &mut self,
        stream: &mut ChunkStream,
        pid: Option<u32>,
    ) -> Result<(), SuperviseError> {
        let mut late: VecDeque<Bytes> = VecDeque::new();
        let mut stream = stream.ready_chunks(TOGETHER);
        loop {
            // A job that is silent must not outlive a caller that left.
            let chunks = tokio::select! {
                chunks = stream.next() => chunks,
                () = self.out.closed() => return Err(self.unread()),
            };
            let Some(chunks) = chunks else { break };
            let (bytes, error) = self.join(chunks);
            if !bytes.is_empty()
                && let Some(bytes) = self.offer(bytes, pid).await?
            {
                late.push_back(bytes);
                self.drain(&mut stream, &mut late).await?;
                break;
            }
            if let Some(error) = error {
                return self.broken(error).await;
            }
        }
        for bytes in late {
            self.send(Ok(bytes)).await?;
        }
        Ok(())
    }

    /// Puts small pieces together; keeps lines of standard error.
    fn join(&mut self, chunks: Vec<Result<Chunk, EngineError>>) -> (Bytes, Option<EngineError>) {
        let mut joined = BytesMut::new();
        for chunk in chunks {
            match chunk {
                Ok(Chunk::Err(bytes)) => self.note(&bytes),
                Ok(Chunk::Out(bytes)) => joined.extend_from_slice(&bytes),
                Err(error) => return (joined.freeze(), Some(error)),
            }
        }
        (joined.freeze(), None)
    }

    /// Gives a piece to the consumer as soon as it takes one; gives it back
    /// when the process ended meanwhile.
    async fn offer(&self, bytes: Bytes, pid: Option<u32>) -> Result<Option<Bytes>, SuperviseError> {
        loop {
            match tokio::time::timeout(LOOK, self.out.reserve()).await {
                Ok(Ok(place)) => {
                    place.send(Ok(bytes));
                    return Ok(None);
                }
                Ok(Err(_)) => return Err(self.unread()),
                Err(_) if pid.is_some_and(ended) => return Ok(Some(bytes)),
                Err(_) => {}
            }
        }
    }

    /// Reads all that is left, now.
    async fn drain(
        &mut self,
        stream: &mut (impl Stream<Item = Vec<Result<Chunk, EngineError>>> + Unpin),
        late: &mut VecDeque<Bytes>,
    ) -> Result<(), SuperviseError> {
        let mut held = 0;
        while let Some(chunks) = stream.next().await {
            let (bytes, error) = self.join(chunks);
            held += bytes.len();
            if held > LEFT {
                return Err(SuperviseError::State(
                    "more was left in the pipes of an ended job than pipes can hold".to_owned(),
                ));
            }
            late.push_back(bytes);
            if let Some(error) = error {
                return self.broken(error).await;
            }
        }
        Ok(())
    }

    async fn broken(&self, error: EngineError) -> Result<(), SuperviseError> {
        self.send(Err(error.clone())).await?;
        Err(error.into())
    }

    async fn send(&self, item: Result<Bytes, EngineError>) -> Result<(), SuperviseError> {
        self.out.send(item).await.map_err(|_| self.unread())
    }

    fn unread(&self) -> SuperviseError {
        SuperviseError::Cancelled("reading a job's output".to_owned())
    }

    fn note(&mut self, bytes: &[u8]) {
        for line in String::from_utf8_lossy(bytes).lines() {
            if self.errors.len() == ERRORS {
                self.errors.pop_front();
            }
            self.errors.push_back(line.chars().take(500).collect());
        }
    }
}

/// Whether the process is over. Unreadable counts as running: then the reader
/// stays as slow as its consumer.
fn ended(pid: u32) -> bool {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat
            .rsplit_once(')')
            .and_then(|(_, rest)| rest.split_whitespace().next())
            .is_some_and(|state| state == "Z" || state == "X"),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}
