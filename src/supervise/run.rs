//! Results of work done in containers: jobs, pipes, commands, terminals.

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use crate::docker::{ChunkStream, EngineError, Input};

use super::error::SuperviseError;
use super::live::Exit;

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobEnd {
    /// Exit code, out of memory, when.
    pub exit: Exit,
    /// Its last lines of standard error, at most 50 (for pipes, whose output is not kept).
    pub errors: Vec<String>,
}

impl JobEnd {
    /// Whether it ended with 0.
    pub fn is_success(&self) -> bool {
        self.exit.code == 0 && !self.exit.oom
    }
}

/// A job whose standard output is a stream of bytes and whose standard input is
/// the caller's. Dropping it kills the job.
pub struct Piped {
    /// Standard input, when asked for; shut it down to say that all was sent.
    pub input: Option<Input>,
    /// Standard output, whole: an error item when the stream broke off. It ends
    /// before `end` is known.
    pub output: mpsc::Receiver<Result<Bytes, EngineError>>,
    /// How it ended. Success of the whole needs this and the output's clean end.
    pub end: oneshot::Receiver<Result<JobEnd, SuperviseError>>,
}

/// A terminal's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TerminalSize {
    /// Lines.
    pub rows: u16,
    /// Characters a line.
    pub columns: u16,
}

/// A command with the caller's keyboard and screen.
pub struct Interactive {
    /// Into its standard input.
    pub input: Input,
    /// Out of it; one stream with a terminal, two without.
    pub output: ChunkStream,
    /// Tells it the terminal's new size.
    pub resize: mpsc::Sender<TerminalSize>,
    /// Its exit code, once `output` has ended.
    pub exit: oneshot::Receiver<Result<i64, SuperviseError>>,
}

/// What a short command inside a container said, at most 1 MB of each stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecOutput {
    /// Its exit code.
    pub code: i64,
    /// Standard output.
    pub out: Vec<u8>,
    /// Standard error.
    pub err: Vec<u8>,
}
