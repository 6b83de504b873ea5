//! File body: a file, or a part of it, in pieces, as fast as the client takes them.
//!
//! A worker never waits for the disk: what the kernel has in memory is read at once, everything else by one of a few
//! threads beside the worker. A file that is changed meanwhile breaks the answer off; its last piece is held back until
//! that is known.
use std::future::Future;
use std::io::{self, IoSliceMut};
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use rustix::io::{Errno, ReadWriteFlags};
use tokio::task::JoinHandle;

use super::manifest::State;
use crate::proxy::body::Broken;

/// How much of a file is in memory for one answer.
const PIECE: u64 = 32 * 1024;

pub(super) struct FileBody {
    file: Arc<OwnedFd>,
    state: State,
    at: u64,
    left: u64,
    reading: Option<JoinHandle<io::Result<Bytes>>>,
}

impl FileBody {
    /// `left` bytes from `at` on, of a file that looked like this when it was opened.
    pub(super) fn new(file: OwnedFd, state: State, at: u64, left: u64) -> FileBody {
        FileBody {
            file: Arc::new(file),
            state,
            at,
            left,
            reading: None,
        }
    }

    fn given(&mut self, read: io::Result<Bytes>) -> Result<Frame<Bytes>, Broken> {
        let bytes = read.map_err(|_| Broken::File)?;
        let count = bytes.len() as u64;
        if count == 0 {
            return Err(Broken::File);
        }
        self.at += count;
        self.left -= count;
        if self.left == 0 {
            let now = rustix::fs::fstat(&*self.file).map_err(|_| Broken::File)?;
            if State::of(&now) != Some(self.state) {
                return Err(Broken::File);
            }
        }
        Ok(Frame::data(bytes))
    }
}

impl Body for FileBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let this = &mut *self;
        if this.left == 0 {
            return Poll::Ready(None);
        }
        let wanted = this.left.min(PIECE) as usize;
        if this.reading.is_none() {
            match read(&this.file, this.at, wanted, ReadWriteFlags::NOWAIT) {
                Err(error) if would_wait(&error) => {
                    let (file, at) = (this.file.clone(), this.at);
                    this.reading = Some(tokio::task::spawn_blocking(move || {
                        read(&file, at, wanted, ReadWriteFlags::empty())
                    }));
                }
                read => return Poll::Ready(Some(this.given(read))),
            }
        }
        let Some(reading) = &mut this.reading else {
            return Poll::Ready(Some(Err(Broken::File)));
        };
        let read = std::task::ready!(Pin::new(reading).poll(cx));
        this.reading = None;
        let read = read.unwrap_or_else(|error| Err(io::Error::other(error)));
        Poll::Ready(Some(this.given(read)))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

fn read(file: &OwnedFd, at: u64, wanted: usize, how: ReadWriteFlags) -> io::Result<Bytes> {
    let mut bytes = vec![0; wanted];
    let count = loop {
        match rustix::io::preadv2(file, &mut [IoSliceMut::new(&mut bytes)], at, how) {
            Err(Errno::INTR) => {}
            read => break read?,
        }
    };
    bytes.truncate(count);
    Ok(bytes.into())
}

/// Nothing of it is in memory, or the file system cannot say.
fn would_wait(error: &io::Error) -> bool {
    [Errno::AGAIN, Errno::OPNOTSUPP, Errno::NOSYS]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}
