//! Goodbyes: the GOAWAY frames of a connection of HTTP/2 (RFC 9113, 6.8), seen on the wire beside the library that acts on
//! them, so that how the edge takes its leave is known and not guessed from what the library does then.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

const GOAWAY: u8 = 7;
/// What a GOAWAY says first: the last stream, and why.
const SAID: usize = 8;

/// Of all connections of a run: each code and how often it came. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Goodbyes(Arc<Mutex<BTreeMap<String, u64>>>);

impl Goodbyes {
    pub fn counted(&self) -> BTreeMap<String, u64> {
        self.0.lock().unwrap().clone()
    }

    fn note(&self, code: u32) {
        let word = match code {
            0 => "NO_ERROR".to_owned(),
            code => format!("code {code}"),
        };
        *self.0.lock().unwrap().entry(word).or_default() += 1;
    }
}

/// Where a stream of frames stands.
#[derive(Default)]
struct Frames {
    head: Vec<u8>,
    /// Bytes of the frame's payload that are missing.
    left: usize,
    is_goaway: bool,
    said: Vec<u8>,
}

impl Frames {
    /// Goes over what came; each GOAWAY's code.
    fn pass(&mut self, mut bytes: &[u8], mut goaway: impl FnMut(u32)) {
        while let Some(first) = bytes.first() {
            if self.left > 0 {
                let part = self.left.min(bytes.len());
                if self.is_goaway {
                    let wanted = SAID.saturating_sub(self.said.len()).min(part);
                    self.said.extend(&bytes[..wanted]);
                }
                self.left -= part;
                bytes = &bytes[part..];
                if self.left == 0
                    && let Some(code) = self.said.get(4..SAID)
                {
                    goaway(u32::from_be_bytes(code.try_into().unwrap()));
                }
                continue;
            }
            self.head.push(*first);
            bytes = &bytes[1..];
            if self.head.len() == 9 {
                let length = [0, self.head[0], self.head[1], self.head[2]];
                self.left = u32::from_be_bytes(length) as usize;
                self.is_goaway = self.head[3] == GOAWAY;
                self.said.clear();
                self.head.clear();
            }
        }
    }
}

/// A connection that is listened to.
pub struct Heard<S> {
    inner: S,
    frames: Frames,
    goodbyes: Goodbyes,
}

impl<S> Heard<S> {
    pub fn new(inner: S, goodbyes: Goodbyes) -> Self {
        Self {
            inner,
            frames: Frames::default(),
            goodbyes,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Heard<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let read = Pin::new(&mut this.inner).poll_read(cx, buf);
        let came = &buf.filled()[before..];
        this.frames.pass(came, |code| this.goodbyes.note(code));
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Heard<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[test]
fn n1_a_goaway_is_seen_however_its_bytes_are_cut() {
    let mut wire = vec![0, 0, 0, 4, 1, 0, 0, 0, 0];
    wire.extend([0, 0, 3, 0, 0, 0, 0, 0, 1, 7, 7, 7]);
    wire.extend([
        0, 0, 8, GOAWAY, 0, 0, 0, 0, 0, 127, 255, 255, 255, 0, 0, 0, 0,
    ]);
    wire.extend([0, 0, 11, GOAWAY, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 11]);
    wire.extend(b"why");
    wire.extend([0, 0, 0, 4, 1, 0, 0, 0, 0]);
    for size in [1, 2, 5, 9, wire.len()] {
        let (mut frames, mut codes) = (Frames::default(), Vec::new());
        for piece in wire.chunks(size) {
            frames.pass(piece, |code| codes.push(code));
        }
        assert_eq!(codes, [0, 11], "in pieces of {size}");
    }
}
