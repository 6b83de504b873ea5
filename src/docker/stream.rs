//! Bytes and lines that come out of containers and go into them.

use std::pin::Pin;

use bytes::Bytes;
use futures_util::Stream;
use tokio::io::AsyncWrite;

use super::error::EngineError;

/// A piece of output, with the stream it came from. A terminal has only `Out`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chunk {
    /// Standard output.
    Out(Bytes),
    /// Standard error.
    Err(Bytes),
}

impl Chunk {
    /// The bytes, whichever stream they came from.
    pub fn bytes(&self) -> &Bytes {
        match self {
            Self::Out(bytes) | Self::Err(bytes) => bytes,
        }
    }
}

/// One line of a container's log, without its line end; bytes that are not
/// UTF-8 are replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// When the engine took it in, unix milliseconds; 0 when not asked for.
    pub at_ms: i64,
    /// Whether it came from standard error.
    pub is_error: bool,
    /// The line.
    pub text: String,
}

/// A stream of pieces that owns what it needs.
pub type ChunkStream = Pin<Box<dyn Stream<Item = Result<Chunk, EngineError>> + Send>>;

/// A stream of log lines that owns what it needs.
pub type LineStream = Pin<Box<dyn Stream<Item = Result<LogLine, EngineError>> + Send>>;

/// A sink of bytes into a container.
pub type Input = Pin<Box<dyn AsyncWrite + Send>>;
