//! A piped job's standard input, which takes nothing more once the job is over.
//!
//! The engine reads no more of a connection whose process has ended, and leaves it open: a write then waits for the two minutes
//! after which the engine finds it among its garbage. A tool that reads only the head of what it is given ends like that.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::docker::Input;

/// `input` until `over`, and a broken pipe from then on.
pub(super) fn until(over: &CancellationToken, input: Input) -> Input {
    Box::pin(UntilOver {
        input,
        over: Box::pin(over.clone().cancelled_owned()),
    })
}

struct UntilOver {
    input: Input,
    over: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl UntilOver {
    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        self.over.as_mut().poll(cx).is_ready()
    }
}

impl AsyncWrite for UntilOver {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_over(cx) {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        self.input.as_mut().poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_over(cx) {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        self.input.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.input.as_mut().poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test]
    async fn f6_a_write_that_waits_ends_with_the_job() {
        // Nobody reads the other end.
        let (ours, _other) = tokio::io::duplex(16);
        let over = CancellationToken::new();
        let mut input = until(&over, Box::pin(ours));
        input.write_all(b"taken").await.unwrap();
        let more = tokio::spawn(async move {
            let said = input.write_all(&[0; 64]).await;
            (said.unwrap_err().kind(), input.shutdown().await.is_ok())
        });
        tokio::task::yield_now().await;
        over.cancel();
        let said = tokio::time::timeout(Duration::from_secs(60), more).await;
        assert_eq!(said.unwrap().unwrap(), (io::ErrorKind::BrokenPipe, true));
    }
}
