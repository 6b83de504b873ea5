//! Connections that the engine turns over to the two ends: attach and exec.
//!
//! Done here rather than by the crate, because its decoder waits for whole
//! frames, takes control characters of a terminal for frame heads, and shows a
//! stream that broke inside a frame as ordinary output.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::StreamExt;
use http_body_util::{BodyExt, Limited};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio_util::codec::{Decoder, FramedRead};

use super::engine::{Engine, MIDDLE, message_of};
use super::error::EngineError;
use super::stream::{Chunk, ChunkStream, Input};

/// Both directions of a hijacked connection.
pub struct Attached {
    /// Into standard input; shutting it down closes it.
    pub input: Input,
    /// Out of it; ends cleanly only at the end of a frame.
    pub output: ChunkStream,
}

/// How to read what comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// A terminal: plain bytes.
    Terminal,
    /// Frames; anything else is a broken stream.
    Frames,
    /// Frames, or the engine's own words when it could not start the command.
    FramesOrWords,
}

impl Engine {
    /// Attaches to a container before or after its start. Attached before the
    /// start, nothing of its output is missed while the reader keeps reading.
    ///
    /// # Errors
    /// `NotFound` when there is none.
    pub async fn attach(
        &self,
        name: &str,
        stdin: bool,
        terminal: bool,
    ) -> Result<Attached, EngineError> {
        let what = format!("attach to container {name}");
        let path = format!(
            "/containers/{name}/attach?stream=1&stdout=1&stderr=1&stdin={}",
            u8::from(stdin)
        );
        let framing = match terminal {
            true => Framing::Terminal,
            false => Framing::Frames,
        };
        self.hijack(what, &path, Bytes::new(), framing).await
    }

    /// Sends a POST and takes the connection over.
    pub(super) async fn hijack(
        &self,
        what: String,
        path: &str,
        body: Bytes,
        framing: Framing,
    ) -> Result<Attached, EngineError> {
        let work = async {
            let request = http::Request::builder()
                .method(http::Method::POST)
                .uri(path)
                .header(http::header::CONTENT_TYPE, "application/json")
                .header(http::header::CONNECTION, "Upgrade")
                .header(http::header::UPGRADE, "tcp")
                .body(bollard::body_full(body))?;
            let response = self.wire.clone().send(request).await?;
            let status = response.status();
            if status == http::StatusCode::SWITCHING_PROTOCOLS {
                return Ok(hyper::upgrade::on(response).await?);
            }
            let body = Limited::new(response.into_body(), 64 << 10)
                .collect()
                .await
                .map_err(|e| io::Error::other(e.to_string()))?
                .to_bytes();
            Err(bollard::errors::Error::DockerResponseServerError {
                status_code: status.as_u16(),
                message: message_of(&body),
            })
        };
        let upgraded: Upgraded = self.call(&what, MIDDLE, work).await?;
        let (read, write) = tokio::io::split(TokioIo::new(upgraded));
        let output =
            FramedRead::with_capacity(read, Demux::new(framing), 32 << 10).map(move |item| {
                item.map_err(|e| EngineError::CutShort {
                    what: what.clone(),
                    message: e.to_string(),
                })
            });
        Ok(Attached {
            input: Box::pin(write),
            output: Box::pin(output),
        })
    }
}

/// Takes the engine's frames apart; passes on parts of a frame as they come.
struct Demux {
    framing: Framing,
    /// Bytes of the current frame still to come, and whether it is standard error.
    left: usize,
    is_error: bool,
    /// The engine speaks in words from here on.
    words: bool,
}

impl Demux {
    fn new(framing: Framing) -> Self {
        Self {
            framing,
            left: 0,
            is_error: false,
            words: false,
        }
    }
}

const HEAD: usize = 8;

impl Decoder for Demux {
    type Item = Chunk;
    type Error = io::Error;

    fn decode(&mut self, src: &mut BytesMut) -> io::Result<Option<Chunk>> {
        if self.framing == Framing::Terminal || self.words {
            if src.is_empty() {
                return Ok(None);
            }
            let bytes = src.split().freeze();
            return Ok(Some(match self.words {
                true => Chunk::Err(bytes),
                false => Chunk::Out(bytes),
            }));
        }
        while self.left == 0 {
            if let Some(first) = src.first()
                && (*first > 2 || src.iter().skip(1).take(3).any(|b| *b != 0))
            {
                if self.framing == Framing::FramesOrWords {
                    self.words = true;
                    return self.decode(src);
                }
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "something that is no frame came",
                ));
            }
            if src.len() < HEAD {
                return Ok(None);
            }
            self.is_error = src[0] == 2;
            self.left = u32::from_be_bytes([src[4], src[5], src[6], src[7]]) as usize;
            src.advance(HEAD);
        }
        if src.is_empty() {
            return Ok(None);
        }
        let take = self.left.min(src.len());
        self.left -= take;
        let bytes = src.split_to(take).freeze();
        Ok(Some(match self.is_error {
            true => Chunk::Err(bytes),
            false => Chunk::Out(bytes),
        }))
    }

    fn decode_eof(&mut self, src: &mut BytesMut) -> io::Result<Option<Chunk>> {
        if let Some(chunk) = self.decode(src)? {
            return Ok(Some(chunk));
        }
        if self.left > 0 || !src.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "it ended inside a frame",
            ));
        }
        Ok(None)
    }
}

/// What a stream says, for the fuzzer.
#[cfg(freehold_fuzz)]
pub(super) mod fuzz {
    use super::*;

    /// All of both outputs, and whether the end was one.
    #[derive(Debug, Default, PartialEq, Eq)]
    pub(in crate::docker) struct Read {
        pub(in crate::docker) out: Vec<u8>,
        pub(in crate::docker) error: Vec<u8>,
        pub(in crate::docker) ended_well: bool,
    }

    impl Read {
        fn take(&mut self, chunk: Chunk) {
            match chunk {
                Chunk::Out(bytes) => self.out.extend(bytes),
                Chunk::Err(bytes) => self.error.extend(bytes),
            }
        }
    }

    pub(in crate::docker) fn read(kind: u8, bytes: &[u8], piece: usize) -> Read {
        let framing = match kind % 3 {
            0 => Framing::Terminal,
            1 => Framing::Frames,
            _ => Framing::FramesOrWords,
        };
        let (mut demux, mut read) = (Demux::new(framing), Read::default());
        let mut buffer = BytesMut::new();
        for piece in bytes.chunks(piece) {
            buffer.extend_from_slice(piece);
            loop {
                match demux.decode(&mut buffer) {
                    Ok(Some(chunk)) => read.take(chunk),
                    Ok(None) => break,
                    Err(_) => return read,
                }
            }
        }
        loop {
            match demux.decode_eof(&mut buffer) {
                Ok(Some(chunk)) => read.take(chunk),
                Ok(None) => break,
                Err(_) => return read,
            }
        }
        read.ended_well = true;
        read
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![kind, 0, 0, 0];
        out.extend((bytes.len() as u32).to_be_bytes());
        out.extend(bytes);
        out
    }

    async fn read(framing: Framing, bytes: Vec<u8>, step: usize) -> Vec<Result<Chunk, String>> {
        let pieces: Vec<io::Result<Bytes>> = bytes
            .chunks(step)
            .map(|c| Ok(Bytes::copy_from_slice(c)))
            .collect();
        let reader = tokio_util::io::StreamReader::new(futures_util::stream::iter(pieces));
        FramedRead::new(reader, Demux::new(framing))
            .map(|r| r.map_err(|e| e.to_string()))
            .collect()
            .await
    }

    fn joined(chunks: &[Result<Chunk, String>], error: bool) -> Vec<u8> {
        chunks
            .iter()
            .flatten()
            .filter(|c| matches!(c, Chunk::Err(_)) == error)
            .flat_map(|c| c.bytes().to_vec())
            .collect()
    }

    #[tokio::test]
    async fn f6_frames_cut_anywhere_give_the_same_bytes() {
        let mut bytes = frame(1, b"\x00\x01PGDMP");
        bytes.extend(frame(2, b"note\n"));
        bytes.extend(frame(1, &[]));
        bytes.extend(frame(1, b"rest"));
        for step in 1..bytes.len() {
            let chunks = read(Framing::Frames, bytes.clone(), step).await;
            assert!(chunks.iter().all(Result::is_ok), "{step}");
            assert_eq!(joined(&chunks, false), b"\x00\x01PGDMPrest");
            assert_eq!(joined(&chunks, true), b"note\n");
        }
    }

    #[tokio::test]
    async fn f6_an_end_inside_a_frame_is_an_error() {
        let whole = frame(1, b"abcdef");
        for cut in 1..whole.len() {
            let chunks = read(Framing::Frames, whole[..cut].to_vec(), 3).await;
            assert!(chunks.last().unwrap().is_err(), "{cut}");
        }
    }

    #[tokio::test]
    async fn a_terminal_passes_control_characters() {
        let chunks = read(Framing::Terminal, b"\x01\x02\x00$ ".to_vec(), 2).await;
        assert_eq!(joined(&chunks, false), b"\x01\x02\x00$ ");
    }

    #[tokio::test]
    async fn the_engines_words_about_a_command_are_kept() {
        let words = b"OCI runtime exec failed: not found\r\n".to_vec();
        let chunks = read(Framing::FramesOrWords, words.clone(), 7).await;
        assert_eq!(joined(&chunks, true), words);
        let chunks = read(Framing::Frames, words, 7).await;
        assert!(chunks.last().unwrap().is_err());
    }
}
