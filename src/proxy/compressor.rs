//! Compressor: one thread of low priority that compresses answers, beside the workers and never on one.
//!
//! Everything about it is bounded: jobs that wait, the memory of all that is being compressed or waits to be read by its
//! client, and how long a request waits. Past a bound the answer goes as it is, which is what it did without us.
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::body::Broken;
use super::content_coding::ContentCoding;

/// Jobs that wait for the thread.
const WAITING: usize = 64;
/// Bytes of all answers that are gathered, compressed, or compressed and not yet sent.
const ROOM: usize = 32 * 1024 * 1024;
/// Then the answer goes as it is: the thread has too much to do, or too little of a processor.
const PATIENCE: Duration = Duration::from_millis(250);
/// Of a compressed answer's body.
const PIECE: usize = 32 * 1024;
/// The workers go first wherever a processor is scarce.
const NICE: i32 = 10;

#[derive(Default)]
pub(super) struct Compressor {
    room: Arc<AtomicUsize>,
    /// Made when a first answer is to be compressed.
    jobs: OnceLock<mpsc::Sender<Job>>,
}

struct Job {
    bytes: Bytes,
    coding: ContentCoding,
    done: oneshot::Sender<Bytes>,
    /// Its bytes count for as long as they wait here, whether or not somebody still waits for them.
    _room: Arc<Room>,
}

/// A part of the memory for answers; given back when it is dropped.
pub(super) struct Room {
    all: Arc<AtomicUsize>,
    bytes: usize,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Relaxed);
    }
}

impl Compressor {
    /// Room for an answer of this length, and for what becomes of it.
    pub(super) fn room(&self, bytes: usize) -> Option<Arc<Room>> {
        let room = Room {
            all: self.room.clone(),
            bytes,
        };
        let room = Arc::new(room);
        (self.room.fetch_add(bytes, Relaxed) + bytes <= ROOM).then_some(room)
    }

    /// The bytes in this coding; nothing where they do not become fewer, or not in time.
    pub(super) async fn compress(
        &self,
        bytes: Bytes,
        room: &Arc<Room>,
        coding: ContentCoding,
    ) -> Option<Bytes> {
        let jobs = self.jobs.get_or_init(start);
        let (done, result) = oneshot::channel();
        let job = Job {
            bytes,
            coding,
            done,
            _room: room.clone(),
        };
        jobs.try_send(job).ok()?;
        timeout(PATIENCE, result).await.ok()?.ok()
    }
}

/// A thread that cannot be had leaves a channel that takes nothing.
fn start() -> mpsc::Sender<Job> {
    let (jobs, waiting) = mpsc::channel(WAITING);
    let thread = std::thread::Builder::new().name("edge-compress".into());
    if let Err(error) = thread.spawn(move || run(waiting)) {
        tracing::error!(%error, "there is no thread to compress answers; they are sent as they are until the next start");
    }
    jobs
}

fn run(mut waiting: mpsc::Receiver<Job>) {
    // On Linux this is the thread's own.
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::warn!(%error, "answers are compressed without a lower priority");
    }
    while let Some(job) = waiting.blocking_recv() {
        // Nobody waits for it any more.
        if job.done.is_closed() {
            continue;
        }
        let compressed = catch_unwind(AssertUnwindSafe(|| encoded(job.coding, &job.bytes)));
        match compressed {
            Ok(Ok(bytes)) if bytes.len() < job.bytes.len() => {
                // Whoever waited may have left just now.
                drop(job.done.send(bytes.into()));
            }
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                tracing::debug!(%error, coding = job.coding.name(), "an answer was not compressed")
            }
            Err(_) => tracing::error!(
                coding = job.coding.name(),
                "compressing an answer panicked; it was sent as it is"
            ),
        }
    }
}

/// At the levels that are worth their time where every answer is compressed anew.
pub(super) fn encoded(coding: ContentCoding, bytes: &[u8]) -> io::Result<Vec<u8>> {
    match coding {
        ContentCoding::Zstd => zstd::bulk::compress(bytes, 3),
        ContentCoding::Gzip => {
            let out = Vec::with_capacity(bytes.len() / 4);
            let mut encoder = flate2::write::GzEncoder::new(out, flate2::Compression::new(5));
            encoder.write_all(bytes)?;
            encoder.finish()
        }
        ContentCoding::Brotli => {
            let params = brotli::enc::BrotliEncoderParams {
                quality: 4,
                lgwin: 20,
                size_hint: bytes.len(),
                ..Default::default()
            };
            let mut out = Vec::with_capacity(bytes.len() / 4);
            brotli::BrotliCompress(&mut &*bytes, &mut out, &params)?;
            Ok(out)
        }
    }
}

/// An answer that was gathered, or what became of it, on its way in pieces, so that its room counts until the client has taken it.
pub(super) struct Compressed {
    bytes: Bytes,
    _room: Arc<Room>,
}

impl Compressed {
    pub(super) fn new(bytes: Bytes, room: Arc<Room>) -> Compressed {
        Compressed { bytes, _room: room }
    }
}

impl Body for Compressed {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let count = self.bytes.len().min(PIECE);
        let piece = self.bytes.split_to(count);
        Poll::Ready((!piece.is_empty()).then(|| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::proxy::body::EdgeBody;

    #[test]
    fn e6_room_for_compressing_is_bounded_and_comes_back() {
        let compressor = Compressor::default();
        let held: Vec<_> = (0..32).map_while(|_| compressor.room(1 << 20)).collect();
        assert_eq!(held.len(), 32);
        assert!(compressor.room(1).is_none());
        drop(held);
        assert!(compressor.room(ROOM).is_some());
        assert!(compressor.room(ROOM + 1).is_none());
        assert_eq!(compressor.room.load(Relaxed), 0);
    }

    #[tokio::test]
    async fn e6_what_was_gathered_of_a_slow_answer_has_its_room_until_it_is_sent() {
        let compressor = Compressor::default();
        let room = compressor.room(3 * PIECE).unwrap();
        let beginning = Compressed::new(Bytes::from(vec![7; 2 * PIECE]), room);
        let mut body = EdgeBody::text("end").begun(beginning);
        assert_eq!(body.size_hint().exact(), Some(2 * PIECE as u64 + 3));
        let mut sent = Vec::new();
        for _piece in 0..2 {
            assert_eq!(compressor.room.load(Relaxed), 3 * PIECE);
            sent.extend(body.frame().await.unwrap().unwrap().into_data().unwrap());
        }
        sent.extend(body.frame().await.unwrap().unwrap().into_data().unwrap());
        assert_eq!(compressor.room.load(Relaxed), 0);
        assert_eq!(sent[2 * PIECE..], *b"end");
        // Who goes away midway gives it back, too.
        let room = compressor.room(PIECE).unwrap();
        let body = EdgeBody::empty().begun(Compressed::new(Bytes::from_static(b"x"), room));
        assert_eq!(compressor.room.load(Relaxed), PIECE);
        drop(body);
        assert_eq!(compressor.room.load(Relaxed), 0);
    }

    #[tokio::test]
    async fn e6_what_does_not_become_smaller_stays_as_it_is() {
        let compressor = Compressor::default();
        let mut noise = vec![0; 4_096];
        aws_lc_rs::rand::fill(&mut noise).unwrap();
        for coding in ContentCoding::ALL {
            let noise = Bytes::from(noise.clone());
            let room = compressor.room(noise.len()).unwrap();
            assert!(compressor.compress(noise, &room, coding).await.is_none());
        }
    }

    /// Who gave up waiting has given back his share; the bytes are still there.
    #[tokio::test]
    async fn e6_bytes_that_wait_for_the_thread_have_their_room_until_it_has_done_with_them() {
        let compressor = Compressor::default();
        // In the place of the thread, which would take them at once.
        let (jobs, mut waiting) = mpsc::channel(1);
        assert!(compressor.jobs.set(jobs).is_ok());
        let room = compressor.room(PIECE).unwrap();
        let bytes = Bytes::from(vec![7; PIECE]);
        let gave_up = compressor.compress(bytes, &room, ContentCoding::Gzip).await;
        assert!(gave_up.is_none());
        drop(room);
        assert_eq!(compressor.room.load(Relaxed), PIECE);
        drop(waiting.recv().await);
        assert_eq!(compressor.room.load(Relaxed), 0);
    }
}
