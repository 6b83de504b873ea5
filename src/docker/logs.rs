//! A container's log as lines.

use bollard::container::LogOutput;
use bollard::query_parameters as query;
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};

use super::engine::Engine;
use super::error::EngineError;
use super::stream::{LineStream, LogLine};

/// Which part of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogQuery {
    /// Only the last so many lines.
    pub tail: Option<u32>,
    /// Only what came at or after this time, unix milliseconds.
    pub since_ms: Option<i64>,
    /// Go on with what comes, until the container ends.
    pub follow: bool,
}

/// A line longer than this is passed on in pieces.
const LONGEST_LINE: usize = 64 << 10;

impl Engine {
    /// The log of a container whose output is kept.
    pub fn logs(&self, name: &str, query: LogQuery) -> LineStream {
        let since_ms = query.since_ms.unwrap_or(0);
        let options = query::LogsOptions {
            follow: query.follow,
            stdout: true,
            stderr: true,
            since: i32::try_from(since_ms / 1000).unwrap_or(0),
            until: 0,
            timestamps: true,
            tail: query
                .tail
                .map_or_else(|| "all".to_owned(), |n| n.to_string()),
        };
        let what = format!("read the log of container {name}");
        let engine = self.clone();
        let pieces = Box::pin(self.docker.logs(name, Some(options)))
            .map(move |item| item.map_err(|e| engine.error(&what, e)));
        // The engine's own `since` counts in seconds.
        Box::pin(lines(pieces).filter(move |line| {
            let keep = match line {
                Ok(line) => line.at_ms == 0 || line.at_ms >= since_ms,
                Err(_) => true,
            };
            std::future::ready(keep)
        }))
    }
}

pub(super) fn lines(
    pieces: impl Stream<Item = Result<LogOutput, EngineError>> + Send,
) -> impl Stream<Item = Result<LogLine, EngineError>> + Send {
    let mut out = Assembler::new(false);
    let mut err = Assembler::new(true);
    pieces
        .map(Some)
        .chain(futures_util::stream::once(std::future::ready(None)))
        .flat_map(move |piece| {
            let done = match piece {
                Some(Ok(LogOutput::StdErr { message })) => err.take(message),
                Some(Ok(other)) => out.take(other.into_bytes()),
                Some(Err(error)) => vec![Err(error)],
                None => [out.flush(), err.flush()]
                    .into_iter()
                    .flatten()
                    .map(Ok)
                    .collect(),
            };
            futures_util::stream::iter(done)
        })
}

/// Puts the pieces of one stream together to lines. Every piece begins with a
/// time; the engine breaks lines of more than 16 KB into several pieces.
struct Assembler {
    is_error: bool,
    at_ms: i64,
    open: BytesMut,
}

impl Assembler {
    fn new(is_error: bool) -> Self {
        Self {
            is_error,
            at_ms: 0,
            open: BytesMut::new(),
        }
    }

    fn take(&mut self, piece: Bytes) -> Vec<Result<LogLine, EngineError>> {
        let (at_ms, text) = split_time(&piece);
        if self.open.is_empty() {
            self.at_ms = at_ms;
        }
        self.open.extend_from_slice(text);
        if text.ends_with(b"\n") || self.open.len() >= LONGEST_LINE {
            return self.flush().into_iter().map(Ok).collect();
        }
        Vec::new()
    }

    fn flush(&mut self) -> Option<LogLine> {
        if self.open.is_empty() {
            return None;
        }
        let bytes = self.open.split();
        let text = String::from_utf8_lossy(&bytes);
        Some(LogLine {
            at_ms: self.at_ms,
            is_error: self.is_error,
            text: text.trim_end_matches(['\n', '\r']).to_owned(),
        })
    }
}

fn split_time(piece: &[u8]) -> (i64, &[u8]) {
    let space = piece.iter().take(40).position(|b| *b == b' ');
    let parsed = space.and_then(|at| {
        let text = std::str::from_utf8(&piece[..at]).ok()?;
        let time = text.parse::<jiff::Timestamp>().ok()?;
        Some((time.as_millisecond(), &piece[at + 1..]))
    });
    parsed.unwrap_or((0, piece))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pieces_of_a_long_line_become_one_line() {
        let time = "2026-11-21T07:00:00.123456789Z ";
        let piece = |text: &str| {
            Ok(LogOutput::StdOut {
                message: Bytes::from(format!("{time}{text}")),
            })
        };
        let error = Ok(LogOutput::StdErr {
            message: Bytes::from(format!("{time}oops\n")),
        });
        let pieces = vec![piece("a"), error, piece("b\r\n"), piece("\n"), piece("end")];
        let lines: Vec<LogLine> = lines(futures_util::stream::iter(pieces))
            .map(Result::unwrap)
            .collect()
            .await;
        let texts: Vec<(&str, bool)> = lines
            .iter()
            .map(|l| (l.text.as_str(), l.is_error))
            .collect();
        assert_eq!(
            texts,
            [("oops", true), ("ab", false), ("", false), ("end", false)]
        );
        assert_eq!(lines[0].at_ms, 1_795_244_400_123);
    }
}
