//! HTTP/1.1 with one client, until it goes, is silent for too long, or changes to another protocol.
//!
//! hyper reads and writes while there is something to do. In the quiet between two requests only the stream is kept.
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::time::{sleep_until, timeout};

use super::answer::answer;
use super::client::{Client, Phase};
use super::client_io::ClientIo;
use super::look::Look;
use super::serve::note;
use super::tunnel::Tunnel;
use super::watch::{Overdue, Watch};

/// How long a closing connection is still read from, so that our last answer is not lost to a reset.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 4 * 1024 * 1024;

pub(super) async fn serve_http1(client: Rc<Client>, mut io: ClientIo) {
    loop {
        // Boxed, so that a quiet connection does not keep the room of a busy one.
        let Some(spoken) = Box::pin(speak(&client, io)).await else {
            return;
        };
        io = spoken.io;
        match spoken.end {
            End::Quiet if !spoken.ahead.is_empty() => io.put_back(spoken.ahead),
            // Its rest is due as if it had begun now.
            End::Quiet if io.holds_a_part() => client.bytes_arrived(),
            End::Quiet => match park(&client, &mut io).await {
                Some(bytes) => io.put_back(bytes),
                None => return Box::pin(close(&mut io)).await,
            },
            End::Tunnel(tunnel) => {
                io.look_away();
                let wire = Some(io.wire());
                return Box::pin(tunnel.run(&client, io, wire, spoken.ahead)).await;
            }
            End::Over => return Box::pin(close(&mut io)).await,
        }
    }
}

/// What hyper left behind.
struct Spoken {
    end: End,
    io: ClientIo,
    /// Read, but not understood any more.
    ahead: Bytes,
}

enum End {
    /// Nothing has come for a moment.
    Quiet,
    Tunnel(Box<Tunnel>),
    Over,
}

/// Lets hyper speak until there is nothing more to say; `None` if the connection is to be dropped as it is.
async fn speak(client: &Rc<Client>, mut io: ClientIo) -> Option<Spoken> {
    let limits = client.limits();
    io.guard_by(limits);
    let head = limits.uri_bytes + limits.header_bytes;
    let wire = io.wire();
    let service = {
        let client = client.clone();
        service_fn(move |request| Box::pin(answer(client.clone(), request)))
    };
    let mut connection = http1::Builder::new()
        .header_read_timeout(None)
        .max_header_size(head + 1024)
        .max_buf_size(head.max(8 * 1024) + 2048)
        .half_close(false)
        .serve_connection(TokioIo::new(io), service);
    let mut watch = Watch::new(client);
    let mut look = Look::default();
    let result = poll_fn(|cx| {
        let ends = watch.ends(client, cx);
        wire.nobody_waits();
        if let Poll::Ready(result) = connection.poll_without_shutdown(cx) {
            return Poll::Ready(Some(result.map(|()| false)));
        }
        // Now that what had arrived is read: it is answered before the end.
        if ends {
            Pin::new(&mut connection).graceful_shutdown();
            if let Poll::Ready(result) = connection.poll_without_shutdown(cx) {
                return Poll::Ready(Some(result.map(|()| false)));
            }
        }
        // hyper looks for the end only while it has no byte left that was sent before it.
        if client.is_served() && wire.poll_gone(cx, &mut look).is_ready() {
            return Poll::Ready(None);
        }
        match watch.overdue(client, cx) {
            Overdue::No => Poll::Pending,
            Overdue::Park => Poll::Ready(Some(Ok(true))),
            Overdue::End => {
                Pin::new(&mut connection).graceful_shutdown();
                connection
                    .poll_without_shutdown(cx)
                    .map(|result| Some(result.map(|()| false)))
            }
            Overdue::Drop => {
                if client.is_to_be_reset.get() {
                    wire.reset();
                }
                Poll::Ready(None)
            }
        }
    })
    .await;
    // Taken in any case: a tunnel left in the client would keep both alive for ever.
    let tunnel = client.tunnel.borrow_mut().take();
    let end = match (result?, tunnel) {
        (Ok(true), _) => End::Quiet,
        (Ok(false), Some(tunnel)) => End::Tunnel(tunnel),
        (Ok(false), None) => End::Over,
        (Err(error), _) => {
            note(client, &error);
            if client.is_to_be_reset.get() {
                wire.reset();
                return None;
            }
            End::Over
        }
    };
    let parts = connection.into_parts();
    Some(Spoken {
        end,
        io: parts.io.into_inner(),
        ahead: parts.read_buf,
    })
}

/// Waits for the first bytes of the next request with nothing but the stream; `None` when there will be none.
async fn park(client: &Client, io: &mut ClientIo) -> Option<Bytes> {
    let mut limit = std::pin::pin!(sleep_until(client.idle_until().into()));
    poll_fn(|cx| {
        client.listen(cx);
        let mut bytes = [0; 2_048];
        let mut buffer = ReadBuf::new(&mut bytes);
        match Pin::new(&mut *io).poll_read(cx, &mut buffer) {
            // A head has begun: from now on it is due.
            Poll::Pending if io.holds_a_part() => Poll::Ready(Some(Bytes::new())),
            Poll::Pending if client.phase() >= Phase::Parting => Poll::Ready(None),
            Poll::Pending => limit.as_mut().poll(cx).map(|()| None),
            Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                Poll::Ready(Some(Bytes::copy_from_slice(buffer.filled())))
            }
            Poll::Ready(_) => Poll::Ready(None),
        }
    })
    .await
}

/// Says goodbye, then reads on for a moment: closing with unread bytes would reset the connection under our answer.
async fn close(io: &mut ClientIo) {
    io.look_away();
    let lingering = async {
        if io.shutdown().await.is_err() {
            return;
        }
        let mut scratch = vec![0; 4096];
        let mut read = 0;
        while let Ok(count @ 1..) = io.read(&mut scratch).await {
            read += count;
            if read > LINGER_BYTES {
                return;
            }
        }
    };
    // Past the limit the connection is dropped, which closes it.
    timeout(LINGER, lingering).await.unwrap_or_default();
}
